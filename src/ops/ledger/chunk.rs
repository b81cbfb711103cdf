//! The sums of one hour or one day, packed: names first, then a line of labels and sums for each combination that
//! occurred. All numbers are of seven bits a byte, the lowest first. Thousands of lines are read in a millisecond, which
//! rows of a table are not.

use indexmap::{IndexMap, IndexSet};

use super::mix::Mix;
use super::spent::{COUNTS, Money, Spent};
use crate::ops::number::{put, take, take_wide};

/// The sums of one stretch of time, by so many labels.
#[derive(Debug)]
pub struct Chunk<const LABELS: usize> {
    /// The first is the empty one.
    names: IndexSet<Box<str>>,
    lines: IndexMap<[u32; LABELS], Spent, Mix>,
}

impl<const LABELS: usize> Default for Chunk<LABELS> {
    fn default() -> Self {
        Self { names: IndexSet::from(["".into()]), lines: IndexMap::default() }
    }
}

impl<const LABELS: usize> Chunk<LABELS> {
    /// Reads what was packed; nothing if it is damaged.
    pub fn unpack(packed: &[u8]) -> Option<Self> {
        let mut chunk = Self::default();
        let (told, packed) = names(packed)?;
        let count = told.len();
        chunk.names = told.into_iter().map(Into::into).collect();
        if chunk.names.len() != count {
            return None;
        }
        lines(packed, count, |labels, spent| *chunk.lines.entry(labels).or_default() += spent)?;
        Some(chunk)
    }

    /// Adds to a line. A new one is only begun while there are fewer than so many; what comes later stands at `others`.
    pub fn add(&mut self, labels: [&str; LABELS], others: [&str; LABELS], most: usize, spent: &Spent) {
        let mut known = [0; LABELS];
        let is_known = labels
            .iter()
            .zip(&mut known)
            .all(|(label, known)| self.names.get_index_of(*label).map(|at| *known = place(at)).is_some());
        if is_known && let Some(sum) = self.lines.get_mut(&known) {
            *sum += spent;
            return;
        }
        let labels = if self.lines.len() < most { labels } else { others };
        let labels = labels.map(|label| match self.names.get_index_of(label) {
            Some(at) => place(at),
            None => place(self.names.insert_full(label.into()).0),
        });
        *self.lines.entry(labels).or_default() += spent;
    }

    /// Packs it.
    pub fn pack(&self) -> Vec<u8> {
        let mut packed = Vec::with_capacity(32 * (self.names.len() + self.lines.len()));
        put(&mut packed, self.names.len() as u128 - 1);
        for name in self.names.iter().skip(1) {
            put(&mut packed, name.len() as u128);
            packed.extend_from_slice(name.as_bytes());
        }
        for (labels, spent) in &self.lines {
            labels.iter().for_each(|label| put(&mut packed, u128::from(*label)));
            spent.counts.iter().for_each(|count| put(&mut packed, u128::from(*count)));
            put(&mut packed, spent.cost.pico_usd());
            put(&mut packed, spent.at_first.pico_usd());
        }
        packed
    }
}

/// The names at the head of what was packed, the empty one first, and the lines behind them. Nothing if it is damaged.
pub fn names(packed: &[u8]) -> Option<(Vec<&str>, &[u8])> {
    let mut rest = packed;
    let count = usize::try_from(take(&mut rest)?).ok()?;
    let mut names = vec![""];
    for _ in 0..count {
        let length = usize::try_from(take(&mut rest)?).ok()?;
        let (name, behind) = rest.split_at_checked(length)?;
        rest = behind;
        names.push(str::from_utf8(name).ok()?);
    }
    Some((names, rest))
}

/// The lines, of which each label is the place of one of so many names. Nothing if they are damaged.
pub fn lines<const LABELS: usize>(
    mut packed: &[u8],
    names: usize,
    mut tell: impl FnMut([u32; LABELS], &Spent),
) -> Option<()> {
    while !packed.is_empty() {
        let mut labels = [0; LABELS];
        for label in &mut labels {
            let place = take(&mut packed)?;
            *label = u32::try_from(place).ok().filter(|place| (*place as usize) < names)?;
        }
        let mut counts = [0; COUNTS.len()];
        for count in &mut counts {
            *count = take(&mut packed)?;
        }
        let cost = Money::from_pico_usd(take_wide(&mut packed)?);
        let at_first = Money::from_pico_usd(take_wide(&mut packed)?);
        tell(labels, &Spent { counts, cost, at_first });
    }
    Some(())
}

fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(requests: u64, pico_usd: u128) -> Spent {
        let mut spent = Spent { cost: Money::from_pico_usd(pico_usd), ..Spent::default() };
        spent.counts[0] = requests;
        spent
    }

    #[test]
    fn what_is_packed_comes_out_again_and_damage_is_noticed() {
        let mut chunk = Chunk::<2>::default();
        for (labels, sums) in [
            (["a", ""], spent(1, 127)),
            (["", "b"], spent(u64::MAX, 128)),
            (["b", "a"], spent(300, u128::from(u64::MAX) * 1000)),
            (["a", ""], spent(2, 1)),
        ] {
            chunk.add(labels, ["(others)"; 2], 10, &sums);
        }
        let packed = chunk.pack();
        let again = Chunk::<2>::unpack(&packed).unwrap();
        assert_eq!((&again.names, &again.lines), (&chunk.names, &chunk.lines));
        assert_eq!(again.lines[&[1, 0]], spent(3, 128));
        for length in 1..packed.len() {
            // A whole line less is no damage that could be seen.
            if let Some(cut) = Chunk::<2>::unpack(&packed[..length]) {
                assert!(cut.lines.len() < chunk.lines.len());
            }
        }
        assert!(Chunk::<2>::unpack(&[0x5a; 4096]).is_none());
        assert!(Chunk::<2>::unpack(&[0xff; 4096]).is_none());
    }

    #[test]
    fn beyond_the_most_lines_one_is_shared() {
        let mut chunk = Chunk::<1>::default();
        for name in ["a", "b", "c", "a", "d"] {
            chunk.add([name], ["(others)"], 2, &spent(1, 0));
        }
        let lines: Vec<_> = chunk.lines.iter().map(|([name], spent)| (*name, spent.requests())).collect();
        assert_eq!(lines, [(1, 2), (2, 1), (3, 2)]);
        assert_eq!(&*chunk.names[3], "(others)");
    }
}
