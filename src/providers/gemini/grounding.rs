//! The sources of a grounded answer, as OpenAI's `annotations`.

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
struct Chunk {
    /// A source that is no web page has no address to cite.
    web: Option<Web>,
}

#[derive(Deserialize)]
struct Web {
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

/// A stretch of the answer, in bytes of UTF-8 from its start, thoughts not counted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Segment {
    #[serde(default)]
    start_index: usize,
    #[serde(default)]
    end_index: usize,
    text: Option<String>,
}

/// One `url_citation` for each source of each supported stretch of `text`. What cannot be read is left out.
pub fn annotations(metadata: &Value, text: &str) -> Vec<Value> {
    let Ok(metadata) = GroundingMetadata::deserialize(metadata) else { return Vec::new() };
    let mut annotations = Vec::new();
    for support in &metadata.grounding_supports {
        let Some((start, end)) = support.segment.as_ref().and_then(|segment| segment.place(text)) else {
            continue;
        };
        for chunk in &support.grounding_chunk_indices {
            let web = metadata.grounding_chunks.get(*chunk).and_then(|chunk| chunk.web.as_ref());
            let Some((web, url)) = web.and_then(|web| Some((web, web.uri.as_ref()?))) else { continue };
            annotations.push(json!({
                "type": "url_citation",
                "url_citation": {
                    "start_index": start,
                    "end_index": end,
                    "url": url,
                    "title": web.title.as_ref().unwrap_or(url),
                },
            }));
        }
    }
    annotations
}

impl Segment {
    /// Where it stands in `text`, in characters. Its own text is the proof: where the indexes do not point at it
    /// (they may be those of a single part), it is looked for.
    fn place(&self, text: &str) -> Option<(usize, usize)> {
        let pointed = text.get(self.start_index..self.end_index).filter(|found| !found.is_empty());
        let range = match (&self.text, pointed) {
            (Some(quoted), Some(found)) if quoted == found => self.start_index..self.end_index,
            (None, Some(_)) => self.start_index..self.end_index,
            (Some(quoted), _) if !quoted.is_empty() => {
                let start = text.find(quoted.as_str())?;
                start..start + quoted.len()
            }
            (Some(_) | None, _) => return None,
        };
        let start = text[..range.start].chars().count();
        Some((start, start + text[range].chars().count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cited(support: &Value, text: &str) -> Vec<(u64, u64, String)> {
        let metadata = json!({
            "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}, {"retrievedContext": {}}],
            "groundingSupports": [support],
        });
        let read = |annotation: &Value| {
            let citation = &annotation["url_citation"];
            let number = |name: &str| citation[name].as_u64().unwrap();
            (number("start_index"), number("end_index"), citation["title"].as_str().unwrap().to_owned())
        };
        annotations(&metadata, text).iter().map(read).collect()
    }

    #[test]
    fn bytes_become_characters_and_only_web_pages_are_cited() {
        let support = json!({"segment": {"startIndex": 6, "endIndex": 11, "text": "süß"}, "groundingChunkIndices": [0, 2, 1, 9]});
        assert_eq!(cited(&support, "Öé: süß!"), [(4, 7, "A".into()), (4, 7, "https://b".into())]);
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
        assert!(annotations(&json!({"groundingSupports": 3}), "x").is_empty());
    }
}
