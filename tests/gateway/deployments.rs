//! Several keys and equal deployments at one place of a chain: how requests are spread over them, and that none fails
//! for one that is refused or down.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Dialect, ask, ask_with, good, question};
use crate::support::exposition::Exposition;
use crate::support::gateway::{Builder, Gateway};
use crate::support::in_time;
use crate::support::replies;
use crate::support::script::{Gate, Script};
use crate::support::upstream::{Received, Upstream};

const KEYS: [&str; 3] = ["sk-first-key", "sk-second-key", "sk-third-key"];

/// The key that an upstream request showed.
fn shown(request: &Received) -> &str {
    request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).expect("a key")
}

/// How many requests showed each key.
fn counted(upstream: &Upstream) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in upstream.requests() {
        *counts.entry(shown(&request).to_owned()).or_default() += 1;
    }
    counts
}

fn slow_down(seconds: u64) -> Script {
    let body =
        json!({ "error": { "message": "slow down", "type": "requests", "param": null, "code": null } });
    replies::status(429, &body.to_string(), &[("retry-after", &seconds.to_string())])
}

/// A chain `chat` over one provider with the three keys, and what else the file has.
fn with_keys(upstream: &Upstream, more: &str) -> Builder {
    let config = format!(
        "[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = [\"env:ONE\", \"file:two\", \"env:THREE\"]\n\
         [chains]\nchat = [\"a/m\"]\n{more}",
        upstream.url()
    );
    Gateway::with(&config).env("ONE", KEYS[0]).file("two", &format!("{}\n", KEYS[1])).env("THREE", KEYS[2])
}

/// A provider in the file.
fn provider(name: &str, upstream: &Upstream) -> String {
    format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\n", upstream.url())
}

/// What the status says of the deployments of the first target of `chat`.
async fn deployments(gateway: &Gateway) -> Vec<Value> {
    let status = gateway.get("/piton/api/status").await;
    KEYS.iter().for_each(|key| assert!(!status.text().contains(key), "{}", status.text()));
    status.json()["chains"][0]["targets"][0]["deployments"].as_array().expect("deployments").clone()
}

#[tokio::test]
async fn three_keys_share_the_load_and_one_that_is_refused_rests_until_its_time() {
    let upstream = Upstream::start(|n, request| {
        let is_first = shown(request) == KEYS[0];
        let script = if is_first && n < 100 { slow_down(2) } else { replies::openai_json("hi") };
        Script::new().pause(Duration::from_millis(5)).then(script)
    })
    .await;
    let gateway = with_keys(&upstream, "").start().await;
    let gateway = &gateway;
    // Eight at a time, as many as there are callers.
    let callers = (0..8).map(|_| async move {
        for _ in 0..12 {
            let told = ask(gateway, "chat", false).await;
            assert_eq!((told.status, told.text.as_str()), (200, "hi"));
            assert_eq!(told.header("x-piton-target"), Some("a/m"));
            assert_eq!(
                (told.header("x-piton-target-index"), told.header("x-piton-fallback-reason")),
                (Some("0"), None)
            );
        }
    });
    let began = tokio::time::Instant::now();
    futures_util::future::join_all(callers).await;
    let counts = counted(&upstream);
    if began.elapsed() < Duration::from_secs(2) {
        assert!(counts[KEYS[0]] <= 8, "only those that were under way together: {counts:?}");
        let parked = deployments(gateway).await;
        assert_eq!(parked[0]["circuit"]["state"], "open", "{parked:?}");
        assert_eq!(parked[0]["circuit"]["reason"], "rate_limited");
        let numbers: Vec<&Value> = parked.iter().map(|one| &one["key_number"]).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert!(parked[1..].iter().all(|one| one["circuit"]["state"] == "closed" && one["in_flight"] == 0));
        let circuit = Exposition::of(gateway).await.sum("piton_circuit_state", &[("target", "a/m")]);
        assert!(circuit.abs() < f64::EPSILON, "the target itself is well");
    }
    assert!(counts[KEYS[1]].abs_diff(counts[KEYS[2]]) <= 10, "{counts:?}");
    assert_eq!(counts[KEYS[1]] + counts[KEYS[2]], 96, "every request was served by one of them: {counts:?}");

    tokio::time::sleep_until(began + Duration::from_millis(2500)).await;
    upstream.answer_with(|_, _| replies::openai_json("hi"));
    let before = counted(&upstream)[KEYS[0]];
    for _ in 0..9 {
        assert_eq!(ask(gateway, "chat", false).await.header("x-piton-attempts"), Some("1"));
    }
    let back = counted(&upstream)[KEYS[0]] - before;
    assert!((2..=4).contains(&back), "back, with its share of nine requests: {back}");
}

