//! A walk over JSON text that looks at every byte once and keeps none: it hands out slices, lengths and counts.
//!
//! It knows the plain forms only. Whatever is odd, be it an error or merely rare, such as a member's name with escapes,
//! ends the walk with `None`: then the caller asks serde, which has the last word and the words for what is wrong.

use serde::Deserialize;

/// How deep it goes. serde's parser goes deeper, so that this is never where a document is refused.
const DEEPEST: u8 = 64;

/// What a walk saw; `None` where it met anything odd.
pub type Seen<T> = Option<T>;

/// A place in JSON text: between values, or before one.
pub struct Skim<'a> {
    json: &'a str,
    at: usize,
    depth: u8,
}

/// A string as it is spelt, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    /// What stands between the quotes.
    spelling: &'a str,
    /// By how much the escapes are longer than what they stand for.
    spare_bytes: usize,
    spare_chars: usize,
}

impl<'a> Text<'a> {
    /// The text itself, where it has no escapes.
    pub fn plain(self) -> Option<&'a str> {
        (self.spare_chars == 0).then_some(self.spelling)
    }

    /// Its length in UTF-8.
    pub fn bytes(self) -> usize {
        self.spelling.len() - self.spare_bytes
    }

    /// How many characters it has.
    pub fn chars(self) -> usize {
        self.spelling.chars().count() - self.spare_chars
    }
}

impl<'a> Skim<'a> {
    /// Reads a document that is one value and nothing else.
    pub fn whole<T>(json: &'a str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut skim = Self { json, at: 0, depth: 0 };
        skim.space();
        let value = read(&mut skim)?;
        skim.space();
        (skim.at == json.len()).then_some(value)
    }

    /// The byte that the value ahead begins with.
    pub fn ahead(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    /// Walks over an object. `member` reads the value of the member that it is given the name of, and returns a bit
    /// of its own for each one that may stand there only once, else 0.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<u32>) -> Option<()> {
        let mut seen = 0;
        self.entries(b'{', b'}', |skim| {
            let name = skim.text()?.plain()?;
            skim.space();
            skim.eat(b':')?;
            skim.space();
            let bit = member(skim, name)?;
            let is_first = seen & bit == 0;
            seen |= bit;
            is_first.then_some(())
        })
    }

    /// Walks over a list. `entry` reads each of its values.
    pub fn list(&mut self, entry: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.entries(b'[', b']', entry)
    }

