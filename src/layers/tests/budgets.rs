//! Budgets around real layers: who waits, who is passed over, and what is counted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::chat::Event;
use crate::layers::scripted::{Beat, Reply, Rung, ask, ask_with, chain, errand, ms, play, play_as, usage};
use crate::reason::Class;
use crate::routing::budget::{Books, Budget, Counts, Limits, OnExceeded, Rule, Scope, Window};
use crate::routing::plan::Wishes;
use crate::routing::run::Errand;
use crate::routing::{AttemptRecord, Chain, Entry, Trail};
use crate::units::{Cost, Tokens};

/// A budget that refuses what does not fit.
pub fn rule(limits: Limits) -> Rule {
    Rule {
        name: "b".into(),
        limits,
        window: Window::Rolling(Duration::from_hours(1)),
        each: None,
        scope: Scope::default(),
        counts: Counts::All,
        warn_at: 0.8,
        on_exceeded: OnExceeded::Reject,
    }
}

pub fn budget(rule: Rule) -> Arc<Budget> {
    Arc::new(Budget::new(rule, &Books::default()))
}

fn of_requests(requests: u64) -> Arc<Budget> {
    budget(rule(Limits { requests: Some(requests), ..Limits::default() }))
}

pub fn of_micro_usd(micro_usd: u128) -> Rule {
    let cost = Cost::from_pico_usd(micro_usd * 1_000_000);
    rule(Limits { cost: Some(cost), ..Limits::default() })
}

/// A target whose answers of 100 tokens in and 20 out cost 20 micro-USD for each USD of its price of output.
fn priced(name: &str, output: u32, script: impl IntoIterator<Item = Reply>, budget: &Arc<Budget>) -> Rung {
    let rung = Rung::new(name, script)
        .model(&format!("price = {{ input = 0, output = {output} }}\nmax_output = 50"));
    Rung { budgets: vec![Arc::clone(budget)], ..rung }
}

fn attempts(trail: &Trail) -> Vec<AttemptRecord> {
    let attempt = |entry: Entry| match entry {
        Entry::Attempt(record) => Some(record),
        Entry::Skip(_) => None,
    };
    trail.entries().into_iter().filter_map(attempt).collect()
}

