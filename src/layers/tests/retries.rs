//! Asking the same target again: when, after what wait, and never at a later target's expense.

use std::time::Duration;

use proptest::prelude::*;

use crate::layers::scripted::{Beat, Reply, Rung, Stand, ask, chain, errand, ms, play, play_as};
use crate::reason::{Class, Failure};
use crate::routing::Commit;
use crate::routing::plan::Wishes;
use crate::routing::run::Errand;

fn limited(class: Class, seconds: f64) -> Reply {
    let retry_after = Some(Duration::from_secs_f64(seconds));
    Reply::refuses(Failure { retry_after, ..Failure::new(class, "slow down") })
}

fn many_retries(rung: Rung) -> Rung {
    Rung { breaker: None, ..rung }.clocked(|clocks| clocks.retries = 9)
}

#[tokio::test(start_paused = true)]
async fn a_short_retry_after_is_waited_out_to_the_millisecond() {
    for class in [Class::RateLimited, Class::Overloaded, Class::ServerError] {
        for stream in [false, true] {
            let rung = Rung::new("a", [limited(class, 3.0).after(40), Reply::says("x")]);
            let played = play(&chain(std::slice::from_ref(&rung)), &ask(stream)).await;
            assert_eq!(played.lines(), [format!("a={class}"), "a=ok".into()]);
            assert_eq!(rung.upstream.times(), [0, 3040]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_after_is_not_waited_out() {
    for class in [Class::RateLimited, Class::Overloaded] {
        let rungs =
            [many_retries(Rung::new("a", [limited(class, 3.001)])), Rung::new("b", [Reply::says("x")])];
        let played = play(&chain(&rungs), &ask(true)).await;
        assert_eq!(played.lines(), [format!("a={class}"), "b=ok".into()]);
        assert_eq!(rungs[1].upstream.times(), [0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_waited_out_once() {
    let rung = many_retries(Rung::new("a", [limited(Class::RateLimited, 1.0)]));
    let mut stand = Stand::of(1);
    stand.policy.max_attempts = 9;
    play(&stand.chain(std::slice::from_ref(&rung)), &ask(true)).await;
    assert_eq!(rung.upstream.times(), [0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn a_backoff_before_it_does_not_use_it_up() {
    let script = [Reply::fails(Class::ServerError), limited(Class::RateLimited, 1.0), Reply::says("x")];
    let rung = many_retries(Rung::new("a", script));
    let mut stand = Stand::of(1);
    stand.policy.max_attempts = 9;
    let played = play(&stand.chain(std::slice::from_ref(&rung)), &ask(true)).await;
    assert_eq!(played.lines(), ["a=server_error", "a=rate_limited", "a=ok"]);
    let times = rung.upstream.times();
    assert_eq!(times[2] - times[1], 1000);
}

#[tokio::test(start_paused = true)]
async fn a_backoff_is_drawn_from_zero_to_a_bound_that_doubles() {
    let mut longest = [0; 6];
    for seed in 0..200 {
        fastrand::seed(seed);
        let rung = many_retries(Rung::new("a", [Reply::fails(Class::Overloaded)]))
            .clocked(|clocks| clocks.retries = 6);
        let mut stand = Stand::of(1);
        stand.policy.max_attempts = 7;
        play(&stand.chain(std::slice::from_ref(&rung)), &ask(seed % 2 == 0)).await;
        let times = rung.upstream.times();
        assert_eq!(times.len(), 7);
        for (longest, pair) in longest.iter_mut().zip(times.windows(2)) {
            *longest = (*longest).max(pair[1] - pair[0]);
        }
    }
    for (longest, bound) in longest.into_iter().zip([250, 500, 1000, 2000, 4000, 4000]) {
        // A timer may be a millisecond late; of 200 draws, one is in the upper tenth.
        assert!(longest <= bound + 1 && longest > bound * 9 / 10, "{longest} of {bound}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_is_asked_again_at_once_and_any_other_lost_one_is_not() {
    for (stale, lines) in [(true, ["a=connection_lost", "a=ok"]), (false, ["a=connection_lost", "b=ok"])] {
        let lost = Failure { stale_connection: stale, ..Failure::new(Class::ConnectionLost, "gone") };
        let rungs = [
            Rung::new("a", [Reply::refuses(lost).after(10), Reply::says("x")]),
            Rung::new("b", [Reply::says("y")]),
        ];
        let played = play(&chain(&rungs), &ask(false)).await;
        assert_eq!(played.lines(), lines);
        assert_eq!(played.took, ms(10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_is_the_last_where_those_behind_it_cannot_serve() {
    let lost = || Rung::new("a", [Reply::fails(Class::ConnectionLost), Reply::says("x")]);
    let blind = Rung { lacks: Some("vision"), ..Rung::new("b", [Reply::says("y")]) };
    let played = play(&chain(&[lost(), blind]), &ask(true)).await;
    assert_eq!(played.lines(), ["a=connection_lost", "a=ok"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_while_it_is_held_back_is_retried_only_by_the_last() {
    let cut = || [Reply::streams([Beat::text("he"), Beat::breaks(Class::Truncated)]), Reply::says("hello")];
    let mut stand = Stand::of(2);
    stand.policy.commit = Commit::Complete;
    let two = [Rung::new("a", cut()), Rung::new("b", [Reply::says("bye")])];
    let played = play(&stand.chain(&two), &ask(true)).await;
    assert_eq!((played.lines(), &*played.text), (vec!["a=truncated".into(), "b=ok".into()], "bye"));
    let played = play(&stand.chain(&[Rung::new("a", cut())]), &ask(true)).await;
    assert_eq!((played.lines(), &*played.text), (vec!["a=truncated".into(), "a=ok".into()], "hello"));
}

#[tokio::test(start_paused = true)]
async fn retries_leave_each_later_target_its_attempt() {
    let failing = |name| many_retries(Rung::new(name, [Reply::fails(Class::ServerError)]));
    for max_attempts in 1..8 {
        let rungs = [failing("a"), failing("b"), failing("c")];
        let mut stand = Stand::of(3);
        stand.policy.max_attempts = max_attempts;
        play(&stand.chain(&rungs), &ask(true)).await;
        let calls = rungs.each_ref().map(|rung| u32::try_from(rung.upstream.calls()).unwrap());
        let spare = max_attempts.saturating_sub(3);
        let expected = [1 + spare, u32::from(max_attempts > 1), u32::from(max_attempts > 2)];
        assert_eq!(calls, expected, "of {max_attempts}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_retry_is_made_for_which_there_is_no_time() {
    // 500 ms were used, the wait takes 1 s, the retry as long as the attempt: with 2 s there is no need to stop.
    for (deadline, calls) in [(1999, 1), (2000, 2)] {
        let rung = Rung::new("a", [limited(Class::RateLimited, 1.0).after(500)]);
        let mut stand = Stand::of(1);
        stand.policy.deadline = ms(deadline);
        let played = play(&stand.chain(std::slice::from_ref(&rung)), &ask(true)).await;
        assert_eq!(rung.upstream.calls(), calls, "{deadline} ms");
        assert!(played.stopped_by().is_none(), "the rate limit is what the client is to hear of");
    }
    // The same with a target behind that usually takes 400 ms, which counts for half as much again.
    for (deadline, calls) in [(2599, 1), (2600, 2)] {
        let rungs = [
            Rung::new("a", [limited(Class::RateLimited, 1.0).after(500)]),
            Rung::new("b", [Reply::says("x")]).usually(400),
        ];
        let mut stand = Stand::of(2);
        stand.policy.deadline = ms(deadline);
        assert_eq!(play(&stand.chain(&rungs), &ask(false)).await.served, Some(1));
        assert_eq!(rungs[0].upstream.calls(), calls, "{deadline} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_hangs_is_ended_in_time_for_the_next_target() {
    for stream in [false, true] {
        let rungs = [
            Rung::new("a", [Reply::fails(Class::ServerError), Reply::silence()]),
            Rung::new("b", [Reply::says("hello").after(300)]).usually(400),
        ];
        let mut stand = Stand::of(2);
        stand.policy.deadline = ms(5000);
        let played = play(&stand.chain(&rungs), &ask(stream)).await;
        assert_eq!(played.lines(), ["a=server_error", "a=deadline_exceeded", "b=ok"]);
        assert_eq!(rungs[1].upstream.times(), [4400], "stream: {stream}");
        assert_eq!(rungs[0].upstream.abandoned(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_lowers_its_deadline_to_is_shared_fairly() {
    let stand = Stand::of(2);
    let rungs = [
        Rung::new("a", [limited(Class::Overloaded, 0.05), Reply::says("x")]),
        Rung::new("b", [Reply::says("y")]),
    ];
    let chain = stand.chain(&rungs);
    let errand = errand(&chain, Wishes::default());
    let hurried = Errand { deadline: tokio::time::Instant::now() + ms(300), ..errand };
    let played = play_as(&chain, &ask(true), hurried).await;
    assert_eq!(played.lines(), ["a=overloaded", "a=ok"], "half of 300 ms is enough for b");
}

/// One target of a random chain: what its first call takes, and how its calls end.
#[derive(Debug, Clone)]
pub struct Draw {
    first: u64,
    replies: Vec<Reply>,
    retries: u32,
}

impl Draw {
    /// The target, which may be retried or not.
    pub fn rung(&self, name: &str, with_retries: bool) -> Rung {
        let rung = Rung { breaker: None, ..Rung::new(name, self.replies.clone()) };
        rung.usually(self.first).clocked(|clocks| clocks.retries = self.retries * u32::from(with_retries))
    }
}

pub fn draw() -> impl Strategy<Value = Draw> {
    let failure = (0..6_usize, prop::option::of(0_u64..4000)).prop_map(|(class, retry_after)| {
        let class = [
            Class::ServerError,
            Class::Overloaded,
            Class::RateLimited,
            Class::ConnectFailed,
            Class::ConnectionLost,
            Class::Malformed,
        ][class];
        let retry_after = retry_after.map(ms);
        let stale_connection = retry_after.is_none();
        Reply::refuses(Failure { retry_after, stale_connection, ..Failure::new(class, "random") })
    });
    let again = prop_oneof![
        3 => (failure.clone(), 0_u64..3000).prop_map(|(reply, after)| reply.after(after)),
        1 => Just(Reply::silence()),
        1 => (0_u64..3000).prop_map(|after| Reply::says("x").after(after)),
    ];
    let first = prop_oneof![9 => failure, 1 => Just(Reply::says("x"))];
    let replies = (0_u64..3000, first, prop::collection::vec(again, 0..4));
    (replies, 0_u32..4).prop_map(|((first, reply, again), retries)| {
        let replies = std::iter::once(reply.after(first)).chain(again).collect();
        Draw { first, replies, retries }
    })
}

/// The targets that were called, which of them served, and the calls in all.
async fn walk(draws: &[Draw], deadline: u64, max_attempts: u32, stream: bool, with_retries: bool) -> Walked {
    let rungs: Vec<Rung> =
        draws.iter().enumerate().map(|(at, draw)| draw.rung(&at.to_string(), with_retries)).collect();
    let mut stand = Stand::of(0);
    stand.policy.deadline = ms(deadline);
    stand.policy.max_attempts = max_attempts;
    let played = play(&stand.chain(&rungs), &ask(stream)).await;
    let calls: Vec<usize> = rungs.iter().map(|rung| rung.upstream.calls()).collect();
    assert_eq!(calls.iter().sum::<usize>(), played.trail.attempts() as usize);
    assert!(played.took <= ms(deadline), "{:?}", played.took);
    Walked { calls, served: played.served }
}

#[derive(Debug)]
struct Walked {
    calls: Vec<usize>,
    served: Option<usize>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever chain, outcomes and limits: each target that is reached without retries is reached with them too,
    /// unless a retry makes an earlier target serve.
    #[test]
    fn a_retry_never_costs_a_later_target_its_attempt(
        draws in prop::collection::vec(draw(), 1..6),
        deadline in 100_u64..15_000,
        max_attempts in 1_u32..10,
        stream in any::<bool>(),
        seed in any::<u64>(),
    ) {
        fastrand::seed(seed);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let without = runtime().block_on(walk(&draws, deadline, max_attempts, stream, false));
        let with = runtime().block_on(walk(&draws, deadline, max_attempts, stream, true));
        for walked in [&without, &with] {
            prop_assert!(walked.calls.iter().sum::<usize>() <= max_attempts as usize, "{walked:?}");
        }
        for (at, draw) in draws.iter().enumerate() {
            prop_assert!(with.calls[at] <= 1 + draw.retries as usize);
            let was_reached = without.calls[at] > 0;
            let served_before = with.served.is_some_and(|served| served < at);
            prop_assert!(!was_reached || served_before || with.calls[at] > 0, "{at}: {without:?}, {with:?}");
        }
    }
}
