//! `GET /piton/api/spend`: what was spent, by whatever the caller names, as JSON or CSV.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::error::ApiError;
use super::{App, access};
use crate::ops::identity::pseudonym;
use crate::ops::ledger::spend::{Answer, Facet, Question};
use crate::ops::ledger::{COUNTS, Money, Spent, Unreadable};
use crate::wire::timestamp;

/// The most rows, unless fewer are asked for.
const ROWS: u32 = 10_000;
const HOUR: u64 = 3_600;
/// With what spreadsheets begin a formula, or what they pass over on the way to one.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// What was spent.
pub async fn spend(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let gateway = app.live().load();
    let reader = access::reader(&gateway, &headers, &uri, peer)?;
    let Query(parameters) = query.map_err(|error| ApiError::bad_request(None, error.body_text()))?;
    let (mut question, format) = read(parameters)?;
    if let access::Reader::Caller(key) = reader {
        question.only.push((Facet::Key, vec![key.name.to_string()]));
    }
    let asked = question.clone();
    let answer =
        app.live().runtime().ledger.spend(question).await.map_err(|unreadable| match unreadable {
            Unreadable::Off => ApiError::not_found(
                "No ledger is kept: [ledger] path is \"off\", or no state directory is known.",
            ),
            Unreadable::TooLong => {
                let message =
                    "The ledger took too long: ask for less time, or by what the sums of each hour know.";
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Some("ledger_slow"), message)
            }
            Unreadable::Faulty(fault) => {
                let message = format!("The ledger cannot be read: {fault}; {}.", fault.advice());
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Some("ledger_unreadable"), message)
            }
        })?;
    Ok(match format {
        Format::Json => Json(Told { asked: &asked, answer: &answer }).into_response(),
        Format::Csv => ([(CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&asked, &answer)).into_response(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

fn read(parameters: Vec<(String, String)>) -> Result<(Question, Format), ApiError> {
    let mut question = Question { limit: ROWS, ..Question::default() };
    let mut format = Format::Json;
    for (name, value) in parameters {
        match name.as_str() {
            "by" => {
                for facet in value.split(',').map(str::trim) {
                    let facet = Facet::find(facet).ok_or_else(|| {
                        let all = Facet::ALL.map(Facet::name).join(", ");
                        wrong("by", &format!("there is no `{facet}` to add up by; there are: {all}"))
                    })?;
                    if !question.by.contains(&facet) {
                        question.by.push(facet);
                    }
                }
            }
            "from" => question.from = Some(hour("from", &value, false)?),
            "to" => question.to = Some(hour("to", &value, true)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=ROWS).contains(limit));
                question.limit =
                    limit.ok_or_else(|| wrong("limit", &format!("expected a number from 1 to {ROWS}")))?;
            }
            "format" => {
                format = match value.as_str() {
                    "json" => Format::Json,
                    "csv" => Format::Csv,
                    _ => return Err(wrong("format", "expected `json` or `csv`")),
                };
            }
            other => match Facet::find(other) {
                Some(facet) if !facet.is_time() => {
                    let names = names(facet, value);
                    match question.only.iter_mut().find(|(before, _)| *before == facet) {
                        Some((_, others)) => others.extend(names),
                        None => question.only.push((facet, names)),
                    }
                }
                Some(_) | None => {
                    let message = "there is no such parameter; there are: by, from, to, limit, format, and chain, target, provider, key, user, session, task, tier to count only those";
                    return Err(wrong(other, message));
                }
            },
        }
    }
    if let (Some(from), Some(to)) = (question.from, question.to)
        && from >= to
    {
        return Err(wrong("to", "expected a time after `from`"));
    }
    Ok((question, format))
}

fn wrong(parameter: &str, message: &str) -> ApiError {
    ApiError::bad_request(Some(parameter), format!("`{parameter}`: {message}."))
}

/// People are written down under their pseudonyms; who asks may know either name.
fn names(facet: Facet, name: String) -> Vec<String> {
    match facet {
        Facet::User | Facet::Session if !name.is_empty() => vec![pseudonym(&name), name],
        Facet::Chain
        | Facet::Target
        | Facet::Provider
        | Facet::Key
        | Facet::User
        | Facet::Session
        | Facet::Task
        | Facet::Tier
        | Facet::Hour
        | Facet::Day
        | Facet::Week
        | Facet::Month => vec![name],
    }
}

/// The hour of a date or a time, in hours since the Unix epoch. A part of an hour at the end counts whole.
fn hour(parameter: &str, text: &str, is_end: bool) -> Result<i64, ApiError> {
    let of_day =
        || timestamp::days(text).and_then(|days| u64::try_from(days).ok()).map(|days| days * 24 * HOUR);
    // In a query a plus sign is a space.
    let of_time = || {
        let time = timestamp::rfc3339(text).or_else(|| timestamp::rfc3339(&text.replacen(' ', "+", 1)));
        time.map(|time| time.as_secs())
    };
    let second = of_day().or_else(of_time).ok_or_else(|| {
        wrong(parameter, "expected a date or a time such as 2026-01-31 or 2026-01-31T08:00:00Z")
    })?;
    let hours = if is_end { second.div_ceil(HOUR) } else { second / HOUR };
    Ok(i64::try_from(hours).unwrap_or(i64::MAX))
}

/// The whole answer.
struct Told<'a> {
    asked: &'a Question,
    answer: &'a Answer,
}

/// The sums of one row, with what they are of.
struct Line<'a> {
    facets: &'a [Facet],
    labels: &'a [Option<String>],
    spent: &'a Spent,
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { asked, answer } = self;
        let time = |hour: Option<i64>| Some(printed(u64::try_from(hour?).ok()? * HOUR));
        let rows: Vec<Line<'_>> =
            answer.rows.iter().map(|(labels, spent)| Line { facets: &asked.by, labels, spent }).collect();
        let mut told = serializer.serialize_map(None)?;
        told.serialize_entry("by", &asked.by.iter().map(|facet| facet.name()).collect::<Vec<_>>())?;
        told.serialize_entry("from", &time(asked.from))?;
        told.serialize_entry("to", &time(asked.to))?;
        told.serialize_entry("source", answer.source.name())?;
        told.serialize_entry("rows", &rows)?;
        told.serialize_entry("truncated", &answer.is_cut)?;
        told.serialize_entry("total", &Line { facets: &[], labels: &[], spent: &answer.total })?;
        told.end()
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        for (facet, label) in self.facets.iter().zip(self.labels) {
            line.serialize_entry(facet.name(), label)?;
        }
        for (name, count) in counts(self.spent) {
            line.serialize_entry(name, &count)?;
        }
        for (name, money) in amounts(self.spent) {
            // A number with all its digits: no float in between.
            let exact = RawValue::from_string(money.to_string()).map_err(serde::ser::Error::custom)?;
            line.serialize_entry(name, &exact)?;
        }
        line.end()
    }
}

