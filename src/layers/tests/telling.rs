//! What is told of a request: its trail, its usage, its cost, why it fell back.

use crate::chat::{Event, FinishReason, Usage};
use crate::layers::scripted::{
    Beat, Played, Reply, Rung, Stand, Then, ask, chain, ms, play, response, usage,
};
use crate::ops::Summary;
use crate::reason::{Class, Failure};
use crate::routing::{AttemptRecord, Chain, Commit, Entry, Outcome};
use crate::units::{Cost, Tokens};

fn attempts(played: &Played) -> Vec<AttemptRecord> {
    let entries = played.trail.entries().into_iter();
    let attempts = entries.filter_map(|entry| match entry {
        Entry::Attempt(record) => Some(record),
        Entry::Skip(_) => None,
    });
    attempts.collect()
}

fn summary<'a>(chain: &Chain, played: &Played, entries: &'a [Entry]) -> Summary<'a> {
    Summary::of(entries, played.served, chain.targets.first().map(|target| &**target))
}

fn priced(name: &str, script: impl IntoIterator<Item = Reply>) -> Rung {
    Rung::new(name, script).model("price = { input = 1, output = 10 }")
}

#[tokio::test(start_paused = true)]
async fn every_attempt_leaves_a_whole_line() {
    let failure = Failure {
        upstream_request_id: Some("up-1".into()),
        ..Failure::new(Class::ServerError, "out").with_status(500)
    };
    let beats = [
        Beat::start(),
        Beat::wait(70),
        Beat::text("hello"),
        Beat::Say(Event::Unreadable),
        Beat::wait(30),
        Beat::finish(FinishReason::Stop),
        Beat::Say(Event::Usage(usage(100, 20))),
    ];
    let rungs = [
        Rung::new("a", [Reply::refuses(failure).after(40)]).clocked(|clocks| clocks.retries = 0),
        priced("b", [Reply::streams(beats).after(100)]),
    ];
    let played = play(&chain(&rungs), &ask(true)).await;
    let [first, second] = &attempts(&played)[..] else { panic!("two attempts") };

    assert_eq!((first.index, first.number, first.fallback_reason), (0, 1, None));
    assert_eq!((first.outcome, first.status), (Some(Outcome::Failed(Class::ServerError)), Some(500)));
    assert_eq!((first.latency, first.first_content), (ms(40), None));
    assert_eq!(first.upstream_request_id.as_deref(), Some("up-1"));
    assert_eq!(
        (first.usage, first.usage_is_estimate, first.cost),
        (Usage::default(), false, Some(Cost::ZERO))
    );

    assert_eq!((second.index, second.number), (1, 2));
    assert_eq!(second.fallback_reason, Some(Class::ServerError));
    assert_eq!((second.outcome, second.status), (Some(Outcome::Ok), Some(200)));
    assert_eq!((second.latency, second.first_content), (ms(200), Some(ms(170))));
    assert_eq!((second.usage, second.usage_is_estimate), (usage(100, 20), false));
    assert_eq!(second.cost, Cost::from_usd(0.0003));
    assert_eq!((second.served_model.as_deref(), second.unreadable_events), (Some("served"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_json_answer_has_no_first_content() {
    let played = play(&chain(&[Rung::new("a", [Reply::says("x").after(50)])]), &ask(false)).await;
    let [record] = &attempts(&played)[..] else { panic!("one attempt") };
    assert_eq!((record.latency, record.first_content), (ms(50), None));
}

#[tokio::test(start_paused = true)]
async fn usage_is_estimated_only_for_content_that_arrived() {
    let text = "x".repeat(401);
    let whole = || Reply::with(Then::Answer(response(&"x".repeat(401), None)));
    let cut = |beats: Vec<Beat>| Reply::streams(beats.into_iter().chain([Beat::breaks(Class::Malformed)]));
    for (stream, reply, completion) in [
        (false, whole(), 101),
        (true, whole(), 101),
        (true, cut(vec![Beat::text(&text)]), 101),
        (true, cut(vec![Beat::start()]), 0),
        (true, cut(vec![]), 0),
        (true, Reply::streams([Beat::start(), Beat::finish(FinishReason::Stop)]), 0),
        (false, Reply::fails(Class::ServerError), 0),
        (true, Reply::silence(), 0),
    ] {
        let case = format!("stream: {stream}, {completion}");
        let mut rung = priced("a", [reply]);
        rung.clocks.retries = 0;
        let played = play(&chain(&[rung]), &ask(stream)).await;
        let [record] = &attempts(&played)[..] else { panic!("one attempt: {case}") };
        assert_eq!(record.usage.completion, Tokens::new(completion), "{case}");
        assert_eq!(record.usage_is_estimate, completion > 0, "{case}");
        // A mean of what the input may be at least and at most.
        let estimate = record.estimate;
        let prompt = (estimate.input_low + estimate.input_high).get() / 2 * u64::from(completion > 0);
        assert_eq!(record.usage.prompt.get(), prompt, "{case}");
        let cost = u128::from(prompt) * 1_000_000 + u128::from(completion) * 10_000_000;
        assert_eq!(record.cost.unwrap().pico_usd(), cost, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn counts_that_no_answer_can_have_used_count_for_nothing() {
    let of = |used: Usage| async move {
        let answer = Reply::with(Then::Answer(response(&"x".repeat(401), Some(used))));
        let played = play(&chain(&[priced("a", [answer])]), &ask(false)).await;
        let [record] = &attempts(&played)[..] else { panic!("one attempt") };
        (record.usage.completion.get(), record.usage_is_estimate)
    };
    assert_eq!(of(usage(100, u64::MAX)).await, (101, true));
    assert_eq!(of(usage(u64::MAX, 20)).await, (101, true));
    assert_eq!(of(Usage { cost: Cost::from_usd(1e7), ..usage(100, 20) }).await, (101, true));
    assert_eq!(of(usage(2_000_000, 128_000)).await, (128_000, false));
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_before_a_break_is_not_all_of_it() {
    for (early, charged) in [(0, (101, true)), (90, (90, false))] {
        let used = Beat::Say(Event::Usage(usage(100, early)));
        let beats = [used, Beat::text(&"x".repeat(401)), Beat::breaks(Class::Malformed)];
        let mut rung = priced("a", [Reply::streams(beats)]);
        rung.clocks.retries = 0;
        let played = play(&chain(&[rung]), &ask(true)).await;
        let [record] = &attempts(&played)[..] else { panic!("one attempt") };
        assert_eq!((record.usage.completion.get(), record.usage_is_estimate), charged);
        assert_eq!(record.usage.prompt.get(), 100);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_price_is_not_free_unless_nothing_was_used() {
    for (reply, cost) in [(Reply::says("x"), None), (Reply::fails(Class::Malformed), Some(Cost::ZERO))] {
        let played = play(&chain(&[Rung::new("a", [reply])]), &ask(true)).await;
        assert_eq!(attempts(&played)[0].cost, cost);
    }
}

#[tokio::test(start_paused = true)]
async fn a_providers_own_price_is_believed() {
    let own = Usage { cost: Cost::from_usd(0.5), ..usage(100, 20) };
    let played =
        play(&chain(&[priced("a", [Reply::with(Then::Answer(response("x", Some(own))))])]), &ask(false))
            .await;
    assert_eq!(played.trail.spent(), Cost::from_usd(0.5).unwrap());
}

#[tokio::test(start_paused = true)]
async fn all_attempts_of_a_request_are_paid_for() {
    let used = |prompt, completion| Beat::Say(Event::Usage(usage(prompt, completion)));
    let broken = [Beat::text("he"), used(100, 20), Beat::breaks(Class::Malformed)];
    let empty = [Beat::start(), Beat::finish(FinishReason::Stop), used(50, 0)];
    let rungs = [
        priced("a", [Reply::streams(broken)]),
        priced("b", [Reply::streams(empty)]),
        priced("c", [Reply::says("hello")]),
    ];
    let mut stand = Stand::of(3);
    stand.policy.commit = Commit::Complete;
    let chain = stand.chain(&rungs);
    let played = play(&chain, &ask(true)).await;
    assert_eq!(played.lines(), ["a=malformed", "b=empty", "c=ok"]);
    let costs: Vec<u128> = attempts(&played).iter().map(|record| record.cost.unwrap().pico_usd()).collect();
    assert_eq!(costs, [300_000_000, 50_000_000, 300_000_000]);
    assert_eq!(played.trail.spent().pico_usd(), 650_000_000);
    let entries = played.trail.entries();
    let summary = summary(&chain, &played, &entries);
    assert_eq!((summary.attempts, summary.usage()), (3, usage(100, 20)));
    assert_eq!(summary.served_cost().pico_usd(), 300_000_000);
    assert_eq!(summary.cost_at_first, Some(summary.served_cost()), "the first target has the same price");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_pays_for_what_had_arrived() {
    use crate::layers::scripted::errand;
    use crate::routing::plan::{Wishes, plan};
    let chain = chain(&[priced("a", [Reply::streams([Beat::text("12345678"), Beat::Hang])])]);
    let errand = errand(&chain, Wishes::default());
    let plan = plan(&chain, &ask(true).into(), &Wishes::default()).unwrap();
    // The answer is there, and nobody has read a word of it.
    drop(plan.run(&errand).await.unwrap());
    let Some(Entry::Attempt(record)) = errand.trail.entries().pop() else { panic!("an attempt") };
    assert_eq!(record.outcome, Some(Outcome::ClientCancelled));
    assert_eq!((record.usage.completion, record.usage_is_estimate), (Tokens::new(2), true));
}

#[tokio::test(start_paused = true)]
async fn the_reason_for_a_fallback_is_why_the_first_eligible_target_did_not_serve() {
    let good = || Rung::new("good", [Reply::says("x")]);
    let limited = || Rung::new("a", [Reply::fails(Class::Malformed)]);
    let blind = || Rung { lacks: Some("vision"), ..Rung::new("blind", [Reply::says("x")]) };
    let open = || {
        let rung = Rung::new("open", [Reply::says("x")]);
        let rule = rung.breaker.unwrap();
        rung.health.breaker.failed(&rule, Class::AuthFailed, None, tokio::time::Instant::now());
        rung
    };
    let twice = || Rung::new("a", [Reply::fails(Class::ServerError), Reply::fails(Class::Malformed)]);
    let recovers = || Rung::new("a", [Reply::fails(Class::ServerError), Reply::says("x")]);
    for (rungs, reason) in [
        (vec![good()], None),
        (vec![recovers(), good()], None),
        (vec![blind(), good()], None),
        (vec![limited(), good()], Some(("mock/a", "malformed"))),
        (vec![twice(), good()], Some(("mock/a", "malformed"))),
        (vec![blind(), limited(), good()], Some(("mock/a", "malformed"))),
        (vec![open(), good()], Some(("mock/open", "circuit_open"))),
        (vec![open(), limited(), good()], Some(("mock/open", "circuit_open"))),
        (vec![limited(), open(), good()], Some(("mock/a", "malformed"))),
        (vec![limited()], Some(("mock/a", "malformed"))),
    ] {
        let chain = chain(&rungs);
        let played = play(&chain, &ask(true)).await;
        let entries = played.trail.entries();
        let summary = summary(&chain, &played, &entries);
        let told = summary.fallback.map(|(from, reason)| (&**from, reason));
        assert_eq!(told, reason, "{:?}", played.lines());
        assert_eq!(summary.served.map(|served| served.index), played.served);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_resort_is_no_fallback() {
    let rung = Rung::new("a", [Reply::says("x")]);
    let rule = rung.breaker.unwrap();
    for _ in 0..5 {
        rung.health.breaker.failed(&rule, Class::Overloaded, None, tokio::time::Instant::now());
    }
    let chain = chain(&[rung]);
    let played = play(&chain, &ask(true)).await;
    assert_eq!(summary(&chain, &played, &played.trail.entries()).fallback, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_tells_what_broke_it() {
    let rungs =
        [Rung::new("a", [Reply::streams([Beat::text("x"), Beat::wait(5), Beat::breaks(Class::Truncated)])])];
    let played = play(&chain(&rungs), &ask(true)).await;
    let [record] = &attempts(&played)[..] else { panic!("one attempt") };
    assert_eq!(record.outcome, Some(Outcome::Failed(Class::Truncated)));
    assert_eq!((record.latency, record.first_content), (ms(5), Some(ms(0))));
    assert_eq!(record.usage.completion, Tokens::new(1));
}

#[tokio::test(start_paused = true)]
async fn true_counts_teach_the_estimate() {
    let rung = Rung::new("a", [Reply::with(Then::Answer(response("x", Some(usage(1000, 1)))))]);
    let chain = chain(std::slice::from_ref(&rung));
    let content = serde_json::json!({"messages": [{"role": "user", "content": "x".repeat(8000)}]});
    let request = crate::layers::scripted::ask_with(false, content);
    for _ in 0..30 {
        play(&chain, &request).await;
    }
    let (low, high) = rung.health.bytes_per_token.estimate(8000);
    assert!((799..=801).contains(&low) && (1249..=1252).contains(&high), "{low} to {high}");
}
