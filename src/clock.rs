//! Wall-clock time that follows tokio's clock, so that a test which pauses time pauses dates too.

pub mod window;

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// One reading of both clocks, taken together; every later wall time is computed from it.
static ANCHOR: LazyLock<(Instant, SystemTime)> = LazyLock::new(|| (Instant::now(), system()));

/// The wall-clock time now.
pub fn wall() -> SystemTime {
    wall_at(Instant::now())
}

/// The wall-clock time of a moment on tokio's clock.
pub fn wall_at(moment: Instant) -> SystemTime {
    let (instant, wall) = *ANCHOR;
    match moment.checked_duration_since(instant) {
        Some(passed) => wall + passed,
        // A paused clock of another test may have started before the anchor.
        None => wall - instant.duration_since(moment),
    }
}

/// Seconds since the Unix epoch, as OpenAI's `created` has it.
pub fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// Time since the Unix epoch.
pub fn since_epoch() -> Duration {
    wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The system's own time since the Unix epoch, for log lines: it is set right when it goes wrong, as that of other
/// programs' logs is. It may jump, and does not follow tokio's clock.
pub fn system_since_epoch() -> Duration {
    system().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "the one place where the system's wall clock is read")]
fn system() -> SystemTime {
    SystemTime::now()
}
