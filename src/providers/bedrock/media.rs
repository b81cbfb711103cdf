//! Images, audio and files: their bytes as the API's blocks, or their place in the account's own storage. The API
//! fetches nothing from the web.

use super::documents::Names;
use super::wire::{Block, Document, Media, Source};
use crate::chat::conversation::{FilePart, InputAudio};
use crate::chat::request::Invalid;
use crate::providers::Unsendable;
use crate::providers::anthropic::media::image as anthropic_image;
use crate::providers::anthropic::wire as anthropic;
use crate::providers::media::{self, PDF, base64_of, is_text, sniff};

/// The block of an image part.
pub fn image(url: &str) -> Result<Block<'_>, Unsendable> {
    if is_stored(url) {
        let format = match ending(Some(url)).as_deref() {
            Some("jpg" | "jpeg") => "jpeg",
            Some("gif") => "gif",
            Some("webp") => "webp",
            Some(_) | None => "png",
        };
        return Ok(Block::Image(Media { format, source: Source::S3Location { uri: url } }));
    }
    match anthropic_image(url)? {
        anthropic::Source::Base64 { media_type, data } => {
            let format = media_type.strip_prefix("image/").unwrap_or(media_type);
            Ok(Block::Image(Media { format, source: Source::Bytes(data) }))
        }
        anthropic::Source::Url { .. } | anthropic::Source::Text { .. } | anthropic::Source::File { .. } => {
            Err(Unsendable::Lacks("image_url"))
        }
    }
}

/// The block of an audio part.
pub fn audio(audio: &InputAudio) -> Result<Block<'_>, Unsendable> {
    const FORMATS: [&str; 8] = ["mp3", "wav", "flac", "aac", "ogg", "opus", "m4a", "webm"];
    let format = FORMATS.into_iter().find(|format| *format == audio.format);
    let format = format.ok_or(Unsendable::Lacks("audio_format"))?;
    let data =
        audio.data.strip_prefix("data:").and_then(base64_of).map_or(audio.data.as_str(), |(_, data)| data);
    Ok(Block::Audio(Media { format, source: Source::Bytes(media::standard(data)) }))
}

/// The block of a file part: a document, or what its media type says that it is. `at` names the part in an error.
pub fn file<'a>(file: &'a FilePart, at: &str, names: &mut Names) -> Result<Block<'a>, Unsendable> {
    let Some(data) = file.file_data.as_deref() else {
        return Err(match file.file_id {
            // Ids belong to the provider that the file was uploaded to.
            Some(_) => Unsendable::Lacks("file_id"),
            None => Invalid::at(at, "A file part needs `file.file_data`.").into(),
        });
    };
    if data.starts_with("http://") || data.starts_with("https://") {
        return Err(Unsendable::Lacks("file_url"));
    }
    let filename = file.filename.as_deref().filter(|name| !name.is_empty());
    let (declared, source, filename) = if is_stored(data) {
        (String::new(), Source::S3Location { uri: data }, filename.or(Some(data)))
    } else {
        let (declared, data) = media::file_data(data, at)?;
        (declared, Source::Bytes(media::standard(data)), filename)
    };
    if let Some(format) = video_format(&declared, filename) {
        return Ok(Block::Video(Media { format, source }));
    }
    let data = match &source {
        Source::Bytes(data) => data,
        Source::S3Location { .. } => "",
    };
    if let Some(format) = sniff(data).and_then(|kind| kind.strip_prefix("image/")) {
        return Ok(Block::Image(Media { format, source }));
    }
    let format = document_format(&declared, data, filename).ok_or(Unsendable::Lacks("documents"))?;
    Ok(Block::Document(Document { format, name: names.name(filename), source }))
}

fn document_format(declared: &str, data: &str, filename: Option<&str>) -> Option<&'static str> {
    const TYPES: [(&str, &str); 8] = [
        (PDF, "pdf"),
        ("text/csv", "csv"),
        ("application/msword", "doc"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
        ("application/vnd.ms-excel", "xls"),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
        ("text/html", "html"),
        ("text/markdown", "md"),
    ];
    const ENDINGS: [&str; 9] = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
    if sniff(data) == Some(PDF) {
        return Some("pdf");
    }
    let by_type = TYPES.into_iter().find(|(kind, _)| *kind == declared).map(|(_, format)| format);
    let is_telling = !matches!(declared, "" | "text/plain" | "application/octet-stream");
    let by_ending =
        ENDINGS.into_iter().find(|format| !is_telling && ending(filename).as_deref() == Some(format));
    // All other text is text: its own markup says the rest.
    by_type.or(by_ending).or_else(|| is_text(declared, filename).then_some("txt"))
}

