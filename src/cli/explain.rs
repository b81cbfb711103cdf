//! `piton explain`: what a request would do, and why, without a call.

use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::check::{aligned, complain, counted, grouped, print, unknown};
use crate::chat::Operation;
use crate::config::gateway::{CallerKey, Gateway};
use crate::config::locate::locate;
use crate::config::value::lasting;
use crate::config::{Runtime, Source, Surroundings, diagnostic, load, nearest};
use crate::routing::ceiling::Estimate;
use crate::routing::describe::Outlook as Description;
use crate::routing::explain::{Explanation, First, Judged};
use crate::server::{ApiError, Look, Outlook};

const EXAMPLE: &str = "\
Example: piton explain --model primary-chat -m 'How high is the Matterhorn?'
         piton explain --file request.json --key checkout --max-cost 0.01 --json

Exit code: 0 if a target would be asked, 1 if none would be.";

/// Says what a request would do: its targets in order, what each would take, and why some are skipped. Nothing is
/// called, no gateway need run; so nothing is known of circuits, of what was learned, and of what is spent.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Explain {
    /// The configuration [default: ./piton.toml, then /etc/piton/piton.toml]
    #[arg(long, value_name = "PATH", env = "PITON_CONFIG")]
    config: Option<PathBuf>,
    /// The chain, or a direct name [default: the one that the file asks for]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The request's JSON body, `-` for standard input; one with `input` is for embeddings
    #[arg(long, value_name = "PATH", conflicts_with = "message")]
    file: Option<PathBuf>,
    /// The text of a short request [default: Hello]
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Ask for a stream
    #[arg(long)]
    stream: bool,
    /// The output cap, `max_tokens`
    #[arg(long, value_name = "TOKENS")]
    max_tokens: Option<u32>,
    /// The caller's key, by its name [default: nobody's, who may do everything]
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    #[command(flatten)]
    says: Says,
    /// Take every credential as there
    #[arg(long)]
    no_secrets: bool,
    /// Print what `x-piton-explain: true` would answer
    #[arg(long)]
    json: bool,
}

/// What the `x-piton-` headers of the same names say.
#[derive(Debug, clap::Args)]
struct Says {
    /// What the request is for
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// The user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The session
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// A shorter deadline, such as 5s
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// The most that it may cost, in USD
    #[arg(long, value_name = "USD")]
    max_cost: Option<String>,
    /// `off`: the first eligible target or none
    #[arg(long, value_name = "on|off")]
    fallback: Option<String>,
}

impl Explain {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        match self.look() {
            Ok((text, is_served)) => {
                print(&text);
                if is_served { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(problem) => {
                complain(&problem);
                ExitCode::FAILURE
            }
        }
    }

    /// The plan, and whether a target would be asked.
    fn look(self) -> Result<(String, bool), String> {
        let path = locate(self.config.clone()).map_err(|error| format!("error: {error}\n"))?;
        let source = Source::load(&path)
            .map_err(|error| format!("error: {} cannot be read: {error}\n", path.display()))?;
        let surroundings = Surroundings::of_process(None, !self.no_secrets);
        let loaded = load(&source, &Arc::new(Runtime::new(0)), &surroundings);
        let Some(gateway) = loaded.gateway else {
            return Err(diagnostic::render(&loaded.diagnostics, &source.name, &source.text, false));
        };
        let caller = self.key.as_deref().map(|name| caller(&gateway, name)).transpose()?;
        let headers = self.says.headers()?;
        let (operation, body) = self.body()?;
        match Outlook::of(&gateway, caller, operation, &headers, body) {
            Ok(outlook) => Ok(self.show(&outlook)),
            Err(error) if self.json => Ok((format!("{:#}\n", error.body()), false)),
            Err(error) => Ok((refused(&error), false)),
        }
    }

    fn show(&self, outlook: &Outlook) -> (String, bool) {
        let look = outlook.look();
        let text = if self.json { format!("{:#}\n", outlook.to_json()) } else { told(outlook, &look) };
        (text, look.is_served())
    }

