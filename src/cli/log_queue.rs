//! The way of a log line to stderr: a bounded queue, and a thread that writes.
//!
//! A reader of stderr that stops (a stuck journald, a container driver that blocks, Ctrl-S) blocks that thread and no other. A line that
//! finds the queue full is dropped and counted. The log has the number once its reader reads again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::unprintable::{is_unprintable, json_escape};

/// Lines that wait.
const QUEUE_LINES: usize = 8192;
/// Bytes of the lines that wait. A quarter is kept for warnings and errors.
const QUEUE_BYTES: usize = 1 << 20;
/// Pause between two looks of [`LogQueue::flush`].
const FLUSH_LOOK: Duration = Duration::from_millis(2);

/// The escapes of characters that must not reach the reader.
#[derive(Clone, Copy, Debug)]
pub(super) enum Escapes {
    /// `\u{9b}`, as Rust's `Debug` does.
    Text,
    /// The same. The log's own colours stay.
    Terminal,
    /// `\u009b`: a JSON string may hold it.
    Json,
}

/// The queue of lines, for those who log.
#[derive(Clone, Debug)]
pub(crate) struct LogQueue {
    lines: SyncSender<Vec<u8>>,
    figures: Arc<Figures>,
    escapes: Escapes,
}

#[derive(Debug, Default)]
struct Figures {
    /// Lines waiting or being written.
    unwritten: AtomicUsize,
    /// Their bytes.
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl LogQueue {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(super) fn start(out: impl Write + Send + 'static, escapes: Escapes) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(QUEUE_LINES);
        let figures = Arc::<Figures>::default();
        let of_thread = figures.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(out, &waiting, &of_thread))?;
        Ok(Self { lines, figures, escapes })
    }

    /// Lines that found the queue full, or could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.figures.dropped.load(Ordering::Relaxed)
    }

    /// Bytes of the lines that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.figures.bytes.load(Ordering::Relaxed) as u64
    }

    /// Writes the reason why the node did not start behind the lines that wait: `tidegate: {message}`, or a line of the log if collectors
    /// read it.
    pub(super) fn complain(&self, message: &str) {
        match self.escapes {
            Escapes::Json => tracing::error!(cause = message, "node not started"),
            Escapes::Text | Escapes::Terminal => {
                self.push(format!("tidegate: {message}\n").as_bytes(), QUEUE_BYTES);
            }
        }
    }

    /// Waits until every line is written, for `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let began = Instant::now();
        while self.figures.unwritten.load(Ordering::Acquire) > 0 && began.elapsed() < patience {
            thread::sleep(FLUSH_LOOK);
        }
    }

    /// Puts a line into the queue, if the queue has less than `room_bytes`.
    fn push(&self, line: &[u8], room_bytes: usize) {
        let line = escaped(line, self.escapes);
        let bytes = line.len();
        let figures = &self.figures;
        let has_room = figures.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= room_bytes;
        figures.unwritten.fetch_add(1, Ordering::Relaxed);
        if !has_room || self.lines.try_send(line).is_err() {
            figures.bytes.fetch_sub(bytes, Ordering::Relaxed);
            figures.unwritten.fetch_sub(1, Ordering::Relaxed);
            figures.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(mut out: impl Write, waiting: &Receiver<Vec<u8>>, figures: &Figures) {
    let mut told = 0;
    while let Ok(line) = waiting.recv() {
        let written = out.write_all(&line).and_then(|()| out.flush());
        figures.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        let dropped = match written {
            Ok(()) => figures.dropped.load(Ordering::Relaxed),
            Err(_) => {
                figures.dropped.fetch_add(1, Ordering::Relaxed);
                told // no reader
            }
        };
        // With half of the queue free, this line is not dropped itself.
        if dropped > told && figures.bytes.load(Ordering::Relaxed) < QUEUE_BYTES / 2 {
            tracing::warn!(
                lines = dropped - told,
                lines_total = dropped,
                "log lines dropped: the reader of the log was too slow"
            );
            told = dropped;
        }
        figures.unwritten.fetch_sub(1, Ordering::Release);
    }
}

/// Writes each JSON line to stderr at once, before there is a queue.
pub(super) struct UnqueuedJson;

impl Write for UnqueuedJson {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&escaped(line, Escapes::Json)).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// One event is one call of [`Write::write`] with one whole line.
pub(crate) struct LineWriter<'a> {
    queue: &'a LogQueue,
    room_bytes: usize,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(line, self.room_bytes);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { queue: self, room_bytes: QUEUE_BYTES / 4 * 3 }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let room_bytes = if *metadata.level() <= Level::WARN { QUEUE_BYTES } else { QUEUE_BYTES / 4 * 3 };
        LineWriter { queue: self, room_bytes }
    }
}

