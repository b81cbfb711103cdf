//! What is remembered of a target between requests, across chains and reloads: its circuit, how fast it answers,
//! and how many bytes it counts as a token.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Breaker;

/// One target's memory.
#[derive(Debug, Default)]
pub struct TargetHealth {
    pub breaker: Arc<Breaker>,
    /// Time to the first content of streams.
    pub first_content: Samples,
    /// Time to a whole JSON answer.
    pub whole_answer: Samples,
    pub bytes_per_token: BytesPerToken,
}

/// How many samples the median is taken of.
const KEPT: usize = 33;
/// Older samples do not count.
const RECENT: Duration = Duration::from_mins(10);
/// Fewer say nothing.
const ENOUGH: usize = 5;

/// The last few durations.
#[derive(Debug, Default)]
pub struct Samples(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    kept: Vec<(Instant, Duration)>,
    next: usize,
}

impl Samples {
    /// Adds one; the oldest leaves.
    pub fn add(&self, sample: Duration) {
        let sample = (Instant::now(), sample);
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.kept.len() < KEPT {
            ring.kept.push(sample);
        } else {
            let next = ring.next;
            ring.kept[next] = sample;
            ring.next = (next + 1) % KEPT;
        }
    }

    /// The median of the recent ones, once there are enough. Old ones say nothing of now: a target that is passed over
    /// for being slow would otherwise never get the chance to show that it is not.
    pub fn median(&self) -> Option<Duration> {
        let now = Instant::now();
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = ring.kept.iter().filter(|(at, _)| now.duration_since(*at) < RECENT);
        let mut kept: Vec<Duration> = recent.map(|(_, sample)| *sample).collect();
        drop(ring);
        if kept.len() < ENOUGH {
            return None;
        }
        let middle = kept.len() / 2;
        Some(*kept.select_nth_unstable(middle).1)
    }
}

/// A learned mean of text bytes per input token.
#[derive(Debug, Default)]
pub struct BytesPerToken {
    /// The bits of the mean; 0 until something was learned.
    mean: AtomicU64,
    samples: AtomicU64,
}

/// What English prose and code come to, before anything is learned.
const USUAL: f64 = 4.0;
/// How much one answer weighs.
const WEIGHT: f64 = 0.1;
/// From this many answers on, the mean is trusted.
const TRUSTED: u64 = 20;

impl BytesPerToken {
    /// Learns from one answer's true count. Short inputs say little: fixed overhead dominates them.
    pub fn learn(&self, text_bytes: u64, prompt_tokens: u64) {
        if text_bytes < 400 || prompt_tokens == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
        let seen = (text_bytes as f64 / prompt_tokens as f64).clamp(0.5, 16.0);
        let mean = f64::from_bits(self.mean.load(Ordering::Relaxed));
        let next = if mean > 0.0 { mean + WEIGHT * (seen - mean) } else { seen };
        self.mean.store(next.to_bits(), Ordering::Relaxed);
        self.samples.fetch_add(1, Ordering::Relaxed);
    }

    /// The least and the most tokens that this many bytes are likely to be.
    pub fn estimate(&self, text_bytes: u64) -> (u64, u64) {
        let mean = f64::from_bits(self.mean.load(Ordering::Relaxed));
        let trusted = self.samples.load(Ordering::Relaxed) >= TRUSTED;
        let (mean, margin) = if trusted { (mean, 1.25) } else { (USUAL, 1.5) };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate of a positive count"
        )]
        let tokens = |rate: f64| (text_bytes as f64 / rate) as u64;
        (tokens(mean * margin), tokens(mean / margin) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_needs_enough_samples_and_follows_the_newest() {
        let samples = Samples::default();
        (0..4).for_each(|_| samples.add(Duration::from_secs(9)));
        assert_eq!(samples.median(), None);
        (0..KEPT).for_each(|_| samples.add(Duration::from_secs(1)));
        assert_eq!(samples.median(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn bytes_per_token_is_learned() {
        let rate = BytesPerToken::default();
        assert_eq!(rate.estimate(6000), (1000, 2251));
        (0..30).for_each(|_| rate.learn(10_000, 5_000));
        let (low, high) = rate.estimate(10_000);
        assert_eq!((low, high), (4000, 6251));
    }
}
