//! What is made of a good file.

use crate::catalog::Prices;
use crate::chat::target::Thinking;
use crate::config::compile::inherit::breaker;
use crate::config::compile::model::thinking;
use crate::routing::Commit;
use crate::routing::breaker::BreakerRule;
use crate::units::{Cost, Price, Tokens};

use super::*;

/// Keys of the three great vendors, and one of another.
pub fn surroundings() -> Surroundings {
    let keys = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "OTHER_KEY"];
    let environment = keys.map(|name| (name.to_owned(), format!("{name}-value"))).into();
    Surroundings { environment, listen: None, check_secrets: true }
}

pub fn compile_with(text: &str, surroundings: &Surroundings) -> (Gateway, Vec<Diagnostic>) {
    let loaded = load(&source(text), &Arc::new(Runtime::new(1 << 20)), surroundings);
    match loaded.gateway {
        Some(gateway) => (gateway, loaded.diagnostics),
        None => panic!("{}", shown(text, &loaded.diagnostics)),
    }
}

pub fn gateway(text: &str) -> Gateway {
    let (gateway, warnings) = compile_with(text, &surroundings());
    assert!(warnings.is_empty(), "{}", shown(text, &warnings));
    gateway
}

/// The targets of the chain `c`.
fn targets(text: &str) -> Vec<Arc<Target>> {
    gateway(text).chains["c"].targets.clone()
}

#[test]
fn the_smallest_file_gets_its_keys_prices_and_addresses_from_the_catalog() {
    let gateway = gateway(EXAMPLE);
    let chain = &gateway.chains["primary-chat"];
    assert_eq!(chain.policy.max_attempts, 5);
    assert_eq!(chain.policy.deadline, Duration::from_mins(10));
    assert_eq!(chain.policy.commit, Commit::FirstContent);
    let [gpt, claude, gemini] = chain.targets.as_slice() else { panic!("three targets") };
    assert_eq!(&*gpt.id, "openai/gpt-4o");
    assert_eq!(gpt.url, "https://api.openai.com/v1/chat/completions");
    assert_eq!(gpt.model.context, Some(Tokens::new(128_000)));
    assert!(gpt.model.prices.is_some() && claude.model.prices.is_some() && gemini.model.prices.is_some());
    assert!(claude.url.starts_with("https://api.anthropic.com/v1/"));
    assert!(gemini.url.starts_with("https://generativelanguage.googleapis.com/v1beta/"));
    assert!(chain.targets.iter().all(|target| target.credential.identity.is_some()));
    assert_eq!((gpt.clocks.idle, gpt.clocks.first_token), (Duration::from_secs(30), None));
    assert_eq!(gateway.server.listen.to_string(), "127.0.0.1:4000");
    assert_eq!(gateway.hash.len(), 12);
}

#[test]
fn the_example_compiles_with_every_line_in_force() {
    let mut surroundings = surroundings();
    for name in ["PITON_ADMIN_KEY", "PITON_KEY_CHECKOUT", "LOCAL_PROXY"] {
        surroundings.environment.insert(name.to_owned(), format!("http://{name}"));
    }
    let (gateway, _) = compile_with(&example_in_full(), &surroundings);
    assert_eq!(gateway.chains.len(), 3);
    assert_eq!(gateway.chains["bulk"].targets[2].group.as_ref().unwrap().members().len(), 2);
    assert_eq!(gateway.chains["bulk"].targets[0].url, "http://127.0.0.1:11434/v1/chat/completions");
    assert!(!gateway.chains["bulk"].targets[0].has_breaker);
    let caller = gateway.caller("http://PITON_KEY_CHECKOUT").unwrap();
    assert!(caller.reaches("primary-chat") && !caller.reaches("bulk"));
    assert!(caller.reaches("local/x") && !caller.reaches("openai/x"));
    assert!(gateway.caller("else").is_none());
    assert!(gateway.admin_key.unwrap().matches("http://PITON_ADMIN_KEY"));
}

