//! Names that clients use without a chain.

use super::compiled::{compile_with, gateway, surroundings};
use super::*;

const FILE: &str = r#"
[server]
allow_direct = ["openai/gpt-4o*", "local/*", "gro*/*", "anthropic/claude-sonnet-4-5"]
[defaults]
deadline = "20s"
max_cost = 0.5
[providers.local]
kind = "openai"
base_url = "http://127.0.0.1:1"
[models."local/known"]
price = { input = 1, output = 1 }
"#;

#[test]
fn a_direct_name_is_a_chain_of_one_under_the_defaults() {
    let gateway = gateway(FILE);
    let chain = gateway.chain("openai/gpt-4o-mini").unwrap();
    assert_eq!((&*chain.name, &*chain.targets[0].id), ("openai/gpt-4o*", "openai/gpt-4o-mini"));
    assert_eq!(chain.policy.deadline, Duration::from_secs(20));
    assert_eq!(chain.policy.max_attempts, 3);
    assert!(chain.targets[0].limits.max_cost.is_some());
    assert!(Arc::ptr_eq(&chain, &gateway.chain("openai/gpt-4o-mini").unwrap()), "built once");
}

#[test]
fn what_no_pattern_or_no_credential_lets_in_is_unknown() {
    let gateway = gateway(FILE);
    for name in ["openai/o3", "groq/llama-3.3-70b-versatile", "gpt-4o", "local/", "nobody/x", "primary"] {
        assert!(gateway.chain(name).is_none(), "{name}");
    }
    assert!(gateway.chain(&format!("local/{}", "x".repeat(300))).is_none());
}

#[test]
fn a_name_that_a_client_made_up_is_no_label() {
    let gateway = gateway(FILE);
    let made_up = gateway.chain("local/made-up").unwrap();
    assert_eq!((&*made_up.name, &*made_up.targets[0].id), ("local/*", "local/made-up"));
    let first = gateway.chain("local/one").unwrap();
    let second = gateway.chain("local/two").unwrap();
    assert!(!Arc::ptr_eq(&first.targets[0].health, &second.targets[0].health));
    assert_eq!(first.targets[0].url, "http://127.0.0.1:1/v1/chat/completions");
}

#[test]
fn any_number_of_names_takes_a_bounded_memory() {
    let gateway = gateway(FILE);
    let first = Arc::downgrade(&gateway.chain("local/first").unwrap());
    assert!(first.upgrade().is_some());
    for number in 0..600 {
        assert!(gateway.chain(&format!("local/{number}")).is_some());
    }
    assert!(first.upgrade().is_none());
}

#[test]
fn what_is_known_is_listed() {
    let gateway = gateway(FILE);
    let names = gateway.direct.names();
    let listed = |name: &str| names.iter().find(|known| known.name == name);
    assert!(listed("openai/gpt-4o-mini").unwrap().context.is_some());
    assert!(listed("local/known").is_some() && listed("anthropic/claude-sonnet-4-5").is_some());
    assert!(listed("openai/o3").is_none());
    assert!(!names.iter().any(|known| known.name.contains('*') || known.name.starts_with("groq/")));
    let (none, _) = compile_with("[chains]\nc = [\"openai/gpt-4o\"]\n", &surroundings());
    assert!(none.direct.names().is_empty());
}

#[test]
fn patterns_that_let_nothing_through_are_pointed_out() {
    let text = "[server]\nallow_direct = [\"opneai/*\", \"gpt-4o\", \"groq/*\", \"*\"]\n";
    let loaded = load(&source(text), &Arc::new(Runtime::new(1)), &surroundings());
    let told: Vec<String> = loaded.diagnostics.iter().map(|problem| problem.message.clone()).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
        `opneai` is neither a vendor that Piton knows nor a provider of this file
        "gpt-4o" lets nothing through: direct names are written provider/model
        environment variable GROQ_API_KEY is not set: targets of `groq` are skipped
        "#);
}

#[test]
fn another_server_of_a_kind_is_not_thought_to_have_the_vendors_models() {
    let names = gateway(FILE).direct.names();
    let local: Vec<&str> =
        names.iter().map(|known| known.name.as_str()).filter(|name| name.starts_with("local/")).collect();
    assert_eq!(local, ["local/known"]);
}

#[test]
fn whatever_the_pattern_a_direct_name_is_told_from_a_chains() {
    let (gateway, _) = compile_with(
        "[server]\nallow_direct = [\"*\"]\n[chains]\nc = [\"openai/gpt-4o\"]\n",
        &surroundings(),
    );
    assert_eq!(&*gateway.direct.chain("openai/made-up").unwrap().name, "*/*");
}
