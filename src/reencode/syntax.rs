//! The native transfer syntaxes (PS3.5 §A.1, §A.2, §A.3, §A.5).

use crate::fault::NotNative;

/// How the elements of a dataset are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    ImplicitLe,
    ExplicitLe,
    ExplicitBe,
}

impl Encoding {
    pub(crate) fn is_implicit(self) -> bool {
        self == Self::ImplicitLe
    }

    pub(crate) fn is_big_endian(self) -> bool {
        self == Self::ExplicitBe
    }

    pub(crate) fn u16_of(self, bytes: [u8; 2]) -> u16 {
        if self.is_big_endian() { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub(crate) fn u32_of(self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian() { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    pub(crate) fn bytes_of_u16(self, number: u16) -> [u8; 2] {
        if self.is_big_endian() { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    pub(crate) fn bytes_of_u32(self, number: u32) -> [u8; 4] {
        if self.is_big_endian() { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}

/// A native transfer syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Native {
    pub(crate) encoding: Encoding,
    pub(crate) is_deflated: bool,
}

impl Native {
    /// Of a UID; padding behind it counts for nothing.
    pub(crate) fn of(uid: &str) -> Result<Self, NotNative> {
        let (encoding, is_deflated) = match uid.trim_end_matches(['\0', ' ']) {
            "1.2.840.10008.1.2" => (Encoding::ImplicitLe, false),
            "1.2.840.10008.1.2.1" => (Encoding::ExplicitLe, false),
            "1.2.840.10008.1.2.1.99" => (Encoding::ExplicitLe, true),
            // Retired; old archives have it.
            "1.2.840.10008.1.2.2" => (Encoding::ExplicitBe, false),
            _ => return Err(NotNative { uid: uid.to_owned() }),
        };
        Ok(Self { encoding, is_deflated })
    }
}
