//! The form of an element in the target encoding.

use dicom_core::Tag;
use dicom_dictionary_std::tags::PIXEL_REPRESENTATION;

use crate::fault::Fault;
use crate::header::Header;
use crate::syntax::Encoding;
use crate::value::Way;
use crate::vr::{self, Kind, Listed, SQ, UN};

/// What stands behind a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Value,
    /// Items, in this encoding.
    Items(Encoding),
    /// Undefined length under a VR that is no sequence.
    Fragments,
}

impl Content {
    pub(crate) fn of(header: &Header, encoding: Encoding, to: Encoding) -> Self {
        match header.vr {
            Some(SQ) => Self::Items(encoding),
            // Readers of implicit VR will take it for the sequence that it should be.
            Some(UN) if to.is_implicit() && Listed::of(header.tag).is_sequence() => Self::Items(Encoding::ImplicitLe),
            // PS3.5 §6.2.2: a sequence, in implicit VR little endian whatever the transfer syntax.
            Some(UN) if header.is_undefined() => Self::Items(Encoding::ImplicitLe),
            Some(_) if header.is_undefined() => Self::Fragments,
            Some(_) => Self::Value,
            None => match Listed::of(header.tag) {
                listed if listed.is_sequence() => Self::Items(encoding),
                // Nothing else than a sequence has undefined length in implicit VR (PS3.5 §7.1.3).
                Listed::Unknown if header.is_undefined() => Self::Items(encoding),
                _ if header.is_undefined() => Self::Fragments,
                _ => Self::Value,
            },
        }
    }
}

/// The pixel representation, as far as the dataset has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signedness {
    Known(bool),
    /// Its place has been passed, here and in the dataset around.
    Absent,
    /// It may yet come.
    Ahead,
}

impl Signedness {
    /// `last`: the last element of the dataset itself, which stands in ascending order (PS3.5 §7.1).
    pub(crate) fn new(is_signed: Option<bool>, last: Tag) -> Self {
        match is_signed {
            Some(is_signed) => Self::Known(is_signed),
            None if last > PIXEL_REPRESENTATION => Self::Absent,
            None => Self::Ahead,
        }
    }
}

/// A value in the target encoding: `None` for the VR in implicit VR.
pub(crate) type Written = (Option<[u8; 2]>, Way);

/// Whether a reader of implicit VR knows that the element is a sequence.
pub(crate) fn is_sequence(header: &Header) -> bool {
    Listed::of(header.tag).is_sequence()
}

/// The VR of a sequence in the target encoding.
pub(crate) fn sequence(header: &Header, to: Encoding) -> Result<Option<[u8; 2]>, Fault> {
    if to.is_implicit() {
        fits_implicit(header, SQ, Kind::Sequence)?;
        return Ok(None);
    }
    Ok(header.vr.or(Some(SQ)))
}

/// The VR of a value in the target encoding, which is not the encoding `from`, and what happens to its bytes.
pub(crate) fn value(header: &Header, from: Encoding, to: Encoding, signedness: Signedness) -> Result<Written, Fault> {
    let Header { tag, length, .. } = *header;
    let mut vr = header.vr.unwrap_or_else(|| listed(header, signedness));
    let kind = match Kind::of(vr) {
        Some(kind) => kind,
        None if from.is_big_endian() && length > 0 => return Err(Fault::UnknownVr { tag, vr }),
        // A reader of the other byte order could do nothing with it, under its own VR.
        None => {
            vr = if to.is_big_endian() { UN } else { vr };
            Kind::Bytes
        }
    };
    if to.is_implicit() {
        fits_implicit(header, vr, kind)?;
    }
    let written = (!to.is_implicit()).then_some(vr);
    let unit = kind.unit();
    if from.is_big_endian() == to.is_big_endian() || unit == 1 {
        return Ok((written, Way::Copied));
    }
    match length % u32::from(unit) {
        0 => Ok((written, Way::Swapped(unit))),
        _ => Err(Fault::Uneven { tag, length, unit }),
    }
}

/// The VR for an element that comes without: its value, little endian, must mean the same under it.
fn listed(header: &Header, signedness: Signedness) -> [u8; 2] {
    let vr = match (Listed::of(header.tag), signedness) {
        (Listed::Known(vr), _) => vr,
        (Listed::UsOrSs, Signedness::Known(true)) => *b"SS",
        // Objects without pixels, as presentation states, have no sign: their LUTs are unsigned.
        (Listed::UsOrSs, Signedness::Known(false) | Signedness::Absent) => *b"US",
        // The reader has the whole dataset, and can find out.
        (Listed::UsOrSs, Signedness::Ahead) | (Listed::Unknown, _) => UN,
    };
    // PS3.5 §6.2.2: a value that is too long for the length of its VR is UN.
    if vr::is_short(vr) && header.length > u32::from(u16::MAX) { UN } else { vr }
}

/// Whether a reader of implicit VR, who goes by the dictionary, takes the value for what it is. Of private elements such a reader knows nothing.
fn fits_implicit(header: &Header, vr: [u8; 2], kind: Kind) -> Result<(), Fault> {
    let Some(expected) = Listed::of(header.tag).vr().filter(|_| header.length > 0) else { return Ok(()) };
    match Kind::of(expected).is_none_or(|expected| kind.reads_as(expected)) {
        true => Ok(()),
        false => Err(Fault::OtherVr { tag: header.tag, vr, expected }),
    }
}
