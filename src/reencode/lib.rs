//! A DICOM dataset in one native transfer syntax, written in another: implicit VR little endian, explicit VR little endian, deflated explicit VR
//! little endian, and the retired explicit VR big endian (PS3.5 §A.1, §A.2, §A.3, §A.5).
//!
//! Bytes in, bytes out. Values pass through in pieces and are not held, so the memory is bounded, whatever the dataset. The result has the same elements
//! with the same values, or there is none: a dataset that the target cannot express is a [`Fault`].
//!
//! - A sequence or item of defined length is written with undefined length: its new length is known only at its end.
//! - Group lengths are dropped (PS3.5 §7.2).
//! - An element without a VR gets that of the dictionary; a private or unknown one, or a value too long for its VR, is UN (PS3.5 §6.2.2).
//! - The VR of private elements is lost in implicit VR, as it is whoever writes it.
//! - Between explicit VR little endian and its deflated form, each byte of the dataset stays.
//! - Samples of more than 16 bits in OW do not change their byte order, because programs disagree on it.
//!
//! Knows no socket, file or actor, and no compressed syntax.

mod deflated;
mod elements;
mod fault;
mod frame;
mod header;
mod syntax;
mod target;
mod value;
mod vr;

pub use fault::{Fault, NotNative};

use deflated::{Deflate, Inflate};
use elements::Elements;
use syntax::Native;

/// A call gives at most so many bytes more than it was given.
pub const MAX_AHEAD_BYTES: usize = 128 * 1024;

/// Memory of a [`Reencoder`] at most, besides the caller's buffers: sequences that are open, and the state of the compressor.
pub const MAX_STATE_BYTES: usize = 512 * 1024;

/// Beyond so many bytes more than it took, a call takes nothing more. The steps below give what is left to [`MAX_AHEAD_BYTES`] at most: a compressor
/// lets out what it held, 85 KiB; an inflater 32 KiB, which headers may nearly double.
const AHEAD_BYTES: usize = 16 * 1024;

/// Bytes of a value that the compressor is given at once.
const DEFLATE_STEP_BYTES: usize = 8 * 1024;

/// One dataset on its way. A value of this type serves one dataset; after a fault it is of no use.
pub struct Reencoder {
    inflate: Option<Inflate>,
    elements: Elements,
    deflate: Option<(Deflate, Vec<u8>)>,
    fault: Option<Fault>,
}

impl Reencoder {
    /// For a dataset in the transfer syntax `from`, to be written in `to`; both are UIDs.
    ///
    /// # Errors
    ///
    /// One of them is not native.
    pub fn new(from: &str, to: &str) -> Result<Self, NotNative> {
        let (from, to) = (Native::of(from)?, Native::of(to)?);
        Ok(Self {
            inflate: from.is_deflated.then(Inflate::new),
            elements: Elements::new(from.encoding, to.encoding),
            deflate: to.is_deflated.then(|| (Deflate::new(), Vec::new())),
            fault: None,
        })
    }

    /// Takes bytes of the dataset from the front of `input`, and appends to `output`: at most [`MAX_AHEAD_BYTES`] more than `input` has. Returns the
    /// bytes taken. If these are not all, the caller empties `output` and comes again with the rest: a few deflated bytes may be a long dataset.
    /// A call with bytes takes some or gives some.
    ///
    /// # Errors
    ///
    /// The dataset cannot be written anew; what was given of it so far is worth nothing. Each further call has the same error.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let pushed = match self.inflate.is_some() {
            true => self.push_deflated(input, output),
            false => self.push_plain(input, output),
        };
        pushed.inspect_err(|fault| self.fault = Some(*fault))
    }

    /// Ends the dataset: appends what is left of it, at most [`MAX_AHEAD_BYTES`].
    ///
    /// # Errors
    ///
    /// As for [`Self::push`]; and the dataset is cut short.
    pub fn finish(mut self, output: &mut Vec<u8>) -> Result<(), Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if let Some(inflate) = &self.inflate {
            inflate.finish()?;
        }
        self.elements.finish()?;
        self.deflate.as_mut().map_or(Ok(()), |(deflate, _)| deflate.finish(output))
    }

    fn push_plain(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Fault> {
        let begin = output.len();
        let mut taken = 0;
        while taken < input.len() && output.len() - begin <= taken + AHEAD_BYTES {
            taken += step(&mut self.elements, &mut self.deflate, &input[taken..], output)?;
        }
        Ok(taken)
    }

    fn push_deflated(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Fault> {
        let Some(inflate) = &mut self.inflate else { return Ok(0) };
        let begin = output.len();
        let mut taken = 0;
        loop {
            let inflated = inflate.step(&input[taken..])?;
            taken += inflated.taken;
            let mut bytes = inflated.bytes;
            // The inflater may hold more when it has taken all: it is emptied, so that nothing is left for the end.
            let is_idle = taken == input.len() && bytes.is_empty();
            while !bytes.is_empty() {
                let now = step(&mut self.elements, &mut self.deflate, bytes, output)?;
                bytes = &bytes[now..];
            }
            if is_idle || (taken < input.len() && output.len() - begin > taken + AHEAD_BYTES) {
                return Ok(taken);
            }
        }
    }
}

/// One step of the elements, deflated if they are to be.
fn step(
    elements: &mut Elements,
    deflate: &mut Option<(Deflate, Vec<u8>)>,
    bytes: &[u8],
    output: &mut Vec<u8>,
) -> Result<usize, Fault> {
    let Some((deflate, staged)) = deflate else { return elements.step(bytes, output) };
    let taken = elements.step(&bytes[..bytes.len().min(DEFLATE_STEP_BYTES)], staged)?;
    let pushed = deflate.push(staged, output);
    staged.clear();
    pushed.map(|()| taken)
}
