//! A receipt in a few hundred bytes, for as long as it is kept in memory: what it was made of can be let go at once,
//! where it was made.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Map, Value};

use super::number::{put, take, take_wide};
use super::receipt::Receipt;
use super::shelf::Reader;
use super::story::{Attempt, Labels, Line, Story, Text};
use crate::chat::Usage;
use crate::routing::ceiling::Estimate;
use crate::units::{Cost, Tokens};

/// Bytes that are kept for the next receipt, which hardly any needs.
const ROOM: usize = 16 << 10;

thread_local! {
    /// Where receipts are packed: how long one will be is not known before.
    static DESK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Packs a receipt, for `take` to copy or write.
pub fn pack<T>(receipt: &Receipt, take: impl FnOnce(&[u8]) -> T) -> T {
    let mut packed = DESK.take();
    receipt.read(|story| put_story(&mut packed, story));
    let taken = take(&packed);
    packed.clear();
    packed.shrink_to(ROOM);
    DESK.set(packed);
    taken
}

/// The id of the request.
pub fn id(packed: &[u8]) -> &str {
    text(&mut { packed }).unwrap_or_default()
}

/// The whole story again. Nothing if it is not a packed one.
pub fn unpack(packed: &[u8]) -> Option<Story<'_>> {
    let rest = &mut { packed };
    Some(Story {
        id: owed(rest)?,
        operation: owed(rest)?,
        began_ms: take(rest)?,
        chain: owed(rest)?,
        config: owed(rest)?,
        outcome: owed(rest)?,
        status: small(rest)?,
        streamed: take(rest)? != 0,
        served: option(rest, small)?,
        fallback_reason: option(rest, owed)?,
        latency: time(rest)?,
        overhead: option(rest, time)?,
        cost: option(rest, cost)?,
        cost_at_first: option(rest, cost)?,
        labels: Labels {
            key: option(rest, owed)?,
            user: option(rest, owed)?,
            session: option(rest, owed)?,
            task: option(rest, owed)?,
            tier: option(rest, owed)?,
        },
        more: members(rest)?,
        trail: list(rest, line)?,
    })
}

/// As callers read it, if it has this id and the reader may see it.
pub fn told(packed: &[u8], id: &str, reader: Reader<'_>) -> Option<Value> {
    let story = unpack(packed).filter(|story| story.id == id)?;
    let may_see = match reader {
        Reader::Admin => true,
        Reader::Key(key) => story.labels.key.as_deref() == Some(key),
    };
    may_see.then(|| story.to_json())
}

fn put_story(to: &mut Vec<u8>, story: &Story<'_>) {
    put_text(to, &story.id);
    put_text(to, &story.operation);
    put(to, story.began_ms.into());
    put_text(to, &story.chain);
    put_text(to, &story.config);
    put_text(to, &story.outcome);
    put(to, story.status.into());
    put(to, story.streamed.into());
    put_option(to, story.served, |to, place| put(to, place as u128));
    put_option(to, story.fallback_reason.as_deref(), put_text);
    put_time(to, story.latency);
    put_option(to, story.overhead, put_time);
    put_option(to, story.cost, put_cost);
    put_option(to, story.cost_at_first, put_cost);
    let Labels { key, user, session, task, tier } = &story.labels;
    for label in [key, user, session, task, tier] {
        put_option(to, label.as_deref(), put_text);
    }
    put_members(to, &story.more);
    put(to, story.trail.len() as u128);
    for line in &story.trail {
        match line {
            Line::Skip(told) => {
                put(to, 0);
                put_text(to, &told.to_string());
            }
            Line::Attempt(attempt) => {
                put(to, 1);
                put_attempt(to, attempt);
            }
        }
    }
}

fn put_attempt(to: &mut Vec<u8>, attempt: &Attempt<'_>) {
    put_text(to, &attempt.target);
    put(to, attempt.index as u128);
    put(to, attempt.number.into());
    put_text(to, &attempt.outcome);
    put_option(to, attempt.status, |to, status| put(to, status.into()));
    put_option(to, attempt.current_model.as_deref(), put_text);
    put_option(to, attempt.upstream_request_id.as_deref(), put_text);
    put_time(to, attempt.latency);
    put_option(to, attempt.first_token, put_time);
    let usage = &attempt.usage;
    for count in [
        usage.prompt,
        usage.completion,
        usage.cached,
        usage.cache_write,
        usage.cache_write_1h,
        usage.reasoning,
        usage.audio_input,
        usage.audio_output,
    ] {
        put(to, count.get().into());
    }
    put(to, usage.web_searches.into());
    put_option(to, usage.cost, put_cost);
    put(to, attempt.usage_is_estimate.into());
    put_option(to, attempt.cost, put_cost);
    put(to, attempt.dropped.len() as u128);
    attempt.dropped.iter().for_each(|name| put_text(to, name));
    put(to, attempt.unreadable_events.into());
    let estimate = &attempt.estimate;
    for count in [estimate.input_low, estimate.input_high, estimate.output] {
        put(to, count.get().into());
    }
    put_option(to, estimate.cost, put_cost);
    put_members(to, &attempt.more);
}

