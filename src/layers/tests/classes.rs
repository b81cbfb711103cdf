//! Every class of failure: how often its target is asked, whether the chain goes on, what its circuit makes of it,
//! and what an owner's `on` changes.

use tokio::time::Instant;

use crate::layers::scripted::{Beat, Played, Reply, Rung, Stand, ask, chain, ms, play};
use crate::reason::{Action, Class, Failure};
use crate::routing::breaker::Standing;

/// How a class is to be met: calls with a target behind, calls as the last target, whether the chain goes on.
struct Met {
    class: Class,
    calls: usize,
    calls_as_last: usize,
    goes_on: bool,
}

const fn met(class: Class, calls: usize, calls_as_last: usize, goes_on: bool) -> Met {
    Met { class, calls, calls_as_last, goes_on }
}

/// The contract's table, for a pass-through target with one retry.
const TABLE: [Met; Class::ALL.len()] = [
    met(Class::RateLimited, 2, 2, true),
    met(Class::QuotaExhausted, 1, 1, true),
    met(Class::Overloaded, 2, 2, true),
    met(Class::ServerError, 2, 2, true),
    met(Class::ConnectFailed, 2, 2, true),
    met(Class::ConnectionLost, 1, 2, true),
    met(Class::FirstTokenTimeout, 1, 1, true),
    met(Class::IdleTimeout, 1, 1, true),
    met(Class::StreamTimeout, 1, 1, true),
    met(Class::AnswerTimeout, 1, 1, true),
    met(Class::DeadlineExceeded, 1, 1, false),
    met(Class::Truncated, 1, 2, true),
    met(Class::Malformed, 1, 1, true),
    met(Class::Empty, 1, 1, true),
    met(Class::AuthFailed, 1, 1, true),
    met(Class::ModelNotFound, 1, 1, true),
    met(Class::ContextLength, 1, 1, true),
    met(Class::TooLarge, 1, 1, true),
    met(Class::ContentFilter, 1, 1, false),
    met(Class::InvalidRequest, 1, 1, false),
];

/// The ways in which a class can come before an answer.
fn replies(class: Class) -> Vec<(bool, Reply)> {
    let early = Beat::start();
    vec![
        (false, Reply::fails(class)),
        (true, Reply::fails(class)),
        (true, Reply::streams([early, Beat::breaks(class)])),
    ]
}

fn expected(class: Class, calls: usize, goes_on: bool) -> Vec<String> {
    let mut lines = vec![format!("a={class}"); calls];
    lines.extend(goes_on.then(|| "b=ok".to_owned()));
    lines
}

async fn play_two(class: Class, stream: bool, reply: Reply, act: Option<Action>) -> (usize, usize, Played) {
    let rungs = [Rung::new("a", [reply]), Rung::new("b", [Reply::says("hello")])];
    let mut stand = Stand::of(2);
    stand.policy.on.extend(act.map(|action| (class, action)));
    let played = play(&stand.chain(&rungs), &ask(stream)).await;
    (rungs[0].upstream.calls(), rungs[1].upstream.calls(), played)
}

