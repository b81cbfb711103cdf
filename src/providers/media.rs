//! Media as clients send it, whatever it becomes: `data:` URIs, base64 whose first bytes tell its type, names of files.

use std::borrow::Cow;

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

/// Base64 in the standard alphabet, on one line, with its padding: clients have it from elsewhere in every spelling, and
/// providers take no other.
pub fn standard(base64: &str) -> Cow<'_, str> {
    let is_odd = |c: char| c.is_ascii_whitespace() || matches!(c, '-' | '_');
    if !base64.contains(is_odd) && base64.len().is_multiple_of(4) {
        return Cow::Borrowed(base64);
    }
    let standard = |c: char| match c {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    let mut whole: String = base64.chars().filter(|c| !c.is_ascii_whitespace()).map(standard).collect();
    while !whole.len().is_multiple_of(4) {
        whole.push('=');
    }
    whole.into()
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
    let text =
        STANDARD.decode(standard(base64).as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Invalid::at(at, "`file_data` is declared as text but is not UTF-8 in base64.").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_spelling_is_the_standard_one() {
        for (sent, expected) in [
            ("_9j_4Pv", "/9j/4Pv="),
            ("-_8", "+/8="),
            ("YWJj\r\nZGU=\n", "YWJjZGU="),
            ("YWJj", "YWJj"),
            ("", ""),
        ] {
            assert_eq!(standard(sent), expected, "{sent}");
        }
        assert!(matches!(standard("YWI="), Cow::Borrowed(_)));
        assert_eq!(text("aGk", "x").unwrap(), "hi");
    }
}
