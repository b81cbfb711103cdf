//! The last receipts, in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many are kept.
const KEPT: usize = 10_000;

/// The receipts of the last requests by id. Ids come from clients, so several callers may use the same one: each
/// keeps its own receipt.
#[derive(Debug, Default)]
pub struct Receipts(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    by_id: HashMap<Arc<str>, Vec<Receipt>>,
    order: VecDeque<(Arc<str>, Option<Arc<str>>)>,
}

#[derive(Debug)]
struct Receipt {
    /// The caller's key.
    key: Option<Arc<str>>,
    json: String,
}

/// Who asks for a receipt.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// Sees all.
    Admin,
    /// Sees its own.
    Key(&'a str),
}

impl Receipts {
    /// Files a receipt; the same caller's older one of the same id goes, and beyond the limit the oldest.
    pub fn file(&self, id: &str, key: Option<Arc<str>>, json: String) {
        let mut shelf = self.lock();
        let id: Arc<str> = Arc::from(id);
        let of_id = shelf.by_id.entry(Arc::clone(&id)).or_default();
        if let Some(older) = of_id.iter_mut().find(|receipt| receipt.key == key) {
            older.json = json;
            return;
        }
        of_id.push(Receipt { key: key.clone(), json });
        shelf.order.push_back((id, key));
        if shelf.order.len() > KEPT {
            shelf.drop_oldest();
        }
    }

    /// The receipt of this id that the reader may see; the newest, if several.
    pub fn find(&self, id: &str, reader: Reader<'_>) -> Option<String> {
        let shelf = self.lock();
        let visible = shelf.by_id.get(id)?.iter().rev().find(|receipt| match reader {
            Reader::Admin => true,
            Reader::Key(key) => receipt.key.as_deref() == Some(key),
        });
        visible.map(|receipt| receipt.json.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn drop_oldest(&mut self) {
        let Some((id, key)) = self.order.pop_front() else { return };
        if let Some(of_id) = self.by_id.get_mut(&id) {
            of_id.retain(|receipt| receipt.key != key);
            if of_id.is_empty() {
                self.by_id.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_with_the_same_id_do_not_see_each_other() {
        let receipts = Receipts::default();
        receipts.file("x", Some("a".into()), "1".into());
        receipts.file("x", Some("b".into()), "2".into());
        assert_eq!(receipts.find("x", Reader::Key("a")).as_deref(), Some("1"));
        assert_eq!(receipts.find("x", Reader::Key("b")).as_deref(), Some("2"));
        assert_eq!(receipts.find("x", Reader::Key("c")), None);
        assert_eq!(receipts.find("x", Reader::Admin).as_deref(), Some("2"));
    }

    #[test]
    fn only_the_last_are_kept() {
        let receipts = Receipts::default();
        (0..=KEPT).for_each(|n| receipts.file(&n.to_string(), None, "{}".into()));
        assert_eq!(receipts.find("0", Reader::Admin), None);
        assert!(receipts.find("1", Reader::Admin).is_some());
    }
}
