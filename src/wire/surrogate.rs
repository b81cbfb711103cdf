//! Halves of characters. Beyond the first 65,536 a character is written in JSON's escapes as two halves, and servers
//! that cut text without looking send one of them alone: no parser of ours takes that, and few clients' do.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;

static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r"\u"));

/// How an escape of one half ends: four digits after `\u`.
const LENGTH: usize = 6;

/// JSON text in which every half that stands alone is U+FFFD; the same bytes where there is none.
pub fn mended(json: Bytes) -> Bytes {
    let Some(first) = ESCAPE.find(&json) else { return json };
    // An escape begins at the first of a run of backslashes.
    let run = json[..first].iter().rev().take_while(|byte| **byte == b'\\').count();
    let mut lone = Vec::new();
    let mut at = first - run;
    while at < json.len() {
        if json[at] != b'\\' {
            at += 1;
            continue;
        }
        at += match (half(&json, at), half(&json, at + LENGTH)) {
            (Some(Half::First), Some(Half::Second)) => 2 * LENGTH,
            (Some(_), _) => {
                lone.push(at);
                LENGTH
            }
            (None, _) => 2,
        };
    }
    if lone.is_empty() {
        return json;
    }
    let mut mended = json.to_vec();
    for at in lone {
        mended[at..at + LENGTH].copy_from_slice(br"\ufffd");
    }
    mended.into()
}

enum Half {
    First,
    Second,
}

/// The half that is escaped here.
fn half(json: &[u8], at: usize) -> Option<Half> {
    let digits = json.get(at..at + LENGTH)?.strip_prefix(br"\u")?;
    match (digits[0], digits[1], digits[2..].iter().all(u8::is_ascii_hexdigit)) {
        (b'd' | b'D', b'8'..=b'9' | b'a'..=b'b' | b'A'..=b'B', true) => Some(Half::First),
        (b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', true) => Some(Half::Second),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_that_stand_alone_change() {
        let cases = [
            (r#"{"a":"x\ud83d"}"#, r#"{"a":"x\ufffd"}"#),
            (r#"["\uDE00b", "\ud83d\n"]"#, r#"["\ufffdb", "\ufffd\n"]"#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
        ];
        for (sent, expected) in cases {
            let mended = mended(Bytes::from_static(sent.as_bytes()));
            assert_eq!(mended, expected.as_bytes(), "{sent}");
            assert!(serde_json::from_slice::<serde_json::Value>(&mended).is_ok(), "{sent}");
        }
        for whole in [r#""\ud83d\ude00 \u00e9""#, r#""\\ud83d""#, r#"{"a":1}"#, r"\u", r"\ud8", "", "[DONE]"]
        {
            let bytes = Bytes::from_static(whole.as_bytes());
            assert_eq!(mended(bytes.clone()).as_ptr(), bytes.as_ptr(), "{whole}");
        }
    }
}
