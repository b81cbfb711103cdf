//! Changes to a request's body that leave every other byte where it is: what was not named is not even copied.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use super::members::Member;
use crate::wire::skim;

/// A changed body in the making. Later changes of the same member win.
pub struct BodyEdit<'a> {
    body: &'a Bytes,
    members: &'a [Member],
    changes: Vec<(usize, Option<String>)>,
    added: Vec<(String, String)>,
}

impl<'a> BodyEdit<'a> {
    /// Starts with nothing of `body` changed; `members` are its top-level members.
    pub(super) fn of(body: &'a Bytes, members: &'a [Member]) -> Self {
        Self { body, members, changes: Vec::new(), added: Vec::new() }
    }

    /// Sets a member to this JSON text: in place if the client sent it, else at the end.
    pub fn set(&mut self, name: &str, json: String) {
        if let Some(at) = self.position(name) {
            self.change(at, Some(json));
        } else {
            self.added.retain(|(added, _)| added != name);
            self.added.push((name.to_owned(), json));
        }
    }

    /// Sets a member to this text.
    pub fn set_text(&mut self, name: &str, text: &str) {
        self.set(name, quoted(text));
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) {
        self.added.retain(|(added, _)| added != name);
        if let Some(at) = self.position(name) {
            self.change(at, None);
        }
    }

    /// Gives a member another name, if the client sent it.
    pub fn rename(&mut self, from: &str, to: &str) {
        let Some(json) = Member::json(self.body, self.members, from) else { return };
        let json = json.to_owned();
        self.remove(from);
        self.set(to, json);
    }

    /// The new body in pieces; what did not change is not copied.
    pub fn finish(self) -> Vec<Bytes> {
        let Self { body, members, mut changes, added } = self;
        // Around each change stands what did not change.
        let room = 2 * (changes.len() + added.len()) + 1;
        let run = 0..members.first().map_or(0, |member| member.lead.start);
        let mut pieces = Pieces { body, done: Vec::with_capacity(room), run };
        let mut first = true;
        for (at, member) in members.iter().enumerate() {
            let change = changes.iter_mut().find(|(other, _)| *other == at).map(|(_, json)| json.take());
            if change == Some(None) {
                continue;
            }
            pieces.range(if first { after_comma(body, &member.lead) } else { member.lead.clone() });
            first = false;
            match change {
                Some(Some(json)) => pieces.text(json),
                _ => pieces.range(member.value.clone()),
            }
        }
        for (name, json) in added {
            let comma = if first { "" } else { "," };
            first = false;
            pieces.text([comma, &quoted(&name), ":", &json].concat());
        }
        pieces.range(members.last().map_or(0, |member| member.value.end)..body.len());
        pieces.finish()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member.is(name, self.body))
    }

    fn change(&mut self, at: usize, json: Option<String>) {
        self.changes.retain(|(other, _)| *other != at);
        self.changes.push((at, json));
    }
}

/// Collects slices of one body and new text; neighbouring slices become one.
struct Pieces<'a> {
    body: &'a Bytes,
    done: Vec<Bytes>,
    run: Range<usize>,
}

impl Pieces<'_> {
    fn range(&mut self, range: Range<usize>) {
        if self.run.end == range.start {
            self.run.end = range.end;
        } else {
            self.flush();
            self.run = range;
        }
    }

    fn text(&mut self, text: String) {
        self.flush();
        self.done.push(Bytes::from(text));
    }

    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        if !run.is_empty() {
            self.done.push(self.body.slice(run));
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.flush();
        self.done
    }
}

/// Text as a JSON string.
fn quoted(text: &str) -> String {
    if skim::is_plain(text.as_bytes()) { ["\"", text, "\""].concat() } else { Value::from(text).to_string() }
}

/// The lead of a member that now stands first: what follows its comma, if it had one.
fn after_comma(body: &Bytes, lead: &Range<usize>) -> Range<usize> {
    let quote = memchr::memchr(b'"', &body[lead.clone()]).unwrap_or(0);
    let comma = memchr::memchr(b',', &body[lead.start..lead.start + quote]);
    comma.map_or(lead.clone(), |at| lead.start + at + 1..lead.end)
}
