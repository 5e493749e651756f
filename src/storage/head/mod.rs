//! The head of a dataset: the few elements an instance is filed by, scanned as the bytes arrive.
//!
//! Nothing behind the last wanted element is looked at, and a dataset is never held or decoded as
//! a whole. `scan` walks the elements, `element` decodes one header, `inflate` stands in front of
//! them for the deflated transfer syntaxes.

pub(crate) mod element;
mod inflate;
mod outcome;
mod scan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use dicom_core::Tag;

use element::Encoding;
use inflate::Inflate;
pub use outcome::{Head, HeadError, HeadLimits, Limit, Mismatch, Progress};
use scan::Scan;

/// Every UID the standard assigns starts so; what does not is private.
const STANDARD_ROOT: &str = "1.2.840.10008.";

/// How the datasets of a transfer syntax are encoded, and whether they are deflated. One that is not known is taken as explicit
/// VR little endian, which is what every compressed syntax is (PS3.5 §A.4).
pub(crate) fn encoding_of(transfer_syntax_uid: &str) -> (Encoding, bool) {
    match transfer_syntax_uid {
        // Implicit VR little endian; Papyrus 3; GE private, big endian in its pixel data only.
        "1.2.840.10008.1.2" | "1.2.840.10008.1.20" | "1.2.840.113619.5.2" => (Encoding::ImplicitLe, false),
        "1.2.840.10008.1.2.2" => (Encoding::ExplicitBe, false),
        // Deflated explicit VR; JPIP referenced deflate; JPIP HTJ2K referenced deflate.
        "1.2.840.10008.1.2.1.99" | "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205" => (Encoding::ExplicitLe, true),
        _ => (Encoding::ExplicitLe, false),
    }
}

/// Whether the standard defines the transfer syntax, so that its datasets are known to be made of data elements.
pub(crate) fn is_standard(transfer_syntax_uid: &str) -> bool {
    transfer_syntax_uid.starts_with(STANDARD_ROOT)
}

/// Reads the head of one dataset from fragments of any size.
///
/// It holds a partial element header, the wanted values (at most 1 KiB of each) and, for a deflated
/// dataset, the inflater's window (some 50 KiB, given back once the head is known). Nesting costs
/// no memory.
pub struct HeadScan {
    scan: Scan,
    inflate: Option<Inflate>,
    /// The head of this dataset is a courtesy: when it cannot be had, the instance is filed by what
    /// the command set says.
    optional: bool,
    any_bytes: bool,
}

impl HeadScan {
    /// Starts a scan for the elements `wanted` (ascending) at the top level of a dataset in the given transfer syntax.
    pub fn new(transfer_syntax_uid: &str, wanted: Arc<[Tag]>, limits: HeadLimits) -> Self {
        let uid = transfer_syntax_uid.trim_matches(['\0', ' ']);
        let (encoding, deflated) = encoding_of(uid);
        Self {
            scan: Scan::new(encoding, wanted, limits),
            inflate: deflated.then(|| Inflate::new(limits.max_bytes)),
            optional: deflated || !is_standard(uid),
            any_bytes: false,
        }
    }

    /// Takes the next fragment of the dataset; costs next to nothing once the outcome is known.
    pub fn feed(&mut self, fragment: &[u8]) -> Progress {
        self.any_bytes |= !fragment.is_empty();
        let progress = match &mut self.inflate {
            Some(inflate) => inflate.feed(fragment, &mut self.scan),
            None => self.scan.feed(fragment),
        };
        if progress == Progress::Done {
            self.inflate = None;
        }
        progress
    }

    /// Ends the scan, at the end of the dataset or once [`feed`](Self::feed) said `Done`.
    ///
    /// A dataset whose head ends before an element was wanted is whole; one that ends inside its
    /// head is not. A deflated dataset, or one in a transfer syntax that is not the standard's,
    /// whose head cannot be read has an empty head.
    pub fn finish(mut self) -> Result<Head, HeadError> {
        if !self.any_bytes {
            return Err(HeadError::Empty);
        }
        let complete =
            self.inflate.is_none_or(|mut inflate| inflate.flush(&mut self.scan) == Progress::Done || inflate.at_end());
        let head = if complete { self.scan.finish() } else { Err(HeadError::Deflate) };
        if self.optional { Ok(head.unwrap_or_default()) } else { head }
    }
}
