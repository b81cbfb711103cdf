//! Images given as http(s) URLs, and the same request with their bytes in it.

use std::collections::HashMap;

use serde_json::Value;

use super::request::{ChatRequest, Invalid};

/// Where the URL of one image stands.
struct Place {
    message: usize,
    part: usize,
}

impl ChatRequest {
    /// The http(s) URLs of its images, each once, in their order.
    pub fn image_urls(&self) -> Vec<String> {
        let mut urls: Vec<String> = Vec::new();
        for (_, url) in images(&self.message_values()) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// The same request with these images as `data:` URIs, by their URL.
    pub fn with_images(&self, data_uris: &HashMap<String, String>) -> Result<Self, Invalid> {
        let mut messages = self.message_values();
        for (Place { message, part }, url) in images(&messages) {
            if let Some(data_uri) = data_uris.get(&url) {
                set_url(&mut messages[message]["content"][part]["image_url"], data_uri);
            }
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
            let image = &value["image_url"];
            let url = image["url"].as_str().or(image.as_str()).filter(|url| is_web(url));
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
}
