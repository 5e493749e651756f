//! Value representations: the form of their lengths, the units of their byte order, and the VR of an element that has none written.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

pub(crate) const SQ: [u8; 2] = *b"SQ";
pub(crate) const UN: [u8; 2] = *b"UN";

/// Whether the two bytes are a VR, known or yet to be defined.
pub(crate) fn is_valid(vr: [u8; 2]) -> bool {
    vr.iter().all(u8::is_ascii_uppercase)
}

/// Whether the length behind the VR has 16 bits. Any VR that the standard adds has 32 (PS3.5 §7.1.2).
pub(crate) fn is_short(vr: [u8; 2]) -> bool {
    matches!(
        &vr,
        b"AE"
            | b"AS"
            | b"AT"
            | b"CS"
            | b"DA"
            | b"DS"
            | b"DT"
            | b"FD"
            | b"FL"
            | b"IS"
            | b"LO"
            | b"LT"
            | b"PN"
            | b"SH"
            | b"SL"
            | b"SS"
            | b"ST"
            | b"TM"
            | b"UI"
            | b"UL"
            | b"US"
    )
}

/// The kind of a value, as far as a reader of its bytes must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sequence,
    Text,
    /// Bytes without an order, and values that are not known: those of UN are little endian in every syntax (PS3.5 §6.2.2).
    Bytes,
    /// Integers, words and tags of so many bytes.
    Integers(u8),
    /// Floating point numbers of so many bytes.
    Floats(u8),
}

impl Kind {
    /// Of a VR; `None`: the standard does not have it.
    pub(crate) fn of(vr: [u8; 2]) -> Option<Self> {
        Some(match &vr {
            b"SQ" => Self::Sequence,
            b"AE" | b"AS" | b"CS" | b"DA" | b"DS" | b"DT" | b"IS" | b"LO" | b"LT" | b"PN" | b"SH" | b"ST" | b"TM"
            | b"UC" | b"UI" | b"UR" | b"UT" => Self::Text,
            b"OB" | b"UN" => Self::Bytes,
            // A tag is two numbers of 16 bits (PS3.5 §6.2, table 6.2-1).
            b"AT" | b"OW" | b"SS" | b"US" => Self::Integers(2),
            b"OL" | b"SL" | b"UL" => Self::Integers(4),
            b"OV" | b"SV" | b"UV" => Self::Integers(8),
            b"FL" | b"OF" => Self::Floats(4),
            b"FD" | b"OD" => Self::Floats(8),
            _ => return None,
        })
    }

    /// The unit of the byte order, in bytes; 1: there is none.
    pub(crate) fn unit(self) -> u8 {
        match self {
            Self::Sequence | Self::Text | Self::Bytes => 1,
            Self::Integers(unit) | Self::Floats(unit) => unit,
        }
    }

    /// Whether bytes that are of this kind mean the same to a reader who takes them for the other.
    pub(crate) fn reads_as(self, other: Self) -> bool {
        match (self, other) {
            (Self::Sequence, _) | (_, Self::Sequence) => self == other,
            (Self::Bytes, _) | (_, Self::Bytes) => true,
            _ => self == other,
        }
    }
}

/// The VR that the dictionary has for an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    Known([u8; 2]),
    /// US or SS, as the pixel representation says (PS3.6 §6).
    UsOrSs,
    /// Private, or of a later edition.
    Unknown,
}

impl Listed {
    pub(crate) fn of(tag: Tag) -> Self {
        // The repeating groups of the dictionary are the even ones only: (60xx,3000) says nothing of (6001,3000).
        let is_private = tag.group() % 2 == 1;
        if is_private && !(0x10..=0xFF).contains(&tag.element()) {
            return Self::Unknown;
        }
        if is_private {
            return Self::Known(*b"LO"); // the private creator (PS3.5 §7.8.1)
        }
        let Some(entry) = StandardDataDictionary.by_tag(tag) else { return Self::Unknown };
        match entry.vr() {
            VirtualVr::Exact(VR::UN) => Self::Unknown,
            VirtualVr::Exact(vr) => Self::Known(vr.to_bytes()),
            VirtualVr::Xs => Self::UsOrSs,
            // In implicit VR, pixel data, overlays, curves, waveforms and LUTs are OW (PS3.5 §A.1).
            _ => Self::Known(*b"OW"),
        }
    }

    pub(crate) fn is_sequence(self) -> bool {
        self == Self::Known(SQ)
    }

    /// The VR that a reader of implicit VR takes the element for, where it has one.
    pub(crate) fn vr(self) -> Option<[u8; 2]> {
        match self {
            Self::Known(vr) => Some(vr),
            Self::UsOrSs => Some(*b"US"),
            Self::Unknown => None,
        }
    }
}
