//! The opening of a dataset: bytes in front that are no part of it, and the encoding that its first elements prove.
//!
//! A proof takes two elements in a row, or an element and the first item of its sequence: tags of the standard, each with a VR of its own
//! or a length that no VR can be taken for. A dataset that begins as announced needs no proof.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::element::{Decoded, Encoding, Header, ITEM, MIN_HEADER_BYTES, SEQUENCE_DELIMITATION, UNDEFINED_LENGTH};
use crate::uid::Uid;

/// Bytes that are looked at for a proof.
const MOST_BYTES: usize = 2048;
/// Bytes that may be left out: no file meta is as long.
const MOST_LEFT_OUT_BYTES: u64 = 64 * 1024;

/// The value of (0002,0010) is no longer (PS3.5 §6.2).
const MAX_UID_BYTES: u32 = 64;

const PREAMBLE_BYTES: usize = 128;
const PREFIX: &[u8] = b"DICM";
const FILE_META_GROUP: u16 = 0x0002;

/// The least value that the length of an element in implicit VR has if its bytes could be a VR: `AA`.
const LEAST_VR: u32 = 0x4141;

/// Looks at the first bytes of a dataset, in fragments of any size.
pub(super) struct Opening {
    announced: Encoding,
    is_deflated: bool,
    /// Bytes that await a decision, at most [`MOST_BYTES`].
    held: Vec<u8>,
    /// Bytes still to be left out.
    leaving: u64,
    left_out: u64,
    /// (0002,0010) among what was left out.
    named: Option<String>,
}

/// The opening of a dataset, once it is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// The first bytes of the dataset, if earlier fragments had them: at most 2 KiB.
    pub first: Vec<u8>,
    /// Bytes of the last fragment that are left out or in `first`. The dataset continues behind them.
    pub taken: usize,
}

/// What an opening has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The encoding that the first elements prove; `None`: they begin as announced, or prove nothing.
    pub(super) proven: Option<Encoding>,
    /// Bytes that are no part of the dataset.
    pub(super) left_out: u64,
    /// The transfer syntax that file meta in front of the dataset names.
    pub(super) named: Option<String>,
    /// There is more of it than is left out.
    pub(super) is_endless: bool,
}

/// How much of the dataset there is to look at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// More may come.
    Open,
    /// More may come, and will not be looked at.
    Full,
    /// The whole dataset.
    Whole,
}

enum Step {
    More,
    /// So many bytes, and the transfer syntax that they name.
    LeaveOut(u64, Option<String>),
    Dataset(Option<Encoding>),
    /// More bytes in front of the dataset than are left out.
    Endless,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Yes,
    No,
    Pending,
}

impl Opening {
    pub(super) fn new(announced: Encoding, is_deflated: bool) -> Self {
        Self { announced, is_deflated, held: Vec::new(), leaving: 0, left_out: 0, named: None }
    }

    /// Looks at the next fragment.
    pub(super) fn feed(&mut self, fragment: &[u8]) -> Option<(Opened, Found)> {
        let mut taken = 0;
        loop {
            taken += self.leave_out(fragment.len() - taken);
            let rest = &fragment[taken..];
            let step = if self.held.is_empty() {
                let seen = &rest[..rest.len().min(MOST_BYTES)];
                self.step(seen, if seen.len() < MOST_BYTES { Extent::Open } else { Extent::Full })
            } else {
                let now = rest.len().min(MOST_BYTES - self.held.len());
                self.held.extend_from_slice(&rest[..now]);
                taken += now;
                self.step(&self.held, if self.held.len() < MOST_BYTES { Extent::Open } else { Extent::Full })
            };
            match step {
                Step::Dataset(proven) => return Some(self.end(taken, proven, false)),
                Step::Endless => return Some(self.end(taken, None, true)),
                Step::LeaveOut(bytes, named) => self.begin_leaving(bytes, named),
                Step::More => {
                    self.held.extend_from_slice(&fragment[taken..]);
                    return None;
                }
            }
        }
    }

    /// Decides at the end of the dataset.
    pub(super) fn finish(&mut self) -> (Opened, Found) {
        loop {
            match self.step(&self.held, Extent::Whole) {
                Step::LeaveOut(bytes, named) => self.begin_leaving(bytes, named),
                Step::Dataset(proven) => return self.end(0, proven, false),
                Step::Endless => return self.end(0, None, true),
                Step::More => return self.end(0, None, false),
            }
        }
    }