fn line<'a>(rest: &mut &'a [u8]) -> Option<Line<'a>> {
    if take(rest)? == 0 {
        return Some(Line::Skip(serde_json::from_str(text(rest)?).ok()?));
    }
    Some(Line::Attempt(Attempt {
        target: owed(rest)?,
        index: small(rest)?,
        number: small(rest)?,
        outcome: owed(rest)?,
        status: option(rest, small)?,
        current_model: option(rest, owed)?,
        upstream_request_id: option(rest, owed)?,
        latency: time(rest)?,
        first_token: option(rest, time)?,
        usage: Usage {
            prompt: tokens(rest)?,
            completion: tokens(rest)?,
            cached: tokens(rest)?,
            cache_write: tokens(rest)?,
            cache_write_1h: tokens(rest)?,
            reasoning: tokens(rest)?,
            audio_input: tokens(rest)?,
            audio_output: tokens(rest)?,
            web_searches: take(rest)?,
            cost: option(rest, cost)?,
        },
        usage_is_estimate: take(rest)? != 0,
        cost: option(rest, cost)?,
        dropped: Cow::Owned(list(rest, |rest| Some(Cow::Owned(text(rest)?.to_owned())))?),
        unreadable_events: small(rest)?,
        estimate: Estimate {
            input_low: tokens(rest)?,
            input_high: tokens(rest)?,
            output: tokens(rest)?,
            cost: option(rest, cost)?,
            // It stands among the members that few attempts have.
            price: None,
        },
        more: members(rest)?,
    }))
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    put(to, text.len() as u128);
    to.extend_from_slice(text.as_bytes());
}

fn put_time(to: &mut Vec<u8>, time: Duration) {
    put(to, time.as_micros());
}

fn put_cost(to: &mut Vec<u8>, cost: Cost) {
    put(to, cost.pico_usd());
}

fn put_option<T>(to: &mut Vec<u8>, value: Option<T>, put_value: impl FnOnce(&mut Vec<u8>, T)) {
    put(to, value.is_some().into());
    if let Some(value) = value {
        put_value(to, value);
    }
}

fn put_members(to: &mut Vec<u8>, members: &Map<String, Value>) {
    let told = (!members.is_empty()).then(|| serde_json::to_string(members).unwrap_or_default());
    put_text(to, told.as_deref().unwrap_or_default());
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = take(rest)?.try_into().ok()?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    str::from_utf8(text).ok()
}

fn owed<'a>(rest: &mut &'a [u8]) -> Option<Text<'a>> {
    text(rest).map(Cow::Borrowed)
}

fn small<T: TryFrom<u64>>(rest: &mut &[u8]) -> Option<T> {
    take(rest)?.try_into().ok()
}

fn tokens(rest: &mut &[u8]) -> Option<Tokens> {
    take(rest).map(Tokens::new)
}

fn time(rest: &mut &[u8]) -> Option<Duration> {
    take(rest).map(Duration::from_micros)
}

fn cost(rest: &mut &[u8]) -> Option<Cost> {
    take_wide(rest).map(Cost::from_pico_usd)
}

#[expect(clippy::option_option, reason = "there may be no value, and no end to it")]
fn option<'a, T>(rest: &mut &'a [u8], value: impl FnOnce(&mut &'a [u8]) -> Option<T>) -> Option<Option<T>> {
    Some(if take(rest)? == 0 { None } else { Some(value(rest)?) })
}

fn list<'a, T>(rest: &mut &'a [u8], mut item: impl FnMut(&mut &'a [u8]) -> Option<T>) -> Option<Vec<T>> {
    (0..take(rest)?).map(|_| item(rest)).collect()
}

fn members(rest: &mut &[u8]) -> Option<Map<String, Value>> {
    let told = text(rest)?;
    if told.is_empty() { Some(Map::new()) } else { serde_json::from_str(told).ok() }
}
