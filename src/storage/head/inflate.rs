//! Inflates a deflated dataset (PS3.5 §A.5), a small buffer at a time: to its end, because a reader can do nothing with a stream that is
//! damaged anywhere.

use flate2::{Decompress, FlushDecompress, Status};

use super::elements::Elements;
use super::outcome::{HeadError, Limit, Progress};

const BUFFER_BYTES: usize = 4096;
/// Bytes passed to the inflater at once. Its output before a corrupt byte depends on the input that it has seen, so the input must not
/// depend on how the network cut the stream.
const BLOCK_BYTES: usize = 512;
/// Beyond the bytes of a head, the elements of a stream are looked at while it inflates to no more than so many bytes for each of its own.
/// Deflate can make a thousand of one, and images make a few. The rest of such a stream is inflated for its end alone.
const MAX_RATIO: u64 = 32;
/// Inflated bytes beyond that ratio within which a stream must end: as many as the largest element has (PS3.5 §7.1.1). They cost about a
/// second of a processor.
const MAX_BEYOND_RATIO: u64 = 4 << 30;

pub(super) struct Inflate {
    /// Raw deflate, without a zlib header (RFC 1951).
    stream: Decompress,
    /// Inflated bytes that the head must end within.
    max_head_bytes: u64,
    buffer: Box<[u8; BUFFER_BYTES]>,
    /// The current block.
    block: Vec<u8>,
    state: State,
    /// Whether all that was inflated was looked at.
    is_seen: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    UnderWay,
    /// The stream came to its end; what follows it is padding.
    Ended,
    /// The stream has not come to its end within the bound.
    TooLong,
    Damaged,
}

impl Inflate {
    /// For a head within `max_head_bytes`.
    pub(super) fn new(max_head_bytes: u64) -> Self {
        Self {
            stream: Decompress::new(false),
            max_head_bytes,
            buffer: Box::new([0; BUFFER_BYTES]),
            block: Vec::with_capacity(BLOCK_BYTES),
            state: State::UnderWay,
            is_seen: true,
        }
    }

    /// Whether the stream came to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the elements of the whole stream were looked at.
    pub(super) fn is_seen(&self) -> bool {
        self.is_seen
    }

    /// Inflates the whole blocks of `deflated` for `elements`. Done at the end of the stream.
    pub(super) fn feed(&mut self, mut deflated: &[u8], elements: &mut Elements) -> Progress {
        while !deflated.is_empty() && self.is_under_way() {
            let now = deflated.len().min(BLOCK_BYTES - self.block.len());
            self.block.extend_from_slice(&deflated[..now]);
            deflated = &deflated[now..];
            if self.block.len() == BLOCK_BYTES {
                self.flush(elements);
            }
        }
        if self.is_under_way() { Progress::More } else { Progress::Done }
    }

    /// The same for the block under way, however short: for the end of the stream.
    pub(super) fn flush(&mut self, elements: &mut Elements) {
        let mut block = std::mem::take(&mut self.block);
        self.inflate(&block, elements);
        block.clear();
        self.block = block;
    }

    fn is_under_way(&self) -> bool {
        self.state == State::UnderWay
    }

    fn inflate(&mut self, mut deflated: &[u8], elements: &mut Elements) {
        while self.is_under_way() {
            let Step { taken, inflated, end } = self.step(deflated);
            deflated = &deflated[taken..];
            // Bytes before a corrupt one count; otherwise the head would depend on how the network cut the stream.
            if self.is_seen {
                let _ = elements.feed(&self.buffer[..inflated]);
            }
            if end == Some(State::Damaged) {
                elements.head.fail(HeadError::Deflate);
            }
            self.state = end.unwrap_or(self.state);
            if self.is_under_way() && self.stream.total_out() >= self.max_head_bytes {
                elements.head.fail(HeadError::Limit { which: Limit::Bytes });
            }
            // A full buffer means that more may be waiting inside the inflater.
            if deflated.is_empty() && inflated < BUFFER_BYTES {
                break;
            }
        }
    }

    /// Inflates one buffer.
    fn step(&mut self, deflated: &[u8]) -> Step {
        let (taken_before, made_before) = (self.stream.total_in(), self.stream.total_out());
        if made_before >= self.max_head_bytes && made_before > MAX_RATIO * taken_before {
            self.is_seen = false;
            if made_before > MAX_RATIO * taken_before + MAX_BEYOND_RATIO {
                return Step { taken: 0, inflated: 0, end: Some(State::TooLong) };
            }
        }
        let status = self.stream.decompress(deflated, &mut self.buffer[..], FlushDecompress::None);
        let taken = (self.stream.total_in() - taken_before) as usize;
        let inflated = (self.stream.total_out() - made_before) as usize;
        let end = match status {
            Ok(Status::StreamEnd) => Some(State::Ended),
            Err(_) => Some(State::Damaged),
            Ok(_) if taken + inflated == 0 && !deflated.is_empty() => Some(State::Damaged),
            Ok(_) => None,
        };
        Step { taken, inflated, end }
    }
}

/// The result of one buffer.
struct Step {
    /// Bytes of the deflated stream that were consumed.
    taken: usize,
    /// Bytes in the buffer.
    inflated: usize,
    /// The state at the end of the stream, good or bad.
    end: Option<State>,
}
