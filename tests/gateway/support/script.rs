//! What an upstream does with one request, step by step.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

/// One thing that an upstream does. A peer that closes meanwhile ends the script.
#[derive(Debug, Clone)]
pub enum Step {
    /// Writes these bytes at once.
    Send(Bytes),
    /// Writes pieces of this size, each with its own call, so that the peer's reads split anywhere.
    Split {
        bytes: Bytes,
        size: usize,
        gap: Duration,
    },
    Pause(Duration),
    /// Waits until the test opens the gate.
    Wait(Gate),
    /// Holds the connection until the peer closes it.
    Silence,
    /// Writes these bytes again and again until the peer closes; a peer that does not read holds it up.
    Endless(Bytes),
    /// Closes with a TCP reset.
    Reset,
    /// Closes in order, whatever has been promised in the head.
    Close,
}

/// The steps that answer one request. A script that does not end with a close leaves the connection open for
/// the next request.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub steps: Vec<Step>,
}

/// A door in a script that only the test opens: order without sleeping.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn send(self, bytes: impl Into<Bytes>) -> Self {
        self.step(Step::Send(bytes.into()))
    }

    pub fn pause(self, time: Duration) -> Self {
        self.step(Step::Pause(time))
    }

    pub fn wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    pub fn silence(self) -> Self {
        self.step(Step::Silence)
    }

    pub fn endless(self, bytes: impl Into<Bytes>) -> Self {
        self.step(Step::Endless(bytes.into()))
    }

    pub fn reset(self) -> Self {
        self.step(Step::Reset)
    }

    pub fn close(self) -> Self {
        self.step(Step::Close)
    }

    /// These steps, then those.
    pub fn then(mut self, next: Self) -> Self {
        self.steps.extend(next.steps);
        self
    }

    /// The same bytes in pieces of `size`, `gap` apart (zero: as fast as the scheduler goes).
    pub fn split_every(mut self, size: usize, gap: Duration) -> Self {
        assert!(size > 0, "pieces need a size");
        for step in &mut self.steps {
            if let Step::Send(bytes) = step {
                *step = Step::Split { bytes: bytes.clone(), size, gap };
            }
        }
        self
    }

    /// Only the first `length` bytes of what it would send, and nothing after them.
    pub fn truncated(mut self, length: usize) -> Self {
        let mut left = length;
        let mut kept = Vec::new();
        for step in self.steps {
            match step {
                Step::Send(bytes) if bytes.len() > left => {
                    kept.push(Step::Send(bytes.slice(..left)));
                    break;
                }
                Step::Send(bytes) => {
                    left -= bytes.len();
                    kept.push(Step::Send(bytes));
                }
                other => kept.push(other),
            }
        }
        self.steps = kept;
        self
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl Gate {
    /// A gate that is shut.
    pub fn shut() -> Self {
        Self(Arc::new(watch::channel(false).0))
    }

    /// Lets every script through that waits here, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        // The sender is this gate itself, so the wait cannot fail before it is over.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_script_stops_in_the_middle_of_a_step() {
        let script = Script::new().send("abc").pause(Duration::ZERO).send("def").send("ghi").truncated(4);
        let sent: Vec<_> = script
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Send(bytes) => Some(bytes.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(sent, ["abc", "d"]);
    }
}
