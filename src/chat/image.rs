//! What the head of an image tells: its kind, and its size, by which providers charge.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How much base64 of an image is looked at: enough for a JPEG with a large thumbnail before its size.
const HEAD: usize = 96 * 1024;

/// Width and height of the image in a `data:` URI, if its head says so.
pub fn pixels_of_data_uri(uri: &str) -> Option<(u32, u32)> {
    let (_, base64) = uri.split_once(";base64,")?;
    let head = base64.as_bytes();
    let head = &head[..head.len().min(HEAD) & !3];
    pixels(&STANDARD.decode(head).ok()?)
}

/// The media type of a PNG, GIF, WebP or JPEG.
pub fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(usize, &[u8], &str); 4] = [
        (0, b"\x89PNG\r\n\x1a\n", "image/png"),
        (0, b"\xff\xd8\xff", "image/jpeg"),
        (0, b"GIF8", "image/gif"),
        (8, b"WEBP", "image/webp"),
    ];
    let fits =
        |(at, mark, _): &(usize, &[u8], &str)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(mark));
    kinds.into_iter().find(fits).map(|(_, _, media_type)| media_type)
}

/// Width and height of a PNG, GIF, WebP or JPEG.
fn pixels(bytes: &[u8]) -> Option<(u32, u32)> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some((be32(bytes, 16)?, be32(bytes, 20)?));
    }
    if bytes.starts_with(b"GIF8") {
        return Some((le16(bytes, 6)?, le16(bytes, 8)?));
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12)? == b"WEBP" {
        return webp(bytes);
    }
    if bytes.starts_with(&[0xff, 0xd8]) {
        return jpeg(bytes);
    }
    None
}

fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8 " => Some((le16(bytes, 26)? & 0x3fff, le16(bytes, 28)? & 0x3fff)),
        b"VP8L" => {
            let bits = u32::from_le_bytes(bytes.get(21..25)?.try_into().ok()?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((le24(bytes, 24)? + 1, le24(bytes, 27)? + 1)),
        _ => None,
    }
}

/// Walks the segments up to the frame header (SOF), which has the size.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        let is_frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
        if is_frame {
            return Some((be16(bytes, at + 7)?, be16(bytes, at + 5)?));
        }
        at += 2 + be16(bytes, at + 2)? as usize;
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn le24(bytes: &[u8], at: usize) -> Option<u32> {
    let part: [u8; 3] = bytes.get(at..at + 3)?.try_into().ok()?;
    Some(u32::from_le_bytes([part[0], part[1], part[2], 0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_and_never_panics() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\x00\0\0\x01\x00";
        assert_eq!(pixels(png), Some((512, 256)));
        assert_eq!(pixels(b"GIF89a\x0a\x00\x14\x00"), Some((10, 20)));
        let jpeg = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc0, 0, 11, 8, 0, 30, 0, 40, 3];
        assert_eq!(pixels(&jpeg), Some((40, 30)));
        for end in 0..jpeg.len() {
            let _ = pixels(&jpeg[..end]);
        }
        assert_eq!(pixels_of_data_uri("data:image/png;base64,????"), None);
    }
}
