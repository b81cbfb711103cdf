//! Reads a streamed answer. Each event is a whole reply with only what is new; nothing says that the last has come
//! but the end of the bytes: counts may follow the finish reason, and some models give one with every event.

use super::host::Host;
use super::response::{self, Reader, Unread};
use super::wire::Reply;
use crate::chat::Event;
use crate::providers::{EventDecoder, Progress, ReplyContext};
use crate::reason::{Class, Failure};
use crate::wire::Frame;

/// OpenAI's last word, which a proxy may add.
const DONE: &[u8] = b"[DONE]";

/// The reader of one stream.
pub struct Decoder {
    reader: Reader,
    has_ended: bool,
}

impl Decoder {
    pub fn new(context: &ReplyContext, host: Host) -> Self {
        Self { reader: Reader::new(context, host), has_ended: false }
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, event: &Frame, out: &mut Vec<Event>) -> Result<Progress, Failure> {
        let data = event.data.trim_ascii();
        if data == DONE {
            self.finish(out)?;
            return Ok(Progress::Done);
        }
        match response::parse(data) {
            Ok(replies) => {
                let before = out.len();
                for reply in replies.into_iter().filter(Reply::is_known) {
                    self.reader.read(reply, out)?;
                }
                if out.len() == before {
                    out.push(Event::Alive);
                }
            }
            Err(Unread::Error(failure)) => return Err(failure),
            Err(Unread::Cut(_) | Unread::Foreign(_)) => out.push(Event::Unreadable),
        }
        Ok(Progress::More)
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        if std::mem::replace(&mut self.has_ended, true) {
            return Ok(());
        }
        if !self.reader.has_choices() {
            return Err(Failure::new(Class::Truncated, "The stream ended without an answer."));
        }
        self.reader.end(out)
    }

    fn is_complete(&self) -> bool {
        self.reader.is_complete()
    }
}
