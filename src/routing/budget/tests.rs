use std::sync::Mutex;

use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};

use super::book::now;
use super::*;
use crate::chat::Usage;
use crate::clock::window::Zone;

const HOUR: u64 = 3_600_000;
const FAR: Duration = Duration::from_secs(1_000_000);

fn rule(limits: Limits, window: Window) -> Rule {
    Rule {
        name: "b".into(),
        limits,
        window,
        each: None,
        scope: Scope::default(),
        counts: Counts::All,
        warn_at: 0.8,
        on_exceeded: OnExceeded::Reject,
    }
}

/// A budget of so many tokens in any minute.
fn of_tokens(tokens: u64) -> Arc<Budget> {
    let limits = Limits { tokens: Some(Tokens::new(tokens)), ..Limits::default() };
    Arc::new(Budget::new(rule(limits, Window::Rolling(Duration::from_mins(1))), &Books::default()))
}

fn amounts(tokens: u64) -> Amounts {
    Amounts { tokens: Tokens::new(tokens), ..Amounts::default() }
}

fn claim<'a>(budget: &'a Arc<Budget>, bucket: &str, tokens: u64) -> Claim<'a> {
    Claim { budget, bucket: bucket.into(), amounts: amounts(tokens) }
}

async fn reserve_tokens(budget: &Arc<Budget>, tokens: u64) -> Result<Reservation, Exceeded> {
    reserve(&[claim(budget, SHARED, tokens)], None, Instant::now() + FAR).await
}

fn took(tokens: u64) -> Taken {
    let usage = Usage { completion: Tokens::new(tokens), ..Usage::default() };
    Taken { usage, cost: None, has_served: true }
}

/// Spent and reserved tokens of the fullest bucket.
fn tokens(budget: &Budget) -> (u64, u64) {
    let standing = budget.standing(1);
    standing
        .buckets
        .first()
        .map_or((0, 0), |bucket| (bucket.spent.tokens.get(), bucket.reserved.tokens.get()))
}

fn calendar(unit: Unit, zone: &str) -> Window {
    Window::Calendar { unit, zone: Zone::named(zone).unwrap() }
}

/// The period around a time, both ends as RFC 3339.
fn period(window: &Window, at: &str) -> [String; 2] {
    let at: jiff::Timestamp = at.parse().unwrap();
    let frame = window.frame(u64::try_from(at.as_millisecond()).unwrap());
    [frame.slot, frame.until]
        .map(|end| jiff::Timestamp::from_millisecond(i64::try_from(end).unwrap()).unwrap().to_string())
}

