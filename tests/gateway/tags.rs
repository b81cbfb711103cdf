//! Tags: a chain that requires some never calls a target without them.

use serde_json::json;

use crate::support::chain::{PATH, ask, with};
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::Upstream;

fn provider(name: &str, upstream: &Upstream, more: &str) -> String {
    format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\n{more}\n", upstream.url())
}

#[tokio::test]
async fn only_targets_with_every_required_tag_are_called_even_in_an_outage() {
    let us = Upstream::always(replies::openai_json("us")).await;
    let eu = Upstream::always(replies::openai_error(500, "server_error", None, "broken")).await;
    let chains = r#"
[models."eu/m"]
tags = ["zdr"]
[defaults]
retries = 0
breaker = false
require = ["eu"]
[chains.chain]
require = ["zdr"]
targets = ["us/m", { model = "us/n", tags = ["eu"] }, "eu/m", { model = "eu/n", tags = ["zdr"] }]
[server]
allow_direct = ["us/*", "eu/*"]
"#;
    let config = provider("us", &us, "") + &provider("eu", &eu, "tags = [\"eu\"]") + chains;
    let gateway = Gateway::start(&config).await;
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!((answer.status, us.hits(), eu.hits()), (500, 0, 2), "{}", answer.text());
    let trail = answer.header("x-piton-trail").unwrap();
    assert!(
        trail.starts_with("us/m=skip:capability:eu, us/n=skip:capability:zdr, eu/m=server_error"),
        "{trail}"
    );
    assert_eq!(answer.header("x-piton-fallback-reason"), Some("server_error"));
    // Not by asking for it either.
    let named = with(ask(), &json!({ "models": ["us/m"] }));
    let answer = gateway.post_json(PATH, &named).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("capability")));
    // What [defaults] requires holds without a chain too.
    let direct = with(ask(), &json!({ "model": "us/m" }));
    let answer = gateway.post_json(PATH, &direct).await;
    assert_eq!((answer.status, us.hits()), (400, 0), "{}", answer.text());
    assert_eq!(answer.header("x-piton-trail"), Some("us/m=skip:capability:eu"));
    let status = gateway.get("/piton/api/status").await.json();
    let chain = &status["chains"][0];
    assert_eq!(chain["require"], json!(["eu", "zdr"]));
    assert_eq!(chain["targets"][2]["tags"], json!(["zdr", "eu"]));
    assert_eq!(chain["targets"][0]["terms"]["lacks_tag"], "eu");
}

#[tokio::test]
async fn of_equal_deployments_only_those_with_the_tags_are_called() {
    let (us, eu) = (
        Upstream::always(replies::openai_json("us")).await,
        Upstream::always(replies::openai_json("eu")).await,
    );
    let chain = "[chains.chain]\nrequire = [\"eu\"]\ntargets = [{ any = [\"us/m\", \"eu/m\"] }]\n";
    let config = provider("us", &us, "") + &provider("eu", &eu, "tags = [\"eu\"]") + chain;
    let gateway = Gateway::start(&config).await;
    for _ in 0..4 {
        let answer = gateway.post_json(PATH, &ask()).await;
        assert_eq!((answer.status, answer.header("x-piton-target")), (200, Some("eu/m")));
        let trail = answer.header("x-piton-trail").unwrap();
        assert!(trail.starts_with("us/m=skip:capability:eu, eu/m=ok;"), "{trail}");
    }
    assert_eq!((us.hits(), eu.hits()), (0, 4));
}

#[tokio::test]
async fn a_chain_or_a_branch_without_the_tags_is_an_error_of_the_file() {
    let start = |text: &'static str| async move {
        let providers = "[providers.p]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9\"\n";
        Gateway::with(&format!("{providers}{text}")).try_start().await.err().expect("it was accepted").stderr
    };
    let nothing = "[chains.a]\nrequire = [\"eu\"]\ntargets = [\"p/m\"]\n";
    assert!(start(nothing).await.contains("the chain `a` has no target with the tags that it requires"));
    let branch = "[chains]\nb = [\"p/m\"]\n[chains.a]\nrequire = [\"eu\"]\nby_task = { x = \"b\" }\n\
                  targets = [{ model = \"p/m\", tags = [\"eu\"] }]\n";
    let told = start(branch).await;
    assert!(
        told.contains("`a` requires the tag `eu`, and `p/m` of the chain `b` does not have it"),
        "{told}"
    );
}
