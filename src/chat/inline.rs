//! The images of a request, and the same request with the bytes behind their URLs in it, or with words in their place.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::request::{ChatRequest, Invalid};

/// Where one image stands.
struct Place {
    message: usize,
    part: usize,
}

/// What stands before the words that stand for an image.
const DESCRIBED: &str = "[An image was here. This describes it:]\n";
/// What stands behind them.
const END: &str = "\n[End of the description.]";

impl ChatRequest {
    /// The http(s) URLs of its images, each once, in their order.
    pub fn image_urls(&self) -> Vec<String> {
        let mut urls = self.images();
        urls.retain(|url| is_web(url));
        urls
    }

    /// The URLs of all its images, http(s) or `data:`, each once, in their order.
    pub fn images(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let all = images(&self.message_values()).into_iter().map(|(_, url)| url);
        all.filter(|url| seen.insert(url.clone())).collect()
    }

    /// The same request with these images as `data:` URIs, by their URL.
    pub fn with_images(&self, data_uris: &HashMap<String, String>) -> Result<Self, Invalid> {
        self.with_parts(|part, url| {
            if let Some(data_uri) = data_uris.get(url) {
                set_url(&mut part["image_url"], data_uri);
            }
        })
    }

    /// The same request with words in place of its images, by their URL.
    pub fn with_words(&self, words: &HashMap<String, String>) -> Result<Self, Invalid> {
        self.with_parts(|part, url| {
            if let (Some(words), Some(part)) = (words.get(url), part.as_object_mut()) {
                part.remove("image_url");
                part.insert("type".into(), "text".into());
                part.insert("text".into(), format!("{DESCRIBED}{words}{END}").into());
            }
        })
    }

    /// The same request with the parts changed that are images; `change` gets the part and its URL.
    fn with_parts(&self, change: impl Fn(&mut Value, &str)) -> Result<Self, Invalid> {
        let mut messages = self.message_values();
        for (Place { message, part }, url) in images(&messages) {
            change(&mut messages[message]["content"][part], &url);
        }
        let mut edit = self.edit();
        edit.set("messages", Value::from(messages).to_string());
        Self::parse(edit.finish().concat().into())
    }

    fn message_values(&self) -> Vec<Value> {
        self.member("messages").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}

fn images(messages: &[Value]) -> Vec<(Place, String)> {
    let mut found = Vec::new();
    for (message, value) in messages.iter().enumerate() {
        for (part, value) in value["content"].as_array().into_iter().flatten().enumerate() {
            if value["type"] != "image_url" {
                continue;
            }
            let image = &value["image_url"];
            let url = image["url"].as_str().or(image.as_str());
            found.extend(url.map(|url| (Place { message, part }, url.to_owned())));
        }
    }
    found
}

fn set_url(image: &mut Value, url: &str) {
    match image {
        Value::Object(image) => drop(image.insert("url".into(), url.into())),
        bare => *bare = url.into(),
    }
}

fn is_web(url: &str) -> bool {
    let starts = |scheme: &str| url.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    starts("http://") || starts("https://")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_place_of_a_url_gets_its_bytes_and_nothing_else_changes() {
        let body = r#"{"model":"m","top":1.50,"messages":[{"role":"user","content":[
            {"type":"text","text":"http://not.an/image"},
            {"type":"image_url","image_url":{"url":"HTTPS://a/1.png","detail":"low"}},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}},
            {"type":"image_url","image_url":{"url":"http://b/2.png"}},
            {"type":"image_url","image_url":{"url":"HTTPS://a/1.png"}}]}]}"#;
        let request = ChatRequest::parse(body.into()).unwrap();
        assert_eq!(request.image_urls(), ["HTTPS://a/1.png", "http://b/2.png"]);
        let uris = HashMap::from([("HTTPS://a/1.png".to_owned(), "data:image/gif;base64,AA==".to_owned())]);
        let inlined = request.with_images(&uris).unwrap();
        let before: Value =
            serde_json::from_str(&body.replace("HTTPS://a/1.png", "data:image/gif;base64,AA==")).unwrap();
        let after: Value = serde_json::from_slice(inlined.body()).unwrap();
        assert_eq!(after, before);
        assert!(inlined.needs.image_url, "the other URL is still one");
        assert_eq!(inlined.member("top"), Some("1.50"));
    }

    #[test]
    fn words_stand_where_images_stood() {
        let body = r#"{"model":"m","seed":1.0,"messages":[{"role":"user","content":[
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}},
            {"type":"text","text":"Compare.","image_url":{"url":"not read"}},
            {"type":"image_url","image_url":{"url":"https://a/1.png"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"c","content":[
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}}]}]}"#;
        let request = ChatRequest::parse(body.into()).unwrap();
        assert_eq!(request.images(), ["data:image/png;base64,AA==", "https://a/1.png"]);
        let words = request.images().into_iter().zip(["a cat".to_owned(), "a \"dog\"".to_owned()]);
        let described = request.with_words(&words.collect()).unwrap();
        assert!(described.images().is_empty());
        let after: Value = serde_json::from_slice(described.body()).unwrap();
        let part = |words: &str| json!({ "type": "text", "text": format!("{DESCRIBED}{words}{END}") });
        assert_eq!(after["messages"][0]["content"][0], part("a cat"));
        assert_eq!(after["messages"][0]["content"][1]["text"], "Compare.");
        assert_eq!(after["messages"][0]["content"][2], part("a \"dog\""));
        assert_eq!(after["messages"][2]["content"], json!([part("a cat")]));
        assert_eq!(described.member("seed"), Some("1.0"));
    }
}
