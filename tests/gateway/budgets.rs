//! Budgets: what may be spent in a time, whoever asks and however many at once.

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::schedules::seconds;
use crate::support::chain::metric;
use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::Upstream;

pub const CHAT: &str = "/v1/chat/completions";

/// Output only has a price, so that what a request costs is what its cap allows: 2 tokens at 10 USD a million.
pub const COST: f64 = 0.000_02;

/// Two providers with a model each; the answers of [`replies::openai_json`] are 9 tokens in and 2 out.
pub fn config(a: &Upstream, b: &Upstream, more: &str) -> String {
    format!(
        "[defaults]\nretries = 0\nbreaker = false\n[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         [providers.b]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         [models.\"a/m\"]\nprice = {{ input = 0, output = 10 }}\nmax_output = 50\n\
         [models.\"b/m\"]\nprice = {{ input = 0, output = 20 }}\nmax_output = 50\n\
         [chains]\nmain = [\"a/m\", \"b/m\"]\nalone = [\"a/m\"]\n{more}",
        a.url(),
        b.url()
    )
}

/// A time zone in which it is noon: no day ends during a test.
static NOON: LazyLock<String> = LazyLock::new(|| match seconds() / 3600 % 24 {
    // The names of these zones count westwards.
    hour @ ..12 => format!("Etc/GMT-{}", 12 - hour),
    12 => "UTC".to_owned(),
    hour => format!("Etc/GMT+{}", hour - 12),
});

pub fn budget(rest: &str) -> String {
    let noon = &*NOON;
    format!("[[budgets]]\nname = \"daily\"\nper = \"day\"\ntime_zone = \"{noon}\"\n{rest}\n")
}

fn slow(text: &str) -> Script {
    Script::new().pause(Duration::from_millis(30)).then(replies::openai_json(text))
}

fn failing() -> Script {
    replies::openai_error(500, "server_error", None, "broken")
}

pub fn ask(chain: &str) -> Value {
    json!({ "model": chain, "max_tokens": 2, "messages": [{ "role": "user", "content": "Hi" }] })
}

pub async fn post_as(gateway: &Gateway, headers: &[(&str, &str)], body: &Value) -> Response {
    let headers = [&[("content-type", "application/json")], headers].concat();
    gateway.request("POST", CHAT, &headers, body.to_string().as_bytes()).await
}

/// The statuses of so many requests at once, sorted.
async fn at_once(gateway: &Gateway, count: usize, body: &Value) -> Vec<u16> {
    let answers = join_all((0..count).map(|_| gateway.post_json(CHAT, body))).await;
    answers.iter().map(|answer| answer.status).collect()
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|found| **found == status).count()
}

/// What `/piton/api/status` says of the only budget.
pub async fn standing(gateway: &Gateway) -> Value {
    gateway.get("/piton/api/status").await.json()["budgets"][0].clone()
}

async fn receipt(gateway: &Gateway, answer: &Response) -> Value {
    let id = answer.header("x-request-id").unwrap();
    gateway.get(&format!("/piton/api/requests/{id}")).await.json()
}

pub fn is_usd(value: &Value, usd: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - usd).abs() < 1e-13)
}

