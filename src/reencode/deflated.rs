//! Deflated datasets (PS3.5 §A.5): raw deflate without a zlib header (RFC 1951), padded to even length.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::fault::Fault;

const BUFFER_BYTES: usize = 8 * 1024;

pub(crate) struct Inflate {
    stream: Decompress,
    buffer: Box<[u8; BUFFER_BYTES]>,
    is_ended: bool,
}

/// The result of one buffer.
pub(crate) struct Inflated<'a> {
    /// Bytes of the deflated stream that were consumed.
    pub(crate) taken: usize,
    pub(crate) bytes: &'a [u8],
}

impl Inflate {
    pub(crate) fn new() -> Self {
        Self { stream: Decompress::new(false), buffer: Box::new([0; BUFFER_BYTES]), is_ended: false }
    }

    /// Inflates one buffer. Nothing taken and nothing inflated: the stream has no more without further bytes.
    pub(crate) fn step(&mut self, deflated: &[u8]) -> Result<Inflated<'_>, Fault> {
        let (taken_before, made_before) = (self.stream.total_in(), self.stream.total_out());
        if self.is_ended {
            // One byte pads the stream. Some writers leave the trailer of another format; no reader looks at it.
            return Ok(Inflated { taken: deflated.len(), bytes: &[] });
        }
        let status = self.stream.decompress(deflated, &mut self.buffer[..], FlushDecompress::None);
        let taken = (self.stream.total_in() - taken_before) as usize;
        let made = (self.stream.total_out() - made_before) as usize;
        match status {
            Ok(Status::StreamEnd) => self.is_ended = true,
            Ok(_) if taken + made > 0 || deflated.is_empty() => {}
            Ok(_) | Err(_) => return Err(Fault::Deflated { offset: taken_before }),
        }
        Ok(Inflated { taken, bytes: &self.buffer[..made] })
    }

    pub(crate) fn finish(&self) -> Result<(), Fault> {
        match self.is_ended {
            true => Ok(()),
            false => Err(Fault::Deflated { offset: self.stream.total_in() }),
        }
    }
}

pub(crate) struct Deflate {
    stream: Compress,
    buffer: Box<[u8; BUFFER_BYTES]>,
}

impl Deflate {
    pub(crate) fn new() -> Self {
        Self { stream: Compress::new(Compression::fast(), false), buffer: Box::new([0; BUFFER_BYTES]) }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8], output: &mut Vec<u8>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let (taken, _) = self.step(bytes, FlushCompress::None, output)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Ends the stream, and pads it.
    pub(crate) fn finish(&mut self, output: &mut Vec<u8>) -> Result<(), Fault> {
        while !self.step(&[], FlushCompress::Finish, output)?.1 {}
        if self.stream.total_out() % 2 == 1 {
            output.push(0);
        }
        Ok(())
    }

    /// Deflates one buffer: the bytes taken, and whether the stream is ended. Either progresses, or it fails.
    fn step(&mut self, bytes: &[u8], flush: FlushCompress, output: &mut Vec<u8>) -> Result<(usize, bool), Fault> {
        let (taken_before, made_before) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.compress(bytes, &mut self.buffer[..], flush);
        let taken = (self.stream.total_in() - taken_before) as usize;
        let made = (self.stream.total_out() - made_before) as usize;
        output.extend_from_slice(&self.buffer[..made]);
        match status {
            Ok(Status::StreamEnd) => Ok((taken, true)),
            Ok(_) if taken + made > 0 => Ok((taken, false)),
            Ok(_) | Err(_) => Err(Fault::NotDeflated { offset: taken_before }),
        }
    }
}
