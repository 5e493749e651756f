//! Shape and encoding of pixel data, and the samples of a frame.

use serde::Deserialize;

use super::element::Elements;
use crate::random::Random;

/// How pixel data is encoded (PS3.5 §A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Encoding {
    /// Explicit VR Little Endian
    Explicit,
    /// Implicit VR Little Endian
    Implicit,
    /// RLE Lossless
    Rle,
    /// JPEG Baseline, of 8 bits
    JpegBaseline,
    /// JPEG Lossless, selection value 1
    JpegLossless,
}

impl Encoding {
    /// Its transfer syntax (PS3.6 table A-1).
    pub(crate) fn transfer_syntax(self) -> &'static str {
        match self {
            Self::Explicit => "1.2.840.10008.1.2.1",
            Self::Implicit => "1.2.840.10008.1.2",
            Self::Rle => "1.2.840.10008.1.2.5",
            Self::JpegBaseline => "1.2.840.10008.1.2.4.50",
            Self::JpegLossless => "1.2.840.10008.1.2.4.70",
        }
    }

    pub(crate) fn is_explicit(self) -> bool {
        self != Self::Implicit
    }

    /// Whether each frame is a fragment of its own rather than so many bytes of one value (PS3.5 §A.4).
    pub(crate) fn is_encapsulated(self) -> bool {
        !matches!(self, Self::Explicit | Self::Implicit)
    }
}

/// Dimensions and depth of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) frames: u32,
    pub(crate) samples: u16,
    pub(crate) bits_allocated: u16,
    pub(crate) bits_stored: u16,
}

impl Shape {
    /// RGB, one byte a sample.
    pub(crate) const COLOUR: Self =
        Self { rows: 1, columns: 1, frames: 1, samples: 3, bits_allocated: 8, bits_stored: 8 };

    /// One grey pixel of that depth.
    pub(crate) const fn grey(bits_allocated: u16, bits_stored: u16) -> Self {
        Self { rows: 1, columns: 1, frames: 1, samples: 1, bits_allocated, bits_stored }
    }

    /// Bytes of one pixel.
    pub(crate) fn pixel_bytes(&self) -> u64 {
        u64::from(self.samples) * u64::from(self.bits_allocated / 8)
    }

    /// Bytes of one frame, native.
    pub(crate) fn frame_bytes(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns) * self.pixel_bytes()
    }

    /// Bytes of all frames, native.
    pub(crate) fn native_bytes(&self) -> u64 {
        self.frame_bytes() * u64::from(self.frames)
    }

    /// The Image Pixel module (PS3.3 §C.7.6.3) and, for what has frames, their number.
    pub(crate) fn describe(&self, elements: &mut Elements, multi_frame: bool, encoding: Encoding) {
        let photometric = match (self.samples, encoding) {
            (1, _) => "MONOCHROME2",
            (_, Encoding::JpegBaseline) => "YBR_FULL_422",
            _ => "RGB",
        };
        elements.text((0x0028, 0x0004), "CS", photometric);
        let high_bit = self.bits_stored.saturating_sub(1);
        for (element, value) in [
            (0x0002, self.samples),
            (0x0010, self.rows),
            (0x0011, self.columns),
            (0x0100, self.bits_allocated),
            (0x0101, self.bits_stored),
            (0x0102, high_bit),
            (0x0103, 0),
        ] {
            elements.text((0x0028, element), "US", &value.to_string());
        }
        if self.samples > 1 {
            elements.text((0x0028, 0x0006), "US", "0");
        }
        if multi_frame {
            elements.text((0x0028, 0x0008), "IS", &self.frames.to_string());
        }
        if encoding == Encoding::JpegBaseline {
            elements.text((0x0028, 0x2110), "CS", "01");
            elements.text((0x0028, 0x2112), "DS", "10");
            elements.text((0x0028, 0x2114), "CS", "ISO_10918_1");
        }
    }

    /// The samples of one frame: slow waves under noise of a few bits, which compresses about as a picture of a patient does.
    pub(crate) fn frame(&self, random: &mut Random) -> Vec<u16> {
        let (columns, samples) = (usize::from(self.columns), usize::from(self.samples));
        let count = usize::from(self.rows) * columns * samples;
        let top = (1_u32 << self.bits_stored.min(16)) - 1;
        // Colour is lossy, and what is too smooth would vanish in it.
        let noise_bits = if self.samples > 1 { 0x7F } else { 0x0F };
        // A wave of triangles, drawn from its own place: cheap, and smooth where a codec looks.
        let phase = random.between(0, 1 << 20) as usize;
        let wave = |at: usize| {
            let at = (at + phase) % 512;
            if at < 256 { at } else { 511 - at }
        };
        let mut noise = 0;
        let sample = |index: usize| {
            if index.is_multiple_of(8) {
                noise = random.next();
            }
            let bits = (noise >> (index % 8 * 8)) as usize & noise_bits;
            let pixel = index / samples;
            let height = wave(pixel % columns) + wave(pixel / columns) + bits;
            u16::try_from(height as u32 * top / 637).unwrap_or(u16::MAX)
        };
        (0..count).map(sample).collect()
    }
}