    fn end(&mut self, taken: usize, proven: Option<Encoding>, is_endless: bool) -> (Opened, Found) {
        let opened = Opened { first: std::mem::take(&mut self.held), taken };
        (opened, Found { proven, left_out: self.left_out, named: self.named.take(), is_endless })
    }

    fn begin_leaving(&mut self, bytes: u64, named: Option<String>) {
        self.named = named.or(self.named.take());
        self.left_out += bytes;
        let of_held = self.held.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.held.drain(..of_held);
        self.leaving = bytes - of_held as u64;
    }

    /// How many of the next `available` bytes are left out.
    fn leave_out(&mut self, available: usize) -> usize {
        let now = available.min(usize::try_from(self.leaving).unwrap_or(usize::MAX));
        self.leaving -= now as u64;
        now
    }

    fn step(&self, seen: &[u8], extent: Extent) -> Step {
        let undecided = if extent == Extent::Open { Step::More } else { Step::Dataset(None) };
        let Some(first) = seen.first_chunk::<MIN_HEADER_BYTES>() else { return undecided };
        if !self.is_deflated && self.announced.begins(first) {
            return Step::Dataset(None);
        }
        if let Some((header, bytes)) = stray_element(seen) {
            if self.left_out + bytes > MOST_LEFT_OUT_BYTES {
                return Step::Endless;
            }
            let value = || seen.get(header.bytes()..bytes as usize);
            return match header.tag {
                tags::TRANSFER_SYNTAX_UID if header.length > MAX_UID_BYTES => Step::LeaveOut(bytes, None),
                tags::TRANSFER_SYNTAX_UID if value().is_none() && extent == Extent::Open => Step::More,
                tags::TRANSFER_SYNTAX_UID => Step::LeaveOut(bytes, value().and_then(uid)),
                _ => Step::LeaveOut(bytes, None),
            };
        }
        let natives = [Encoding::ExplicitLe, Encoding::ImplicitLe, Encoding::ExplicitBe];
        let proofs = natives.map(|encoding| encoding.proves(seen, extent));
        if let Some(proven) = proofs.iter().position(|proof| *proof == Proof::Yes).map(|at| natives[at]) {
            return Step::Dataset((self.is_deflated || proven != self.announced).then_some(proven));
        }
        let may_be_a_file = self.left_out == 0;
        match seen.get(PREAMBLE_BYTES..PREAMBLE_BYTES + PREFIX.len()) {
            Some(PREFIX) if may_be_a_file => Step::LeaveOut((PREAMBLE_BYTES + PREFIX.len()) as u64, None),
            Some(_) if may_be_a_file && seen.iter().take(PREAMBLE_BYTES).all(|byte| *byte == 0) => {
                Step::LeaveOut(PREAMBLE_BYTES as u64, None) // a preamble without its prefix
            }
            Some(_) if may_be_a_file && first == &[0; MIN_HEADER_BYTES] => {
                let zeros = seen.iter().take_while(|byte| **byte == 0).count();
                // Elements of zeros, which readers pass over. The first byte of a tag in big endian is one, too.
                Step::LeaveOut((zeros - zeros % MIN_HEADER_BYTES) as u64, None)
            }
            None if may_be_a_file => undecided,
            _ if proofs.contains(&Proof::Pending) => undecided,
            _ => Step::Dataset(None),
        }
    }
}

/// An element of group 0000 or 0002 that `seen` begins with, and its length: it belongs to a command set or to file meta (PS3.7 §6.3.1,
/// PS3.10 §7.1), whatever the encoding it is in.
fn stray_element(seen: &[u8]) -> Option<(Header, u64)> {
    [Encoding::ExplicitLe, Encoding::ImplicitLe, Encoding::ExplicitBe].into_iter().find_map(|encoding| {
        let Decoded::Header(header) = Header::decode(seen, encoding) else { return None };
        let is_stray = header.tag.group() <= FILE_META_GROUP
            && header.tag.group().is_multiple_of(2)
            && encoding.fits(&header)
            && header.length != UNDEFINED_LENGTH;
        is_stray.then(|| (header, header.bytes() as u64 + u64::from(header.length)))
    })
}

