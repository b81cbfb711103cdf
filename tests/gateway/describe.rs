//! `image_fallback`: images for targets that cannot see, described by another chain; and how answers, receipts, plans and
//! sums tell of it.

use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::scene::{Dialect, Rung, Scene, Told, ask_with, good, wants_stream};
use crate::support::chain::PATH;
use crate::support::client::{Response, encode};
use crate::support::exposition::Exposition;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::Upstream;
use crate::support::{in_time, piton};

const DESCRIBE: &str = "retries = 0\nimage_fallback = \"describe\"\ndescribe = { chain = \"eyes\" }";
const WORDS: &str = "a grey cat on a wall";
/// A whole answer of each: 9 tokens in and 2 out. A stream of one piece has 1 out.
const ANSWER_USD: f64 = 0.000_013;
const STREAM_USD: f64 = 0.000_011;
const DESCRIPTION_USD: f64 = 0.000_13;
/// Told of everything by its own word: what must not be in any log.
const MARK: &str = "c2VjcmV0";

/// `chat` over a target that cannot see and those in `more`, with `policy`; and `eyes`, which can.
fn scene(policy: &str, blind: &Upstream, more: &[&Upstream], eyes: &Upstream) -> Scene {
    let rung = |upstream| Rung::new(Dialect::OpenAi, upstream).provider("breaker = false\n");
    let rungs: Vec<Rung<'_>> = [blind].iter().chain(more).map(|upstream| rung(upstream)).collect();
    let second =
        if more.is_empty() { "" } else { "[models.\"chat-1/m\"]\nprice = { input = 1000, output = 2000 }" };
    Scene::default()
        .chain("chat", policy, &rungs)
        .chain("eyes", "retries = 0", &[rung(eyes)])
        .also("[models.\"chat-0/m\"]\nprice = { input = 1, output = 2 }\ncapabilities = { vision = false }")
        .also("[models.\"eyes-0/m\"]\nprice = { input = 10, output = 20 }")
        .also(second)
}

async fn eyes() -> Upstream {
    good(Dialect::OpenAi, WORDS).await
}

async fn blind() -> Upstream {
    good(Dialect::OpenAi, "answered").await
}

async fn failing(status: u16, kind: &str) -> Upstream {
    Upstream::always(replies::openai_error(status, kind, None, "no")).await
}

/// The nth of many pictures.
fn picture(nth: usize) -> String {
    format!("data:image/png;base64,iVBORw0KGgo{MARK}{nth:04}")
}

fn look(urls: &[&str], streamed: bool) -> Value {
    let mut parts = vec![json!({ "type": "text", "text": "What is this?" })];
    parts.extend(urls.iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url } })));
    json!({ "model": "chat", "stream": streamed, "messages": [{ "role": "user", "content": parts }] })
}

async fn told_of(gateway: &Gateway, id: &str, body: &Value) -> (Told, Value) {
    let told = ask_with(gateway, &[("x-request-id", id)], body).await;
    (told, gateway.get(&format!("/piton/api/requests/{id}")).await.json())
}

async fn explained(gateway: &Gateway, headers: &[(&str, &str)], body: &Value) -> Value {
    let headers = [&[("content-type", "application/json"), ("x-piton-explain", "true")], headers].concat();
    let answer: Response = gateway.request("POST", PATH, &headers, body.to_string().as_bytes()).await;
    answer.json()
}

fn is_usd(value: &Value, usd: f64) -> bool {
    value.as_f64().is_some_and(|told| (told - usd).abs() < 1e-12)
}

