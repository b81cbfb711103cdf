//! Images, audio and files as parts: their bytes inline, or the address from which Gemini fetches them.

use std::borrow::Cow;

use super::generation::Generation;
use super::host::Host;
use super::wire::{Blob, FileData, PartData};
use crate::chat::conversation::{FilePart, InputAudio};
use crate::chat::request::Invalid;
use crate::providers::{Unsendable, media};

/// Where Google keeps what it can always read: its own files, and videos.
const GOOGLES_HOSTS: [&str; 5] =
    ["generativelanguage.googleapis.com", "www.youtube.com", "m.youtube.com", "youtube.com", "youtu.be"];

/// Whether Gemini fetches from this address.
pub fn is_fetched(url: &str, generation: Generation, server: Host) -> bool {
    match server {
        Host::Direct => {
            let is_known = generation.fetches_addresses() || GOOGLES_HOSTS.contains(&host(url));
            is_known && has_scheme(url, "https://")
        }
        Host::Vertex => is_address(url),
    }
}

/// An image. Its bytes tell its type: what a `data:` URI says of them is often wrong.
pub fn image<'a>(param: &str, url: &'a str) -> Result<PartData<'a>, Unsendable> {
    if is_address(url) {
        return Ok(fetched(url, "image/jpeg"));
    }
    inline(param, url, "image/jpeg")
}

/// An audio clip.
pub fn audio<'a>(param: &str, audio: &'a InputAudio) -> Result<PartData<'a>, Unsendable> {
    let mime_type = match audio.format.as_str() {
        "wav" => "audio/wav",
        "mp3" => "audio/mp3",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "aac" => "audio/aac",
        "aiff" => "audio/aiff",
        _ => return Err(Unsendable::Lacks("audio_format")),
    };
    if audio.data.starts_with("data:") {
        return inline(param, &audio.data, mime_type);
    }
    Ok(PartData::InlineData(Blob { mime_type: mime_type.into(), data: media::standard(&audio.data) }))
}

/// A file, as its bytes or as an address. An id is of use only where it is Gemini's own.
pub fn file<'a>(param: &str, file: &'a FilePart) -> Result<PartData<'a>, Unsendable> {
    let named = file.filename.as_deref().and_then(type_of_name).unwrap_or("application/pdf");
    match (&file.file_data, &file.file_id) {
        (Some(data), _) if is_address(data) => Ok(fetched(data, named)),
        (Some(data), _) if data.starts_with("data:") => inline(param, data, named),
        (Some(data), _) => Ok(PartData::InlineData(Blob {
            mime_type: sniff(data).unwrap_or(named).into(),
            data: media::standard(data),
        })),
        (None, Some(id)) if is_address(id) => {
            let known = type_of_address(id).or_else(|| file.filename.as_deref().and_then(type_of_name));
            Ok(PartData::FileData(FileData { mime_type: known, file_uri: id }))
        }
        (None, Some(_)) => Err(Unsendable::Lacks("file_id")),
        (None, None) => Err(Invalid::at(param, "A file part needs `file_data` or `file_id`.").into()),
    }
}

/// An address on the web, or in Google's storage.
fn is_address(url: &str) -> bool {
    ["https://", "http://", "gs://"].iter().any(|scheme| has_scheme(url, scheme))
}

fn has_scheme(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// What Gemini fetches itself. It wants to be told the type; the address may show it.
fn fetched<'a>(url: &'a str, usual: &'static str) -> PartData<'a> {
    PartData::FileData(FileData { mime_type: Some(type_of_address(url).unwrap_or(usual)), file_uri: url })
}

fn type_of_address(url: &str) -> Option<&'static str> {
    let is_video = matches!(host(url), "www.youtube.com" | "m.youtube.com" | "youtube.com" | "youtu.be");
    let path = url.split(['?', '#']).next().unwrap_or(url);
    if is_video { Some("video/mp4") } else { type_of_name(path) }
}

fn type_of_name(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "csv" => "text/csv",
        "html" => "text/html",
        "xml" => "text/xml",
        "json" => "application/json",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "aac" => "audio/aac",
        "m4a" => "audio/mp4",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "mpeg" | "mpg" => "video/mpeg",
        "avi" => "video/x-msvideo",
        _ => return None,
    })
}

/// The bytes of a `data:` URI.
fn inline<'a>(param: &str, uri: &'a str, usual: &'static str) -> Result<PartData<'a>, Unsendable> {
    let invalid = || Invalid::at(param, "This must be an http(s) URL or a `data:` URI in base64.");
    let (head, data) = uri.strip_prefix("data:").and_then(|rest| rest.split_once(',')).ok_or_else(invalid)?;
    let declared = head.strip_suffix(";base64").ok_or_else(invalid)?;
    let mime_type = sniff(data).map_or_else(|| declared_type(declared, usual), Cow::Borrowed);
    Ok(PartData::InlineData(Blob { mime_type, data: media::standard(data) }))
}

/// The declared type without its parameters, and by its registered name.
fn declared_type<'a>(declared: &'a str, usual: &'static str) -> Cow<'a, str> {
    match declared.split(';').next().unwrap_or_default().trim() {
        "" | "application/octet-stream" => Cow::Borrowed(usual),
        "image/jpg" => Cow::Borrowed("image/jpeg"),
        other => Cow::Borrowed(other),
    }
}

