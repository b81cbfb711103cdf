//! Quantities that must not be mixed up: token counts, prices and costs.
//!
//! Money is exact. A price in USD per million tokens, held as an integer of micro-USD per million tokens, is
//! the same number as pico-USD per token; so tokens times price is a cost in pico-USD with no rounding.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

use serde::{Deserialize, Serialize, Serializer};

/// Pico-USD in one USD.
const PICO_PER_USD: u128 = 1_000_000_000_000;
/// Micro-USD in one USD.
const MICRO_PER_USD: f64 = 1e6;

/// A number of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tokens(u64);

impl Tokens {
    /// No tokens.
    pub const ZERO: Self = Self(0);

    /// This many tokens.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// What is left after `other` is taken away, never below zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Tokens {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A price per token, in pico-USD (which is micro-USD per million tokens).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u64);

impl Price {
    /// Free of charge.
    pub const ZERO: Self = Self(0);

    /// A price given in USD per million tokens, as catalogs and configuration files write it. `None` if it is
    /// negative, not a number, or beyond a million USD per million tokens.
    pub fn from_usd_per_million(usd: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was just checked"
        )]
        (0.0..=1e6).contains(&usd).then(|| Self((usd * MICRO_PER_USD).round() as u64))
    }

    /// In USD per million tokens, for people to read.
    #[expect(clippy::cast_precision_loss, reason = "for display only")]
    pub fn usd_per_million(self) -> f64 {
        self.0 as f64 / MICRO_PER_USD
    }

    /// What it is more than `other`, never below zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This price times a provider's markup, rounded to the nearest pico-USD.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a price is at most 10^12, far inside f64's exact integers; the cast saturates"
    )]
    pub fn scaled(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as u64)
    }
}

impl Mul<Price> for Tokens {
    type Output = Cost;
    fn mul(self, price: Price) -> Cost {
        Cost(u128::from(self.0) * u128::from(price.0))
    }
}

/// An amount of money in pico-USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u128);

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount given in USD. `None` if it is negative, not a number, or beyond a trillion USD.
    pub fn from_usd(usd: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was just checked"
        )]
        (0.0..=1e12).contains(&usd).then(|| Self((usd * 1e12).round() as u128))
    }

    /// In USD, for metrics and people; exact only to the precision of a float.
    #[expect(clippy::cast_precision_loss, reason = "for display only")]
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e12
    }

    /// So many pico-USD.
    pub const fn from_pico_usd(pico_usd: u128) -> Self {
        Self(pico_usd)
    }

    /// The plain number of pico-USD.
    pub const fn pico_usd(self) -> u128 {
        self.0
    }

    /// What is left after `other` is taken away, never below zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Cost {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// USD with nine decimals, rounded to nearest, as the `x-piton-cost-usd` header has it.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nano = (self.0 + 500) / 1000;
        let per_usd = PICO_PER_USD / 1000;
        write!(f, "{}.{:09}", nano / per_usd, nano % per_usd)
    }
}

/// As a JSON number of USD.
impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.usd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_times_price_is_exact() {
        let price = Price::from_usd_per_million(0.15).unwrap();
        assert_eq!((Tokens::new(3) * price).pico_usd(), 450_000);
        let golden = Tokens::new(3) * Price::from_usd_per_million(3.0).unwrap()
            + Tokens::new(12_304) * Price::from_usd_per_million(3.75).unwrap()
            + Tokens::new(550) * Price::from_usd_per_million(15.0).unwrap();
        assert_eq!(golden.to_string(), "0.054399000");
    }

    #[test]
    fn prices_and_costs_refuse_nonsense() {
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e13] {
            assert_eq!(Price::from_usd_per_million(bad), None);
            assert_eq!(Cost::from_usd(bad), None);
        }
    }

    #[test]
    fn a_cost_prints_nine_decimals_rounded() {
        assert_eq!(Cost::from_usd(0.00421).unwrap().to_string(), "0.004210000");
        assert_eq!(Cost(1_500).to_string(), "0.000000002");
        assert_eq!(Cost::from_usd(12.5).unwrap().to_string(), "12.500000000");
    }
}
