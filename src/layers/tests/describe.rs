//! Images in words: when another chain is asked for them, what that may take, and what follows where it fails.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::chat::ChatRequest;
use crate::layers::scripted::{
    Reply, Rung, Stand, ask_with, chain, errand, lines, ms, play, play_as, shared,
};
use crate::ops::Summary;
use crate::reason::{Class, Failure};
use crate::routing::attempt::{Aside, Sight};
use crate::routing::budget::{Books, Budget, Counts, Limits, OnExceeded, Rule, Scope, Window};
use crate::routing::ceiling::Estimate;
use crate::routing::describe::{Describe, PROMPT};
use crate::routing::group::Balance;
use crate::routing::plan::Wishes;
use crate::routing::run::Errand;
use crate::routing::{Chain, Outcome, Trail};
use crate::units::Cost;

/// A chain whose images are described by another.
fn with_eyes(own: &Arc<Chain>, eyes: &Arc<Chain>) -> Arc<Chain> {
    let describe = Describe {
        chain: Arc::new(Chain { name: "eyes".into(), ..Chain::clone(eyes) }),
        prompt: PROMPT.to_owned(),
        max_tokens: 100,
        known: Arc::default(),
    };
    Arc::new(Chain { describe: Some(Arc::new(describe)), ..Chain::clone(own) })
}

fn blind(name: &str, replies: impl IntoIterator<Item = Reply>) -> Rung {
    Rung { lacks: Some("image_format"), breaker: None, ..Rung::new(name, replies) }
}

fn sees(name: &str, replies: impl IntoIterator<Item = Reply>) -> Rung {
    Rung { breaker: None, ..Rung::new(name, replies) }
}

/// A request with so many images.
fn pictures(count: usize) -> Arc<ChatRequest> {
    let image = |nth| {
        let url = format!("data:image/png;base64,iVBORw0KGgo{nth:04}");
        json!({ "type": "image_url", "image_url": { "url": url } })
    };
    let parts: Vec<_> = (0..count).map(image).collect();
    ask_with(false, json!({ "messages": [{ "role": "user", "content": parts }] }))
}

