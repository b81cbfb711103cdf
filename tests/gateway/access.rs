//! Who may call, who may look, and what of a client's head goes where.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::support::client::{Raw, Response};
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
type Headers<'a> = &'a [(&'a str, &'a str)];

const JSON: (&str, &str) = ("content-type", "application/json");

fn chains(upstream: &Upstream) -> String {
    format!(
        "[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\n[chains]\nprimary-chat = [\"a/m\"]\n\
         primary-code = [\"a/m\"]\nbulk = [\"a/m\"]\n",
        upstream.url()
    )
}

/// Three callers: one by file, one by environment, one by hash; and an admin.
async fn guarded(upstream: &Upstream) -> Gateway {
    let digest = format!("{:x}", Sha256::digest(b"key-of-three"));
    let keys = format!(
        "[[keys]]\nname = \"one\"\nsecret = \"file:one\"\nchains = [\"primary-*\"]\n\
         [[keys]]\nname = \"two\"\nsecret = \"env:KEY_TWO\"\n\
         [[keys]]\nname = \"three\"\nsecret = \"sha256:{digest}\"\nchains = [\"bulk\"]\n"
    );
    let file = format!("[server]\nadmin_key = \"env:ADMIN\"\n{}{keys}", chains(upstream));
    Gateway::with(&file)
        .file("one", "key-of-one\n")
        .env("KEY_TWO", "key-of-two")
        .env("ADMIN", "key-of-admin")
        .start()
        .await
}

fn ask(chain: &str) -> Value {
    json!({ "model": chain, "messages": [{ "role": "user", "content": "hello" }] })
}

async fn post(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let headers = [&[JSON], headers].concat();
    gateway.request("POST", path, &headers, body.to_string().as_bytes()).await
}

async fn upstream() -> Upstream {
    Upstream::always(replies::openai_json("hi")).await
}