#[tokio::test]
async fn a_target_that_cannot_see_gets_words_and_everything_says_so() {
    let (blind, eyes) = (blind().await, eyes().await);
    let gateway = scene(DESCRIBE, &blind, &[], &eyes).start().await;
    for (nth, (streamed, answer_usd)) in [(false, ANSWER_USD), (true, STREAM_USD)].into_iter().enumerate() {
        let id = format!("told-{nth}");
        let (told, receipt) = told_of(&gateway, &id, &look(&[&picture(nth)], streamed)).await;
        assert_eq!((told.status, &*told.text, told.ended_well), (200, "answered", true), "{}", told.error);
        let header = |name| told.header(name).unwrap_or("-");
        assert_eq!(header("x-piton-described"), "eyes;images=1;cached=0");
        assert_eq!((header("x-piton-chain"), header("x-piton-target")), ("chat", "chat-0/m"));
        assert_eq!((header("x-piton-attempts"), header("x-piton-fallback-reason")), ("1", "-"));
        let trail = header("x-piton-trail");
        assert!(
            trail.starts_with("eyes-0/m=describe:ok;") && trail.contains(", chat-0/m=ok;"),
            "described first: {trail}"
        );
        let asked = eyes.request(nth);
        assert!(!wants_stream(&asked));
        let parts = asked.json()["messages"][0]["content"].clone();
        assert_eq!(parts[1]["image_url"]["url"], picture(nth));
        assert!(parts[0]["text"].as_str().is_some_and(|prompt| prompt.contains("cannot see")), "{parts}");
        let sent = blind.request(nth);
        assert_eq!(wants_stream(&sent), streamed);
        let parts = sent.json()["messages"][0]["content"].clone();
        assert_eq!(parts[0]["text"], "What is this?");
        let words = parts[1]["text"].as_str().expect("text in place of the image");
        assert!(words.starts_with("[An image was here.") && words.contains(WORDS), "{words}");

        assert_eq!((&receipt["attempts"], &receipt["target_index"]), (&json!(1), &json!(0)), "{receipt:#}");
        assert!(is_usd(&receipt["cost_usd"], answer_usd + DESCRIPTION_USD), "{receipt:#}");
        let described = &receipt["described"][0];
        assert_eq!(
            (&described["chain"], &described["images"][0]["outcome"]),
            (&json!("eyes"), &json!("described"))
        );
        assert!(is_usd(&described["cost_usd"], DESCRIPTION_USD), "{described}");
        let [beside, own] = &receipt["trail"].as_array().expect("a trail")[..] else { panic!("{receipt:#}") };
        assert_eq!(beside["describes"], json!({ "chain": "eyes", "image": described["images"][0]["image"] }));
        assert_eq!((&own["target"], &own["images_described"]), (&json!("chat-0/m"), &json!(true)));
    }
    let metrics = Exposition::read(gateway.get("/metrics").await.text());
    let cost = metrics.sum("piton_cost_usd_total", &[("chain", "chat")]);
    assert!((cost - ANSWER_USD - STREAM_USD - 2.0 * DESCRIPTION_USD).abs() < 1e-12, "{cost}");
    assert!(metrics.sum("piton_fallbacks_total", &[]).abs() < f64::EPSILON);
    assert!((metrics.sum("piton_requests_total", &[]) - 2.0).abs() < f64::EPSILON);
    let logs = gateway.stderr();
    assert!(!logs.contains(WORDS) && !logs.contains(MARK), "neither images nor words are logged");
    let status = gateway.get("/piton/api/status").await.json();
    assert_eq!(status["chains"][0]["describe"], "eyes");
}

#[tokio::test]
async fn what_was_described_once_costs_nothing_again() {
    let (blind, eyes) = (blind().await, eyes().await);
    let gateway = scene(DESCRIBE, &blind, &[], &eyes).start().await;
    let (one, two) = (picture(1), picture(2));
    told_of(&gateway, "first", &look(&[&one, &one], false)).await;
    assert_eq!(eyes.hits(), 1, "the same image twice is one");
    let mut body = look(&[&one], false);
    body["messages"].as_array_mut().expect("messages").extend([
        json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "call_1", "type": "function",
            "function": { "name": "shoot", "arguments": "{}" } }] }),
        json!({ "role": "tool", "tool_call_id": "call_1", "content": [{ "type": "image_url", "image_url": { "url": two } }] }),
        json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": one } }] }),
    ]);
    let (told, receipt) = told_of(&gateway, "second", &body).await;
    assert_eq!((told.status, eyes.hits()), (200, 2), "{}", told.error);
    assert_eq!(told.header("x-piton-described"), Some("eyes;images=2;cached=1"));
    let images = receipt["described"][0]["images"].as_array().expect("images");
    let outcomes: Vec<&Value> = images.iter().map(|image| &image["outcome"]).collect();
    assert!(outcomes.contains(&&json!("cached")) && outcomes.contains(&&json!("described")), "{receipt:#}");
    assert!(!blind.request(1).json().to_string().contains("image_url"), "wherever they stood");

    let (told, receipt) = told_of(&gateway, "third", &look(&[&two], true)).await;
    assert_eq!((told.status, eyes.hits()), (200, 2));
    assert_eq!(told.header("x-piton-described"), Some("eyes;images=1;cached=1"));
    assert!(is_usd(&receipt["cost_usd"], STREAM_USD), "{receipt:#}");
    assert!(is_usd(&receipt["described"][0]["cost_usd"], 0.0), "{receipt:#}");
    // What stands behind a URL may change.
    for hits in [3, 4] {
        let told = ask_with(&gateway, &[], &look(&["https://example.com/cat.png"], false)).await;
        assert_eq!((told.status, eyes.hits()), (200, hits));
        assert_eq!(told.header("x-piton-described"), Some("eyes;images=1;cached=0"));
    }
}