/// The line with every unprintable character escaped but its end.
fn escaped(line: &[u8], escapes: Escapes) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let is_escaped = |c: char| is_unprintable(c) && !(c == '\u{1b}' && matches!(escapes, Escapes::Terminal));
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match escapes {
            _ if !is_escaped(c) => out.push(c),
            Escapes::Text | Escapes::Terminal => out.extend(c.escape_unicode()),
            Escapes::Json => json_escape(c, &mut out),
        }
    }
    out.push('\n');
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// A reader that does not read while the gate is locked.
    #[derive(Clone, Default)]
    struct Reader {
        gate: Arc<Mutex<()>>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock();
            self.read.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_does_not_read_stops_nobody_and_costs_bounded_memory() {
        let reader = Reader::default();
        let queue = LogQueue::start(reader.clone(), Escapes::Text).unwrap();
        let shut = reader.gate.lock();
        let lines = 4 * QUEUE_BYTES / 1000;
        (0..lines).for_each(|_| queue.push(&[b'x'; 999], QUEUE_BYTES / 4 * 3));
        assert!(queue.bytes() <= (QUEUE_BYTES / 4 * 3) as u64, "{}", queue.bytes());
        let dropped = queue.dropped();
        assert!(dropped > 0);
        queue.push(b"an error\n", QUEUE_BYTES);
        assert_eq!(queue.dropped(), dropped, "there is room for what is worse");
        queue.flush(Duration::from_millis(20));
        drop(shut);
        queue.flush(Duration::from_secs(60));
        let read = reader.read.lock().len();
        assert_eq!(read, (lines - dropped as usize) * 1000 + 9);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_reader_that_is_gone_is_no_reason_to_write_more() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = LogQueue::start(Gone, Escapes::Text).unwrap();
        queue.push(b"one\n", QUEUE_BYTES);
        queue.push(b"two\n", QUEUE_BYTES);
        queue.flush(Duration::from_secs(60));
        assert_eq!((queue.dropped(), queue.bytes()), (2, 0));
    }

    #[test]
    fn no_value_forges_a_line_or_acts_on_a_terminal_in_any_format() {
        let evil = "a\nERROR b\r\u{1b}[2J\u{7f}\u{9b}31m\u{85}\u{202e}\u{2028}\u{feff}";
        for escapes in [Escapes::Text, Escapes::Json] {
            let reader = Reader::default();
            let queue = LogQueue::start(reader.clone(), escapes).unwrap();
            let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(queue.clone());
            let registry = tracing_subscriber::registry();
            let log = |text: &str| tracing::info!(field = text, shown = %text, debugged = ?text, "{text}");
            match escapes {
                Escapes::Json => tracing::subscriber::with_default(registry.with(lines.json()), || log(evil)),
                _ => tracing::subscriber::with_default(registry.with(lines), || log(evil)),
            }
            queue.flush(Duration::from_secs(60));
            let line = String::from_utf8(reader.read.lock().clone()).unwrap();
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.is_empty() && !line.chars().any(is_unprintable), "{line:?}");
            if let Escapes::Json = escapes {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(value["fields"]["message"], evil, "a collector reads what was sent");
            }
        }
    }
}