#[tokio::test]
async fn of_500_requests_at_once_exactly_the_100_that_fit_are_served() {
    let a = Upstream::always(slow("a")).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("usd = 0.002"))).await;
    let statuses = at_once(&gateway, 500, &ask("alone")).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 402)), (100, 400));
    assert_eq!(a.hits(), 100);
    let standing = standing(&gateway).await;
    let [bucket] = standing["buckets"].as_array().unwrap().as_slice() else { panic!("{standing}") };
    assert!(is_usd(&bucket["used"]["usd"], 0.002) && is_usd(&bucket["reserved"]["usd"], 0.0), "{standing}");
    assert_eq!((&bucket["used"]["requests"], &standing["used_ratio"]), (&json!(100), &json!(1.0)));
    let spent = metric(&gateway, "piton_cost_usd_total{").await;
    assert!((spent - 0.002).abs() < 1e-13, "{spent}");
    assert!((metric(&gateway, "piton_budget_used_ratio{budget=\"daily\"}").await - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn without_a_cap_the_rest_is_served_as_reservations_are_released() {
    let a = Upstream::always(slow("a")).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("usd = 0.002"))).await;
    let mut body = ask("alone");
    body.as_object_mut().unwrap().remove("max_tokens");
    // Each may take 50 tokens of output, 0.0005 USD: four at once. Each takes 2. The last must leave room for 50.
    let statuses = at_once(&gateway, 200, &body).await;
    let fit = 76;
    assert_eq!((count(&statuses, 200), count(&statuses, 402)), (fit, 200 - fit));
    let standing = standing(&gateway).await;
    assert!(is_usd(&standing["buckets"][0]["used"]["usd"], 76.0 * COST), "{standing}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_budget_and_when_that_resets() {
    let a = Upstream::always(replies::openai_json("a")).await;
    // The bound, the status, and the error's type.
    let cases = [
        ("usd = 0.00003", 402, "insufficient_quota"),
        ("requests = 1", 429, "rate_limit_error"),
        ("tokens = 40", 429, "rate_limit_error"),
    ];
    for (bound, status, kind) in cases {
        let gateway = Gateway::start(&config(&a, &a, &budget(bound))).await;
        let first = gateway.post_json(CHAT, &ask("main")).await;
        assert_eq!(first.status, 200, "{bound}: {}", first.text());
        let refused = gateway.post_json(CHAT, &ask("main")).await;
        assert_eq!(refused.status, status, "{bound}: {}", refused.text());
        let error = &refused.json()["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!(kind), &json!("budget_exceeded")), "{bound}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("`daily`") && message.contains("it resets at 20"), "{message}");
        assert_eq!(refused.header("x-should-retry"), Some("false"));
        assert_eq!(refused.header("retry-after").is_some(), status == 429);
        assert_eq!(refused.header("x-piton-trail"), Some("a/m=skip:budget:daily"), "no target is asked");
        assert_eq!(refused.header("x-piton-attempts"), Some("0"));
        let receipt = receipt(&gateway, &refused).await;
        assert_eq!((&receipt["outcome"], &receipt["budgets"]), (&json!("budget_exceeded"), &Value::Null));
    }
}

#[tokio::test]
async fn a_budget_that_resets_soon_may_be_asked_again() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let rolling = "[[budgets]]\nname = \"burst\"\nper = \"2s\"\nrequests = 1\n";
    let gateway = Gateway::start(&config(&a, &a, rolling)).await;
    assert_eq!(gateway.post_json(CHAT, &ask("main")).await.status, 200);
    let refused = gateway.post_json(CHAT, &ask("main")).await;
    assert_eq!((refused.status, refused.header("x-should-retry")), (429, Some("true")));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(gateway.post_json(CHAT, &ask("main")).await.status, 200);
}

#[tokio::test]
async fn a_request_that_fails_gives_back_what_was_set_aside() {
    let a = Upstream::queue([failing(), failing(), failing()], replies::openai_json("a")).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("usd = 0.00002\nrequests = 1\ntokens = 40"))).await;
    for _ in 0..3 {
        assert_eq!(gateway.post_json(CHAT, &ask("alone")).await.status, 500);
        let standing = standing(&gateway).await;
        let bucket = &standing["buckets"][0];
        assert_eq!(bucket["used"], json!({ "usd": 0.0, "tokens": 0, "requests": 0 }), "{standing}");
        assert_eq!(bucket["used"], bucket["reserved"]);
    }
    assert_eq!(gateway.post_json(CHAT, &ask("alone")).await.status, 200);
    assert_eq!(gateway.post_json(CHAT, &ask("alone")).await.status, 402);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_back_what_was_set_aside() {
    let a = Upstream::queue([Script::new().silence()], replies::openai_json("a")).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("requests = 1"))).await;
    let gone = gateway.send_json(CHAT, &ask("alone")).await;
    a.wait_for_hits(1).await;
    // This one waits for the other, whose request may yet come to nothing.
    let body = ask("alone");
    let waits = gateway.post_json(CHAT, &body);
    let goes = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(a.hits(), 1);
        drop(gone);
    };
    let (answer, ()) = tokio::join!(waits, goes);
    assert_eq!((answer.status, a.hits()), (200, 2));
}