#[tokio::test(start_paused = true)]
async fn only_what_would_be_asked_is_described_for() {
    let eyes = sees("eyes", [Reply::says("words")]);
    let open = Rung {
        breaker: Some(crate::routing::breaker::BreakerRule::default()),
        ..blind("a", [Reply::fails(Class::AuthFailed)])
    };
    let narrow = blind("b", [Reply::says("b")]).model("context = 5");
    let own = chain(&[open, narrow, sees("c", [Reply::says("c")])]);
    let both = with_eyes(&own, &chain(std::slice::from_ref(&eyes)));
    assert_eq!(
        play(&both, &pictures(1)).await.lines(),
        ["eyes=ok", "a=auth_failed", "b=skip:context_window", "c=ok"]
    );
    // Now the circuit of the first is open, and the words are the same for all.
    for nth in 2..4 {
        let played = play(&both, &pictures(nth)).await;
        assert_eq!(played.lines(), ["a=skip:circuit_open", "b=skip:context_window", "c=ok"]);
        assert_eq!(played.trail.described(), []);
    }
    assert_eq!(eyes.upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_last_resort_gets_words_too() {
    let limited = Failure { retry_after: Some(ms(30_000)), ..Failure::new(Class::RateLimited, "slow") };
    let replies = [Reply::refuses(limited), Reply::says("again")];
    let rung = Rung {
        breaker: Some(crate::routing::breaker::BreakerRule::default()),
        ..blind("a", replies).clocked(|clocks| clocks.retries = 0)
    };
    let both = with_eyes(
        &chain(&[rung]),
        &chain(&[sees("eyes", [Reply::says("words"), Reply::says("other words")])]),
    );
    assert_eq!(play(&both, &pictures(1)).await.lines(), ["eyes=ok", "a=rate_limited"]);
    let played = play(&both, &pictures(2)).await;
    assert_eq!(played.lines(), ["a=skip:circuit_open", "eyes=ok", "a=ok"]);
    let outcomes: Vec<Sight> = played.trail.described()[0].images.iter().map(|(_, sight)| *sight).collect();
    assert!(outcomes.contains(&Sight::Cached) && outcomes.contains(&Sight::Described), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn equal_deployments_and_later_targets_share_the_words() {
    let stand = Stand::of(3);
    let (one, two) =
        (blind("a", [Reply::fails(Class::Malformed)]), blind("b", [Reply::fails(Class::Malformed)]));
    let eyes = sees("eyes", [Reply::says("words")]);
    let own = shared(&stand, Balance::Weighted, &[(&one, 1), (&two, 1)], &[blind("c", [Reply::says("c")])]);
    let played = play(&with_eyes(&own, &chain(std::slice::from_ref(&eyes))), &pictures(1)).await;
    assert_eq!((played.served, eyes.upstream.calls()), (Some(1), 1), "{:?}", played.lines());
    assert_eq!((played.lines()[0].as_str(), played.lines().len()), ("eyes=ok", 4));
}

#[tokio::test(start_paused = true)]
async fn what_describes_takes_no_attempts_of_the_chain_and_is_no_fallback() {
    let mut stand = Stand::of(1);
    stand.policy.max_attempts = 1;
    let own = stand.chain(&[blind("a", [Reply::says("a")])]);
    let eyes = chain(&[
        sees("x", [Reply::fails(Class::ServerError)]).clocked(|clocks| clocks.retries = 0),
        sees("y", [Reply::says("words")]),
    ]);
    // A client that wants no fallback says so of the answer.
    let both = with_eyes(&own, &eyes);
    let wishes = Wishes { no_fallback: true, ..Wishes::default() };
    let played = play_as(&both, &pictures(1), errand(&both, wishes)).await;
    assert_eq!(played.lines(), ["x=server_error", "y=ok", "a=ok"]);
    assert_eq!(played.trail.attempts(), 1);
    played.trail.read(|entries| {
        let summary = Summary::of(entries, played.served, None);
        assert_eq!((summary.attempts, summary.fallback.is_none()), (1, true));
        assert_eq!(
            summary.served.map(|served| (&*served.target, served.fallback_reason)),
            Some(("mock/a", None))
        );
    });
}

#[tokio::test(start_paused = true)]
async fn what_hangs_leaves_the_targets_their_time() {
    let own = chain(&[blind("a", [Reply::says("a")]), sees("b", [Reply::says("b").after(800)]).usually(800)]);
    let eyes = chain(&[sees("eyes", [Reply::silence()])]);
    let played = play(&with_eyes(&own, &eyes), &pictures(1)).await;
    assert_eq!(played.lines(), ["eyes=deadline_exceeded", "a=skip:undescribed", "b=ok"]);
    assert!(played.took < ms(60_000), "{:?}", played.took);
}

#[tokio::test(start_paused = true)]
async fn a_cost_ceiling_holds_over_all_images_together() {
    // 100 tokens in and 20 out: 300 micro-USD each.
    let price = "price = { input = 1, output = 10 }";
    let eyes = sees("eyes", [Reply::says("words"), Reply::says("words"), Reply::says("words")]).model(price);
    let own = chain(&[blind("a", [Reply::says("a")]).model(price)]);
    let both = with_eyes(&own, &chain(std::slice::from_ref(&eyes)));
    let most = Cost::from_usd(0.0016).unwrap();
    let wishes = Wishes { max_cost: Some(most), ..Wishes::default() };
    let small = |count| {
        let mut body: serde_json::Value = serde_json::from_slice(pictures(count).body()).unwrap();
        body["max_tokens"] = json!(10);
        Arc::new(ChatRequest::parse(body.to_string().into()).unwrap())
    };
    let played = play_as(&both, &small(6), errand(&both, wishes)).await;
    assert_eq!(played.lines(), ["eyes=ok", "eyes=ok", "eyes=skip:max_cost", "a=skip:undescribed"]);
    assert!(played.trail.spent() <= most);
}

#[tokio::test(start_paused = true)]
async fn a_broken_leader_does_not_keep_the_others_waiting() {
    let eyes = sees("eyes", [Reply::silence(), Reply::says("words"), Reply::says("words")]);
    let both = with_eyes(
        &chain(&[blind("a", [Reply::says("a"), Reply::says("a")])]),
        &chain(std::slice::from_ref(&eyes)),
    );
    let request = pictures(1);
    let (first, second) = (both.clone(), both.clone());
    let leader = tokio::spawn({
        let request = Arc::clone(&request);
        async move { play(&first, &request).await.served }
    });
    tokio::time::sleep(ms(10)).await;
    let follower = tokio::spawn(async move { (play(&second, &request).await.lines(), Instant::now()) });
    tokio::time::sleep(ms(10)).await;
    assert_eq!(eyes.upstream.calls(), 1);
    leader.abort();
    let left = Instant::now();
    let (told, at) = follower.await.unwrap();
    assert_eq!((told, eyes.upstream.calls()), (vec!["eyes=ok".to_owned(), "a=ok".to_owned()], 2));
    assert!(at - left < ms(100), "{:?}", at - left);
}

#[test]
fn an_attempt_that_is_withdrawn_leaves_the_others_as_they_are() {
    let trail = Trail::default();
    let aside = trail.aside(Arc::new(Aside { chain: "eyes".into(), image: "sha256:00".into() }));
    let begin = |trail: &Trail, name: &str| trail.begin(0, &name.into(), Instant::now(), Estimate::default());
    let first = begin(&aside, "mock/x");
    let second = begin(&trail, "mock/a");
    let third = begin(&aside, "mock/y");
    trail.withdraw(first);
    aside.update(third, |record| record.outcome = Some(Outcome::Busy));
    trail.update(second, |record| record.outcome = Some(Outcome::Ok));
    trail.update(first, |record| record.outcome = Some(Outcome::Busy));
    assert_eq!(lines(&trail), ["a=ok", "y=busy"]);
    assert_eq!((trail.attempts(), aside.attempts()), (1, 1));
    let numbers: Vec<u32> = trail
        .entries()
        .iter()
        .filter_map(|entry| match entry {
            crate::routing::Entry::Attempt(record) => Some(record.number),
            crate::routing::Entry::Skip(_) => None,
        })
        .collect();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn no_time_means_no_description() {
    let eyes = sees("eyes", [Reply::says("words")]);
    let both = with_eyes(&chain(&[blind("a", [Reply::says("a")])]), &chain(std::slice::from_ref(&eyes)));
    let errand = errand(&both, Wishes::default());
    let late = Errand { deadline: errand.began, ..errand };
    assert_eq!(play_as(&both, &pictures(1), late).await.lines(), ["a=skip:deadline"]);
    assert_eq!(eyes.upstream.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_fallbacks_does_not_count_who_describes() {
    let rule = Rule {
        name: "b".into(),
        limits: Limits { cost: Some(Cost::ZERO), ..Limits::default() },
        window: Window::Rolling(Duration::from_hours(1)),
        each: None,
        scope: Scope::default(),
        counts: Counts::Fallbacks,
        warn_at: 0.8,
        on_exceeded: OnExceeded::Reject,
    };
    let budget = Arc::new(Budget::new(rule, &Books::default()));
    let priced = |rung: Rung, output: u32| {
        let rung = rung.model(&format!("price = {{ input = 0, output = {output} }}\nmax_output = 50"));
        Rung { budgets: vec![Arc::clone(&budget)], ..rung }
    };
    for (own, eyes) in [(1, 100), (100, 1)] {
        let own = chain(&[priced(blind("a", [Reply::says("a")]), own)]);
        let both = with_eyes(&own, &chain(&[priced(sees("eyes", [Reply::says("words")]), eyes)]));
        let played = play(&both, &pictures(1)).await;
        assert_eq!(played.lines(), ["eyes=ok", "a=ok"], "neither stands in for the other");
        assert!(budget.standing(1).buckets.iter().all(|bucket| bucket.spent.cost == Cost::ZERO));
    }
}
