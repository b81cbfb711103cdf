//! The sources of a grounded answer, as OpenAI's `annotations`.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroundingMetadata {
    #[serde(default)]
    grounding_chunks: Vec<Chunk>,
    #[serde(default)]
    grounding_supports: Vec<Support>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    web: Option<Address>,
    /// A document; one of a store that only Google reads has no address.
    retrieved_context: Option<Address>,
    maps: Option<Address>,
}

/// Where a source is to be found.
#[derive(Deserialize)]
struct Address {
    uri: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Support {
    segment: Option<Segment>,
    #[serde(default)]
    grounding_chunk_indices: Vec<usize>,
}

/// A stretch of the answer, in bytes of UTF-8 from its start or from that of one part, thoughts not counted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Segment {
    #[serde(default)]
    part_index: usize,
    #[serde(default)]
    start_index: usize,
    #[serde(default)]
    end_index: usize,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CitationMetadata {
    /// Vertex calls them `citations`.
    #[serde(default, alias = "citations")]
    citation_sources: Vec<Citation>,
}

/// A stretch that repeats a source, in bytes of UTF-8.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Citation {
    #[serde(default)]
    start_index: usize,
    #[serde(default)]
    end_index: usize,
    uri: Option<String>,
    title: Option<String>,
}

/// What is cited from: the answer's text, and where it stood when each part began.
pub struct Source<'a> {
    pub text: &'a str,
    pub starts: &'a [usize],
}

/// One `url_citation` for each stretch of the answer that repeats a source. What cannot be read is left out.
pub fn citations(metadata: &Value, source: &Source<'_>) -> Vec<Value> {
    let Ok(metadata) = CitationMetadata::deserialize(metadata) else { return Vec::new() };
    let citation = |citation: &Citation| {
        let url = citation.uri.as_ref()?;
        let (start, end) = characters(source.text, citation.start_index..citation.end_index)?;
        Some(url_citation(start, end, url, citation.title.as_ref()))
    };
    metadata.citation_sources.iter().filter_map(citation).collect()
}

/// One `url_citation` for each source of each supported stretch of the answer. What cannot be read is left out.
pub fn annotations(metadata: &Value, source: &Source<'_>) -> Vec<Value> {
    let Ok(metadata) = GroundingMetadata::deserialize(metadata) else { return Vec::new() };
    let mut annotations = Vec::new();
    for support in &metadata.grounding_supports {
        let Some((start, end)) = support.segment.as_ref().and_then(|segment| segment.place(source)) else {
            continue;
        };
        for chunk in &support.grounding_chunk_indices {
            let address = metadata.grounding_chunks.get(*chunk).and_then(Chunk::address);
            let Some((address, url)) = address.and_then(|address| Some((address, address.uri.as_ref()?)))
            else {
                continue;
            };
            annotations.push(url_citation(start, end, url, address.title.as_ref()));
        }
    }
    annotations
}

fn url_citation(start: usize, end: usize, url: &String, title: Option<&String>) -> Value {
    let title = title.unwrap_or(url);
    let citation = json!({ "start_index": start, "end_index": end, "url": url, "title": title });
    json!({ "type": "url_citation", "url_citation": citation })
}

/// A range of bytes in characters, if it can be cut so and holds anything.
fn characters(text: &str, bytes: Range<usize>) -> Option<(usize, usize)> {
    let found = text.get(bytes.clone()).filter(|found| !found.is_empty())?;
    let start = text[..bytes.start].chars().count();
    Some((start, start + found.chars().count()))
}

impl Chunk {
    fn address(&self) -> Option<&Address> {
        self.web.as_ref().or(self.retrieved_context.as_ref()).or(self.maps.as_ref())
    }
}

impl Segment {
    /// Where it stands in the text, in characters. Its own text is the proof: where the indexes do not point at it, be
    /// they counted from the start of the answer or of one part, it is looked for.
    fn place(&self, source: &Source<'_>) -> Option<(usize, usize)> {
        let range = |from: usize| {
            let start = from.checked_add(self.start_index)?;
            Some(start..from.checked_add(self.end_index)?)
        };
        let Some(quoted) = &self.text else { return characters(source.text, range(0)?) };
        let starts = [source.starts.get(self.part_index).copied(), Some(0)];
        let mut pointed = starts.into_iter().flatten().filter_map(range);
        let proven = pointed.find(|range| source.text.get(range.clone()) == Some(quoted.as_str()));
        let range = proven.or_else(|| {
            let start = source.text.find(quoted.as_str())?;
            Some(start..start + quoted.len())
        });
        characters(source.text, range?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cited(support: &Value, text: &str) -> Vec<(u64, u64, String)> {
        let metadata = json!({
            "groundingChunks": [
                {"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}, {"retrievedContext": {"text": "x"}},
                {"maps": {"uri": "https://c", "title": "C"}}, {"retrievedContext": {"uri": "https://d", "title": "D"}},
            ],
            "groundingSupports": [support],
        });
        let read = |annotation: &Value| {
            let citation = &annotation["url_citation"];
            let number = |name: &str| citation[name].as_u64().unwrap();
            (number("start_index"), number("end_index"), citation["title"].as_str().unwrap().to_owned())
        };
        annotations(&metadata, &Source { text, starts: &[0, 3] }).iter().map(read).collect()
    }

    #[test]
    fn bytes_become_characters_and_only_what_has_an_address_is_cited() {
        let support = json!({"segment": {"startIndex": 6, "endIndex": 11, "text": "süß"}, "groundingChunkIndices": [0, 2, 1, 9, 3, 4]});
        let titles = ["A", "https://b", "C", "D"];
        assert_eq!(cited(&support, "Öé: süß!"), titles.map(|title| (4, 7, title.to_owned())));
    }

    #[test]
    fn indexes_of_one_part_are_counted_from_its_start() {
        let support = json!({"segment": {"partIndex": 1, "startIndex": 3, "endIndex": 5, "text": "ab"}, "groundingChunkIndices": [0]});
        assert_eq!(cited(&support, "ab ab ab"), [(6, 8, "A".into())]);
    }

    #[test]
    fn repeated_sources_are_cited_under_both_names() {
        let source = Source { text: "é is e", starts: &[] };
        let list = json!([{"startIndex": 3, "endIndex": 7, "uri": "https://a"}, {"endIndex": 1, "uri": "https://b"}, {"endIndex": 2}]);
        let expected = json!([url_citation(2, 6, &"https://a".to_owned(), None)]);
        for name in ["citationSources", "citations"] {
            assert_eq!(json!(citations(&json!({name: list}), &source)), expected, "{name}");
        }
    }

    #[test]
    fn a_segment_that_is_not_where_it_should_be_is_looked_for() {
        let support = json!({"segment": {"endIndex": 2, "text": "is"}, "groundingChunkIndices": [0]});
        assert_eq!(cited(&support, "It is"), [(3, 5, "A".into())]);
        let lost = json!({"segment": {"endIndex": 2, "text": "xy"}, "groundingChunkIndices": [0]});
        assert_eq!(cited(&lost, "It is"), []);
        let inside_a_character =
            json!({"segment": {"startIndex": 1, "endIndex": 2}, "groundingChunkIndices": [0]});
        assert_eq!(cited(&inside_a_character, "é"), []);
        assert_eq!(cited(&json!({"groundingChunkIndices": [0]}), "x"), []);
        assert!(annotations(&json!({"groundingSupports": 3}), &Source { text: "x", starts: &[] }).is_empty());
    }
}
