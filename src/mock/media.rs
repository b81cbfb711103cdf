//! What the first bytes of media say that it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Enough base64 for every signature below.
const HEAD: usize = 24;

/// The media type that the base64 text begins as, where its first bytes tell.
pub fn sniff(base64: &str) -> Option<&'static str> {
    let head = base64.get(..HEAD)?;
    let bytes = STANDARD.decode(head).ok()?;
    match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', ..] => Some("application/pdf"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_type() {
        assert_eq!(sniff("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAA"), Some("image/png"));
        assert_eq!(sniff("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAA"), Some("image/gif"));
        assert_eq!(sniff("JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoK"), Some("application/pdf"));
        assert_eq!(sniff("AAAA"), None);
        assert_eq!(sniff(&STANDARD.encode([0; 40])), None);
    }
}
