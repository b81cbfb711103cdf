//! What becomes of one field of a request: the same request with it and without it, written for a target.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::columns::Column;
use super::difference::{Change, changes, leaves};
use crate::chat::{ChatRequest, TargetFacts};
use crate::mock;
use crate::providers::{Provider, Unsendable, dropped, untranslatable};

/// Text that must arrive as it is begins so.
pub const MARK: &str = "probe-";
/// The names of tools that were changed.
pub const RENAMED: &str = "renamed";
/// So many places are named; more are counted.
const MOST_PLACES: usize = 2;

/// One feature of a request.
pub struct Probe {
    pub name: &'static str,
    /// Members of the request without the feature.
    without: Value,
    /// Members that the feature adds, or puts in the place of others.
    with: Value,
    /// Where a difference says that the feature is made of something else: a piece of it, and the words for it.
    how: Vec<(&'static str, &'static str)>,
    /// What it means that nothing changes, where that is as it should be.
    unchanged: Option<Fate>,
}

/// What becomes of a feature at a target.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    Kept(Vec<String>),
    Emulated {
        how: &'static str,
        places: Vec<String>,
    },
    Dropped(Vec<String>),
    /// It means nothing to this target.
    LeftOut,
    Skipped(Cow<'static, str>),
    Refused,
    /// The client's own words go through, and the provider refuses them.
    RefusedThere,
    /// Nothing of it reaches the target, and the client is not told.
    Lost(String),
}

/// What goes upstream.
struct Sent {
    body: Value,
    /// The body with all that is beside it.
    message: Value,
    dropped: Vec<String>,
}

impl Probe {
    /// A feature that these members of a request make.
    pub fn new(name: &'static str, with: Value) -> Self {
        Self { name, without: json!({}), with, how: Vec::new(), unchanged: None }
    }

    /// What the request has without the feature.
    pub fn beside(self, without: Value) -> Self {
        Self { without, ..self }
    }

    /// A difference that holds `piece` means that the feature is emulated.
    pub fn how(mut self, piece: &'static str, words: &'static str) -> Self {
        self.how.push((piece, words));
        self
    }

    /// Piton itself does it.
    pub fn by_piton(self) -> Self {
        Self { unchanged: Some(Fate::Kept(vec!["by Piton".to_owned()])), ..self }
    }

    /// What is left out without a word is meant to be.
    pub fn may_be_left_out(self) -> Self {
        Self { unchanged: Some(Fate::LeftOut), ..self }
    }

    /// It asks for what is so anyway.
    pub fn default_value(self) -> Self {
        Self { unchanged: Some(Fate::Kept(vec!["(the default)".to_owned()])), ..self }
    }

    /// What becomes of it in a column.
    pub fn fate(&self, column: &Column) -> Fate {
        let (provider, facts) = column.target();
        let (without, with) = (body(&[&self.without]), body(&[&self.without, &self.with]));
        let before = match send(&*provider, &facts, &without) {
            Ok(sent) => sent,
            // What it stands on is lacking.
            Err(fate) => return fate,
        };
        let after = match send(&*provider, &facts, &with) {
            Ok(sent) => sent,
            Err(fate) => return fate,
        };
        let own = leaves(&with);
        let dropped: Vec<String> =
            after.dropped.into_iter().filter(|name| !before.dropped.contains(name)).collect();
        let changes = changes(&before.message, &after.message);
        let is_put = changes.iter().any(|change| !change.is_removal());
        if !dropped.is_empty() && !is_put {
            return Fate::Dropped(dropped);
        }
        if changes.is_empty() {
            return self.unchanged.clone().unwrap_or_else(|| Fate::Lost("nothing changed".into()));
        }
        let (door, path) = (column.door, after.message["path"].as_str().unwrap());
        if let Err(refusal) = mock::verdict(&format!("{door}{path}"), &after.body) {
            let is_theirs = provider.is_pass_through();
            return if is_theirs { Fate::RefusedThere } else { Fate::Lost(format!("{refusal:?}")) };
        }
        let text = after.message.to_string();
        let marked = own.iter().filter_map(Value::as_str).filter(|word| word.starts_with(MARK));
        if let Some(word) = marked.into_iter().find(|word| !text.contains(word)) {
            return Fate::Lost(format!("`{word}` did not arrive: {changes:?}"));
        }
        let evidence: Vec<String> = changes
            .iter()
            .map(|Change { place, now }| format!("{place}={}", now.as_ref().unwrap_or(&Value::Null)))
            .collect();
        let mut places = places(&changes, &own);
        places.extend(dropped.iter().map(|name| format!("dropped `{name}`")));
        let how = self.how.iter().find(|(piece, _)| evidence.iter().any(|change| change.contains(piece)));
        match how {
            Some((_, how)) => Fate::Emulated { how, places },
            None => Fate::Kept(places),
        }
    }
}

