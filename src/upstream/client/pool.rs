//! Connections between two requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::sleep;

use super::POOL_IDLE;
use super::line::Line;

/// The open connections to one origin that no request uses.
#[derive(Default)]
pub struct Pool(Mutex<Resting>);

#[derive(Default)]
struct Resting {
    /// The one that was used last at the end: those that are not needed grow old.
    lines: Vec<Rested>,
    /// How many times the pool has been swept.
    round: u64,
    /// A task sweeps it.
    is_swept: bool,
}

struct Rested {
    line: Box<Line>,
    /// The round in which it came.
    since: u64,
}

/// The time between two rounds of sweeping.
const ROUND: Duration = Duration::from_secs(5);
/// So many rounds a connection may rest.
const ROUNDS: u64 = POOL_IDLE.as_secs() / ROUND.as_secs() - 1;

impl Pool {
    /// A connection that is still good.
    pub fn take(&self, cx: &mut Context<'_>) -> Option<Box<Line>> {
        loop {
            let Rested { mut line, .. } = self.resting().lines.pop()?;
            if line.is_good(cx) {
                return Some(line);
            }
        }
    }

    /// Keeps a connection for the next request, unless it is not fit for one.
    pub fn put(self: &Arc<Self>, line: Box<Line>) {
        if !line.is_free() {
            return;
        }
        let mut resting = self.resting();
        let since = resting.round;
        resting.lines.push(Rested { line, since });
        if !resting.is_swept {
            resting.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Takes out what is closed or old; `None`: nothing is left.
    fn next_round(&self) -> Option<Vec<Rested>> {
        let mut resting = self.resting();
        resting.round += 1;
        let round = resting.round;
        let mut cx = Context::from_waker(Waker::noop());
        let is_gone = |rested: &mut Rested| !rested.line.is_good(&mut cx) || round - rested.since > ROUNDS;
        let gone = resting.lines.extract_if(.., is_gone).collect();
        resting.is_swept = !resting.lines.is_empty();
        resting.is_swept.then_some(gone)
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sweeps the pool as long as there is anything in it.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(ROUND).await;
        let Some(pool) = pool.upgrade() else { return };
        if pool.next_round().is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::super::line::at_once;
    use super::super::socket::Socket;
    use super::*;

    /// A connection that could take a request, and its other end.
    async fn free() -> (Box<Line>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (Box::new(Line::new(Socket::Plain(near))), far)
    }

    #[tokio::test]
    async fn what_nobody_needs_is_closed_in_time() {
        let pool = Arc::new(Pool::default());
        let (line, _far) = free().await;
        pool.put(line);
        for _ in 0..ROUNDS {
            assert_eq!(pool.next_round().map(|gone| gone.len()), Some(0));
        }
        assert!(ROUND * u32::try_from(ROUNDS + 1).unwrap() <= POOL_IDLE);
        assert!(pool.next_round().is_none(), "nothing is left");
        assert!(at_once(|cx| pool.take(cx)).await.is_none());
    }

    #[tokio::test]
    async fn the_one_that_was_used_last_is_used_first_and_closed_ones_never() {
        let pool = Arc::new(Pool::default());
        let ((old, old_far), (closed, closed_far), (newest, newest_far)) =
            (free().await, free().await, free().await);
        // Addresses on the heap tell them apart.
        let place = |line: &Line| std::ptr::from_ref(line);
        let expected = [place(&newest), place(&old)];
        [old, closed, newest].into_iter().for_each(|line| pool.put(line));
        drop(closed_far);
        let mut taken = Vec::new();
        sleep(Duration::from_millis(50)).await;
        while let Some(line) = at_once(|cx| pool.take(cx)).await {
            taken.push(line);
        }
        let taken: Vec<_> = taken.iter().map(|line| place(line)).collect();
        assert_eq!(taken, expected);
        drop((old_far, newest_far));
    }

    #[tokio::test]
    async fn of_ever_so_many_closed_ones_none_is_taken() {
        let pool = Arc::new(Pool::default());
        let mut ends = Vec::new();
        // More than a task may look at in one turn.
        for _ in 0..200 {
            let (line, far) = free().await;
            pool.put(line);
            ends.push(far);
        }
        drop(ends);
        sleep(Duration::from_millis(100)).await;
        assert!(at_once(|cx| pool.take(cx)).await.is_none());
    }

    #[tokio::test]
    async fn a_round_drops_what_was_closed() {
        let pool = Arc::new(Pool::default());
        let ((one, far), (other, _far)) = (free().await, free().await);
        pool.put(one);
        pool.put(other);
        drop(far);
        sleep(Duration::from_millis(50)).await;
        assert_eq!(pool.next_round().map(|gone| gone.len()), Some(1));
        assert_eq!(pool.next_round().map(|gone| gone.len()), Some(0));
    }
}