#[tokio::test]
async fn a_budget_may_pass_targets_over() {
    let (a, b) = (
        Upstream::always(replies::openai_json("a")).await,
        Upstream::always(replies::openai_json("b")).await,
    );
    let skip = budget("usd = 0.00002\non_exceeded = \"skip\"\nwhere = { target = \"a/*\" }");
    let gateway = Gateway::start(&config(&a, &b, &skip)).await;
    assert_eq!(gateway.post_json(CHAT, &ask("main")).await.header("x-piton-target"), Some("a/m"));
    let answer = gateway.post_json(CHAT, &ask("main")).await;
    assert_eq!((answer.status, a.hits(), b.hits()), (200, 1, 1));
    assert!(answer.header("x-piton-trail").unwrap().starts_with("a/m=skip:budget:daily, b/m=ok;"));
    assert_eq!(answer.header("x-piton-fallback-reason"), None, "its owner wanted it so");
    assert!(
        (metric(&gateway, "piton_skips_total{target=\"a/m\",reason=\"budget:daily\"}").await - 1.0).abs()
            < 1e-9
    );
    let alone = gateway.post_json(CHAT, &ask("alone")).await;
    assert_eq!((alone.status, &alone.json()["error"]["code"]), (402, &json!("budget_exceeded")));
}

#[tokio::test]
async fn a_budget_may_send_requests_to_the_cheapest_targets_first() {
    let upstreams = [
        Upstream::always(replies::openai_json("a")).await,
        Upstream::always(replies::openai_json("b")).await,
        Upstream::always(replies::openai_json("c")).await,
    ];
    let [a, b, c] = &upstreams;
    let more = format!(
        "dear = [\"b/m\", \"a/m\", \"c/m\"]\n[providers.c]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         [models.\"c/m\"]\nprice = {{ input = 0, output = 5 }}\n{}",
        c.url(),
        budget("usd = 0.00006\non_exceeded = \"downshift\"")
    );
    let gateway = Gateway::start(&config(a, b, &more)).await;
    // 40 micro-USD at the first; then 20 are left: too little for it, and the third is cheaper than the second.
    let trails = ["b/m=ok", "b/m=skip:budget:daily, c/m=ok", "b/m=skip:budget:daily, c/m=ok"];
    for trail in trails {
        let answer = gateway.post_json(CHAT, &ask("dear")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.header("x-piton-trail").unwrap().starts_with(trail), "{trail}");
    }
    let refused = gateway.post_json(CHAT, &ask("dear")).await;
    assert_eq!((refused.status, a.hits(), b.hits(), c.hits()), (402, 0, 1, 2));
    let all = "b/m=skip:budget:daily, c/m=skip:budget:daily, a/m=skip:budget:daily";
    assert_eq!(refused.header("x-piton-trail"), Some(all));
}

#[tokio::test]
async fn each_user_has_a_bucket_and_those_without_a_name_share_one() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("requests = 1\neach = \"user\""))).await;
    let cases = [("ann", 200), ("bob", 200), ("ann", 429), ("", 200), ("bob", 429), ("", 429)];
    for (user, status) in cases {
        let named: &[(&str, &str)] = if user.is_empty() { &[] } else { &[("x-piton-user", user)] };
        assert_eq!(post_as(&gateway, named, &ask("main")).await.status, status, "{user}");
    }
    let standing = standing(&gateway).await;
    assert_eq!(standing["live_buckets"], 3);
    assert!(!standing.to_string().contains("ann"), "nobody is called by name: {standing}");
}

