//! Ids of tool calls: made up where a server gives none, and made to fit where one takes only its own shape. The
//! same input gives the same id in every process, so that a call and its result still belong together.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Mistral's length.
const SHORT: usize = 9;

/// An id for a call that came without one. Turns differ by the id of their answer.
pub fn invented(answer: &str, choice: u32, call: usize, name: &str) -> String {
    let text = format!("{answer}\n{choice}\n{call}\n{name}");
    format!("call_{}", spelt(fingerprint(text.as_bytes()), 11))
}

/// The id itself if it is nine letters and digits, else nine that stand for it.
pub fn short(id: &str) -> String {
    let fits = id.len() == SHORT && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits { id.to_owned() } else { spelt(fingerprint(id.as_bytes()), SHORT) }
}

/// FNV-1a, which never changes, with a last stir of its bits.
fn fingerprint(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn spelt(mut number: u64, length: usize) -> String {
    let base = DIGITS.len() as u64;
    let mut text = String::with_capacity(length);
    for _ in 0..length {
        let digit = usize::try_from(number % base).unwrap_or_default();
        text.push(char::from(DIGITS[digit]));
        number /= base;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitting_ids_stay_and_others_get_nine_letters_and_digits() {
        assert_eq!(short("abcDEF123"), "abcDEF123");
        let made = short("call_7LkcDz9NiDeUaGWMFtKs4hzS");
        assert_eq!(made, short("call_7LkcDz9NiDeUaGWMFtKs4hzS"));
        assert_eq!(made, "s9Z8HP23v", "other builds must make the same of it");
        assert!(made.len() == 9 && made.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(made, short("call_7LkcDz9NiDeUaGWMFtKs4hzT"));
    }
}
