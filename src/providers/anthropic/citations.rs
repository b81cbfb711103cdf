//! What the API says of a text's sources, as OpenAI's `annotations`. Their places count characters of the
//! message's whole text.

use std::ops::Range;

use serde_json::{Value, json};

/// The annotation of a citation: a web page, or a place in a document that the client sent.
pub fn annotation(cited: &Value, text: Range<usize>) -> Option<Value> {
    match member(cited, "type") {
        // The source of a search result that the client gave is whatever it said.
        Some("search_result_location") => match member(cited, "source") {
            Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
                Some(of_page(url, member(cited, "title"), text))
            }
            source => {
                Some(of_document(cited, member(cited, "title").or(source), "search_result_index", text))
            }
        },
        Some("char_location" | "page_location" | "content_block_location") => {
            Some(of_document(cited, member(cited, "document_title"), "document_index", text))
        }
        _ => Some(of_page(member(cited, "url")?, member(cited, "title"), text)),
    }
}

fn of_page(url: &str, title: Option<&str>, text: Range<usize>) -> Value {
    json!({
        "type": "url_citation",
        "url_citation": {
            "start_index": text.start,
            "end_index": text.end,
            "url": url,
            "title": title.unwrap_or(url),
        },
    })
}

/// OpenAI's chat format has no citation of a document; this is the form of its other APIs, with the quotation and
/// its place.
fn of_document(cited: &Value, title: Option<&str>, index: &str, text: Range<usize>) -> Value {
    let mut citation = json!({ "start_index": text.start, "end_index": text.end });
    let places = [
        "file_id",
        "start_char_index",
        "end_char_index",
        "start_page_number",
        "end_page_number",
        "start_block_index",
        "end_block_index",
    ];
    citation["filename"] = title.into();
    citation["index"] = cited.get(index).cloned().unwrap_or_default();
    citation["quote"] = cited.get("cited_text").cloned().unwrap_or_default();
    for name in places {
        if let Some(place) = cited.get(name).filter(|place| !place.is_null()) {
            citation[name] = place.clone();
        }
    }
    json!({ "type": "file_citation", "file_citation": citation })
}

fn member<'a>(cited: &'a Value, name: &str) -> Option<&'a str> {
    cited.get(name)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_source_has_its_form() {
        let page = json!({ "type": "web_search_result_location", "url": "https://a", "title": null });
        assert_eq!(annotation(&page, 3..5).unwrap()["url_citation"]["title"], "https://a");
        let found = json!({ "type": "search_result_location", "source": "https://b", "title": "B", "search_result_index": 0 });
        assert_eq!(annotation(&found, 3..5).unwrap()["url_citation"]["title"], "B");
        let named = json!({ "type": "search_result_location", "source": "kb/7", "search_result_index": 2 });
        let named = annotation(&named, 3..5).unwrap();
        assert_eq!(
            (&named["file_citation"]["filename"], &named["file_citation"]["index"]),
            (&json!("kb/7"), &json!(2))
        );
        let pages = json!({ "type": "page_location", "document_index": 1, "document_title": null, "start_page_number": 2, "cited_text": "q" });
        let pages = &annotation(&pages, 3..5).unwrap()["file_citation"];
        assert_eq!(
            (&pages["start_page_number"], &pages["quote"], &pages["end_index"]),
            (&json!(2), &json!("q"), &json!(5))
        );
        assert_eq!(annotation(&json!({ "type": "novel" }), 0..1), None);
    }
}