#[tokio::test]
async fn a_budget_is_for_what_its_scope_says() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let scopes = [
        ("chain = \"al*\"", "alone", "main"),
        ("user = \"ann\", task = \"c*\"", "main", "alone"),
        ("tier = \"gold\"", "main", "alone"),
        ("provider = \"a\"", "alone", "main"),
    ];
    for (scope, inside, outside) in scopes {
        let bound = format!("requests = 1\nwhere = {{ {scope} }}");
        let gateway = Gateway::start(&config(&a, &a, &budget(&bound))).await;
        let said = [("x-piton-user", "ann"), ("x-piton-task", "code"), ("x-piton-tier", "gold")];
        let by_chain = scope.contains("chain") || scope.contains("provider");
        let others: &[(&str, &str)] = if by_chain { &said } else { &[("x-piton-user", "bob")] };
        let mut statuses = Vec::new();
        for (headers, chain) in [(&said[..], inside), (&said[..], inside), (others, outside)] {
            statuses.push(post_as(&gateway, headers, &ask(chain)).await.status);
        }
        let last = if scope.contains("provider") { 429 } else { 200 };
        assert_eq!(statuses, [200, 429, last], "{scope}");
    }
}

#[tokio::test]
async fn a_fallbacks_budget_counts_what_they_cost_above_the_first_target() {
    let (a, b) = (Upstream::always(failing()).await, Upstream::always(replies::openai_json("b")).await);
    // A fallback costs 40 micro-USD where the first target would have cost 20: two of them fit.
    let bound = budget("usd = 0.00004\ncounts = \"fallbacks\"\non_exceeded = \"skip\"");
    let gateway = Gateway::start(&config(&a, &b, &bound)).await;
    for status in [200, 200, 500] {
        let answer = gateway.post_json(CHAT, &ask("main")).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 200 {
            let receipt = receipt(&gateway, &answer).await;
            assert!(is_usd(&receipt["budgets"][0]["cost_usd"], COST), "{receipt}");
            assert!(is_usd(&receipt["cost_usd"], 2.0 * COST), "{receipt}");
        }
    }
    assert_eq!((a.hits(), b.hits()), (3, 2));
    a.answer_with(|_, _| replies::openai_json("a"));
    let answer = gateway.post_json(CHAT, &ask("main")).await;
    assert_eq!(answer.status, 200, "the first target is not what it bounds");
    assert_eq!(receipt(&gateway, &answer).await["budgets"], Value::Null);
}

#[tokio::test]
async fn several_budgets_hold_together_and_the_receipt_names_each() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let both = format!(
        "{}[[budgets]]\nname = \"of-users\"\nper = \"1h\"\nrequests = 2\neach = \"user\"\n",
        budget("usd = 0.00006")
    );
    let gateway = Gateway::start(&config(&a, &a, &both)).await;
    let post = async |user: &str| post_as(&gateway, &[("x-piton-user", user)], &ask("main")).await;
    let first = post("ann").await;
    let receipt = receipt(&gateway, &first).await;
    let drawn = receipt["budgets"].as_array().unwrap();
    let names: Vec<&str> = drawn.iter().map(|drawn| drawn["budget"].as_str().unwrap()).collect();
    assert_eq!(names, ["daily", "of-users"]);
    for drawn in drawn {
        assert!(is_usd(&drawn["cost_usd"], COST), "{drawn}");
        assert_eq!((&drawn["requests"], &drawn["tokens"]), (&json!(1), &json!(11)));
    }
    assert_eq!(post("ann").await.status, 200);
    assert_eq!(post("ann").await.status, 429, "two an hour for each");
    assert_eq!(post("bob").await.status, 200);
    assert_eq!(post("bob").await.status, 402, "three for all");
}

