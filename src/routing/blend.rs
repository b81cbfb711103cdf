//! The blended price of a chain: what its traffic really cost per million tokens, by the hour, for two weeks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::units::{Cost, Tokens};

/// Sums of one chain, kept over reloads. Whoever has older ones may add them: see [`Blend::add`].
#[derive(Debug, Default)]
pub struct Blend(Mutex<VecDeque<HourOfTraffic>>);

/// What a chain's traffic came to in some time. Only requests whose whole cost is known count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Of all attempts, those that served nobody too.
    pub cost: Cost,
    /// Of the answers that clients got: input and output.
    pub tokens: Tokens,
}

/// The hours that had any traffic, in their order, none of them twice.
#[derive(Debug, Clone, Copy)]
struct HourOfTraffic {
    /// Since the Unix epoch.
    hour: u64,
    traffic: Traffic,
}

const WEEK: u64 = 7 * 24;

impl Blend {
    /// Adds what a request, or a whole hour of them, came to. The time is that since the Unix epoch.
    pub fn add(&self, time: Duration, traffic: Traffic) {
        if traffic == Traffic::default() {
            return;
        }
        let hour = hour_of(time);
        let mut hours = self.lock();
        let last = hours.back().map_or(hour, |last| last.hour.max(hour));
        let is_kept = |hour: u64| hour + 2 * WEEK > last;
        if !is_kept(hour) {
            return;
        }
        match hours.binary_search_by_key(&hour, |known| known.hour) {
            Ok(at) => {
                let known = &mut hours[at].traffic;
                *known = Traffic { cost: known.cost + traffic.cost, tokens: known.tokens + traffic.tokens };
            }
            Err(at) => hours.insert(at, HourOfTraffic { hour, traffic }),
        }
        while hours.front().is_some_and(|first| !is_kept(first.hour)) {
            hours.pop_front();
        }
    }

    /// The seven days before this time, and the seven before those. An hour counts as a whole.
    pub fn weeks(&self, time: Duration) -> [Traffic; 2] {
        let now = hour_of(time);
        let mut weeks = [Traffic::default(); 2];
        for HourOfTraffic { hour, traffic } in &*self.lock() {
            let week = usize::try_from(now.saturating_sub(*hour) / WEEK).unwrap_or(usize::MAX);
            if let Some(sum) = weeks.get_mut(week) {
                *sum = Traffic { cost: sum.cost + traffic.cost, tokens: sum.tokens + traffic.tokens };
            }
        }
        weeks
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<HourOfTraffic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic {
    /// For people; `None` where no tokens were served.
    #[expect(clippy::cast_precision_loss, reason = "for display only")]
    pub fn usd_per_million(&self) -> Option<f64> {
        let tokens = self.tokens.get();
        (tokens > 0).then(|| self.cost.usd() / tokens as f64 * 1e6)
    }
}

fn hour_of(time: Duration) -> u64 {
    time.as_secs() / 3600
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_hours(500_000);

    fn traffic(usd: f64, tokens: u64) -> Traffic {
        Traffic { cost: Cost::from_usd(usd).unwrap(), tokens: Tokens::new(tokens) }
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_hours(hours)
    }

    fn hours_ago(ago: u64) -> Duration {
        NOW.checked_sub(hours(ago)).unwrap()
    }

    #[test]
    fn a_week_is_set_against_the_one_before() {
        let blend = Blend::default();
        assert_eq!(blend.weeks(NOW), [Traffic::default(); 2]);
        blend.add(hours_ago(WEEK), traffic(5.0, 1_000_000));
        blend.add(hours_ago(WEEK - 1), traffic(1.0, 1_000_000));
        blend.add(NOW, traffic(3.0, 1_000_000));
        // A request that served nobody, but cost something.
        blend.add(NOW + Duration::from_mins(59), traffic(2.0, 0));
        let [this, last] = blend.weeks(NOW + Duration::from_mins(59));
        assert_eq!((this, last), (traffic(6.0, 2_000_000), traffic(5.0, 1_000_000)));
        assert_eq!(this.usd_per_million(), Some(3.0));
        assert_eq!(blend.weeks(NOW + hours(1))[1], traffic(6.0, 2_000_000), "an hour moved over");
        assert_eq!(traffic(1.0, 0).usd_per_million(), None);
    }

    #[test]
    fn what_is_older_than_two_weeks_is_neither_kept_nor_taken() {
        let blend = Blend::default();
        for hour in 0..1000 {
            blend.add(NOW + hours(hour), traffic(1.0, 1));
            blend.add(NOW, traffic(1.0, 1));
        }
        assert_eq!(blend.lock().len() as u64, 2 * WEEK);
        let [this, last] = blend.weeks(NOW + hours(999));
        assert_eq!((this, last), (traffic(168.0, 168), traffic(168.0, 168)));
    }

    #[test]
    fn older_hours_may_be_added_later() {
        let blend = Blend::default();
        for hour in [0, 30, 20, 30] {
            blend.add(hours_ago(hour), traffic(1.0, 1));
        }
        assert_eq!(blend.weeks(NOW)[0], traffic(4.0, 4));
        assert_eq!(blend.lock().len(), 3);
    }
}
