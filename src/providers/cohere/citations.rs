//! Citations as OpenAI's `annotations`.

use serde_json::{Value, json};

/// One `url_citation` for each source of a citation. `from` is where its text begins in the whole answer's, in
/// characters, as the API counts them too.
pub fn annotations(citation: &Value, from: usize) -> Vec<Value> {
    let place = |name: &str| citation[name].as_u64().and_then(|at| usize::try_from(at).ok());
    let (Some(start), Some(end)) = (place("start"), place("end")) else { return Vec::new() };
    let sources = citation["sources"].as_array().into_iter().flatten();
    let annotation = |source: &Value| {
        let told = |name: &str| {
            let places = [&source["document"], &source["document"]["data"], &source["tool_output"]];
            places.into_iter().find_map(|place| place[name].as_str()).filter(|text| !text.is_empty())
        };
        let id = source["id"].as_str().filter(|id| !id.is_empty());
        let url = told("url").or(id)?;
        let title = told("title").or(id).unwrap_or(url);
        Some(json!({
            "type": "url_citation",
            "url_citation": {
                "start_index": from.saturating_add(start),
                "end_index": from.saturating_add(end),
                "url": url,
                "title": title,
            },
        }))
    };
    sources.filter_map(annotation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_cited_with_the_best_address_it_has() {
        let citation = json!({"start": 2, "end": 5, "text": "abc", "sources": [
            {"type": "document", "id": "doc:0", "document": {"id": "doc:0", "title": "T", "url": "https://a"}},
            {"type": "tool", "id": "f_1:0", "tool_output": {"x": 1}},
            {"type": "document", "document": {}},
        ]});
        let found: Vec<_> = annotations(&citation, 10)
            .iter()
            .map(|annotation| {
                let cited = &annotation["url_citation"];
                (cited["start_index"].as_u64(), cited["url"].clone(), cited["title"].clone())
            })
            .collect();
        let expected =
            [(Some(12), json!("https://a"), json!("T")), (Some(12), json!("f_1:0"), json!("f_1:0"))];
        assert_eq!(found, expected);
        assert!(annotations(&json!({"start": 1, "sources": [{"id": "x"}]}), 0).is_empty());
    }
}