#[tokio::test]
async fn the_owner_is_told_once_when_a_budget_is_nearly_used_up_and_once_when_it_is_exceeded() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("usd = 0.0001\nwarn_at = 0.6"))).await;
    let mut told = Vec::new();
    for _ in 0..7 {
        gateway.post_json(CHAT, &ask("main")).await;
        told.push((
            gateway.events("a budget is nearly used up").len(),
            gateway.events("a budget did not hold a call").len(),
        ));
    }
    gateway.wait_for_log("the second", |line| line["message"] == "a budget did not hold a call").await;
    assert_eq!(gateway.events("a budget is nearly used up").len(), 1, "{told:?}");
    assert_eq!(gateway.events("a budget did not hold a call").len(), 1, "{told:?}");
    assert_eq!(gateway.events("a budget is nearly used up")[0]["budget"], "daily");
    for news in ["nearly_used_up", "exceeded"] {
        let name = format!("piton_budget_alerts_total{{budget=\"daily\",news=\"{news}\"}}");
        assert!((metric(&gateway, &name).await - 1.0).abs() < 1e-9, "{news}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_counts_as_far_as_it_came() {
    let stream = replies::openai_stream(&["one", "two", "three"]);
    let a = Upstream::always(stream.first(3).close()).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("usd = 0.001"))).await;
    let mut body = ask("alone");
    body["stream"] = json!(true);
    let broken = gateway.post_json(CHAT, &body).await;
    assert!(broken.text().contains("\"error\""), "{}", broken.text());
    let receipt = receipt(&gateway, &broken).await;
    assert_eq!(receipt["trail"][0]["usage_is_estimate"], true, "{receipt}");
    let cost = &receipt["trail"][0]["cost_usd"];
    assert!(cost.as_f64().unwrap() > 0.0, "{receipt}");
    assert_eq!(cost, &receipt["budgets"][0]["cost_usd"]);
    assert_eq!(cost, &standing(&gateway).await["buckets"][0]["used"]["usd"]);
    assert_eq!(standing(&gateway).await["buckets"][0]["reserved"]["usd"], 0.0);
}

#[tokio::test]
async fn a_stream_that_breaks_is_charged_with_the_input_that_its_provider_told_at_its_beginning() {
    let stream = replies::anthropic_stream(&["one", "two"]);
    let a = Upstream::always(stream.first(3).close()).await;
    let file = format!(
        "[defaults]\nretries = 0\nbreaker = false\n[providers.a]\nkind = \"anthropic\"\nbase_url = \"{}\"\n\
         api_key = \"env:KEY\"\n[models.\"a/m\"]\nprice = {{ input = 1, output = 10 }}\nmax_output = 50\n\
         [chains]\nalone = [\"a/m\"]\n{}",
        a.url(),
        budget("usd = 0.001")
    );
    let gateway = Gateway::with(&file).env("KEY", "k").start().await;
    let mut body = ask("alone");
    body["stream"] = json!(true);
    let broken = gateway.post_json(CHAT, &body).await;
    assert!(broken.text().contains("\"error\""), "{}", broken.text());
    let line = receipt(&gateway, &broken).await["trail"][0].clone();
    assert_eq!(
        (&line["usage"]["prompt_tokens"], &line["usage_is_estimate"]),
        (&json!(9), &json!(true)),
        "{line}"
    );
    let written = line["usage"]["completion_tokens"].as_f64().unwrap();
    assert!(written >= 1.0 && is_usd(&line["cost_usd"], (9.0 + 10.0 * written) / 1e6), "{line}");
    assert_eq!(standing(&gateway).await["buckets"][0]["used"]["usd"], line["cost_usd"]);
}

#[tokio::test]
async fn money_cannot_be_bounded_where_nobody_knows_the_price() {
    let file = "[providers.a]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9\"\n\
                [chains]\nmain = [\"a/nobody-knows\"]\n[[budgets]]\nname = \"daily\"\nper = \"day\"\n";
    let ended = Gateway::with(&format!("{file}usd = 1\n")).try_start().await.err().expect("a refusal");
    assert!(!ended.status.success());
    assert!(
        ended.stderr.contains("the budget \"daily\" needs the price of `a/nobody-knows`"),
        "{}",
        ended.stderr
    );
    assert!(Gateway::with(&format!("{file}tokens = 1000\n")).try_start().await.is_ok());
}

