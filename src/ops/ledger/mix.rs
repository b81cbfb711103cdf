//! A quick hash, for numbers that nobody outside can choose.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds it.
pub type Mix = BuildHasherDefault<Mixer>;

/// Mixes the bits of small numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mixer(u64);

/// Two to the 64th, divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn write_u64(&mut self, number: u64) {
        // The high bits are the best mixed: they come down for the next number, and for tables that look at the low ones.
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(SPREAD).rotate_left(32);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}
