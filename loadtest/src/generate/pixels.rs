//! Pixel data of a shape in a transfer syntax, made once and repeated where it is large.

use super::element::{header, item_header};
use super::shape::{Encoding, Shape};
use super::{jpeg, rle};
use crate::dataset::Dataset;
use crate::random::Random;

/// Native pixel data up to this many bytes is all its own; what is larger repeats a block of this size.
const BLOCK_BYTES: usize = 4 << 20;
/// Different frames of a compressed multi-frame image, which take turns: so many, or fewer of large ones.
const DIFFERENT_FRAMES: u64 = 8;
const DIFFERENT_BYTES: u64 = 16 << 20;

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
