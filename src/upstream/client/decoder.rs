//! Where a body ends: after so many bytes, after its last chunk, or with its connection.

use bytes::{Buf, Bytes};

/// Tells a body's bytes from its framing, however the input is cut. Pieces are slices of the input.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    state: State,
    /// Bytes of the body, or of the current chunk, that are still to come.
    left: u64,
    /// Bytes of extensions and trailers so far.
    ignored: usize,
}

/// The framing is not what it must be, or ends too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unframed;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A chunk's size: its first digit.
    Size,
    /// Another digit, or what follows the size.
    SizeOn,
    SizeBlank,
    Extension,
    SizeLf,
    ChunkData,
    DataCr,
    DataLf,
    /// A trailer or the end.
    LastLine,
    Trailer,
    TrailerLf,
    LastLf,
    /// A body of known length.
    Data,
    /// All that comes.
    UntilClose,
    End,
    Broken,
}

/// Of extensions and trailers of one body; nobody reads them.
const MOST_IGNORED: usize = 16 * 1024;

impl State {
    /// Whether the next byte is none of the body.
    const fn is_framing(self) -> bool {
        !matches!(self, Self::ChunkData | Self::Data | Self::UntilClose | Self::End | Self::Broken)
    }
}

impl Decoder {
    pub const EMPTY: Self = Self::new(State::End, 0);
    pub const CHUNKED: Self = Self::new(State::Size, 0);
    pub const UNTIL_CLOSE: Self = Self::new(State::UntilClose, 0);

    /// For a body of this many bytes.
    pub const fn sized(length: u64) -> Self {
        if length == 0 { Self::EMPTY } else { Self::new(State::Data, length) }
    }

    const fn new(state: State, left: u64) -> Self {
        Self { state, left, ignored: 0 }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::End
    }