    /// What would be sent.
    fn body(&self) -> Result<(Operation, Bytes), String> {
        let mut body = if let Some(path) = &self.file {
            read(path)?
        } else {
            let text = self.message.as_deref().unwrap_or("Hello");
            Map::from_iter([("messages".to_owned(), json!([{ "role": "user", "content": text }]))])
        };
        if let Some(model) = &self.model {
            body.insert("model".to_owned(), json!(model));
        }
        if !body.contains_key("model") {
            return Err("error: --model is missing: the name of a chain\n".to_owned());
        }
        if self.stream {
            body.insert("stream".to_owned(), json!(true));
        }
        if let Some(most) = self.max_tokens {
            body.insert("max_tokens".to_owned(), json!(most));
        }
        let embeds = body.contains_key("input") && !body.contains_key("messages");
        let operation = if embeds { Operation::Embeddings } else { Operation::Chat };
        Ok((operation, Value::Object(body).to_string().into()))
    }
}

impl Says {
    fn headers(&self) -> Result<HeaderMap, String> {
        let Self { task, tier, user, session, deadline, max_cost, fallback } = self;
        let said = [
            ("x-piton-task", task),
            ("x-piton-tier", tier),
            ("x-piton-user", user),
            ("x-piton-session", session),
            ("x-piton-deadline", deadline),
            ("x-piton-max-cost", max_cost),
            ("x-piton-fallback", fallback),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            let Some(value) = value else { continue };
            let value = HeaderValue::from_str(value)
                .map_err(|_| format!("error: {value:?} cannot stand in the header {name}\n"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

fn caller<'a>(gateway: &'a Gateway, name: &str) -> Result<&'a CallerKey, String> {
    gateway.keys.values().find(|key| &*key.name == name).ok_or_else(|| {
        let near = nearest(name, gateway.keys.values().map(|key| &*key.name));
        let hint = near.map(|near| format!(": did you mean {near:?}?")).unwrap_or_default();
        format!("error: no key is named {name:?}{hint}\n")
    })
}

fn read(path: &PathBuf) -> Result<Map<String, Value>, String> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|all| text = all)
    };
    read.map_err(|error| format!("error: {} cannot be read: {error}\n", path.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| format!("error: {} is no JSON object: {error}\n", path.display()))
}

fn refused(error: &ApiError) -> String {
    format!("The client would get {}: {}\n", error.status, error.message)
}

/// The plan as a table.
fn told(outlook: &Outlook, look: &Look<'_>) -> String {
    let chain = &look.own.plan.chain;
    let mut text = String::new();
    if outlook.asked != *chain.name {
        let _ = write!(text, "{} ({}) is served by ", outlook.asked, outlook.branches.join(", "));
    }
    let attempts = usize::try_from(chain.policy.max_attempts).unwrap_or(usize::MAX);
    let fallback = if outlook.no_fallback { ", without fallback" } else { "" };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}: {} within {}{fallback}; configuration {}",
        chain.name,
        counted(attempts, "attempt"),
        lasting(outlook.time),
        outlook.config,
    );
    for line in aligned(&rows(&look.own)) {
        let _ = writeln!(text, "  {line}");
    }
    text.push_str(&description(&look.own));
    if let Some(last) = &look.last {
        let _ = writeln!(text, "when exhausted, {}:", last.plan.chain.name);
        for line in aligned(&rows(last)) {
            let _ = writeln!(text, "  {line}");
        }
        text.push_str(&description(last));
    }
    match look.refusal() {
        Some(error) => text.push_str(&refused(&error)),
        None => text.push_str("Input is estimated from its bytes, output is the cap or expected_output.\n"),
    }
    text
}

/// Who puts images into words for targets that cannot see.
fn description(explanation: &Explanation<'_>) -> String {
    let Some(Description { chain, images, known, cost, .. }) = &explanation.described else {
        return String::new();
    };
    let cost = cost.map_or_else(unknown, |cost| cost.to_string());
    format!("  in words: {} by the chain {chain}, {known} known, USD {cost}\n", counted(*images, "image"))
}

fn rows(explanation: &Explanation<'_>) -> Vec<[String; 6]> {
    let mut rows = vec![["", "target", "what", "input", "output", "USD"].map(str::to_owned)];
    let mut is_first = true;
    for place in &explanation.places {
        let at = place.at;
        for (nth, judged) in place.deployments.iter().enumerate() {
            let number = if nth == 0 { explanation.plan.target(at).index.to_string() } else { String::new() };
            let what = match (&judged.skip, explanation.first) {
                _ if !place.is_reached && explanation.refused.is_some() => {
                    "not reached: the budget refuses the request".to_owned()
                }
                _ if !place.is_reached => "not reached: no fallback".to_owned(),
                (_, Some(First { place, last_resort: true })) if place == at => {
                    "would be asked although its circuit is open".to_owned()
                }
                (Some(skip), _) => format!("skip: {skip}{}", missing(judged)),
                (None, _) if judged.step.in_words && is_first => "would be asked in words".to_owned(),
                (None, _) if nth > 0 && !is_first => "shares the place".to_owned(),
                (None, _) if is_first => "would be asked".to_owned(),
                (None, _) => "next".to_owned(),
            };
            is_first &= !(judged.skip.is_none() && place.is_reached);
            rows.push(row(number, judged, what));
        }
    }
    rows
}

fn row(number: String, judged: &Judged<'_>, what: String) -> [String; 6] {
    let target = judged.step.target;
    let Estimate { input_low, input_high, output, cost, .. } = judged.step.estimate;
    let name = match target.key_number {
        Some(key) => format!("{} (key {key})", target.id),
        None => target.id.to_string(),
    };
    [
        number,
        name,
        what,
        format!("{} to {}", grouped(input_low.get()), grouped(input_high.get())),
        grouped(output.get()),
        cost.map_or_else(unknown, |cost| cost.to_string()),
    ]
}

/// What its credential lacks, where that is why it is skipped.
fn missing(judged: &Judged<'_>) -> String {
    let missing = judged.step.target.credential.missing.as_ref();
    let missing = missing.filter(|_| judged.skip == Some(crate::reason::Skip::NoCredential));
    missing.map(|missing| format!(" ({missing})")).unwrap_or_default()
}