#[tokio::test]
async fn a_description_is_no_longer_than_it_may_be() {
    let (blind, eyes) = (blind().await, Upstream::always(replies::openai_json(&"é".repeat(10_000))).await);
    let policy = "describe = { chain = \"eyes\", prompt = \"What is it?\", max_tokens = 10 }";
    let gateway = scene(policy, &blind, &[], &eyes).start().await;
    assert_eq!(ask_with(&gateway, &[], &look(&[&picture(1)], false)).await.status, 200);
    let asked = eyes.request(0).json();
    assert_eq!(
        (&asked["max_tokens"], &asked["messages"][0]["content"][0]["text"]),
        (&json!(10), &json!("What is it?"))
    );
    let sent = blind.request(0).json();
    let words = sent["messages"][0]["content"][1]["text"].as_str().expect("words");
    assert_eq!(words.matches('é').count(), 80, "16 bytes for each token");
}

#[tokio::test]
async fn images_that_many_ask_for_at_once_are_described_once() {
    let slow = Script::new().pause(Duration::from_millis(300)).then(replies::openai_json(WORDS));
    let (blind, eyes) = (blind().await, Upstream::always(slow).await);
    let gateway = scene(DESCRIBE, &blind, &[], &eyes).start().await;
    let body = look(&[&picture(1)], false);
    let all = join_all((0..8).map(|_| ask_with(&gateway, &[], &body))).await;
    assert!(all.iter().all(|told| told.status == 200), "{all:?}");
    assert_eq!((eyes.hits(), blind.hits()), (1, 8));
    let paid = all.iter().filter(|told| told.header("x-piton-described") == Some("eyes;images=1;cached=0"));
    assert_eq!(paid.count(), 1);
}

#[tokio::test]
async fn skipped_or_refused_where_nothing_else_is_configured() {
    for policy in ["retries = 0", "retries = 0\nimage_fallback = \"skip\"\ndescribe = { chain = \"eyes\" }"] {
        let (blind, seeing, eyes) = (blind().await, good(Dialect::OpenAi, "seen").await, eyes().await);
        let gateway = scene(policy, &blind, &[&seeing], &eyes).start().await;
        let (told, receipt) = told_of(&gateway, "skipped", &look(&[&picture(1)], false)).await;
        assert_eq!((told.status, &*told.text), (200, "seen"));
        assert_eq!(told.trail(), "0=skip:capability:vision 1=ok");
        assert_eq!((told.header("x-piton-described"), told.header("x-piton-fallback-reason")), (None, None));
        assert_eq!(
            (&receipt["trail"][0]["skip"], receipt.get("described")),
            (&json!("capability:vision"), None)
        );

        let refused = scene(policy, &blind, &[], &eyes).start().await;
        let told = ask_with(&refused, &[], &look(&[&picture(1)], false)).await;
        assert_eq!((told.status, told.error["code"].as_str()), (400, Some("capability")), "{}", told.error);
        assert_eq!(told.header("x-piton-cost-usd"), Some("0.000000000"));
        assert_eq!(blind.hits() + eyes.hits(), 0);
    }
}

#[tokio::test]
async fn whoever_can_see_gets_the_image_itself() {
    let (blind, seeing, eyes) =
        (failing(503, "server_error").await, good(Dialect::OpenAi, "seen").await, eyes().await);
    let gateway = scene(DESCRIBE, &blind, &[&seeing], &eyes).start().await;
    let told = ask_with(&gateway, &[], &look(&[&picture(1)], false)).await;
    assert_eq!((told.status, &*told.text, eyes.hits()), (200, "seen", 1));
    assert_eq!(told.header("x-piton-described"), None, "it did not get words");
    assert_eq!(told.header("x-piton-fallback-reason"), Some("overloaded"));
    assert_eq!(told.header("x-piton-attempts"), Some("2"));
    assert_eq!(seeing.request(0).json()["messages"][0]["content"][1]["image_url"]["url"], picture(1));
    let text = json!({ "model": "chat", "messages": [{ "role": "user", "content": "Hello" }] });
    let told = ask_with(&gateway, &[], &text).await;
    assert_eq!(
        (told.trail(), eyes.hits()),
        ("0=overloaded 1=ok".to_owned(), 1),
        "there is nothing to describe"
    );
}

