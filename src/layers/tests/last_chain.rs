//! The chain that stands in for an exhausted one: when it is walked, and what it has left.

use std::sync::Arc;

use serde_json::json;

use super::budgets::{budget, rule};
use crate::layers::scripted::{Played, Reply, Rung, Stand, ask, ask_with, errand, ms, play, play_as};
use crate::ops::Summary;
use crate::reason::{Class, Failure};
use crate::routing::Chain;
use crate::routing::budget::{Limits, OnExceeded, Rule};
use crate::routing::chain::Credential;
use crate::routing::plan::Wishes;
use crate::routing::run::Errand;

/// A chain with another behind it.
fn with_last(own: &Arc<Chain>, last: &Arc<Chain>) -> Arc<Chain> {
    let last = Chain { name: "last".into(), ..Chain::clone(last) };
    Arc::new(Chain { last: Some(Arc::new(last)), ..Chain::clone(own) })
}

fn chain(rungs: &[Rung]) -> Arc<Chain> {
    crate::layers::scripted::chain(rungs)
}

fn failing(name: &str) -> Rung {
    Rung::new(name, [Reply::fails(Class::Malformed)])
}

fn good(name: &str) -> Rung {
    Rung::new(name, [Reply::says(name)])
}

fn last_chain(played: &Played) -> Option<&str> {
    played.trail.last_chain().map(|name| &**name)
}

#[tokio::test(start_paused = true)]
async fn it_is_walked_when_no_target_serves() {
    for stream in [false, true] {
        let last = chain(&[failing("c"), good("d")]);
        let played = play(&with_last(&chain(&[failing("a"), failing("b")]), &last), &ask(stream)).await;
        assert_eq!(played.lines(), ["a=malformed", "b=malformed", "c=malformed", "d=ok"]);
        assert_eq!((played.served, &*played.text, last_chain(&played)), (Some(1), "d", Some("last")));
        played.trail.read(|entries| {
            let places: Vec<_> =
                entries.iter().map(|entry| (entry.place().in_last, entry.place().index)).collect();
            assert_eq!(places, [(false, 0), (false, 1), (true, 0), (true, 1)]);
            let summary = Summary::of(entries, played.served, None);
            assert_eq!(
                summary.served.map(|served| &*served.target),
                Some("mock/d"),
                "not the first one's second"
            );
            assert_eq!(
                summary.fallback.map(|(from, reason)| (&**from, reason)),
                Some(("mock/a", "malformed"))
            );
        });
    }
}

#[tokio::test(start_paused = true)]
async fn its_first_target_is_no_first_target_of_the_chain() {
    let played = play(&with_last(&chain(&[failing("a")]), &chain(&[good("b")])), &ask(false)).await;
    played.trail.read(|entries| {
        let summary = Summary::of(entries, played.served, None);
        assert_eq!(summary.fallback.map(|(_, reason)| reason), Some("malformed"), "both are at the place 0");
    });
}

