//! Images and documents: from `data:` URIs and URLs to the API's sources.

use super::wire::{Block, Source};
use crate::chat::conversation::FilePart;
use crate::chat::request::{Image, Invalid};
use crate::providers::Unsendable;
use crate::providers::media::{self, PDF, base64_of, is_text, sniff};
use crate::units::Tokens;

/// How the ids of files begin that were uploaded to this provider.
const OWN_FILE: &str = "file_";

/// How many pixels one token covers.
const PIXELS_PER_TOKEN: u64 = 750;
/// Older models shrink an image until its longer edge and its tokens are within these.
const STANDARD_LIMITS: (u32, u64) = (1568, 1600);
/// Newer models look at more of it.
const HIGH_LIMITS: (u32, u64) = (2576, 4784);

/// The source of an image part. A wrong media type is refused upstream, and clients often send one, so the
/// bytes themselves are asked first.
pub fn image(url: &str) -> Result<Source<'_>, Unsendable> {
    let Some(uri) = url.strip_prefix("data:") else { return Ok(Source::Url { url }) };
    let (declared, data) = base64_of(uri).ok_or(Unsendable::Lacks("image_format"))?;
    let media_type = match sniff(data) {
        Some(known) => known,
        None => match declared.as_str() {
            "image/jpeg" | "image/jpg" => "image/jpeg",
            "image/png" => "image/png",
            "image/gif" => "image/gif",
            "image/webp" => "image/webp",
            _ => return Err(Unsendable::Lacks("image_format")),
        },
    };
    match media_type {
        PDF => Err(Unsendable::Lacks("image_format")),
        media_type => Ok(Source::Base64 { media_type, data: media::standard(data) }),
    }
}

/// The document block of a file part; `at` names the part in an error.
pub fn document<'a>(file: &'a FilePart, at: &str) -> Result<Block<'a>, Unsendable> {
    let title = file.filename.as_deref().filter(|name| !name.is_empty());
    let block = |source| Block::Document { source, title, cache_control: file.cache_control.as_ref() };
    let Some(data) = file.file_data.as_deref() else {
        return Err(match file.file_id {
            // Ids belong to the provider that the file was uploaded to; they look different at each.
            Some(ref file_id) if file_id.starts_with(OWN_FILE) => {
                return Ok(block(Source::File { file_id }));
            }
            Some(_) => Unsendable::Lacks("file_id"),
            None => Invalid::at(at, "A file part needs `file.file_data`.").into(),
        });
    };
    if data.starts_with("http://") || data.starts_with("https://") {
        return Ok(block(Source::Url { url: data }));
    }
    let (declared, data) = media::file_data(data, at)?;
    if sniff(data) == Some(PDF) || declared == PDF {
        return Ok(block(Source::Base64 { media_type: PDF, data: media::standard(data) }));
    }
    if !is_text(&declared, title) {
        return Err(Unsendable::Lacks("documents"));
    }
    Ok(block(Source::Text { media_type: "text/plain", data: media::text(data, at)? }))
}

/// What an image costs as input: the first number on models that see it small, the second on those that see
/// it large.
pub fn image_tokens(image: &Image) -> (Tokens, Tokens) {
    let Some(pixels) = image.pixels else { return (Tokens::new(1), Tokens::new(HIGH_LIMITS.1)) };
    let tokens = |limits| Tokens::new(tokens(pixels, limits));
    (tokens(STANDARD_LIMITS), tokens(HIGH_LIMITS))
}

fn tokens((width, height): (u32, u32), (longest, most): (u32, u64)) -> u64 {
    let (width, height, edge) = (u64::from(width), u64::from(height), u64::from(width.max(height)));
    let mut area = u128::from(width) * u128::from(height);
    if edge > u64::from(longest) {
        area = area * u128::from(longest).pow(2) / u128::from(edge).pow(2);
    }
    u64::try_from(area).unwrap_or(u64::MAX).div_ceil(PIXELS_PER_TOKEN).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAE=";

    fn base64(media_type: &'static str, data: &'static str) -> Source<'static> {
        Source::Base64 { media_type, data: data.into() }
    }

    #[test]
    fn the_bytes_are_believed_before_the_declaration() {
        let uri = format!("data:image/jpeg;charset=utf-8;base64,{PNG}");
        assert_eq!(image(&uri), Ok(base64("image/png", PNG)));
        assert_eq!(image("data:image/JPG;base64,AAAA"), Ok(base64("image/jpeg", "AAAA")));
        assert_eq!(image("https://x/y.png"), Ok(Source::Url { url: "https://x/y.png" }));
        for strange in [
            "data:image/svg+xml;base64,AAAA",
            "data:,x",
            "data:",
            "data:image/png,%89",
            "data:;base64,JVBERi0x",
        ] {
            assert_eq!(image(strange), Err(Unsendable::Lacks("image_format")), "{strange}");
        }
    }

    #[test]
    fn documents_are_pdf_or_text() {
        let file = |data: &str, name: Option<&str>| FilePart {
            file_data: Some(data.into()),
            file_id: None,
            filename: name.map(Into::into),
            cache_control: None,
        };
        let source = |file: &FilePart| match document(file, "messages[0]") {
            Ok(Block::Document { source, .. }) => Ok(format!("{source:?}")),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        let pdf = file("JVBERi0xLjQ=", None);
        assert!(source(&pdf).unwrap().contains("application/pdf"));
        assert!(source(&file("data:text/csv;base64,YSxi", None)).unwrap().contains("a,b"));
        assert!(source(&file("YSxi", Some("x.csv"))).unwrap().contains("a,b"));
        assert_eq!(source(&file("data:video/mp4;base64,YSxi", None)), Err(Unsendable::Lacks("documents")));
        assert!(matches!(source(&file("data:text/csv;base64,/w==", None)), Err(Unsendable::Invalid(_))));
        let id = |id: &str| FilePart { file_data: None, file_id: Some(id.into()), ..file("", None) };
        assert_eq!(source(&id("file-1")), Err(Unsendable::Lacks("file_id")));
        assert!(source(&id("file_011C")).unwrap().contains("file_011C"));
    }

    #[test]
    fn images_cost_what_is_left_of_them_after_shrinking() {
        let cost = |width, height| {
            let (least, most) = image_tokens(&Image { pixels: Some((width, height)), low_detail: false });
            (least.get(), most.get())
        };
        assert_eq!(cost(200, 200), (54, 54));
        assert_eq!(cost(1092, 1092), (1590, 1590));
        assert_eq!(cost(3000, 3000), (1600, 4784));
        assert_eq!(cost(10_000, 100), (33, 89));
        assert_eq!(cost(u32::MAX, u32::MAX), (1600, 4784));
        assert_eq!(cost(0, 0), (1, 1));
    }
}
