//! Server-sent events as they arrive: chunks of bytes in, events out.
//!
//! `id` and `retry` serve reconnection, which no model API offers, and are not kept.
//!
//! The format is that of the HTML standard, section "Server-sent events", read with an upstream's habits in
//! mind: a byte order mark, any of the three line ends, a missing space after the colon, and a last event
//! without its blank line are all taken. Bytes are never decoded as text here, so a character that is split
//! between two chunks needs no care.
//!
//! Every byte is looked at once, however long its line and however small the chunks; a value that lies in one
//! chunk is a slice of that chunk, and only a line that straddles chunks is copied.

use std::mem;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2};
use thiserror::Error;

use super::Frame;

/// The usual bound on one event: a large generated image fits, a runaway upstream does not.
pub const DEFAULT_MAX_EVENT: usize = 16 * 1024 * 1024;

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// An event, or a line that may become one, is larger than the decoder accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an event of the stream is larger than {max} bytes")]
pub struct TooLarge {
    /// The bound that was passed.
    pub max: usize,
}

/// Turns the chunks of one response body into events.
///
/// After each [`push`](Self::push), call [`next`](Self::next) until it gives `None`. Comments are skipped: a
/// caller who measures silence goes by the chunks that it pushes, not by the events that come out.
#[derive(Debug)]
pub struct Decoder {
    max_event: usize,
    /// What has been received and not yet read. Empty, it holds on to no chunk.
    unread: Bytes,
    /// The beginning of a line whose end has not arrived.
    partial: BytesMut,
    /// The last line ended with CR, so an LF that follows belongs to the same line end.
    after_cr: bool,
    /// No line has been read yet, so a byte order mark may lead.
    at_start: bool,
    event: Option<Bytes>,
    data: Data,
    failed: bool,
}

/// The `data` fields of the event that is being read.
#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Joined(BytesMut),
}

/// What a line says; the number is where its value begins.
enum Line {
    Blank,
    Data(usize),
    Event(usize),
    /// A comment, `id`, `retry`, or a field that the standard does not know.
    Other,
}

impl Decoder {
    /// A decoder that fails on events of more than `max_event` bytes.
    pub fn new(max_event: usize) -> Self {
        Self {
            max_event,
            unread: Bytes::new(),
            partial: BytesMut::new(),
            after_cr: false,
            at_start: true,
            event: None,
            data: Data::None,
            failed: false,
        }
    }

    /// Takes the next piece of the body, cut anywhere. What the last one left unread is joined with it.
    pub fn push(&mut self, chunk: Bytes) {
        if self.unread.is_empty() {
            self.unread = chunk;
        } else {
            self.unread = [&*self.unread, &*chunk].concat().into();
        }
    }

