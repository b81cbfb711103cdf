//! Arguments of a function call that arrive in pieces, each with the place where it belongs.
//!
//! Piton does not ask for this form (`streamFunctionCallArguments`), but a proxy or a model's default may bring it.

use serde_json::{Map, Value};

use super::wire::PartialArg;

/// How deep arguments may nest: as deep as JSON is read elsewhere.
const MAX_DEPTH: usize = 128;

/// One step of a JSON path.
#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    Element(usize),
}

/// Puts one piece in its place. One whose path cannot be followed is left out.
pub fn apply(arguments: &mut Value, piece: PartialArg) {
    let Some(steps) = piece.json_path.as_deref().and_then(steps) else { return };
    let Some(place) = steps.into_iter().try_fold(arguments, descend) else { return };
    let value = match (piece.string_value, piece.number_value, piece.bool_value) {
        (Some(text), ..) => {
            // Pieces of one text follow each other.
            if let Value::String(before) = place {
                before.push_str(&text);
                return;
            }
            Value::String(text)
        }
        (None, Some(number), _) => number,
        (None, None, Some(bool)) => Value::Bool(bool),
        (None, None, None) => Value::Null,
    };
    *place = value;
}

/// Goes one step down, making what is not there yet. A list grows by one at a time.
fn descend<'a>(value: &'a mut Value, step: Step<'_>) -> Option<&'a mut Value> {
    match step {
        Step::Member(name) => {
            if value.is_null() {
                *value = Value::Object(Map::new());
            }
            Some(value.as_object_mut()?.entry(name).or_insert(Value::Null))
        }
        Step::Element(at) => {
            if value.is_null() {
                *value = Value::Array(Vec::new());
            }
            let list = value.as_array_mut()?;
            if at == list.len() {
                list.push(Value::Null);
            }
            list.get_mut(at)
        }
    }
}

/// Reads `$.a.b[0]['c']`.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == MAX_DEPTH {
            return None;
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Member(&after[..end]));
            rest = &after[end..];
        } else if let Some((quote, after)) = rest
            .strip_prefix("['")
            .map(|after| ("']", after))
            .or(rest.strip_prefix("[\"").map(|after| ("\"]", after)))
        {
            let (name, after) = after.split_once(quote)?;
            steps.push(Step::Member(name));
            rest = after;
        } else {
            let (number, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Element(number.parse().ok()?));
            rest = after;
        }
    }
    (!steps.is_empty()).then_some(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn piece(json: &Value) -> PartialArg {
        serde_json::from_value(json.clone()).unwrap()
    }

    #[test]
    fn pieces_make_the_arguments() {
        let mut arguments = json!({});
        for part in [
            json!({"jsonPath": "$.city", "stringValue": "Bos", "willContinue": true}),
            json!({"jsonPath": "$.city", "stringValue": "ton"}),
            json!({"jsonPath": "$.days[0].high", "numberValue": 21.5}),
            json!({"jsonPath": "$.days[1]['wind speed']", "boolValue": true}),
            json!({"jsonPath": "$[\"x.y\"]", "nullValue": "NULL_VALUE"}),
        ] {
            apply(&mut arguments, piece(&part));
        }
        let expected = json!({"city": "Boston", "days": [{"high": 21.5}, {"wind speed": true}], "x.y": null});
        assert_eq!(arguments, expected);
    }

    #[test]
    fn a_path_that_leads_nowhere_changes_nothing() {
        for path in ["", "$", "a", "$.a[99999999]", "$[x]", "$[", "$['a", "$.a.b", "$x"] {
            let mut arguments = json!({"a": [1]});
            apply(&mut arguments, piece(&json!({"jsonPath": path, "stringValue": "v"})));
            assert_eq!(arguments, json!({"a": [1]}), "{path}");
        }
        let deep = format!("${}", ".a".repeat(MAX_DEPTH + 1));
        let mut arguments = json!({});
        apply(&mut arguments, piece(&json!({"jsonPath": deep, "stringValue": "v"})));
        assert_eq!(arguments, json!({}));
    }
}