#[test]
fn values_come_from_the_closest_place() {
    let targets = targets(
        r#"
[defaults]
retries = 2
idle_timeout = "10s"
max_cost = 1
max_price = { input = 7, output = 70 }
[chains.c]
idle_timeout = "20s"
max_cost = 2
targets = ["openai/gpt-4o", { model = "openai/o3", idle_timeout = "5s", max_price = { output = 90 }, retries = 0 }]
"#,
    );
    let usd = |usd| Price::from_usd_per_million(usd);
    assert_eq!(targets[0].clocks.idle, Duration::from_secs(20));
    assert_eq!(targets[1].clocks.idle, Duration::from_secs(5));
    assert_eq!([targets[0].clocks.retries, targets[1].clocks.retries], [2, 0]);
    assert_eq!(targets[1].limits.max_cost, Cost::from_usd(2.0));
    assert_eq!(targets[0].limits.max_price.unwrap().output, usd(70.0));
    let own = targets[1].limits.max_price.unwrap();
    assert_eq!((own.input, own.output), (usd(7.0), usd(90.0)));
    assert_eq!(targets[0].limits.expected_output, Tokens::new(1000));
}

#[test]
fn inherited_clocks_are_cut_to_what_is_closer() {
    let targets = targets(
        r#"
[defaults]
first_token_timeout = "20s"
answer_timeout = "5m"
retry_after_max = "30s"
[chains.c]
deadline = "8s"
targets = ["openai/gpt-4o", { model = "openai/o3", stream_timeout = "6s" }]
"#,
    );
    let clocks = targets[0].clocks;
    assert_eq!(clocks.first_token, Some(Duration::from_secs(8)));
    assert_eq!(clocks.answer, Duration::from_secs(8));
    assert_eq!(clocks.retry_after_max, Duration::from_secs(8));
    assert_eq!(clocks.stream, Duration::from_mins(10), "after commit the deadline is over");
    let clocks = targets[1].clocks;
    assert_eq!((clocks.first_token, clocks.idle), (Some(Duration::from_secs(6)), Duration::from_secs(6)));
}

#[test]
fn policies_merge_class_by_class() {
    let gateway = gateway(
        r#"
[defaults]
on = { empty = "accept", content_filter = "fallback" }
max_attempts = 9
commit = { time = "2s" }
[chains]
plain = ["openai/gpt-4o"]
[chains.c]
commit = { chars = 50 }
on = { content_filter = "stop" }
targets = ["openai/gpt-4o"]
"#,
    );
    let policy = &gateway.chains["c"].policy;
    assert_eq!(policy.on[&Class::Empty], Action::Accept);
    assert_eq!(policy.on[&Class::ContentFilter], Action::Stop);
    assert_eq!((policy.max_attempts, policy.commit), (9, Commit::Chars(50)));
    assert_eq!(gateway.chains["plain"].policy.commit, Commit::Time(Duration::from_secs(2)));
}

#[test]
fn a_base_url_without_a_path_gets_the_usual_prefix() {
    let url = |kind: &str, base: &str| {
        let text =
            format!("[providers.p]\nkind = \"{kind}\"\nbase_url = \"{base}\"\n[chains]\nc = [\"p/m\"]\n");
        targets(&text)[0].url.clone()
    };
    assert_eq!(url("openai", "http://h:1"), "http://h:1/v1/chat/completions");
    assert_eq!(url("openai", "http://h:1/"), "http://h:1/v1/chat/completions");
    assert_eq!(url("openai", "http://h:1/x/"), "http://h:1/x/chat/completions");
    assert_eq!(url("groq", "http://h:1"), "http://h:1/openai/v1/chat/completions");
}

#[test]
fn a_vendors_key_goes_to_that_vendor_only() {
    let key = |section: &str, chain: &str| {
        let text = format!("{section}\n[chains]\nc = [\"{chain}\"]\n");
        targets(&text)[0].credential.clone()
    };
    let home = key("", "openai/gpt-4o").identity;
    assert!(home.is_some());
    assert_eq!(key("[providers.eu]\nkind = \"openai\"", "eu/gpt-4o").identity, home);
    assert_eq!(key("[providers.x]\nkind = \"openai\"\nbase_url = \"http://h\"", "x/m").identity, None);
    let moved = key("[providers.openai]\nbase_url = \"http://h\"", "openai/gpt-4o").identity;
    assert!(moved.is_some() && moved != home, "the same key elsewhere is another credential");
    assert_eq!(key("", "ollama/llama3").missing, None);
    assert_eq!(key("[providers.groq]\nbase_url = \"http://h\"", "groq/m").missing, None);
    let other = key("[providers.x]\nkind = \"openai\"\napi_key = \"env:OTHER_KEY\"", "x/m").identity;
    assert!(other.is_some() && other != home);
}