#[tokio::test]
async fn what_nobody_can_describe_goes_to_the_next_target() {
    let cases = [
        failing(503, "server_error").await,
        Upstream::always(replies::openai_json("")).await,
        Upstream::always(replies::openai_error(400, "invalid_request_error", None, "no image")).await,
    ];
    for eyes in cases {
        let (blind, seeing) = (blind().await, good(Dialect::OpenAi, "seen").await);
        let gateway = scene(DESCRIBE, &blind, &[&seeing], &eyes).start().await;
        let (told, receipt) = told_of(&gateway, "next", &look(&[&picture(1), &picture(2)], false)).await;
        assert_eq!((told.status, &*told.text, blind.hits()), (200, "seen", 0), "{}", told.error);
        assert_eq!(told.header("x-piton-fallback-reason"), Some("undescribed"));
        assert_eq!(
            (told.header("x-piton-attempts"), told.header("x-piton-target-index")),
            (Some("1"), Some("1"))
        );
        let trail = told.header("x-piton-trail").unwrap_or_default();
        assert!(trail.contains(", chat-0/m=skip:undescribed, chat-1/m=ok;"), "{trail}");
        assert_eq!(receipt["described"][0]["images"][0]["outcome"], "failed", "{receipt:#}");
        assert_eq!(seeing.request(0).json()["messages"][0]["content"][1]["image_url"]["url"], picture(1));
    }
}

#[tokio::test]
async fn where_nothing_else_is_left_the_describing_chain_speaks() {
    let cases = [
        (failing(429, "rate_limit_error").await, 429, "rate_limit_exceeded"),
        (failing(503, "server_error").await, 503, "overloaded"),
        (failing(400, "invalid_request_error").await, 400, ""),
        (Upstream::always(replies::openai_json(" ")).await, 502, "undescribed"),
    ];
    for (eyes, status, code) in cases {
        let blind = blind().await;
        let gateway = scene(DESCRIBE, &blind, &[], &eyes).start().await;
        let (told, receipt) = told_of(&gateway, "refused", &look(&[&picture(1)], false)).await;
        assert_eq!(
            (told.status, told.error["code"].as_str().unwrap_or_default()),
            (status, code),
            "{}",
            told.error
        );
        let message = told.error["message"].as_str().unwrap_or_default();
        assert!(message.contains("chat-0/m: skipped (undescribed)"), "{message}");
        assert!(message.contains("For want of a description of its images."), "{message}");
        assert_eq!((blind.hits(), &receipt["attempts"]), (0, &json!(0)));
        // What failed is not kept.
        eyes.answer_with(|_, request| Dialect::OpenAi.good(request, WORDS));
        let told = ask_with(&gateway, &[], &look(&[&picture(1)], false)).await;
        assert_eq!((told.status, blind.hits()), (200, 1), "{}", told.error);
    }
}

#[tokio::test]
async fn describing_ends_with_the_deadline_and_with_the_client() {
    let (blind, eyes) = (blind().await, Upstream::always(Script::new().silence()).await);
    let gateway = scene(DESCRIBE, &blind, &[], &eyes).start().await;
    let body = look(&[&picture(1)], false);
    let told = in_time("the deadline", ask_with(&gateway, &[("x-piton-deadline", "300ms")], &body)).await;
    assert_eq!((told.status, blind.hits()), (504, 0), "{}", told.error);

    let mut client = gateway.connect().await;
    let bytes = body.to_string();
    let headers = [("content-type", "application/json"), ("x-request-id", "left")];
    client.send(&encode(gateway.address(), "POST", PATH, &headers, bytes.as_bytes())).await;
    eyes.wait_for_hits(2).await;
    client.reset();
    in_time("the end of the call", eyes.closed_early()).await;
    let log = gateway
        .wait_for_log("the request", |line| line["request_id"] == "left" && line["message"] == "request");
    assert_eq!(log.await["outcome"], "client_cancelled");
    // Whoever waited for the one that left goes on without it.
    eyes.answer_with(|_, request| Dialect::OpenAi.good(request, WORDS));
    assert_eq!(ask_with(&gateway, &[], &body).await.status, 200);
}

