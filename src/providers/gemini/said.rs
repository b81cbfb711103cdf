//! A turn of the model's, put together again from what the client brings back.

use std::borrow::Cow;

use super::signature::{Kind, Mark};
use super::wire::{Part, PartData};

/// All that the assistant said in a turn, as one text.
pub struct Said<'a>(pub Cow<'a, str>);

impl<'a> Said<'a> {
    /// Cuts the text where its parts were, and puts what came back where it stood; the calls that come after all of it
    /// stay in `calls`. Where the client has changed the text, a signature is that of the last text.
    pub fn restore(
        &self,
        marks: &[Mark<'a>],
        calls: &mut impl ExactSizeIterator<Item = Part<'a>>,
        parts: &mut Vec<Part<'a>>,
    ) {
        let all_calls = calls.len();
        let mut at = 0;
        let mut of_last_text = None;
        for mark in marks {
            let cut = mark.place.and_then(|place| Some((place, self.slice(place.start, place.end)?)));
            let cut = cut.and_then(|(place, own)| Some((place, self.slice(at, place.start)?, own)));
            if let Some((place, before, _)) = &cut {
                parts.extend(text(before.clone()));
                let made = all_calls - calls.len();
                parts.extend(calls.take(place.calls.saturating_sub(made)));
                at = place.end;
            }
            match (&mark.kind, cut) {
                (Kind::Text(signature), Some((_, _, own))) => {
                    parts.push(Part { thought_signature: Some(signature), ..PartData::Text(own).into() });
                }
                (Kind::Text(signature), None) => of_last_text = Some(*signature),
                (Kind::Thought { text, signature }, _) => parts.push(Part {
                    thought: Some(true),
                    thought_signature: Some(signature),
                    data: PartData::Text(Cow::Borrowed(text)),
                }),
                (Kind::Part(part), _) => parts.push(PartData::AsItWas(part).into()),
            }
        }
        let rest = self.slice(at, self.0.len()).unwrap_or_default();
        match of_last_text {
            Some(_) => {
                parts.push(Part { thought_signature: of_last_text, ..PartData::Text(rest).into() });
            }
            None => parts.extend(text(rest)),
        }
    }

    /// A stretch of the text, if it can be cut so.
    fn slice(&self, start: usize, end: usize) -> Option<Cow<'a, str>> {
        match &self.0 {
            Cow::Borrowed(text) => text.get(start..end).map(Cow::Borrowed),
            Cow::Owned(text) => text.get(start..end).map(|text| Cow::Owned(text.to_owned())),
        }
    }
}

fn text(text: Cow<'_, str>) -> Option<Part<'_>> {
    (!text.is_empty()).then(|| PartData::Text(text).into())
}
