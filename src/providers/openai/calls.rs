//! The tool calls of one streamed choice: which call each piece belongs to, however the server numbers them.

use serde_json::{Value, json};

use super::mend::{self, Form};
use crate::wire::openai::Call;

/// The calls that have begun.
#[derive(Debug, Default)]
pub struct Calls {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    /// The server's number for it.
    number: Option<u64>,
    id: String,
}

/// Where a piece belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    index: usize,
    /// It is the call's first piece.
    begins: bool,
}

impl Calls {
    /// Whether any call has begun.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Finds the call of a piece, and takes note of one that begins.
    pub fn place(&mut self, call: &Call<'_>) -> Place {
        let id = call.id.as_ref().map(|id| id.0.as_ref()).unwrap_or_default();
        let name = call.function.as_ref().and_then(|function| function.name.as_ref());
        let name = name.or(call.custom.as_ref().and_then(|custom| custom.name.as_ref()));
        let is_named = name.is_some_and(|name| !name.0.is_empty());
        let number = call.index.map(|index| index.count);
        let found = match (number, id) {
            (Some(_), _) => self.known.iter().rposition(|known| known.number == number),
            (None, "") if is_named => None,
            (None, "") => self.known.len().checked_sub(1),
            (None, id) => self.known.iter().rposition(|known| known.id == id),
        };
        // Some servers give all calls one number, and each an id and a name.
        let continued = found.filter(|at| !is_named || id.is_empty() || self.known[*at].id == id);
        if let Some(index) = continued {
            return Place { index, begins: false };
        }
        self.known.push(Known { number, id: id.to_owned() });
        Place { index: self.known.len() - 1, begins: true }
    }
}

impl Place {
    /// Whether the piece says so itself, as OpenAI's would.
    pub fn is_said_by(self, call: &Call<'_>) -> bool {
        let numbered = call.index.is_some_and(|index| index.is_whole && index.count == self.index as u64);
        let has_id = call.id.is_some();
        let has_name = call.function.as_ref().is_some_and(|function| function.name.is_some());
        let first =
            || call.id.as_ref().is_some_and(|id| !id.0.is_empty()) && !mend::is_loose(call, Form::Chunk);
        let later = || {
            let arguments = call.function.as_ref().and_then(|function| function.arguments);
            let is_text =
                arguments.is_none_or(|arguments| arguments.kind == crate::wire::openai::Shape::Text);
            !has_id && !has_name && call.kind.is_none() && is_text
        };
        numbered && if self.begins { first() } else { later() }
    }

    /// Makes the piece say so. `id` is for a call that has none.
    pub fn write(self, call: &mut Value, id: impl FnOnce(usize, &str) -> String) {
        if self.begins {
            mend::call(call, Form::Chunk);
            if call["id"].as_str().is_none_or(str::is_empty) {
                let name = call["function"]["name"].as_str().unwrap_or_default();
                call["id"] = json!(id(self.index, name));
            }
        }
        let Some(call) = call.as_object_mut() else { return };
        call.insert("index".into(), json!(self.index));
        if self.begins {
            return;
        }
        call.shift_remove("id");
        call.shift_remove("type");
        if let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) {
            function.shift_remove("name");
            if let Some(arguments) = function.get_mut("arguments").filter(|arguments| !arguments.is_string())
            {
                *arguments = if arguments.is_null() { json!("") } else { json!(arguments.to_string()) };
            }
        }
    }
}
