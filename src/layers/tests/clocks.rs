//! The clocks of an attempt and of the whole chain.

use futures_util::StreamExt;
use serde_json::json;
use tokio::time::Instant;

use crate::chat::event::{ChunkFacts, Touched};
use crate::chat::{ChatRequest, Chunk, Delta, Event, FinishReason};
use crate::layers::scripted::{
    Beat, Played, Reply, Rung, Stand, ask, ask_with, chain, errand, ms, play, words,
};
use crate::reason::Class;
use crate::routing::Commit;
use crate::routing::plan::{Wishes, plan};

const SECOND: u64 = 1000;

fn alone(rung: Rung) -> [Rung; 1] {
    [rung]
}

/// The class of the only attempt, and when it ended.
async fn fails(rung: Rung, request: &ChatRequestRef) -> (Class, u128) {
    let mut stand = Stand::of(1);
    stand.policy.deadline = ms(3600 * SECOND);
    let played = play(&stand.chain(&alone(rung)), request).await;
    (last_class(&played), played.took.as_millis())
}

type ChatRequestRef = std::sync::Arc<ChatRequest>;

fn last_class(played: &Played) -> Class {
    played.exhausted.as_ref().unwrap().failures.last().unwrap().1.class
}

fn pings(every: u64) -> impl Iterator<Item = Beat> {
    (0..1000).flat_map(move |_| [Beat::wait(every), Beat::Say(Event::Alive)])
}

