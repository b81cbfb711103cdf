//! The check of a body against its shape.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::departure::{Departure, Problem, Step, camel};
use super::{Habits, Pattern, Shape, Shapes};

/// The types that the notation has of its own.
#[cfg(test)]
pub const KINDS: [&str; 10] =
    ["any", "boolean", "bytes", "int32", "int64", "integer", "null", "number", "string", "struct"];

/// Keys by whose value one of several types is chosen.
const TAGS: [&str; 2] = ["type", "role"];

/// A schema may refer to itself; a body as deep as this is refused elsewhere.
const DEPTH: usize = 120;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Where the body departs from the shape of this kind of request, if it does.
pub fn check(shapes: &Shapes, root: &str, body: &Map<String, Value>) -> Result<(), Departure> {
    let Some(Shape::Object { keys, required, open, one, exclusive }) =
        shapes.roots.get(root).and_then(|name| shapes.types.get(name))
    else {
        return Ok(());
    };
    let object = Object { keys, required, open: *open, one, exclusive };
    Check { shapes, path: Vec::new() }.object(&object, body)
}

/// A shape for objects, unpacked.
struct Object<'s> {
    keys: &'s IndexMap<String, Shape>,
    required: &'s [String],
    open: bool,
    one: &'s [String],
    exclusive: &'s [Vec<String>],
}

struct Check<'s> {
    shapes: &'s Shapes,
    path: Vec<Step>,
}

type Checked = Result<(), Departure>;

