//! Inflates a deflated dataset (PS3.5 §A.5) as far as its head, a small buffer at a time.

use flate2::{Decompress, FlushDecompress, Status};

use super::scan::Scan;
use super::{HeadError, Limit, Progress};

const BUFFER_BYTES: usize = 4096;

pub(super) struct Inflate {
    /// Raw deflate, without a zlib header (RFC 1951).
    stream: Decompress,
    max_bytes: u64,
    buffer: Box<[u8; BUFFER_BYTES]>,
    at_end: bool,
}

impl Inflate {
    /// Inflates at most `max_bytes`.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { stream: Decompress::new(false), max_bytes, buffer: Box::new([0; BUFFER_BYTES]), at_end: false }
    }

    /// Whether the whole stream went through the scan; what follows it is padding.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Feeds what `deflated` inflates to into `scan`, until that is done.
    pub(super) fn feed(&mut self, mut deflated: &[u8], scan: &mut Scan) -> Progress {
        while !self.at_end {
            let (taken, inflated) = match self.step(deflated) {
                Ok(progress) => progress,
                Err(error) => return scan.fail(error),
            };
            deflated = &deflated[taken..];
            if scan.feed(&self.buffer[..inflated]) == Progress::Done {
                return Progress::Done;
            }
            // A full buffer means that more may be waiting inside the inflater.
            if deflated.is_empty() && inflated < BUFFER_BYTES {
                break;
            }
        }
        Progress::More
    }

    /// Inflates one buffer; gives the bytes taken and the bytes made.
    fn step(&mut self, deflated: &[u8]) -> Result<(usize, usize), HeadError> {
        let (taken_before, made_before) = (self.stream.total_in(), self.stream.total_out());
        let allowed = self.max_bytes - made_before;
        if allowed == 0 {
            return Err(HeadError::Limit { which: Limit::Bytes });
        }
        let room = usize::try_from(allowed).map_or(BUFFER_BYTES, |allowed| allowed.min(BUFFER_BYTES));
        let status = self
            .stream
            .decompress(deflated, &mut self.buffer[..room], FlushDecompress::None)
            .map_err(|_| HeadError::Deflate)?;
        let taken = (self.stream.total_in() - taken_before) as usize;
        let made = (self.stream.total_out() - made_before) as usize;
        self.at_end = status == Status::StreamEnd;
        if !self.at_end && taken + made == 0 && !deflated.is_empty() {
            return Err(HeadError::Deflate);
        }
        Ok((taken, made))
    }
}