fn role() -> Beat {
    let choices = [Touched { choice: 0, finish: None }].into_iter().collect();
    let facts = ChunkFacts { choices, has_role: true, ..ChunkFacts::default() };
    Beat::Say(Event::Chunk(Chunk { data: "{}".into(), facts }))
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_first_content_grows_with_the_input() {
    for (bytes, seconds) in [(2, 10), (26_000, 10), (27_000, 11), (540_000, 30)] {
        let messages = json!({"messages": [{"role": "user", "content": "x".repeat(bytes)}]});
        let request = ask_with(true, messages);
        let rung = Rung::new("a", [Reply::silence()]);
        assert_eq!(fails(rung, &request).await, (Class::FirstTokenTimeout, seconds * 1000), "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_reasons_has_five_minutes() {
    for (effort, always, seconds) in
        [("none", false, 10), ("minimal", false, 300), ("high", false, 300), ("none", true, 300)]
    {
        let request = ask_with(true, json!({"reasoning_effort": effort}));
        let rung = Rung { always_reasons: always, ..Rung::new("a", [Reply::silence()]) };
        assert_eq!(fails(rung, &request).await, (Class::FirstTokenTimeout, seconds * 1000), "{effort}");
    }
    let always = Rung { always_reasons: true, ..Rung::new("a", [Reply::silence()]) };
    assert_eq!(fails(always, &ask(true)).await.1, 300_000);
}

#[tokio::test(start_paused = true)]
async fn a_configured_wait_holds_for_all() {
    let rung = Rung { always_reasons: true, ..Rung::new("a", [Reply::silence()]) };
    let rung = rung.clocked(|clocks| clocks.first_token = Some(ms(1500)));
    let request = ask_with(true, json!({"reasoning_effort": "high"}));
    assert_eq!(fails(rung, &request).await, (Class::FirstTokenTimeout, 1500));
}

#[tokio::test(start_paused = true)]
async fn pings_heads_and_roles_are_no_content() {
    let beats = [Beat::start(), role()].into_iter().chain(pings(SECOND));
    let rung = Rung::new("a", [Reply::streams(beats)]);
    assert_eq!(fails(rung, &ask(true)).await, (Class::FirstTokenTimeout, 10_000));
}

#[tokio::test(start_paused = true)]
async fn reasoning_refusals_and_tool_calls_are_content() {
    let call = Delta::ToolCall { index: 0, id: "x".into(), name: "f".into(), extra: None };
    for delta in [Delta::Reasoning("hm".into()), Delta::Refusal("no".into()), call] {
        let beats = [
            Beat::Say(Event::Delta { choice: 0, delta }),
            Beat::wait(20 * SECOND),
            Beat::finish(FinishReason::Stop),
        ];
        let played = play(&chain(&alone(Rung::new("a", [Reply::streams(beats)]))), &ask(true)).await;
        assert_eq!(played.lines(), ["a=ok"]);
    }
    let nothing = Event::Delta { choice: 0, delta: Delta::Text(String::new()) };
    let rung = Rung::new("a", [Reply::streams([Beat::Say(nothing), Beat::Hang])]);
    assert_eq!(fails(rung, &ask(true)).await, (Class::FirstTokenTimeout, 10_000));
}

#[tokio::test(start_paused = true)]
async fn silence_after_the_first_content_is_idle() {
    let beats =
        [Beat::wait(5 * SECOND), Beat::text("he"), Beat::wait(29 * SECOND), Beat::text("llo"), Beat::Hang];
    let chain = chain(&alone(Rung::new("a", [Reply::streams(beats)])));
    let began = Instant::now();
    let played = play(&chain, &ask(true)).await;
    assert_eq!((&*played.text, played.broke), ("hello", Some(Class::IdleTimeout)));
    assert_eq!(began.elapsed(), ms((5 + 29 + 30) * SECOND));
    assert_eq!(played.lines(), ["a=idle_timeout"]);
}

#[tokio::test(start_paused = true)]
async fn pings_and_roles_reset_the_idle_clock_only() {
    let beats = [Beat::text("x"), Beat::wait(29 * SECOND), role()];
    let beats = beats.into_iter().chain(pings(29 * SECOND));
    let chain = chain(&alone(Rung::new("a", [Reply::streams(beats)])));
    let began = Instant::now();
    assert_eq!(play(&chain, &ask(true)).await.broke, Some(Class::StreamTimeout));
    assert_eq!(began.elapsed(), ms(600 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn silence_before_the_first_content_is_idle_from_the_first_sign_of_life_on() {
    let clocked = |rung: Rung| {
        rung.clocked(|clocks| {
            clocks.first_token = Some(ms(60 * SECOND));
            clocks.idle = ms(5 * SECOND);
        })
    };
    let sign = [Beat::wait(8 * SECOND), Beat::Say(Event::Alive), Beat::Hang];
    let rung = clocked(Rung::new("a", [Reply::streams(sign.clone())]));
    assert_eq!(fails(rung, &ask(true)).await, (Class::IdleTimeout, 13_000));
    let rung = clocked(Rung::new("a", [Reply::streams([Beat::Hang]).after(8 * SECOND)]));
    assert_eq!(fails(rung, &ask(true)).await, (Class::FirstTokenTimeout, 60_000), "it may be queueing");
    let thinker = Rung { always_reasons: true, ..clocked(Rung::new("a", [Reply::streams(sign)])) };
    assert_eq!(fails(thinker, &ask(true)).await, (Class::FirstTokenTimeout, 60_000), "it may be thinking");
}

#[tokio::test(start_paused = true)]
async fn a_stream_as_a_whole_has_its_limit_with_and_without_content() {
    let limited = |rung: Rung| rung.clocked(|clocks| clocks.stream = ms(7 * SECOND));
    let drip = (0..100).flat_map(|_| [Beat::text("x"), Beat::wait(SECOND)]);
    let chain = chain(&alone(limited(Rung::new("a", [Reply::streams(drip).after(500)]))));
    let began = Instant::now();
    let played = play(&chain, &ask(true)).await;
    assert_eq!((&*played.text, played.broke), ("xxxxxxx", Some(Class::StreamTimeout)));
    assert_eq!(began.elapsed(), ms(7 * SECOND), "the wait for its head counts");
    let silent = limited(Rung::new("a", [Reply::silence()]));
    assert_eq!(fails(silent, &ask(true)).await, (Class::StreamTimeout, 7000));
    let thinker = Rung { always_reasons: true, ..limited(Rung::new("a", [Reply::streams(pings(SECOND))])) };
    assert_eq!(fails(thinker, &ask(true)).await, (Class::StreamTimeout, 7000));
}

#[tokio::test(start_paused = true)]
async fn a_json_call_has_only_the_clock_of_its_answer() {
    let clocked = |rung: Rung| {
        rung.clocked(|clocks| {
            clocks.answer = ms(100 * SECOND);
            clocks.first_token = Some(ms(SECOND));
            clocks.idle = ms(SECOND);
            clocks.stream = ms(SECOND);
        })
    };
    let mut stand = Stand::of(1);
    stand.policy.deadline = ms(200 * SECOND);
    let slow = clocked(Rung::new("a", [Reply::says("x").after(99 * SECOND)]));
    assert_eq!(play(&stand.chain(&alone(slow)), &ask(false)).await.lines(), ["a=ok"]);
    let silent = clocked(Rung::new("a", [Reply::silence()]));
    assert_eq!(fails(silent, &ask(false)).await, (Class::AnswerTimeout, 100_000));
    let half =
        clocked(Rung::new("a", [Reply::streams([Beat::wait(60 * SECOND), Beat::Hang]).after(50 * SECOND)]));
    assert_eq!(fails(half, &ask(false)).await, (Class::AnswerTimeout, 100_000), "its body counts too");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_stops_the_chain_while_an_answer_is_waited_for() {
    let half = Reply::streams([Beat::start(), Beat::Hang]);
    let held = Reply::streams((0..100).flat_map(|_| [Beat::text("x"), Beat::wait(SECOND)]));
    for (stream, commit, reply) in [
        (false, Commit::FirstContent, Reply::silence()),
        (true, Commit::FirstContent, Reply::silence()),
        (true, Commit::FirstContent, half),
        (true, Commit::Complete, held.clone()),
        (true, Commit::Chars(50), held.clone()),
        (true, Commit::Time(ms(30 * SECOND)), held),
    ] {
        let rungs = [Rung::new("a", [reply]), Rung::new("b", [Reply::says("x")])];
        let mut stand = Stand::of(2);
        stand.policy.deadline = ms(9500);
        stand.policy.commit = commit;
        let played = play(&stand.chain(&rungs), &ask(stream)).await;
        assert_eq!(played.stopped_by(), Some(Class::DeadlineExceeded), "{commit:?}, stream: {stream}");
        assert_eq!(played.took, ms(9500));
        assert_eq!(played.lines(), ["a=deadline_exceeded"]);
        assert_eq!(rungs[0].upstream.abandoned(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_over_with_the_commit() {
    let drip =
        (0..20).flat_map(|_| [Beat::wait(SECOND), Beat::text("x")]).chain([Beat::finish(FinishReason::Stop)]);
    let drip: Vec<Beat> = drip.collect();
    for (commit, committed_after) in
        [(Commit::FirstContent, 1), (Commit::Chars(2), 2), (Commit::Time(ms(1500)), 3)]
    {
        let mut stand = Stand::of(1);
        stand.policy.deadline = ms(4 * SECOND);
        stand.policy.commit = commit;
        let began = Instant::now();
        let chain = stand.chain(&alone(Rung::new("a", [Reply::streams(drip.clone())])));
        let played = play(&chain, &ask(true)).await;
        assert_eq!((played.broke, played.text.len()), (None, 20), "{commit:?}");
        assert!(played.took <= ms(committed_after * SECOND));
        assert_eq!(began.elapsed(), ms(20 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn no_target_is_asked_when_no_time_is_left() {
    for stream in [false, true] {
        let mut stand = Stand::of(2);
        stand.policy.deadline = ms(2 * SECOND);
        let rungs = [
            Rung::new("a", [Reply::fails(Class::Malformed).after(2 * SECOND)]),
            Rung::new("b", [Reply::says("x")]),
        ];
        let played = play(&stand.chain(&rungs), &ask(stream)).await;
        assert_eq!(played.lines(), ["a=malformed", "b=skip:deadline"]);
        assert_eq!(rungs[1].upstream.calls(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_usually_takes_longer_than_is_left_is_passed_over() {
    for (usual, line) in [(1000, "b=ok"), (1001, "b=skip:deadline")] {
        for stream in [false, true] {
            let mut stand = Stand::of(3);
            stand.policy.deadline = ms(3 * SECOND);
            let rungs = [
                Rung::new("a", [Reply::fails(Class::Malformed).after(2 * SECOND)]),
                Rung::new("b", [Reply::says("x")]).usually(usual),
                Rung::new("c", [Reply::says("y")]),
            ];
            let played = play(&stand.chain(&rungs), &ask(stream)).await;
            assert_eq!(played.lines()[1], line);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn streams_and_json_answers_have_a_usual_time_of_their_own() {
    let rung = Rung::new("a", [Reply::says("x")]);
    for _ in 0..5 {
        rung.health.whole_answer.add(ms(90 * SECOND), Instant::now());
    }
    let chain = chain(&alone(rung));
    assert_eq!(play(&chain, &ask(false)).await.lines(), ["a=skip:deadline"]);
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=ok"]);
}

#[tokio::test(start_paused = true)]
async fn how_long_answers_took_is_remembered() {
    let beats = [Beat::wait(400), Beat::text("x"), Beat::wait(700), Beat::finish(FinishReason::Stop)];
    let rung = Rung::new("a", [Reply::streams(beats)]);
    let chain = chain(std::slice::from_ref(&rung));
    for _ in 0..5 {
        play(&chain, &ask(true)).await;
    }
    assert_eq!(rung.health.first_content.median(Instant::now()), Some(ms(400)));
    assert_eq!(rung.health.whole_answer.median(Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_does_not_make_the_upstream_silent() {
    let beats = [
        Beat::text("a"),
        Beat::wait(SECOND),
        Beat::text("b"),
        Beat::wait(SECOND),
        Beat::text("c"),
        Beat::finish(FinishReason::Stop),
    ];
    let chain = chain(&alone(Rung::new("a", [Reply::streams(beats)])));
    let request = ask(true);
    let errand = errand(&chain, Wishes::default());
    let plan = plan(&chain, &request.clone().into(), &Wishes::default()).unwrap();
    let mut stream = plan.run(&errand).await.unwrap().stream;
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        text.push_str(&words(&event.unwrap()));
        tokio::time::sleep(ms(100 * SECOND)).await;
    }
    assert_eq!(text, "abc");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_in_the_middle_of_a_wait_finds_what_came_meanwhile() {
    let beats = [Beat::text("a"), Beat::wait(SECOND), Beat::text("b"), Beat::finish(FinishReason::Stop)];
    let chain = chain(&alone(Rung::new("a", [Reply::streams(beats)])));
    let request = ask(true);
    let errand = errand(&chain, Wishes::default());
    let plan = plan(&chain, &request.clone().into(), &Wishes::default()).unwrap();
    let mut stream = plan.run(&errand).await.unwrap().stream;
    stream.next().await.unwrap().unwrap();
    // The wait begins, and nobody asks for a long time how it went.
    assert!(tokio::time::timeout(ms(10), stream.next()).await.is_err());
    tokio::time::advance(ms(100 * SECOND)).await;
    assert_eq!(words(&stream.next().await.unwrap().unwrap()), "b");
}
