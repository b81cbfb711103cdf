//! The last descriptions of images: what was described once is not paid for again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The hash of what was described, and how.
pub type Key = [u8; 32];

/// Descriptions that are known, and those that are being made.
#[derive(Debug, Default)]
pub struct Descriptions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    words: HashMap<Key, Arc<str>>,
    /// From the one that was made first.
    order: VecDeque<Key>,
    /// Of all of them together.
    bytes: usize,
    /// Those that somebody is having made.
    under_way: HashMap<Key, watch::Receiver<()>>,
}

/// How much is kept, in bytes.
const MOST_KEPT: usize = 4 << 20;
/// What one description takes besides its words.
const OVERHEAD: usize = 160;

/// What is known of a description.
#[derive(Debug)]
pub enum Found<'d> {
    Words(Arc<str>),
    /// Somebody is having it made: this ends when that is over, well or not.
    UnderWay(watch::Receiver<()>),
    /// Nobody has it: whoever asked makes it.
    Nothing(Turn<'d>),
}

/// Whoever holds it makes a description, for all who want the same. Dropped, it lets the others go on.
#[derive(Debug)]
pub struct Turn<'d> {
    descriptions: &'d Descriptions,
    key: Key,
    _over: watch::Sender<()>,
}

impl Descriptions {
    /// The words, if they are known.
    pub fn get(&self, key: &Key) -> Option<Arc<str>> {
        self.lock().words.get(key).cloned()
    }

    /// The words, or who makes them.
    pub fn find(&self, key: Key) -> Found<'_> {
        let mut known = self.lock();
        if let Some(words) = known.words.get(&key) {
            return Found::Words(Arc::clone(words));
        }
        if let Some(over) = known.under_way.get(&key) {
            return Found::UnderWay(over.clone());
        }
        let (sender, over) = watch::channel(());
        known.under_way.insert(key, over);
        Found::Nothing(Turn { descriptions: self, key, _over: sender })
    }

    /// Keeps a description, and drops the oldest where there is no room.
    pub fn keep(&self, key: Key, words: Arc<str>) {
        let mut known = self.lock();
        known.bytes += OVERHEAD + words.len();
        if let Some(before) = known.words.insert(key, words) {
            known.bytes -= OVERHEAD + before.len();
        } else {
            known.order.push_back(key);
        }
        while known.bytes > MOST_KEPT {
            let Some(oldest) = known.order.pop_front() else { break };
            known.bytes -= known.words.remove(&oldest).map_or(0, |words| OVERHEAD + words.len());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.descriptions.lock().under_way.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn the_last_descriptions_are_kept_and_no_more_than_there_is_room_for() {
        let known = Descriptions::default();
        let words: Arc<str> = "x".repeat(MOST_KEPT / 4 - OVERHEAD).into();
        (0..6).for_each(|number| known.keep(key(number), Arc::clone(&words)));
        let kept: Vec<usize> = (0..6).filter(|number| known.get(&key(*number)).is_some()).collect();
        assert_eq!(kept, [2, 3, 4, 5]);
        known.keep(key(5), "short".into());
        assert_eq!(known.get(&key(5)).as_deref(), Some("short"));
        known.keep(key(6), "short too".into());
        assert!(known.get(&key(2)).is_some());
        known.keep(key(7), words);
        assert!(known.get(&key(2)).is_none() && known.get(&key(3)).is_some());
    }

    #[test]
    fn short_ones_do_not_add_up_without_end() {
        let known = Descriptions::default();
        (0..100_000).for_each(|number| known.keep(key(number), "x".into()));
        assert_eq!(known.lock().words.len(), MOST_KEPT / (OVERHEAD + 1));
        let order = known.lock().order.len();
        assert_eq!(order, known.lock().words.len());
    }

    #[tokio::test]
    async fn one_makes_it_and_the_others_hear_when_that_is_over() {
        let known = Descriptions::default();
        let Found::Nothing(turn) = known.find(key(0)) else { panic!("nobody has it") };
        let Found::UnderWay(mut over) = known.find(key(0)) else { panic!("somebody makes it") };
        assert!(matches!(known.find(key(1)), Found::Nothing(_)), "another is another's");
        known.keep(key(0), "words".into());
        drop(turn);
        assert!(over.changed().await.is_err());
        assert!(matches!(known.find(key(0)), Found::Words(words) if &*words == "words"));
        drop(known.find(key(2)));
        assert!(matches!(known.find(key(2)), Found::Nothing(_)), "whoever gave up does not block the others");
    }
}
