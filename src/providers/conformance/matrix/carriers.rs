//! Opaque reasoning on its way out to the client and back: answers that hold some, sent back as the history of the next
//! request.

use serde_json::{Value, json};

use super::super::case::Case;
use super::columns::{COLUMNS, Column};
use super::probe::{Fate, Probe};
use super::reading::whole;

/// Answers with opaque reasoning: whose, and the column to which it goes back.
const ANSWERS: [(&str, &str, &str, &str); 8] = [
    (
        "Claude: thinking and redacted thinking",
        "Anthropic",
        "anthropic",
        "responses/pair-thinking-tools.json",
    ),
    ("Claude: its own search", "Anthropic", "anthropic", "responses/search-citations.json"),
    ("Claude on Bedrock: thinking", "Bedrock", "bedrock", "responses/reasoning-signed.json"),
    ("Bedrock: redacted reasoning", "Bedrock", "bedrock", "responses/reasoning-redacted.json"),
    ("Gemini: a signed call", "Gemini", "gemini", "responses/tool-call-signed.json"),
    ("Gemini: signed text", "Gemini", "gemini", "responses/thoughts-and-signed-text.json"),
    ("Cohere: thinking", "Cohere", "cohere", "responses/thinking.json"),
    ("Mistral: thinking", "Mistral", "openai", "responses/mistral-thinking.json"),
];

/// One answer's opaque reasoning.
pub struct Carrier {
    pub title: &'static str,
    /// The column of the provider that gave it.
    pub home: &'static str,
    /// The types and formats of its entries.
    pub formats: Vec<String>,
    /// What becomes of it in the next request, by column.
    pub fates: Vec<Fate>,
}

/// All of them.
pub fn carriers() -> Vec<Carrier> {
    ANSWERS.map(|(title, home, folder, file)| carrier(title, home, &Case::fixture(folder, file))).into()
}

fn carrier(title: &'static str, home: &'static str, case: &Case) -> Carrier {
    let answer = case.decode(case.bytes()).unwrap();
    let message = whole(&answer)["choices"][0]["message"].take();
    let fate = |column: &Column| {
        // What the provider's own search found goes back with that search only.
        let search = column.title == home && message.to_string().contains("web_search");
        let (with, without) = (request(&message, search), request(&plain(&message), search));
        Probe::new(title, with).beside(without).may_be_left_out().fate(column)
    };
    Carrier { title, home, formats: formats(&message), fates: COLUMNS.iter().map(fate).collect() }
}

/// The message as a client sends it that knows nothing of reasoning.
fn plain(message: &Value) -> Value {
    let mut plain = message.clone();
    let members = plain.as_object_mut().unwrap();
    members.retain(|name, _| !name.starts_with("reasoning"));
    let calls = plain.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        call.as_object_mut().unwrap().remove("extra_content");
    }
    plain
}

/// The next request of the conversation.
fn request(message: &Value, search: bool) -> Value {
    let user = json!({ "role": "user", "content": "Hello" });
    let mut messages = vec![user.clone(), message.clone()];
    let calls: Vec<&Value> = message["tool_calls"].as_array().into_iter().flatten().collect();
    let result = |call: &&Value| json!({ "role": "tool", "tool_call_id": call["id"], "content": "Done" });
    messages.extend(calls.iter().map(result));
    if calls.is_empty() {
        messages.push(user);
    }
    let mut request = json!({ "messages": messages, "reasoning_effort": "high" });
    let mut tools: Vec<Value> = Vec::new();
    for call in calls {
        let schema = json!({ "type": "object", "properties": {} });
        let tool = json!({ "type": "function", "function": { "name": call["function"]["name"], "parameters": schema } });
        if !tools.contains(&tool) {
            tools.push(tool);
        }
    }
    if !tools.is_empty() {
        request["tools"] = tools.into();
    }
    if search {
        request["web_search_options"] = json!({});
    }
    request
}

fn formats(message: &Value) -> Vec<String> {
    let details = message["reasoning_details"].as_array().into_iter().flatten();
    let entry = |detail: &Value| {
        format!("`{}` in `{}`", detail["type"].as_str().unwrap(), detail["format"].as_str().unwrap())
    };
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let signed = calls.filter(|call| call["extra_content"].is_object());
    let mut formats: Vec<String> =
        details.map(entry).chain(signed.map(|_| "`extra_content` of the call".to_owned())).collect();
    formats.sort();
    formats.dedup();
    formats
}
