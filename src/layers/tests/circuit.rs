//! Circuits under many requests at once: few attempts at a target that is down, one probe, one last resort.

use std::sync::Arc;

use crate::layers::scripted::{Played, Reply, Rung, Stand, ask, chain, ms, play};
use crate::reason::{Action, Class, Failure, Skip};
use crate::routing::{Chain, Entry};

const CROWD: usize = 200;

/// So many requests at the same moment.
async fn crowd(chain: &Arc<Chain>) -> Vec<Played> {
    let requests = (0..CROWD).map(|at| {
        let chain = Arc::clone(chain);
        tokio::spawn(async move { play(&chain, &ask(at % 2 == 0)).await })
    });
    let mut played = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        played.push(request.await.unwrap());
    }
    played
}

fn down(name: &str, replies: impl IntoIterator<Item = Reply>) -> Rung {
    Rung::new(name, replies)
}

fn open(rung: &Rung, class: Class) {
    let rule = rung.breaker.unwrap();
    for _ in 0..rule.failures {
        rung.health.breaker.failed(&rule, class, None, tokio::time::Instant::now());
    }
}

fn park(rung: &Rung, seconds: u64) {
    let rule = rung.breaker.unwrap();
    let wait = Some(ms(seconds * 1000));
    rung.health.breaker.failed(&rule, Class::RateLimited, wait, tokio::time::Instant::now());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_is_asked_once_per_request_then_by_single_probes() {
    let outage = Reply::fails(Class::ServerError).after(50);
    // The first crowd, and two probes that fail; then it is up again.
    let script = std::iter::repeat_n(outage, CROWD + 2).chain([Reply::says("back").after(50)]);
    let rungs = [down("a", script), Rung::new("b", [Reply::says("hello").after(20)])];
    let chain = Arc::new(chain(&rungs));
    let calls = || rungs[0].upstream.calls();

    let played = crowd(&chain).await;
    assert!(played.iter().all(|played| played.served == Some(1) && played.trail.attempts() == 2));
    assert_eq!(calls(), CROWD, "the circuit opened before the first retry");

    let played = crowd(&chain).await;
    assert!(played.iter().all(|played| played.lines() == ["a=skip:circuit_open", "b=ok"]));
    assert_eq!(calls(), CROWD);

    for probes in 1..=2 {
        tokio::time::advance(ms(10_000)).await;
        let played = crowd(&chain).await;
        assert!(played.iter().all(|played| played.served == Some(1)));
        assert_eq!(calls(), CROWD + probes, "one probe for {CROWD} requests");
    }

    tokio::time::advance(ms(10_000)).await;
    let played = crowd(&chain).await;
    let by_probe = played.iter().filter(|played| played.served == Some(0)).count();
    assert_eq!((by_probe, calls()), (1, CROWD + 3));
    assert!(crowd(&chain).await.iter().all(|played| played.served == Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_bad_key_opens_for_a_minute_however_many_find_out_together() {
    let script =
        std::iter::repeat_n(Reply::fails(Class::AuthFailed).after(50), CROWD).chain([Reply::says("x")]);
    let rungs = [down("a", script), Rung::new("b", [Reply::says("hello")])];
    let chain = Arc::new(chain(&rungs));
    crowd(&chain).await;
    tokio::time::advance(ms(59_000)).await;
    assert_eq!(play(&chain, &ask(true)).await.lines()[0], "a=skip:circuit_open");
    tokio::time::advance(ms(1_000)).await;
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=ok"], "not doubled two hundred times");
}

#[tokio::test(start_paused = true)]
async fn the_last_resort_is_asked_by_one_request_at_a_time() {
    let rung = down("a", [Reply::says("hello").after(50)]);
    open(&rung, Class::Overloaded);
    let chain = chain(std::slice::from_ref(&rung));
    let played = crowd(&chain).await;
    let served: Vec<&Played> = played.iter().filter(|played| played.served.is_some()).collect();
    assert_eq!((served.len(), rung.upstream.calls()), (1, 1));
    assert_eq!(served[0].lines(), ["a=skip:circuit_open", "a=ok"]);
    for played in played.iter().filter(|played| played.served.is_none()) {
        assert_eq!(played.lines(), ["a=skip:circuit_open"]);
    }
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=ok"], "its success closed the circuit");
}

#[tokio::test(start_paused = true)]
async fn the_last_resort_is_the_one_that_would_open_up_first() {
    let rungs = [down("a", [Reply::says("a")]), down("b", [Reply::says("b")]), down("c", [Reply::says("c")])];
    park(&rungs[0], 40);
    open(&rungs[1], Class::ServerError);
    park(&rungs[2], 20);
    let played = play(&chain(&rungs), &ask(true)).await;
    let skips = ["a=skip:circuit_open", "b=skip:circuit_open", "c=skip:circuit_open"];
    assert_eq!(played.lines()[..3], skips);
    assert_eq!(played.lines()[3], "b=ok");
}

#[tokio::test(start_paused = true)]
async fn however_many_targets_are_out_one_request_tries_one_of_them() {
    let rungs = [down("a", [Reply::says("a").after(50)]), down("b", [Reply::says("b").after(50)])];
    for rung in &rungs {
        open(rung, Class::Overloaded);
    }
    let played = crowd(&chain(&rungs)).await;
    assert_eq!(rungs.each_ref().map(|rung| rung.upstream.calls()), [1, 0]);
    assert_eq!(played.iter().filter(|played| played.served.is_some()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_has_to_mend_is_no_last_resort() {
    for class in [Class::AuthFailed, Class::QuotaExhausted, Class::ModelNotFound] {
        let rung = down("a", [Reply::says("x")]);
        open(&rung, class);
        let played = play(&chain(std::slice::from_ref(&rung)), &ask(false)).await;
        assert_eq!(played.lines(), ["a=skip:circuit_open"]);
        let Some(Entry::Skip(record)) = played.trail.entries().pop() else { panic!("a skip") };
        assert_eq!(record.ready_at.unwrap() - tokio::time::Instant::now(), ms(60_000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_the_owner_ordered_is_made_although_its_failure_opened_the_circuit() {
    for class in [Class::AuthFailed, Class::QuotaExhausted, Class::ModelNotFound] {
        let mut stand = Stand::of(1);
        stand.policy.on.insert(class, Action::RetryThenFallback);
        let rung = down("a", [Reply::fails(class), Reply::says("x")]);
        let chain = stand.chain(std::slice::from_ref(&rung));
        assert_eq!(play(&chain, &ask(true)).await.lines(), [format!("a={class}"), "a=ok".into()]);
        let rung = down("a", [Reply::fails(class)]);
        play(&stand.chain(std::slice::from_ref(&rung)), &ask(true)).await;
        assert_eq!(rung.upstream.calls(), 2);
        tokio::time::advance(ms(60_000)).await;
        assert!(rung.health.breaker.admit(tokio::time::Instant::now()).is_ok(), "opened once");
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_no_last_resort_where_a_target_was_asked() {
    let rungs = [down("a", [Reply::says("x")]), Rung::new("b", [Reply::fails(Class::Malformed)])];
    open(&rungs[0], Class::Overloaded);
    let played = play(&chain(&rungs), &ask(true)).await;
    assert_eq!(played.lines(), ["a=skip:circuit_open", "b=malformed"]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_passed_over_by_design_is_no_last_resort() {
    let rungs =
        [down("a", [Reply::says("x")]), Rung { lacks: Some("tools"), ..down("b", [Reply::says("y")]) }];
    park(&rungs[0], 60);
    open(&rungs[1], Class::Overloaded);
    let played = play(&chain(&rungs), &ask(true)).await;
    assert_eq!(played.lines(), ["a=skip:circuit_open", "b=skip:capability:tools", "a=ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_last_resort_does_not_shorten_the_opening() {
    let rung = down("a", [Reply::fails(Class::Malformed), Reply::says("x")]);
    park(&rung, 50);
    let chain = chain(std::slice::from_ref(&rung));
    play(&chain, &ask(true)).await;
    let standing = rung.health.breaker.standing(tokio::time::Instant::now() + ms(49_000));
    assert!(matches!(standing, crate::routing::breaker::Standing::Open { .. }), "{standing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_finds_the_probe_out_says_so_and_falls_back() {
    let rungs = [down("a", [Reply::says("x").after(500)]), Rung::new("b", [Reply::says("y")])];
    open(&rungs[0], Class::Overloaded);
    tokio::time::advance(ms(10_000)).await;
    let played = crowd(&chain(&rungs)).await;
    let others = played.iter().filter(|played| played.served == Some(1));
    assert!(others.clone().all(|played| played.lines() == ["a=skip:circuit_open", "b=ok"]));
    assert_eq!((others.count(), rungs[0].upstream.calls()), (CROWD - 1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_circuit_is_shared_by_all_chains_of_the_target() {
    let first = Rung::new("a", [Reply::fails(Class::ConnectFailed)]).clocked(|clocks| clocks.retries = 0);
    let second = first.clone();
    let chain_of_first = chain(&[first]);
    for _ in 0..5 {
        play(&chain_of_first, &ask(true)).await;
    }
    let played = play(&chain(&[second, Rung::new("b", [Reply::says("x")])]), &ask(true)).await;
    assert_eq!(played.lines(), ["a=skip:circuit_open", "b=ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_rate_limited_waits_as_long_as_it_is_told() {
    let limited = Failure { retry_after: Some(ms(30_000)), ..Failure::new(Class::RateLimited, "slow") };
    let rung = down("a", [Reply::refuses(limited), Reply::says("x")]);
    open(&rung, Class::Overloaded);
    tokio::time::advance(ms(10_000)).await;
    let chain = chain(&[rung, Rung::new("b", [Reply::says("y")])]);
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=rate_limited", "b=ok"]);
    tokio::time::advance(ms(29_000)).await;
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=skip:circuit_open", "b=ok"]);
    tokio::time::advance(ms(1_000)).await;
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_after_its_commit_counts() {
    use crate::layers::scripted::Beat;
    let rung = down("a", [Reply::streams([Beat::text("x"), Beat::breaks(Class::Truncated)])]);
    let chain = chain(&[rung, Rung::new("b", [Reply::says("y")])]);
    for _ in 0..5 {
        assert_eq!(play(&chain, &ask(true)).await.broke, Some(Class::Truncated));
    }
    let played = play(&chain, &ask(true)).await;
    assert_eq!(played.lines(), ["a=skip:circuit_open", "b=ok"]);
    assert!(matches!(&played.trail.entries()[0], Entry::Skip(record) if record.skip == Skip::CircuitOpen));
}
