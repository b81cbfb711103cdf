//! Embeddings: one request, and the answer that its batches come to. Texts and vectors stay the bytes that they came
//! as wherever nobody has to change them.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::edit::BodyEdit;
use super::event::{Answer, AnswerFacts};
use super::members::{Member, TopLevel, members};
use super::request::{InputSize, Invalid, OwnFields, Reader, own_fields};
use super::usage::Usage;
use crate::reason::{Class, Failure};
use crate::units::Tokens;

/// What the input may be.
const INPUT: &str = "a string, a list of strings, a list of tokens, or a list of such lists";
/// What a token is taken for where sizes are estimated in bytes of text.
const BYTES_PER_TOKEN: u64 = 4;

/// A `POST /v1/embeddings` body. The bytes are the truth; everything else is read from them.
#[derive(Debug)]
pub struct EmbeddingsRequest {
    members: Vec<Member>,
    /// The logical model that the client asked for.
    pub model: String,
    input: Input,
    pub encoding: Encoding,
    /// How long the vectors shall be.
    pub dimensions: Option<u64>,
    /// How large the input is.
    pub size: InputSize,
    /// The bytes of the longest text: a window holds each text for itself.
    pub longest: u64,
    /// Piton's own fields, and what other gateways call the same.
    pub own: OwnFields,
    body: Bytes,
}

/// What is to be embedded.
#[derive(Debug)]
struct Input {
    kind: Kind,
    /// The JSON of each text or list of tokens, as its place in the body.
    items: Vec<Range<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Texts,
    Tokens,
}

/// How the vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As lists of numbers.
    Float,
    /// As base64 of little-endian floats of 32 bits.
    Base64,
    /// In a way that only its vendor knows.
    Other,
}

/// What one upstream call gave.
#[derive(Debug, Default)]
pub struct Batch {
    /// The JSON of each vector, in the order of the inputs: a list of numbers, or base64.
    pub vectors: Vec<Bytes>,
    pub usage: Option<Usage>,
    /// The model that the upstream says it used.
    pub model: Option<String>,
    /// The whole body, where it is in OpenAI's own format.
    pub verbatim: Option<Bytes>,
}