    /// The next event that is complete, or `None` if more must be pushed first. Once it has failed it fails for
    /// good: what follows an event that was not read cannot be trusted.
    pub fn next(&mut self) -> Result<Option<Frame>, TooLarge> {
        if self.failed {
            return Err(self.fail());
        }
        while let Some(first) = self.unread.first() {
            if mem::take(&mut self.after_cr) && *first == b'\n' {
                self.skip(1);
                continue;
            }
            let Some(length) = memchr2(b'\n', b'\r', &self.unread) else {
                self.partial.extend_from_slice(&mem::take(&mut self.unread));
                self.check(self.partial.len())?;
                break;
            };
            self.after_cr = self.unread[length] == b'\r';
            let start = self.unread.split_to(length);
            self.skip(1);
            let line = if self.partial.is_empty() {
                start
            } else {
                self.partial.extend_from_slice(&start);
                mem::take(&mut self.partial).freeze()
            };
            if let Some(event) = self.line(line)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// As [`next`](Self::next) when the body has ended: what is still waiting counts as complete. To be called
    /// until it gives `None`. Whether the end was a good one is for the caller to know.
    pub fn finish(&mut self) -> Result<Option<Frame>, TooLarge> {
        if let Some(event) = self.next()? {
            return Ok(Some(event));
        }
        let last = mem::take(&mut self.partial).freeze();
        if !last.is_empty() {
            self.line(last)?;
        }
        Ok(self.dispatch())
    }

    /// Reads one line without its end; a blank one completes an event.
    fn line(&mut self, mut line: Bytes) -> Result<Option<Frame>, TooLarge> {
        // Counted as received, mark and all: the same line in pieces was.
        self.check(line.len())?;
        if mem::take(&mut self.at_start) && line.starts_with(BYTE_ORDER_MARK) {
            line.advance(BYTE_ORDER_MARK.len());
        }
        match Line::of(&line) {
            Line::Blank => return Ok(self.dispatch()),
            Line::Data(value) => {
                line.advance(value);
                self.data.add(line);
            }
            Line::Event(value) => {
                line.advance(value);
                self.event = Some(line);
            }
            Line::Other => {}
        }
        Ok(None)
    }

    /// Is done with so many bytes; with the last of them it lets go of the chunk.
    fn skip(&mut self, count: usize) {
        self.unread.advance(count);
        if self.unread.is_empty() {
            self.unread = Bytes::new();
        }
    }

    /// Ends the event; one without data is none, as the standard has it.
    fn dispatch(&mut self) -> Option<Frame> {
        let event = self.event.take().filter(|name| !name.is_empty());
        let data = match mem::take(&mut self.data) {
            Data::None => return None,
            Data::One(value) => value,
            Data::Joined(values) => values.freeze(),
        };
        Some(Frame { event, data, is_exception: false })
    }

    /// Fails if the event so far and `more` bytes of a line are over the bound.
    fn check(&mut self, more: usize) -> Result<(), TooLarge> {
        if self.data.len() + more > self.max_event { Err(self.fail()) } else { Ok(()) }
    }

    /// Lets go of everything held and stays failed.
    fn fail(&mut self) -> TooLarge {
        self.failed = true;
        self.unread = Bytes::new();
        self.partial = BytesMut::new();
        self.event = None;
        self.data = Data::None;
        TooLarge { max: self.max_event }
    }
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(value) => value.len(),
            Self::Joined(values) => values.len(),
        }
    }

    fn add(&mut self, value: Bytes) {
        let mut joined = match mem::take(self) {
            Self::None => {
                *self = Self::One(value);
                return;
            }
            Self::One(first) => {
                let mut joined = BytesMut::with_capacity(first.len() + 1 + value.len());
                joined.extend_from_slice(&first);
                joined
            }
            Self::Joined(joined) => joined,
        };
        joined.extend_from_slice(b"\n");
        joined.extend_from_slice(&value);
        *self = Self::Joined(joined);
    }
}