#[tokio::test]
async fn a_key_opens_its_chains_and_nothing_else() {
    let upstream = upstream().await;
    let gateway = guarded(&upstream).await;
    // The headers, the chain, the status, and the error's code.
    let cases: &[(Headers<'_>, &str, u16, Option<&str>)] = &[
        (&[], "primary-chat", 401, Some("invalid_api_key")),
        (&[("authorization", "Bearer wrong")], "primary-chat", 401, Some("invalid_api_key")),
        (&[("authorization", "Bearer ")], "primary-chat", 401, Some("invalid_api_key")),
        (&[("authorization", "Basic key-of-one")], "primary-chat", 401, Some("invalid_api_key")),
        (&[("authorization", "key-of-one")], "primary-chat", 401, Some("invalid_api_key")),
        (&[("authorization", "Bearer key-of-on")], "primary-chat", 401, Some("invalid_api_key")),
        (&[("authorization", "Bearer key-of-admin")], "primary-chat", 401, Some("invalid_api_key")),
        (&[("x-api-key", "wrong")], "primary-chat", 401, Some("invalid_api_key")),
        (&[("authorization", "Bearer key-of-one")], "primary-chat", 200, None),
        (&[("authorization", "bearer key-of-one")], "primary-code", 200, None),
        (&[("x-api-key", "key-of-one")], "primary-chat", 200, None),
        (&[("authorization", "Bearer key-of-one")], "bulk", 403, Some("chain_not_allowed")),
        (&[("authorization", "Bearer key-of-two")], "bulk", 200, None),
        (&[("authorization", "Bearer key-of-two")], "primary-chat", 200, None),
        (&[("authorization", "Bearer key-of-three")], "bulk", 200, None),
        (&[("authorization", "Bearer key-of-three")], "primary-chat", 403, Some("chain_not_allowed")),
    ];
    let mut served = 0;
    for (headers, chain, status, code) in cases {
        let answer = post(&gateway, CHAT, headers, &ask(chain)).await;
        assert_eq!(answer.status, *status, "{headers:?} {chain}: {}", answer.text());
        served += usize::from(*status == 200);
        assert_eq!(upstream.hits(), served, "{headers:?} {chain}");
        if let Some(code) = code {
            let error = &answer.json()["error"];
            assert_eq!(error["code"], *code, "{headers:?} {chain}");
            assert!(error["message"].as_str().is_some_and(|message| message.len() > 20));
            assert!(error["type"].is_string() && error["param"].is_null());
            assert_eq!(answer.header("x-should-retry"), Some("false"));
        }
    }
}

#[tokio::test]
async fn a_caller_sees_the_models_that_its_key_reaches() {
    let upstream = upstream().await;
    let gateway = guarded(&upstream).await;
    let list = async |key: &str| {
        let bearer = format!("Bearer {key}");
        gateway.request("GET", "/v1/models", &[("authorization", bearer.as_str())], &[]).await
    };
    let ids = |answer: Response| -> Vec<String> {
        let models = answer.json()["data"].as_array().unwrap().clone();
        models.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(list("key-of-one").await), ["primary-chat", "primary-code"]);
    assert_eq!(ids(list("key-of-two").await), ["primary-chat", "primary-code", "bulk"]);
    assert_eq!(list("wrong").await.status, 401);
    let one = [("authorization", "Bearer key-of-one")];
    assert_eq!(gateway.request("GET", "/v1/models/primary-chat", &one, &[]).await.status, 200);
    assert_eq!(gateway.request("GET", "/v1/models/bulk", &one, &[]).await.status, 404);
    let unknown = post(&gateway, CHAT, &one, &ask("bulkk")).await;
    assert_eq!(unknown.status, 404);
    assert!(!unknown.text().contains("`bulk`"), "a chain out of reach is not named: {}", unknown.text());
    let near = post(&gateway, CHAT, &one, &ask("primary-chta")).await;
    assert!(near.text().contains("primary-chat"), "{}", near.text());
}

#[tokio::test]
async fn without_keys_only_loopback_names_and_own_pages_may_call() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&chains(&upstream)).await;
    let port = gateway.address().port();
    let local = format!("127.0.0.1:{port}");
    let cases = [
        (vec![("host", "localhost")], 200),
        (vec![("host", "LOCALHOST:80")], 200),
        (vec![("host", "[::1]:4000")], 200),
        (vec![("host", local.as_str()), ("authorization", "Bearer whatever")], 200),
        (vec![("host", "127.0.0.1"), ("origin", "http://localhost:3000")], 200),
        (vec![("host", "rebound.example")], 403),
        (vec![("host", "localhost.example.com")], 403),
        (vec![("host", "127.0.0.1.example.com:4000")], 403),
        (vec![("host", "192.168.0.7")], 403),
        (vec![("host", "localhost"), ("origin", "https://evil.example")], 403),
        (vec![("host", "localhost"), ("origin", "null")], 403),
        (vec![("host", "localhost"), ("origin", "http://localhost.evil.example")], 403),
    ];
    let mut served = 0;
    for (headers, status) in cases {
        for path in [CHAT, "/v1/models"] {
            let answer = match path {
                CHAT => post(&gateway, path, &headers, &ask("bulk")).await,
                _ => gateway.request("GET", path, &headers, &[]).await,
            };
            assert_eq!(answer.status, status, "{path} {headers:?}: {}", answer.text());
            assert!(answer.header("access-control-allow-origin").is_none(), "no CORS");
        }
        served += usize::from(status == 200);
        assert_eq!(upstream.hits(), served, "{headers:?}");
    }
}

#[tokio::test]
async fn with_keys_any_host_and_origin_may_call() {
    let upstream = upstream().await;
    let gateway = guarded(&upstream).await;
    let headers = [
        ("host", "gateway.example"),
        ("origin", "https://app.example"),
        ("authorization", "Bearer key-of-two"),
    ];
    assert_eq!(post(&gateway, CHAT, &headers, &ask("bulk")).await.status, 200);
}

const GUARDED: [(&str, &str); 4] = [
    ("GET", "/metrics"),
    ("GET", "/piton/api/status"),
    ("GET", "/piton/api/requests/x"),
    ("POST", "/piton/api/reload"),
];