#[tokio::test]
async fn budgets_ceilings_and_sums_count_descriptions() {
    let (blind, eyes) = (blind().await, eyes().await);
    let budget = "[[budgets]]\nname = \"sight\"\nusd = 0.04\nper = \"day\"\nwhere = { chain = \"eyes\" }\n\
                  [ledger]\npath = \"ledger.db\"";
    let policy = "retries = 0\ndescribe = { chain = \"eyes\", max_tokens = 100 }";
    let gateway = scene(policy, &blind, &[], &eyes).also(budget).start().await;
    let (told, receipt) = told_of(&gateway, "within", &look(&[&picture(1)], false)).await;
    assert_eq!(told.status, 200, "{}", told.error);
    let drawn = &receipt["budgets"][0];
    assert_eq!(drawn["budget"], "sight", "{receipt:#}");
    assert!(is_usd(&drawn["cost_usd"], DESCRIPTION_USD), "{receipt:#}");
    // An answer above its cap uses up nearly all of it.
    eyes.answer_with(|_, _| {
        let mut body = replies::openai_body(WORDS);
        body["usage"] = json!({ "prompt_tokens": 9, "completion_tokens": 1800, "total_tokens": 1809 });
        replies::json_reply(200, &body)
    });
    assert_eq!(ask_with(&gateway, &[], &look(&[&picture(2)], false)).await.status, 200);
    let told = ask_with(&gateway, &[], &look(&[&picture(3)], false)).await;
    assert_eq!((told.status, told.error["code"].as_str()), (402, Some("budget_exceeded")), "{}", told.error);
    // Too dear for the client: neither chain is called.
    let hits = (blind.hits(), eyes.hits());
    let told = ask_with(&gateway, &[("x-piton-max-cost", "0.0000001")], &look(&[&picture(4)], false)).await;
    assert_eq!((told.status, told.error["code"].as_str()), (402, Some("cost_ceiling")), "{}", told.error);
    assert_eq!((blind.hits(), eyes.hits()), hits);

    let total = 2.0 * ANSWER_USD + DESCRIPTION_USD + 0.036_09;
    let spend = async || gateway.get("/piton/api/spend?by=target").await.json();
    for _ in 0..100 {
        if spend().await["total"]["requests"] == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let spent = spend().await;
    assert!(is_usd(&spent["total"]["cost_usd"], total), "{spent:#}");
    let row = |target: &str| {
        let rows = spent["rows"].as_array().expect("rows");
        rows.iter().find(|row| row["target"] == target).cloned().expect("a row")
    };
    assert!(is_usd(&row("eyes-0/m")["cost_usd"], DESCRIPTION_USD + 0.036_09), "{spent:#}");
    assert_eq!((&row("eyes-0/m")["requests"], &row("chat-0/m")["requests"]), (&json!(0), &json!(2)));
    let metrics = Exposition::read(gateway.get("/metrics").await.text());
    assert!((metrics.sum("piton_cost_usd_total", &[]) - total).abs() < 1e-12);
}

#[tokio::test]
async fn the_receipt_is_the_same_from_the_ledger() {
    let (blind, eyes) = (blind().await, eyes().await);
    let scene = scene(DESCRIBE, &blind, &[], &eyes).also("[ledger]\npath = \"ledger.db\"");
    let gateway = scene.start().await;
    let (told, receipt) = told_of(&gateway, "kept", &look(&[&picture(1), &picture(2)], false)).await;
    assert_eq!(told.status, 200, "{}", told.error);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let gateway = gateway.kill_and_start_again().await;
    let kept = gateway.get("/piton/api/requests/kept").await.json();
    assert_eq!(kept, receipt);
    assert_eq!((&kept["attempts"], &kept["target"]), (&json!(1), &json!("chat-0/m")));
}

#[tokio::test]
async fn a_plan_says_who_would_describe_and_for_how_much() {
    let (blind, eyes) = (blind().await, eyes().await);
    let gateway = scene(DESCRIBE, &blind, &[], &eyes).start().await;
    let body = look(&[&picture(1), &picture(2)], false);
    let plan = explained(&gateway, &[], &body).await;
    let target = &plan["targets"][0];
    assert_eq!((&plan["status"], &plan["first"]), (&json!(200), &json!("chat-0/m")), "{plan:#}");
    assert_eq!((&target["eligible"], &target["images_described"]), (&json!(true), &json!(true)));
    let fallback = &plan["image_fallback"];
    assert_eq!(
        (&fallback["chain"], &fallback["images"], &fallback["cached"]),
        (&json!("eyes"), &json!(2), &json!(0))
    );
    assert!(fallback["cost_usd"].as_f64().is_some_and(|cost| cost > 0.04), "2 times 1000 tokens: {plan:#}");
    assert_eq!(blind.hits() + eyes.hits(), 0, "nothing is called");

    let dear = explained(&gateway, &[("x-piton-max-cost", "0.01")], &body).await;
    assert_eq!(
        (&dear["status"], &dear["targets"][0]["skip"]),
        (&json!(402), &json!("undescribed")),
        "{dear:#}"
    );
    assert_eq!(ask_with(&gateway, &[("x-piton-max-cost", "0.01")], &body).await.status, 402, "as planned");

    ask_with(&gateway, &[], &body).await;
    let again = explained(&gateway, &[], &body).await;
    assert_eq!(again["image_fallback"]["cached"], 2, "{again:#}");
    assert!(is_usd(&again["image_fallback"]["cost_usd"], 0.0));
    let text = json!({ "model": "chat", "messages": [{ "role": "user", "content": "Hello" }] });
    assert_eq!(explained(&gateway, &[], &text).await.get("image_fallback"), None);
}

/// Runs a command of `piton` beside this gateway's configuration.
fn run(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = Command::new(piton())
        .args(arguments)
        .current_dir(gateway.directory())
        .env_clear()
        .env("PITON_CONFIG", gateway.config_path())
        .output()
        .expect("a program that starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn the_command_line_says_who_describes() {
    let (blind, eyes) = (blind().await, eyes().await);
    let gateway = scene(DESCRIBE, &blind, &[], &eyes).start().await;
    let table = run(&gateway, &["check"]);
    let line = "images, where a target cannot see: described by the chain eyes, 1,000 tokens at most each";
    assert!(table.contains(line), "{table}");

    gateway.write("request.json", &look(&[&picture(1), &picture(2)], false).to_string());
    let plan = run(&gateway, &["explain", "--file", "request.json"]);
    assert!(plan.contains("would be asked in words"), "{plan}");
    assert!(plan.contains("in words: 2 images by the chain eyes, 0 known, USD 0.07"), "{plan}");
    assert_eq!(blind.hits() + eyes.hits(), 0);
}

#[tokio::test]
async fn a_last_chain_describes_by_its_own_rules() {
    let (own, spare, eyes) = (failing(503, "server_error").await, blind().await, eyes().await);
    let rung = |upstream| Rung::new(Dialect::OpenAi, upstream).provider("breaker = false\n");
    let gateway = Scene::default()
        .chain("chat", "retries = 0\non_exhausted = { chain = \"spare\" }", &[rung(&own)])
        .chain("spare", DESCRIBE, &[rung(&spare)])
        .chain("eyes", "retries = 0", &[rung(&eyes)])
        .also("[models.\"spare-0/m\"]\ncapabilities = { vision = false }")
        .start()
        .await;
    let (told, receipt) = told_of(&gateway, "last", &look(&[&picture(1)], false)).await;
    assert_eq!((told.status, &*told.text, eyes.hits()), (200, "answered", 1), "{}", told.error);
    assert_eq!((told.header("x-piton-chain"), told.header("x-piton-attempts")), (Some("spare"), Some("2")));
    assert_eq!(told.header("x-piton-fallback-reason"), Some("overloaded"));
    assert_eq!(receipt["described"][0]["chain"], "eyes", "{receipt:#}");
}

#[tokio::test]
async fn a_request_with_very_many_images_is_not_described() {
    let (blind, eyes) = (blind().await, eyes().await);
    let gateway = scene(DESCRIBE, &blind, &[], &eyes).start().await;
    let pictures: Vec<String> = (0..65).map(picture).collect();
    let urls: Vec<&str> = pictures.iter().map(String::as_str).collect();
    let told = ask_with(&gateway, &[], &look(&urls, false)).await;
    assert_eq!((told.status, told.error["code"].as_str(), eyes.hits()), (400, Some("capability"), 0));
    assert_eq!(ask_with(&gateway, &[], &look(&urls[1..], false)).await.status, 200);
    assert_eq!((eyes.hits(), blind.hits()), (64, 1));
}
