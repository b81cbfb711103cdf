//! The fixtures, and what a dialect makes of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::chat::target::{Able, Quirks, Thinking, ThinkingControls};
use crate::chat::{Answer, ChatRequest, TargetFacts};
use crate::mock;
use crate::providers::compatible::Kind;
use crate::providers::laws::{self, Streamed};
use crate::providers::surface::{Api, Surface};
use crate::providers::{self, Provider, ReplyContext, Unsendable, dropped, untranslatable};
use crate::reason::Failure;
use crate::units::Tokens;
use crate::wire::Frame;

/// The dialect of a folder, or of another of its surfaces, as a configuration would choose it.
fn dialect(folder: &str, api: Option<&str>) -> Arc<dyn Provider> {
    let kind = if api == Some("vertex") { "vertex" } else { folder };
    let kind =
        Kind::find(kind).unwrap_or_else(|| panic!("providers/{kind} has fixtures, and no row of its name"));
    let surface = Surface { api: (api == Some("invoke")).then_some(Api::Invoke), api_version: None };
    // Where the model's name decides, the folder says which it is.
    providers::dialect(kind, &surface, if folder == "gemini" { folder } else { "claude" })
}

/// A model of which nothing is known but its name.
pub fn facts(model: &str) -> TargetFacts {
    TargetFacts {
        model: model.into(),
        max_output: None,
        able: Able::ALL,
        thinking: Thinking::Unknown,
        sampling: true,
        quirks: Quirks::OPENAI,
    }
}

/// One fixture.
pub struct Case {
    pub provider: Arc<dyn Provider>,
    pub path: PathBuf,
    pub target: Target,
}

/// What is known beside a fixture.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Target {
    /// `invoke`, `vertex`: not the folder's usual surface.
    api: Option<String>,
    facts: Facts,
    context: Context,
    pub headers: BTreeMap<String, String>,
}

