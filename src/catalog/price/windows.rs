//! Prices at some hours of the week: peak and off-peak.

use tokio::time::Instant;

use super::{Prices, Special, Tier, in_proportion};
use crate::clock;
use crate::clock::window::Window;
use crate::units::Price;

/// Other prices in a window, as somebody wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceWindow {
    pub window: Window,
    pub input: Option<Price>,
    pub output: Option<Price>,
    pub special: Special,
}

/// Whole prices that hold in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timed {
    /// What these come from, for prices that build on them.
    pub(super) written: PriceWindow,
    /// These have no windows themselves.
    pub(super) prices: Prices,
}

impl PriceWindow {
    /// The same window with prices that are so many times as high.
    pub(super) fn scaled(&self, factor: f64) -> Self {
        let scaled = |price: Price| price.scaled(factor);
        Self {
            window: self.window.clone(),
            input: self.input.map(scaled),
            output: self.output.map(scaled),
            special: self.special.map(scaled, scaled),
        }
    }
}

impl Prices {
    /// Those that hold now.
    pub fn now(&self) -> &Self {
        if self.windows.is_empty() { self } else { self.at(Instant::now()) }
    }

    /// Those that hold at this time: of the first window that does.
    pub fn at(&self, time: Instant) -> &Self {
        if self.windows.is_empty() {
            return self;
        }
        let time = clock::wall_at(time);
        let held = self.windows.iter().find(|timed| timed.written.window.holds(time));
        held.map_or(self, |timed| &timed.prices)
    }

    /// Whether they depend on the hour.
    pub fn are_timed(&self) -> bool {
        !self.windows.is_empty()
    }

    /// All that may hold at some hour: the usual ones first.
    pub fn all(&self) -> impl Iterator<Item = Self> {
        let usual = Self { windows: Vec::new(), ..self.clone() };
        std::iter::once(usual).chain(self.windows.iter().map(|timed| timed.prices.clone()))
    }

    /// The windows and the prices in them.
    pub fn windows(&self) -> impl Iterator<Item = (&Window, &Self)> {
        self.windows.iter().map(|timed| (&timed.written.window, &timed.prices))
    }

    /// The same prices with others in these windows.
    #[must_use]
    pub(super) fn with_windows(self, windows: Vec<PriceWindow>) -> Self {
        let timed = |written: PriceWindow| Timed { prices: self.within(&written), written };
        Self { windows: windows.into_iter().map(timed).collect(), ..self }
    }

    /// The windows as they were written.
    pub(super) fn written_windows(&self) -> Vec<PriceWindow> {
        self.windows.iter().map(|timed| timed.written.clone()).collect()
    }

    /// These prices in a window. What it leaves out changes with its side, long prompts included.
    fn within(&self, window: &PriceWindow) -> Self {
        let input = window.input.unwrap_or(self.input);
        let output = window.output.unwrap_or(self.output);
        let of_input = |price| in_proportion(price, self.input, input);
        let of_output = |price| in_proportion(price, self.output, output);
        let tier = |tier: &Tier| Tier {
            above: tier.above,
            input: tier.input.map(of_input),
            output: tier.output.map(of_output),
            special: tier.special.map(of_input, of_output),
        };
        Self {
            input,
            output,
            special: window.special.or(self.special.map(of_input, of_output)),
            tiers: self.tiers.iter().map(tier).collect(),
            windows: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{PartialPrices, UsageTokens};
    use super::*;
    use crate::clock::window::{Days, Hours, Zone};

    fn usd(amount: f64) -> Option<Price> {
        Price::from_usd_per_million(amount)
    }

    /// The hour that begins in so many minutes, every day.
    fn hour_in(minutes: u64) -> Window {
        let minute = clock::since_epoch().as_secs() / 60 % 1440 + minutes;
        let from = u16::try_from(minute % 1440).unwrap();
        Window { hours: Hours::new(from, (from + 60) % 1440), days: Days::ALL, zone: Zone::UTC }
    }

    fn prices(toml: &str, windows: Vec<PriceWindow>) -> Prices {
        let mut partial: PartialPrices = toml::from_str(toml).unwrap();
        partial.windows = Some(windows);
        partial.over(None).unwrap().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_window_that_holds_decides() {
        let cheap = |minutes, input| PriceWindow {
            window: hour_in(minutes),
            input: usd(input),
            output: None,
            special: Special::default(),
        };
        let prices = prices("input = 4\noutput = 8", vec![cheap(120, 1.0), cheap(90, 2.0)]);
        let now = Instant::now();
        let input = |minutes: u64| Some(prices.at(now + Duration::from_mins(minutes)).input());
        assert_eq!(
            [input(0), input(92), input(122), input(152), input(182)],
            [4.0, 2.0, 1.0, 1.0, 4.0].map(usd)
        );
        assert_eq!(Some(prices.now().input()), usd(4.0));
        tokio::time::advance(Duration::from_mins(92)).await;
        assert_eq!(Some(prices.now().input()), usd(2.0));
        assert_eq!(Some(prices.now().output()), usd(8.0), "what it does not name stays");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_window_leaves_out_changes_with_its_side() {
        let half = PriceWindow {
            window: hour_in(0),
            input: usd(1.0),
            output: usd(1.0),
            special: Special { cache_write: usd(7.0), ..Special::default() },
        };
        let base = "input = 2\noutput = 4\ncache_read = 0.2\ncache_write = 3\ntiers = [{ above = 10, input = 4, output = 6 }]";
        let held = prices(base, vec![half]);
        let held = held.at(Instant::now() + Duration::from_mins(1));
        let rates = held.rates(crate::units::Tokens::new(1));
        assert_eq!(
            [rates.cache_read, rates.cache_write, rates.reasoning].map(Some),
            [0.1, 7.0, 1.0].map(usd)
        );
        assert_eq!(held.cost(&UsageTokens::of(11, 2)).pico_usd(), (11 * 2 * 1_000_000) + 2 * 1_500_000);
    }

    #[test]
    fn a_markup_scales_the_windows_too() {
        let window =
            PriceWindow { window: hour_in(0), input: usd(1.0), output: None, special: Special::default() };
        let scaled = prices("input = 2\noutput = 4", vec![window]).scaled(1.5);
        let within: Vec<_> = scaled.windows().map(|(_, prices)| Some(prices.input())).collect();
        assert_eq!((within, Some(scaled.input())), (vec![usd(1.5)], usd(3.0)));
    }
}
