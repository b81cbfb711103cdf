//! Prices in time: the price that holds when an attempt begins is that of its estimate, its ceilings and its cost.

use std::time::Duration;

use super::terms::hour_in;
use crate::catalog::price::Special;
use crate::catalog::{Model, PartialPrices, PriceWindow};
use crate::chat::{Event, FinishReason};
use crate::clock;
use crate::clock::window::Schedule;
use crate::layers::scripted::{Beat, Played, Reply, Rung, Scripted, ask, chain, play, usage};
use crate::reason::Class;
use crate::routing::Entry;
use crate::units::{Cost, Price, Tokens};

/// 1 in and 10 out; twice that in an hour that begins in two hours. 100 tokens in and 20 out make 300 micro-USD, or 600.
fn peaking(script: impl IntoIterator<Item = Reply>) -> Rung {
    let usd = Price::from_usd_per_million;
    let peak =
        PriceWindow { window: hour_in(2), input: usd(2.0), output: usd(20.0), special: Special::default() };
    let partial = PartialPrices {
        input: usd(1.0),
        output: usd(10.0),
        windows: Some(vec![peak]),
        ..PartialPrices::default()
    };
    let model = Model { prices: partial.over(None).unwrap(), ..Model::unknown() };
    Rung { model, ..Rung::new("a", script) }
}

/// So long before the peak.
async fn before_peak(time: Duration) {
    let peak = Schedule(vec![hour_in(2)]).opens_in(clock::wall()).unwrap();
    tokio::time::advance(peak.checked_sub(time).unwrap()).await;
}

fn micro_usd(amount: f64) -> Cost {
    Cost::from_usd(amount / 1e6).unwrap()
}

/// The price that each line of the trail was reckoned with, and what it cost.
fn told(played: &Played) -> Vec<(Option<f64>, Option<Cost>)> {
    let line = |entry: &Entry| match entry {
        Entry::Attempt(record) => (record.estimate.price, record.cost),
        Entry::Skip(record) => (record.estimate.price, None),
    };
    let entries = played.trail.entries();
    let lines = entries.iter().map(line);
    lines.map(|(price, cost)| (price.map(|(input, _)| input.usd_per_million()), cost)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_costs_what_held_when_it_began() {
    let used = Beat::Say(Event::Usage(usage(100, 20)));
    let beats = [Beat::text("hello"), Beat::wait(3000), Beat::finish(FinishReason::Stop), used];
    let rung = peaking([Reply::streams(beats.clone()), Reply::streams(beats)]);
    let chain = chain(&[rung]);
    before_peak(Duration::from_secs(2)).await;
    let played = play(&chain, &ask(true)).await;
    assert_eq!(told(&played), [(Some(1.0), Some(micro_usd(300.0)))], "it ended in the peak");
    let played = play(&chain, &ask(true)).await;
    assert_eq!(told(&played), [(Some(2.0), Some(micro_usd(600.0)))]);
    tokio::time::advance(Duration::from_hours(1)).await;
    let played = play(&chain, &ask(true)).await;
    assert_eq!(told(&played), [(Some(1.0), Some(micro_usd(300.0)))]);
}

#[tokio::test(start_paused = true)]
async fn after_a_long_wait_a_budget_goes_by_the_price_of_then() {
    // Each call may take 50 tokens of output: beside the 300 that the first costs another one fits, but not in the peak.
    for (before, second) in [(10, "a=ok"), (2, "a=skip:budget:b")] {
        let money = super::budgets::budget(super::budgets::of_micro_usd(950));
        let mut rung = peaking([Reply::says("a").after(4000), Reply::says("a")]);
        rung.model.max_output = Some(Tokens::new(50));
        rung.budgets = vec![money];
        let chain = chain(&[rung]);
        before_peak(Duration::from_secs(before)).await;
        let request = ask(true);
        let (first, waited) = tokio::join!(play(&chain, &request), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            play(&chain, &ask(true)).await
        });
        assert_eq!((first.lines(), waited.lines()), (vec!["a=ok".to_owned()], vec![second.to_owned()]));
        assert_eq!(waited.trail.waited(), Duration::from_secs(3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ceiling_goes_by_the_price_of_the_hour() {
    let mut rung = peaking([Reply::says("a")]);
    let cheap = play(&chain(&[rung.clone()]), &ask(true)).await;
    let entries = cheap.trail.entries();
    let Entry::Attempt(record) = &entries[0] else { panic!("{entries:?}") };
    rung.limits.max_cost = record.estimate.cost;
    let chain = chain(&[rung]);
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=ok"]);
    before_peak(Duration::ZERO).await;
    let played = play(&chain, &ask(true)).await;
    assert_eq!(played.lines(), ["a=skip:max_cost"]);
    assert_eq!(told(&played), [(Some(2.0), None)], "the receipt shows the price that was too high");
}

#[tokio::test(start_paused = true)]
async fn a_retry_at_another_hour_has_its_own_price_and_ceiling() {
    let used = Beat::Say(Event::Usage(usage(100, 20)));
    let breaks = Reply::streams([Beat::start(), used, Beat::wait(3000), Beat::breaks(Class::ServerError)]);
    let rung = peaking([breaks.clone(), Reply::says("a")]);
    before_peak(Duration::from_secs(2)).await;
    let played = play(&chain(&[rung]), &ask(true)).await;
    assert_eq!(told(&played), [(Some(1.0), Some(micro_usd(300.0))), (Some(2.0), Some(micro_usd(600.0)))]);
    let Entry::Attempt(first) = &played.trail.entries()[0] else { panic!("an attempt") };
    let estimate = first.estimate.cost.unwrap();
    // What was spent, and an attempt at the low price: too little for one at the high price.
    let mut rung = Rung { upstream: Scripted::new([breaks, Reply::says("a")]), ..peaking([]) };
    before_peak(Duration::from_secs(2)).await;
    rung.limits.max_cost = Some(estimate + micro_usd(300.0));
    let played = play(&chain(&[rung]), &ask(true)).await;
    assert_eq!(played.lines(), ["a=server_error"]);
}