#[test]
fn headers_that_name_a_secret_tell_accounts_apart() {
    let identity = |value: &str| {
        let text = format!(
            "[providers.p]\nkind = \"openai\"\nbase_url = \"http://h\"\nheaders = {{ x-key = \"{value}\" }}\n\
             [chains]\nc = [\"p/m\"]\n"
        );
        targets(&text)[0].credential.identity
    };
    assert_eq!(identity("plain"), None);
    assert!(identity("env:OTHER_KEY").is_some());
    assert_ne!(identity("env:OTHER_KEY"), identity("env:OPENAI_API_KEY"));
}

#[test]
fn models_are_known_by_catalog_override_likeness_and_markup() {
    let targets = targets(
        r#"
[providers.p]
kind = "openai"
base_url = "http://h"
price_factor = 2
[models."p/gpt-4o"]
context = 1000
[models."p/mine"]
like = "anthropic/claude-sonnet-4-5"
capabilities = { vision = false }
[models."p/local"]
price = { input = 1, output = 2 }
capabilities = { reasoning = false }
[chains]
c = ["openai/gpt-4o", "p/gpt-4o", "p/mine", "p/local", "p/nobody-knows", "openai/o3"]
"#,
    );
    let prices = |at: usize| targets[at].model.prices.clone().unwrap();
    assert_eq!(prices(1).input(), prices(0).input().scaled(2.0));
    assert_eq!(targets[1].model.context, Some(Tokens::new(1000)));
    assert_eq!(targets[1].model.max_output, targets[0].model.max_output);
    let claude = crate::catalog::lookup("anthropic", "claude-sonnet-4-5").unwrap();
    assert_eq!(prices(2).output(), claude.prices.unwrap().output().scaled(2.0));
    assert!(!targets[2].model.capabilities.vision);
    assert_eq!(Some(prices(3).output()), Price::from_usd_per_million(2.0), "an own price is not marked up");
    assert_eq!(targets[4].model, crate::catalog::Model::unknown());
}

#[test]
fn a_model_may_be_like_another_of_the_file() {
    let text = r#"
[providers]
a = { kind = "openai", base_url = "http://a" }
b = { kind = "openai", base_url = "http://b", price_factor = 2 }
[models."b/two"]
like = "a/alias"
max_output = 50
[models."a/alias"]
like = "a/one"
context = 500
[models."a/one"]
price = { input = 1, output = 2, windows = [{ days = ["mon-sun"], input = 3 }] }
context = 1000
[chains]
c = [{ any = ["a/one", "b/two"] }]
"#;
    let targets = targets(text);
    let deployments: Vec<_> = targets[0].deployments().collect();
    assert_eq!(deployments[1].model.prices, deployments[0].model.prices);
    assert_eq!(deployments[1].model.prices_now().map(Prices::input), Price::from_usd_per_million(3.0));
    assert_eq!(
        (deployments[1].model.context, deployments[1].model.max_output),
        (Some(Tokens::new(500)), Some(Tokens::new(50)))
    );
    let circle = text.replace("context = 1000", "like = \"b/two\"");
    let refused = load(&source(&circle), &Arc::new(Runtime::new(1 << 20)), &surroundings());
    let messages: Vec<&str> = refused.diagnostics.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(messages[0], "`like` leads in a circle: `b/two`, `a/alias`, `a/one`, `b/two`");
    assert!(refused.gateway.is_none());
}

#[test]
fn a_model_is_told_to_think_as_the_catalog_says() {
    let of = |provider, model| thinking(&crate::catalog::lookup(provider, model).unwrap().reasoning);
    assert_eq!(of("openai", "gpt-4o"), Thinking::Never);
    assert_eq!(thinking(&crate::catalog::Model::unknown().reasoning), Thinking::Unknown);
    let Thinking::Controlled(controls) = of("openai", "o3") else { panic!("o3 thinks") };
    assert!(!controls.can_be_off && controls.efforts.iter().any(|effort| effort == "high"));
}

