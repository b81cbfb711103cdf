//! Hours: a target outside them is passed over, and says when it will be back.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::chain::{PATH, ask};
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::Upstream;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the test asks what day it is, as the gateway does")]
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a date").as_secs()
}

/// The day of the week, so many days from now, in UTC. Close to midnight it waits for the new day.
pub async fn day(ahead: u64) -> &'static str {
    while seconds() % 86_400 > 86_400 - 30 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    // The epoch began on a Thursday.
    DAYS[usize::try_from((seconds() / 86_400 + 3 + ahead) % 7).expect("a day")]
}

fn config(upstream: &Upstream, targets: &str) -> String {
    format!(
        "[defaults]\nretries = 0\nbreaker = false\n[providers.p]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         [chains.chain]\ntargets = [{targets}]\n",
        upstream.url()
    )
}

#[tokio::test]
async fn a_target_serves_on_its_days_only() {
    let (today, tomorrow) = (day(0).await, day(1).await);
    let upstream =
        Upstream::start(|_, request| replies::openai_json(request.json()["model"].as_str().unwrap())).await;
    let targets = format!(
        "{{ model = \"p/later\", when = {{ days = [\"{tomorrow}\"] }} }}, \
         {{ model = \"p/now\", when = [{{ days = [\"{tomorrow}\"] }}, {{ days = [\"{today}\"], hours = \"00:00-24:00\" }}] }}"
    );
    let gateway = Gateway::start(&config(&upstream, &targets)).await;
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!((answer.status, upstream.hits()), (200, 1), "{}", answer.text());
    assert!(answer.header("x-piton-trail").unwrap().starts_with("p/later=skip:schedule, p/now=ok;"));
    assert_eq!(answer.header("x-piton-fallback-reason"), None, "that was by design");
    let status = gateway.get("/piton/api/status").await.json();
    let terms = |at: usize| status["chains"][0]["targets"][at]["terms"].clone();
    assert_eq!((&terms(0)["open"], &terms(1)["open"]), (&json!(false), &json!(true)));
    assert_eq!(terms(0)["when"], format!("{tomorrow} UTC"));
}

#[tokio::test]
async fn where_only_the_hours_stand_in_the_way_the_answer_says_when_they_begin() {
    let (tomorrow, after) = (day(1).await, day(2).await);
    let upstream = Upstream::always(replies::openai_json("a")).await;
    let targets = format!(
        "{{ model = \"p/a\", when = {{ days = [\"{after}\"] }} }}, \
         {{ model = \"p/b\", when = {{ days = [\"{tomorrow}\"], hours = \"00:00-06:00\" }} }}"
    );
    let gateway = Gateway::start(&config(&upstream, &targets)).await;
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!((answer.status, upstream.hits()), (503, 0), "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "no_target_available");
    let midnight = 86_400 - seconds() % 86_400;
    let told: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(told.abs_diff(midnight) <= 5, "{told} and {midnight}");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

fn is_usd(value: &serde_json::Value, usd: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - usd).abs() < 1e-12)
}

#[tokio::test]
async fn the_price_of_the_day_holds_for_estimate_ceiling_and_cost_and_the_blended_price_follows() {
    let (today, tomorrow) = (day(0).await, day(1).await);
    let upstream = Upstream::always(replies::openai_json("a")).await;
    let model = |name: &str, day: &str| {
        format!(
            "[models.\"p/{name}\"]\nprice = {{ input = 4, output = 40, windows = [{{ days = [\"{day}\"], input = 1, output = 10 }}] }}\n"
        )
    };
    // By the estimate 1000 tokens of output: 40,000 micro-USD at the usual price, 10,000 at the other.
    let targets = "{ model = \"p/dear\", max_cost = 0.02 }, { model = \"p/cheap\", max_cost = 0.02 }";
    let file = config(&upstream, targets) + &model("dear", tomorrow) + &model("cheap", today);
    let gateway = Gateway::start(&file).await;
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("x-piton-trail").unwrap().starts_with("p/dear=skip:max_cost, p/cheap=ok;"));
    // 9 tokens in at 1, 2 out at 10.
    assert_eq!(answer.header("x-piton-cost-usd"), Some("0.000029000"));
    let id = answer.header("x-request-id").unwrap();
    let receipt = gateway.get(&format!("/piton/api/requests/{id}")).await.json();
    let price = |line: usize| receipt["trail"][line]["price_usd_per_million"].clone();
    assert_eq!(price(0), json!({ "input": 4.0, "output": 40.0 }));
    assert_eq!(price(1), json!({ "input": 1.0, "output": 10.0 }));
    let status = gateway.get("/piton/api/status").await.json();
    let chain = &status["chains"][0];
    assert_eq!(chain["targets"][1]["price_usd_per_million"], json!({ "input": 1.0, "output": 10.0 }));
    let week = &chain["blended_price"]["this_week"];
    // 29 micro-USD for 11 tokens.
    assert!(is_usd(&week["usd_per_million_tokens"], 29.0 / 11.0), "{week}");
    assert_eq!((&week["tokens"], is_usd(&week["cost_usd"], 0.000_029)), (&json!(11), true), "{week}");
    assert_eq!(chain["blended_price"]["last_week"]["usd_per_million_tokens"], json!(null));
    let metrics = gateway.get("/metrics").await.text();
    let blended = "piton_blended_usd_per_million_tokens{chain=\"chain\",week=\"this\"} 2.636363";
    assert!(metrics.contains(blended), "{metrics}");
}
