//! Who speaks OpenAI's dialect, and what each of them does in its own way.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{azure, compatible, mistral, rules};
use crate::mock::prompt::{Incoming, Rejection};
use crate::mock::rule::{self, Rule};
use crate::mock::shape::{self, Departure, Shapes};

/// One provider that speaks this dialect.
#[derive(Debug)]
pub struct Vendor {
    pub name: &'static str,
    /// What it knows of a request's keys; without it unknown keys pass.
    pub schema: Option<Schema>,
    pub rules: &'static [&'static [Rule]],
    pub errors: Errors,
    pub reasoning: Thought,
    /// Usage stands on the last chunk with a choice, whether asked for or not.
    pub usage_on_last: bool,
    /// A call comes whole, in one chunk with the finish.
    pub whole_calls: bool,
    /// Calls have ids of nine letters and digits.
    pub short_ids: bool,
}

/// A provider's schema and its words for what departs from it.
#[derive(Debug)]
pub struct Schema {
    pub shapes: &'static LazyLock<Shapes>,
    /// Keys at the top that the provider takes although the schema does not list them, or with other values.
    pub more: &'static [&'static str],
    pub refuse: fn(&Departure) -> Rejection,
}

/// The form of error bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// `{"error": {"message", "type", "param", "code"}}`.
    OpenAi,
    /// The same, with the status as the code.
    Numbered,
    Azure,
    Mistral,
    /// `{"code", "error"}`, both text.
    XAi,
}

/// Where an answer's reasoning stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thought {
    /// Nowhere: it is only counted.
    Hidden,
    /// `reasoning_content`, as most compatible servers have it.
    Content,
    /// `reasoning`.
    Plain,
    /// `reasoning` and, with a signature, `reasoning_details`.
    Details,
    /// A part of the content, which becomes an array.
    Part,
}

const COMPATIBLE: Vendor = Vendor {
    name: "openai",
    schema: None,
    rules: &[],
    errors: Errors::OpenAi,
    reasoning: Thought::Content,
    usage_on_last: false,
    whole_calls: false,
    short_ids: false,
};

const fn strict(more: &'static [&'static str]) -> Schema {
    Schema { shapes: &shape::OPENAI, more, refuse: rules::refuse }
}

/// OpenAI itself.
pub static OPENAI: Vendor =
    Vendor { schema: Some(strict(&[])), rules: &[rules::RULES], reasoning: Thought::Hidden, ..COMPATIBLE };

/// Azure's three doors share one form.
pub static AZURE: Vendor = Vendor {
    name: "azure",
    schema: Some(strict(&["data_sources", "enhancements"])),
    rules: &[azure::RULES, rules::RULES],
    errors: Errors::Azure,
    reasoning: Thought::Hidden,
    ..COMPATIBLE
};

/// The others, each behind a path that begins with its name.
pub static VENDORS: &[Vendor] = &[
    Vendor {
        name: "mistral",
        schema: Some(Schema {
            shapes: &shape::MISTRAL,
            more: &["reasoning_effort"],
            refuse: mistral::refuse,
        }),
        rules: &[mistral::RULES],
        errors: Errors::Mistral,
        reasoning: Thought::Part,
        usage_on_last: true,
        whole_calls: true,
        short_ids: true,
    },
    Vendor {
        name: "groq",
        schema: Some(Schema {
            shapes: &shape::OPENAI,
            more: compatible::GROQ_KEYS,
            refuse: compatible::refuse_groq,
        }),
        rules: &[compatible::GROQ],
        reasoning: Thought::Plain,
        ..COMPATIBLE
    },
    Vendor { name: "deepseek", rules: &[compatible::DEEPSEEK], usage_on_last: true, ..COMPATIBLE },
    Vendor { name: "moonshot", rules: &[compatible::MOONSHOT], ..COMPATIBLE },
    Vendor { name: "xai", rules: &[compatible::XAI], errors: Errors::XAi, ..COMPATIBLE },
    Vendor {
        name: "perplexity",
        rules: &[compatible::PERPLEXITY],
        errors: Errors::Numbered,
        usage_on_last: true,
        ..COMPATIBLE
    },
    Vendor {
        name: "openrouter",
        rules: &[compatible::OPENROUTER],
        errors: Errors::Numbered,
        reasoning: Thought::Details,
        usage_on_last: true,
        ..COMPATIBLE
    },
    Vendor { name: "vllm", errors: Errors::Numbered, ..COMPATIBLE },
    Vendor { name: "llamacpp", errors: Errors::Numbered, ..COMPATIBLE },
    Vendor { name: "ollama", reasoning: Thought::Plain, ..COMPATIBLE },
    Vendor { name: "compatible", ..COMPATIBLE },
];

/// The provider of this name, if it speaks this dialect.
pub fn named(name: &str) -> Option<&'static Vendor> {
    match name {
        "openai" => Some(&OPENAI),
        "azure" => Some(&AZURE),
        _ => VENDORS.iter().find(|vendor| vendor.name == name),
    }
}

impl Vendor {
    /// Holds a request of this kind against the vendor's schema and rules.
    pub fn check(&self, kind: &str, incoming: &Incoming<'_>) -> Result<(), Rejection> {
        if let Some(schema) = &self.schema {
            let mut body = incoming.body.clone();
            body.retain(|key, _| !schema.more.contains(&key.as_str()));
            // Where the path names the model, the body need not.
            body.entry("model").or_insert_with(|| incoming.model.clone().into());
            if body["model"].is_null() {
                body["model"] = incoming.model.clone().into();
            }
            shape::check(schema.shapes, kind, &body)
                .map_err(|departure| (schema.refuse)(&departure).edit(|invalid| invalid.rule = "schema"))?;
        }
        self.rules.iter().try_for_each(|rules| rule::hold(rules, incoming))
    }
}

impl Errors {
    /// The body of an error.
    pub fn body(
        self,
        status: u16,
        message: &str,
        kind: Option<&str>,
        param: Option<&str>,
        code: Option<&str>,
    ) -> Value {
        match self {
            Self::OpenAi => {
                json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
            }
            Self::Numbered => json!({ "error": { "message": message, "type": kind, "code": status } }),
            Self::Azure => {
                let code = code.map_or_else(|| status.to_string(), str::to_owned);
                json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
            }
            Self::Mistral if status == 401 => json!({ "detail": message }),
            Self::Mistral => {
                json!({ "object": "error", "message": message, "type": kind, "param": param, "code": code })
            }
            Self::XAi => {
                json!({ "code": code.or(kind).unwrap_or("Client specified an invalid argument"), "error": message })
            }
        }
    }
}
