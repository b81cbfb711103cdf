//! `offline`: whom it marks, and where it cannot be true.

use super::advice::advice;
use super::compiled::gateway;
use super::*;

const LOCAL: &str = "[providers.local]\nkind = \"openai\"\nbase_url = \"http://10.1.2.3:8000/v1\"\n";

#[test]
fn a_target_is_what_it_says_or_what_its_provider_says() {
    let gateway = gateway(&format!(
        "{LOCAL}offline = true\ntags = [\"eu\"]\n[defaults]\nrequire = [\"offline\"]\n[chains.c]\n\
         targets = [\"local/m\", {{ model = \"local/n\", offline = false }}, {{ model = \"ollama/x\", offline = true }}, \
         {{ any = [{{ model = \"local/o\" }}, {{ model = \"ollama/o\" }}] }}]\n"
    ));
    let targets = &gateway.chains["c"].targets;
    assert_eq!(targets.iter().map(|target| target.is_offline).collect::<Vec<_>>(), [true, false, true, true]);
    let tags: Vec<String> = targets[0].tags.iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["eu", "offline"]);
    let lacks = |target: &Target| target.terms.as_ref().and_then(|terms| terms.lacks).is_some();
    assert_eq!(targets.iter().map(|target| lacks(target)).collect::<Vec<_>>(), [false, true, false, false]);
    let of_group = targets[3].deployments().map(lacks).collect::<Vec<_>>();
    assert_eq!(of_group, [false, true], "each deployment by its own provider");
}

#[test]
fn there_is_no_proxy_without_a_network() {
    let text = format!(
        "{LOCAL}offline = true\nproxy = \"http://127.0.0.1:3128\"\n[providers.other]\nkind = \"openai\"\n\
         base_url = \"http://h\"\nproxy = \"http://127.0.0.1:3128\"\n[chains.c]\n\
         targets = [\"local/m\", {{ model = \"other/n\", offline = true }}, {{ model = \"other/o\", offline = false }}]\n"
    );
    let loaded = found(&text);
    assert!(loaded.gateway.is_none());
    insta::assert_snapshot!(shown(&text, &loaded.diagnostics), @r#"
        error: `local` cannot need no network and be called by way of a proxy
         --> piton.toml:4:11
          |
        4 | offline = true
          |           ^^^^
          |
          = note: at providers.local.offline
          = help: take out its `proxy`, or `offline`

        error: `other` cannot need no network and be called by way of a proxy
          --> piton.toml:11:54
           |
        11 | targets = ["local/m", { model = "other/n", offline = true }, { model = "other/o", offline = false }]
           |                                                      ^^^^
           |
           = note: at chains.c.targets[1].offline
           = help: take out its `proxy`, or `offline`
        "#);
}

#[test]
fn an_address_on_the_internet_is_warned_of() {
    insta::assert_snapshot!(advice(
        r#"
[providers.public]
kind = "openai"
base_url = "http://8.8.8.8/v1"
offline = true
[providers.lan]
kind = "openai"
base_url = "http://192.168.1.7:8000/v1"
offline = true
[providers.named]
kind = "openai"
base_url = "http://llm.corp.example/v1"
offline = true
[providers.ollama]
offline = true
[chains.c]
targets = [{ model = "openai/gpt-4o", offline = true }, "public/m", "lan/m", "named/m", "ollama/m"]
"#, 20_400), @"
        providers.public.offline: `public` is said to need no network, and is called at http://8.8.8.8 [`offline` is for servers on this machine, or on a network that does not fail with the internet]
        chains.c.targets[0].offline: `openai` is said to need no network, and is called at https://api.openai.com [`offline` is for servers on this machine, or on a network that does not fail with the internet]
        ");
}
