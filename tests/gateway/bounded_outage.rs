//! An outage of the cheap primary, with ceilings, a budget of fallbacks and a schedule: what is spent stays under each
//! bound, everybody who counts it counts the same, and the receipts say why each target was or was not used.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::schedules::day;
use crate::support::client::Response;
use crate::support::exposition::Exposition;
use crate::support::gateway::Gateway;
use crate::support::in_time;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::{Received, Upstream};

const CHAT: &str = "/v1/chat/completions";

/// What fallbacks may cost above the primary, and everything together, in pico-USD.
const FAILOVER: u128 = 600_000_000;
const WHOLE: u128 = 5_000_000_000;

/// Each answer is 9 tokens in and 2 out. What that costs, in pico-USD, and the prices that make it so.
const CHEAP: (u128, &str) = (9 * 1_000_001 + 2 * 2_000_000, "input = 1.000001, output = 2");
const MID: (u128, &str) = (9 * 3_000_003 + 2 * 7_000_000, "input = 3.000003, output = 7");
const DEAR: (u128, &str) = (9 * 30_000_000 + 2 * 60_000_000, "input = 30, output = 60");
const NIGHT: (u128, &str) = (9 * 400_000 + 2 * 900_001, "input = 0.4, output = 0.900001");

/// A chain of four: the cheap primary, a mid-priced fallback under a ceiling, one that is always above its ceiling, and
/// one for some days only.
struct Stage {
    gateway: Gateway,
    cheap: Upstream,
    mid: Upstream,
    dear: Upstream,
    night: Upstream,
    /// What happens when the budget of fallbacks is used up.
    then: &'static str,
    /// Every answer so far.
    answers: Vec<Response>,
}

fn good(_: usize, request: &Received) -> Script {
    if request.json()["stream"] == true {
        replies::openai_stream(&["one", "two"]).all()
    } else {
        replies::openai_json("good")
    }
}

fn down(_: usize, _: &Received) -> Script {
    replies::openai_error(503, "server_error", None, "down")
}

fn ask() -> Value {
    json!({ "model": "main", "max_tokens": 2, "messages": [{ "role": "user", "content": "Hi" }] })
}

fn ask_stream() -> Value {
    let mut body = ask();
    body["stream"] = json!(true);
    body
}

/// By the high estimate it costs more at the mid-priced target than its ceiling.
fn ask_long() -> Value {
    let mut body = ask();
    body["messages"][0]["content"] = json!("x".repeat(4000));
    body
}

