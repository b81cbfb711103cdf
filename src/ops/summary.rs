//! One request from its end: what headers, log and metrics say of its trail.

use std::fmt::Write;
use std::sync::Arc;

use bytes::BytesMut;

use crate::chat::Usage;
use crate::reason::Class;
use crate::routing::chain::Target;
use crate::routing::{AttemptRecord, Entry, Outcome, Place};
use crate::units::Cost;

/// The longest value of `x-piton-trail`.
const TRAIL_MAX: usize = 1024;
/// Stands for what did not fit.
const CUT: &[u8] = b", ...";

/// What the trail of a request comes to.
#[derive(Debug)]
pub struct Summary<'a> {
    /// The attempt that served.
    pub served: Option<&'a AttemptRecord>,
    /// Upstream calls that were made to answer it.
    pub attempts: u32,
    /// Of all attempts, those that put images into words too; `None` if the price of one is not known.
    pub cost: Option<Cost>,
    /// What the serving attempt's tokens would have cost at the chain's first target, where another one had to
    /// stand in.
    pub cost_at_first: Option<Cost>,
    /// The first eligible target, where it did not serve, and why.
    pub fallback: Option<(&'a Arc<str>, &'static str)>,
}

impl<'a> Summary<'a> {
    /// Sums up. `served` is the place of the target that served, `first` the first of the chain.
    pub fn of(entries: &'a [Entry], served: Option<usize>, first: Option<&Target>) -> Self {
        let attempts = own(entries).filter_map(attempt).count();
        let served = served.and_then(|index| last_attempt(entries, index));
        let fallback = fallback(entries, served.map(AttemptRecord::place));
        Self {
            served,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            cost: total_cost(entries),
            cost_at_first: fallback.and_then(|_| cost_at(first?, served?)),
            fallback,
        }
    }

    /// Of the attempt that served.
    pub fn usage(&self) -> Usage {
        self.served.map(|served| served.usage).unwrap_or_default()
    }

    /// What the attempt that served cost, as far as that is known.
    pub fn served_cost(&self) -> Cost {
        self.served.and_then(|served| served.cost).unwrap_or_default()
    }
}

/// `x-piton-trail`: every line so far, cut at its limit. `text` must be empty.
pub fn trail_header(entries: &[Entry], text: &mut BytesMut) {
    // The last place at which there was still room to say that something was cut.
    let mut cut = 0;
    for entry in entries {
        if text.len() + CUT.len() <= TRAIL_MAX {
            cut = text.len();
        }
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(entry.target().as_bytes());
        text.extend_from_slice(if entry.is_own() { b"=" } else { b"=describe:" });
        match entry {
            Entry::Skip(record) => {
                // Writing to a buffer that grows cannot fail.
                let _ = write!(text, "skip:{}", record.skip);
            }
            Entry::Attempt(record) => {
                text.extend_from_slice(record.outcome.map_or("ok", Outcome::code).as_bytes());
                text.extend_from_slice(b";");
                text.extend_from_slice(itoa::Buffer::new().format(record.latency.as_millis()).as_bytes());
                text.extend_from_slice(b"ms");
            }
        }
        if text.len() > TRAIL_MAX {
            text.truncate(cut);
            text.extend_from_slice(if cut == 0 { b"..." } else { CUT });
            break;
        }
    }
}