    /// Walks over any value, and hands out its text.
    pub fn skip(&mut self) -> Option<&'a str> {
        let start = self.at;
        match self.ahead()? {
            b'"' => drop(self.text()?),
            b'{' => self.object(|skim, _| skim.skip().map(|_| 0))?,
            b'[' => self.list(|skim| skim.skip().map(|_| ()))?,
            b't' => self.eat_all("true")?,
            b'f' => self.eat_all("false")?,
            b'n' => self.eat_all("null")?,
            _ => self.number()?,
        }
        self.json.get(start..self.at)
    }

    /// What `read` makes of the value ahead, and the value's text.
    pub fn with_text<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<(T, &'a str)> {
        let start = self.at;
        let value = read(self)?;
        Some((value, self.json.get(start..self.at)?))
    }

    /// Walks over any value, and lets serde read it.
    pub fn typed<T: Deserialize<'a>>(&mut self) -> Option<T> {
        serde_json::from_str(self.skip()?).ok()
    }

    /// Walks over `null`, if that is what stands here.
    pub fn null(&mut self) -> bool {
        self.eat_all("null").is_some()
    }

    /// A string without escapes, or `null`.
    pub fn word(&mut self) -> Seen<Option<&'a str>> {
        if self.null() { Some(None) } else { self.text()?.plain().map(Some) }
    }

    /// A whole number that is spelt as such and is not too large for any type.
    pub fn natural(&mut self) -> Option<u64> {
        const MOST_DIGITS: usize = 18;
        let spelling = self.json.as_bytes().get(self.at..)?;
        let digits = spelling.iter().take(MOST_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let is_odd = digits == 0
            || digits > MOST_DIGITS
            || digits > 1 && spelling[0] == b'0'
            || matches!(spelling.get(digits), Some(b'.' | b'e' | b'E'));
        if is_odd {
            return None;
        }
        self.at += digits;
        Some(spelling[..digits].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    /// A string.
    pub fn text(&mut self) -> Option<Text<'a>> {
        self.eat(b'"')?;
        let start = self.at;
        self.at += plain_run(self.json.as_bytes().get(start..)?);
        if self.ahead()? != b'"' {
            return self.text_with_escapes(start);
        }
        let spelling = self.json.get(start..self.at)?;
        self.at += 1;
        Some(Text { spelling, spare_bytes: 0, spare_chars: 0 })
    }

    /// The rest of a string that began at `start`, from its first escape on.
    #[inline(never)]
    fn text_with_escapes(&mut self, start: usize) -> Option<Text<'a>> {
        let (mut spare_bytes, mut spare_chars) = (0, 0);
        while self.ahead()? == b'\\' {
            let (length, character) = escape(&self.json.as_bytes()[self.at..])?;
            spare_bytes += length - character.len_utf8();
            spare_chars += length - 1;
            self.at += length;
            self.at += plain_run(self.json.as_bytes().get(self.at..)?);
        }
        let spelling = self.json.get(start..self.at)?;
        self.eat(b'"')?;
        Some(Text { spelling, spare_bytes, spare_chars })
    }

    fn entries(&mut self, open: u8, close: u8, mut entry: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.eat(open)?;
        self.space();
        if self.eat(close).is_some() {
            return Some(());
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        loop {
            entry(self)?;
            self.space();
            if self.eat(b',').is_none() {
                self.depth -= 1;
                return self.eat(close);
            }
            self.space();
        }
    }

    fn number(&mut self) -> Option<()> {
        // A sign or nothing.
        let _ = self.eat(b'-');
        if self.eat(b'0').is_none() {
            self.digits()?;
        }
        if self.eat(b'.').is_some() {
            self.digits()?;
        }
        if self.eat(b'e').or_else(|| self.eat(b'E')).is_some() {
            let _ = self.eat(b'+').or_else(|| self.eat(b'-'));
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let rest = self.json.as_bytes().get(self.at..)?;
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.ahead(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        let is_here = self.ahead() == Some(byte);
        self.at += usize::from(is_here);
        is_here.then_some(())
    }

    fn eat_all(&mut self, word: &str) -> Option<()> {
        let is_here = self.json.as_bytes().get(self.at..)?.starts_with(word.as_bytes());
        self.at += if is_here { word.len() } else { 0 };
        is_here.then_some(())
    }
}

/// Whether text stands for itself between the quotes of a string.
pub fn is_plain(text: &[u8]) -> bool {
    plain_run(text) == text.len()
}

/// Puts what was read of a member in its place. `bit` tells it from the other members of its object.
pub fn set<T>(place: &mut T, value: Option<T>, bit: u32) -> Option<u32> {
    *place = value?;
    Some(bit)
}

/// How many bytes the text goes on without a quote, a backslash or a control character.
#[inline]
fn plain_run(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHEST_BITS: u64 = ONES << 7;
    let (words, rest) = text.as_chunks();
    // A word's bytes are all looked at together: the lowest of the highest bits that are set marks the first stop.
    for (at, word) in words.iter().enumerate() {
        if at == WORDS_OF_SHORT {
            return long_run(text, at * 8);
        }
        let word = u64::from_le_bytes(*word);
        let is = |byte: u8| (word ^ (ONES * u64::from(byte))).wrapping_sub(ONES);
        let is_control = word.wrapping_sub(ONES * 0x20);
        let stops = (is(b'"') | is(b'\\') | is_control) & !word & HIGHEST_BITS;
        if stops != 0 {
            return at * 8 + stops.trailing_zeros() as usize / 8;
        }
    }
    text.len() - rest.len() + rest.iter().take_while(|byte| !stops_run(**byte)).count()
}

/// After so many words it is worth to look at as many at once.
const WORDS_OF_SHORT: usize = 8;

/// The same for text that has been seen to be plain up to `at`.
#[inline(never)]
fn long_run(text: &[u8], at: usize) -> usize {
    let (blocks, _) = text[at..].as_chunks::<{ 8 * WORDS_OF_SHORT }>();
    // Without a way out in its midst the look at a block becomes a few wide instructions.
    let is_plain =
        |block: &&[u8; 8 * WORDS_OF_SHORT]| !block.iter().fold(false, |any, byte| any | stops_run(*byte));
    let at = at + 8 * WORDS_OF_SHORT * blocks.iter().take_while(is_plain).count();
    at + text[at..].iter().take_while(|byte| !stops_run(**byte)).count()
}

fn stops_run(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | ..0x20)
}

/// The length of the escape that the text begins with, and what it stands for.
fn escape(text: &[u8]) -> Option<(usize, char)> {
    let character = match text.get(1)? {
        plain @ (b'"' | b'\\' | b'/') => char::from(*plain),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = unit(text)?;
            return if let Some(character) = char::from_u32(first.into()) {
                Some((6, character))
            } else {
                let halves = [first, unit(text.get(6..)?)?];
                Some((12, char::decode_utf16(halves).next()?.ok()?))
            };
        }
        _ => return None,
    };
    Some((2, character))
}

/// The number that `\u` and four digits stand for.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.get(..6)?.strip_prefix(br"\u")?;
    let number =
        digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?));
    number.and_then(|number| u16::try_from(number).ok())
}

#[cfg(test)]
pub mod mutation;
#[cfg(test)]
mod tests;
