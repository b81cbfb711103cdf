//! Targets that need no network: reached by no proxy, gone to at once where the network is down, and the only ones that
//! a chain may call if it says so.

use serde_json::{Value, json};

use crate::support::chain::{PATH, ask};
use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::{Refusing, Upstream};

/// `a`, `b` and `c` on a network that is down, and `local`.
fn config(local: &str, offline: &str, chains: &str) -> (String, [Refusing; 2]) {
    let refusing = [Refusing::new(), Refusing::new()];
    let provider = |name: &str, url: &str, more: &str| {
        format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{url}\"\n{more}\n")
    };
    let [a, b] = &refusing;
    let text = "[defaults]\nretries = 0\nbreaker = false\n".to_owned()
        + &provider("a", &a.url(), "")
        + &provider("b", &b.url(), "")
        + &provider("c", &a.url(), "")
        + &provider("local", local, offline)
        + chains;
    (text, refusing)
}

async fn good() -> Upstream {
    Upstream::always(replies::openai_json("from here")).await
}

fn trail(answer: &Response) -> String {
    let header = answer.header("x-piton-trail").unwrap_or_default();
    let lines = header.split(", ").map(|line| line.split(';').next().unwrap_or_default());
    lines.collect::<Vec<_>>().join(" ")
}

async fn receipt(gateway: &Gateway, answer: &Response) -> Value {
    let id = answer.header("x-request-id").unwrap();
    gateway.get(&format!("/piton/api/requests/{id}")).await.json()
}

#[tokio::test]
async fn where_the_network_is_down_the_walk_goes_on_to_what_needs_none() {
    let local = good().await;
    let chains = "[chains]\nchain = [\"a/m\", \"b/m\", \"c/m\", \"local/m\"]\n";
    let (text, _down) = config(&local.url(), "offline = true", chains);
    let gateway = Gateway::start(&text).await;
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!((answer.status, answer.header("x-piton-attempts")), (200, Some("3")), "{}", answer.text());
    assert_eq!(trail(&answer), "a/m=connect_failed b/m=connect_failed c/m=skip:network local/m=ok");
    assert_eq!(answer.header("x-piton-fallback-reason"), Some("connect_failed"));
    let receipt = receipt(&gateway, &answer).await;
    let told =
        |line: usize| (receipt["trail"][line]["skip"].clone(), receipt["trail"][line]["offline"].clone());
    assert_eq!(
        [told(0), told(2), told(3)].map(|told| json!(told)),
        [json!([null, null]), json!(["network", null]), json!([null, true])]
    );
    let status = gateway.get("/piton/api/status").await.json();
    let targets = &status["chains"][0]["targets"];
    assert_eq!((&targets[0]["offline"], &targets[3]["offline"]), (&json!(false), &json!(true)));
    assert_eq!(targets[3]["tags"], json!(["offline"]));
    let explain = [("content-type", "application/json"), ("x-piton-explain", "true")];
    let plan = gateway.request("POST", PATH, &explain, ask().to_string().as_bytes()).await.json();
    assert_eq!(
        (&plan["targets"][0]["offline"], &plan["targets"][3]["offline"]),
        (&json!(false), &json!(true))
    );

    // As ever, where nobody said so.
    let (text, _down) = config(&local.url(), "", chains);
    let gateway = Gateway::start(&text).await;
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!(trail(&answer), "a/m=connect_failed b/m=connect_failed c/m=connect_failed local/m=ok");
}

#[tokio::test]
async fn it_may_be_the_last_chains_target_and_fail_too() {
    let local = Upstream::always(replies::openai_error(500, "server_error", None, "broken")).await;
    let chains = "[chains]\nlast = [{ model = \"c/m\", offline = false }, { model = \"local/m\", offline = true }]\n\
                  [chains.chain]\non_exhausted = { chain = \"last\" }\ntargets = [\"a/m\", \"b/m\"]\n";
    let (text, _down) = config(&local.url(), "", chains);
    let gateway = Gateway::start(&text).await;
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!(trail(&answer), "a/m=connect_failed b/m=connect_failed c/m=skip:network local/m=server_error");
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (502, &json!("all_targets_failed")));
    assert!(answer.text().contains("c/m: skipped (network)"), "{}", answer.text());
}

#[tokio::test]
async fn no_proxy_has_a_place_before_it() {
    let (local, proxy) = (good().await, Upstream::always(replies::openai_json("by the proxy")).await);
    // Not a name of this machine, as far as a proxy's rules go.
    let url = local.url().replace("127.0.0.1", "0.0.0.0");
    for (offline, hits) in [("", (0, 1)), ("offline = true", (1, 1))] {
        let (text, _down) = config(&url, offline, "[chains]\nchain = [\"local/m\"]\n");
        let gateway = Gateway::with(&text).env("HTTP_PROXY", &proxy.url()).start().await;
        assert_eq!(gateway.post_json(PATH, &ask()).await.status, 200);
        assert_eq!((local.hits(), proxy.hits()), hits, "{offline}");
    }
}

#[tokio::test]
async fn a_chain_may_require_it() {
    let local = good().await;
    let chains = "[chains.chain]\nrequire = [\"offline\"]\ntargets = [\"a/m\", \"local/m\"]\n";
    let (text, _down) = config(&local.url(), "offline = true", chains);
    let gateway = Gateway::start(&text).await;
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!(trail(&answer), "a/m=skip:capability:offline local/m=ok");
    let (text, _down) = config(&local.url(), "", chains);
    let ended = Gateway::with(&text).try_start().await.err().expect("a refusal");
    assert!(ended.stderr.contains("no target with the tags that it requires"), "{}", ended.stderr);
}
