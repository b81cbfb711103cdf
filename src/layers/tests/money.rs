//! Ceilings: nothing is asked that would cost more than its owner or its client allows.

use std::sync::Arc;

use serde_json::json;

use crate::chat::{Event, FinishReason};
use crate::layers::scripted::{
    Beat, Played, Reply, Rung, Stand, ask, ask_with, chain, errand, play, play_as, usage,
};
use crate::reason::Class;
use crate::routing::ceiling::MaxPrice;
use crate::routing::plan::{Wishes, plan};
use crate::routing::{Chain, Commit, Entry};
use crate::units::{Cost, Price};

fn priced(name: &str, input: f64, output: f64) -> Rung {
    Rung::new(name, [Reply::says(name)]).model(&format!("price = {{ input = {input}, output = {output} }}"))
}

fn limited(mut rung: Rung, set: impl FnOnce(&mut crate::routing::chain::Limits)) -> Rung {
    set(&mut rung.limits);
    rung
}

fn pico() -> Cost {
    Cost::from_usd(1e-12).unwrap()
}

/// What the plan expects a short request to cost at a target of this chain.
fn expected(chain: &Arc<Chain>, at: usize) -> Cost {
    plan(chain, &ask(true).into(), &Wishes::default()).unwrap().step(at).estimate.cost.unwrap()
}

async fn first_line(rungs: &[Rung], at: usize) -> String {
    play(&chain(rungs), &ask(true)).await.lines()[at].clone()
}

