//! What Converse refuses, beyond what its schema says.

use serde_json::{Map, Value};

use super::FAMILY;
use crate::mock::media;
use crate::mock::prompt::{Incoming, Rejection};
use crate::mock::rule::{Rule, Wrong, rule};
use crate::mock::shape::{self, BEDROCK, Departure, Problem, Step, dots, kind_of};
use crate::mock::signature;

const SERIALIZATION: &str = "SerializationException";

/// Converse's rules, in the order of its checks.
pub const RULES: &[Rule] = &[
    rule("first_role", first_role),
    rule("alternation", alternation),
    rule("last_role", last_role),
    rule("blank_text", blank_text),
    rule("tool_config", tool_config),
    rule("unanswered", unanswered),
    rule("stray_result", stray_result),
    rule("tool_choice", tool_choice),
    rule("forced_thinking", forced_thinking),
    rule("budget", budget),
    rule("signature", signatures),
    rule("document_name", document_name),
    rule("document_twice", document_twice),
    rule("document_alone", document_alone),
    rule("media_type", media_type),
    rule("object_schema", object_schema),
    rule("cache_points", cache_points),
    rule("no_system", no_system),
    rule("media_of_model", media_of_model),
];

/// Holds the body against the schema.
pub fn schema(incoming: &Incoming<'_>) -> Result<(), Rejection> {
    shape::check(&BEDROCK, "converse", incoming.body)
        .map_err(|departure| refuse(&departure).edit(|invalid| invalid.rule = "schema"))
}

fn refuse(departure: &Departure) -> Rejection {
    let path = dots(&departure.path);
    let member: Vec<_> = departure
        .path
        .iter()
        .map(|step| match step {
            Step::Key(key) => key.clone(),
            Step::Index(index) => format!("{}.member", index + 1),
        })
        .collect();
    let member = member.join(".");
    let constraint = |words: String| {
        Rejection::invalid(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: {words}"
        ))
    };
    match &departure.problem {
        Problem::Unknown => Rejection::invalid(format!(
            "The model returned the following errors: Malformed input request: #: extraneous key [{}] is not permitted, \
             please reformat your input and try again.",
            departure.key()
        )),
        Problem::Missing => constraint("Member must not be null".to_owned()),
        Problem::Type { expected, given } => {
            let message = format!("{path}: expected {expected}, but got {}", kind_of(given));
            Rejection::invalid(message).edit(|invalid| invalid.kind = Some(SERIALIZATION))
        }
        Problem::NotOneOf { known, .. } => {
            let known: Vec<_> = known.iter().filter_map(Value::as_str).collect();
            constraint(format!("Member must satisfy enum value set: [{}]", known.join(", ")))
        }
        Problem::Below { least, .. } => {
            constraint(format!("Member must have value greater than or equal to {least}"))
        }
        Problem::Above { most, .. } => {
            constraint(format!("Member must have value less than or equal to {most}"))
        }
        Problem::TooShort { least, .. } => {
            constraint(format!("Member must have length greater than or equal to {least}"))
        }
        Problem::TooLong { most, .. } => {
            constraint(format!("Member must have length less than or equal to {most}"))
        }
        Problem::Pattern { pattern, .. } => {
            constraint(format!("Member must satisfy regular expression pattern: {pattern}"))
        }
        Problem::NotBase64 => {
            let message = format!("{path}: the value is no base64");
            Rejection::invalid(message).edit(|invalid| invalid.kind = Some(SERIALIZATION))
        }
        Problem::Both(first, second) => Rejection::invalid(format!(
            "The union at {path} has more than one member set: {first}, {second}. Set exactly one and try again."
        )),
        Problem::NoneOf(keys) => Rejection::invalid(format!(
            "The union at {path} must have one of its members set: {}.",
            keys.join(", ")
        )),
    }
}

fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

