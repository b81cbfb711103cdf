//! Names and ids that the API takes, for those that it does not, and the way back.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The longest id of a call that is passed on as it is; all providers' own are shorter.
const ID: usize = 64;

/// What one request calls its tools and its calls. The same request always gives the same names: a changed
/// byte would miss the provider's prompt cache.
#[derive(Debug)]
pub struct Naming {
    rules: Rules,
    renamed: BTreeMap<String, String>,
    ids: HashMap<String, Sent>,
    taken: HashSet<String>,
    /// The last that was named is a result: the next call is of another turn.
    is_answering: bool,
}

/// The ids under which calls of one id were sent.
#[derive(Debug, Default)]
struct Sent {
    /// Those of the last turn without a result, in order.
    open: VecDeque<String>,
    last: String,
}

/// What an API takes: letters, digits, `_` and `-` everywhere, and these.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The longest tool name.
    pub longest_name: usize,
    /// More characters that may stand in an id.
    pub in_ids: &'static str,
}

impl Rules {
    /// The Messages API's.
    pub const MESSAGES: Self = Self { longest_name: 128, in_ids: "" };
}

impl Naming {
    /// Nothing is named yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            renamed: BTreeMap::new(),
            ids: HashMap::new(),
            taken: HashSet::new(),
            is_answering: false,
        }
    }

    /// The name under which a tool is sent.
    pub fn tool<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        let longest = self.rules.longest_name;
        if is_word(name, "") && name.len() <= longest {
            return name.into();
        }
        let mut sent: String = name.chars().map(|c| if is_word_char(c) { c } else { '_' }).collect();
        sent.truncate(longest - 9);
        let sent = format!("{sent}_{}", digest(&[name], 4));
        self.renamed.insert(sent.clone(), name.to_owned());
        sent.into()
    }

    /// The id under which a call of the history is sent. Some providers repeat their ids from turn to turn;
    /// here every call needs its own.
    pub fn call(&mut self, id: &str) -> String {
        let mut sent = id.to_owned();
        let mut repeated = 0;
        while !is_word(&sent, self.rules.in_ids) || sent.len() > ID || self.taken.contains(&sent) {
            sent = format!("toolu_{}", digest(&[id, &repeated.to_string()], 12));
            repeated += 1;
        }
        self.taken.insert(sent.clone());
        if std::mem::take(&mut self.is_answering) {
            self.ids.values_mut().for_each(|sent| sent.open.clear());
        }
        let of_this_id = self.ids.entry(id.to_owned()).or_default();
        of_this_id.open.push_back(sent.clone());
        of_this_id.last.clone_from(&sent);
        sent
    }

    /// The id of the call that a result answers: of several calls of that id the first of the last turn that has
    /// no result.
    pub fn result(&mut self, id: &str) -> String {
        self.is_answering = true;
        let Some(sent) = self.ids.get_mut(id) else { return id.to_owned() };
        sent.open.pop_front().unwrap_or_else(|| sent.last.clone())
    }

    /// What was sent instead, to what the client calls it.
    pub fn into_renamed(self) -> BTreeMap<String, String> {
        self.renamed
    }
}

fn is_word(text: &str, more: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| is_word_char(c) || more.contains(c))
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The first `bytes` bytes of a hash, in hexadecimal.
fn digest(parts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut hex = String::new();
    for byte in hash.finalize().iter().take(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_names_are_sent_as_good_ones_and_found_again() {
        let mut naming = Naming::new(Rules::MESSAGES);
        assert_eq!(naming.tool("get_weather-2"), "get_weather-2");
        let long = "x".repeat(200);
        for strange in ["api.get", "api get", "wetter·ö", "", &long] {
            let sent = naming.tool(strange).into_owned();
            assert!(is_word(&sent, "") && sent.len() <= Rules::MESSAGES.longest_name, "{sent}");
            assert_eq!(naming.tool(strange), sent.as_str());
            assert_eq!(naming.renamed[&sent], strange);
        }
        assert_eq!(naming.into_renamed().len(), 5);
    }

    #[test]
    fn every_call_gets_its_own_id_and_results_find_it() {
        let mut naming = Naming::new(Rules::MESSAGES);
        assert_eq!(naming.call("toolu_01"), "toolu_01");
        let first = naming.call("call:1");
        assert!(is_word(&first, ""));
        assert_eq!(naming.result("call:1"), first);
        let again = naming.call("toolu_01");
        assert_ne!(again, "toolu_01");
        assert_eq!(naming.result("toolu_01"), again);
        assert_eq!(Naming::new(Rules::MESSAGES).call("call:1"), first);
    }

    #[test]
    fn calls_of_one_id_in_one_turn_get_their_results_in_order() {
        let mut naming = Naming::new(Rules::MESSAGES);
        let lost = naming.call("a");
        naming.result("a");
        let (first, second) = (naming.call("a"), naming.call("a"));
        assert_eq!([naming.result("a"), naming.result("a")], [first, second.clone()]);
        assert_eq!(naming.result("a"), second, "one result too many");
        let (unanswered, _) = (naming.call("b"), naming.call("a"));
        naming.result("a");
        let later = naming.call("b");
        assert_eq!(naming.result("b"), later);
        assert!(lost != later && unanswered != later);
    }
}