#[tokio::test(start_paused = true)]
async fn a_ceiling_lets_through_what_just_fits() {
    let cost = expected(&chain(&[priced("a", 1.0, 10.0)]), 0);
    for (ceiling, line) in [(cost, "a=ok"), (cost - pico(), "a=skip:max_cost")] {
        let own = limited(priced("a", 1.0, 10.0), |limits| limits.max_cost = Some(ceiling));
        assert_eq!(first_line(&[own], 0).await, line);
        let chain = chain(&[priced("a", 1.0, 10.0)]);
        let wishes = Wishes { max_cost: Some(ceiling), ..Wishes::default() };
        assert_eq!(play_as(&chain, &ask(false), errand(&chain, wishes)).await.lines(), [line]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_lower_of_two_ceilings_holds() {
    let cost = expected(&chain(&[priced("a", 1.0, 10.0)]), 0);
    for (own, client, line) in [
        (cost, cost - pico(), "a=skip:max_cost"),
        (cost - pico(), cost, "a=skip:max_cost"),
        (cost, cost, "a=ok"),
    ] {
        let chain = chain(&[limited(priced("a", 1.0, 10.0), |limits| limits.max_cost = Some(own))]);
        let wishes = Wishes { max_cost: Some(client), ..Wishes::default() };
        assert_eq!(play_as(&chain, &ask(true), errand(&chain, wishes)).await.lines(), [line]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ratio_is_to_the_chains_first_target() {
    for (price, line) in [(1.5, "b=ok"), (1.500_001, "b=skip:price_ratio")] {
        let first = Rung { lacks: Some("tools"), ..priced("a", 1.0, 10.0) };
        let second = limited(priced("b", price, 10.0 * price), |limits| limits.max_price_ratio = Some(1.5));
        assert_eq!(first_line(&[first.clone(), second.clone()], 1).await, line);
        // Whatever order the client asks for.
        let reordered = ask_with(true, json!({"models": ["b", "a"]}));
        assert_eq!(play(&chain(&[first, second]), &reordered).await.lines()[0], line);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ratio_is_of_this_request_not_of_the_price_list() {
    // Twice the price for input, half of it for output: dearer for long questions only.
    let rungs = [
        Rung { lacks: Some("tools"), ..priced("a", 1.0, 10.0) },
        limited(priced("b", 2.0, 5.0), |limits| limits.max_price_ratio = Some(1.0)),
    ];
    assert_eq!(first_line(&rungs, 1).await, "b=ok");
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(100_000)}]});
    let played = play(&chain(&rungs), &ask_with(true, long)).await;
    assert_eq!(played.lines()[1], "b=skip:price_ratio");
}

#[tokio::test(start_paused = true)]
async fn an_absolute_price_is_a_bound_for_each_side() {
    let usd = |usd| Price::from_usd_per_million(usd);
    for (input, output, line) in [
        (usd(2.0), usd(5.0), "a=ok"),
        (usd(1.999_999), None, "a=skip:price_ratio"),
        (None, usd(4.999_999), "a=skip:price_ratio"),
        (None, usd(5.0), "a=ok"),
    ] {
        let rung =
            limited(priced("a", 2.0, 5.0), |limits| limits.max_price = Some(MaxPrice { input, output }));
        assert_eq!(first_line(&[rung], 0).await, line);
    }
}

#[tokio::test(start_paused = true)]
async fn under_a_ceiling_an_unknown_price_is_too_high() {
    let unpriced = |name: &str| Rung::new(name, [Reply::says(name)]);
    let some = Cost::from_usd(100.0);
    for rung in [
        limited(unpriced("a"), |limits| limits.max_cost = some),
        limited(unpriced("a"), |limits| limits.max_price_ratio = Some(9.0)),
        limited(unpriced("a"), |limits| limits.max_price = Some(MaxPrice::default())),
    ] {
        assert_eq!(first_line(&[rung], 0).await, "a=skip:no_price");
    }
    let relative = limited(priced("b", 1.0, 1.0), |limits| limits.max_price_ratio = Some(9.0));
    assert_eq!(
        play(&chain(&[unpriced("a"), relative]), &ask_with(true, json!({"models": ["b"]}))).await.lines(),
        ["b=skip:no_price"]
    );
    let chain = chain(&[unpriced("a"), priced("b", 1.0, 1.0)]);
    let wishes = Wishes { max_cost: some, ..Wishes::default() };
    let played = play_as(&chain, &ask(true), errand(&chain, wishes)).await;
    assert_eq!(played.lines(), ["a=skip:no_price", "b=ok"]);
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=ok"], "no ceiling, no question");
}

#[tokio::test(start_paused = true)]
async fn money_is_estimated_high_and_with_the_output_that_is_asked_for() {
    // At most 2251 tokens of input, as a window is judged by 1000.
    let content = json!([{"role": "user", "content": "x".repeat(6000)}]);
    let chain = chain(&[priced("a", 1.0, 10.0)]);
    for (more, output) in [
        (json!({}), 1000),
        (json!({"max_tokens": 300}), 300),
        (json!({"max_completion_tokens": 300, "n": 3}), 900),
    ] {
        let mut body = more;
        body["messages"] = content.clone();
        let plan = plan(&chain, &ask_with(true, body).into(), &Wishes::default()).unwrap();
        let expected = 2251 * 1_000_000 + output * 10_000_000;
        assert_eq!(plan.step(0).estimate.cost.unwrap().pico_usd(), expected);
    }
}

/// A first target that costs something and fails, a second one that would answer; a client's ceiling.
async fn spends_first(reply: Reply, ceiling: impl FnOnce(Cost) -> Cost) -> Played {
    let first = Rung { upstream: crate::layers::scripted::Scripted::new([reply]), ..priced("a", 1.0, 10.0) };
    let mut stand = Stand::of(2);
    stand.policy.commit = Commit::Complete;
    let chain = stand.chain(&[first, priced("b", 1.0, 10.0)]);
    let wishes = Wishes { max_cost: Some(ceiling(expected(&chain, 1))), ..Wishes::default() };
    play_as(&chain, &ask(true), errand(&chain, wishes)).await
}

#[tokio::test(start_paused = true)]
async fn what_failed_attempts_cost_counts() {
    // 100 tokens in and 20 out: 300 pico-USD millions.
    let spent = Cost::from_usd(0.0003).unwrap();
    let used = Beat::Say(Event::Usage(usage(100, 20)));
    let beats =
        [Beat::text("hello"), Beat::finish(FinishReason::Stop), used.clone(), Beat::breaks(Class::Malformed)];
    let empty = [Beat::start(), Beat::finish(FinishReason::Stop), used];
    for reply in [Reply::streams(beats), Reply::streams(empty)] {
        let played = spends_first(reply.clone(), |cost| cost + spent).await;
        assert_eq!(played.lines()[1], "b=ok");
        let played = spends_first(reply, |cost| cost + spent - pico()).await;
        assert_eq!((played.lines()[1].as_str(), played.served), ("b=skip:max_cost", None));
        assert_eq!(played.trail.spent(), spent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_is_charged_for_what_came_with_the_counts_that_were_told() {
    let so_far = Beat::Say(Event::SoFar(usage(100, 1)));
    let text = Beat::text("x".repeat(80).as_str());
    // What came before the break, and the tokens in and out that it is charged for.
    let cases = [
        (vec![so_far.clone()], (100, 1)),
        (vec![so_far.clone(), Beat::start(), text.clone()], (100, 20)),
        (vec![so_far, text.clone(), Beat::Say(Event::Usage(usage(100, 30)))], (100, 30)),
        (vec![text], (0, 20)),
        (vec![Beat::start()], (0, 0)),
    ];
    for (beats, (prompt, completion)) in cases {
        let beats = beats.into_iter().chain([Beat::breaks(Class::ConnectionLost)]);
        let rung = Rung {
            upstream: crate::layers::scripted::Scripted::new([Reply::streams(beats)]),
            ..priced("a", 1.0, 10.0).clocked(|clocks| clocks.retries = 0)
        };
        let played = play(&chain(&[rung]), &ask(true)).await;
        let [Entry::Attempt(record)] = &played.trail.entries()[..] else { panic!("one attempt") };
        assert_eq!((record.usage.prompt.get(), record.usage.completion.get()), (prompt, completion));
        assert_eq!(record.cost.unwrap().pico_usd(), u128::from(prompt + 10 * completion) * 1_000_000);
        assert_eq!(record.usage_is_estimate, completion == 1 || completion == 20, "{prompt} {completion}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_not_made_beyond_the_ceiling() {
    let used = Beat::Say(Event::Usage(usage(100, 20)));
    let breaks = Reply::streams([Beat::start(), used, Beat::breaks(Class::ServerError)]);
    let cost = expected(&chain(&[priced("a", 1.0, 10.0)]), 0);
    let spent = Cost::from_usd(0.0003).unwrap();
    for (ceiling, lines) in [
        (cost + spent, vec!["a=server_error", "a=server_error"]),
        (cost + spent - pico(), vec!["a=server_error"]),
    ] {
        let rung = Rung {
            upstream: crate::layers::scripted::Scripted::new([breaks.clone()]),
            ..priced("a", 1.0, 10.0)
        };
        let rung = limited(rung, |limits| limits.max_cost = Some(ceiling));
        let played = play(&chain(&[rung]), &ask(true)).await;
        assert_eq!(played.lines(), lines);
        assert_eq!(
            played.exhausted.unwrap().failures[0].1.class,
            Class::ServerError,
            "it says more than the skip"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_made_for_its_price_uses_up_no_probe() {
    let first = Reply::streams([
        Beat::start(),
        Beat::Say(Event::Usage(usage(100, 20))),
        Beat::breaks(Class::Malformed),
    ]);
    let first = Rung { upstream: crate::layers::scripted::Scripted::new([first]), ..priced("a", 1.0, 10.0) };
    let second = priced("b", 1.0, 10.0);
    let rule = second.breaker.unwrap();
    for _ in 0..5 {
        second.health.breaker.failed(&rule, Class::Overloaded, None, tokio::time::Instant::now());
    }
    tokio::time::advance(rule.cool_down).await;
    let chain = chain(&[first, second.clone()]);
    let wishes = Wishes { max_cost: Some(expected(&chain, 1)), ..Wishes::default() };
    let played = play_as(&chain, &ask(true), errand(&chain, wishes)).await;
    assert_eq!(played.lines(), ["a=malformed", "b=skip:max_cost"]);
    assert!(second.health.breaker.admit(tokio::time::Instant::now()).is_ok());
}