fn spent(budget: &Budget) -> (u128, u64) {
    let standing = budget.standing(1);
    assert!(standing.buckets[0].reserved.is_zero(), "{standing:?}");
    let spent = standing.buckets[0].spent;
    (spent.cost.pico_usd() / 1_000_000, spent.requests)
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_budget_is_no_time_of_the_targets() {
    let one = of_requests(1);
    let slow = Reply::fails(Class::ServerError).after(5000);
    let script = [slow, Reply::says("a").after(4000)];
    let rung = Rung { budgets: vec![Arc::clone(&one)], ..Rung::new("a", script) };
    let rung = rung.clocked(|clocks| (clocks.retries, clocks.first_token) = (0, Some(ms(6000))));
    let chain = chain(&[rung]);
    let second = async {
        sleep(ms(1)).await;
        play(&chain, &ask(true)).await
    };
    let request = ask(true);
    let (first, second) = tokio::join!(play(&chain, &request), second);
    assert_eq!((first.lines(), second.lines()), (vec!["a=server_error".to_owned()], vec!["a=ok".to_owned()]));
    let [record] = attempts(&second.trail).try_into().unwrap();
    assert_eq!(record.first_content, Some(ms(4000)));
    assert_eq!((second.trail.waited(), second.took), (ms(4999), ms(8999)));
    assert_eq!(spent(&one), (0, 1), "the one that failed gave its place back");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_beyond_the_deadline() {
    let one = of_requests(1);
    let rung = Rung { budgets: vec![Arc::clone(&one)], ..Rung::new("a", [Reply::says("a").after(9000)]) };
    let chain = chain(&[rung]);
    let second = async {
        sleep(ms(1000)).await;
        let hurried = Errand { deadline: Instant::now() + ms(2000), ..errand(&chain, Wishes::default()) };
        play_as(&chain, &ask(true), hurried).await
    };
    let request = ask(true);
    let (first, second) = tokio::join!(play(&chain, &request), second);
    assert_eq!(first.served, Some(0));
    assert_eq!((second.lines(), second.took), (vec!["a=skip:budget:b".to_owned()], ms(2000)));
    assert_eq!(&*second.exhausted.unwrap().over_budget.unwrap().budget, "b");
}

#[tokio::test(start_paused = true)]
async fn what_failed_attempts_cost_is_counted_and_what_they_did_not_is_given_back() {
    // 50 tokens at 10 are set aside, 500 micro-USD; 20 are taken by each try.
    let money = budget(of_micro_usd(1000));
    let used = Beat::Say(Event::Usage(usage(100, 20)));
    let broken = Reply::streams([Beat::start(), used, Beat::breaks(Class::ServerError)]);
    let chain = chain(&[priced("a", 10, [broken], &money), priced("b", 1, [Reply::says("b")], &money)]);
    let played = play(&chain, &ask(true)).await;
    assert_eq!(played.lines(), ["a=server_error", "a=server_error", "b=ok"]);
    assert_eq!(spent(&money), (200 + 200 + 20, 1));
    let drawn: Vec<u128> =
        attempts(&played.trail).iter().map(|record| record.drawn[0].amounts.cost.pico_usd()).collect();
    let costs: Vec<u128> =
        attempts(&played.trail).iter().map(|record| record.cost.unwrap().pico_usd()).collect();
    assert_eq!(drawn, costs);
    // 580 are left: after the first try too little for another. The failure says more than the budget.
    let played = play(&chain, &ask(true)).await;
    assert_eq!(played.lines(), ["a=server_error", "b=ok"]);
    assert_eq!(spent(&money), (420 + 200 + 20, 2));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_stops_the_chain_and_a_skip_does_not() {
    for (then, lines) in [
        (OnExceeded::Reject, vec!["a=skip:budget:b"]),
        (OnExceeded::Skip, vec!["a=skip:budget:b", "b=skip:budget:b", "c=ok"]),
        (OnExceeded::Downshift, vec!["a=skip:budget:b", "c=ok"]),
    ] {
        let money = budget(Rule { on_exceeded: then, ..of_micro_usd(50) });
        let says = |name: &str| [Reply::says(name)];
        let rungs = [
            priced("a", 10, says("a"), &money),
            priced("b", 5, says("b"), &money),
            priced("c", 1, says("c"), &money),
        ];
        let played = play(&chain(&rungs), &ask(true)).await;
        assert_eq!(played.lines(), lines, "{then:?}");
        assert_eq!(played.served.is_none(), then == OnExceeded::Reject);
    }
}

#[tokio::test(start_paused = true)]
async fn money_is_not_spent_where_nobody_knows_how_much() {
    let money = budget(of_micro_usd(5000));
    let unpriced = Rung { budgets: vec![Arc::clone(&money)], ..Rung::new("a", [Reply::says("a")]) };
    let played = play(&chain(&[unpriced, priced("b", 1, [Reply::says("b")], &money)]), &ask(true)).await;
    assert_eq!(played.lines(), ["a=skip:no_price", "b=ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_cap_sets_less_aside_and_more_answers_more() {
    let money = budget(of_micro_usd(500));
    let chain = chain(&[priced("a", 10, [Reply::says("a")], &money)]);
    for (more, fits) in [
        (json!({ "max_tokens": 30, "n": 2 }), false),
        (json!({ "max_tokens": 51 }), false),
        // The dialect adds 20 for thinking.
        (json!({ "max_tokens": 31, "reasoning_effort": "low" }), false),
        (json!({ "max_tokens": 25, "n": 2 }), true),
        (json!({}), false),
        (json!({ "max_tokens": 30 }), true),
    ] {
        let played = play(&chain, &ask_with(true, more.clone())).await;
        assert_eq!(played.served.is_some(), fits, "{more}");
    }
}

#[tokio::test(start_paused = true)]
async fn fallbacks_are_compared_with_the_first_target_that_could_have_served() {
    // It may cost 250 above the first, and costs 100.
    let extra =
        budget(Rule { counts: Counts::Fallbacks, on_exceeded: OnExceeded::Skip, ..of_micro_usd(250) });
    let fails = [Reply::fails(Class::ModelNotFound)];
    let incapable = Rung { lacks: Some("vision"), ..priced("x", 1, [Reply::says("x")], &extra) };
    let chain = chain(&[
        incapable,
        priced("a", 5, fails, &extra),
        priced("b", 10, [Reply::says("b")], &extra),
        priced("c", 1, [Reply::says("c")], &extra),
    ]);
    let played = play(&chain, &ask(true)).await;
    assert_eq!(played.lines(), ["x=skip:capability:vision", "a=model_not_found", "b=ok"]);
    assert_eq!(spent(&extra), (100, 1));
    let played = play(&chain, &ask(true)).await;
    let shut = "a=skip:circuit_open";
    assert_eq!(played.lines(), ["x=skip:capability:vision", shut, "b=skip:budget:b", "c=ok"]);
    assert_eq!(spent(&extra), (100, 2), "a cheaper one costs nothing above it");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_nothing_set_aside() {
    let money = budget(rule(Limits { tokens: Some(Tokens::new(500)), ..Limits::default() }));
    let talks = Reply::streams([Beat::text("12345678"), Beat::Hang]);
    let chain = chain(&[priced("a", 1, [talks, Reply::silence()], &money)]);
    let plan = crate::routing::plan::plan(&chain, &ask(true).into(), &Wishes::default()).unwrap();
    let won = plan.run(&errand(&chain, Wishes::default())).await.unwrap();
    drop(won);
    let counted = money.standing(1).buckets[0].spent;
    assert_eq!((counted.requests, counted.tokens > Tokens::new(1)), (1, true), "it had begun: {counted:?}");
    let waits = tokio::time::timeout(ms(100), play(&chain, &ask(true))).await;
    assert!(waits.is_err());
    assert_eq!(money.standing(1).buckets[0].spent, counted, "it had not");
    assert!(money.standing(1).buckets[0].reserved.is_zero());
}

#[tokio::test(start_paused = true)]
async fn what_a_budget_refuses_no_last_chain_serves_and_what_it_skips_one_may() {
    for (then, served) in
        [(OnExceeded::Reject, None), (OnExceeded::Skip, Some(0)), (OnExceeded::Downshift, Some(0))]
    {
        let rule = Rule { on_exceeded: then, ..of_micro_usd(10) };
        let dear = chain(&[priced("a", 1, [Reply::says("a")], &budget(rule))]);
        let last = Some(chain(&[Rung::new("free", [Reply::says("free")])]));
        let chain = Arc::new(Chain { last, ..Chain::clone(&dear) });
        assert_eq!(play(&chain, &ask(false)).await.served, served, "{then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_counted_as_text_is_set_aside_too() {
    let long = "word ".repeat(20_000);
    let reserved = |more: serde_json::Value| async move {
        let tokens = budget(rule(Limits { tokens: Some(Tokens::new(1_000_000)), ..Limits::default() }));
        let rung = Rung::new("a", [Reply::says("a").after(1000)]).model("context = 30000\nmax_output = 50");
        let rung = Rung { budgets: vec![Arc::clone(&tokens)], ..rung };
        let (chain, request) = (chain(&[rung]), ask_with(false, more));
        let look = async {
            sleep(ms(500)).await;
            tokens.standing(1).buckets[0].reserved.tokens.get()
        };
        tokio::join!(play(&chain, &request), look).1
    };
    let user = json!({ "role": "user", "content": "hi" });
    let thought = json!({ "role": "assistant", "content": "yes", "reasoning_content": long });
    assert!(reserved(json!({})).await < 200);
    assert!(reserved(json!({ "messages": [user, thought, user] })).await > 25_000);
    let document = json!({ "type": "file", "file": { "file_data": format!("data:application/pdf;base64,{}", "A".repeat(3_000_000)) } });
    let asked = reserved(json!({ "messages": [{ "role": "user", "content": [document] }] })).await;
    assert!((30_000..=30_100).contains(&asked), "the whole window, and no more: {asked}");
}
