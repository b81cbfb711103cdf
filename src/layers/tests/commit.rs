//! When the first byte goes to the client, and what breaks before and after.

use crate::chat::FinishReason;
use crate::layers::scripted::{Beat, Played, Reply, Rung, Stand, ask, ms, play};
use crate::memory::Memory;
use crate::reason::Class;
use crate::routing::Commit;

fn stand(commit: Commit) -> Stand {
    let mut stand = Stand::of(2);
    stand.policy.commit = commit;
    stand
}

/// A first target that says these pieces, a second apart, and breaks; a second that says "bye".
async fn breaks_after(commit: Commit, pieces: &[&str]) -> Played {
    let said = pieces.iter().flat_map(|piece| [Beat::text(piece), Beat::wait(1000)]);
    let beats = [Beat::start()].into_iter().chain(said).chain([Beat::breaks(Class::Malformed)]);
    let rungs = [Rung::new("a", [Reply::streams(beats)]), Rung::new("b", [Reply::says("bye")])];
    play(&stand(commit).chain(&rungs), &ask(true)).await
}

fn fell_back(played: &Played) -> bool {
    let lines = ["a=malformed".to_owned(), "b=ok".to_owned()];
    let unseen = played.lines() == lines && played.text == "bye" && played.broke.is_none();
    let seen = played.lines() == lines[..1] && played.broke == Some(Class::Malformed);
    assert!(unseen || seen, "a fallback is not seen, and what is seen does not fall back: {played:?}");
    unseen
}

#[tokio::test(start_paused = true)]
async fn first_content() {
    assert!(fell_back(&breaks_after(Commit::FirstContent, &[]).await));
    let broken = breaks_after(Commit::FirstContent, &["h"]).await;
    assert!(!fell_back(&broken));
    assert_eq!((broken.served, &*broken.text, broken.took), (Some(0), "h", ms(0)));
}

#[tokio::test(start_paused = true)]
async fn complete() {
    for pieces in [&[][..], &["h"], &["h", "e", "l", "l", "o"]] {
        assert!(fell_back(&breaks_after(Commit::Complete, pieces).await));
    }
    let beats = [
        Beat::text("hel"),
        Beat::wait(700),
        Beat::text("lo"),
        Beat::wait(1),
        Beat::finish(FinishReason::Stop),
    ];
    let rungs = [Rung::new("a", [Reply::streams(beats)])];
    let played = play(&stand(Commit::Complete).chain(&rungs), &ask(true)).await;
    assert_eq!((&*played.text, played.took), ("hello", ms(701)));
}

#[tokio::test(start_paused = true)]
async fn characters_not_bytes() {
    for (pieces, unseen) in [
        (&["héé"][..], true),
        (&["héé", "é"], true),
        (&["héé", "éé"], false),
        (&["日本語日"], true),
        (&["日本語日本"], false),
        (&["hello"], false),
    ] {
        assert_eq!(fell_back(&breaks_after(Commit::Chars(5), pieces).await), unseen, "{pieces:?}");
    }
    let committed = breaks_after(Commit::Chars(3), &["a", "b", "c", "d"]).await;
    assert_eq!((committed.took, &*committed.text), (ms(2000), "abcd"));
}

#[tokio::test(start_paused = true)]
async fn a_time_after_the_first_content() {
    for (time, unseen) in [(1001, true), (999, false), (0, false)] {
        assert_eq!(fell_back(&breaks_after(Commit::Time(ms(time)), &["x"]).await), unseen, "{time} ms");
    }
    let beats = [Beat::wait(300), Beat::text("x"), Beat::wait(5000), Beat::finish(FinishReason::Stop)];
    let rungs = [Rung::new("a", [Reply::streams(beats)])];
    let played = play(&stand(Commit::Time(ms(800))).chain(&rungs), &ask(true)).await;
    assert_eq!((played.took, &*played.text), (ms(1100), "x"));
}

