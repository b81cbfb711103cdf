//! What is remembered of a target between requests, across chains and reloads: its circuit, how fast it answers,
//! and how many bytes it counts as a token.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Breaker;

/// One target's memory.
#[derive(Debug, Default)]
pub struct TargetHealth {
    pub breaker: Breaker,
    /// Time to the first content of streams.
    pub first_content: Samples,
    /// Time to a whole JSON answer.
    pub whole_answer: Samples,
    pub bytes_per_token: BytesPerToken,
    /// Calls under way; counted where it is one of several equal deployments.
    pub load: AtomicU32,
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
    /// The longest of those that are kept.
    longest: Duration,
}

impl Samples {
    /// Adds one; the oldest leaves.
    pub fn add(&self, sample: Duration, now: Instant) {
        let mut ring = self.lock();
        ring.longest = ring.longest.max(sample);
        if ring.kept.len() < KEPT {
            ring.kept.push((now, sample));
            return;
        }
        let next = ring.next;
        ring.next = (next + 1) % KEPT;
        let (_, left) = std::mem::replace(&mut ring.kept[next], (now, sample));
        if left == ring.longest {
            ring.longest = ring.kept.iter().map(|(_, sample)| *sample).max().unwrap_or_default();
        }
    }

    /// The median of the recent ones, once there are enough. Old ones say nothing of now: a target that is passed over
    /// for being slow would otherwise never get the chance to show that it is not.
    pub fn median(&self, now: Instant) -> Option<Duration> {
        let mut recent: Vec<Duration> = self.lock().recent(now).collect();
        if recent.len() < ENOUGH {
            return None;
        }
        let middle = recent.len() / 2;
        Some(*recent.select_nth_unstable(middle).1)
    }

    /// Whether the median is known and longer than `limit`: it is where not more than half are within the limit.
    pub fn usually_exceed(&self, limit: Duration, now: Instant) -> bool {
        let ring = self.lock();
        // So it nearly always is.
        if ring.longest <= limit {
            return false;
        }
        let (mut all, mut within) = (0, 0);
        for sample in ring.recent(now) {
            all += 1;
            within += usize::from(sample <= limit);
        }
        all >= ENOUGH && within <= all / 2
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn recent(&self, now: Instant) -> impl Iterator<Item = Duration> {
        // None: the clock itself is not that old.
        let old = now.checked_sub(RECENT);
        let recent = self.kept.iter().filter(move |(at, _)| old.is_none_or(|old| *at > old));
        recent.map(|(_, sample)| *sample)
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
        let (samples, now) = (Samples::default(), Instant::now());
        (0..4).for_each(|_| samples.add(Duration::from_secs(9), now));
        assert_eq!(samples.median(now), None);
        (0..KEPT).for_each(|_| samples.add(Duration::from_secs(1), now));
        assert_eq!(samples.median(now), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_limit_is_usually_exceeded_where_the_median_is_above_it() {
        let start = Instant::now();
        let samples = Samples::default();
        for count in 0..40 {
            let now = start + RECENT * count / 20;
            for limit in 0..12 {
                let limit = Duration::from_secs(limit);
                let by_median = samples.median(now).is_some_and(|median| median > limit);
                assert_eq!(samples.usually_exceed(limit, now), by_median, "{limit:?} after {count}");
            }
            samples.add(Duration::from_secs(u64::from(count * 7 % 11)), now);
        }
        assert!(!samples.usually_exceed(Duration::ZERO, start + RECENT * 4), "they are old");
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