#[tokio::test]
async fn what_piton_tells_of_itself_is_for_this_machine_and_the_admin() {
    let upstream = upstream().await;
    let gateway = guarded(&upstream).await;
    let foreign = ("host", "gateway.example");
    let origin = ("origin", "https://evil.example");
    let admin = ("authorization", "Bearer key-of-admin");
    let caller = ("authorization", "Bearer key-of-one");
    for (method, path) in GUARDED {
        let status =
            async |headers: &[(&str, &str)]| gateway.request(method, path, headers, &[]).await.status;
        let allowed = if path.contains("requests") { 404 } else { 200 };
        assert_eq!(status(&[]).await, allowed, "{path} on loopback");
        assert_eq!(status(&[foreign]).await, 401, "{path} with a foreign name");
        assert_eq!(status(&[origin]).await, 401, "{path} from a web page");
        assert_eq!(status(&[foreign, ("authorization", "Bearer wrong")]).await, 401, "{path}");
        assert_eq!(status(&[foreign, admin]).await, allowed, "{path} with the admin key");
        assert_eq!(status(&[foreign, ("x-api-key", "key-of-admin")]).await, allowed, "{path}");
        let own = if path.contains("requests") { 404 } else { 403 };
        assert_eq!(status(&[foreign, caller]).await, own, "{path} with a caller's key");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            gateway.request("GET", path, &[foreign], &[]).await.status,
            200,
            "{path} is for everybody"
        );
    }
}

#[tokio::test]
async fn open_metrics_need_no_key_and_open_nothing_else() {
    let upstream = upstream().await;
    let file = format!("[server]\nmetrics = \"open\"\n{}", chains(&upstream));
    let gateway = Gateway::start(&file).await;
    let foreign = [("host", "gateway.example")];
    assert_eq!(gateway.request("GET", "/metrics", &foreign, &[]).await.status, 200);
    assert_eq!(gateway.request("GET", "/piton/api/status", &foreign, &[]).await.status, 401);
}

#[tokio::test]
async fn a_callers_key_reads_its_own_receipts_only() {
    let upstream = upstream().await;
    let gateway = guarded(&upstream).await;
    let one = ("authorization", "Bearer key-of-one");
    let two = ("authorization", "Bearer key-of-two");
    let admin = ("authorization", "Bearer key-of-admin");
    let foreign = ("host", "gateway.example");
    for (key, id) in [(one, "mine"), (two, "theirs"), (one, "shared"), (two, "shared")] {
        assert_eq!(
            post(&gateway, CHAT, &[key, ("x-request-id", id)], &ask("primary-chat")).await.status,
            200
        );
    }
    let read = async |key: (&str, &str), id: &str| {
        let path = format!("/piton/api/requests/{id}");
        let answer = gateway.request("GET", &path, &[key, foreign], &[]).await;
        (answer.status == 200).then(|| answer.json()["key"].as_str().unwrap().to_owned())
    };
    assert_eq!(read(one, "mine").await.as_deref(), Some("one"));
    assert_eq!(read(two, "mine").await, None);
    assert_eq!(read(two, "theirs").await.as_deref(), Some("two"));
    assert_eq!(read(one, "shared").await.as_deref(), Some("one"), "another's id overwrites nothing");
    assert_eq!(read(two, "shared").await.as_deref(), Some("two"));
    assert_eq!(read(admin, "mine").await.as_deref(), Some("one"));
    assert_eq!(read(admin, "nobody's").await, None);
}

