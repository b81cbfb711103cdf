//! What expires and is fetched anew: one fetch at a time, in the background as long as the old value is still good.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::reason::{Class, Failure};

/// A fetched value, and how long it is good.
#[derive(Debug, Clone)]
pub struct Fetched<T> {
    pub value: T,
    /// From now on. `None`: until an upstream refuses it.
    pub lifetime: Option<Duration>,
}

/// Fetches the value; called again for every renewal.
pub type Fetch<T> = Box<dyn Fn() -> BoxFuture<'static, Result<Fetched<T>, Failure>> + Send + Sync>;

/// A value that is kept good.
pub struct Renewed<T> {
    fetch: Fetch<T>,
    state: Mutex<State<T>>,
    /// For the tasks that renew it: they do not keep it.
    own: Weak<Self>,
}

struct State<T> {
    lease: Option<Lease<T>>,
    /// The one fetch that is under way.
    fetching: Option<Fetching<T>>,
    /// After a renewal that failed, the next is not tried before.
    not_before: Option<Instant>,
    /// Whether anybody asked since the last fetch: what nobody uses is not renewed.
    was_used: bool,
    /// Waits for the time to renew the lease. One at a time, or values that are refused as soon as they come would
    /// leave one each.
    waiting: Option<Waiting>,
}

/// A task that ends when nobody needs it any more.
struct Waiting(AbortHandle);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Lease<T> {
    value: Arc<T>,
    /// From then on it is renewed, and from then on it is not used: `None`: never.
    ends: Option<(Instant, Instant)>,
}

type Outcome<T> = Result<Arc<T>, Failure>;
type Fetching<T> = Shared<BoxFuture<'static, Outcome<T>>>;

/// So long before its end a value is renewed. Metadata servers hand out the old one until about four to five minutes
/// before its end.
const AHEAD: Duration = Duration::from_secs(225);
/// So long before its end a value is not used any more: the request is still to travel.
const TRAVEL: Duration = Duration::from_secs(10);
/// How long a renewal that failed is not tried again while the old value is good.
const PAUSE: Duration = Duration::from_secs(10);
/// A fetch takes no longer, whatever it is made of.
const LONGEST: Duration = Duration::from_secs(30);

impl<T: Send + Sync + 'static> Renewed<T> {
    /// Nothing is fetched before somebody asks.
    pub fn new(fetch: Fetch<T>) -> Arc<Self> {
        let state = State { lease: None, fetching: None, not_before: None, was_used: false, waiting: None };
        Arc::new_cyclic(|own| Self { fetch, state: Mutex::new(state), own: own.clone() })
    }

    /// A good value: the one at hand, else the next. Fails only if there is neither.
    pub async fn get(&self) -> Outcome<T> {
        let fetching = {
            let now = Instant::now();
            let mut state = self.state();
            state.was_used = true;
            match state.lease.clone() {
                Some(lease) if lease.is_good(now) => {
                    if lease.is_due(now) && state.not_before.is_none_or(|then| then <= now) {
                        drop(self.start(&mut state));
                    }
                    return Ok(lease.value);
                }
                Some(_) | None => self.start(&mut state),
            }
        };
        fetching.await
    }

    /// An upstream refused this value: the next one who asks gets another.
    pub fn forget(&self, refused: &Arc<T>) {
        let mut state = self.state();
        if state.lease.as_ref().is_some_and(|lease| Arc::ptr_eq(&lease.value, refused)) {
            state.lease = None;
        }
    }

    /// The fetch under way, begun now if there is none. It is a task of its own: the one who asked first may go away.
    fn start(&self, state: &mut State<T>) -> Fetching<T> {
        // One that is over and still stands here never came to its end.
        if let Some(fetching) = state.fetching.as_ref().filter(|fetching| fetching.peek().is_none()) {
            return fetching.clone();
        }
        let (tell, told) = oneshot::channel();
        if let Some(own) = self.own.upgrade() {
            tokio::spawn(async move {
                let fetched = tokio::time::timeout(LONGEST, (own.fetch)()).await;
                let fetched = fetched.unwrap_or_else(|_| Err(unreachable("It did not answer in time.")));
                let _ = tell.send(own.take(fetched));
            });
        }
        let fetching = told.map(|told| told.unwrap_or_else(|_| Err(unreachable("The fetch was given up."))));
        let fetching = fetching.boxed().shared();
        state.fetching = Some(fetching.clone());
        fetching
    }

    fn take(&self, fetched: Result<Fetched<T>, Failure>) -> Outcome<T> {
        let now = Instant::now();
        let mut state = self.state();
        state.fetching = None;
        match fetched {
            Ok(Fetched { value, lifetime }) => {
                let lease =
                    Lease { value: Arc::new(value), ends: lifetime.map(|lifetime| ends(now, lifetime)) };
                state.not_before = None;
                state.was_used = false;
                let wait = |(due, _)| tokio::spawn(renew_at(self.own.clone(), due)).abort_handle();
                state.waiting = lease.ends.map(wait).map(Waiting);
                state.lease = Some(lease.clone());
                Ok(lease.value)
            }
            Err(failure) => {
                state.not_before = Some(now + PAUSE);
                Err(failure)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Lease<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), ends: self.ends }
    }
}

impl<T> Lease<T> {
    fn is_good(&self, now: Instant) -> bool {
        self.ends.is_none_or(|(_, end)| now < end)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.ends.is_some_and(|(due, _)| now >= due)
    }
}

/// Says nothing of the value.
impl<T> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewed(..)")
    }
}