impl EmbeddingsRequest {
    /// Reads what the planner needs, and refuses what no target could take.
    pub fn parse(body: Bytes) -> Result<Self, Invalid> {
        let top = TopLevel::parse(&body)?;
        let members = members(&body, &top);
        let read = Reader(&top);
        let model = read.model()?;
        let raw = read.raw("input").ok_or_else(wrong_input)?;
        let input = Input::read(&body, raw)?;
        let (total, longest) = input.bytes(&body)?;
        let encoding = match read.optional::<Cow<'_, str>>("encoding_format", "a string")?.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(_) => Encoding::Other,
        };
        let dimensions = read.whole::<u64>("dimensions", "a whole number, 1 or more")?;
        if dimensions == Some(0) {
            return Err(Invalid::at("dimensions", "`dimensions` must be a whole number, 1 or more."));
        }
        let size = InputSize { text_bytes: total, images: Vec::new() };
        let own = own_fields(&read)?;
        Ok(Self { members, model, input, encoding, dimensions, size, longest, own, body })
    }

    /// The body as the client sent it.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// How many vectors are asked for.
    pub fn count(&self) -> usize {
        self.input.items.len()
    }

    /// Whether the input is text, not tokens.
    pub fn is_text(&self) -> bool {
        self.input.kind == Kind::Texts
    }

    /// Some of the texts as they are, unescaped.
    pub fn texts(&self, part: Range<usize>) -> Result<Vec<Cow<'_, str>>, Invalid> {
        let items = self.input.items.get(part).unwrap_or_default();
        let text = |item: &Range<usize>| serde_json::from_slice(&self.body[item.clone()]);
        items.iter().map(text).collect::<Result<_, _>>().map_err(|_| wrong_input())
    }

    /// Some of the inputs as a JSON list.
    pub fn list(&self, part: Range<usize>) -> String {
        let items = self.input.items.get(part).unwrap_or_default();
        let items = items.iter().map(|item| String::from_utf8_lossy(&self.body[item.clone()]));
        format!("[{}]", items.collect::<Vec<_>>().join(","))
    }

    /// The raw JSON of a top-level member.
    pub fn member(&self, name: &str) -> Option<&str> {
        Member::json(&self.body, &self.members, name).filter(|json| *json != "null")
    }

    /// The text of a top-level member, if it is one.
    pub fn word(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.member(name)?).ok()
    }

    /// Starts changing the body; everything not named keeps its bytes and its place.
    pub fn edit(&self) -> BodyEdit<'_> {
        BodyEdit::of(&self.body, &self.members)
    }

    /// The same request with some top-level members replaced or added.
    pub fn with_parameters(&self, parameters: &Map<String, Value>) -> Result<Self, Invalid> {
        let mut edit = self.edit();
        for (name, value) in parameters {
            edit.set(name, value.to_string());
        }
        Self::parse(edit.finish().concat().into())
    }

    /// The answer that the batches come to, in order. `model` is named where no upstream named one.
    pub fn answer(&self, batches: &[Batch], model: &str) -> Result<Answer, Failure> {
        let given: usize = batches.iter().map(|batch| batch.vectors.len()).sum();
        if given != self.count() {
            let message = format!("The upstream gave {given} embeddings for {} inputs.", self.count());
            return Err(Failure::new(Class::Malformed, message));
        }
        let usage = sum(batches.iter().map(|batch| batch.usage));
        let named = batches.iter().find_map(|batch| batch.model.clone());
        let is_written = |vector: &Bytes| match self.encoding {
            Encoding::Float => vector.starts_with(b"["),
            Encoding::Base64 => vector.starts_with(b"\""),
            Encoding::Other => true,
        };
        let as_it_came = match batches {
            [Batch { verbatim: Some(body), vectors, .. }] if vectors.iter().all(is_written) => {
                Some(body.clone())
            }
            _ => None,
        };
        let body = match as_it_came {
            Some(body) => body,
            None => self.write(batches, named.as_deref().unwrap_or(model), usage)?,
        };
        let facts = AnswerFacts {
            model: named,
            has_content: true,
            content_bytes: body.len(),
            usage,
            ..AnswerFacts::default()
        };
        Ok(Answer::Verbatim { body, facts })
    }

    fn write(&self, batches: &[Batch], model: &str, usage: Option<Usage>) -> Result<Bytes, Failure> {
        let vectors = batches.iter().flat_map(|batch| &batch.vectors);
        let mut body = String::from(r#"{"object":"list","data":["#);
        for (index, vector) in vectors.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let vector = in_encoding(vector, self.encoding)
                .ok_or_else(|| Failure::new(Class::Malformed, "The upstream gave a vector that is none."))?;
            body.push_str(&format!(
                r#"{comma}{{"object":"embedding","index":{index},"embedding":{vector}}}"#
            ));
        }
        let usage = usage.unwrap_or_default();
        let usage = json!({ "prompt_tokens": usage.prompt, "total_tokens": usage.total() });
        body.push_str(&format!(r#"],"model":{},"usage":{usage}}}"#, Value::from(model)));
        Ok(body.into())
    }
}

impl Input {
    fn read(body: &Bytes, raw: &str) -> Result<Self, Invalid> {
        let place = |item: &str| {
            let at = item.as_ptr() as usize - body.as_ptr() as usize;
            at..at + item.len()
        };
        let one = |kind| Ok(Self { kind, items: vec![place(raw)] });
        if raw.starts_with('"') {
            return one(Kind::Texts);
        }
        let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| wrong_input())?;
        let first = items.first().ok_or_else(wrong_input)?;
        let kind = match first.get().as_bytes().first() {
            Some(b'"') => Kind::Texts,
            Some(b'[') => Kind::Tokens,
            _ => return one(Kind::Tokens),
        };
        Ok(Self { kind, items: items.into_iter().map(|item| place(item.get())).collect() })
    }

    /// The bytes of text in all, and of the longest item.
    fn bytes(&self, body: &Bytes) -> Result<(u64, u64), Invalid> {
        let length = |item: &Range<usize>| {
            let json = &body[item.clone()];
            let length = match self.kind {
                Kind::Texts => serde_json::from_slice::<Cow<'_, str>>(json).map(|text| text.len() as u64),
                Kind::Tokens => serde_json::from_slice::<Vec<u32>>(json)
                    .map(|tokens| tokens.len() as u64 * BYTES_PER_TOKEN),
            };
            length.map_err(|_| wrong_input())
        };
        self.items.iter().try_fold((0, 0), |(total, longest), item| {
            let length = length(item)?;
            Ok((total + length, longest.max(length)))
        })
    }
}

fn wrong_input() -> Invalid {
    Invalid::at("input", format!("`input` must be {INPUT}."))
}

/// The sum of what the calls used, if any was told.
fn sum(usages: impl Iterator<Item = Option<Usage>>) -> Option<Usage> {
    usages.flatten().reduce(|sum, usage| Usage {
        prompt: sum.prompt + usage.prompt,
        cost: match (sum.cost, usage.cost) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        },
        ..sum
    })
}

/// A vector in the form that was asked for; `None` if it is none.
fn in_encoding(vector: &Bytes, encoding: Encoding) -> Option<Cow<'_, str>> {
    let as_it_is = std::str::from_utf8(vector).ok()?;
    match (encoding, vector.first()?) {
        (Encoding::Base64, b'[') => {
            let numbers: Vec<f32> = serde_json::from_slice(vector).ok()?;
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            Some(format!("\"{}\"", STANDARD.encode(bytes)).into())
        }
        (Encoding::Float, b'"') => {
            let text: Cow<'_, str> = serde_json::from_slice(vector).ok()?;
            let bytes = STANDARD.decode(text.as_bytes()).ok()?;
            let (words, rest) = bytes.as_chunks::<4>();
            let numbers: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
            let is_whole = rest.is_empty() && numbers.iter().all(|number| number.is_finite());
            is_whole.then(|| serde_json::to_string(&numbers).ok()).flatten().map(Cow::Owned)
        }
        (Encoding::Float | Encoding::Other, b'[') | (Encoding::Base64 | Encoding::Other, b'"') => {
            Some(as_it_is.into())
        }
        _ => None,
    }
}

