//! The head of a dataset: the few elements an instance is filed by, scanned as the bytes arrive.
//!
//! Nothing behind the last wanted element is looked at, and a dataset is never held or decoded as
//! a whole. `opening` finds where the dataset begins and which encoding it is in, `scan` walks the elements, `element` decodes one header,
//! `inflate` stands in front of them for the deflated transfer syntaxes.

pub(crate) mod element;
mod inflate;
mod opening;
mod outcome;
mod scan;
#[cfg(test)]
mod tests;
mod wanted;

use element::Encoding;
use inflate::Inflate;
pub use opening::Opened;
use opening::{Found, Opening};
pub use outcome::{Deviations, Head, HeadError, HeadLimits, Limit, Mismatch, Progress};
use scan::Scan;
pub use wanted::Wanted;

/// Every UID the standard assigns starts so; what does not is private.
const STANDARD_ROOT: &str = "1.2.840.10008.";

/// Deflated explicit VR little endian.
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// How the datasets of a transfer syntax are encoded, and whether they are deflated. One that is not known is taken as explicit
/// VR little endian, which is what every compressed syntax is (PS3.5 §A.4).
pub(crate) fn encoding_of(transfer_syntax_uid: &str) -> (Encoding, bool) {
    match transfer_syntax_uid {
        // Implicit VR little endian; Papyrus 3; GE private, big endian in its pixel data only.
        "1.2.840.10008.1.2" | "1.2.840.10008.1.20" | "1.2.840.113619.5.2" => (Encoding::ImplicitLe, false),
        "1.2.840.10008.1.2.2" => (Encoding::ExplicitBe, false),
        // And JPIP referenced deflate; JPIP HTJ2K referenced deflate.
        DEFLATED | "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205" => (Encoding::ExplicitLe, true),
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
    /// The opening, until it is known.
    opening: Option<Opening>,
    scan: Scan,
    inflate: Option<Inflate>,
    /// Whether the transfer syntax says nothing but how the elements are encoded, or that the same is deflated: another one can be named
    /// in its place.
    is_native: bool,
    /// The transfer syntax is not the standard's: what cannot be read of its dataset is filed by what the command set says.
    is_private: bool,
    is_deflated: bool,
    left_out_bytes: u64,
    true_transfer_syntax: Option<&'static str>,
    any_bytes: bool,
}

impl HeadScan {
    /// Starts a scan for the elements `wanted` at the top level of a dataset in the given transfer syntax.
    pub fn new(transfer_syntax_uid: &str, wanted: impl Into<Wanted>, limits: HeadLimits) -> Self {
        let uid = transfer_syntax_uid.trim_matches(['\0', ' ']);
        let (encoding, deflated) = encoding_of(uid);
        Self {
            opening: Some(Opening::new(encoding, deflated)),
            scan: Scan::new(encoding, wanted.into(), limits),
            inflate: deflated.then(|| Inflate::new(limits.max_bytes)),
            is_native: encoding.transfer_syntax_uid() == uid || uid == DEFLATED,
            is_private: !is_standard(uid),
            is_deflated: deflated,
            left_out_bytes: 0,
            true_transfer_syntax: None,
            any_bytes: false,
        }
    }

    /// Whether the opening of the dataset is not known yet.
    pub fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// The transfer syntax that the dataset proves to be in, if that is not the announced one. Known once the opening is.
    pub fn true_transfer_syntax(&self) -> Option<&'static str> {
        self.true_transfer_syntax
    }

    /// Looks at the next fragment of a dataset whose opening is not known yet. Once it is, [`Opened::first`] and the rest of the fragment are
    /// to be fed.
    pub fn open(&mut self, fragment: &[u8]) -> Option<Opened> {
        self.any_bytes |= !fragment.is_empty();
        let (opened, found) = self.opening.as_mut()?.feed(fragment)?;
        self.settle(found);
        Some(opened)
    }

    /// The same at the end of the dataset; `None` if the opening was known before.
    pub fn open_at_end(&mut self) -> Option<Opened> {
        let (opened, found) = self.opening.as_mut()?.finish();
        self.settle(found);
        Some(opened)
    }

    fn settle(&mut self, Found { proven, left_out }: Found) {
        self.opening = None;
        self.left_out_bytes = left_out;
        let Some(proven) = proven else { return };
        if self.is_native {
            self.true_transfer_syntax = Some(proven.transfer_syntax_uid());
        } else if !self.is_private {
            let _ = self.scan.fail(HeadError::OtherEncoding { written: proven.name() });
            return;
        }
        (self.inflate, self.is_deflated) = (None, false);
        self.scan.read_as(proven);
    }

    /// Takes the next fragment of the dataset; costs next to nothing once the outcome is known.
    pub fn feed(&mut self, fragment: &[u8]) -> Progress {
        if !self.is_opening() {
            return self.advance(fragment);
        }
        let Some(Opened { first, taken }) = self.open(fragment) else { return Progress::More };
        if !first.is_empty() && self.advance(&first) == Progress::Done {
            return Progress::Done;
        }
        self.advance(&fragment[taken..])
    }

    fn advance(&mut self, fragment: &[u8]) -> Progress {
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
    /// head is not. A dataset in a transfer syntax that is not the standard's has an empty head if it cannot be read, and so has a deflated
    /// one whose head is beyond the limits.
    pub fn finish(mut self) -> Result<Head, HeadError> {
        if let Some(Opened { first, .. }) = self.open_at_end() {
            let _ = self.advance(&first);
        }
        if !self.any_bytes {
            return Err(HeadError::Empty);
        }
        let complete = self.scan.has_needed()
            || self
                .inflate
                .is_none_or(|mut inflate| inflate.flush(&mut self.scan) == Progress::Done || inflate.at_end());
        let head = if complete { self.scan.finish() } else { Err(HeadError::Deflate) };
        let mut head = match head {
            Err(_) if self.is_private => Head::unread(),
            Err(HeadError::Limit { .. }) if self.is_deflated => Head::unread(),
            head => head?,
        };
        head.deviations.left_out_bytes = self.left_out_bytes;
        head.deviations.true_transfer_syntax = self.true_transfer_syntax;
        Ok(head)
    }
}
