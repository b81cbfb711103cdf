//! What was spent under a budget, bucket by bucket; it outlives the configuration that wrote the budget.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::bucket::Bucket;
use super::window::{Frame, milliseconds};
use super::{BucketStanding, Drawn, Rule, SHARED, SURPLUS, Standing};
use crate::clock;

/// How many buckets a book keeps, beside the surplus.
const KEPT: usize = 10_000;
/// How often, in milliseconds, a full book looks for buckets that nobody needs any more.
const SWEEP: u64 = 1000;

/// The books of all budgets. A book lives as long as a configuration has its budget.
#[derive(Debug, Default)]
pub struct Books(Mutex<HashMap<Title, Weak<Book>>>);

/// A budget's name, and how its rule cuts time and buckets. A configuration that is only tried, and refused in the end,
/// may cut the same budget otherwise: that is another book, and this one stays.
type Title = (Arc<str>, String);

/// One budget's buckets.
#[derive(Debug)]
pub struct Book {
    /// Where several are locked, it is in the order of their numbers.
    number: u64,
    pages: Mutex<Pages>,
}

/// The buckets of a book while they are looked at.
#[derive(Debug, Default)]
pub struct Pages {
    pub frame: Frame,
    buckets: HashMap<Arc<str>, Bucket>,
    /// When it is worth looking for empty buckets again.
    next_sweep: u64,
}

impl Books {
    /// The book of a rule. A rule that cuts time or buckets otherwise than before has another one.
    pub fn open(&self, rule: &Rule) -> Arc<Book> {
        let shape = format!("{:?} {:?} {:?}", rule.window, rule.each, rule.counts);
        let title = (Arc::clone(&rule.name), shape);
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(book) = books.get(&title).and_then(Weak::upgrade) {
            return book;
        }
        books.retain(|_, book| book.strong_count() > 0);
        let book = Arc::new(Book::new());
        books.insert(title, Arc::downgrade(&book));
        book
    }
}

impl Book {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), pages: Mutex::default() }
    }

    /// Its place in the order in which books are locked.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its buckets as they are now. With several books: in the order of their numbers.
    pub fn pages(&self, rule: &Rule) -> MutexGuard<'_, Pages> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        if now >= pages.frame.until {
            pages.frame = rule.window.frame(now);
        }
        pages
    }

    /// What is used now, with at most so many buckets.
    pub fn standing(&self, rule: &Rule, most: usize) -> Standing {
        let mut pages = self.pages(rule);
        let frame = pages.frame;
        let mut buckets: Vec<BucketStanding> = pages
            .buckets
            .iter_mut()
            .map(|(name, bucket)| {
                bucket.roll(&frame);
                let (spent, reserved) = (bucket.spent(), bucket.reserved());
                let used_ratio = rule.limits.used_ratio(spent);
                BucketStanding { name: Arc::clone(name), spent, reserved, used_ratio }
            })
            .collect();
        buckets.sort_by(|a, b| b.used_ratio.total_cmp(&a.used_ratio).then_with(|| a.name.cmp(&b.name)));
        let standing = Standing {
            used_ratio: buckets.first().map_or(0.0, |bucket| bucket.used_ratio),
            live_buckets: buckets.len(),
            has_surplus: pages.buckets.contains_key(SURPLUS),
            resets_at: frame.lasts.is_none().then(|| Duration::from_millis(frame.until)),
            buckets: Vec::new(),
        };
        buckets.truncate(most);
        Standing { buckets, ..standing }
    }

    /// Forgets what was spent, but neither what is reserved nor who waits.
    pub fn clear(&self, rule: &Rule) {
        self.pages(rule).buckets.values_mut().for_each(Bucket::clear);
    }

    /// Counts what was drawn earlier, as far as it still counts.
    pub fn refill(&self, rule: &Rule, drawn: &Drawn) {
        let slot = rule.window.frame(milliseconds(drawn.at)).slot;
        let mut pages = self.pages(rule);
        if slot >= pages.frame.since {
            // It may have been drawn when buckets were still told apart.
            let bucket = if rule.each.is_none() { SHARED.into() } else { Arc::clone(&drawn.bucket) };
            let (_, bucket) = pages.bucket(&bucket);
            bucket.spend(drawn.amounts, slot);
        }
    }
}

impl Pages {
    /// The bucket of this name, or where there are too many, that of the surplus; with its own name.
    pub fn bucket(&mut self, name: &Arc<str>) -> (Arc<str>, &mut Bucket) {
        let name = if self.has_room_for(name) { Arc::clone(name) } else { SURPLUS.into() };
        let bucket = self.buckets.entry(Arc::clone(&name)).or_default();
        bucket.roll(&self.frame);
        (name, bucket)
    }

    /// The bucket that a request with this name would find, if there is one already; none is made.
    pub fn seen(&mut self, name: &str) -> Option<&mut Bucket> {
        let is_known = self.buckets.contains_key(name) || self.buckets.len() < KEPT;
        self.known(if is_known { name } else { SURPLUS })
    }

    /// A bucket that is known to be there.
    pub fn known(&mut self, name: &str) -> Option<&mut Bucket> {
        let bucket = self.buckets.get_mut(name)?;
        bucket.roll(&self.frame);
        Some(bucket)
    }

    fn has_room_for(&mut self, name: &Arc<str>) -> bool {
        if self.buckets.len() < KEPT || self.buckets.contains_key(name) {
            return true;
        }
        let now = now();
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            let frame = self.frame;
            self.buckets.retain(|_, bucket| {
                bucket.roll(&frame);
                !bucket.is_empty()
            });
        }
        self.buckets.len() < KEPT
    }
}

/// Milliseconds since the Unix epoch.
pub fn now() -> u64 {
    milliseconds(clock::since_epoch())
}
