//! From all who log to the one thread that writes: nobody waits for standard error but that thread.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most that waits. What does not fit is left out, and counted.
const LIMIT: usize = 8 * 1024 * 1024;
/// So much is written without waiting for more.
const ENOUGH: usize = 128 * 1024;
/// While lines keep coming, they are written as often as this.
const GATHER: Duration = Duration::from_millis(25);
/// After so many silent periods the writer sleeps until a line wakes it. It is not woken for each line of a request
/// now and then: a wake-up costs more than the line.
const SILENT: u32 = 40;

/// Lines that wait to be written.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the writer.
    due: Condvar,
    /// Wakes those who wait for the writer.
    written: Condvar,
    /// Lines that were never written.
    lost: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    lines: Vec<u8>,
    /// They must not wait any longer.
    is_due: bool,
    /// The writer sleeps until somebody wakes it.
    is_asleep: bool,
    /// The writer has lines in hand.
    is_writing: bool,
    /// Lines that did not fit since the writer last came.
    left_out: u64,
}

impl Queue {
    /// An empty one.
    pub const fn new() -> Self {
        let waiting =
            Waiting { lines: Vec::new(), is_due: false, is_asleep: false, is_writing: false, left_out: 0 };
        Self {
            waiting: Mutex::new(waiting),
            due: Condvar::new(),
            written: Condvar::new(),
            lost: AtomicU64::new(0),
        }
    }

    /// Adds a line, its end included. An urgent one is written at once, and with it all before it.
    pub fn push(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = self.lock();
        if waiting.lines.len() + line.len() > LIMIT {
            waiting.left_out += 1;
            drop(waiting);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.lines.extend_from_slice(line);
        let is_due = is_urgent || waiting.is_asleep || waiting.lines.len() >= ENOUGH;
        let wake = is_due && !waiting.is_due;
        waiting.is_due |= is_due;
        drop(waiting);
        if wake {
            self.due.notify_one();
        }
    }

    /// Writes what comes in, for ever. `report` is told how many lines were left out, once there is room again.
    pub fn write_to(&self, mut out: impl Write, report: impl Fn(u64)) -> ! {
        let mut batch = Vec::new();
        loop {
            let left_out = self.take(&mut batch);
            let unwritten = write_whole(&mut out, &batch);
            self.lost.fetch_add(unwritten, Ordering::Relaxed);
            batch.clear();
            // What a burst needed is not kept.
            batch.shrink_to(2 * ENOUGH);
            if left_out > 0 {
                report(left_out);
            }
        }
    }

    /// Waits until what was pushed so far is written, at most so long.
    pub fn flush(&self, within: Duration) {
        let mut waiting = self.lock();
        waiting.is_due = true;
        self.due.notify_one();
        let is_under_way = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        // Whether it was in time makes no difference to anybody.
        let _ = self.written.wait_timeout_while(waiting, within, is_under_way);
    }

    /// How many lines were never written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits for lines and swaps them against the empty `batch`. Answers how many were left out before.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        self.written.notify_all();
        let mut silent = 0;
        while !waiting.is_due {
            if silent == SILENT {
                waiting.is_asleep = true;
                waiting = self.due.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let woken = self.due.wait_timeout(waiting, GATHER).unwrap_or_else(PoisonError::into_inner);
            let period_is_over = woken.1.timed_out();
            waiting = woken.0;
            if period_is_over && !waiting.lines.is_empty() {
                break;
            }
            silent += u32::from(period_is_over);
        }
        waiting.is_due = false;
        waiting.is_asleep = false;
        waiting.is_writing = true;
        std::mem::swap(&mut waiting.lines, batch);
        std::mem::take(&mut waiting.left_out)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of it, however long that takes. Answers how many lines could not be written.
fn write_whole(out: &mut impl Write, mut batch: &[u8]) -> u64 {
    while !batch.is_empty() {
        match out.write(batch) {
            Ok(0) => break,
            Ok(written) => batch = &batch[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A terminal or a pipe that another process made non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::park_timeout(GATHER),
            Err(_) => break,
        }
    }
    memchr::memchr_iter(b'\n', batch).count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, pipe};
    use std::sync::Arc;

    use super::*;

    /// A queue with its writer. Its reports are lines too.
    fn started(out: impl Write + Send + 'static) -> Arc<Queue> {
        let queue = Arc::new(Queue::new());
        let (writers, reporters) = (Arc::clone(&queue), Arc::clone(&queue));
        std::thread::spawn(move || {
            writers.write_to(out, |lines| reporters.push(format!("lost {lines}\n").as_bytes(), true))
        });
        queue
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn lines_come_out_in_their_order_and_all_of_them() {
        let (reader, writer) = pipe().unwrap();
        let queue = started(writer);
        for n in 0..5_000 {
            queue.push(format!("{n}\n").as_bytes(), n % 1000 == 0);
        }
        queue.flush(LONG);
        let lines =
            BufReader::new(reader).lines().take(5_000).map(|line| line.unwrap().parse::<u32>().unwrap());
        assert!(lines.eq(0..5_000));
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn a_reader_who_does_not_read_holds_nobody_up_and_is_told_what_was_lost() {
        let (reader, writer) = pipe().unwrap();
        let queue = started(writer);
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let pushed: u64 = 20 * 1024;
        (0..pushed).for_each(|_| queue.push(&line, false));
        // A flush does not wait for ever either.
        queue.flush(Duration::from_millis(1));
        let lost = queue.lost();
        assert!((3 * 1024..pushed).contains(&lost), "{lost} of {pushed}");
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let whole = lines.by_ref().take_while(|line| line.len() == 1023).count() as u64;
        // The report is the line that ended this.
        assert_eq!(whole, pushed - lost);
        queue.push(b"again\n", true);
        assert_eq!(lines.next().unwrap(), "again");
    }

    #[test]
    fn the_report_says_how_many_lines_were_left_out() {
        let (mut reader, writer) = pipe().unwrap();
        let queue = Arc::new(Queue::new());
        queue.push(&vec![b'\n'; LIMIT], false);
        queue.push(b"one too many\n", true);
        queue.push(b"\n", false);
        let writers = Arc::clone(&queue);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || writers.write_to(writer, |lines| tell.send(lines).unwrap()));
        reader.read_exact(&mut vec![0; LIMIT]).unwrap();
        assert_eq!((told.recv().unwrap(), queue.lost()), (2, 2));
    }

    #[test]
    fn lines_that_nobody_can_read_any_more_are_counted() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let queue = started(writer);
        (0..3).for_each(|_| queue.push(b"a line\n", false));
        queue.flush(LONG);
        assert_eq!(queue.lost(), 3);
    }

    #[test]
    fn a_writer_that_would_block_is_tried_again() {
        struct Hesitant(std::io::PipeWriter, bool);
        impl Write for Hesitant {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.1 = !self.1;
                if self.1 { Err(ErrorKind::WouldBlock.into()) } else { self.0.write(&bytes[..1]) }
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (reader, writer) = pipe().unwrap();
        let queue = started(Hesitant(writer, false));
        queue.push(b"word\n", true);
        assert_eq!(BufReader::new(reader).lines().next().unwrap().unwrap(), "word");
    }
}