fn video_format(declared: &str, filename: Option<&str>) -> Option<&'static str> {
    const TYPES: [(&str, &str); 9] = [
        ("video/mp4", "mp4"),
        ("video/quicktime", "mov"),
        ("video/x-matroska", "mkv"),
        ("video/webm", "webm"),
        ("video/x-flv", "flv"),
        ("video/mpeg", "mpeg"),
        ("video/mpg", "mpg"),
        ("video/x-ms-wmv", "wmv"),
        ("video/3gpp", "three_gp"),
    ];
    let ending = ending(filename).filter(|_| declared.is_empty());
    let named = |(kind, format): &(&str, &str)| *kind == declared || ending.as_deref() == Some(format);
    TYPES.into_iter().find(named).map(|(_, format)| format)
}

fn is_stored(url: &str) -> bool {
    url.starts_with("s3://")
}

fn ending(filename: Option<&str>) -> Option<String> {
    let (_, ending) = filename?.rsplit_once('.')?;
    Some(ending.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(data: &str, name: Option<&str>) -> FilePart {
        FilePart {
            file_data: Some(data.into()),
            file_id: None,
            filename: name.map(Into::into),
            cache_control: None,
        }
    }

    fn format(data: &str, name: Option<&str>) -> Result<&'static str, Unsendable> {
        match file(&part(data, name), "p", &mut Names::default())? {
            Block::Document(Document { format, .. })
            | Block::Video(Media { format, .. })
            | Block::Image(Media { format, .. }) => Ok(format),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_what_its_bytes_type_or_name_say() {
        let cases = [
            ("data:application/octet-stream;base64,JVBERi0xLjQ=", None, Ok("pdf")),
            ("data:text/plain;base64,YSxi", Some("a.CSV"), Ok("csv")),
            ("data:text/plain;base64,YSxi", None, Ok("txt")),
            ("data:application/json;base64,e30=", Some("a.json"), Ok("txt")),
            ("YSxi", Some("notes.md"), Ok("md")),
            ("data:application/vnd.ms-excel;base64,AAAA", None, Ok("xls")),
            ("data:video/quicktime;base64,AAAA", None, Ok("mov")),
            ("AAAA", Some("a.mkv"), Ok("mkv")),
            ("data:application/pdf;base64,iVBORw0KGgoAAAANSUhEUgAAAAE=", None, Ok("png")),
            ("data:application/zip;base64,AAAA", Some("a.zip"), Err(Unsendable::Lacks("documents"))),
            ("s3://bucket/a.PDF", None, Ok("pdf")),
            ("s3://bucket/a.mp4", None, Ok("mp4")),
            ("https://x/y.pdf", None, Err(Unsendable::Lacks("file_url"))),
        ];
        for (data, name, expected) in cases {
            assert_eq!(format(data, name), expected, "{data} {name:?}");
        }
        assert!(matches!(format("data:x", None), Err(Unsendable::Invalid(_))));
    }

    #[test]
    fn audio_is_bytes_of_a_known_format() {
        let clip = |format: &str, data: &str| InputAudio { data: data.into(), format: format.into() };
        let mp3 = Block::Audio(Media { format: "mp3", source: Source::Bytes("AAAA".into()) });
        assert_eq!(audio(&clip("mp3", "data:audio/mpeg;base64,AAAA")), Ok(mp3));
        assert_eq!(audio(&clip("midi", "AAAA")), Err(Unsendable::Lacks("audio_format")));
        let stored = Source::S3Location { uri: "s3://bucket/a.JPG" };
        assert_eq!(image("s3://bucket/a.JPG"), Ok(Block::Image(Media { format: "jpeg", source: stored })));
        assert_eq!(image("https://x/y.png"), Err(Unsendable::Lacks("image_url")));
    }
}
