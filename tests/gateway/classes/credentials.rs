//! A bad key, or an empty purse, is every target's that uses it; a closed door is one target's.

use crate::scene::{Rung, Scene, ask_with, question, second};
use crate::support::gateway::Gateway;
use crate::support::replies::{anthropic_error, gemini_error, openai_error};
use crate::support::script::Script;
use crate::support::upstream::Upstream;

/// `one/a` and `one/b` share a provider; `other/a` is at the same address.
fn config(kind: &str, first: &Upstream, next: &Upstream, other_key: &str) -> String {
    let (url, next) = (first.url(), next.url());
    format!(
        r#"
        [providers.one]
        kind = "{kind}"
        base_url = "{url}"
        api_key = "the first key"
        [providers.other]
        kind = "{kind}"
        base_url = "{url}"
        api_key = "{other_key}"
        [providers.next]
        kind = "openai"
        base_url = "{next}"
        api_key = "the first key"
        [chains]
        chat = ["one/a", "one/b", "other/a", "next/m"]
        "#
    )
}

#[tokio::test]
async fn what_blames_the_credential_skips_its_other_targets() {
    let says = "the key is bad";
    let cases: [(&str, Script, &str); 7] = [
        ("openai", openai_error(401, "invalid_request_error", Some("invalid_api_key"), says), "auth_failed"),
        ("openai", openai_error(403, "x", None, "Incorrect API key provided: x."), "auth_failed"),
        ("openai", openai_error(429, "insufficient_quota", None, says), "quota_exhausted"),
        ("openai", openai_error(402, "billing", None, says), "quota_exhausted"),
        ("anthropic", anthropic_error(401, "authentication_error", "invalid x-api-key"), "auth_failed"),
        ("anthropic", anthropic_error(400, "x", "Your credit balance is too low"), "quota_exhausted"),
        ("gemini", gemini_error(400, "INVALID_ARGUMENT", "API key not valid."), "auth_failed"),
    ];
    for (kind, script, class) in cases {
        for streamed in [false, true] {
            for (other_key, is_same) in [("the first key", true), ("another key", false)] {
                let (first, next) = (Upstream::always(script.clone()).await, second().await);
                let gateway = Gateway::start(&config(kind, &first, &next, other_key)).await;
                let told = ask_with(&gateway, &[], &question("chat", streamed)).await;
                let other = if is_same { "skip:same_credential".to_owned() } else { class.to_owned() };
                let trail = format!("one/a={class} one/b=skip:same_credential other/a={other} next=ok");
                assert_eq!(told.trail(), trail, "{kind} {class}");
                assert_eq!(told.header("x-piton-fallback-reason"), Some(class));
                assert_eq!((told.status, told.text.as_str()), (200, "second"));
                assert_eq!((first.hits(), next.hits()), (if is_same { 1 } else { 2 }, 1));
            }
        }
    }
}

#[tokio::test]
async fn what_blames_the_target_alone_leaves_the_credentials_other_targets() {
    for (kind, script, class) in [
        ("openai", openai_error(403, "x", None, "Your project has no access to this model"), "auth_failed"),
        ("openai", openai_error(404, "x", Some("model_not_found"), "No such model"), "model_not_found"),
        ("anthropic", anthropic_error(403, "permission_error", "No access to this model"), "auth_failed"),
        ("gemini", gemini_error(403, "PERMISSION_DENIED", "No permission for this model"), "auth_failed"),
    ] {
        let (first, next) = (Upstream::always(script).await, second().await);
        let gateway = Gateway::start(&config(kind, &first, &next, "another key")).await;
        let told = ask_with(&gateway, &[], &question("chat", false)).await;
        assert_eq!(told.trail(), format!("one/a={class} one/b={class} other/a={class} next=ok"), "{kind}");
        assert_eq!((first.hits(), next.hits()), (3, 1));
    }
}

#[tokio::test]
async fn a_bad_key_and_an_unknown_model_raise_an_alarm_that_names_no_key() {
    let key = "sk-proj-abcdefghijklmnop";
    let says = format!("Incorrect API key provided: {key}");
    let refuses = Upstream::always(openai_error(401, "x", Some("invalid_api_key"), &says)).await;
    let lacks = Upstream::always(openai_error(404, "x", Some("model_not_found"), "No such model")).await;
    let next = second().await;
    let api_key = format!("api_key = \"{key}\"");
    let rungs = [&refuses, &lacks, &next].map(|upstream| {
        let dialect = crate::scene::Dialect::OpenAi;
        Rung::new(dialect, upstream)
    });
    let [first, middle, last] = rungs;
    let scene = Scene::default().chain("chat", "", &[first.provider(&api_key), middle, last]);
    let gateway = scene.start().await;
    let told = ask_with(&gateway, &[], &question("chat", false)).await;
    assert_eq!(told.trail(), "0=auth_failed 1=model_not_found 2=ok");
    for class in ["auth_failed", "model_not_found"] {
        let alarm =
            gateway.wait_for_log(class, |line| line["level"] == "WARN" && line["class"] == class).await;
        assert!(alarm["target"].as_str().is_some_and(|target| target.starts_with("chat-")), "{alarm}");
    }
    assert!(!gateway.stderr().contains("abcdefghijklmnop"));
    let metrics = gateway.get("/metrics").await.text();
    assert!(metrics.lines().any(|line| line.contains("alarm") && line.contains("auth_failed")), "{metrics}");
}