#[tokio::test(start_paused = true)]
async fn it_is_not_walked_when_the_chain_serves_stops_or_has_no_time_left() {
    let stops = Rung::new("a", [Reply::fails(Class::ContentFilter)]);
    let hangs = Rung { breaker: None, ..Rung::new("a", [Reply::says("late").after(70_000)]) };
    for (rung, expected) in [(good("a"), "a=ok"), (stops, "a=content_filter"), (hangs, "a=deadline_exceeded")]
    {
        let last = good("b");
        let played =
            play(&with_last(&chain(&[rung]), &chain(std::slice::from_ref(&last))), &ask(false)).await;
        assert_eq!(played.lines(), [expected]);
        assert_eq!((last.upstream.calls(), last_chain(&played)), (0, None), "{expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_wants_no_fallback_or_chose_its_targets_gets_no_last_chain() {
    let own = chain(&[failing("a"), failing("b")]);
    let (last, nothing) = (good("c"), Wishes::default());
    let both = with_last(&own, &chain(std::slice::from_ref(&last)));
    let cases = [
        (json!({}), Wishes { no_fallback: true, ..nothing.clone() }, vec!["a=malformed"]),
        (json!({ "models": ["mock/b"] }), nothing.clone(), vec!["b=malformed"]),
        (json!({ "fallbacks": [] }), nothing.clone(), vec!["a=malformed"]),
        (json!({}), Wishes { out_of_scope: true, ..nothing }, vec!["a=skip:key_scope", "b=skip:key_scope"]),
    ];
    for (members, wishes, expected) in cases {
        let played = play_as(&both, &ask_with(false, members), errand(&both, wishes)).await;
        assert_eq!(played.lines(), expected);
    }
    assert_eq!(last.upstream.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_chain_has_attempts_of_its_own_and_what_is_left_of_the_time() {
    let mut stand = Stand::of(2);
    stand.policy.max_attempts = 1;
    let own = stand.chain(&[Rung::new("a", [Reply::fails(Class::Malformed).after(50_000)]), good("never")]);
    stand.policy.max_attempts = 2;
    let slow = || Rung { breaker: None, ..Rung::new("b", [Reply::fails(Class::ServerError)]) };
    let hangs = Rung { breaker: None, ..Rung::new("c", [Reply::says("late").after(30_000)]) };
    let last = stand.chain(&[slow(), hangs.clone()]);
    let played = play(&with_last(&own, &last), &ask(false)).await;
    // The one call of the first chain is not among the two of the last.
    assert_eq!(played.lines(), ["a=malformed", "b=server_error", "c=deadline_exceeded"]);
    assert_eq!(played.took, ms(60_000), "the request's deadline holds");

    // Its own deadline, where that is sooner.
    stand.policy.deadline = ms(4000);
    let last = stand.chain(&[hangs]);
    let quick = chain(&[failing("a")]);
    let played = play(&with_last(&quick, &last), &ask(false)).await;
    assert_eq!((played.took, played.stopped_by()), (ms(4000), Some(Class::DeadlineExceeded)));
}

#[tokio::test(start_paused = true)]
async fn a_retry_leaves_it_its_time() {
    let own = |name: &str| {
        Rung { breaker: None, ..Rung::new(name, [Reply::fails(Class::ServerError)]) }
            .clocked(|clocks| clocks.retries = 9)
            .usually(10)
    };
    let mut stand = Stand::of(1);
    stand.policy.deadline = ms(1000);
    stand.policy.max_attempts = 100;
    let last = stand.chain(&[good("b").usually(600)]);
    let both = with_last(&stand.chain(&[own("a")]), &last);
    let played = play(&both, &ask(true)).await;
    assert_eq!(played.lines().last().map(String::as_str), Some("b=ok"), "{:?}", played.lines());
    assert!(played.took <= ms(100), "{:?}: 900 ms were its own", played.took);
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_of_credentials_holds_for_it_too() {
    let keyed = |rung: Rung| Rung { credential: Credential { identity: Some(7), missing: None }, ..rung };
    let bad = Failure { credential: true, ..Failure::new(Class::AuthFailed, "bad key") };
    let own = chain(&[keyed(Rung::new("a", [Reply::refuses(bad)]))]);
    let played = play(&with_last(&own, &chain(&[keyed(good("b")), failing("c")])), &ask(false)).await;
    assert_eq!(played.lines(), ["a=auth_failed", "b=skip:same_credential", "c=malformed"]);
    let exhausted = played.exhausted.expect("nothing is left");
    let places: Vec<_> = exhausted.places().map(|(place, failure)| (place.in_last, failure.class)).collect();
    assert_eq!(places, [(false, Class::AuthFailed), (true, Class::Malformed)]);
}

#[tokio::test(start_paused = true)]
async fn its_own_last_chain_is_not_followed() {
    let third = good("c");
    let second = with_last(&chain(&[failing("b")]), &chain(std::slice::from_ref(&third)));
    let first = with_last(&chain(&[failing("a")]), &second);
    let played = play(&first, &ask(false)).await;
    assert_eq!(
        (played.lines(), third.upstream.calls()),
        (vec!["a=malformed".into(), "b=malformed".into()], 0)
    );
    let again = play_as(&second, &ask(false), Errand { ..errand(&second, Wishes::default()) }).await;
    assert_eq!(again.lines().last().map(String::as_str), Some("c=ok"), "asked itself, it has one");
}

#[tokio::test(start_paused = true)]
async fn with_all_circuits_open_it_goes_before_the_last_resort_if_it_can_serve() {
    let own = Rung::new("a", [Reply::fails(Class::Overloaded)]);
    let clocked = own.clone().clocked(|clocks| clocks.retries = 0);
    let able = with_last(&chain(std::slice::from_ref(&clocked)), &chain(&[good("b")]));
    for _ in 0..own.breaker.expect("a breaker").failures {
        play(&able, &ask(true)).await;
    }
    assert_eq!(play(&able, &ask(true)).await.lines(), ["a=skip:circuit_open", "b=ok"]);
    let unable = Rung { lacks: Some("vision"), ..good("b") };
    let unable = with_last(&chain(&[clocked]), &chain(&[unable]));
    let played = play(&unable, &ask(true)).await;
    assert_eq!(played.lines(), ["a=skip:circuit_open", "a=overloaded", "b=skip:capability:vision"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_by_cost_is_no_choice_of_the_clients() {
    let limits = Limits { requests: Some(0), ..Limits::default() };
    let rule = Rule { on_exceeded: OnExceeded::Downshift, ..rule(limits) };
    let dear = Rung { budgets: vec![budget(rule)], ..good("dear") };
    let ill = Rung::new("ill", std::iter::repeat_n(Reply::fails(Class::ServerError).after(5000), 9));
    let own = chain(&[dear, ill.clocked(|clocks| clocks.retries = 0)]);
    let with_last = with_last(&own, &chain(&[good("last")]));
    while play(&with_last, &ask(false)).await.took > ms(0) {}
    let played = play(&with_last, &ask(false)).await;
    assert_eq!(played.lines(), ["dear=skip:budget:b", "ill=skip:circuit_open", "last=ok"]);
}
