//! Ids and pseudonyms as the rows hold them: as few bytes as they can be, and as they are where they have another form.

use std::hash::{Hash, Hasher};

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, Value, ValueRef};

/// A request's id: 16 bytes where it is a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id<'a> {
    Uuid([u8; 16]),
    Text(&'a str),
}

/// A user or a session: an integer where it is 16 hexadecimal digits, as pseudonyms are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    Pseudonym(u64),
    Text(Box<str>),
}

const HEX: &[u8; 16] = b"0123456789abcdef";
/// Where a UUID has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const UUID_LENGTH: usize = 36;

impl<'a> Id<'a> {
    /// The shortest form.
    pub fn of(text: &'a str) -> Self {
        uuid(text.as_bytes()).map_or(Self::Text(text), Self::Uuid)
    }

    /// Eight hexadecimal digits of it, so to speak: what differs here is another id.
    pub fn tag(self) -> u32 {
        let bytes = match &self {
            Self::Uuid(bytes) => &bytes[..],
            Self::Text(text) => text.as_bytes(),
        };
        crc32fast::hash(bytes)
    }

    /// As text again.
    pub fn read(value: ValueRef<'_>) -> Option<String> {
        match value {
            ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => {
                let mut text = String::with_capacity(UUID_LENGTH);
                for byte in bytes {
                    if HYPHENS.contains(&text.len()) {
                        text.push('-');
                    }
                    push_hex(&mut text, *byte);
                }
                Some(text)
            }
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
        }
    }
}

impl ToSql for Id<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Uuid(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl Person {
    /// The shortest form.
    pub fn of(text: &str) -> Self {
        let digits = <[u8; 16]>::try_from(text.as_bytes()).ok();
        let pseudonym = digits.and_then(hex).map(u64::from_be_bytes);
        pseudonym.map_or_else(|| Self::Text(text.into()), Self::Pseudonym)
    }

    /// As text again.
    pub fn told(&self) -> String {
        match self {
            Self::Pseudonym(number) => {
                number.to_be_bytes().iter().fold(String::with_capacity(16), |mut text, byte| {
                    push_hex(&mut text, *byte);
                    text
                })
            }
            Self::Text(text) => text.to_string(),
        }
    }
}

impl Hash for Person {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Pseudonym(number) => state.write_u64(*number),
            Self::Text(text) => state.write(text.as_bytes()),
        }
    }
}

impl ToSql for Person {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Pseudonym(number) => ToSqlOutput::Owned(Value::Integer(number.cast_signed())),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

impl FromSql for Person {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Integer(number) => Ok(Self::Pseudonym(number.cast_unsigned())),
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
                value.as_str().map(|text| Self::Text(text.into()))
            }
        }
    }
}

/// The bytes of a UUID in its usual form: only what comes out again as it was.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = <[u8; UUID_LENGTH]>::try_from(text).ok()?;
    if HYPHENS.iter().any(|place| text[*place] != b'-') {
        return None;
    }
    let mut digits = [0; 32];
    // Behind each hyphen the digits lie one place further on.
    for (hyphens, digits_of) in [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().enumerate() {
        let places = digits_of.start + hyphens..digits_of.end + hyphens;
        digits[digits_of].copy_from_slice(&text[places]);
    }
    hex(digits)
}

/// The bytes of lower-case hexadecimal digits, two to each.
fn hex<const DIGITS: usize, const BYTES: usize>(digits: [u8; DIGITS]) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
        let (high, low) = (NIBBLES[usize::from(*high)], NIBBLES[usize::from(*low)]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (seen & 0xf0 == 0).then_some(bytes)
}

fn push_hex(text: &mut String, byte: u8) {
    text.push(char::from(HEX[usize::from(byte >> 4)]));
    text.push(char::from(HEX[usize::from(byte & 15)]));
}

/// What each digit stands for.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [0xff; 256];
    let mut digit = 0_u8;
    while digit < 16 {
        nibbles[HEX[digit as usize] as usize] = digit;
        digit += 1;
    }
    nibbles
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_out_as_they_went_in() {
        let uuid = "019aa7c4-01ff-7abc-9b3c-00000000beef";
        assert!(matches!(Id::of(uuid), Id::Uuid(bytes) if bytes[..2] == [0x01, 0x9a] && bytes[15] == 0xef));
        for (id, is_short) in [
            (uuid, true),
            ("019AA7C4-01FF-7ABC-9B3C-00000000BEEF", false),
            ("019aa7c4-01ff-7abc-9b3c-00000000beeg", false),
            ("019aa7c401ff-7abc-9b3c-000000000-beef", false),
            ("chat-1", false),
            ("", false),
        ] {
            let short = Id::of(id);
            assert_eq!(matches!(short, Id::Uuid(_)), is_short, "{id}");
            let ToSqlOutput::Borrowed(value) = short.to_sql().unwrap() else { panic!("{id}") };
            assert_eq!(Id::read(value).as_deref(), Some(id));
        }
    }

    #[test]
    fn people_come_out_as_they_went_in() {
        for (name, is_short) in [
            ("ffffffffffffffff", true),
            ("0000000000000001", true),
            ("FFFFFFFFFFFFFFFF", false),
            ("ann", false),
        ] {
            let person = Person::of(name);
            assert_eq!(matches!(person, Person::Pseudonym(_)), is_short, "{name}");
            let value = match person.to_sql().unwrap() {
                ToSqlOutput::Owned(value) => value,
                ToSqlOutput::Borrowed(value) => value.try_into().unwrap(),
                _ => panic!("{name}"),
            };
            assert_eq!(Person::column_result((&value).into()).unwrap().told(), name);
        }
    }
}