    /// How many bytes are still to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self.state {
            State::Data => Some(self.left),
            State::End => Some(0),
            _ => None,
        }
    }

    /// How many bytes are sure to come yet.
    pub fn at_least(&self) -> u64 {
        match self.state {
            State::Data | State::ChunkData => self.left,
            _ => 0,
        }
    }

    /// The next piece, and none of what follows the body. `None`: more input is needed, or the body has ended.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Unframed> {
        self.skip_framing(input);
        let piece = match self.state {
            State::Data | State::ChunkData if !input.is_empty() => self.data(input),
            State::UntilClose if !input.is_empty() => std::mem::take(input),
            State::Broken => return Err(Unframed),
            _ => return Ok(None),
        };
        // An end that is here is known at once, and nothing of the input is kept for its framing alone.
        self.skip_framing(input);
        Ok(Some(piece))
    }

    /// The connection has ended.
    pub fn close(&mut self) -> Result<(), Unframed> {
        match self.state {
            State::UntilClose | State::End => {
                self.state = State::End;
                Ok(())
            }
            _ => {
                self.state = State::Broken;
                Err(Unframed)
            }
        }
    }

    fn data(&mut self, input: &mut Bytes) -> Bytes {
        let size = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        self.left -= size as u64;
        if self.left == 0 {
            self.state = if self.state == State::Data { State::End } else { State::DataCr };
        }
        input.split_to(size)
    }

    fn skip_framing(&mut self, input: &mut Bytes) {
        let mut skipped = 0;
        for byte in input.iter() {
            if !self.state.is_framing() {
                break;
            }
            self.state = self.step(*byte);
            skipped += 1;
        }
        if skipped == input.len() {
            // Lets go of the memory.
            *input = Bytes::new();
        } else {
            input.advance(skipped);
        }
    }

    /// The state after a byte of framing.
    fn step(&mut self, byte: u8) -> State {
        match self.state {
            State::Size | State::SizeOn if byte.is_ascii_hexdigit() => self.digit(byte),
            State::SizeOn | State::SizeBlank => match byte {
                b'\r' => State::SizeLf,
                b';' => State::Extension,
                b' ' | b'\t' => State::SizeBlank,
                _ => State::Broken,
            },
            State::SizeLf if byte == b'\n' => {
                if self.left == 0 {
                    State::LastLine
                } else {
                    State::ChunkData
                }
            }
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size,
            State::LastLf if byte == b'\n' => State::End,
            State::TrailerLf if byte == b'\n' => State::LastLine,
            State::Extension => self.ignore(byte, State::SizeLf),
            State::LastLine if byte == b'\r' => State::LastLf,
            State::LastLine | State::Trailer => {
                self.state = State::Trailer;
                self.ignore(byte, State::TrailerLf)
            }
            _ => State::Broken,
        }
    }

    fn digit(&mut self, byte: u8) -> State {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        // A chunk's first digit finds nothing: all of the chunk before was taken.
        let (left, fits) = (self.left << 4 | u64::from(digit), self.left.leading_zeros() >= 4);
        self.left = left;
        if fits { State::SizeOn } else { State::Broken }
    }

    /// A byte of a line that nobody reads; `at_cr` comes at its end.
    fn ignore(&mut self, byte: u8, at_cr: State) -> State {
        self.ignored += 1;
        match byte {
            b'\r' => at_cr,
            // Who takes a bare one for the end of a line would see another message than we do.
            b'\n' => State::Broken,
            _ if self.ignored < MOST_IGNORED => self.state,
            _ => State::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How a body was read: its bytes, whether it ended well, and the input behind it.
    #[derive(Debug, PartialEq, Eq)]
    struct Read {
        body: Vec<u8>,
        is_whole: bool,
        rest: Vec<u8>,
    }

    /// Reads a connection that brings these parts and ends.
    fn read<'a>(mut decoder: Decoder, parts: impl IntoIterator<Item = &'a [u8]>) -> Read {
        let mut body = Vec::new();
        let mut rest = Vec::new();
        for part in parts {
            let mut input = Bytes::copy_from_slice(part);
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(piece)) => {
                        assert!(!piece.is_empty(), "a piece has something in it");
                        body.extend_from_slice(&piece);
                    }
                    Ok(None) => break,
                    Err(Unframed) => return Read { body, is_whole: false, rest },
                }
            }
            assert!(decoder.is_done() || input.is_empty(), "all input is taken before more is asked for");
            rest.extend_from_slice(&input);
        }
        Read { body, is_whole: decoder.close().is_ok(), rest }
    }

    fn whole(decoder: Decoder, input: &str) -> Read {
        read(decoder, [input.as_bytes()])
    }

    fn good(body: &str, rest: &str) -> Read {
        Read { body: body.into(), is_whole: true, rest: rest.into() }
    }

    const CHUNKS: &str = "5\r\nHello\r\n00A ;x=\"y\"\r\n, \r\nworld!\r\n\
                          1;a\r\n.\r\n0;last\r\nx-checksum: 1\r\nx: y\r\n\r\n";
    const TEXT: &str = "Hello, \r\nworld!.";

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        assert_eq!(whole(Decoder::CHUNKED, CHUNKS), good(TEXT, ""));
        for at in 0..=CHUNKS.len() {
            let (one, other) = CHUNKS.as_bytes().split_at(at);
            assert_eq!(read(Decoder::CHUNKED, [one, other]), good(TEXT, ""), "{at}");
            let cut = read(Decoder::CHUNKED, [one]);
            assert!(at == CHUNKS.len() || !cut.is_whole, "{at}");
            assert!(TEXT.as_bytes().starts_with(&cut.body), "{at}");
        }
        assert_eq!(read(Decoder::CHUNKED, CHUNKS.as_bytes().chunks(1)), good(TEXT, ""));
    }

    #[test]
    fn what_follows_a_body_stays() {
        assert_eq!(whole(Decoder::sized(5), "HelloHTTP"), good("Hello", "HTTP"));
        assert_eq!(whole(Decoder::CHUNKED, "5\r\nHello\r\n0\r\n\r\nHTTP"), good("Hello", "HTTP"));
        assert_eq!(whole(Decoder::EMPTY, "HTTP"), good("", "HTTP"));
        assert_eq!(whole(Decoder::sized(0), "HTTP"), good("", "HTTP"));
        assert_eq!(whole(Decoder::UNTIL_CLOSE, "HTTP"), good("HTTP", ""));
    }

    #[test]
    fn a_body_that_ends_too_early_is_not_whole() {
        assert!(!whole(Decoder::sized(6), "Hello").is_whole);
        assert!(!whole(Decoder::sized(u64::MAX), "Hello").is_whole);
        assert!(!whole(Decoder::CHUNKED, "").is_whole);
        assert!(!whole(Decoder::CHUNKED, "5\r\nHello\r\n0\r\n").is_whole);
        assert!(whole(Decoder::UNTIL_CLOSE, "").is_whole);
    }

    #[test]
    fn an_end_that_is_here_is_known_with_the_last_piece() {
        let mut input = Bytes::from_static(b"2\r\nab\r\n0\r\n\r\n");
        let mut decoder = Decoder::CHUNKED;
        assert_eq!(decoder.length(), None);
        assert_eq!(decoder.next(&mut input), Ok(Some(Bytes::from_static(b"ab"))));
        assert!(decoder.is_done() && input.is_empty());
        assert_eq!(decoder.length(), Some(0));
        let mut decoder = Decoder::sized(3);
        assert_eq!(decoder.next(&mut Bytes::from_static(b"ab")), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!((decoder.length(), decoder.is_done()), (Some(1), false));
    }

    #[test]
    fn an_error_comes_after_the_bytes_before_it_and_stays() {
        let mut input = Bytes::from_static(b"2\r\nabX\r\n");
        let mut decoder = Decoder::CHUNKED;
        assert_eq!(decoder.next(&mut input), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(decoder.next(&mut input), Err(Unframed));
        assert_eq!(decoder.next(&mut Bytes::from_static(b"2\r\nab\r\n")), Err(Unframed));
        assert_eq!(decoder.close(), Err(Unframed));
    }

    #[test]
    fn bad_framing_is_refused() {
        for bad in [
            "\r\n",
            " 5\r\nHello\r\n0\r\n\r\n",
            "-5\r\nHello\r\n0\r\n\r\n",
            "0x5\r\nHello\r\n0\r\n\r\n",
            "5 5\r\nHello\r\n0\r\n\r\n",
            "5\nHello\n0\n\n",
            "5\rHello\r\n0\r\n\r\n",
            "5;a\nHello\r\n0\r\n\r\n",
            "5\r\nHello0\r\n\r\n",
            "5\r\nHello\n0\r\n\r\n",
            "5\r\nHello\r0\r\n\r\n",
            "5\r\nHello\r\n0\r\n\n",
            "5\r\nHello\r\n0\r\na: b\n\r\n",
            "5\r\nHello\r\n0\r\na: b\r\r\n",
            "10000000000000005\r\nHello\r\n0\r\n\r\n",
            "ffffffffffffffffffffffffffffff\r\n",
        ] {
            assert!(!whole(Decoder::CHUNKED, bad).is_whole, "{bad:?}");
        }
        assert!(whole(Decoder::CHUNKED, "00000000000000000000000000005\r\nHello\r\n0\r\n\r\n").is_whole);
    }

    #[test]
    fn what_nobody_reads_is_bounded() {
        let long = "a".repeat(MOST_IGNORED - 1);
        assert!(whole(Decoder::CHUNKED, &format!("1;{long}\r\nx\r\n0\r\n\r\n")).is_whole);
        assert!(whole(Decoder::CHUNKED, &format!("1\r\nx\r\n0\r\n{long}\r\n\r\n")).is_whole);
        assert!(!whole(Decoder::CHUNKED, &format!("1;{long}a\r\nx\r\n0\r\n\r\n")).is_whole);
        assert!(!whole(Decoder::CHUNKED, &format!("1;{long}\r\nx\r\n0;a\r\n\r\n")).is_whole);
        assert!(!whole(Decoder::CHUNKED, &format!("1\r\nx\r\n0\r\n{long}a\r\n\r\n")).is_whole);
        let lines = "a\r\n".repeat(MOST_IGNORED);
        assert!(!whole(Decoder::CHUNKED, &format!("1\r\nx\r\n0\r\n{lines}\r\n")).is_whole);
    }

    /// What a hand that looks at the whole of it would read, or as much as is whole.
    fn chunks_by_hand(mut input: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(end) = input.iter().position(|byte| !byte.is_ascii_hexdigit()) {
            let digits = std::str::from_utf8(&input[..end]).unwrap();
            let Ok(size) = u64::from_str_radix(digits, 16) else { break };
            let Some(line) = input.iter().position(|byte| *byte == b'\n') else { break };
            let data = &input[line + 1..];
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            body.extend_from_slice(&data[..size.min(data.len())]);
            if size == 0 || data.len() < size.saturating_add(2) {
                break;
            }
            input = &data[size + 2..];
        }
        body
    }

    fn framed(chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut framed = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            framed.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(b"0\r\n\r\n");
        framed
    }

    /// The parts between these places.
    fn cut<'a>(input: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = places.iter().map(|place| place.index(input.len() + 1)).collect();
        places.extend([0, input.len()]);
        places.sort_unstable();
        places.windows(2).map(|ends| &input[ends[0]..ends[1]]).collect()
    }

    fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)
    }

    fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
        let bytes = prop::sample::select(b"0123456789abcdefF;: \t\r\n\0x\xff".to_vec());
        prop::collection::vec((any::<prop::sample::Index>(), bytes), 0..4)
    }

    proptest! {
        #[test]
        fn any_body_comes_through_any_cuts(chunks in chunks(), cuts: [prop::sample::Index; 6]) {
            let framed = framed(&chunks);
            let read = read(Decoder::CHUNKED, cut(&framed, &cuts));
            prop_assert_eq!(read, Read { body: chunks.concat(), is_whole: true, rest: Vec::new() });
        }

        #[test]
        fn broken_framing_never_gives_more_than_it_frames(
            chunks in chunks(),
            mutations in mutations(),
            cuts: [prop::sample::Index; 6],
        ) {
            let mut framed = framed(&chunks);
            for (place, byte) in mutations {
                let place = place.index(framed.len());
                framed[place] = byte;
            }
            let at_once = read(Decoder::CHUNKED, [&framed[..]]);
            prop_assert!(chunks_by_hand(&framed).starts_with(&at_once.body));
            let in_parts = read(Decoder::CHUNKED, cut(&framed, &cuts));
            prop_assert_eq!((in_parts.is_whole, &in_parts.body), (at_once.is_whole, &at_once.body));
        }

        #[test]
        fn a_length_is_kept_to_the_byte(
            length in 0..100_u64,
            input in prop::collection::vec(any::<u8>(), 0..120),
            cuts: [prop::sample::Index; 3],
        ) {
            let read = read(Decoder::sized(length), cut(&input, &cuts));
            let end = usize::try_from(length).unwrap().min(input.len());
            prop_assert_eq!(&read.body[..], &input[..end]);
            prop_assert_eq!(read.is_whole, input.len() as u64 >= length);
            prop_assert_eq!(&read.rest[..], &input[end..]);
        }
    }
}
