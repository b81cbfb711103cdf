//! `on_exhausted`: where it may lead.

use super::compiled::gateway;
use super::*;

fn problems(text: &str) -> String {
    let mut found = found(text).diagnostics;
    found.retain(Diagnostic::is_error);
    told(&found)
}

fn chain(name: &str, last: &str) -> String {
    let last =
        if last.is_empty() { String::new() } else { format!("on_exhausted = {{ chain = \"{last}\" }}\n") };
    format!("[chains.{name}]\n{last}targets = [\"openai/gpt-4o\"]\n")
}

#[test]
fn a_chain_has_the_one_that_stands_in_for_it_and_that_one_may_have_its_own() {
    let gateway = gateway(&(chain("a", "b") + &chain("b", "c") + &chain("c", "")));
    let last = |name: &str| gateway.chains[name].last.as_ref().map(|last| last.name.to_string());
    assert_eq!(["a", "b", "c"].map(last), [Some("b".to_owned()), Some("c".to_owned()), None]);
}

#[test]
fn it_leads_to_a_chain_that_is_there_and_not_in_a_circle() {
    let file = chain("a", "b")
        + &chain("b", "c")
        + &chain("c", "a")
        + &chain("d", "d")
        + &chain("e", "a")
        + &chain("f", "bb");
    insta::assert_snapshot!(problems(&file), @"
    chains.a.on_exhausted.chain: `on_exhausted` of `a` leads in a circle: a, b, c, a [a last chain has no way back to the chains that it stands in for]
    chains.b.on_exhausted.chain: `on_exhausted` of `b` leads in a circle: b, c, a, b [a last chain has no way back to the chains that it stands in for]
    chains.c.on_exhausted.chain: `on_exhausted` of `c` leads in a circle: c, a, b, c [a last chain has no way back to the chains that it stands in for]
    chains.d.on_exhausted.chain: `on_exhausted` of `d` leads in a circle: d, d [a last chain has no way back to the chains that it stands in for]
    chains.f.on_exhausted.chain: there is no chain `bb` [did you mean `b`?]
    ");
}

#[test]
fn whoever_may_call_the_one_may_call_the_other() {
    let key = |name: &str, chains: &str| {
        format!("[[keys]]\nname = \"{name}\"\nsecret = \"sha256:{}\"\nchains = [{chains}]\n", name.repeat(64))
    };
    let keys =
        key("1", "\"chat\"") + &key("2", "\"chat\", \"spare\"") + &key("3", "\"spare\"") + &key("4", "\"*\"");
    let file = chain("chat", "spare") + &chain("spare", "") + &keys;
    insta::assert_snapshot!(problems(&file), @r#"chains.chat.on_exhausted.chain: the key "1" may call `chat` and not `spare`, which would serve it [add "spare" to the `chains` of the key "1"]"#);
    let branching = "[chains.asked]\nby_task = { a = \"chat\" }\ntargets = [\"openai/gpt-4o\"]\n";
    let file = chain("chat", "spare") + &chain("spare", "") + branching + &key("1", "\"asked\"");
    insta::assert_snapshot!(problems(&file), @r#"chains.chat.on_exhausted.chain: the key "1" may call `asked` and not `spare`, which would serve it [add "spare" to the `chains` of the key "1"]"#);
}

#[test]
fn it_has_the_tags_that_the_asking_chain_requires() {
    let file = "[providers.openai]\ntags = [\"eu\"]\n[chains.chat]\nrequire = [\"eu\"]\n\
                on_exhausted = { chain = \"spare\" }\ntargets = [\"openai/gpt-4o\"]\n\
                [chains.spare]\ntargets = [\"openai/gpt-4o\", \"ollama/x\"]\n\
                [chains.asked]\nrequire = [\"eu\"]\nby_task = { a = \"between\" }\ntargets = [\"openai/gpt-4o\"]\n\
                [chains.between]\non_exhausted = { chain = \"spare\" }\ntargets = [\"openai/gpt-4o\"]\n";
    insta::assert_snapshot!(problems(file), @"
    chains.chat.on_exhausted.chain: `chat` requires the tag `eu`, and `ollama/x` of the chain `spare` does not have it [tag the target, its model or its provider, or let `spare` require it too]
    chains.asked.by_task.a: `asked` requires the tag `eu`, and `ollama/x` of the chain `spare` does not have it [tag the target, its model or its provider, or let `spare` require it too]
    ");
}

#[test]
fn its_table_says_which_chain() {
    let file = "[chains.a]\non_exhausted = { chian = \"b\" }\ntargets = [\"openai/gpt-4o\"]\n[chains]\nb = [\"openai/gpt-4o\"]\n";
    insta::assert_snapshot!(problems(file), @"
        chains.a.on_exhausted: `chain` is missing
        chains.a.on_exhausted.chian: unknown key `chian` in `on_exhausted` [did you mean `chain`?]
        ");
}