fn counts(spent: &Spent) -> impl Iterator<Item = (&'static str, u64)> {
    COUNTS.into_iter().zip(spent.counts)
}

fn amounts(spent: &Spent) -> [(&'static str, Money); 3] {
    [("cost_usd", spent.cost), ("first_target_usd", spent.at_first), ("difference_usd", spent.difference())]
}

fn csv(asked: &Question, answer: &Answer) -> String {
    let facets = asked.by.iter().map(|facet| facet.name());
    let head = facets.chain(COUNTS).chain(amounts(&answer.total).map(|(name, _)| name));
    let mut text = head.collect::<Vec<_>>().join(",") + "\r\n";
    let whole = [(Vec::new(), answer.total)];
    let rows = if asked.by.is_empty() { &whole[..] } else { &answer.rows };
    for (labels, spent) in rows {
        let labels = labels.iter().map(|label| cell(label.as_deref().unwrap_or_default()));
        let counts = counts(spent).map(|(_, count)| count.to_string());
        let amounts = amounts(spent).map(|(_, money)| money.to_string());
        text += &labels.chain(counts).chain(amounts).collect::<Vec<_>>().join(",");
        text += "\r\n";
    }
    text
}

/// A name as a cell of a spreadsheet, which must not take it for a formula.
fn cell(name: &str) -> String {
    let name = if name.starts_with(FORMULA) { format!("'{name}") } else { name.to_owned() };
    if name.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name }
}

fn printed(second: u64) -> String {
    format!("{}Z", String::from_utf8_lossy(&timestamp::extended(second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_no_formulas() {
        assert_eq!(cell("primary-chat"), "primary-chat");
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("@SUM(A1,A2)"), "\"'@SUM(A1,A2)\"");
        assert_eq!(cell("a \"b\""), "\"a \"\"b\"\"\"");
    }

    #[test]
    fn times_are_taken_to_whole_hours() {
        let hour = |text, is_end| hour("from", text, is_end).ok();
        assert_eq!(hour("1970-01-02", false), Some(24));
        assert_eq!(hour("1970-01-02", true), Some(24));
        assert_eq!(hour("1970-01-02T01:30:00Z", false), Some(25));
        assert_eq!(hour("1970-01-02T01:30:00Z", true), Some(26));
        assert_eq!(hour("1970-01-02T02:30:00 01:00", true), Some(26));
        assert_eq!(hour("yesterday", false), None);
        assert_eq!(hour("1969-12-31", false), None);
    }

    #[test]
    fn what_cannot_be_answered_is_refused_by_its_name() {
        let read = |name: &str, value: &str| read(vec![(name.to_owned(), value.to_owned())]);
        for (name, value) in [
            ("by", "colour"),
            ("from", "soon"),
            ("limit", "0"),
            ("limit", "10001"),
            ("format", "xml"),
            ("day", "2026-01-01"),
            ("colour", "red"),
        ] {
            let error = read(name, value).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (StatusCode::BAD_REQUEST, Some(name)));
        }
        let (question, format) = read("by", "chain, day,chain").unwrap();
        assert_eq!((question.by, format), (vec![Facet::Chain, Facet::Day], Format::Json));
        let (question, _) = read("user", "alice").unwrap();
        assert_eq!(question.only, [(Facet::User, vec![pseudonym("alice"), "alice".to_owned()])]);
    }
}