/// The type that the first bytes show.
fn sniff(base64: &str) -> Option<&'static str> {
    const TYPES: [(usize, &[u8], &str); 7] = [
        (4, b"ftyphei", "image/heic"),
        (4, b"ftypmif1", "image/heif"),
        (4, b"ftypmp4", "video/mp4"),
        (4, b"ftypiso", "video/mp4"),
        (4, b"ftypqt", "video/quicktime"),
        (8, b"WAVE", "audio/wav"),
        (0, b"fLaC", "audio/flac"),
    ];
    let head = media::head(base64)?;
    let is = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let other = || TYPES.into_iter().find(|(at, magic, _)| is(*at, magic)).map(|(_, _, kind)| kind);
    media::sniff(base64).or_else(other)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB";

    fn written(part: Result<PartData<'_>, Unsendable>) -> Value {
        serde_json::to_value(part.unwrap()).unwrap()
    }

    #[test]
    fn the_bytes_of_an_image_tell_its_type() {
        let inline = |mime: &str, data: &str| json!({"inlineData": {"mimeType": mime, "data": data}});
        let cases = [
            (format!("data:image/jpeg;base64,{PNG}"), inline("image/png", PNG)),
            ("data:image/jpg;charset=x;base64,AAAA".into(), inline("image/jpeg", "AAAA")),
            ("data:image/tiff;base64,A-_\nA".into(), inline("image/tiff", "A+/A")),
            ("data:;base64,".into(), inline("image/jpeg", "")),
        ];
        for (uri, expected) in cases {
            assert_eq!(written(image("p", &uri)), expected, "{uri}");
        }
    }

    #[test]
    fn an_address_is_left_to_gemini() {
        let file = |mime: &str, uri: &str| json!({"fileData": {"mimeType": mime, "fileUri": uri}});
        for (uri, mime) in [
            ("https://x.org/a.PNG?b=.gif", "image/png"),
            ("HTTP://x.org/image", "image/jpeg"),
            ("https://x.org/a.webp#c", "image/webp"),
            ("https://youtu.be/lCdaVNyHtjU", "video/mp4"),
            ("https://m.youtube.com/watch?v=a.gif", "video/mp4"),
            ("gs://bucket/clip.MOV", "video/quicktime"),
        ] {
            assert_eq!(written(image("p", uri)), file(mime, uri));
        }
    }

    #[test]
    fn older_models_fetch_only_what_is_googles() {
        let cases = [
            ("https://x.org/a.png", false, true),
            ("http://x.org/a.png", false, false),
            ("https://youtu.be/x", true, true),
            ("https://generativelanguage.googleapis.com/v1beta/files/a", true, true),
        ];
        for (url, by_old, by_new) in cases {
            assert_eq!(is_fetched(url, Generation::Early, Host::Direct), by_old, "{url}");
            assert_eq!(is_fetched(url, Generation::TwoFive, Host::Direct), by_new, "{url}");
            assert!(is_fetched(url, Generation::Early, Host::Vertex), "{url}");
        }
    }

    #[test]
    fn what_is_neither_is_the_clients_fault() {
        for uri in ["ftp://x", "data:image/png,%89PNG", "data:", "", "é"] {
            let Err(Unsendable::Invalid(invalid)) = image("messages[1].content", uri) else {
                panic!("{uri}")
            };
            assert_eq!(invalid.param.as_deref(), Some("messages[1].content"));
        }
    }

    #[test]
    fn audio_and_files_are_inline() {
        let clip = |format: &str, data: &str| InputAudio { data: data.into(), format: format.into() };
        let wav = clip("wav", "UklGRiQAAABXQVZF");
        assert_eq!(
            written(audio("p", &wav)),
            json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRiQAAABXQVZF"}})
        );
        assert_eq!(audio("p", &clip("midi", "")).unwrap_err(), Unsendable::Lacks("audio_format"));

        let part = |data: Option<&str>, id: Option<&str>| FilePart {
            file_data: data.map(str::to_owned),
            file_id: id.map(str::to_owned),
            filename: None,
            cache_control: None,
        };
        let pdf = |data: &str| json!({"inlineData": {"mimeType": "application/pdf", "data": data}});
        let data = "JVBERi0xLjQKJcOkw7zD";
        assert_eq!(
            written(file("p", &part(Some(&format!("data:application/pdf;base64,{data}")), None))),
            pdf(data)
        );
        assert_eq!(written(file("p", &part(Some(data), None))), pdf(data));
        assert_eq!(
            written(file("p", &part(None, Some("https://generativelanguage.googleapis.com/v1beta/files/a")))),
            json!({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}})
        );
        assert_eq!(file("p", &part(None, Some("file-1"))).unwrap_err(), Unsendable::Lacks("file_id"));
        let movie = FilePart { filename: Some("a.mp4".into()), ..part(Some("AAAA"), None) };
        assert_eq!(
            written(file("p", &movie)),
            json!({"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}})
        );
    }
}