/// An amount of USD in a body: with fewer than ten thousand USD, no digit is lost on the way.
fn pico(usd: &Value) -> u128 {
    pico_of(usd.as_f64().unwrap_or_else(|| panic!("{usd} is no amount")))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small amounts, none below zero")]
fn pico_of(usd: f64) -> u128 {
    assert!((0.0..1e4).contains(&usd), "{usd}");
    (usd * 1e12).round() as u128
}

impl Stage {
    async fn new(then: &'static str) -> Self {
        let [cheap, mid, dear, night] = [
            Upstream::start(good).await,
            Upstream::start(good).await,
            Upstream::start(good).await,
            Upstream::start(good).await,
        ];
        let tomorrow = day(1).await;
        let text = config([&cheap, &mid, &dear, &night], then, tomorrow);
        let gateway = Gateway::start(&text).await;
        Self { gateway, cheap, mid, dear, night, then, answers: Vec::new() }
    }

    /// The off-peak target serves today, or another day.
    async fn night_is_on(&self, day: &str) {
        let all = [&self.cheap, &self.mid, &self.dear, &self.night];
        self.gateway.rewrite_config(&config(all, self.then, day));
        assert_eq!(self.gateway.post_json("/piton/api/reload", &json!({})).await.status, 200);
    }

    /// One request; its trail without times, and its status.
    async fn send(&mut self, body: &Value) -> (u16, String) {
        let answer = self.gateway.post_json(CHAT, body).await;
        let told = (answer.status, trail(&answer));
        self.answers.push(answer);
        told
    }

    async fn receipts(&self) -> Vec<Value> {
        let receipts = self.answers.iter().map(async |answer| {
            let id = answer.header("x-request-id").expect("an id");
            self.gateway.get(&format!("/piton/api/requests/{id}")).await.json()
        });
        join_all(receipts).await
    }

    /// Waits until a probe may go to the primary.
    async fn cooled_down(&self) {
        in_time("the end of the cool-down", async {
            loop {
                let status = self.gateway.get("/piton/api/status").await.json();
                if status["chains"][0]["targets"][0]["circuit"]["state"] != "open" {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Budgets, ledger, metrics and receipts count the same, to the pico-dollar, and stay within every bound.
    async fn accounts_agree(&self) {
        let receipts = self.receipts().await;
        let mut spent = Spent::default();
        receipts.iter().for_each(|receipt| spent.add(receipt));
        let prices = [("cheap/m", CHEAP), ("mid/m", MID), ("dear/m", DEAR), ("night/m", NIGHT)];
        let served = |target: &str| receipts.iter().filter(|receipt| receipt["target"] == target).count();
        let due: u128 = prices.iter().map(|(target, (cost, _))| cost * served(target) as u128).sum();
        assert_eq!(spent.all, due, "each answer at the price of the target that gave it");

        let status = self.gateway.get("/piton/api/status").await.json();
        let used = |name: &str| {
            let budgets = status["budgets"].as_array().expect("budgets");
            let budget = budgets.iter().find(|budget| budget["name"] == name).expect("a budget");
            let Some(bucket) = budget["buckets"].get(0) else { return 0 };
            assert_eq!(pico(&bucket["reserved"]["usd"]), 0, "{budget}");
            pico(&bucket["used"]["usd"])
        };
        assert_eq!(used("whole"), spent.all, "the budget and the receipts");
        assert_eq!(spent.drawn_from_whole, spent.all);
        assert_eq!(used("failover"), spent.extra, "the budget of fallbacks and what they cost more");
        assert_eq!(spent.drawn_from_failover, spent.extra);
        assert!(spent.all <= WHOLE && spent.extra <= FAILOVER, "{spent:?}");

        let ledger = self.gateway.get("/piton/api/spend").await.json()["total"].clone();
        assert_eq!(ledger["requests"], self.answers.len());
        assert_eq!(pico(&ledger["cost_usd"]), spent.all, "the ledger and the receipts: {ledger}");
        let difference = ledger["difference_usd"].as_f64().expect("a number");
        let (extra, saved) = (spent.extra, spent.saved);
        let (above, below) = (extra.saturating_sub(saved), saved.saturating_sub(extra));
        assert_eq!((pico_of(difference.max(0.0)), pico_of((-difference).max(0.0))), (above, below));

        let metrics = Exposition::of(&self.gateway).await;
        let metric =
            |name: &str| -> u128 { metrics.with(name, &[]).map(|sample| pico_of(sample.value)).sum() };
        assert_eq!(metric("piton_cost_usd_total"), spent.all, "the metric and the receipts");
        assert_eq!(metric("piton_failover_extra_usd_total"), extra);
        assert_eq!(metric("piton_failover_saved_usd_total"), saved);
        for (reason, count) in &spent.skips {
            let counted = metrics.sum("piton_skips_total", &[("reason", reason)]);
            assert!((counted - f64::from(*count)).abs() < 1e-9, "{reason}: {counted} and {count}");
        }
    }
}

/// What receipts say was spent.
#[derive(Debug, Default)]
struct Spent {
    all: u128,
    /// What fallbacks cost above the primary, or below it.
    extra: u128,
    saved: u128,
    drawn_from_whole: u128,
    drawn_from_failover: u128,
    skips: std::collections::BTreeMap<String, u32>,
}

impl Spent {
    fn add(&mut self, receipt: &Value) {
        let cost = pico(&receipt["cost_usd"]);
        self.all += cost;
        if receipt["fallback_reason"].is_string() && !receipt["target"].is_null() {
            let first = pico(&receipt["first_target_cost_usd"]);
            self.extra += cost.saturating_sub(first);
            self.saved += first.saturating_sub(cost);
        }
        let lines = receipt["trail"].as_array().expect("a trail");
        assert_eq!(lines.iter().filter_map(|line| line.get("cost_usd")).map(pico).sum::<u128>(), cost);
        for skip in lines.iter().filter_map(|line| line["skip"].as_str()) {
            *self.skips.entry(skip.to_owned()).or_default() += 1;
        }
        for drawn in receipt["budgets"].as_array().into_iter().flatten() {
            let sum = match drawn["budget"].as_str() {
                Some("whole") => &mut self.drawn_from_whole,
                Some("failover") => &mut self.drawn_from_failover,
                other => panic!("{other:?} is no budget of this file"),
            };
            *sum += pico(&drawn["cost_usd"]);
        }
    }
}

fn config([cheap, mid, dear, night]: [&Upstream; 4], then: &str, night_day: &str) -> String {
    let mut text = "[defaults]\nretries = 0\nanswer_timeout = \"2s\"\nfirst_token_timeout = \"2s\"\n\
                    breaker = { failures = 3, cool_down = \"1500ms\" }\n"
        .to_owned();
    let all = [("cheap", cheap, CHEAP), ("mid", mid, MID), ("dear", dear, DEAR), ("night", night, NIGHT)];
    for (name, upstream, (_, price)) in all {
        text += &format!(
            "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\n[models.\"{name}/m\"]\n\
             price = {{ {price} }}\nmax_output = 100\n",
            upstream.url()
        );
    }
    text + &format!(
        "[chains.main]\nmax_attempts = 9\ntargets = [\"cheap/m\", {{ model = \"mid/m\", max_cost = 0.001 }}, \
         {{ model = \"dear/m\", max_price_ratio = 10 }}, \
         {{ model = \"night/m\", when = {{ days = [\"{night_day}\"] }} }}]\n\
         [[budgets]]\nname = \"failover\"\nusd = {}\nper = \"24h\"\ncounts = \"fallbacks\"\non_exceeded = \"{then}\"\n\
         [[budgets]]\nname = \"whole\"\nusd = {}\nper = \"24h\"\n",
        usd(FAILOVER),
        usd(WHOLE)
    )
}

#[expect(clippy::cast_precision_loss, reason = "small amounts")]
fn usd(pico: u128) -> f64 {
    pico as f64 / 1e12
}

/// The trail without its times.
fn trail(answer: &Response) -> String {
    let header = answer.header("x-piton-trail").unwrap_or_default();
    let lines = header.split(", ").map(|line| line.split(';').next().unwrap_or_default());
    lines.collect::<Vec<_>>().join(" ")
}

/// How the primary may have been passed in an outage, and what follows then.
fn after_outage(trail: &str, class: &str) -> Option<String> {
    let ways = [format!("cheap/m={class} "), "cheap/m=skip:circuit_open ".to_owned()];
    ways.iter().find_map(|way| trail.strip_prefix(way.as_str())).map(str::to_owned)
}

#[tokio::test]
async fn an_outage_costs_no_more_than_its_owner_wrote_down() {
    let mut stage = Stage::new("skip").await;
    for body in [ask(), ask_stream(), ask_long(), ask()] {
        assert_eq!(stage.send(&body).await, (200, "cheap/m=ok".to_owned()), "before the outage");
    }
    stage.accounts_agree().await;

    // Down: the fallback serves until its budget is used up. The circuit opens at the third failure.
    stage.cheap.answer_with(down);
    let mut served = 0;
    let refused = loop {
        let body = if served % 2 == 0 { ask() } else { ask_stream() };
        let (status, trail) = stage.send(&body).await;
        let rest = after_outage(&trail, "overloaded").unwrap_or_else(|| panic!("{trail}"));
        assert!(served >= 3 || trail.starts_with("cheap/m=overloaded"), "{trail}");
        if rest != "mid/m=ok" {
            break (status, rest);
        }
        assert_eq!(status, 200);
        served += 1;
    };
    // A request takes 27 micro-USD more here than at the first target; before it, more is set aside for it.
    let extra = MID.0 - CHEAP.0;
    let most = FAILOVER / extra;
    assert!(served > 3 && served <= most && served * extra + 200_000_000 > FAILOVER, "{served} of {most}");
    let all_closed = "mid/m=skip:budget:failover dear/m=skip:price_ratio night/m=skip:schedule";
    assert!(refused.1.starts_with(all_closed), "{refused:?}");
    assert_eq!(refused.0, 503, "nothing is left but the primary itself");
    // A longer request is above the ceiling, whatever the budget holds.
    let (status, trail) = stage.send(&ask_long()).await;
    assert!(trail.contains("mid/m=skip:max_cost dear/m=skip:price_ratio night/m=skip:schedule"), "{trail}");
    assert_eq!(status, 503);
    let (mid, dear, night) = (stage.mid.hits(), stage.dear.hits(), stage.night.hits());
    assert_eq!((mid as u128, dear, night), (served, 0, 0));
    stage.accounts_agree().await;

    // Off-peak begins: it is cheaper than the primary, so the budget of fallbacks has nothing against it.
    stage.night_is_on(day(0).await).await;
    let closed = "mid/m=skip:budget:failover dear/m=skip:price_ratio night/m=ok";
    let bodies: Vec<Value> =
        (0..60).map(|number| if number % 2 == 0 { ask() } else { ask_stream() }).collect();
    let crowd = join_all(bodies.iter().map(|body| stage.gateway.post_json(CHAT, body))).await;
    for answer in &crowd {
        let trail = self::trail(answer);
        assert_eq!(after_outage(&trail, "overloaded").as_deref(), Some(closed), "{trail}");
        assert_eq!(answer.status, 200);
        assert!(
            ["overloaded", "circuit_open"]
                .contains(&answer.header("x-piton-fallback-reason").expect("a reason"))
        );
    }
    stage.answers.extend(crowd);
    let (status, trail) = stage.send(&ask_long()).await;
    let rest = after_outage(&trail, "overloaded");
    let above = "mid/m=skip:max_cost dear/m=skip:price_ratio night/m=ok";
    assert_eq!((status, rest.as_deref()), (200, Some(above)));
    stage.accounts_agree().await;

    // Now the primary is silent instead; one probe finds out, and the others do not wait for it.
    stage.cheap.answer_with(|_, _| Script::new().silence());
    stage.cooled_down().await;
    let probe = stage.send(&ask()).await;
    assert_eq!(probe, (200, format!("cheap/m=answer_timeout {closed}")));
    assert_eq!(stage.send(&ask()).await, (200, format!("cheap/m=skip:circuit_open {closed}")));
    stage.accounts_agree().await;

    // And it is back.
    stage.cheap.answer_with(good);
    stage.cooled_down().await;
    let answers = join_all((0..10).map(|_| stage.gateway.post_json(CHAT, &bodies[0]))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    stage.answers.extend(answers);
    for _ in 0..5 {
        assert_eq!(stage.send(&ask()).await, (200, "cheap/m=ok".to_owned()), "after the outage");
    }
    assert_eq!((stage.mid.hits(), stage.dear.hits()), (mid, 0), "not one call more");
    stage.accounts_agree().await;
}

#[tokio::test]
async fn a_crowd_in_an_outage_does_not_overdraw_the_budget_of_fallbacks() {
    let mut stage = Stage::new("skip").await;
    stage.cheap.answer_with(down);
    let body = ask();
    let crowd = join_all((0..80).map(|_| stage.gateway.post_json(CHAT, &body))).await;
    let served = crowd.iter().filter(|answer| answer.status == 200).count();
    for answer in &crowd {
        let trail = trail(answer);
        let by_mid = trail.ends_with(" mid/m=ok");
        let by_nobody =
            trail.contains(" mid/m=skip:budget:failover dear/m=skip:price_ratio night/m=skip:schedule");
        assert!(by_mid != by_nobody && by_mid == (answer.status == 200), "{} {trail}", answer.status);
    }
    assert!(served > 0 && served == stage.mid.hits() && stage.dear.hits() + stage.night.hits() == 0);
    stage.answers = crowd;
    stage.accounts_agree().await;
}

#[tokio::test]
async fn a_budget_of_fallbacks_may_refuse_the_request_instead() {
    let mut stage = Stage::new("reject").await;
    stage.night_is_on(day(0).await).await;
    stage.cheap.answer_with(down);
    let refused = loop {
        let (status, trail) = stage.send(&ask()).await;
        let rest = after_outage(&trail, "overloaded").unwrap_or_else(|| panic!("{trail}"));
        if status != 200 {
            break (status, rest);
        }
        assert_eq!(rest, "mid/m=ok");
    };
    assert_eq!(refused, (402, "mid/m=skip:budget:failover".to_owned()), "no later target is asked");
    let answer = stage.answers.last().expect("an answer");
    assert_eq!(answer.json()["error"]["code"], "budget_exceeded");
    assert_eq!(stage.dear.hits() + stage.night.hits(), 0);
    stage.accounts_agree().await;

    stage.cheap.answer_with(good);
    stage.cooled_down().await;
    assert_eq!(stage.send(&ask()).await, (200, "cheap/m=ok".to_owned()), "the primary is not what it bounds");
    stage.accounts_agree().await;
}

#[tokio::test]
async fn a_budget_of_fallbacks_may_send_requests_to_the_cheapest_instead() {
    let mut stage = Stage::new("downshift").await;
    stage.cheap.answer_with(down);
    stage.night_is_on(day(0).await).await;
    let downshifted = loop {
        let (status, trail) = stage.send(&ask()).await;
        assert_eq!(status, 200, "{trail}");
        let rest = after_outage(&trail, "overloaded").unwrap_or_else(|| panic!("{trail}"));
        if rest != "mid/m=ok" {
            break rest;
        }
    };
    assert_eq!(
        downshifted, "mid/m=skip:budget:failover night/m=ok",
        "cheapest first: nobody came to `dear/m`"
    );
    stage.night_is_on(day(1).await).await;
    let (status, trail) = stage.send(&ask()).await;
    assert!(
        trail.contains("mid/m=skip:budget:failover night/m=skip:schedule dear/m=skip:price_ratio"),
        "{trail}"
    );
    assert_eq!(status, 503);
    stage.accounts_agree().await;
}
