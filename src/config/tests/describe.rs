//! `image_fallback` and `describe`: who may describe images for whom.

use super::compiled::{gateway, surroundings};
use super::*;

fn problems(text: &str) -> Vec<String> {
    let loaded = load(&source(text), &Arc::new(Runtime::new(1 << 20)), &surroundings());
    let line = |problem: &Diagnostic| {
        let more: Vec<&str> = problem.label.iter().chain(&problem.help).map(String::as_str).collect();
        format!("{}: {} [{}]", problem.path, problem.message, more.join("; "))
    };
    loaded.diagnostics.iter().filter(|problem| problem.is_error()).map(line).collect()
}

fn chain(name: &str, lines: &str) -> String {
    format!("[chains.{name}]\n{lines}\ntargets = [\"openai/gpt-4o\"]\n")
}

#[test]
fn a_chain_has_the_one_that_describes_for_it() {
    let file = chain("plain", "")
        + &chain("a", "describe = { chain = \"eyes\" }")
        + &chain(
            "b",
            "image_fallback = \"describe\"\ndescribe = { chain = \"eyes\", prompt = \"What?\", max_tokens = 50 }",
        )
        + &chain("c", "image_fallback = \"skip\"\ndescribe = { chain = \"eyes\" }")
        + &chain("eyes", "on_exhausted = { chain = \"plain\" }");
    let gateway = gateway(&file);
    let describe = |name: &str| {
        let describe = gateway.chains[name].describe.as_ref()?;
        assert!(describe.chain.last.is_none(), "its own last chain is not walked");
        Some((describe.chain.name.to_string(), describe.prompt.clone(), describe.max_tokens))
    };
    let default = crate::routing::describe::PROMPT.to_owned();
    assert_eq!(describe("a"), Some(("eyes".to_owned(), default, 1000)));
    assert_eq!(describe("b"), Some(("eyes".to_owned(), "What?".to_owned(), 50)));
    assert_eq!(["plain", "c", "eyes"].map(describe), [None, None, None]);
}

#[test]
fn a_chain_that_stands_in_for_another_describes_too() {
    let file = chain("first", "on_exhausted = { chain = \"spare\" }")
        + &chain("spare", "describe = { chain = \"eyes\" }")
        + &chain("eyes", "");
    let gateway = gateway(&file);
    let last = gateway.chains["first"].last.as_ref().unwrap();
    assert_eq!(&*last.describe.as_ref().unwrap().chain.name, "eyes");
}

#[test]
fn it_is_another_chain_that_is_there_and_sees_by_itself() {
    let file = chain("a", "image_fallback = \"describe\"")
        + &chain("b", "describe = { chain = \"ayes\" }")
        + &chain("c", "describe = { chain = \"c\" }")
        + &chain("d", "describe = { chain = \"e\" }")
        + &chain("e", "describe = { chain = \"eyes\", max_tokens = 100000 }")
        + &chain("f", "image_fallback = \"descirbe\"\ndescribe = { chian = \"eyes\" }")
        + &chain("eyes", "")
        + "[models.\"openai/gpt-4.1\"]\ncapabilities = { vision = false }\n[chains]\nblind = [\"openai/gpt-4.1\"]\n"
        + &chain("g", "describe = { chain = \"blind\" }");
    insta::assert_snapshot!(problems(&file).join("\n"), @r#"
    chains.f.image_fallback: expected "skip" or "describe", found "descirbe" [did you mean "describe"?]
    chains.f.describe: `chain` is missing []
    chains.f.describe.chian: unknown key `chian` in `describe` [did you mean `chain`?]
    chains.a.image_fallback: nothing says which chain describes the images [describe = { chain = "..." }   # a chain with targets that can see]
    chains.b.describe.chain: there is no chain `ayes` [did you mean `eyes`?]
    chains.c.describe.chain: `c` cannot describe images for itself [name another chain, of targets that can see]
    chains.d.describe.chain: `e` must see by itself, and has images described by `eyes` [name `eyes` here, or a chain without `describe`]
    chains.e.describe.max_tokens: a description of 100000 tokens is no description [16384 at most]
    chains.g.describe.chain: no target of the chain `blind` can see [if one can after all: [models."openai/gpt-4.1"] capabilities = { vision = true }]
    "#);
}

#[test]
fn whoever_may_call_the_one_may_call_the_other() {
    let key = |name: &str, chains: &str| {
        format!("[[keys]]\nname = \"{name}\"\nsecret = \"sha256:{}\"\nchains = [{chains}]\n", name.repeat(64))
    };
    let keys =
        key("1", "\"chat\"") + &key("2", "\"chat\", \"eyes\"") + &key("3", "\"eyes\"") + &key("4", "\"*\"");
    let file = chain("chat", "describe = { chain = \"eyes\" }") + &chain("eyes", "") + &keys;
    insta::assert_snapshot!(problems(&file).join("\n"), @r#"chains.chat.describe.chain: the key "1" may call `chat` and not `eyes`, which would describe images for it [add "eyes" to the `chains` of the key "1"]"#);
}

#[test]
fn it_has_the_tags_that_the_asking_chain_requires() {
    let file = "[providers.openai]\ntags = [\"eu\"]\n\
                [chains.chat]\nrequire = [\"eu\"]\ndescribe = { chain = \"eyes\" }\ntargets = [\"openai/gpt-4o\"]\n\
                [chains.eyes]\ntargets = [\"openai/gpt-4o\", \"ollama/x\"]\n\
                [chains.asked]\nrequire = [\"eu\"]\nby_task = { a = \"between\" }\ntargets = [\"openai/gpt-4o\"]\n\
                [chains.between]\ndescribe = { chain = \"eyes\" }\ntargets = [\"openai/gpt-4o\"]\n\
                [chains.first]\nrequire = [\"eu\"]\non_exhausted = { chain = \"between\" }\ntargets = [\"openai/gpt-4o\"]\n";
    insta::assert_snapshot!(problems(file).join("\n"), @"
    chains.chat.describe.chain: `chat` requires the tag `eu`, and `ollama/x` of the chain `eyes` does not have it [tag the target, its model or its provider, or let `eyes` require it too]
    chains.first.on_exhausted.chain: `first` requires the tag `eu`, and `ollama/x` of the chain `eyes` does not have it [tag the target, its model or its provider, or let `eyes` require it too]
    chains.asked.by_task.a: `asked` requires the tag `eu`, and `ollama/x` of the chain `eyes` does not have it [tag the target, its model or its provider, or let `eyes` require it too]
    ");
}