#[tokio::test]
async fn a_bad_key_and_an_empty_purse_are_left_out_and_told_by_their_number() {
    for (status, kind, code, class) in [
        (401, "invalid_request_error", "invalid_api_key", "auth_failed"),
        (402, "billing", "billing_hard_limit_reached", "quota_exhausted"),
        (429, "insufficient_quota", "insufficient_quota", "quota_exhausted"),
    ] {
        let upstream = Upstream::start(move |_, request| {
            if shown(request) == KEYS[0] {
                return replies::openai_error(status, kind, Some(code), "no");
            }
            replies::openai_json("hi")
        })
        .await;
        let gateway = with_keys(&upstream, "").start().await;
        for n in 0..6 {
            let body = question("chat", n % 2 == 1);
            let told = ask_with(&gateway, &[("x-piton-receipt", "true")], &body).await;
            assert_eq!(told.status, 200, "{class}");
        }
        assert_eq!(counted(&upstream)[KEYS[0]], 1, "{class}: once, and then no more");
        let first = ask_with(&gateway, &[("x-request-id", "told")], &question("chat", false)).await;
        let trail = first.header("x-piton-trail").expect("a trail").to_owned();
        assert!(trail.starts_with("a/m=skip:circuit_open, a/m=ok;"), "{trail}");
        let receipt = gateway.get("/piton/api/requests/told").await.json();
        assert_eq!(receipt["trail"][0]["key_number"], 1);
        assert!([2, 3].map(Value::from).contains(&receipt["trail"][1]["key_number"]), "{receipt}");
        let state = &deployments(&gateway).await[0]["circuit"];
        assert_eq!((&state["state"], &state["reason"]), (&json!("open"), &json!(class)));
        if class == "auth_failed" {
            let is_alarm = |line: &Value| line["message"] == "a person has to mend this target";
            assert_eq!(gateway.wait_for_log("an alarm", is_alarm).await["key_number"], 1);
        }
        assert!(KEYS.iter().all(|key| !gateway.stderr().contains(key)));
    }
}

#[tokio::test]
async fn a_missing_key_of_several_is_a_warning_and_all_missing_are_no_credential() {
    let upstream = good(Dialect::OpenAi, "hi").await;
    let other = good(Dialect::OpenAi, "other").await;
    let config = format!(
        "{}api_key = [\"env:ONE\", \"env:GONE\"]\n{}api_key = [\"env:GONE\", \"file:gone\"]\n{}\
         [chains]\nsome = [\"a/m\"]\nnone = [\"b/m\", \"c/m\"]\n",
        provider("a", &upstream),
        provider("b", &upstream),
        provider("c", &other),
    );
    let gateway = Gateway::with(&config).env("ONE", KEYS[0]).start().await;
    for _ in 0..3 {
        assert_eq!(
            ask(&gateway, "some", false).await.summary(),
            "200 hi | a=ok | by 0 (a/m) after 1 because -"
        );
    }
    assert_eq!(counted(&upstream).into_iter().collect::<Vec<_>>(), [(KEYS[0].to_owned(), 3)]);
    let told = ask(&gateway, "none", false).await;
    assert_eq!(told.header("x-piton-fallback-reason"), Some("no_credential"));
    assert!(told.header("x-piton-trail").expect("a trail").starts_with("b/m=skip:no_credential, c/m=ok;"));
    let warned = gateway.stderr();
    assert!(warned.contains("GONE is not set: this key of `a` is left out"), "{warned}");
    assert!(warned.contains("none of the keys of the list is there: targets of `b` are skipped"), "{warned}");
}

#[tokio::test]
async fn a_key_stays_parked_through_a_reload() {
    let upstream =
        Upstream::start(
            |_, request| {
                if shown(request) == KEYS[0] { slow_down(50) } else { replies::openai_json("hi") }
            },
        )
        .await;
    let gateway = with_keys(&upstream, "").start().await;
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "chat", false).await.status, 200);
    }
    gateway.rewrite_config(
        &std::fs::read_to_string(gateway.config_path())
            .unwrap()
            .replace("[chains]", "[defaults]\nretries = 0\n[chains]"),
    );
    assert_eq!(gateway.post_json("/piton/api/reload", &json!({})).await.status, 200);
    for _ in 0..6 {
        assert_eq!(ask(&gateway, "chat", false).await.status, 200);
    }
    assert_eq!(counted(&upstream)[KEYS[0]], 1);
    assert_eq!(deployments(&gateway).await[0]["circuit"]["state"], "open");
}

