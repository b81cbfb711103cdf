//! Images that a target cannot fetch itself: fetched by Piton where the owner allows it, else a reason to pass over.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
const GIF: &str = "GIF89a\u{1}\0\u{1}\0\0\0\0;";

/// A chain of one server that takes only bytes, and of one that fetches for itself.
async fn gateway(server: &str, blind: &Upstream, seeing: Option<&Upstream>) -> Gateway {
    let provider = |name: &str, kind: &str, upstream: &Upstream| {
        format!("[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{}\"\n", upstream.url())
    };
    let mut config =
        format!("[server]\n{server}\n[defaults]\nretries = 0\n{}", provider("blind", "ollama", blind));
    let mut targets = vec!["blind/m"];
    if let Some(seeing) = seeing {
        config += &provider("seeing", "openai", seeing);
        targets.push("seeing/m");
    }
    config += &format!("[chains.main]\ntargets = {targets:?}\n");
    Gateway::start(&config).await
}

fn ask(urls: &[&str]) -> Value {
    let images = urls.iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url } }));
    json!({ "model": "main", "messages": [{ "role": "user", "content": images.collect::<Vec<_>>() }] })
}

async fn good() -> Upstream {
    Upstream::always(replies::openai_json("seen")).await
}

const ALLOWED: &str = "fetch_images = true\nfetch_images_from = [\"127.0.0.1\"]";

#[tokio::test]
async fn an_image_is_fetched_for_a_target_that_takes_only_bytes() {
    let pictures = Upstream::always(replies::status(200, GIF, &[("content-type", "text/plain")])).await;
    let blind = good().await;
    let gateway = gateway(ALLOWED, &blind, None).await;
    let url = format!("{}/cat.gif?signature=secret", pictures.url());
    let answer = gateway.post_json(CHAT, &ask(&[&url, &url, "data:image/png;base64,iVBORw0KGgo="])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(pictures.hits(), 1, "the same image is fetched once");
    let fetch = pictures.request(0);
    assert_eq!(fetch.path, "/cat.gif?signature=secret");
    assert_eq!(fetch.header("authorization"), None);
    let sent = blind.request(0).json();
    let parts = sent["messages"][0]["content"].as_array().unwrap();
    let urls: Vec<&str> = parts.iter().map(|part| part["image_url"]["url"].as_str().unwrap()).collect();
    assert!(urls[0].starts_with("data:image/gif;base64,R0lGODlh"), "the bytes say what it is: {urls:?}");
    assert_eq!(urls[0], urls[1]);
    assert_eq!(urls[2], "data:image/png;base64,iVBORw0KGgo=");
}

#[tokio::test]
async fn without_leave_such_a_target_is_passed_over() {
    let (blind, seeing) = (good().await, good().await);
    let gateway = gateway("", &blind, Some(&seeing)).await;
    let answer = gateway.post_json(CHAT, &ask(&["https://example.com/cat.png"])).await;
    assert_eq!(answer.status, 200);
    let trail = answer.header("x-piton-trail").unwrap();
    assert!(trail.starts_with("blind/m=skip:capability:image_url, seeing/m=ok"), "{trail}");
    assert_eq!(blind.hits(), 0);
    assert_eq!(
        seeing.request(0).json()["messages"][0]["content"][0]["image_url"]["url"],
        "https://example.com/cat.png"
    );
}

#[tokio::test]
async fn no_address_inside_is_fetched_from_unless_it_is_named() {
    let secrets = Upstream::always(replies::status(200, GIF, &[])).await;
    let port = secrets.address().port();
    let blind = good().await;
    let named = "fetch_images = true\nfetch_images_from = [\"pictures.internal\"]";
    let gateway = gateway(named, &blind, None).await;
    for url in [
        format!("http://127.0.0.1:{port}/x.png"),
        format!("http://localhost:{port}/x.png"),
        format!("http://[::ffff:127.0.0.1]:{port}/x.png"),
        format!("http://2130706433:{port}/x.png"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
    ] {
        let answer = gateway.post_json(CHAT, &ask(&[&url])).await;
        assert_eq!(answer.status, 400, "{url}: {}", answer.text());
        let error = answer.json()["error"].clone();
        assert_eq!(error["param"], "messages");
        assert!(!error["message"].as_str().unwrap().contains(&url), "the URL may hold a signature: {error}");
    }
    assert_eq!((secrets.hits(), blind.hits()), (0, 0));
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_the_url_could_not() {
    let secrets = Upstream::always(replies::status(200, GIF, &[])).await;
    let inside = format!("http://localhost:{}/x", secrets.address().port());
    let pictures = Upstream::always(replies::status(302, "", &[("location", &inside)])).await;
    let blind = good().await;
    let gateway = gateway(ALLOWED, &blind, None).await;
    let answer = gateway.post_json(CHAT, &ask(&[&format!("{}/x", pictures.url())])).await;
    assert_eq!((answer.status, pictures.hits(), secrets.hits()), (400, 1, 0), "{}", answer.text());
}

#[tokio::test]
async fn what_cannot_be_had_is_told_and_the_next_target_is_asked() {
    let page = replies::status(200, "<html>", &[]);
    let huge = Script::default().send("HTTP/1.1 200 OK\r\n\r\nGIF8").endless(vec![b'x'; 1 << 20]);
    let cases = [
        (replies::status(404, "", &[]), "status 404"),
        (page, "not a PNG, JPEG, GIF or WebP"),
        (huge, "larger than 20 MiB"),
        (Script::default().pause(Duration::from_millis(1)).reset(), "could not be reached"),
    ];
    for (script, why) in cases {
        let pictures = Upstream::always(script).await;
        let (blind, seeing) = (good().await, good().await);
        let gateway = gateway(ALLOWED, &blind, Some(&seeing)).await;
        let body = ask(&[&format!("{}/x", pictures.url())]);
        let answer = gateway.post_json(CHAT, &body).await;
        let trail = answer.header("x-piton-trail").unwrap();
        assert!(
            trail.starts_with("blind/m=invalid_request;") && trail.contains("seeing/m=ok"),
            "{why}: {trail}"
        );
        seeing.answer_with(|_, _| replies::openai_error(500, "server_error", None, "broken"));
        let answer = gateway.post_json(CHAT, &body).await;
        assert_eq!(blind.hits(), 0);
        assert!(!answer.text().contains(&pictures.url()), "{}", answer.text());
    }
}
