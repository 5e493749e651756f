//! Inflates a deflated dataset (PS3.5 §A.5) as far as its head, a small buffer at a time.

use flate2::{Decompress, FlushDecompress, Status};

use super::outcome::{HeadError, Limit, Progress};
use super::scan::Scan;

const BUFFER_BYTES: usize = 4096;
/// Bytes passed to the inflater at once. Its output before a corrupt byte depends on the input that it has seen, so the input must not
/// depend on how the network cut the stream.
const BLOCK_BYTES: usize = 512;

pub(super) struct Inflate {
    /// Raw deflate, without a zlib header (RFC 1951).
    stream: Decompress,
    max_bytes: u64,
    buffer: Box<[u8; BUFFER_BYTES]>,
    /// The current block.
    block: Vec<u8>,
    at_end: bool,
}

impl Inflate {
    /// Inflates at most `max_bytes`.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            stream: Decompress::new(false),
            max_bytes,
            buffer: Box::new([0; BUFFER_BYTES]),
            block: Vec::with_capacity(BLOCK_BYTES),
            at_end: false,
        }
    }

    /// Whether the whole stream went through the scan; what follows it is padding.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Inflates the whole blocks of `deflated` into `scan`, until the scan is done.
    pub(super) fn feed(&mut self, mut deflated: &[u8], scan: &mut Scan) -> Progress {
        while !deflated.is_empty() {
            let now = deflated.len().min(BLOCK_BYTES - self.block.len());
            self.block.extend_from_slice(&deflated[..now]);
            deflated = &deflated[now..];
            if self.block.len() == BLOCK_BYTES && self.flush(scan) == Progress::Done {
                return Progress::Done;
            }
        }
        Progress::More
    }

    /// The same for the block under way, however short: for the end of the stream.
    pub(super) fn flush(&mut self, scan: &mut Scan) -> Progress {
        let mut block = std::mem::take(&mut self.block);
        let progress = self.inflate(&block, scan);
        block.clear();
        self.block = block;
        progress
    }

    fn inflate(&mut self, mut deflated: &[u8], scan: &mut Scan) -> Progress {
        while !self.at_end {
            let Step { taken, inflated, end } = self.step(deflated);
            deflated = &deflated[taken..];
            // Bytes before a corrupt one count; otherwise the head would depend on how the network cut the stream.
            if scan.feed(&self.buffer[..inflated]) == Progress::Done {
                return Progress::Done;
            }
            match end {
                Some(Ok(())) => self.at_end = true,
                Some(Err(error)) => return scan.fail(error),
                None => {}
            }
            // A full buffer means that more may be waiting inside the inflater.
            if deflated.is_empty() && inflated < BUFFER_BYTES {
                break;
            }
        }
        Progress::More
    }

    /// Inflates one buffer.
    fn step(&mut self, deflated: &[u8]) -> Step {
        let (taken_before, made_before) = (self.stream.total_in(), self.stream.total_out());
        let allowed = self.max_bytes - made_before;
        if allowed == 0 {
            return Step { taken: 0, inflated: 0, end: Some(Err(HeadError::Limit { which: Limit::Bytes })) };
        }
        let room = usize::try_from(allowed).map_or(BUFFER_BYTES, |allowed| allowed.min(BUFFER_BYTES));
        let status = self.stream.decompress(deflated, &mut self.buffer[..room], FlushDecompress::None);
        let taken = (self.stream.total_in() - taken_before) as usize;
        let inflated = (self.stream.total_out() - made_before) as usize;
        let end = match status {
            Ok(Status::StreamEnd) => Some(Ok(())),
            Err(_) => Some(Err(HeadError::Deflate)),
            Ok(_) if taken + inflated == 0 && !deflated.is_empty() => Some(Err(HeadError::Deflate)),
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
    /// The end of the stream, good or bad.
    end: Option<Result<(), HeadError>>,
}
