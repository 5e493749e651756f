//! One data element header in each of the encodings a dataset may have (PS3.5 §7.1).

use dicom_core::Tag;

/// The longest element header: explicit VR with a 32-bit length.
pub(crate) const MAX_HEADER_BYTES: usize = 12;

/// The shortest element header. It suffices to know the full length.
pub(crate) const MIN_HEADER_BYTES: usize = 8;

/// A length that says the end is marked by a delimiter (PS3.5 §7.1.1).
pub(crate) const UNDEFINED_LENGTH: u32 = u32::MAX;

/// The group of items and their delimiters, which have no VR in any encoding (PS3.5 §7.5).
pub(crate) const ITEM_GROUP: u16 = 0xFFFE;
pub(crate) const ITEM: Tag = Tag(ITEM_GROUP, 0xE000);
pub(crate) const ITEM_DELIMITATION: Tag = Tag(ITEM_GROUP, 0xE00D);
pub(crate) const SEQUENCE_DELIMITATION: Tag = Tag(ITEM_GROUP, 0xE0DD);

/// How the headers of data elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    ImplicitLe,
    ExplicitLe,
    ExplicitBe,
}

impl Encoding {
    /// The name in error texts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ImplicitLe => "implicit vr little endian",
            Self::ExplicitLe => "explicit vr little endian",
            Self::ExplicitBe => "explicit vr big endian",
        }
    }

    /// The transfer syntax of datasets that have nothing but this encoding (PS3.5 §A.1 to §A.3).
    pub(crate) fn transfer_syntax_uid(self) -> &'static str {
        match self {
            Self::ImplicitLe => "1.2.840.10008.1.2",
            Self::ExplicitLe => "1.2.840.10008.1.2.1",
            Self::ExplicitBe => "1.2.840.10008.1.2.2",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) tag: Tag,
    /// `None` in implicit VR and for items and delimiters.
    pub(crate) vr: Option<[u8; 2]>,
    pub(crate) length: u32,
}

/// The result of decoding the bytes of a header gathered so far.
pub(crate) enum Decoded {
    Header(Header),
    /// The header is this many bytes long, more than were given.
    Needs(usize),
    /// The element has no valid VR.
    InvalidVr(Tag),
}

impl Header {
    /// Decodes a header of at least [`MIN_HEADER_BYTES`] bytes.
    pub(crate) fn decode(bytes: &[u8], encoding: Encoding) -> Decoded {
        let Some([g0, g1, e0, e1, v0, v1, l0, l1]) = bytes.first_chunk::<MIN_HEADER_BYTES>().copied() else {
            return Decoded::Needs(MIN_HEADER_BYTES);
        };
        let big_endian = encoding == Encoding::ExplicitBe;
        let u16_of = |b: [u8; 2]| {
            if big_endian { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) }
        };
        let u32_of = |b: [u8; 4]| {
            if big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
        };

        let tag = Tag(u16_of([g0, g1]), u16_of([e0, e1]));
        if encoding == Encoding::ImplicitLe || tag.group() == ITEM_GROUP {
            return Decoded::Header(Self { tag, vr: None, length: u32_of([v0, v1, l0, l1]) });
        }
        let vr = [v0, v1];
        let length = match LengthField::of(vr) {
            None => return Decoded::InvalidVr(tag),
            Some(LengthField::Bits16) => u32::from(u16_of([l0, l1])),
            Some(LengthField::Bits32) => match bytes.get(8..).and_then(|rest| rest.first_chunk::<4>()) {
                Some(length) => u32_of(*length),
                None => return Decoded::Needs(MAX_HEADER_BYTES),
            },
        };
        Decoded::Header(Self { tag, vr: Some(vr), length })
    }

    /// Bytes of the header as it is written.
    pub(crate) fn bytes(&self) -> usize {
        match self.vr.and_then(LengthField::of) {
            Some(LengthField::Bits32) => MAX_HEADER_BYTES,
            Some(LengthField::Bits16) | None => MIN_HEADER_BYTES,
        }
    }
}

/// A header in the making, of bytes that arrive in pieces.
pub(super) struct Gather {
    bytes: [u8; MAX_HEADER_BYTES],
    gathered: usize,
    needed: usize,
}

impl Default for Gather {
    fn default() -> Self {
        Self { bytes: [0; MAX_HEADER_BYTES], gathered: 0, needed: MIN_HEADER_BYTES }
    }
}

impl Gather {
    /// Bytes of a header that is not whole yet.
    pub(super) fn gathered(&self) -> usize {
        self.gathered
    }

    /// Bytes that it has at least.
    pub(super) fn needed(&self) -> usize {
        self.needed
    }

    /// The bytes of the last header. Those behind the form of its length are of no meaning.
    pub(super) fn bytes(&self) -> &[u8; MAX_HEADER_BYTES] {
        &self.bytes
    }

    /// Drops what was gathered.
    pub(super) fn clear(&mut self) {
        (self.gathered, self.needed) = (0, MIN_HEADER_BYTES);
    }

    /// Takes what `bytes` has of the header: how many bytes, and [`Decoded::Needs`] until it is whole. Then the next may begin.
    pub(super) fn take(&mut self, bytes: &[u8], encoding: Encoding) -> (usize, Decoded) {
        // Nearly every header lies within one piece.
        if let Some(longest) = bytes.first_chunk().filter(|_| self.gathered == 0) {
            self.bytes = *longest;
            let decoded = Header::decode(longest, encoding);
            let taken = if let Decoded::Header(header) = &decoded { header.bytes() } else { MIN_HEADER_BYTES };
            return (taken, decoded);
        }
        let taken = bytes.len().min(self.needed - self.gathered);
        self.bytes[self.gathered..self.gathered + taken].copy_from_slice(&bytes[..taken]);
        self.gathered += taken;
        if self.gathered < self.needed {
            return (taken, Decoded::Needs(self.needed));
        }
        let decoded = Header::decode(&self.bytes[..self.gathered], encoding);
        match decoded {
            Decoded::Needs(needed) => self.needed = needed,
            Decoded::Header(_) | Decoded::InvalidVr(_) => self.clear(),
        }
        (taken, decoded)
    }
}

/// Whether the bytes behind a tag look like a VR, known or yet to be defined.
pub(crate) fn looks_like_vr(vr: [u8; 2]) -> bool {
    vr.iter().all(u8::is_ascii_uppercase)
}

/// The form of the length behind an explicit VR.
enum LengthField {
    Bits16,
    Bits32,
}

impl LengthField {
    fn of(vr: [u8; 2]) -> Option<Self> {
        match &vr {
            b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FD" | b"FL" | b"IS" | b"LO" | b"LT" | b"PN"
            | b"SH" | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => Some(Self::Bits16),
            // Any VR the standard has added or will add has the long form (PS3.5 §7.1.2).
            vr if looks_like_vr(*vr) => Some(Self::Bits32),
            // Writers that know no VR for an element put `??`, blanks, zeros or their own, and readers take the short form behind it.
            [0, 0] => Some(Self::Bits16),
            vr if vr.iter().all(|byte| matches!(byte, b' '..=b'~')) => Some(Self::Bits16),
            _ => None,
        }
    }
}
