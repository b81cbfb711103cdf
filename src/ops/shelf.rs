//! The last receipts, in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::packed;
use super::receipt::Receipt;

/// How many are kept.
const KEPT: usize = 10_000;

/// The last receipts that no ledger takes. One is filed for every request and hardly ever asked for: so there is no
/// index, and whoever asks looks through them. Ids come from clients, so several callers may use the same one: each
/// finds its own receipt.
#[derive(Debug)]
pub struct Receipts(Mutex<VecDeque<Filed>>);

#[derive(Debug)]
struct Filed {
    /// The end of its id. To look through the shelf is to compare these.
    tag: u64,
    packed: Box<[u8]>,
}

/// Who asks for a receipt.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// Sees all.
    Admin,
    /// Sees its own.
    Key(&'a str),
}

impl Default for Receipts {
    fn default() -> Self {
        // All the room at once: growing would copy it, and end with more than is used.
        Self(Mutex::new(VecDeque::with_capacity(KEPT)))
    }
}

impl Receipts {
    /// Files a receipt; beyond the limit the oldest goes.
    pub fn file(&self, receipt: &Receipt) {
        let packed = packed::pack(receipt, |packed| Box::from(packed));
        let filed = Filed { tag: tag(&receipt.origin.request_id), packed };
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if shelf.len() == KEPT { shelf.pop_front() } else { None };
        shelf.push_back(filed);
        drop(shelf);
        // Taken apart when nobody waits for the shelf any more.
        drop(oldest);
    }

    /// The newest receipt of this id that the reader may see, as callers read it.
    pub fn find(&self, id: &str, reader: Reader<'_>) -> Option<Value> {
        let wanted = tag(id);
        let shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest_first = shelf.iter().rev().filter(|filed| filed.tag == wanted);
        newest_first.find_map(|filed| packed::told(&filed.packed, id, reader))
    }
}

/// The last eight bytes, where ids differ most.
fn tag(id: &str) -> u64 {
    id.bytes().rev().take(8).fold(0, |tag, byte| tag << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::sample;
    use crate::routing::{Origin, Trail};

    fn receipt(id: &str, key: Option<&str>, status: u16) -> Receipt {
        let origin = Origin { request_id: id.into(), key: key.map(Into::into), ..Origin::default() };
        Receipt { status, ..sample(origin, Trail::default(), 0) }
    }

    #[test]
    fn callers_with_the_same_id_do_not_see_each_other() {
        let receipts = Receipts::default();
        let file = |receipt: Receipt| receipts.file(&receipt);
        file(receipt("x", Some("a"), 201));
        file(receipt("x", Some("b"), 202));
        let status = |reader| receipts.find("x", reader).and_then(|receipt| receipt["status"].as_u64());
        assert_eq!(status(Reader::Key("a")), Some(201));
        assert_eq!(status(Reader::Key("b")), Some(202));
        assert_eq!(status(Reader::Key("c")), None);
        assert_eq!(status(Reader::Admin), Some(202));
        file(receipt("x", Some("a"), 203));
        assert_eq!(status(Reader::Key("a")), Some(203));
        assert_eq!(status(Reader::Key("b")), Some(202));
    }

    #[test]
    fn only_the_last_are_kept_and_all_of_them_are_found() {
        let receipts = Receipts::default();
        (0..=KEPT).for_each(|n| receipts.file(&receipt(&format!("a-rather-long-id-{n}-of-many"), None, 200)));
        let find = |n: usize| receipts.find(&format!("a-rather-long-id-{n}-of-many"), Reader::Admin);
        assert!(find(0).is_none());
        for n in [1, 2, KEPT / 2, KEPT] {
            assert_eq!(find(n).unwrap()["id"], format!("a-rather-long-id-{n}-of-many"));
        }
        assert_eq!(receipts.0.lock().unwrap().capacity(), KEPT);
    }
}