fn content(message: &Value) -> &[Value] {
    message["content"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Every block with its place.
fn blocks<'r>(incoming: &'r Incoming<'_>) -> impl Iterator<Item = (usize, usize, &'r Value)> {
    let messages = incoming.list("messages").iter().enumerate();
    messages.flat_map(|(index, message)| {
        content(message).iter().enumerate().map(move |(at, block)| (index, at, block))
    })
}

/// The same, and what stands inside results.
fn all_blocks<'r>(incoming: &'r Incoming<'_>) -> impl Iterator<Item = &'r Value> {
    blocks(incoming).flat_map(|(_, _, block)| {
        let inner = block["toolResult"]["content"].as_array().into_iter().flatten();
        std::iter::once(block).chain(inner)
    })
}

fn is_claude(incoming: &Incoming<'_>) -> bool {
    incoming.model.contains("anthropic") || incoming.model.contains("claude")
}

/// Claude takes a conversation that begins with its own words.
fn first_role(incoming: &Incoming<'_>) -> Option<Wrong> {
    if is_claude(incoming) {
        return None;
    }
    incoming.list("messages").first().filter(|first| role(first) != "user")?;
    Some(Wrong::new(
        "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
    ))
}

fn alternation(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming.list("messages").windows(2).any(|pair| role(&pair[0]) == role(&pair[1])).then(|| {
        Wrong::new(
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates \
             between user and assistant roles and try again.",
        )
    })
}

/// Only Claude continues an answer, and its newest models do not.
fn last_role(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming.list("messages").last().filter(|last| role(last) == "assistant")?;
    let newest = ["opus-4-6", "sonnet-4-6", "opus-4-7", "opus-4-8"];
    let continues = is_claude(incoming) && !newest.iter().any(|name| incoming.model.contains(name));
    (!continues).then(|| {
        Wrong::new(
            "A conversation must end with a user message. Try again with a conversation that ends with a user message.",
        )
    })
}

fn blank_text(incoming: &Incoming<'_>) -> Option<Wrong> {
    let system =
        incoming.list("system").iter().position(|block| block["text"].as_str().is_some_and(str::is_empty));
    if let Some(index) = system {
        return Some(Wrong::new(format!(
            "The text field in the SystemContentBlock object at system.{index} is blank. Add text to the text field, \
             and try again."
        )));
    }
    let (index, at, _) =
        blocks(incoming).find(|(_, _, block)| block["text"].as_str().is_some_and(str::is_empty))?;
    Some(Wrong::new(format!(
        "The text field in the ContentBlock object at messages.{index}.content.{at} is blank. Add text to the text \
         field, and try again."
    )))
}

fn tool_config(incoming: &Incoming<'_>) -> Option<Wrong> {
    let used = blocks(incoming)
        .any(|(_, _, block)| block.get("toolUse").is_some() || block.get("toolResult").is_some());
    (used && incoming.get("toolConfig").is_none()).then(|| {
        Wrong::new("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
    })
}

fn ids<'m>(message: &'m Value, kind: &'m str) -> impl Iterator<Item = &'m str> {
    content(message).iter().filter_map(move |block| block[kind]["toolUseId"].as_str())
}

/// Calls of the client's tools; those of the provider's own are answered in the same turn.
fn calls(message: &Value) -> impl Iterator<Item = &str> {
    let own = |block: &&Value| block["toolUse"]["type"] != "server_tool_use";
    content(message).iter().filter(own).filter_map(|block| block["toolUse"]["toolUseId"].as_str())
}

fn unanswered(incoming: &Incoming<'_>) -> Option<Wrong> {
    let messages = incoming.list("messages");
    messages.iter().enumerate().filter(|(_, message)| role(message) == "assistant").find_map(
        |(index, message)| {
            let next = messages.get(index + 1);
            let answered =
                |id: &&str| next.is_some_and(|next| ids(next, "toolResult").any(|result| result == *id));
            let open: Vec<_> = calls(message).filter(|id| !answered(id)).collect();
            (!open.is_empty()).then(|| {
                let place = index + 1;
                let open = open.join(", ");
                Wrong::new(format!(
                    "Expected toolResult blocks at messages.{place}.content for the following Ids: {open}"
                ))
            })
        },
    )
}

fn stray_result(incoming: &Incoming<'_>) -> Option<Wrong> {
    let messages = incoming.list("messages");
    messages.iter().enumerate().filter(|(_, message)| role(message) == "user").find_map(|(index, message)| {
        let before = index.checked_sub(1).and_then(|before| messages.get(before));
        let stray = ids(message, "toolResult")
            .any(|id| !before.is_some_and(|before| ids(before, "toolUse").any(|call| call == id)));
        stray.then(|| {
            Wrong::new(format!(
                "The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of \
                 previous turn."
            ))
        })
    })
}

/// Models that can be made to call a tool: the others only choose.
fn tool_choice(incoming: &Incoming<'_>) -> Option<Wrong> {
    let choice = incoming.get("toolConfig")?["toolChoice"].as_object()?;
    let kind = choice.keys().find(|kind| *kind != "auto")?;
    if incoming.model.contains("meta.llama") || incoming.model.contains("cohere.command") {
        return Some(Wrong::new(format!(
            "This model doesn't support the toolConfig.toolChoice.{kind} field. Remove toolConfig.toolChoice.{kind} and \
             try again."
        )));
    }
    let name = choice.get("tool")?["name"].as_str()?;
    let tools = incoming.get("toolConfig")?["tools"].as_array()?;
    (!tools.iter().any(|tool| tool["toolSpec"]["name"] == name))
        .then(|| Wrong::new(format!("The tool {name} in toolChoice is not one of the tools of toolConfig.")))
}

/// The thinking that the request asks of Claude, if it is on.
fn thinking<'r>(incoming: &'r Incoming<'_>) -> Option<&'r Map<String, Value>> {
    let fields = incoming.get("additionalModelRequestFields")?;
    let thinking = fields["thinking"].as_object().or(fields["reasoning_config"].as_object())?;
    Some(thinking).filter(|thinking| is_claude(incoming) && thinking.get("type") != Some(&"disabled".into()))
}

fn forced_thinking(incoming: &Incoming<'_>) -> Option<Wrong> {
    thinking(incoming)?;
    let choice = incoming.get("toolConfig")?["toolChoice"].as_object()?;
    choice.keys().any(|kind| kind != "auto").then(|| {
        Wrong::new(
            "The model returned the following errors: Thinking may not be enabled when tool_choice forces tool use.",
        )
    })
}

fn budget(incoming: &Incoming<'_>) -> Option<Wrong> {
    let thinking = thinking(incoming)?;
    let budget = thinking.get("budget_tokens").and_then(Value::as_u64)?;
    let most = incoming.get("inferenceConfig").and_then(|config| config["maxTokens"].as_u64());
    let words = match most {
        _ if budget < 1024 => "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        Some(most) if most <= budget => "`max_tokens` must be greater than `thinking.budget_tokens`.",
        _ => return None,
    };
    Some(Wrong::new(format!("The model returned the following errors: {words}")))
}

/// Claude's thoughts come back as they were given out.
fn signatures(incoming: &Incoming<'_>) -> Option<Wrong> {
    if !is_claude(incoming) {
        return None;
    }
    blocks(incoming).find_map(|(index, at, block)| {
        let thought = block["reasoningContent"]["reasoningText"].as_object()?;
        let text = thought.get("text").and_then(Value::as_str).unwrap_or_default();
        let words = match thought.get("signature").and_then(Value::as_str) {
            None | Some("") => format!("messages.{index}.content.{at}.thinking.signature: Field required"),
            Some(proof) if incoming.ours && !signature::verify(FAMILY, text, proof) => {
                format!("messages.{index}.content.{at}: Invalid `signature` in `thinking` block")
            }
            Some(_) => return None,
        };
        Some(Wrong::new(format!("The model returned the following errors: {words}")))
    })
}

fn documents<'r>(incoming: &'r Incoming<'_>) -> impl Iterator<Item = &'r str> {
    all_blocks(incoming).filter_map(|block| block["document"]["name"].as_str())
}

fn document_name(incoming: &Incoming<'_>) -> Option<Wrong> {
    // An underscore passes, whatever the words say.
    let fits = |c: char| c.is_ascii_alphanumeric() || " \t-_()[]".contains(c);
    documents(incoming).any(|name| !name.chars().all(fits) || name.contains("  ")).then(|| {
        Wrong::new(
            "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, \
             parentheses, and square brackets. The name can't contain more than one consecutive whitespace character.",
        )
    })
}

fn document_twice(incoming: &Incoming<'_>) -> Option<Wrong> {
    let mut seen = Vec::new();
    let twice = documents(incoming).find(|name| {
        let twice = seen.contains(name);
        seen.push(name);
        twice
    })?;
    Some(Wrong::new(format!(
        "Messages contain duplicate document names: {twice}. Use distinct names and try again."
    )))
}

fn document_alone(incoming: &Incoming<'_>) -> Option<Wrong> {
    let alone = |message: &Value| {
        let blocks = content(message);
        blocks.iter().any(|block| block.get("document").is_some())
            && !blocks.iter().any(|block| block.get("text").is_some())
    };
    incoming.list("messages").iter().any(alone).then(|| {
        Wrong::new(
            "A text block is required with a document block. Add a text block to the message and try again.",
        )
    })
}

fn media_type(incoming: &Incoming<'_>) -> Option<Wrong> {
    all_blocks(incoming).find_map(|block| {
        let image = block["image"].as_object()?;
        let named = image.get("format")?.as_str()?;
        let found = media::sniff(block["image"]["source"]["bytes"].as_str()?)?;
        (found != format!("image/{named}")).then(|| {
            Wrong::new(format!(
                "The model returned the following errors: The image was specified using the image/{named} media type, \
                 but the image appears to be a {found} image"
            ))
        })
    })
}

fn object_schema(incoming: &Incoming<'_>) -> Option<Wrong> {
    let tools = incoming.get("toolConfig")?["tools"].as_array()?;
    let index = tools.iter().position(|tool| {
        let schema = &tool["toolSpec"]["inputSchema"]["json"];
        tool.get("toolSpec").is_some() && schema["type"] != "object"
    })?;
    Some(Wrong::new(format!(
        "The value at toolConfig.tools.{index}.toolSpec.inputSchema.json.type must be one of the following: object."
    )))
}

fn cache_points(incoming: &Incoming<'_>) -> Option<Wrong> {
    const MOST: usize = 4;
    let tools =
        incoming.get("toolConfig").and_then(|config| config["tools"].as_array()).into_iter().flatten();
    let blocks = blocks(incoming).map(|(_, _, block)| block);
    let count = tools
        .chain(incoming.list("system"))
        .chain(blocks)
        .filter(|block| block.get("cachePoint").is_some())
        .count();
    (count > MOST).then(|| {
        Wrong::new(format!("A maximum of {MOST} blocks with cache_control may be provided. Found {count}."))
    })
}

fn no_system(incoming: &Incoming<'_>) -> Option<Wrong> {
    let deaf =
        ["amazon.titan-text", "mistral.mistral-7b", "mistral.mixtral", "ai21.j2", "cohere.command-text"];
    let given = !incoming.list("system").is_empty() && deaf.iter().any(|name| incoming.model.contains(name));
    given.then(|| {
        Wrong::new("This model doesn't support system messages. Try again without a system message or use a model that supports system messages.")
    })
}

fn media_of_model(incoming: &Incoming<'_>) -> Option<Wrong> {
    if !is_claude(incoming) {
        return None;
    }
    all_blocks(incoming).find_map(|block| {
        if block.get("video").is_some() {
            return Some(Wrong::new(
                "This model doesn't support the video content block that you provided. Update the content block and try \
                 again.",
            ));
        }
        if block["document"]["source"].get("s3Location").is_some() {
            return Some(Wrong::new("The model returned the following errors: document.source.type: Field required"));
        }
        block["image"]["source"]
            .get("s3Location")
            .map(|_| Wrong::new("This model doesn't support the s3Uri field. Remove s3Uri and try again."))
    })
}