impl Check<'_> {
    fn value(&mut self, shape: &Shape, value: &Value) -> Checked {
        let proto = self.shapes.habits == Habits::Proto;
        if self.path.len() > DEPTH || (proto && value.is_null()) {
            return Ok(());
        }
        match shape {
            Shape::Named(name) => match name.strip_prefix('#').and_then(|name| self.shapes.types.get(name)) {
                Some(shape) => self.value(shape, value),
                None => self.kind(name, value),
            },
            Shape::Object { keys, required, open, one, exclusive } => match value {
                Value::Object(fields) => {
                    self.object(&Object { keys, required, open: *open, one, exclusive }, fields)
                }
                other => self.wrong_type("object", other),
            },
            Shape::List { items, min, max } => match value {
                Value::Array(values) => {
                    self.length(values.len(), *min, *max, value)?;
                    values.iter().enumerate().try_for_each(|(index, value)| {
                        self.step(Step::Index(index), |check| check.value(items, value))
                    })
                }
                one if proto => self.value(items, one),
                other => self.wrong_type("array", other),
            },
            Shape::Map { values } => match value {
                Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
                    self.step(Step::Key(key.clone()), |check| check.value(values, value))
                }),
                other => self.wrong_type("object", other),
            },
            Shape::Any { any } => self.any(any, value),
            Shape::Enum { values, numbers } => self.one_of(values, *numbers, value),
            Shape::Text { min, max, pattern, .. } => self.text(*min, *max, pattern.as_ref(), value),
            Shape::Number { number, min, max } => {
                self.kind(number, value)?;
                match value.as_f64() {
                    Some(given) if min.is_some_and(|least| given < least) => {
                        self.fail(Problem::Below { least: min.unwrap_or_default(), given: value.clone() })
                    }
                    Some(given) if max.is_some_and(|most| given > most) => {
                        self.fail(Problem::Above { most: max.unwrap_or_default(), given: value.clone() })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn object(&mut self, shape: &Object<'_>, fields: &Map<String, Value>) -> Checked {
        let habits = self.shapes.habits;
        let spelt = |key: &str| if habits == Habits::Proto { camel(key) } else { key.to_owned() };
        // The tag first: if it is wrong, everything else is beside the point.
        let tags = fields.iter().filter(|(key, _)| TAGS.contains(&key.as_str()));
        let others = fields.iter().filter(|(key, _)| !TAGS.contains(&key.as_str()));
        for (key, value) in tags.chain(others) {
            let absent = value.is_null() && habits == Habits::NullsAtTop && self.path.is_empty();
            match shape.keys.get(key).or_else(|| shape.keys.get(&spelt(key))) {
                Some(_) if absent => {}
                Some(shape) => self.step(Step::Key(key.clone()), |check| check.value(shape, value))?,
                None if shape.open => {}
                None => self.step(Step::Key(key.clone()), |check| check.fail(Problem::Unknown))?,
            }
        }
        let has = |name: &String| fields.iter().any(|(key, value)| spelt(key) == *name && !value.is_null());
        if let Some(missing) = shape.required.iter().find(|name| !fields.contains_key(*name)) {
            return self.step(Step::Key(missing.clone()), |check| check.fail(Problem::Missing));
        }
        let given: Vec<_> = shape.one.iter().filter(|name| has(name)).collect();
        match given[..] {
            [] if !shape.one.is_empty() => return self.fail(Problem::NoneOf(shape.one.to_vec())),
            [first, second, ..] => return self.fail(Problem::Both(first.clone(), second.clone())),
            _ => {}
        }
        for group in shape.exclusive {
            if let [first, second, ..] = group.iter().filter(|name| has(name)).collect::<Vec<_>>()[..] {
                return self.fail(Problem::Both(first.clone(), second.clone()));
            }
        }
        Ok(())
    }

    /// The departure from the type that was most likely meant: the one with the value's tag, else the one whose
    /// check came deepest.
    fn any(&mut self, shapes: &[Shape], value: &Value) -> Checked {
        let mut tags: Vec<Value> = Vec::new();
        let mut best: Option<Departure> = None;
        for shape in shapes {
            let Err(departure) = self.value(shape, value) else { return Ok(()) };
            let of_tag = departure.path.len() == self.path.len() + 1 && TAGS.contains(&departure.key());
            if let (true, Problem::NotOneOf { known, .. }) = (of_tag, &departure.problem) {
                tags.extend(known.iter().filter(|tag| !tags.contains(tag)).cloned().collect::<Vec<_>>());
                // Another type with the right tag is the better guess.
                let departure = Departure { depth: self.path.len(), ..departure };
                best = best.or(Some(departure));
            } else if best.as_ref().is_none_or(|best| closer(&departure, best)) {
                best = Some(departure);
            }
        }
        let Some(mut best) = best else { return Ok(()) };
        let of_tag = best.path.len() == self.path.len() + 1 && TAGS.contains(&best.key());
        if let (true, Problem::NotOneOf { known, .. }) = (of_tag, &mut best.problem) {
            *known = tags;
        } else if best.path.len() == self.path.len()
            && let Problem::Type { expected, .. } = &mut best.problem
        {
            *expected = shapes.iter().map(|shape| self.name(shape)).collect::<Vec<_>>().join("|");
        }
        Err(best)
    }

    /// What a value of the shape is called.
    fn name<'n>(&'n self, shape: &'n Shape) -> &'n str {
        match shape {
            Shape::Named(name) => match name.strip_prefix('#').and_then(|name| self.shapes.types.get(name)) {
                Some(shape) => self.name(shape),
                None => name,
            },
            Shape::Object { .. } | Shape::Map { .. } => "object",
            Shape::List { .. } => "array",
            Shape::Any { any } => any.first().map_or("any", |shape| self.name(shape)),
            Shape::Enum { .. } | Shape::Text { .. } => "string",
            Shape::Number { number, .. } => number,
        }
    }

    fn one_of(&self, values: &[Value], numbers: bool, value: &Value) -> Checked {
        let same = |known: &Value| match (known.as_str(), value.as_str()) {
            (Some(known), Some(given)) if numbers => known.eq_ignore_ascii_case(given),
            _ => known == value,
        };
        if values.iter().any(same) || (numbers && value.is_u64()) {
            return Ok(());
        }
        let of_type = values.first().is_none_or(|first| first.is_string() == value.is_string());
        if !of_type {
            return self.wrong_type(if values[0].is_string() { "string" } else { "integer" }, value);
        }
        self.fail(Problem::NotOneOf { known: values.to_vec(), given: value.clone() })
    }

    fn text(
        &self,
        min: Option<usize>,
        max: Option<usize>,
        pattern: Option<&Pattern>,
        value: &Value,
    ) -> Checked {
        let Some(text) = value.as_str() else { return self.wrong_type("string", value) };
        self.length(text.chars().count(), min, max, value)?;
        match pattern {
            Some(pattern) if !pattern.regex.is_match(text) => {
                self.fail(Problem::Pattern { pattern: pattern.text.clone(), given: value.clone() })
            }
            _ => Ok(()),
        }
    }

    fn length(&self, length: usize, min: Option<usize>, max: Option<usize>, value: &Value) -> Checked {
        if let Some(least) = min.filter(|least| length < *least) {
            return self.fail(Problem::TooShort { least, given: value.clone() });
        }
        if let Some(most) = max.filter(|most| length > *most) {
            return self.fail(Problem::TooLong { most, given: value.clone() });
        }
        Ok(())
    }

    /// A type that the notation has of its own.
    fn kind(&self, name: &str, value: &Value) -> Checked {
        let proto = self.shapes.habits == Habits::Proto;
        let whole = |value: &Value| {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        };
        let spelt = || value.as_str().and_then(|text| text.parse::<i64>().ok());
        let fits = match name {
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => whole(value),
            "int32" => {
                let number = value.as_f64().filter(|_| whole(value)).or_else(|| spelt().map(|_| 0.0));
                number.is_some_and(|number| (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number))
            }
            "int64" => whole(value) || spelt().is_some(),
            "number" => {
                value.is_number() || (proto && value.as_str().is_some_and(|text| text.parse::<f64>().is_ok()))
            }
            "null" => value.is_null(),
            "struct" => value.is_object(),
            "bytes" => {
                let Some(text) = value.as_str() else { return self.wrong_type("string", value) };
                if STANDARD.decode(text).is_err() && !(proto && URL_SAFE.decode(text).is_ok()) {
                    return self.fail(Problem::NotBase64);
                }
                true
            }
            _ => true,
        };
        if fits { Ok(()) } else { self.wrong_type(name, value) }
    }

    fn step(&mut self, step: Step, check: impl FnOnce(&mut Self) -> Checked) -> Checked {
        self.path.push(step);
        let checked = check(self);
        self.path.pop();
        checked
    }

    fn wrong_type(&self, expected: &str, given: &Value) -> Checked {
        self.fail(Problem::Type { expected: expected.to_owned(), given: given.clone() })
    }

    fn fail(&self, problem: Problem) -> Checked {
        Err(Departure { path: self.path.clone(), problem, depth: self.path.len() })
    }
}

/// Whether this check came further than that one: deeper, or past the type.
fn closer(this: &Departure, that: &Departure) -> bool {
    let past_type = |departure: &Departure| !matches!(departure.problem, Problem::Type { .. });
    (this.depth, past_type(this)) > (that.depth, past_type(that))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::departure::brackets;
    use super::super::{BEDROCK, GEMINI, OPENAI};
    use super::*;

    fn found(shapes: &Shapes, root: &str, body: Value) -> (String, Problem) {
        let Value::Object(fields) = body else { panic!("no object") };
        let departure = check(shapes, root, &fields).unwrap_err();
        (brackets(&departure.path), departure.problem)
    }

    fn chat(message: &Value) -> Value {
        json!({ "model": "m", "messages": [message] })
    }

    #[test]
    fn the_first_departure_is_told_with_its_place() {
        let unknown = found(&OPENAI, "chat", json!({ "model": "m", "messages": [], "min_p": 1 }));
        // The list is too short as well, and comes first.
        assert_eq!(unknown.0, "messages");
        let (path, problem) = found(&OPENAI, "chat", chat(&json!({ "role": "robot", "content": "" })));
        assert_eq!(path, "messages[0].role");
        let Problem::NotOneOf { known, .. } = problem else { panic!("{problem:?}") };
        assert!(known.contains(&json!("developer")) && known.contains(&json!("tool")), "{known:?}");
        let part = json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": 1 } }] });
        assert_eq!(found(&OPENAI, "chat", chat(&part)).0, "messages[0].content[0].image_url.url");
        let missing = json!({ "role": "tool", "content": "x" });
        assert_eq!(
            found(&OPENAI, "chat", chat(&missing)),
            ("messages[0].tool_call_id".to_owned(), Problem::Missing)
        );
    }

    #[test]
    fn a_type_of_several_is_named_with_the_others() {
        let (path, problem) = found(&OPENAI, "chat", chat(&json!({ "role": "user", "content": 1 })));
        let Problem::Type { expected, .. } = problem else { panic!("{problem:?}") };
        assert_eq!((path.as_str(), expected.as_str()), ("messages[0].content", "string|array"));
    }

    #[test]
    fn unions_take_exactly_one_key() {
        let turn = |block: Value| json!({ "messages": [{ "role": "user", "content": [block] }] });
        let both = turn(json!({ "text": "a", "cachePoint": { "type": "default" } }));
        let expected = Problem::Both("text".to_owned(), "cachePoint".to_owned());
        assert_eq!(found(&BEDROCK, "converse", both), ("messages[0].content[0]".to_owned(), expected));
        assert!(matches!(found(&BEDROCK, "converse", turn(json!({}))).1, Problem::NoneOf(_)));
        let id = json!({ "toolUse": { "toolUseId": "no spaces", "name": "f", "input": {} } });
        assert!(matches!(found(&BEDROCK, "converse", turn(id)).1, Problem::Pattern { .. }));
        let image = json!({ "image": { "format": "png", "source": { "bytes": "no base64!" } } });
        assert_eq!(found(&BEDROCK, "converse", turn(image)).1, Problem::NotBase64);
    }

    #[test]
    fn protobuf_takes_both_spellings_and_numbers_as_strings() {
        let body = json!({
            "system_instruction": { "parts": { "text": "Hi" } },
            "contents": [{ "parts": [{ "text": "Hi", "thoughtSignature": "a_b-" }], "role": null }],
            "generationConfig": { "seed": 2_147_483_647, "thinking_config": { "thinkingLevel": "low" } },
            "tools": [{ "functionDeclarations": [{ "name": "f", "parameters": { "type": "array", "minItems": "1" } }] }],
        });
        assert_eq!(check(&GEMINI, "generate", body.as_object().unwrap()), Ok(()));
        let seed = json!({ "generationConfig": { "seed": 2_147_483_648_u64 } });
        assert_eq!(found(&GEMINI, "generate", seed).0, "generationConfig.seed");
        let reference = json!({ "tools": [{ "functionDeclarations": [{ "name": "f", "parameters": { "$ref": "#" } }] }] });
        assert_eq!(found(&GEMINI, "generate", reference).1, Problem::Unknown);
        let two = json!({ "contents": [{ "parts": [{ "text": "a", "functionCall": { "name": "f" } }] }] });
        assert!(matches!(found(&GEMINI, "generate", two).1, Problem::Both(..)));
    }
}
