//! How long to wait before the same target is asked again.

use std::time::Duration;

/// The bound of the first wait; it doubles with each retry.
const FIRST: Duration = Duration::from_millis(250);
/// The bound never grows beyond this.
const LONGEST: Duration = Duration::from_secs(4);

/// Full jitter: a draw from 0 to 1 of a bound that doubles with each retry made before (0 for the first), so that
/// clients which failed together do not come back together.
pub fn full_jitter(retries_before: u32, draw: f64) -> Duration {
    let bound = FIRST.saturating_mul(2_u32.saturating_pow(retries_before)).min(LONGEST);
    bound.mul_f64(draw.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_its_limit() {
        let bounds: Vec<u128> = (0..7).map(|n| full_jitter(n, 1.0).as_millis()).collect();
        assert_eq!(bounds, [250, 500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(full_jitter(3, 0.0), Duration::ZERO);
    }
}
