//! Datasets that need no files: valid, of true sizes and shapes, and the same for the same seed.

mod element;
mod encoded;
pub(crate) mod files;
mod identity;
mod jpeg;
mod modality;
mod pixels;
mod rle;
mod sequences;
mod shape;
mod tables;

pub(crate) use modality::Modality;
pub(crate) use shape::{Encoding, Shape};

use crate::dataset::Dataset;

/// One instance of `modality`, whose UIDs are still to be filled in. `shape` is that of its pixel data; what has none ignores it.
pub(crate) fn dataset(modality: Modality, shape: Option<&Shape>, encoding: Encoding, seed: u64) -> Dataset {
    let mut elements = modality.elements(shape, seed);
    let shape = modality.usual_shape().and(shape);
    if let Some(shape) = shape {
        shape.describe(&mut elements, modality.is_multi_frame(), encoding);
    }
    let (start, places) = elements.encode(encoding.is_explicit());
    let dataset = Dataset {
        sop_class: modality.sop_class().to_owned(),
        transfer_syntax: encoding.transfer_syntax().to_owned(),
        start,
        period: Vec::new(),
        repeats: 0,
        end: Vec::new(),
        places,
    };
    match shape {
        Some(shape) => pixels::finish(dataset, shape, encoding, seed),
        None => dataset,
    }
}

/// A CT image whose pixel data has `size_bytes` bytes, rounded down to whole rows: 512 columns wide, so that 512 KiB is
/// 512 × 512, narrower below one such row and wider above 65 535 of them.
pub(crate) fn ct_image(size_bytes: u64, encoding: Encoding, seed: u64) -> Dataset {
    let (rows, columns) = dimensions(size_bytes.min(MAX_NATIVE_BYTES));
    dataset(Modality::Ct, Some(&Shape { rows, columns, ..Shape::grey(16, 12) }), encoding, seed)
}

/// The most bytes that native pixel data can have: an even 32-bit length that is not the undefined one.
pub(crate) const MAX_NATIVE_BYTES: u64 = 0xFFFF_FFFC;

/// Rows and columns of an image with at most `size_bytes` bytes of 16-bit pixels, and at least one pixel.
fn dimensions(size_bytes: u64) -> (u16, u16) {
    let pixels = (size_bytes / 2).max(1);
    let mut columns = pixels.min(512);
    while pixels / columns > u64::from(u16::MAX) {
        columns = (columns * 2).min(u64::from(u16::MAX));
    }
    let rows = pixels / columns;
    (u16::try_from(rows).unwrap_or(u16::MAX), u16::try_from(columns).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
