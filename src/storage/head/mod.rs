//! The head of a dataset: the few elements an instance is filed by, scanned as the bytes arrive.
//!
//! A dataset is never held or decoded as a whole. `opening` finds where it begins and which encoding it is in. `elements` feeds two readers:
//! `scan` keeps the wanted values and ends behind the last of them; `walk` passes over every element to the end of the dataset, skips the
//! values, and notes the form of the pixel data and where the structure breaks: `frame` is what is open there, and `damage` says what readers
//! bear. `element` decodes one header, `inflate` stands in front of them for the deflated transfer syntaxes, `syntax` knows the transfer
//! syntaxes and chooses the label.

mod damage;
pub(crate) mod element;
mod elements;
mod fault;
mod frame;
mod inflate;
mod opening;
mod outcome;
mod scan;
pub(crate) mod syntax;
#[cfg(test)]
mod tests;
pub(crate) mod walk;
mod wanted;

use dicom_core::Tag;

use crate::uid::trim_padding;
use damage::Break;
use elements::Elements;
use inflate::Inflate;
pub use opening::Opened;
use opening::{Found, Opening};
pub use outcome::{Deviations, Head, HeadError, HeadLimits, Limit, Mismatch, Progress};
use scan::Scan;
pub use syntax::Evidence;
use syntax::{Label, Labels, Reading, Syntax};
use walk::Walk;
pub use wanted::Wanted;

/// Reads the head of one dataset from fragments of any size, and watches the rest of it, unless only the head is of interest.
///
/// It holds a partial element header, the wanted values (at most 1 KiB of each), 40 bytes for each open sequence and item (at most 40 KiB)
/// and, for a deflated dataset, the inflater's window (some 50 KiB).
pub struct HeadScan {
    /// The opening, until it is known.
    opening: Option<Opening>,
    elements: Elements,
    inflate: Option<Inflate>,
    announced: Syntax,
    announced_uid: Box<str>,
    /// The transfer syntaxes that may be true, once the opening is known.
    labels: Option<Labels>,
    /// The one that is, as far as is known; `None`: that depends on what was not met yet.
    label: Option<Label>,
    left_out_bytes: u64,
    any_bytes: bool,
}

impl HeadScan {
    /// Starts a scan for the elements `wanted` at the top level of a dataset in the given transfer syntax.
    pub fn new(transfer_syntax_uid: &str, wanted: impl Into<Wanted>, limits: HeadLimits) -> Self {
        let scan = Self::of_head(transfer_syntax_uid, wanted, limits);
        let whole = Some(Walk::new(scan.announced.encoding));
        Self { elements: Elements { whole, ..scan.elements }, ..scan }
    }

    /// The same for a head alone: what follows it is not looked at, and need not be fed.
    pub fn of_head(transfer_syntax_uid: &str, wanted: impl Into<Wanted>, limits: HeadLimits) -> Self {
        let uid = transfer_syntax_uid.trim_matches(['\0', ' ']);
        let announced = Syntax::of(uid);
        Self {
            opening: Some(Opening::new(announced.encoding, announced.is_deflated)),
            elements: Elements { head: Scan::new(announced.encoding, wanted.into(), limits), whole: None },
            inflate: announced.is_deflated.then(|| Inflate::new(limits.max_bytes)),
            announced,
            announced_uid: uid.into(),
            labels: None,
            label: None,
            left_out_bytes: 0,
            any_bytes: false,
        }
    }

    /// Whether the opening of the dataset is not known yet.
    pub fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// Whether the opening is known, and the transfer syntax of the file still depends on the pixel data.
    pub fn awaits_pixel_data(&self) -> bool {
        self.opening.is_none() && self.label.is_none()
    }

    /// The transfer syntax that the file is to name, if that is not the announced one. Known once the opening is and no pixel data are
    /// awaited.
    pub fn other_transfer_syntax(&self) -> Option<&str> {
        Some(self.labels.as_ref()?.other_than_announced(self.label?)?.0)
    }

    /// Chooses the transfer syntax by what is known so far. Pixel data that contradict it are an error in the end.
    pub fn settle_transfer_syntax(&mut self) {
        let chosen = self.labels.as_ref().and_then(|labels| labels.choose(self.elements.pixels()));
        self.label = self.label.or(chosen).or(Some(Label::Announced));
    }

