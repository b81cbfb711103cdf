//! A list that mostly has one entry, such as the choices of a chunk: a single entry stands in place, without an
//! allocation of its own.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// None, one, or more of something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Few<T> {
    #[default]
    None,
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    /// Appends an entry.
    pub fn push(&mut self, entry: T) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(entry),
            Self::One(first) => Self::Many(vec![first, entry]),
            Self::Many(mut entries) => {
                entries.push(entry);
                Self::Many(entries)
            }
        };
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Self::None => (None, Vec::new()),
            Self::One(entry) => (Some(entry), Vec::new()),
            Self::Many(entries) => (None, entries),
        };
        one.into_iter().chain(many)
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut few = Self::None;
        entries.into_iter().for_each(|entry| few.push(entry));
        few
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FewVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
            type Value = Few<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Few<T>, A::Error> {
                let mut few = Few::None;
                while let Some(entry) = seq.next_element()? {
                    few.push(entry);
                }
                Ok(few)
            }
        }
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_entries_keeps_its_order() {
        for entries in [vec![], vec![7], vec![7, 8], vec![7, 8, 9]] {
            let few: Few<u32> = entries.iter().copied().collect();
            assert_eq!(*few, *entries);
            let read: Few<u32> = serde_json::from_str(&serde_json::to_string(&entries).unwrap()).unwrap();
            assert_eq!(read, few);
            assert_eq!(few.into_iter().collect::<Vec<_>>(), entries);
        }
        assert!(serde_json::from_str::<Few<u32>>("{}").is_err());
        assert!(serde_json::from_str::<Few<u32>>("[1,true]").is_err());
    }
}