#[test]
fn periods_begin_and_end_by_the_clocks_of_their_zone() {
    let cases = [
        (Unit::Day, "UTC", "2026-11-21T23:59:59.999Z", ["2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"]),
        (
            Unit::Day,
            "Europe/Berlin",
            "2026-11-21T23:30:00Z",
            ["2026-11-21T23:00:00Z", "2026-11-22T23:00:00Z"],
        ),
        // The days on which summer time begins and ends have 23 and 25 hours.
        (
            Unit::Day,
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            ["2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"],
        ),
        (
            Unit::Day,
            "Europe/Berlin",
            "2026-10-25T12:00:00Z",
            ["2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
        ),
        // Here clocks jump over midnight: the day begins at one.
        (Unit::Day, "Africa/Cairo", "2026-04-24T12:00:00Z", ["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]),
        (
            Unit::Week,
            "Europe/Berlin",
            "2026-11-22T22:59:59Z",
            ["2026-11-15T23:00:00Z", "2026-11-22T23:00:00Z"],
        ),
        (
            Unit::Week,
            "Europe/Berlin",
            "2026-11-22T23:00:00Z",
            ["2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z"],
        ),
        (Unit::Month, "UTC", "2028-02-29T12:00:00Z", ["2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"]),
        (
            Unit::Month,
            "America/New_York",
            "2027-01-01T04:59:59Z",
            ["2026-12-01T05:00:00Z", "2027-01-01T05:00:00Z"],
        ),
        (Unit::Hour, "UTC", "2026-11-21T23:59:59.999Z", ["2026-11-21T23:00:00Z", "2026-11-22T00:00:00Z"]),
        (
            Unit::Hour,
            "Asia/Kolkata",
            "2026-11-21T23:10:00Z",
            ["2026-11-21T22:30:00Z", "2026-11-21T23:30:00Z"],
        ),
    ];
    for (unit, zone, at, expected) in cases {
        assert_eq!(period(&calendar(unit, zone), at), expected, "{} in {zone} at {at}", unit.code());
    }
}

#[test]
fn every_moment_of_a_year_is_in_one_period_that_follows_the_one_before() {
    for (unit, step) in [(Unit::Hour, HOUR / 4), (Unit::Day, HOUR), (Unit::Week, HOUR), (Unit::Month, HOUR)] {
        for zone in ["Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo"] {
            let window = calendar(unit, zone);
            let start = 1_767_225_600_000;
            let mut last = window.frame(start);
            for at in (start..start + 366 * 24 * HOUR).step_by(usize::try_from(step).unwrap()) {
                let frame = window.frame(at);
                assert!(frame.slot <= at && at < frame.until, "{unit:?} {zone} {at}: {frame:?}");
                let follows = frame == last || frame.slot == last.until || unit == Unit::Hour;
                assert!(follows, "{unit:?} {zone} {at}: {frame:?} after {last:?}");
                last = frame;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_rolls_out_of_the_window_may_be_spent_again() {
    let budget = of_tokens(100);
    for _ in 0..10 {
        reserve_tokens(&budget, 10).await.unwrap().settle(&took(10));
        sleep(Duration::from_secs(5)).await;
    }
    let full = reserve_tokens(&budget, 10).await.unwrap_err();
    let wait = full.resets_in.unwrap();
    assert!(
        Duration::from_secs(10) <= wait && wait <= Duration::from_secs(12),
        "the first is 50 s old: {wait:?}"
    );
    sleep(wait.saturating_sub(Duration::from_millis(2))).await;
    assert!(reserve_tokens(&budget, 10).await.is_err(), "not before");
    sleep(Duration::from_millis(2)).await;
    reserve_tokens(&budget, 10).await.unwrap().settle(&took(10));
    assert_eq!(tokens(&budget), (100, 0));
    sleep(Duration::from_mins(2)).await;
    assert_eq!(tokens(&budget), (0, 0));
    let never = reserve_tokens(&budget, 101).await.unwrap_err();
    assert_eq!((never.measure, never.resets_in), (Measure::Tokens, None));
}

#[tokio::test(start_paused = true)]
async fn a_new_period_begins_empty_and_lets_those_in_who_wait() {
    let limits = Limits { requests: Some(1), ..Limits::default() };
    let budget = Arc::new(Budget::new(rule(limits, calendar(Unit::Hour, "UTC")), &Books::default()));
    let one = Amounts { requests: 1, ..Amounts::default() };
    let ask = || async {
        let claims = [Claim { budget: &budget, bucket: SHARED.into(), amounts: one }];
        reserve(&claims, None, Instant::now() + FAR).await
    };
    let first = ask().await.unwrap();
    let began = now();
    let until = milliseconds_of(budget.standing(0).resets_at.unwrap());
    first.settle(&took(1));
    let refused = ask().await.unwrap_err();
    assert!(refused.resets_in.unwrap() <= Duration::from_hours(1));
    advance(Duration::from_millis(until - began)).await;
    let running = ask().await.unwrap();
    // What still runs keeps its place in the next period too.
    let waits = ask();
    let (waited, ()) = tokio::join!(waits, async {
        sleep(Duration::from_millis(HOUR + 1)).await;
        running.settle(&Taken { has_served: false, ..took(0) });
    });
    waited.unwrap().settle(&took(0));
    assert!((budget.standing(0).used_ratio - 1.0).abs() < 1e-9);
}

fn milliseconds_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_come_in_their_order_and_nobody_passes_them() {
    let budget = of_tokens(100);
    let order = Arc::new(Mutex::new(Vec::new()));
    let held = reserve_tokens(&budget, 100).await.unwrap();
    let mut tasks = JoinSet::new();
    for (name, wanted) in [(0, 80), (1, 30), (2, 70), (3, 10)] {
        let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
        tasks.spawn(async move {
            let reservation = reserve_tokens(&budget, wanted).await.unwrap();
            order.lock().unwrap().push(name);
            sleep(Duration::from_secs(1)).await;
            drop(reservation);
        });
        tokio::task::yield_now().await;
    }
    drop(held);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(
        *order.lock().unwrap(),
        [0],
        "80: the 30 of the next do not fit beside them, and 10 must not pass"
    );
    assert!(timeout(Duration::from_millis(10), reserve_tokens(&budget, 5)).await.is_err(), "nor 5");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    tasks.join_all().await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    assert_eq!(tokens(&budget), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_under_other_limits_holds_nobody_up() {
    let books = Books::default();
    let limited = |tokens| {
        let limits = Limits { tokens: Some(Tokens::new(tokens)), ..Limits::default() };
        Arc::new(Budget::new(rule(limits, Window::Rolling(Duration::from_mins(1))), &books))
    };
    let (old, raised) = (limited(10), limited(100));
    let held = reserve_tokens(&old, 8).await.unwrap();
    let began = Instant::now();
    let waits = async {
        let reservation = reserve_tokens(&old, 5).await.unwrap();
        (began.elapsed(), reservation)
    };
    let passes = async {
        sleep(Duration::from_secs(1)).await;
        let small = reserve_tokens(&raised, 1).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(1), "the limit was raised");
        // 9 are held: this one waits too, in its own line.
        let large = reserve_tokens(&raised, 92).await.unwrap();
        drop(small);
        (began.elapsed(), large)
    };
    let ends = async {
        sleep(Duration::from_secs(5)).await;
        drop(held);
    };
    let (waited, passed, ()) = tokio::join!(waits, passes, ends);
    assert_eq!([waited.0, passed.0], [Duration::from_secs(5); 2]);
    assert_eq!(tokens(&old), (0, 97));
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_or_goes_away_holds_nobody_up() {
    let budget = of_tokens(100);
    let held = reserve_tokens(&budget, 60).await.unwrap();
    let claims = [claim(&budget, SHARED, 90)];
    let hurried = reserve(&claims, None, Instant::now() + Duration::from_secs(3));
    let gone = timeout(Duration::from_secs(5), reserve_tokens(&budget, 90));
    let small = reserve_tokens(&budget, 40);
    let began = Instant::now();
    let (hurried, gone, small) = tokio::join!(hurried, gone, async {
        let small = small.await;
        (small, began.elapsed())
    });
    assert_eq!(hurried.unwrap_err().measure, Measure::Tokens);
    assert!(gone.is_err());
    assert_eq!(small.1, Duration::from_secs(5), "then nobody was before it");
    drop((small.0.unwrap(), held));
    assert_eq!(tokens(&budget), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_refused_as_soon_as_waiting_is_of_no_use() {
    let budget = of_tokens(100);
    let held = reserve_tokens(&budget, 100).await.unwrap();
    let began = Instant::now();
    let (one, other, ()) = tokio::join!(reserve_tokens(&budget, 50), reserve_tokens(&budget, 30), async {
        sleep(Duration::from_secs(2)).await;
        held.settle(&took(60));
    });
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert_eq!(one.unwrap_err().measure, Measure::Tokens);
    other.unwrap().settle(&took(30));
    assert_eq!(tokens(&budget), (90, 0));
}

#[tokio::test(start_paused = true)]
async fn several_budgets_are_drawn_from_together_or_not_at_all() {
    let (large, small) = (of_tokens(1000), of_tokens(10));
    let mut budgets = [Arc::clone(&small), Arc::clone(&large)];
    Budget::sort(&mut budgets);
    let both = |tokens| budgets.iter().map(|budget| claim(budget, SHARED, tokens)).collect::<Vec<_>>();
    assert!(reserve(&both(11), None, Instant::now() + FAR).await.is_err());
    assert_eq!((tokens(&large), tokens(&small)), ((0, 0), (0, 0)));
    let reservation = reserve(&both(10), None, Instant::now() + FAR).await.unwrap();
    assert_eq!((tokens(&large), tokens(&small)), ((0, 10), (0, 10)));
    // It waits in the small one, and takes nothing of the large one meanwhile.
    assert!(timeout(Duration::from_secs(1), reserve(&both(5), None, Instant::now() + FAR)).await.is_err());
    assert_eq!(tokens(&large), (0, 10));
    let settled = reservation.settle(&took(4));
    assert_eq!(settled.drawn.len(), 2);
    assert!(reservation.settle(&took(4)).drawn.is_empty(), "only once");
    assert_eq!((tokens(&large), tokens(&small)), ((4, 0), (4, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_passes_over_never_waits() {
    for then in [OnExceeded::Skip, OnExceeded::Downshift] {
        let limits = Limits { tokens: Some(Tokens::new(10)), ..Limits::default() };
        let rule = Rule { on_exceeded: then, ..rule(limits, Window::Rolling(Duration::from_mins(1))) };
        let budget = Arc::new(Budget::new(rule, &Books::default()));
        let _held = reserve_tokens(&budget, 10).await.unwrap();
        let began = Instant::now();
        let refused = reserve_tokens(&budget, 1).await.unwrap_err();
        assert_eq!((refused.then, began.elapsed()), (then, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn where_only_running_calls_stand_in_the_way_it_is_soon_worth_trying_again() {
    let soon = Some(Duration::from_secs(1));
    for window in [calendar(Unit::Month, "UTC"), Window::Rolling(Duration::from_hours(1))] {
        for then in [OnExceeded::Skip, OnExceeded::Downshift, OnExceeded::Reject] {
            let limits = Limits { tokens: Some(Tokens::new(10)), ..Limits::default() };
            let rule = Rule { on_exceeded: then, ..rule(limits, window.clone()) };
            let budget = Arc::new(Budget::new(rule, &Books::default()));
            reserve_tokens(&budget, 2).await.unwrap().settle(&took(2));
            let held = reserve_tokens(&budget, 8).await.unwrap();
            let claims = [claim(&budget, SHARED, 3)];
            let patience = Instant::now() + Duration::from_secs(2);
            let refused = reserve(&claims, None, patience).await.unwrap_err();
            assert_eq!((refused.resets_in, refused.alert), (soon, None), "{then:?}");
            held.settle(&took(8));
            let refused = reserve(&claims, None, patience).await.unwrap_err();
            assert!(refused.resets_in > soon, "{then:?}");
            assert_eq!(refused.alert.map(|alert| alert.news), Some(News::Exceeded), "it is used up now");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn news_is_told_once_in_a_period() {
    let budget = of_tokens(10);
    let mut told = Vec::new();
    for round in 0..2 {
        for _ in 0..12 {
            match reserve_tokens(&budget, 1).await {
                Ok(reservation) => {
                    told.extend(reservation.settle(&took(1)).alerts.iter().map(|alert| (round, alert.news)));
                }
                Err(exceeded) => told.extend(exceeded.alert.iter().map(|alert| (round, alert.news))),
            }
        }
        advance(Duration::from_mins(3)).await;
    }
    let each = [News::NearlyUsedUp, News::Exceeded];
    let expected: Vec<_> = (0..2).flat_map(|round| each.map(|news| (round, news))).collect();
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn live_buckets_are_bounded_and_the_surplus_shares_one() {
    let limits = Limits { tokens: Some(Tokens::new(10)), ..Limits::default() };
    let rule = Rule { each: Some(Each::User), ..rule(limits, Window::Rolling(Duration::from_mins(1))) };
    let budget = Arc::new(Budget::new(rule, &Books::default()));
    let ask = async |name: String, tokens: u64| {
        reserve(&[claim(&budget, &name, tokens)], None, Instant::now() + FAR).await
    };
    ask("*".into(), 8).await.unwrap().settle(&took(8));
    for user in 1..10_000 {
        ask(format!("user {user}"), 8).await.unwrap().settle(&took(8));
    }
    assert!(!budget.standing(0).has_surplus);
    ask("one more".into(), 8).await.unwrap().settle(&took(8));
    let standing = budget.standing(3);
    assert_eq!((standing.live_buckets, standing.has_surplus, standing.buckets.len()), (10_001, true, 3));
    assert!(ask("and another".into(), 8).await.is_err(), "they share a bucket");
    assert!(ask("user 1".into(), 8).await.is_err(), "nobody's bucket was forgotten for them");
    advance(Duration::from_mins(2)).await;
    ask("and another".into(), 8).await.unwrap().settle(&took(8));
    assert_eq!(budget.standing(0).live_buckets, 1, "the empty ones went first");
}

#[tokio::test(start_paused = true)]
async fn no_order_of_events_overdraws_a_budget() {
    fastrand::seed(7);
    let (one, other) = (of_tokens(1000), of_tokens(700));
    let mut budgets = [Arc::clone(&one), Arc::clone(&other)];
    Budget::sort(&mut budgets);
    let mut tasks = JoinSet::new();
    for _ in 0..400 {
        let (most, wait, hold) = (fastrand::u64(1..120), fastrand::u64(0..300), fastrand::u64(0..90));
        let (truth, ends, narrow) = (fastrand::u64(0..=most), fastrand::u8(0..4), fastrand::bool());
        let budgets = budgets.clone();
        tasks.spawn(async move {
            sleep(Duration::from_millis(wait)).await;
            let claims = budgets.iter().skip(usize::from(narrow)).map(|budget| claim(budget, SHARED, most));
            let claims: Vec<_> = claims.collect();
            let patience = Duration::from_millis(if ends == 0 { 40 } else { 4000 });
            let Ok(Ok(reservation)) = timeout(patience, reserve(&claims, None, Instant::now() + FAR)).await
            else {
                return (0, narrow);
            };
            sleep(Duration::from_millis(hold)).await;
            for budget in &budgets {
                let (spent, reserved) = tokens(budget);
                let limit = budget.rule.limits.tokens.unwrap().get();
                assert!(spent + reserved <= limit, "{spent} and {reserved} of {limit}");
            }
            if ends == 1 {
                return (0, narrow);
            }
            reservation.settle(&took(truth));
            (truth, narrow)
        });
    }
    let taken = tasks.join_all().await;
    let all: u64 = taken.iter().map(|(truth, _)| truth).sum();
    let wide: u64 = taken.iter().filter(|(_, narrow)| !narrow).map(|(truth, _)| truth).sum();
    let [first, second] = &budgets;
    assert_eq!((tokens(first), tokens(second)), ((wide, 0), (all, 0)), "nothing is left set aside");
}

#[tokio::test(start_paused = true)]
async fn what_was_drawn_by_others_counts_where_all_share_a_bucket() {
    let budget = of_tokens(100);
    let running = reserve_tokens(&budget, 10).await.unwrap();
    let drawn = |bucket: &str| Drawn {
        budget: "b".into(),
        bucket: bucket.into(),
        at: Duration::from_millis(now()),
        amounts: amounts(20),
    };
    for _ in 0..2 {
        budget.clear();
        ["ann", "bob", SHARED].iter().for_each(|bucket| budget.refill(&drawn(bucket)));
        assert_eq!((tokens(&budget), budget.standing(9).live_buckets), ((60, 10), 1));
    }
    running.settle(&took(5));
    assert_eq!(tokens(&budget), (65, 0));
}

#[test]
fn a_book_lives_as_long_as_its_budget_and_is_kept_by_what_replaces_it() {
    let books = Books::default();
    let minute = Window::Rolling(Duration::from_mins(1));
    let limited = |tokens| {
        let limits = Limits { tokens: Some(Tokens::new(tokens)), ..Limits::default() };
        Budget::new(rule(limits, minute.clone()), &books)
    };
    let old = limited(10);
    let new = limited(20);
    assert!(Arc::ptr_eq(&old.book, &new.book));
    let cut_otherwise =
        Budget::new(Rule { each: Some(Each::User), ..rule(Limits::default(), minute.clone()) }, &books);
    assert!(!Arc::ptr_eq(&new.book, &cut_otherwise.book));
    drop(cut_otherwise);
    assert!(limited(30).shares_book(&old), "a configuration that came to nothing leaves no trace");
    let book = Arc::downgrade(&old.book);
    drop((old, new));
    assert!(book.upgrade().is_none());
}
