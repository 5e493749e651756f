//! Pixel data of a shape in a transfer syntax, made once and repeated where it is large.

use serde::Deserialize;

use super::element::{Elements, header, item_header};
use super::{jpeg, rle};
use crate::dataset::Dataset;
use crate::random::Random;

/// Native pixel data up to this many bytes is all its own; what is larger repeats a block of this size.
const BLOCK_BYTES: usize = 4 << 20;
/// Different frames of a compressed multi-frame image, which take turns: so many, or fewer of large ones.
const DIFFERENT_FRAMES: u64 = 8;
const DIFFERENT_BYTES: u64 = 16 << 20;

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

/// Appends the pixel data to an encoded head and makes the dataset of it.
pub(super) fn finish(mut dataset: Dataset, shape: &Shape, encoding: Encoding, seed: u64) -> Dataset {
    let mut random = Random::stream(seed, 0x0050_1AE1);
    if encoding.is_encapsulated() {
        encapsulated(&mut dataset, shape, encoding, &mut random);
    } else {
        native(&mut dataset, shape, encoding, &mut random);
    }
    dataset
}

/// Noise of the stored bits: nothing on the way can compress it.
fn native(dataset: &mut Dataset, shape: &Shape, encoding: Encoding, random: &mut Random) {
    let vr = if shape.bits_allocated > 8 { "OW" } else { "OB" };
    let bytes = shape.native_bytes();
    let padding = bytes % 2;
    let length = usize::try_from(bytes + padding).unwrap_or(usize::MAX);
    header(&mut dataset.start, encoding.is_explicit(), (0x7FE0, 0x0010), vr, length);
    let mask = if shape.bits_allocated > 8 { (1_u64 << shape.bits_stored) - 1 } else { u64::MAX };
    let mask = if shape.bits_allocated > 8 { mask * 0x0001_0001_0001_0001 } else { mask };
    let mut noise = |out: &mut Vec<u8>, length: usize| {
        out.reserve(length);
        let end = out.len() + length;
        while out.len() < end {
            let left = end - out.len();
            out.extend((random.next() & mask).to_le_bytes().into_iter().take(left));
        }
    };
    if length <= 2 * BLOCK_BYTES {
        noise(&mut dataset.start, length - padding as usize);
        dataset.start.resize(dataset.start.len() + padding as usize, 0);
        return;
    }
    noise(&mut dataset.period, BLOCK_BYTES);
    // The last block stands by itself, so that the end is never empty.
    dataset.repeats = ((length - 1) / BLOCK_BYTES) as u64;
    noise(&mut dataset.end, (length - 1) % BLOCK_BYTES + 1 - padding as usize);
    dataset.end.resize(dataset.end.len() + padding as usize, 0);
}

/// A few different frames, each one fragment, in turn until all are there (PS3.5 §A.4); the offset table is empty, as it may be.
fn encapsulated(dataset: &mut Dataset, shape: &Shape, encoding: Encoding, random: &mut Random) {
    header(&mut dataset.start, true, (0x7FE0, 0x0010), "OB", usize::MAX);
    item_header(&mut dataset.start, 0);
    let frames = u64::from(shape.frames);
    let turn = (DIFFERENT_BYTES / shape.frame_bytes().max(1)).clamp(1, DIFFERENT_FRAMES);
    let different: Vec<_> = (0..frames.min(turn))
        .map(|_| {
            let samples = shape.frame(random);
            let mut code = match encoding {
                Encoding::JpegBaseline => jpeg::baseline(&samples, shape),
                Encoding::JpegLossless => jpeg::lossless(&samples, shape),
                Encoding::Rle | Encoding::Explicit | Encoding::Implicit => rle::encode(&samples, shape),
            };
            code.resize(code.len() + code.len() % 2, 0);
            code
        })
        .collect();
    let append = |out: &mut Vec<u8>, count: u64| {
        for code in different.iter().cycle().take(usize::try_from(count).unwrap_or(0)) {
            item_header(out, code.len());
            out.extend_from_slice(code);
        }
    };
    if frames > turn {
        append(&mut dataset.period, turn);
        dataset.repeats = (frames - 1) / turn;
        append(&mut dataset.end, (frames - 1) % turn + 1);
        dataset.end.extend_from_slice(SEQUENCE_DELIMITER);
    } else {
        append(&mut dataset.start, frames);
        dataset.start.extend_from_slice(SEQUENCE_DELIMITER);
    }
}

const SEQUENCE_DELIMITER: &[u8] = &[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