/// The usage of so many tokens of input.
pub fn input_usage(tokens: u64) -> Usage {
    Usage { prompt: Tokens::new(tokens), ..Usage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> Result<EmbeddingsRequest, Invalid> {
        EmbeddingsRequest::parse(Bytes::copy_from_slice(body.as_bytes()))
    }

    fn batch(vectors: &[&'static str], prompt: u64) -> Batch {
        let vectors = vectors.iter().map(|vector| Bytes::from_static(vector.as_bytes())).collect();
        Batch { vectors, usage: Some(input_usage(prompt)), ..Batch::default() }
    }

    fn body(answer: Answer) -> Value {
        let Answer::Verbatim { body, .. } = answer else { panic!("it is bytes") };
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn every_form_of_input_is_read() {
        let cases = [
            (r#""a\nb""#, true, 1, 3),
            (r#"["a", "é"]"#, true, 2, 3),
            ("[1, 2, 3]", false, 1, 12),
            ("[[1, 2], [3]]", false, 2, 12),
        ];
        for (input, is_text, count, bytes) in cases {
            let request = request(&format!(r#"{{"model":"m","input":{input}}}"#)).unwrap();
            let read = (request.is_text(), request.count(), request.size.text_bytes);
            assert_eq!(read, (is_text, count, bytes), "{input}");
            assert_eq!(
                request.list(0..count).replace(' ', "").matches('[').count(),
                if is_text { 1 } else { 1 + count }
            );
        }
        for wrong in ["null", "{}", "[]", "5", r#"["a", 1]"#, r#"[1, "a"]"#, "[[1.5]]", "[null]", "[-1]"] {
            let error = request(&format!(r#"{{"model":"m","input":{wrong}}}"#)).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("input"), "{wrong}");
        }
        assert_eq!(request(r#"{"model":"m"}"#).unwrap_err().param.as_deref(), Some("input"));
        assert!(request(r#"{"model":"m","input":"x","dimensions":0}"#).is_err());
    }

    #[test]
    fn vectors_are_written_as_asked() {
        let number = |text: &'static str, encoding| {
            let vector = Bytes::from_static(text.as_bytes());
            in_encoding(&vector, encoding).map(Cow::into_owned)
        };
        assert_eq!(number("[1.0, -0.5]", Encoding::Float).as_deref(), Some("[1.0, -0.5]"));
        assert_eq!(number("[1.0, -0.5]", Encoding::Base64).as_deref(), Some(r#""AACAPwAAAL8=""#));
        assert_eq!(number(r#""AACAPwAAAL8=""#, Encoding::Float).as_deref(), Some("[1.0,-0.5]"));
        assert_eq!(number(r#""AACAPwAAAL8=""#, Encoding::Base64).as_deref(), Some(r#""AACAPwAAAL8=""#));
        for (strange, encoding) in [
            (r#""AAA=""#, Encoding::Float),
            (r#""AADAfw==""#, Encoding::Float),
            (r#"["x"]"#, Encoding::Base64),
            ("7", Encoding::Float),
        ] {
            assert_eq!(number(strange, encoding), None, "{strange}");
        }
    }

    #[test]
    fn batches_become_one_answer_in_order() {
        let request = request(r#"{"model":"m","input":["a","b","c"]}"#).unwrap();
        let answer = request.answer(&[batch(&["[1]", "[2]"], 4), batch(&["[3]"], 5)], "own").unwrap();
        assert_eq!(answer.usage().map(|usage| usage.prompt.get()), Some(9));
        let expected = json!({
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [1]},
                {"object": "embedding", "index": 1, "embedding": [2]},
                {"object": "embedding", "index": 2, "embedding": [3]},
            ],
            "model": "own",
            "usage": {"prompt_tokens": 9, "total_tokens": 9},
        });
        assert_eq!(body(answer), expected);
        let short = request.answer(&[batch(&["[1]"], 4)], "own").unwrap_err();
        assert_eq!(short.class, Class::Malformed);
    }

    #[test]
    fn a_body_that_is_as_asked_keeps_its_bytes() {
        let request = request(r#"{"model":"m","input":"a"}"#).unwrap();
        let verbatim = Bytes::from_static(br#"{ "odd": 1 }"#);
        let whole = |vector| Batch { verbatim: Some(verbatim.clone()), ..batch(&[vector], 1) };
        let Ok(Answer::Verbatim { body: kept, .. }) = request.answer(&[whole("[1]")], "m") else {
            panic!("it is bytes")
        };
        assert_eq!(kept, verbatim);
        let turned = body(request.answer(&[whole(r#""AACAPw==""#)], "m").unwrap());
        assert_eq!(turned["data"][0]["embedding"], json!([1.0]));
    }
}
