//! Whom a target serves and when: what its owner wrote beside prices.

use std::sync::Arc;
use std::time::Duration;

use globset::Glob;
use tokio::time::Instant;

use crate::clock;
use crate::clock::window::{Days, Hours, Schedule, Window, Zone};
use crate::layers::scripted::{Reply, Rung, ask, chain, errand, play, play_as};
use crate::reason::Word;
use crate::routing::plan::Wishes;
use crate::routing::terms::{Names, Terms};
use crate::routing::{Entry, SkipRecord};

fn rung(name: &str, terms: Terms) -> Rung {
    Rung { terms: Some(terms), ..Rung::new(name, [Reply::says(name), Reply::says(name)]) }
}

fn names(patterns: &[&str]) -> Names {
    Names(patterns.iter().map(|pattern| Glob::new(pattern).unwrap().compile_matcher()).collect())
}

/// An hour that begins so many hours from now.
pub fn hour_in(hours: u64) -> Window {
    let minutes = clock::since_epoch().as_secs() / 60 % 1440 + hours * 60;
    let from = u16::try_from(minutes % 1440).unwrap();
    let hours = Hours::new(from, (from + 60) % 1440).unwrap();
    Window { hours: Some(hours), days: Days::ALL, zone: Zone::UTC }
}

fn opens_in_two_hours() -> Schedule {
    Schedule(vec![hour_in(2)])
}

async fn lines(rungs: &[Rung], task: Option<&str>, tier: Option<&str>) -> Vec<String> {
    let chain = chain(rungs);
    let wishes = Wishes { task: task.map(Arc::from), tier: tier.map(Arc::from), ..Wishes::default() };
    play_as(&chain, &ask(true), errand(&chain, wishes)).await.lines()
}

#[tokio::test(start_paused = true)]
async fn a_target_serves_its_tasks_and_tiers_only() {
    let rungs = [
        rung("code", Terms { tasks: Some(names(&["code", "review-*"])), ..Terms::default() }),
        rung("gold", Terms { tiers: Some(names(&["gold"])), ..Terms::default() }),
        Rung::new("any", [Reply::says("any")]),
    ];
    for (task, tier, expected) in [
        (Some("code"), None, vec!["code=ok"]),
        (Some("review-rust"), Some("gold"), vec!["code=ok"]),
        (Some("chat"), Some("gold"), vec!["code=skip:task", "gold=ok"]),
        (None, Some("silver"), vec!["code=skip:task", "gold=skip:task:tier", "any=ok"]),
        (None, None, vec!["code=skip:task", "gold=skip:task:tier", "any=ok"]),
    ] {
        assert_eq!(lines(&rungs, task, tier).await, expected, "{task:?} {tier:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_without_a_required_tag_is_never_called() {
    let lacks = Word::new("eu");
    let rungs = [
        rung("us", Terms { lacks, when: Some(opens_in_two_hours()), ..Terms::default() }),
        Rung::new("eu", [Reply::says("eu")]),
    ];
    assert_eq!(lines(&rungs, None, None).await, ["us=skip:capability:eu", "eu=ok"]);
    assert_eq!(rungs[0].upstream.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_target_serves_in_its_hours_and_says_when_they_begin() {
    let rungs = [rung("day", Terms { when: Some(opens_in_two_hours()), ..Terms::default() })];
    let chain = chain(&rungs);
    let played = play(&chain, &ask(true)).await;
    assert_eq!(played.lines(), ["day=skip:schedule"]);
    let entries = played.trail.entries();
    let [Entry::Skip(SkipRecord { ready_at: Some(ready), .. })] = entries.as_slice() else {
        panic!("{entries:?}")
    };
    let wait = ready.duration_since(Instant::now());
    assert!(wait > Duration::from_mins(119) && wait <= Duration::from_hours(2), "{wait:?}");
    tokio::time::advance(wait).await;
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["day=ok"], "its hour has begun");
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["day=skip:schedule"], "its hour is over");
}

#[tokio::test(start_paused = true)]
async fn a_closed_target_that_could_not_serve_anyway_promises_nothing() {
    let closed = rung("day", Terms { when: Some(opens_in_two_hours()), ..Terms::default() });
    let blind = Rung { lacks: Some("vision"), ..closed };
    assert_eq!(lines(&[blind], None, None).await, ["day=skip:capability:vision"]);
}