impl Line {
    fn of(line: &[u8]) -> Self {
        let (name, after) = match memchr(b':', line) {
            None => (line, line.len()),
            Some(colon) => (&line[..colon], colon + 1),
        };
        let value = if line.get(after) == Some(&b' ') { after + 1 } else { after };
        match name {
            b"data" => Self::Data(value),
            b"event" => Self::Event(value),
            _ if line.is_empty() => Self::Blank,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use eventsource_stream::EventStream;
    use futures_util::{StreamExt, stream};
    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;

    const MAX: usize = 1 << 16;

    fn decode(max: usize, chunks: impl IntoIterator<Item = Bytes>) -> (Vec<Frame>, Option<TooLarge>) {
        let mut decoder = Decoder::new(max);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            loop {
                match decoder.next() {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(error) => return (events, Some(error)),
                }
            }
        }
        loop {
            match decoder.finish() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, None),
                Err(error) => return (events, Some(error)),
            }
        }
    }

    fn whole(text: &'static [u8]) -> Vec<(Option<String>, String)> {
        let (events, error) = decode(MAX, [Bytes::from_static(text)]);
        assert_eq!(error, None);
        events.into_iter().map(|event| (event.event.map(|name| string(&name)), string(&event.data))).collect()
    }

    fn string(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn data(values: &[&str]) -> Vec<(Option<String>, String)> {
        values.iter().map(|value| (None, (*value).to_owned())).collect()
    }

    #[test]
    fn line_ends_of_all_three_kinds() {
        assert_eq!(whole(b"data: a\n\ndata: b\n\n"), data(&["a", "b"]));
        assert_eq!(whole(b"data: a\r\n\r\ndata: b\r\n\r\n"), data(&["a", "b"]));
        assert_eq!(whole(b"data: a\r\rdata: b\r\r"), data(&["a", "b"]));
        assert_eq!(whole(b"data: a\r\n\ndata: b\n\r\n"), data(&["a", "b"]));
    }

    #[test]
    fn what_upstreams_do() {
        assert_eq!(whole(b"\xEF\xBB\xBFdata: a\n\n"), data(&["a"]), "a byte order mark");
        assert_eq!(whole(b"data:{\"a\":1}\n\n"), data(&["{\"a\":1}"]), "no space after the colon");
        assert_eq!(whole(b"data:  a\n\n"), data(&[" a"]), "only one space goes");
        assert_eq!(whole(b": ping\n\n:\n\ndata: a\n\n"), data(&["a"]), "comments are no events");
        assert_eq!(whole(b"\n\n\ndata: a\n\n\n\n"), data(&["a"]), "blank lines are no events");
        assert_eq!(whole(b"id: 7\nretry: 10\ndata: a\nfoo: b\nbar\n\n"), data(&["a"]), "other fields");
        assert_eq!(whole(b"data: a\ndata:\ndata: b\n\n"), data(&["a\n\nb"]), "several data lines");
        assert_eq!(whole(b"data\n\n"), data(&[""]), "a field without a colon is empty");
        assert_eq!(whole(b"data: a\n\ndata: [DONE]"), data(&["a", "[DONE]"]), "an end without a line end");
        assert_eq!(
            whole(b"data: a\n\ndata: [DONE]\r"),
            data(&["a", "[DONE]"]),
            "an end without a blank line"
        );
        assert_eq!(whole(b"event: error\n\ndata: a\n\n"), data(&["a"]), "a name without data is dropped");
        assert_eq!(
            whole(b"event: ping\ndata: {}\n\nevent:\ndata: b\n\n"),
            [(Some("ping".to_owned()), "{}".to_owned()), (None, "b".to_owned())],
        );
        assert_eq!(whole(b""), []);
        assert_eq!(whole(b"\xEF\xBB\xBF"), []);
        assert_eq!(whole(b"data: \xFF\xFE\n\n"), data(&["\u{FFFD}\u{FFFD}"]), "bytes are not judged");
    }

    #[test]
    fn an_event_comes_out_as_soon_as_its_blank_line_is_in() {
        let mut decoder = Decoder::new(MAX);
        decoder.push(Bytes::from_static(b"data: a\r\n\r"));
        assert_eq!(decoder.next().unwrap().unwrap().data, "a");
        decoder.push(Bytes::from_static(b"\ndata: b\r\n\r\n"));
        assert_eq!(
            decoder.next().unwrap().unwrap().data,
            "b",
            "the LF of the split CRLF is no line of its own"
        );
        assert_eq!(decoder.next(), Ok(None));
    }

    #[test]
    fn a_value_within_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b": x\ndata: first\n\nevent: e\ndata: second\n\ndata: th");
        let (events, _) = decode(MAX, [chunk.clone(), Bytes::from_static(b"ird\n\n")]);
        let inside = chunk.as_ptr_range();
        assert!(inside.contains(&events[0].data.as_ptr()));
        assert!(inside.contains(&events[1].data.as_ptr()));
        assert_eq!(events[2].data, "third");
    }

    #[test]
    fn an_event_over_the_bound_fails_for_good() {
        let mut decoder = Decoder::new(10);
        decoder.push(Bytes::from_static(b"data: 1234\n\ndata: 12345"));
        assert_eq!(decoder.next().unwrap().unwrap().data, "1234");
        assert_eq!(decoder.next(), Err(TooLarge { max: 10 }));
        decoder.push(Bytes::from_static(b"\n\ndata: 1\n\n"));
        assert_eq!(decoder.next(), Err(TooLarge { max: 10 }));
        assert_eq!(decoder.finish(), Err(TooLarge { max: 10 }));

        let many = Bytes::from_static(b"data:\ndata:\ndata:\ndata:\ndata:\ndata:\ndata:\ndata:\n");
        assert_eq!(decode(10, [many]).1, Some(TooLarge { max: 10 }), "line ends between data count too");
    }

    /// A decoder that searched a long line again with every chunk would look at terabytes here.
    #[test]
    fn a_long_line_in_small_pieces_takes_linear_time() {
        let length = 16 << 20;
        let piece = Bytes::from(vec![b'x'; 64]);
        let started = Instant::now();
        let mut decoder = Decoder::new(2 * length);
        decoder.push(Bytes::from_static(b"data: "));
        for _ in 0..length / piece.len() {
            decoder.push(piece.clone());
            assert_eq!(decoder.next(), Ok(None));
        }
        decoder.push(Bytes::from_static(b"\n\n"));
        assert_eq!(decoder.next().unwrap().unwrap().data.len(), length);
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    /// Lines that look like events, with every kind of end, and now and then a piece of anything.
    fn body() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            6 => Just("data"), 2 => Just("event"), 1 => Just("id"), 1 => Just("retry"), 1 => Just(""), 1 => Just("date"),
        ];
        let colon = prop_oneof![4 => Just(": "), 2 => Just(":"), 1 => Just("")];
        let value = prop_oneof![4 => "[a-z:é€😀{} ]{0,12}", 1 => "\\PC{0,6}"];
        let line = (name, colon, value).prop_map(|(name, colon, value)| format!("{name}{colon}{value}"));
        let end =
            prop_oneof![Just("\n"), Just("\r\n"), Just("\r"), Just("\n\n"), Just("\r\n\r\n"), Just("\r\r")];
        prop::collection::vec((line, end), 0..24)
            .prop_map(|lines| lines.into_iter().map(|(line, end)| line + end).collect())
    }

    fn split(body: &[u8], lengths: &[usize]) -> Vec<Bytes> {
        let mut rest = Bytes::copy_from_slice(body);
        let mut chunks = Vec::new();
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            chunks.push(rest.split_to((*length).min(rest.len())));
        }
        chunks
    }

    proptest! {
        #[test]
        fn the_events_do_not_depend_on_the_split(
            body in body(),
            mark in any::<bool>(),
            lengths in prop::collection::vec(1_usize..9, 1..8),
            max in prop_oneof![Just(MAX), 4_usize..40],
        ) {
            let body = if mark { format!("\u{FEFF}{body}") } else { body };
            let at_once = decode(max, [Bytes::copy_from_slice(body.as_bytes())]);
            prop_assert_eq!(&at_once, &decode(max, split(body.as_bytes(), &lengths)));
            prop_assert_eq!(&at_once, &decode(max, split(body.as_bytes(), &[1])));

            let mut undrained = Decoder::new(max);
            for chunk in split(body.as_bytes(), &lengths) {
                undrained.push(chunk);
            }
            let mut events = Vec::new();
            while let Ok(Some(event)) = undrained.finish() {
                events.push(event);
            }
            prop_assert_eq!(at_once.0, events);
        }

        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..200), length in 1_usize..20) {
            let at_once = decode(64, [Bytes::copy_from_slice(&body)]);
            prop_assert_eq!(at_once, decode(64, split(&body, &[length])));
        }

        /// The other decoder drops a last event without its blank line, so each body here ends with one.
        #[test]
        fn another_decoder_agrees(body in body(), lengths in prop::collection::vec(1_usize..9, 1..8)) {
            let body = body + "\n\n";
            let chunks = split(body.as_bytes(), &lengths);
            let theirs: Vec<_> = their_events(chunks.clone())
                .into_iter()
                .map(|event| (Some(event.event).filter(|name| name != "message"), event.data))
                .collect();
            let ours: Vec<_> = decode(MAX, chunks)
                .0
                .into_iter()
                .map(|event| (event.event.map(|name| string(&name)), string(&event.data)))
                .collect();
            prop_assert_eq!(ours, theirs);
        }
    }

    fn their_events(chunks: Vec<Bytes>) -> Vec<eventsource_stream::Event> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let chunks = stream::iter(chunks.into_iter().map(Ok::<_, std::convert::Infallible>));
        runtime.block_on(EventStream::new(chunks).map(Result::unwrap).collect())
    }
}