    /// The raw value of a wanted element that has arrived so far, as [`Head::value`].
    pub fn value(&self, tag: Tag) -> Option<&[u8]> {
        self.elements.head.value(tag).map(trim_padding)
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

    fn settle(&mut self, Found { proven, left_out, named, is_endless }: Found) {
        self.opening = None;
        self.left_out_bytes = left_out;
        let mut reading = self.announced.reading();
        if let Some(encoding) = proven {
            reading = Reading { encoding, is_deflated: false };
            self.inflate = None;
            self.elements.read_as(encoding);
        }
        let named = named.filter(|uid| **uid != *self.announced_uid);
        let labels = Labels::new(self.announced, reading, named);
        let fitting = labels.choose(None);
        if is_endless {
            self.elements.head.fail(HeadError::LongFileMeta);
        } else if fitting.is_none() && !self.announced.is_private {
            self.elements.head.fail(HeadError::OtherEncoding { written: reading.encoding.name() });
        }
        let awaits_pixels = labels.depend_on_pixels() && !self.announced.is_private && !is_endless;
        if !awaits_pixels {
            self.label = fitting.filter(|_| !self.announced.is_private).or(Some(Label::Announced));
        }
        self.labels = Some(labels);
    }

    /// Takes the next fragment of the dataset. Bytes of a value that is skipped cost nothing.
    pub fn feed(&mut self, fragment: &[u8]) -> Progress {
        if !self.is_opening() {
            return self.advance(fragment);
        }
        let Some(Opened { first, taken }) = self.open(fragment) else { return Progress::More };
        if !first.is_empty() {
            let _ = self.advance(&first);
        }
        self.advance(&fragment[taken..])
    }

    fn advance(&mut self, fragment: &[u8]) -> Progress {
        let progress = match &mut self.inflate {
            Some(inflate) => inflate.feed(fragment, &mut self.elements),
            None => self.elements.feed(fragment),
        };
        if self.elements.whole.is_none() {
            return self.elements.head.progress();
        }
        if self.label.is_none() && self.elements.pixels().is_some() {
            self.settle_transfer_syntax();
        }
        progress
    }

    /// Ends the scan at the end of the dataset.
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
        if let Some(inflate) = &mut self.inflate {
            inflate.flush(&mut self.elements);
        }
        self.settle_transfer_syntax();
        let contradiction = self.contradiction();
        let Elements { head, whole } = self.elements;
        let is_whole = whole.is_none() || self.inflate.as_ref().is_none_or(Inflate::is_whole);
        let head = if is_whole { head.finish() } else { Err(HeadError::Deflate) };
        let mut head = match head {
            Err(_) if self.announced.is_private => Head::unread(),
            Err(HeadError::Limit { .. }) if self.inflate.is_some() => Head::unread(),
            head => head?,
        };
        if let Some(error) = contradiction {
            return Err(error);
        }
        head.deviations.left_out_bytes = self.left_out_bytes;
        let labels = self.labels.as_ref().zip(self.label);
        head.deviations.other_transfer_syntax =
            labels.and_then(|(labels, label)| Some(labels.other_than_announced(label)?.1));
        let Some(mut whole) = whole.filter(|_| !self.announced.is_private) else { return Ok(head) };
        head.add_repeated(whole.take_again());
        head.deviations.has_invalid_vr = whole.has_invalid_vr();
        // The elements of a deflated stream that is very long were not looked at to its end.
        let is_seen = self.inflate.as_ref().is_none_or(Inflate::is_seen);
        match whole.broken().filter(|_| is_seen) {
            Some(Break { tag, offset }) => Err(HeadError::Broken { tag, offset }),
            None => Ok(head),
        }
    }

    /// Pixel data of another form than the label of the file allows.
    fn contradiction(&self) -> Option<HeadError> {
        let (labels, label) = self.labels.as_ref().zip(self.label)?;
        let form = self.elements.pixels()?;
        (!labels.allows(label, form)).then_some(HeadError::OtherPixelForm { found: form.name() })
    }
}