/// When a value is renewed, and when it is used no more. Short lives have short margins.
fn ends(now: Instant, lifetime: Duration) -> (Instant, Instant) {
    let due = lifetime.saturating_sub(AHEAD.min(lifetime / 4));
    let end = lifetime.saturating_sub(TRAVEL.min(lifetime / 10));
    (now + due, now + end)
}

/// Renews a value that is in use when its time comes, so that no request has to.
async fn renew_at<T: Send + Sync + 'static>(renewed: Weak<Renewed<T>>, due: Instant) {
    tokio::time::sleep_until(due).await;
    let Some(renewed) = renewed.upgrade() else { return };
    let mut state = renewed.state();
    let is_due = state.lease.as_ref().is_some_and(|lease| lease.is_due(Instant::now()));
    if state.was_used && is_due {
        drop(renewed.start(&mut state));
    }
}

fn unreachable(what: &str) -> Failure {
    Failure::new(Class::ConnectFailed, format!("No credential could be fetched. {what}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Values 1, 2, 3 and so on, each after a second; every one in `failing` fails.
    fn counter(lifetime: Option<Duration>, failing: &'static [u32]) -> (Arc<Renewed<u32>>, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let renewed = Renewed::new(Box::new(move || {
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if failing.contains(&number) {
                    return Err(Failure::new(Class::AuthFailed, "no"));
                }
                Ok(Fetched { value: number, lifetime })
            }
            .boxed()
        }));
        (renewed, count)
    }

    async fn after(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    async fn value(renewed: &Renewed<u32>) -> u32 {
        *renewed.get().await.unwrap()
    }

    const HOUR: Option<Duration> = Some(Duration::from_hours(1));

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_wait_for_one_fetch() {
        let (renewed, count) = counter(HOUR, &[]);
        let asked = (0..100).map(|_| value(&renewed));
        let begun = Instant::now();
        assert!(futures_util::future::join_all(asked).await.into_iter().all(|value| value == 1));
        assert_eq!((begun.elapsed().as_secs(), count.load(Ordering::Relaxed)), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_who_asked_may_go_away() {
        let (renewed, count) = counter(HOUR, &[]);
        assert!(tokio::time::timeout(Duration::from_millis(500), renewed.get()).await.is_err());
        after(1).await;
        assert_eq!(value(&renewed).await, 1);
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_is_renewed_before_its_end_and_nobody_waits() {
        let (renewed, count) = counter(HOUR, &[]);
        assert_eq!(value(&renewed).await, 1);
        for minute in 1..=180 {
            after(60).await;
            let begun = Instant::now();
            renewed.get().await.unwrap();
            assert_eq!(begun.elapsed(), Duration::ZERO, "minute {minute}");
        }
        assert_eq!(count.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_uses_is_not_renewed() {
        let (renewed, count) = counter(HOUR, &[]);
        renewed.get().await.unwrap();
        after(10 * 3600).await;
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(value(&renewed).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_fails_keeps_the_old_value_and_is_tried_again_with_pauses() {
        let (renewed, count) = counter(HOUR, &[2, 3]);
        renewed.get().await.unwrap();
        renewed.get().await.unwrap();
        after(3600 - 224).await;
        for _ in 0..9 {
            assert_eq!(value(&renewed).await, 1);
            after(1).await;
        }
        assert_eq!(count.load(Ordering::Relaxed), 2, "the pause");
        for _ in 0..11 {
            renewed.get().await.unwrap();
            after(1).await;
        }
        assert_eq!(count.load(Ordering::Relaxed), 3, "one more");
        after(15).await;
        renewed.get().await.unwrap();
        after(2).await;
        assert_eq!((value(&renewed).await, count.load(Ordering::Relaxed)), (4, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_reaches_everyone_who_waits_and_the_next_tries_anew() {
        let (renewed, count) = counter(None, &[1]);
        let (a, b) = tokio::join!(renewed.get(), renewed.get());
        assert_eq!((a.unwrap_err().class, b.unwrap_err().class), (Class::AuthFailed, Class::AuthFailed));
        assert_eq!(value(&renewed).await, 2);
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_value_is_dropped_once() {
        let (renewed, count) = counter(None, &[]);
        let first = renewed.get().await.unwrap();
        after(100_000).await;
        assert_eq!(value(&renewed).await, 1);
        renewed.forget(&first);
        assert_eq!(value(&renewed).await, 2);
        // Another request had it too, and learns of it later.
        renewed.forget(&first);
        assert_eq!((value(&renewed).await, count.load(Ordering::Relaxed)), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn values_that_are_refused_at_once_leave_nothing_behind() {
        let (renewed, _) = counter(HOUR, &[]);
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for _ in 0..20 {
            let refused = renewed.get().await.unwrap();
            renewed.forget(&refused);
        }
        after(1).await;
        assert_eq!(tasks(), 1, "only the last one's renewal waits");
        drop(renewed);
        after(1).await;
        assert_eq!(tasks(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_never_came_to_its_end_is_tried_again() {
        let count = AtomicU32::new(0);
        let renewed = Renewed::new(Box::new(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(number > 0, "the first fetch breaks");
                Ok(Fetched { value: number, lifetime: None })
            }
            .boxed()
        }));
        assert_eq!(renewed.get().await.unwrap_err().class, Class::ConnectFailed);
        assert_eq!(value(&renewed).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn short_lives_have_short_margins() {
        let (renewed, _) = counter(Some(Duration::from_secs(20)), &[]);
        assert_eq!(value(&renewed).await, 1);
        after(17).await;
        assert_eq!(value(&renewed).await, 1);
        after(2).await;
        assert_eq!(value(&renewed).await, 2);
    }
}
