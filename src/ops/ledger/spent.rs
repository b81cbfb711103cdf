//! Sums, and the money in them.

use std::fmt;
use std::ops::AddAssign;

use crate::units::Cost;

/// Sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// In the order of [`COUNTS`].
    pub counts: [u64; COUNTS.len()],
    pub cost: Money,
    /// What the answers would have cost at the first target of their chains.
    pub at_first: Money,
}

/// What is counted: `failed` are requests whose outcome was not `ok`, `fallbacks` those that another target than the
/// first served. Attempts whose price is not known count as free.
pub const COUNTS: [&str; 8] = [
    "requests",
    "failed",
    "fallbacks",
    "attempts",
    "unpriced_attempts",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
];

/// Pico-USD, which may also be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(i128);

impl Spent {
    /// What fallbacks and failed attempts cost above the first targets; less than nothing where they were cheaper.
    pub const fn difference(&self) -> Money {
        Money(self.cost.0.saturating_sub(self.at_first.0))
    }

    /// Requests.
    pub const fn requests(&self) -> u64 {
        self.counts[0]
    }
}

impl AddAssign<&Self> for Spent {
    fn add_assign(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum = sum.saturating_add(count);
        }
        self.cost.0 = self.cost.0.saturating_add(other.cost.0);
        self.at_first.0 = self.at_first.0.saturating_add(other.at_first.0);
    }
}

impl Money {
    /// What is paid.
    pub fn of(cost: Cost) -> Self {
        Self::from_pico_usd(cost.pico_usd())
    }

    /// So much.
    pub fn from_pico_usd(pico_usd: u128) -> Self {
        Self(i128::try_from(pico_usd).unwrap_or(i128::MAX))
    }

    /// How much it is.
    pub const fn pico_usd(self) -> u128 {
        self.0.unsigned_abs()
    }
}

/// USD with all twelve decimals.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let pico = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:012}", pico / 1_000_000_000_000, pico % 1_000_000_000_000)
    }
}
