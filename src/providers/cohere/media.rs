//! Images, and files as documents.

use super::wire::FileData;
use crate::chat::conversation::FilePart;
use crate::chat::request::{Image, Invalid};
use crate::providers::Unsendable;
use crate::providers::media::{self, is_text};
use crate::units::Tokens;

/// What an image costs that is looked at once, and each tile of one that is looked at closely.
const TILE: u64 = 259;
/// The edge of a tile in pixels.
const EDGE: u32 = 512;
/// The most tiles of an image, the small view of the whole beside them.
const TILES: u64 = 12;

/// The tokens that an image costs.
pub fn image_tokens(image: &Image) -> (Tokens, Tokens) {
    let tiles = |(width, height): (u32, u32)| {
        let tiles = u64::from(width.div_ceil(EDGE).max(1)) * u64::from(height.div_ceil(EDGE).max(1));
        if tiles == 1 { 1 } else { tiles.min(TILES) + 1 }
    };
    let most = if image.low_detail { 1 } else { image.pixels.map_or(TILES + 1, tiles) };
    (Tokens::new(TILE), Tokens::new(TILE * most))
}

/// A file as a document. Only text can be one; `at` names the part in an error.
pub fn document<'a>(file: &'a FilePart, at: &str) -> Result<FileData<'a>, Unsendable> {
    let Some(data) = file.file_data.as_deref() else {
        return Err(match file.file_id {
            // Ids belong to the provider that the file was uploaded to.
            Some(_) => Unsendable::Lacks("file_id"),
            None => Invalid::at(at, "A file part needs `file.file_data`.").into(),
        });
    };
    let title = file.filename.as_deref().filter(|name| !name.is_empty());
    let (declared, data) = media::file_data(data, at)?;
    if !is_text(&declared, title) {
        return Err(Unsendable::Lacks("documents"));
    }
    Ok(FileData { title, text: media::text(data, at)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(data: Option<&str>, name: Option<&str>, id: Option<&str>) -> FilePart {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        FilePart { file_data: owned(data), file_id: owned(id), filename: owned(name), cache_control: None }
    }

    #[test]
    fn text_is_a_document_and_nothing_else_is() {
        let csv = file(Some("data:text/csv;charset=utf-8;base64,YSxi"), Some("x.csv"), None);
        assert_eq!(document(&csv, "p"), Ok(FileData { title: Some("x.csv"), text: "a,b".into() }));
        let named = file(Some("YSxi"), Some("x.TXT"), None);
        assert_eq!(document(&named, "p").unwrap().text, "a,b");
        let lacks = |file: &FilePart| document(file, "p").unwrap_err();
        let pdf = file(Some("data:application/pdf;base64,JVBERg=="), Some("x.txt"), None);
        assert_eq!(lacks(&pdf), Unsendable::Lacks("documents"));
        assert_eq!(lacks(&file(Some("YSxi"), None, None)), Unsendable::Lacks("documents"));
        assert_eq!(lacks(&file(None, None, Some("file-1"))), Unsendable::Lacks("file_id"));
        for broken in
            [file(Some("data:text/csv"), None, None), file(Some("data:text/csv;base64,/w=="), None, None)]
        {
            assert!(matches!(lacks(&broken), Unsendable::Invalid(_)));
        }
    }

    #[test]
    fn images_cost_by_their_tiles() {
        let cost = |pixels, low_detail| image_tokens(&Image { pixels, low_detail }).1.get();
        assert_eq!(cost(Some((128, 128)), false), 259);
        assert_eq!(cost(Some((1024, 513)), false), 5 * 259);
        assert_eq!(cost(Some((u32::MAX, u32::MAX)), false), 13 * 259);
        assert_eq!(cost(None, false), 13 * 259);
        assert_eq!(cost(None, true), 259);
    }
}