/// The first target that was not skipped by design, where another one served: its name, and why it did not.
fn fallback(entries: &[Entry], served: Option<Place>) -> Option<(&Arc<str>, &'static str)> {
    let eligible = own(entries).find(|entry| match entry {
        Entry::Skip(record) => record.skip.is_health(),
        Entry::Attempt(_) => true,
    })?;
    let place = eligible.place();
    if served == Some(place) {
        return None;
    }
    let failures = own(entries).rev().filter_map(attempt).filter(|attempt| attempt.place() == place);
    let mut classes = failures.filter_map(|attempt| match attempt.outcome {
        Some(Outcome::Failed(class)) => Some(class),
        Some(Outcome::Ok | Outcome::Busy | Outcome::ClientCancelled) | None => None,
    });
    // A retry that was ended for the sake of later targets says less than the failure before it.
    let last = classes.next();
    let told = last.filter(|class| *class != Class::DeadlineExceeded).or_else(|| classes.next()).or(last);
    if let Some(class) = told {
        return Some((eligible.target(), class.code()));
    }
    match eligible {
        Entry::Skip(record) => Some((&record.target, record.skip.code())),
        Entry::Attempt(_) => None,
    }
}

/// What all attempts cost together; `None` if the price of one that used tokens is not known.
fn total_cost(entries: &[Entry]) -> Option<Cost> {
    let ended = entries.iter().filter_map(attempt).filter(|attempt| attempt.outcome.is_some());
    ended.map(|attempt| attempt.cost).sum()
}

fn attempt(entry: &Entry) -> Option<&AttemptRecord> {
    match entry {
        Entry::Attempt(record) => Some(record),
        Entry::Skip(_) => None,
    }
}

fn last_attempt(entries: &[Entry], index: usize) -> Option<&AttemptRecord> {
    own(entries).rev().filter_map(attempt).find(|record| record.index == index)
}

/// What happened on the walk that answers the request, and not beside it.
fn own(entries: &[Entry]) -> impl DoubleEndedIterator<Item = &Entry> {
    entries.iter().filter(|entry| entry.is_own())
}

/// What the served tokens would have cost at `first`.
fn cost_at(first: &Target, served: &AttemptRecord) -> Option<Cost> {
    if served.index == first.index && !served.in_last {
        return None;
    }
    served.cost?;
    Some(first.model.prices.as_ref()?.at(served.started).cost(&served.usage.into()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::reason::{Class, Skip};
    use crate::routing::ceiling::Estimate;
    use crate::routing::{SkipRecord, Trail};

    fn skip(target: &str) -> Entry {
        Entry::Skip(SkipRecord {
            aside: None,
            index: 0,
            target: target.into(),
            in_last: false,
            key_number: None,
            skip: Skip::MaxCost,
            ready_at: None,
            cause: None,
            estimate: Estimate::default(),
        })
    }

    fn header(entries: &[Entry]) -> String {
        let mut text = BytesMut::new();
        trail_header(entries, &mut text);
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn the_trail_has_a_line_for_each_attempt_and_skip() {
        let trail = Trail::default();
        let first = trail.begin(0, &"openai/gpt-4o".into(), Instant::now(), Estimate::default());
        trail.update(first, |record| {
            record.outcome = Some(Outcome::Failed(Class::RateLimited));
            record.latency = Duration::from_millis(412);
        });
        let Entry::Skip(record) = skip("gemini/gemini-2.5-flash") else { return };
        trail.skip(record);
        let second = trail.begin(2, &"a/b".into(), Instant::now(), Estimate::default());
        trail.update(second, |record| record.latency = Duration::from_micros(890_900));
        let expected =
            "openai/gpt-4o=rate_limited;412ms, gemini/gemini-2.5-flash=skip:max_cost, a/b=ok;890ms";
        assert_eq!(header(&trail.entries()), expected);
    }

    #[test]
    fn the_trail_is_cut_only_where_it_must() {
        for length in 1..1100 {
            let first = "x".repeat(length);
            let header = header(&[skip(&first), skip("y"), skip("z")]);
            let whole = format!("{first}=skip:max_cost, y=skip:max_cost, z=skip:max_cost");
            assert!(header.len() <= TRAIL_MAX, "{length}: {}", header.len());
            if whole.len() <= TRAIL_MAX {
                assert_eq!(header, whole);
            } else {
                assert!(header.ends_with("...") && !header.starts_with(','), "{header}");
            }
        }
    }
}