#[tokio::test(start_paused = true)]
async fn each_class_is_met_as_the_contract_says() {
    for Met { class, calls, goes_on, .. } in TABLE {
        for (stream, reply) in replies(class) {
            let case = format!("{class}, stream: {stream}, {reply:?}");
            let (at_first, at_second, played) = play_two(class, stream, reply, None).await;
            assert_eq!((at_first, at_second), (calls, usize::from(goes_on)), "{case}");
            assert_eq!(played.lines(), expected(class, calls, goes_on), "{case}");
            if goes_on {
                assert_eq!((played.served, &*played.text, played.broke), (Some(1), "hello", None), "{case}");
            } else {
                assert_eq!((played.served, played.stopped_by()), (None, Some(class)), "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_target_is_asked_again_after_a_lost_connection() {
    for Met { class, calls_as_last, goes_on, .. } in TABLE {
        for (stream, reply) in replies(class) {
            let case = format!("{class}, stream: {stream}");
            let rungs = [Rung::new("a", [reply])];
            let played = play(&chain(&rungs), &ask(stream)).await;
            assert_eq!(rungs[0].upstream.calls(), calls_as_last, "{case}");
            let exhausted = played.exhausted.as_ref().unwrap();
            assert_eq!(exhausted.stopped_by.is_some(), !goes_on, "{case}");
            assert_eq!(exhausted.failures.len(), 1, "one failure for one target: {case}");
            assert_eq!(exhausted.failures[0].1.class, class, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_may_order_otherwise_for_every_class() {
    for Met { class, calls, goes_on, .. } in TABLE {
        for action in Action::ALL {
            let (calls, goes_on) = match action {
                // There is no answer to accept in a failure: only an empty answer is one.
                Action::Accept => (calls, goes_on),
                Action::Stop => (1, false),
                Action::Fallback => (1, true),
                Action::Retry => (2, false),
                Action::RetryThenFallback => (2, true),
            };
            for (stream, reply) in replies(class) {
                let case = format!("{class} = {}, stream: {stream}", action.code());
                let (at_first, at_second, played) = play_two(class, stream, reply, Some(action)).await;
                assert_eq!((at_first, at_second), (calls, usize::from(goes_on)), "{case}");
                assert_eq!(played.lines(), expected(class, calls, goes_on), "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_request_falls_back_where_it_was_translated() {
    for stream in [false, true] {
        let translated =
            Rung { is_pass_through: false, ..Rung::new("a", [Reply::fails(Class::InvalidRequest)]) };
        let played = play(&chain(&[translated, Rung::new("b", [Reply::says("x")])]), &ask(stream)).await;
        assert_eq!(played.lines(), ["a=invalid_request", "b=ok"]);
    }
}

/// What one failure, and then four more, do to a circuit: how long it is open.
#[tokio::test(start_paused = true)]
async fn each_class_trips_the_circuit_as_the_contract_says() {
    for class in Class::ALL {
        let (after_one, after_five) = match class {
            Class::QuotaExhausted | Class::AuthFailed | Class::ModelNotFound => (Some(60), Some(60)),
            Class::RateLimited
            | Class::Overloaded
            | Class::ServerError
            | Class::ConnectFailed
            | Class::ConnectionLost
            | Class::FirstTokenTimeout
            | Class::IdleTimeout
            | Class::StreamTimeout
            | Class::AnswerTimeout
            | Class::Truncated
            | Class::Malformed => (None, Some(10)),
            Class::DeadlineExceeded
            | Class::Empty
            | Class::ContextLength
            | Class::TooLarge
            | Class::ContentFilter
            | Class::InvalidRequest => (None, None),
        };
        for (stream, reply) in replies(class) {
            let rung = Rung::new("a", [reply]).clocked(|clocks| clocks.retries = 0);
            let chain = chain(std::slice::from_ref(&rung));
            for (expected, more) in [(after_one, 1), (after_five, 4)] {
                for _ in 0..more {
                    play(&chain, &ask(stream)).await;
                }
                assert_eq!(open_for(&rung, class), expected, "{class}, stream: {stream}, {more} more");
            }
        }
    }
}

fn open_for(rung: &Rung, class: Class) -> Option<u64> {
    match rung.health.breaker.standing(Instant::now()) {
        Standing::Ready => None,
        Standing::Open { until, cause } => {
            assert_eq!(cause, class);
            Some((until - Instant::now()).as_secs())
        }
        Standing::Probing { .. } => panic!("no probe is out"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_parks_the_target_until_its_time_and_a_minute_at_most() {
    for (asked, parked) in [(20, 20), (100, 60)] {
        let limited =
            Failure { retry_after: Some(ms(asked * 1000)), ..Failure::new(Class::RateLimited, "slow") };
        let rung = Rung::new("a", [Reply::refuses(limited), Reply::says("x")]);
        let chain = chain(std::slice::from_ref(&rung));
        play(&chain, &ask(true)).await;
        assert_eq!(open_for(&rung, Class::RateLimited), Some(parked));
        tokio::time::advance(ms(parked * 1000)).await;
        assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=ok"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_content_is_empty_unless_it_had_to_end() {
    use crate::chat::FinishReason::{ContentFilter, Length, Stop, ToolCalls};
    for (reason, served) in [(Stop, 1), (Length, 0), (ToolCalls, 0), (ContentFilter, 0)] {
        let mut empty = crate::layers::scripted::response("", None);
        empty.choices[0].finish_reason = reason;
        for stream in [false, true] {
            let rungs = [
                Rung::new("a", [Reply::with(crate::layers::scripted::Then::Answer(empty.clone()))]),
                Rung::new("b", [Reply::says("hello")]),
            ];
            let played = play(&chain(&rungs), &ask(stream)).await;
            assert_eq!(played.served, Some(served), "{reason:?}, stream: {stream}");
            assert_eq!(rungs[0].upstream.calls(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_may_take_an_empty_answer_for_an_answer() {
    for stream in [false, true] {
        let empty = crate::layers::scripted::Then::Answer(crate::layers::scripted::response("", None));
        let mut stand = Stand::of(2);
        stand.policy.on.insert(Class::Empty, Action::Accept);
        let rungs = [Rung::new("a", [Reply::with(empty)]), Rung::new("b", [Reply::says("hello")])];
        let played = play(&stand.chain(&rungs), &ask(stream)).await;
        assert_eq!((played.lines(), &*played.text), (vec!["a=ok".to_owned()], ""));
    }
}

#[tokio::test(start_paused = true)]
async fn one_choice_that_had_to_end_makes_an_answer_of_empty_ones() {
    use crate::chat::Event;
    use crate::chat::FinishReason::{Length, Stop};
    let finish = |choice, reason| Beat::Say(Event::Finish { choice, reason });
    for (first, second, served) in [(Stop, Length, 0), (Length, Stop, 0), (Stop, Stop, 1)] {
        let beats = [Beat::start(), finish(0, first), finish(1, second)];
        let rungs = [Rung::new("a", [Reply::streams(beats)]), Rung::new("b", [Reply::says("hello")])];
        assert_eq!(play(&chain(&rungs), &ask(true)).await.served, Some(served), "{first:?}, {second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_only_ends_is_truncated_or_malformed() {
    let unreadable = || Beat::Say(crate::chat::Event::Unreadable);
    for (beats, class) in [
        (vec![], Class::Truncated),
        (vec![Beat::start()], Class::Truncated),
        (vec![unreadable(), unreadable()], Class::Malformed),
    ] {
        let rungs = [Rung::new("a", [Reply::streams(beats)]), Rung::new("b", [Reply::says("hello")])];
        let played = play(&chain(&rungs), &ask(true)).await;
        assert_eq!(played.lines(), [format!("a={class}"), "b=ok".into()]);
    }
}
