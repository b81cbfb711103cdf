//! One bucket of a budget: what was spent in its window, what running calls have reserved, who waits.

use std::collections::VecDeque;

use super::queue::Queue;
use super::window::Frame;
use super::{Amounts, Limits, News};
use crate::reason::Measure;

/// After so many milliseconds it is worth trying again where only running calls stand in the way.
const SOON: u64 = 1000;

/// What was spent, what is reserved, and who waits for it to be given back.
#[derive(Debug, Default)]
pub struct Bucket {
    /// What was spent, by the time that it counts under; oldest first.
    slots: VecDeque<(u64, Amounts)>,
    /// All slots together.
    spent: Amounts,
    reserved: Amounts,
    pub queue: Queue,
    /// What the owner was last told, and the slot of then.
    told: [Option<u64>; 2],
}

/// Whether an amount fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    Fits,
    /// It would, if running calls gave back what they reserved.
    Later(Measure),
    Never(Measure),
}

impl Bucket {
    /// Forgets what no longer counts.
    pub fn roll(&mut self, frame: &Frame) {
        while let Some((at, spent)) = self.slots.front().copied()
            && at < frame.since
        {
            self.slots.pop_front();
            self.spent = self.spent.minus(spent);
        }
    }

    /// Forgets all that was spent.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.spent = Amounts::default();
    }

    /// Whether this is still to be told in this period; it is not any more.
    pub fn is_news(&mut self, news: News, frame: &Frame) -> bool {
        let told = &mut self.told[news as usize];
        let is_news = told.is_none_or(|told| told < frame.since);
        *told = Some(frame.slot);
        is_news
    }

    /// Whether this amount fits within `limits`.
    pub fn fit(&self, limits: &Limits, amounts: Amounts) -> Fit {
        let needed = self.spent.plus(amounts);
        if let Some(measure) = limits.exceeded_by(needed) {
            return Fit::Never(measure);
        }
        limits.exceeded_by(needed.plus(self.reserved)).map_or(Fit::Fits, Fit::Later)
    }

    /// When this amount would fit, if nobody else drew: milliseconds since the Unix epoch.
    pub fn fits_at(&self, limits: &Limits, amounts: Amounts, frame: &Frame, now: u64) -> Option<u64> {
        if limits.exceeded_by(amounts).is_some() {
            return None;
        }
        if limits.exceeded_by(self.spent.plus(amounts)).is_none() {
            return Some(now + SOON);
        }
        let Some(lasts) = frame.lasts else { return Some(frame.until) };
        let mut spent = self.spent;
        for (at, leaves) in &self.slots {
            spent = spent.minus(*leaves);
            if limits.exceeded_by(spent.plus(amounts)).is_none() {
                return Some(at + lasts);
            }
        }
        Some(frame.until)
    }

    /// Sets aside what a call may take.
    pub fn reserve(&mut self, amounts: Amounts) {
        self.reserved = self.reserved.plus(amounts);
    }

    /// Ends a reservation and counts what was really taken.
    pub fn settle(&mut self, reserved: Amounts, taken: Amounts, frame: &Frame) {
        self.reserved = self.reserved.minus(reserved);
        self.spend(taken, frame.slot);
    }

    /// Counts what was taken under this slot.
    pub fn spend(&mut self, taken: Amounts, at: u64) {
        if taken.is_zero() {
            return;
        }
        self.spent = self.spent.plus(taken);
        let place = self.slots.partition_point(|(slot, _)| *slot < at);
        match self.slots.get_mut(place) {
            Some((slot, spent)) if *slot == at => *spent = spent.plus(taken),
            _ => self.slots.insert(place, (at, taken)),
        }
    }

    /// What was spent in the window.
    pub fn spent(&self) -> Amounts {
        self.spent
    }

    /// What running calls may still take.
    pub fn reserved(&self) -> Amounts {
        self.reserved
    }

    /// Whether nothing is lost without it.
    pub fn is_empty(&self) -> bool {
        self.spent.is_zero() && self.reserved.is_zero() && self.queue.is_empty()
    }
}
