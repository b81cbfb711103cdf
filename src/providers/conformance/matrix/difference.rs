//! What one JSON has that another has not: where a field of the client's went.

use std::fmt::Write;

use serde_json::Value;

use super::probe::MARK;

/// Longer words than these are not shown.
const LONGEST_SHOWN: usize = 26;
/// A new object outside lists is taken apart if it has no more members.
const FEW: usize = 3;

/// One place in which two bodies differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `messages[].content[image]`: elements of lists are told apart by type or role at most.
    pub place: String,
    /// What stands there now; `None`: nothing any more.
    pub now: Option<Value>,
}

/// The places in which the second differs from the first, in the order of the second.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), before, after, &mut found);
    found
}

impl Change {
    /// Whether nothing was put there.
    pub fn is_removal(&self) -> bool {
        self.now.is_none()
    }

    /// The place, and the word that stands there unless it is one of the client's own.
    pub fn shown(&self, own: &[Value]) -> String {
        let mut shown = self.place.clone();
        match &self.now {
            Some(now @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) if !own.contains(now) => {
                let word = now.to_string();
                if word.len() <= LONGEST_SHOWN && !word.contains(MARK) {
                    let _ = write!(shown, ": {word}");
                }
            }
            _ => {}
        }
        shown
    }
}

/// Everything in a value that is neither list nor object.
pub fn leaves(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements.iter().flat_map(leaves).collect(),
        Value::Object(members) => members.values().flat_map(leaves).collect(),
        leaf => vec![leaf.clone()],
    }
}

fn compare(place: String, before: &Value, after: &Value, found: &mut Vec<Change>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                match old.get(name) {
                    Some(old) => compare(member(&place, name), old, value, found),
                    None => added(member(&place, name), value, found),
                }
            }
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                found.push(Change { place: member(&place, name), now: None });
            }
        }
        (Value::Array(old), Value::Array(new)) => compare_lists(&place, old, new, found),
        (_, new) => added(place, new, found),
    }
}

/// What both have is passed over; what stands between is compared one by one.
fn compare_lists(place: &str, old: &[Value], new: &[Value], found: &mut Vec<Change>) {
    let (mut old_at, mut new_at) = (0, 0);
    for (old_next, new_next) in common(old, new).into_iter().chain([(old.len(), new.len())]) {
        let (gone, come) = (&old[old_at..old_next], &new[new_at..new_next]);
        for at in 0..gone.len().max(come.len()) {
            match (gone.get(at), come.get(at)) {
                (Some(gone), Some(come)) => compare(element(place, come), gone, come, found),
                (None, Some(come)) => added(element(place, come), come, found),
                (Some(gone), None) => found.push(Change { place: element(place, gone), now: None }),
                (None, None) => {}
            }
        }
        (old_at, new_at) = (old_next + 1, new_next + 1);
    }
}

/// The indices of the longest run of elements, in order, that both lists have.
fn common(old: &[Value], new: &[Value]) -> Vec<(usize, usize)> {
    let mut best = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            best[i][j] =
                if old[i] == new[j] { best[i + 1][j + 1] + 1 } else { best[i + 1][j].max(best[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[i + 1][j] >= best[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// A new value is named by as much of it as has but one way down.
fn added(place: String, value: &Value, found: &mut Vec<Change>) {
    match value {
        Value::Object(members)
            if members.len() == 1 || !place.contains('[') && (1..=FEW).contains(&members.len()) =>
        {
            members.iter().for_each(|(name, inner)| added(member(&place, name), inner, found));
        }
        Value::Array(elements) => match elements.as_slice() {
            [only] => added(element(&place, only), only, found),
            _ => found.push(Change { place, now: Some(value.clone()) }),
        },
        leaf => found.push(Change { place, now: Some(leaf.clone()) }),
    }
}

fn member(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

fn element(place: &str, value: &Value) -> String {
    let kind = ["type", "role"].iter().find_map(|name| value.get(name)?.as_str()).unwrap_or_default();
    format!("{place}[{kind}]")
}

#[test]
fn differences_are_named_by_their_place() {
    use serde_json::json;
    let before = json!({"a": 1, "list": [{"x": 1}, {"x": 2}], "gone": true});
    let after =
        json!({"a": 2, "list": [{"type": "new"}, {"x": 1}, {"x": 3}], "deep": {"down": [{"seed": 7}]}});
    let shown: Vec<String> =
        changes(&before, &after).iter().map(|change| change.shown(&[json!(7)])).collect();
    assert_eq!(shown, ["a: 2", "list[new].type: \"new\"", "list[].x: 3", "deep.down[].seed", "gone"]);
    assert_eq!(changes(&before, &before), []);
    assert_eq!(leaves(&before).len(), 4);
}