#[tokio::test]
async fn only_an_allow_list_of_headers_goes_upstream_and_never_the_clients_key() {
    let upstream = upstream().await;
    let file = format!(
        "[[keys]]\nname = \"one\"\nsecret = \"file:one\"\n[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         api_key = \"file:upstream\"\nheaders = {{ x-org = \"ours\" }}\n[chains]\nmain = [\"a/m\"]\n",
        upstream.url()
    );
    let gateway =
        Gateway::with(&file).file("one", "client-key").file("upstream", "upstream-key").start().await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("authorization", "Bearer client-key"),
        ("openai-beta", "assistants=v2"),
        ("anthropic-beta", "x-2025"),
        ("traceparent", traceparent),
        ("cookie", "session=client-cookie"),
        ("x-stainless-lang", "python"),
        ("openai-organization", "org-client"),
        ("x-api-key", "client-key"),
        ("x-forwarded-for", "10.0.0.1"),
        ("user-agent", "OpenAI/Python 1.0"),
        ("x-custom", "custom"),
        ("x-piton-task", "summary"),
        ("accept-encoding", "gzip"),
        ("x-org", "theirs"),
    ];
    assert_eq!(post(&gateway, CHAT, &headers, &ask("main")).await.status, 200);
    let received = upstream.request(0);
    let mut names: Vec<String> = received.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    let expected = [
        "accept",
        "accept-encoding",
        "anthropic-beta",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "openai-beta",
        "traceparent",
        "x-org",
    ];
    names.retain(|name| name != "user-agent");
    assert_eq!(names, expected);
    assert_eq!(received.header("authorization"), Some("Bearer upstream-key"));
    assert_eq!((received.header("x-org"), received.header("traceparent")), (Some("ours"), Some(traceparent)));
    assert!(received.header("user-agent").is_none_or(|agent| !agent.contains("Python")));
    assert_eq!(received.path, CHAT);
}

#[tokio::test]
async fn an_address_that_others_reach_needs_keys_and_an_admin_key() {
    let upstream = upstream().await;
    let chains = chains(&upstream);
    let admin = "[server]\nadmin_key = \"file:admin\"\n";
    let anonymous = "[server]\nadmin_key = \"file:admin\"\nallow_anonymous = true\n";
    let keys = "[[keys]]\nname = \"one\"\nsecret = \"file:one\"\n";
    let start = async |file: String| {
        let builder = Gateway::with(&file).file("admin", "key-of-admin").file("one", "key-of-one");
        builder.listen("0.0.0.0:0").try_start().await.map_err(|ended| ended.stderr)
    };
    // What the file lacks, and what the diagnostics name.
    let cases: [(String, &[&str]); 4] = [
        (chains.clone(), &["[[keys]]", "admin_key", "allow_anonymous"]),
        (format!("{admin}{chains}"), &["[[keys]]", "allow_anonymous"]),
        (format!("{chains}{keys}"), &["admin_key"]),
        (format!("[server]\nallow_anonymous = true\n{chains}"), &["admin_key"]),
    ];
    for (file, expected) in cases {
        let said = start(file.clone()).await.err().unwrap_or_else(|| panic!("accepted: {file}"));
        assert!(expected.iter().all(|words| said.contains(words)), "{said}");
    }
    let keyed = start(format!("{admin}{chains}{keys}")).await.expect("a gateway");
    assert_eq!(post(&keyed, CHAT, &[("host", "x.example")], &ask("bulk")).await.status, 401);
    let headers = [("host", "x.example"), ("authorization", "Bearer key-of-one")];
    assert_eq!(post(&keyed, CHAT, &headers, &ask("bulk")).await.status, 200);
    let open = start(format!("{anonymous}{chains}")).await.expect("a gateway");
    assert_eq!(post(&open, CHAT, &[("host", "x.example")], &ask("bulk")).await.status, 200);
    let page = [("host", "x.example"), ("origin", "https://evil.example")];
    assert_eq!(post(&open, CHAT, &page, &ask("bulk")).await.status, 403);
    assert_eq!(open.request("GET", "/metrics", &[("host", "x.example")], &[]).await.status, 401);
}

#[tokio::test]
async fn a_head_that_begins_with_a_single_byte_is_read_all_the_same() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&chains(&upstream)).await;
    let mut raw = Raw::connect(gateway.address()).await;
    for piece in [&b"P"[..], b"O", b"ST /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"] {
        raw.send(piece).await;
        sleep(Duration::from_millis(20)).await;
    }
    assert!(raw.read_to_end().await.starts_with(b"HTTP/1.1 404"));
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&chains(&upstream)).await;
    let mut slow = Raw::connect(gateway.address()).await;
    slow.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await;
    let said = slow.read_to_end().await;
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&said));
    assert_eq!(post(&gateway, CHAT, &[], &ask("bulk")).await.status, 200, "the others are served");
}
