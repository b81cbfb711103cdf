//! The top-level members of a request's body: where each stands.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use indexmap::IndexMap;
use indexmap::map::Entry;
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::peek::{self, MessagesPeek};
use super::request::Invalid;
use crate::wire::skim::Skim;

/// One top-level member of the body, as byte ranges.
#[derive(Debug, Clone)]
pub(super) struct Member {
    name: Name,
    /// From the end of the value before it (or the opening brace) to its value: comma, spaces, key, colon.
    pub(super) lead: Range<usize>,
    pub(super) value: Range<usize>,
}

/// The name of a member: where it stands in the body, unless escapes hide it there.
#[derive(Debug, Clone)]
enum Name {
    InPlace(Range<usize>),
    Unescaped(String),
}

impl Member {
    /// Whether this is its name.
    pub(super) fn is(&self, name: &str, body: &Bytes) -> bool {
        match &self.name {
            Name::InPlace(place) => body[place.clone()] == *name.as_bytes(),
            Name::Unescaped(text) => text == name,
        }
    }

    /// Its name.
    pub(super) fn name<'a>(&'a self, body: &'a Bytes) -> &'a str {
        match &self.name {
            Name::InPlace(place) => std::str::from_utf8(&body[place.clone()]).unwrap_or_default(),
            Name::Unescaped(text) => text,
        }
    }

    /// The raw JSON of the member of this name.
    pub(super) fn json<'a>(body: &'a Bytes, members: &[Self], name: &str) -> Option<&'a str> {
        let member = members.iter().find(|member| member.is(name, body))?;
        std::str::from_utf8(&body[member.value.clone()]).ok()
    }
}

/// The body's top-level members in their order, each once.
pub(super) struct TopLevel<'a> {
    pub(super) members: Vec<(Cow<'a, str>, &'a str)>,
    /// What the messages hold, where that could be seen on the way.
    pub(super) messages: Option<MessagesPeek>,
}

impl<'a> TopLevel<'a> {
    /// Reads a body no further than its members, and its messages on the way.
    pub(super) fn parse(body: &'a Bytes) -> Result<Self, Invalid> {
        let text = std::str::from_utf8(body).map_err(|error| Invalid {
            message: format!("The body is not valid UTF-8 (from byte {}).", error.valid_up_to()),
            param: None,
        })?;
        if let Some(top) = Self::skimmed(text) {
            return Ok(top);
        }
        serde_json::from_str(text).map_err(|error| Invalid {
            message: format!("The body is not a JSON object: {error}."),
            param: None,
        })
    }

    /// A body without anything odd.
    pub(super) fn skimmed(text: &'a str) -> Option<Self> {
        /// Beyond as many it takes too long to compare each with all others.
        const MOST: usize = 64;
        let mut members: Vec<(Cow<'a, str>, &'a str)> = Vec::with_capacity(8);
        let mut messages = None;
        Skim::whole(text, |skim| {
            skim.object(|skim, name| {
                if members.len() == MOST || members.iter().any(|(other, _)| other == name) {
                    return None;
                }
                let value = if name == "messages" {
                    let (found, value) = skim.with_text(peek::skimmed::messages)?;
                    messages = Some(found);
                    value
                } else {
                    skim.skip()?
                };
                members.push((Cow::Borrowed(name), value));
                Some(0)
            })
        })?;
        Some(Self { members, messages })
    }
}

impl<'de> Deserialize<'de> for TopLevel<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopLevelVisitor;
        impl<'de> Visitor<'de> for TopLevelVisitor {
            type Value = TopLevel<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: IndexMap<Cow<'de, str>, &'de str> = IndexMap::new();
                while let Some((Key(name), value)) = map.next_entry::<_, &'de RawValue>()? {
                    // Two members of one name mean different things to different parsers.
                    match members.entry(name) {
                        Entry::Vacant(place) => drop(place.insert(value.get())),
                        Entry::Occupied(place) => {
                            let name = place.key();
                            return Err(de::Error::custom(format_args!("the member `{name}` stands twice")));
                        }
                    }
                }
                Ok(TopLevel { members: members.into_iter().collect(), messages: None })
            }
        }
        deserializer.deserialize_map(TopLevelVisitor)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Where the members stand in the text.
pub(super) fn members(body: &Bytes, top: &TopLevel<'_>) -> Vec<Member> {
    let start = body.as_ptr() as usize;
    let place = |text: &str| {
        let at = text.as_ptr() as usize - start;
        at..at + text.len()
    };
    let mut end_of_last = memchr::memchr(b'{', body).map_or(0, |at| at + 1);
    let member = |(name, value): &(Cow<'_, str>, &str)| {
        let name = match name {
            Cow::Borrowed(name) => Name::InPlace(place(name)),
            Cow::Owned(name) => Name::Unescaped(name.clone()),
        };
        let value = place(value);
        let lead = end_of_last..value.start;
        end_of_last = value.end;
        Member { name, lead, value }
    };
    top.members.iter().map(member).collect()
}