#[tokio::test]
async fn a_plan_says_what_is_left() {
    let a = Upstream::always(slow("a")).await;
    let b = Upstream::always(slow("b")).await;
    let budgets = format!("{}each = \"user\"\n", budget("usd = 0.0001\nrequests = 3"));
    let gateway = Gateway::start(&config(&a, &b, &budgets)).await;
    let ann = [("x-piton-user", "ann")];
    assert_eq!(post_as(&gateway, &ann, &ask("main")).await.status, 200);
    let explain = [("x-piton-user", "ann"), ("x-piton-explain", "true")];
    let plan = post_as(&gateway, &explain, &ask("main")).await.json();
    let told = &plan["budgets"][0];
    assert_eq!((&told["budget"], &told["target"]), (&json!("daily"), &json!("a/m")));
    assert_eq!(told["left"], json!({ "usd": 0.000_08, "tokens": null, "requests": 2 }));
    let other = [("x-piton-user", "bob"), ("x-piton-explain", "true")];
    let plan = post_as(&gateway, &other, &ask("main")).await.json();
    assert_eq!(plan["budgets"][0]["left"]["requests"], 3);
    assert_eq!(a.hits(), 1);
}

#[tokio::test]
async fn what_a_dialect_adds_for_thinking_is_set_aside_too() {
    let a = Upstream::always(replies::anthropic_json("a")).await;
    let file = format!(
        "[providers.a]\nkind = \"anthropic\"\nbase_url = \"{}\"\napi_key = \"env:KEY\"\n\
         [chains]\nalone = [\"a/claude-sonnet-4-5\"]\n{}",
        a.url(),
        budget("tokens = 20_000")
    );
    let gateway = Gateway::with(&file).env("KEY", "k").start().await;
    let mut body = ask("alone");
    body["max_completion_tokens"] = json!(500);
    body["reasoning_effort"] = json!("high");
    assert_eq!(gateway.post_json(CHAT, &body).await.status, 429, "500 tokens become 25,076");
    body["reasoning_effort"] = json!("low");
    assert_eq!(gateway.post_json(CHAT, &body).await.status, 200);
    assert_eq!(a.request(0).json()["max_tokens"], 4596);
}

#[tokio::test]
async fn who_sends_an_empty_name_has_none() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("requests = 1\neach = \"user\""))).await;
    let mut named = ask("main");
    named["user"] = json!("ann");
    let mut empty = ask("main");
    empty["user"] = json!("");
    let nobody = [("x-piton-user", "")];
    for (headers, body, status) in [
        (&nobody[..], &ask("main"), 200),
        (&[][..], &ask("main"), 429),
        (&nobody[..], &empty, 429),
        (&[][..], &empty, 429),
        (&nobody[..], &named, 200),
        (&[][..], &named, 429),
    ] {
        assert_eq!(post_as(&gateway, headers, body).await.status, status, "{headers:?} {body}");
    }
    assert_eq!(standing(&gateway).await["live_buckets"], 2);
}

#[tokio::test]
async fn whom_running_calls_keep_out_may_soon_try_again() {
    let a =
        Upstream::always(Script::new().pause(Duration::from_mins(1)).then(replies::openai_json("a"))).await;
    let skip = budget("requests = 1\non_exceeded = \"skip\"");
    let gateway = Gateway::start(&config(&a, &a, &skip)).await;
    let _running = gateway.send_json(CHAT, &ask("alone")).await;
    a.wait_for_hits(1).await;
    let refused = gateway.post_json(CHAT, &ask("alone")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{}", refused.text());
    assert_eq!(gateway.events("a budget did not hold a call").len(), 0);
}