#[tokio::test(start_paused = true)]
async fn a_short_answer_is_committed_when_it_ends() {
    for commit in [Commit::Chars(1000), Commit::Time(ms(60_000))] {
        let beats = [Beat::text("x"), Beat::wait(10), Beat::finish(FinishReason::Stop)];
        let rungs = [Rung::new("a", [Reply::streams(beats)])];
        let played = play(&stand(commit).chain(&rungs), &ask(true)).await;
        assert_eq!((played.took, &*played.text, played.broke), (ms(10), "x", None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_never_pauses_is_not_held_beyond_the_time() {
    let flood = std::iter::repeat_n(Beat::text("0123456789"), 10_000);
    let rungs = [Rung::new("a", [Reply::streams(flood.chain([Beat::finish(FinishReason::Stop)]))])];
    let stand = Stand { max_answer: 1000, ..stand(Commit::Time(ms(0))) };
    let played = play(&stand.chain(&rungs), &ask(true)).await;
    assert_eq!((played.lines(), played.text.len()), (vec!["a=ok".to_owned()], 100_000));
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_large_to_hold_falls_back_and_the_trail_says_so() {
    let flood = std::iter::repeat_n(Beat::text("0123456789"), 10_000);
    let rungs = [Rung::new("a", [Reply::streams(flood)]), Rung::new("b", [Reply::says("bye")])];
    let stand = Stand { max_answer: 10_000, ..stand(Commit::Complete) };
    let played = play(&stand.chain(&rungs), &ask(true)).await;
    assert_eq!((played.lines(), &*played.text), (vec!["a=malformed".into(), "b=ok".into()], "bye"));
    assert_eq!(rungs[0].upstream.abandoned(), 1);
    assert_eq!(stand.memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_piton_has_no_memory_for_ends_the_request() {
    let flood = std::iter::repeat_n(Beat::text("0123456789"), 10_000);
    let rungs = [Rung::new("a", [Reply::streams(flood)]), Rung::new("b", [Reply::says("bye")])];
    let stand = Stand { memory: Memory::new(10_000), ..stand(Commit::Complete) };
    let played = play(&stand.chain(&rungs), &ask(true)).await;
    assert!(played.exhausted.as_ref().unwrap().busy);
    assert_eq!(played.lines(), ["a=busy"]);
    assert_eq!((stand.memory.used(), rungs[0].upstream.abandoned(), rungs[1].upstream.calls()), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn held_memory_is_given_back_with_the_last_held_event() {
    use crate::layers::scripted::errand;
    use crate::routing::plan::{Wishes, plan};
    use futures_util::StreamExt;
    let beats = [Beat::text("ab"), Beat::text("cd"), Beat::wait(1000), Beat::text("ef"), Beat::wait(1000)];
    let beats = beats.into_iter().chain([Beat::finish(FinishReason::Stop)]);
    let stand = stand(Commit::Chars(4));
    let chain = stand.chain(&[Rung::new("a", [Reply::streams(beats)])]);
    let errand = errand(&chain, Wishes::default());
    let plan = plan(&chain, &ask(true).into(), &Wishes::default()).unwrap();
    let mut stream = plan.run(&errand).await.unwrap().stream;
    assert!(stand.memory.used() > 0);
    stream.next().await.unwrap().unwrap();
    assert!(stand.memory.used() > 0);
    stream.next().await.unwrap().unwrap();
    assert_eq!(stand.memory.used(), 0, "the rest is not held");
    while stream.next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_json_answer_is_whole_and_never_held() {
    for commit in [Commit::Complete, Commit::Chars(1000), Commit::Time(ms(1000))] {
        let stand = Stand { memory: Memory::new(0), max_answer: 0, ..stand(commit) };
        let rungs = [Rung::new("a", [Reply::says("hello")])];
        let played = play(&stand.chain(&rungs), &ask(false)).await;
        assert_eq!((&*played.text, played.took), ("hello", ms(0)));
    }
}