#[tokio::test]
async fn two_deployments_share_as_weighted_and_each_answer_names_its_own() {
    let (east, west) = (good(Dialect::OpenAi, "east").await, good(Dialect::OpenAi, "west").await);
    for balance in ["least_loaded", "weighted"] {
        let config = format!(
            "{}{}[[chains.chat.targets]]\nany = [{{ model = \"east/m\", weight = 3 }}, \"west/m\"]\nbalance = \"{balance}\"\n",
            provider("east", &east),
            provider("west", &west),
        );
        let gateway = Gateway::start(&config).await;
        let before = (east.hits(), west.hits());
        for n in 0..40 {
            let told = ask(&gateway, "chat", n % 2 == 1).await;
            assert_eq!(told.header("x-piton-target"), Some(format!("{}/m", told.text).as_str()));
            assert_eq!(told.header("x-piton-target-index"), Some("0"));
            assert_eq!(told.header("x-piton-fallback-reason"), None);
        }
        assert_eq!((east.hits() - before.0, west.hits() - before.1), (30, 10), "{balance}");
        let logged = in_time("all log lines", async {
            loop {
                let logged = gateway.events("attempt");
                if logged.len() >= 40 {
                    return logged;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let of_east = logged.iter().filter(|line| line["target"] == "east/m").count();
        assert_eq!((logged.len(), of_east), (40, 30));
        let exposition = Exposition::of(&gateway).await;
        let attempts =
            |target| exposition.sum("piton_attempts_total", &[("target", target), ("class", "ok")]);
        assert_eq!([attempts("east/m"), attempts("west/m")].map(|count| count.to_string()), ["30", "10"]);
        let shares: Vec<Value> = deployments(&gateway).await.iter().map(|one| one["share"].clone()).collect();
        assert_eq!(shares, [0.75, 0.25]);
    }
}

#[tokio::test]
async fn a_deployment_that_is_down_is_covered_for_before_the_chain_falls_back() {
    let (east, west) = (good(Dialect::OpenAi, "east").await, good(Dialect::OpenAi, "west").await);
    let second = good(Dialect::OpenAi, "second").await;
    let config = format!(
        "{}{}{}[defaults]\nretries = 0\nbreaker = {{ failures = 2, cool_down = \"10m\" }}\n\
         [chains]\nchat = [{{ any = [\"east/m\", \"west/m\"] }}, \"second/m\"]\n",
        provider("east", &east),
        provider("west", &west),
        provider("second", &second),
    );
    let gateway = Gateway::start(&config).await;
    let down = || replies::openai_error(503, "server_error", None, "down");
    east.answer_with(move |_, _| down());
    for n in 0..20 {
        let told = ask(&gateway, "chat", n % 2 == 0).await;
        assert_eq!((told.text.as_str(), told.header("x-piton-fallback-reason")), ("west", None));
    }
    assert_eq!((east.hits(), west.hits(), second.hits()), (2, 20, 0));
    west.answer_with(move |_, _| down());
    for n in 0..4 {
        let told = ask(&gateway, "chat", n % 2 == 0).await;
        let reason = if n < 2 { "overloaded" } else { "circuit_open" };
        assert_eq!((told.text.as_str(), told.header("x-piton-fallback-reason")), ("second", Some(reason)));
        assert_eq!(told.header("x-piton-target-index"), Some("1"));
    }
    assert_eq!(west.hits(), 22);
    second.answer_with(|_, _| replies::openai_error(500, "server_error", None, "down"));
    let told = ask(&gateway, "chat", false).await;
    let message = told.error["message"].as_str().expect("a message");
    let tale = "\neast/m: skipped (circuit_open)\nwest/m: skipped (circuit_open)\nsecond/m: server_error";
    assert!(told.status == 500 && message.contains(tale), "{} {message}", told.status);
    let exposition = Exposition::of(&gateway).await;
    let fallbacks = exposition.sum("piton_fallbacks_total", &[("chain", "chat"), ("to", "second/m")]);
    assert!((fallbacks - 4.0).abs() < f64::EPSILON, "{}", exposition.text);
}

#[tokio::test]
async fn the_busy_one_is_left_alone_and_a_client_that_goes_frees_it() {
    let (east, west) = (good(Dialect::OpenAi, "east").await, good(Dialect::OpenAi, "west").await);
    let config = format!(
        "{}{}[chains]\nchat = [{{ any = [\"east/m\", \"west/m\"] }}]\n",
        provider("east", &east),
        provider("west", &west),
    );
    let gateway = Gateway::start(&config).await;
    let gate = Gate::shut();
    let behind = gate.clone();
    let stream = replies::openai_stream(&["a", "b"]);
    east.answer_with(move |n, request| match n {
        0 => stream.first(2).wait(&behind).then(stream.rest(2)),
        _ => Dialect::OpenAi.good(request, "east"),
    });
    let mut long = gateway.stream("/v1/chat/completions", &question("chat", true)).await;
    assert_eq!(long.header("x-piton-target"), Some("east/m"));
    long.next_event().await.expect("an event");
    for _ in 0..6 {
        assert_eq!(ask(&gateway, "chat", false).await.text, "west");
    }
    assert_eq!(deployments(&gateway).await[0]["in_flight"], 1);
    drop(long);
    east.closed_early().await;
    let texts = [ask(&gateway, "chat", false).await.text, ask(&gateway, "chat", false).await.text];
    assert!(texts.contains(&"east".to_owned()), "{texts:?}");
}

#[tokio::test]
async fn a_group_may_stand_anywhere_and_is_named_by_any_of_its_deployments() {
    let first = Upstream::always(replies::openai_error(500, "server_error", None, "down")).await;
    let (east, west) = (good(Dialect::OpenAi, "east").await, good(Dialect::OpenAi, "west").await);
    let config = format!(
        "{}{}{}[chains]\nchat = [\"first/m\", {{ any = [\"east/m\", \"west/m\"], why = \"Two regions.\" }}]\n",
        provider("first", &first),
        provider("east", &east),
        provider("west", &west),
    );
    let gateway = Gateway::start(&config).await;
    let told = ask(&gateway, "chat", false).await;
    assert_eq!(
        (told.header("x-piton-target-index"), told.header("x-piton-fallback-reason")),
        (Some("1"), Some("server_error"))
    );
    let hits = first.hits();
    for name in ["east/m", "west/m"] {
        let mut body = question("chat", false);
        body["models"] = json!([name]);
        assert_eq!(ask_with(&gateway, &[], &body).await.status, 200);
    }
    assert_eq!((first.hits(), east.hits() + west.hits()), (hits, 3));
    let models = gateway.get("/v1/models").await.json();
    assert_eq!(models["data"].as_array().map(Vec::len), Some(1), "deployments are no models: {models}");
}

#[tokio::test]
async fn under_load_keys_and_deployments_share_as_weighted_and_no_request_fails_for_a_parked_key() {
    const CALLERS: usize = 12;
    let answer = |name: &'static str| {
        move |_: usize, request: &Received| {
            Script::new().pause(Duration::from_millis(10)).then(Dialect::OpenAi.good(request, name))
        }
    };
    let (east, west) = (Upstream::start(answer("east")).await, Upstream::start(answer("west")).await);
    let config = format!(
        "{}api_key = [\"env:ONE\", \"env:TWO\", \"env:THREE\"]\n{}\
         [[chains.chat.targets]]\nany = [{{ model = \"east/m\", weight = 3 }}, \"west/m\"]\n",
        provider("east", &east),
        provider("west", &west),
    );
    let gateway = Gateway::with(&config).env("ONE", KEYS[0]).env("TWO", KEYS[1]).env("THREE", KEYS[2]);
    let gateway = &gateway.start().await;
    let load = |requests: usize| {
        let callers = (0..CALLERS).map(move |caller| async move {
            for n in 0..requests / CALLERS {
                let told = ask(gateway, "chat", (caller + n) % 2 == 0).await;
                assert_eq!(
                    (told.status, told.header("x-piton-fallback-reason")),
                    (200, None),
                    "{}",
                    told.error
                );
            }
        });
        futures_util::future::join_all(callers)
    };
    load(360).await;
    let shares = [counted(&east)[KEYS[0]], counted(&east)[KEYS[1]], counted(&east)[KEYS[2]], west.hits()];
    assert!(shares.iter().all(|share| (72..=108).contains(share)), "a quarter of 360 each: {shares:?}");

    // One key is refused for two seconds, counted from its first refusal.
    let refused = std::sync::Arc::new(std::sync::OnceLock::new());
    let (since, good) = (std::sync::Arc::clone(&refused), answer("east"));
    east.answer_with(move |n, request| {
        let is_over =
            since.get().is_some_and(|at: &tokio::time::Instant| at.elapsed() > Duration::from_secs(2));
        if shown(request) == KEYS[0] && !is_over {
            since.get_or_init(tokio::time::Instant::now);
            return slow_down(2);
        }
        good(n, request)
    });
    let before = counted(&east)[KEYS[0]];
    load(240).await;
    let since = *refused.get().expect("a refusal");
    if since.elapsed() < Duration::from_secs(2) {
        let asked = counted(&east)[KEYS[0]] - before;
        assert!((1..=CALLERS).contains(&asked), "only those that were under way together: {asked}");
    }
    tokio::time::sleep_until(since + Duration::from_millis(2300)).await;
    let before = counted(&east)[KEYS[0]];
    load(240).await;
    let back = counted(&east)[KEYS[0]] - before;
    assert!((48..=72).contains(&back), "a quarter of 240 again: {back}");
}