/// Facts that depart from [`facts`].
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Facts {
    model: Option<String>,
    /// The row of [`compatible`] whose departures it has.
    vendor: Option<String>,
    max_output: Option<u64>,
    /// The model takes sampling fields; absent: yes.
    sampling: Option<bool>,
    /// What the model cannot do.
    unable: Vec<String>,
    thinking: Option<Controls>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Controls {
    Never,
    Controlled {
        #[serde(default)]
        efforts: Vec<String>,
        budget: Option<(u64, Option<u64>)>,
        #[serde(default)]
        can_be_off: bool,
    },
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Context {
    answer_tool: Option<String>,
    renamed_tools: BTreeMap<String, String>,
}

impl Case {
    /// The fixture of this name, e.g. `streams/text.txt`.
    pub fn fixture(folder: &str, name: &str) -> Self {
        let path = root().join(folder).join("fixtures").join(name);
        let target = target(&path);
        Self { provider: dialect(folder, target.api.as_deref()), path, target }
    }

    pub fn bytes(&self) -> Bytes {
        fs::read(&self.path).unwrap().into()
    }

    pub fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }

    pub fn stem(&self) -> &str {
        self.path.file_stem().unwrap().to_str().unwrap()
    }

    /// What comes before the path of a request when the mock plays its provider.
    pub fn door(&self) -> String {
        let folder = self.path.strip_prefix(root()).unwrap().iter().next().unwrap().to_str().unwrap();
        let prefix = Kind::find(folder).unwrap().prefix();
        match self.target.facts.vendor.as_deref() {
            None => prefix.to_owned(),
            Some(vendor) if mock::plays(vendor) => format!("/{vendor}{prefix}"),
            Some(_) => format!("/compatible{prefix}"),
        }
    }

    /// The same request for another provider and a model of its own, about which nothing else is known.
    pub fn sent_elsewhere(&self, folder: &str, model: &str) -> Self {
        let facts = Facts { model: Some(model.to_owned()), ..Facts::default() };
        Self {
            provider: dialect(folder, None),
            path: root().join(folder).join(self.path.file_name().unwrap()),
            target: Target { facts, ..Target::default() },
        }
    }

    fn facts(&self) -> TargetFacts {
        let given = &self.target.facts;
        let mut able = Able::ALL;
        for what in &given.unable {
            *match what.as_str() {
                "tools" => &mut able.tools,
                "parallel_tools" => &mut able.parallel_tools,
                "vision" => &mut able.vision,
                "audio" => &mut able.audio,
                "documents" => &mut able.documents,
                "json_mode" => &mut able.json_mode,
                "json_schema" => &mut able.json_schema,
                "reasoning" => &mut able.reasoning,
                "logprobs" => &mut able.logprobs,
                "n" => &mut able.n,
                "streaming" => &mut able.streaming,
                "prefill" => &mut able.prefill,
                other => panic!("{}: no such ability: {other}", self.name()),
            } = false;
        }
        let thinking = match &given.thinking {
            None => Thinking::Unknown,
            Some(Controls::Never) => Thinking::Never,
            Some(Controls::Controlled { efforts, budget, can_be_off }) => {
                Thinking::Controlled(ThinkingControls {
                    efforts: efforts.clone(),
                    budget: *budget,
                    can_be_off: *can_be_off,
                })
            }
        };
        TargetFacts {
            max_output: given.max_output.map(Tokens::new),
            able,
            thinking,
            sampling: given.sampling.unwrap_or(true),
            quirks: given
                .vendor
                .as_deref()
                .map_or(Quirks::OPENAI, |vendor| Kind::find(vendor).unwrap().quirks),
            ..facts(given.model.as_deref().unwrap_or("model-1"))
        }
    }

    fn context(&self) -> ReplyContext {
        let Context { answer_tool, renamed_tools } = &self.target.context;
        ReplyContext { choices: 1, answer_tool: answer_tool.clone(), renamed_tools: renamed_tools.clone() }
    }

    /// What is sent for a request, as a snapshot shows it.
    pub fn encode(&self, body: Bytes) -> Value {
        let request = match ChatRequest::parse(body) {
            Ok(request) => request,
            Err(invalid) => return json!({ "unreadable": invalid.message, "param": invalid.param }),
        };
        let facts = self.facts();
        let untranslatable = if self.provider.is_pass_through() { None } else { untranslatable(&request) };
        if let Some(what) = untranslatable {
            return json!({ "lacks": what, "known_at_once": true });
        }
        let lacks = self.provider.lacks(&request, &facts);
        let encoded = match self.provider.encode(&request, &facts) {
            Ok(encoded) => encoded,
            Err(Unsendable::Lacks(what)) => return json!({ "lacks": what, "known_at_once": lacks.is_some() }),
            Err(Unsendable::Invalid(invalid)) => {
                return json!({ "invalid": invalid.message, "param": invalid.param });
            }
        };
        let body: Value = serde_json::from_slice(&encoded.body.concat()).expect("what is sent is JSON");
        let (sent, told) = (cap_of(&body), self.provider.most_output(&request, &facts));
        let name = self.name();
        assert!(
            sent.is_some() == told.is_some() && sent <= told,
            "{name}: {told:?} is told, and sent {body}"
        );
        let headers = encoded.headers.iter();
        json!({
            "path": encoded.path,
            "headers": headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect::<Vec<_>>(),
            "dropped": dropped(&*self.provider, &request, &encoded.dropped),
            "answer_tool": encoded.context.answer_tool,
            "renamed_tools": encoded.context.renamed_tools,
            "body": body,
        })
    }

    pub fn decode(&self, body: Bytes) -> Result<Answer, Failure> {
        self.provider.decode(body, &self.facts(), &self.context())
    }

    /// The frames of a good stream.
    pub fn frames(&self, body: &Bytes) -> Vec<Frame> {
        let mut framing = self.provider.framing().decoder();
        framing.push(body.clone());
        std::iter::from_fn(|| framing.finish().unwrap()).collect()
    }

    /// Reads frames as they are.
    pub fn read(&self, frames: &[Frame]) -> Streamed {
        laws::decode(&mut *self.provider.decoder(&self.facts(), &self.context()), frames)
    }

    /// Reads a stream in pieces of at most this many bytes.
    pub fn stream(&self, body: &Bytes, piece: usize) -> Streamed {
        laws::read(&*self.provider, &self.facts(), &self.context(), body, piece)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/providers")
}

/// What is known beside a fixture.
fn target(path: &Path) -> Target {
    let target = fs::read(path.with_extension("target.json")).ok();
    let read =
        |json: Vec<u8>| serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    target.map(read).unwrap_or_default()
}

/// The most that a request lets the model write.
fn cap_of(body: &Value) -> Option<u64> {
    let places = [
        &body["max_completion_tokens"],
        &body["max_tokens"],
        &body["inferenceConfig"]["maxTokens"],
        &body["generationConfig"]["maxOutputTokens"],
    ];
    places.into_iter().find_map(Value::as_u64)
}

/// The fixtures of a kind, of all dialects.
pub fn cases(kind: &str, ending: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in sorted(&root()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for path in sorted(&folder.join("fixtures").join(kind)) {
            let file = path.file_name().unwrap().to_str().unwrap();
            // A binary framing has no text.
            let is_one = file.ends_with(ending)
                || (ending == ".txt" && path.extension().is_some_and(|it| it == "bin"));
            if is_one && !file.ends_with(".target.json") {
                let target = target(&path);
                cases.push(Case { provider: dialect(&name, target.api.as_deref()), path, target });
            }
        }
    }
    assert!(!cases.is_empty(), "there are no {kind}");
    cases
}

pub fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