impl Fate {
    /// The cell of a table.
    pub fn cell(&self) -> String {
        let with = |word: &str, places: &[String]| {
            if places.is_empty() { word.to_owned() } else { format!("{word} {}", places.join(", ")) }
        };
        match self {
            Self::Kept(places) => with("kept", places),
            Self::Emulated { how, places } => with(&format!("emulated: {how};"), places),
            Self::Dropped(names) => format!("dropped (`{}`)", names.join("`, `")),
            Self::LeftOut => "left out".to_owned(),
            Self::Skipped(what) => format!("skipped: `capability:{what}`"),
            Self::Refused => "refused: `invalid_request`".to_owned(),
            Self::RefusedThere => "refused by the provider: `invalid_request`".to_owned(),
            Self::Lost(why) => format!("LOST: {why}"),
        }
    }
}

fn body(patches: &[&Value]) -> Value {
    let mut body = json!({ "model": "chain", "messages": [{ "role": "user", "content": "Hello" }] });
    for (name, value) in patches.iter().filter_map(|patch| patch.as_object()).flatten() {
        body[name] = value.clone();
    }
    body
}

/// As a target is judged, and then asked.
fn send(provider: &dyn Provider, facts: &TargetFacts, body: &Value) -> Result<Sent, Fate> {
    let request = ChatRequest::parse(body.to_string().into()).map_err(|_| Fate::Refused)?;
    let translated = !provider.is_pass_through();
    let lacks = translated.then(|| untranslatable(&request)).flatten();
    let out_of_reach = || request.image_urls().iter().any(|url| !provider.fetches(url, facts));
    let lacks = lacks.or_else(|| provider.lacks(&request, facts));
    if let Some(what) = lacks.or_else(|| out_of_reach().then_some("image_url")) {
        return Err(Fate::Skipped(what.into()));
    }
    let encoded = provider.encode(&request, facts).map_err(|unsendable| match unsendable {
        Unsendable::Lacks(what) => Fate::Skipped(what.into()),
        Unsendable::Invalid(_) => Fate::Refused,
    })?;
    let body: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
    let mut message = body.as_object().cloned().unwrap();
    message.insert("path".into(), encoded.path.clone().into());
    let headers: Map<String, Value> = encoded
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    message.insert("header".into(), headers.into());
    for (sent, ours) in encoded.context.renamed_tools {
        message.insert(RENAMED.into(), json!({ sent: ours }));
    }
    let dropped = dropped(provider, &request, &encoded.dropped);
    let dropped = dropped.into_iter().map(Cow::into_owned).collect();
    Ok(Sent { body, message: message.into(), dropped })
}

/// The places of the differences in code marks, each once; those that only lost something last.
fn places(changes: &[Change], own: &[Value]) -> Vec<String> {
    let (gone, put): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(|change| change.is_removal());
    let mut places: Vec<String> = Vec::new();
    let put: Vec<&&Change> = put.iter().filter(|change| !change.place.starts_with(RENAMED)).collect();
    let shown = put.iter().map(|change| format!("`{}`", change.shown(own)));
    let gone = gone.iter().map(|change| format!("no `{}`", change.place)).filter(|_| put.is_empty());
    for place in shown.chain(gone) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let more = places.len().saturating_sub(MOST_PLACES);
    if more > 0 {
        places.truncate(MOST_PLACES);
        places.push(format!("and {more} more"));
    }
    places
}
