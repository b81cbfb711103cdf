//! Media as clients send it, whatever it becomes: `data:` URIs, base64 whose first bytes tell its type, names of files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Unsendable;
use crate::chat::image;
use crate::chat::request::Invalid;

pub const PDF: &str = "application/pdf";

/// How much base64 is decoded to see what it is.
const HEAD: usize = 16;

/// The media type, in lower case and without parameters, and the base64 of what follows `data:`.
pub fn base64_of(uri: &str) -> Option<(String, &str)> {
    let (head, data) = uri.split_once(',')?;
    let head = head.trim_end().strip_suffix(";base64")?;
    let media_type = head.split(';').next().unwrap_or_default().trim();
    Some((media_type.to_ascii_lowercase(), data))
}

/// The media type of an image or a PDF, by its first bytes: what clients declare is often wrong.
pub fn sniff(base64: &str) -> Option<&'static str> {
    let head = head(base64)?;
    image::media_type(&head).or_else(|| head.starts_with(b"%PDF-").then_some(PDF))
}

/// The first bytes.
pub fn head(base64: &str) -> Option<Vec<u8>> {
    let head = base64.as_bytes();
    STANDARD.decode(&head[..head.len().min(HEAD) & !3]).ok()
}

/// Whether a file is text by its declared type, or by its name where no type is declared.
pub fn is_text(declared: &str, filename: Option<&str>) -> bool {
    const TYPES: [&str; 5] =
        ["application/json", "application/xml", "application/yaml", "application/toml", "application/x-yaml"];
    const ENDINGS: [&str; 8] = ["txt", "md", "csv", "json", "xml", "yaml", "yml", "html"];
    if !declared.is_empty() {
        return declared.starts_with("text/") || TYPES.contains(&declared);
    }
    let ending =
        filename.and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The declared type and the base64 of a file's `file_data`; `at` names the part in an error.
pub fn file_data<'a>(data: &'a str, at: &str) -> Result<(String, &'a str), Unsendable> {
    match data.strip_prefix("data:") {
        Some(uri) => {
            base64_of(uri).ok_or_else(|| Invalid::at(at, "`file_data` must be a base64 `data:` URI.").into())
        }
        None => Ok((String::new(), data)),
    }
}

/// The text of a file that [is text](is_text).
pub fn text(base64: &str, at: &str) -> Result<String, Unsendable> {
    let text = STANDARD.decode(base64).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Invalid::at(at, "`file_data` is declared as text but is not UTF-8 in base64.").into())
}
