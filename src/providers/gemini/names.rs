//! Tool names as Gemini takes them: they start with a letter or an underscore, go on with letters, digits and
//! `_ . : -`, and have 64 characters at most. OpenAI's may start with a digit or a hyphen.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::chat::Conversation;
use crate::chat::conversation::{Message, ToolChoice};

const MAX_LENGTH: usize = 64;
/// What is kept of a name that is too long: the rest is an underscore and the start of a hash.
const KEPT: usize = 55;

/// The names that had to change.
#[derive(Debug, Default)]
pub struct Names {
    /// The client's name to the one that is sent.
    sent: BTreeMap<String, String>,
}

impl Names {
    /// Looks at every place of a conversation where a tool is named.
    pub fn of(conversation: &Conversation) -> Self {
        let tools = conversation.tools.iter().filter_map(|tool| tool.function.as_ref());
        let calls = conversation.messages.iter().filter_map(|message| match message {
            Message::Assistant(message) => Some(&message.tool_calls),
            Message::System(_) | Message::User(_) | Message::Tool(_) => None,
        });
        let chosen: Vec<&str> = match &conversation.tool_choice {
            Some(ToolChoice::Function(name)) => vec![name],
            Some(ToolChoice::Allowed { names, .. }) => names.iter().map(String::as_str).collect(),
            Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required) | None => Vec::new(),
        };
        let named = tools.map(|tool| tool.name.as_str());
        let called = calls.flatten().map(|call| call.function.name.as_str());
        named.chain(called).chain(chosen).collect()
    }

    /// The name that is sent for the client's.
    pub fn sent<'a>(&self, name: &'a str) -> Cow<'a, str> {
        self.sent.get(name).map_or(Cow::Borrowed(name), |sent| Cow::Owned(sent.clone()))
    }

    /// What was sent, to what the client calls it.
    pub fn renamed(self) -> BTreeMap<String, String> {
        self.sent.into_iter().map(|(client, sent)| (sent, client)).collect()
    }
}

impl<'a> FromIterator<&'a str> for Names {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let names: BTreeSet<&str> = names.into_iter().collect();
        if names.is_empty() {
            return Self::default();
        }
        let (valid, invalid): (BTreeSet<&str>, BTreeSet<&str>) =
            names.into_iter().partition(|name| is_valid(name));
        let mut taken: BTreeSet<String> = valid.into_iter().map(str::to_owned).collect();
        let mut sent = BTreeMap::new();
        for name in invalid {
            let mut candidate = mend(name);
            if taken.contains(&candidate) {
                candidate = shorten(&candidate, name);
            }
            taken.insert(candidate.clone());
            sent.insert(name.to_owned(), candidate);
        }
        Self { sent }
    }
}

fn is_valid(name: &str) -> bool {
    name.len() <= MAX_LENGTH
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(is_allowed)
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-')
}

fn mend(name: &str) -> String {
    let mut mended: String = name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    if !mended.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        mended.insert(0, '_');
    }
    if mended.len() > MAX_LENGTH { shorten(&mended, name) } else { mended }
}

/// The start of a name and of a hash of all of it, so that two long names stay two.
fn shorten(mended: &str, name: &str) -> String {
    let hash = Sha256::digest(name);
    let start = &mended[..mended.len().min(KEPT)];
    format!("{start}_{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_only_where_they_must_and_stay_apart() {
        let long = "x".repeat(65);
        let clients = ["get_weather", "a.b:c-d", "2fa", "_2fa", "-x", "größe", "", &long];
        let names: Names = clients.into_iter().collect();
        assert_eq!(names.sent("get_weather"), "get_weather");
        assert_eq!(names.sent("a.b:c-d"), "a.b:c-d");
        assert_eq!(names.sent("-x"), "_-x");
        assert_eq!(names.sent("größe"), "gr__e");
        assert_eq!(names.sent(""), "_");
        assert!(names.sent("2fa").starts_with("_2fa_"), "`_2fa` is another tool: {}", names.sent("2fa"));
        let sent: BTreeSet<String> = clients.iter().map(|name| names.sent(name).into_owned()).collect();
        assert_eq!(sent.len(), clients.len());
        assert!(sent.iter().all(|name| is_valid(name)), "{sent:?}");
        for (sent, client) in clients.into_iter().collect::<Names>().renamed() {
            assert_eq!(names.sent(&client), sent);
        }
    }
}