#[test]
fn breakers_inherit_key_by_key() {
    let text = |defaults: &str, provider: &str| {
        let text = format!("[defaults]\n{defaults}\n[providers.openai]\n{provider}\n");
        let file = read(&text);
        let provider = file.providers.0[0].value.breaker.clone();
        breaker(&file.defaults, provider.as_ref())
    };
    let usual = BreakerRule::default();
    assert_eq!(text("", ""), Some(usual));
    assert_eq!(text("breaker = false", ""), None);
    assert_eq!(text("", "breaker = false"), None);
    assert_eq!(
        text("breaker = false", "breaker = { failures = 2 }"),
        Some(BreakerRule { failures: 2, ..usual })
    );
    let cool_down = Duration::from_secs(1);
    assert_eq!(
        text("breaker = { cool_down = \"1s\" }", "breaker = { failures = 2 }"),
        Some(BreakerRule { failures: 2, cool_down, ..usual })
    );
}

#[test]
fn a_missing_credential_is_a_warning_and_the_target_stays() {
    let text =
        "[chains]\nc = [\"openai/gpt-4o\", \"mistral/mistral-large-latest\", \"mistral/codestral-latest\"]\n";
    let (gateway, warnings) = compile_with(text, &surroundings());
    let missing: Vec<_> =
        gateway.chains["c"].targets.iter().map(|target| target.credential.missing.as_deref()).collect();
    assert_eq!(missing, [None, Some("MISTRAL_API_KEY"), Some("MISTRAL_API_KEY")]);
    insta::assert_snapshot!(shown(text, &warnings), @r#"
        warning: environment variable MISTRAL_API_KEY is not set: targets of `mistral` are skipped
         --> piton.toml:2:23
          |
        2 | c = ["openai/gpt-4o", "mistral/mistral-large-latest", "mistral/codestral-latest"]
          |                       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = note: at chains.c[1]
          = help: provide MISTRAL_API_KEY, or take its targets out
        "#);
    let blind = Surroundings { check_secrets: false, ..Surroundings::default() };
    let (gateway, warnings) = compile_with(text, &blind);
    assert!(warnings.is_empty());
    assert!(gateway.chains["c"].targets.iter().all(|target| target.credential.missing.is_none()));
}

#[test]
fn a_vendors_second_variable_does_too() {
    let (gateway, _) = compile_with("[chains]\nc = [\"gemini/gemini-2.5-flash\"]\n", &surroundings());
    assert_eq!(gateway.chains["c"].targets[0].credential.missing, None);
}

#[test]
fn targets_of_several_chains_share_their_memory_and_keep_it_over_reloads() {
    let runtime = Arc::new(Runtime::new(1 << 20));
    let health = |text: &str, chain: &str| {
        let loaded = load(&source(text), &runtime, &surroundings());
        Arc::clone(&loaded.gateway.unwrap().chains[chain].targets[0].health)
    };
    let text = "[chains]\na = [\"openai/gpt-4o\"]\nb = [\"openai/gpt-4o\"]\n";
    let first = health(text, "a");
    assert!(Arc::ptr_eq(&first, &health(text, "b")));
    let other_key = "[providers.openai]\napi_key = \"env:OTHER_KEY\"\n";
    assert!(!Arc::ptr_eq(&first, &health(&format!("{other_key}{text}"), "a")));
}

#[test]
fn the_hash_follows_the_file_and_what_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let write = |key: &str| std::fs::write(dir.path().join("key"), key).unwrap();
    let hash = |more: &str| {
        let text =
            format!("[chains]\na = [\"openai/gpt-4o\"]\n[providers.openai]\napi_key = \"file:key\"\n{more}");
        let source = Source { name: dir.path().join("piton.toml"), text };
        let loaded = load(&source, &Arc::new(Runtime::new(1)), &surroundings());
        loaded.gateway.unwrap().hash
    };
    write("one");
    let first = hash("");
    assert_eq!(first, hash(""));
    assert_ne!(first, hash("# a comment"));
    write("two");
    assert_ne!(first, hash(""));
}

#[test]
fn sizes_are_cut_to_the_memory_and_the_address_can_be_overridden() {
    let text = "[server]\nbuffer_memory = \"16MiB\"\n[chains]\nc = [\"openai/gpt-4o\"]\n";
    let listen = Some("127.0.0.1:1".parse().unwrap());
    let (gateway, _) = compile_with(text, &Surroundings { listen, ..surroundings() });
    let server = gateway.server;
    assert_eq!([server.max_body, server.max_answer, server.buffer_memory], [16 << 20; 3]);
    assert_eq!(server.listen.port(), 1);
}