/// A value as a UID.
fn uid(value: &[u8]) -> Option<String> {
    Uid::parse(value).ok().map(|uid| uid.as_str().to_owned())
}

impl Encoding {
    /// Whether a dataset that begins with these bytes is taken to be in this encoding without a proof.
    fn begins(self, first: &[u8; MIN_HEADER_BYTES]) -> bool {
        let [_, _, _, _, v0, v1, ..] = *first;
        // Nearly every dataset begins with group 0008; as another byte order has it, that is 0800, which does not exist.
        let group = match self {
            Self::ExplicitBe => u16::from_be_bytes([first[0], first[1]]),
            Self::ExplicitLe | Self::ImplicitLe => u16::from_le_bytes([first[0], first[1]]),
        };
        let has_vr = VR::from_binary([v0, v1]).is_some();
        group == 0x0008 && has_vr == (self != Self::ImplicitLe)
    }

    /// Whether `seen`, the begin of a dataset, proves that it is in this encoding.
    fn proves(self, seen: &[u8], extent: Extent) -> Proof {
        let pending = if extent == Extent::Open { Proof::Pending } else { Proof::No };
        let first = match Header::decode(seen, self) {
            Decoded::Header(header) => header,
            Decoded::Needs(_) => return pending,
            Decoded::InvalidVr(_) => return Proof::No,
        };
        if first.tag.group() <= FILE_META_GROUP || !self.fits(&first) {
            return Proof::No;
        }
        let is_sequence = match first.vr {
            Some(vr) => &vr == b"SQ",
            None => vr_of(first.tag) == Some(VirtualVr::Exact(VR::SQ)),
        };
        let value_bytes = match first.length {
            UNDEFINED_LENGTH if is_sequence => 0,
            _ if is_sequence && first.length > 0 => 0,
            length if length as usize <= MOST_BYTES => length as usize,
            _ => return Proof::No,
        };
        let next = seen.get(first.bytes() + value_bytes..).unwrap_or_default();
        if next.is_empty() && extent == Extent::Whole {
            return Proof::Yes; // a dataset of one element
        }
        match Header::decode(next, self) {
            Decoded::Header(next) if is_sequence && first.length != 0 => match next.tag {
                ITEM => Proof::Yes,
                SEQUENCE_DELIMITATION if first.length == UNDEFINED_LENGTH => Proof::Yes,
                _ => Proof::No,
            },
            Decoded::Header(next) => {
                let is_private = next.tag.group() % 2 == 1 && next.vr.is_none_or(|vr| VR::from_binary(vr).is_some());
                if is_private || self.fits(&next) { Proof::Yes } else { Proof::No }
            }
            Decoded::Needs(_) => pending,
            Decoded::InvalidVr(_) => Proof::No,
        }
    }

    /// Whether the element is one of the standard, with a VR of its own or a length that no VR can be taken for.
    fn fits(self, header: &Header) -> bool {
        let Some(of_standard) = vr_of(header.tag) else { return false };
        let is_even = header.length.is_multiple_of(2);
        match header.vr {
            Some(vr) => {
                (is_even || header.length == UNDEFINED_LENGTH)
                    && VR::from_binary(vr).is_some_and(|vr| may_be(of_standard, vr))
            }
            None if header.length == UNDEFINED_LENGTH => of_standard == VirtualVr::Exact(VR::SQ),
            None if header.tag.element() == 0 => header.length == 4,
            None => is_even && header.length < LEAST_VR,
        }
    }
}

/// The VR that the standard gives the element; `None` if it does not know it.
fn vr_of(tag: Tag) -> Option<VirtualVr> {
    if tag.element() == 0 {
        return (tag.group().is_multiple_of(2)).then_some(VirtualVr::Exact(VR::UL));
    }
    if tag.group() % 2 == 1 {
        return None;
    }
    StandardDataDictionary.by_tag(tag).map(|entry| entry.vr())
}

/// Whether an element of this VR may be written with that one.
fn may_be(of_standard: VirtualVr, written: VR) -> bool {
    match of_standard {
        VirtualVr::Exact(vr) => vr == written || written == VR::UN,
        VirtualVr::Xs => matches!(written, VR::US | VR::SS),
        VirtualVr::Ox | VirtualVr::Px => matches!(written, VR::OB | VR::OW),
        VirtualVr::Lt => matches!(written, VR::US | VR::SS | VR::OW),
        _ => false,
    }
}
