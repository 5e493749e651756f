//! The checks of one `[[mix]]`: what is made or read, and in which shapes.

use std::path::Path;

use bytesize::ByteSize;

use super::checked::{Source, StudyKind};
use super::place::Problems;
use super::raw::{self, Range, SizeRange};
use crate::generate::{Encoding, MAX_NATIVE_BYTES, Modality, Shape};

/// Different shapes made for a range of sizes or frames.
const VARIANTS: u64 = 4;
/// Bytes of one encapsulated frame before it is encoded.
const MAX_FRAME_BYTES: u64 = 256 << 20;
const TOO_WIDE: &str = "a frame can have no more than 65535 rows and columns: make it smaller, or give frames";
const DEFAULT_FILES_MAX: ByteSize = ByteSize::gib(1);

/// A kind of study from what `key` says; `None`, with the problem noted, when it says nothing that can be sent.
pub(super) fn study_kind(
    raw: raw::StudyKind,
    key: &str,
    directory: &Path,
    problems: &mut Problems<'_>,
) -> Option<StudyKind> {
    let at = |name: &str| format!("{key}.{name}");
    if raw.weight == 0 {
        problems.add(&at("weight"), "0 is never sent: leave the [[mix]] out, or give it 1 or more");
    }
    let (name, source) = match (&raw.modality, &raw.files) {
        (Some(modality), None) => (modality.name().to_owned(), generated(*modality, &raw, key, problems)?),
        (None, Some(files)) => {
            let unused = [
                ("transfer_syntax", raw.transfer_syntax.is_some()),
                ("rows", raw.rows.is_some()),
                ("columns", raw.columns.is_some()),
                ("frames", raw.frames.is_some()),
                ("size", raw.size.is_some()),
                ("series", raw.series.is_some()),
                ("instances", raw.instances.is_some()),
            ];
            for (name, _) in unused.iter().filter(|(_, given)| *given) {
                problems.add(&at(name), "files are sent as they are: remove it");
            }
            let limit = raw.files_max.unwrap_or(DEFAULT_FILES_MAX);
            (
                files.display().to_string(),
                Source::Files { directory: directory.join(files), limit, keep_patient: false },
            )
        }
        (Some(_), Some(_)) => {
            problems.add(&at("files"), "either a modality or files: remove one, or make two [[mix]] of it");
            return None;
        }
        (None, None) => {
            problems.add(key, "nothing to send: add modality = \"CT\" (or another) or files = \"DIR\"");
            return None;
        }
    };
    Some(StudyKind { name: raw.name.unwrap_or(name), weight: raw.weight, source })
}

fn generated(modality: Modality, raw: &raw::StudyKind, key: &str, problems: &mut Problems<'_>) -> Option<Source> {
    let at = |name: &str| format!("{key}.{name}");
    let encoding = raw.transfer_syntax.unwrap_or(Encoding::Explicit);
    let count = |value: Option<Range>, name: &str, problems: &mut Problems<'_>| {
        let range = value.unwrap_or(Range::just(1));
        if range.low == 0 || range.high > 1_000_000 {
            problems.add(&at(name), "must be from 1 to 1000000");
        }
        range
    };
    let series = count(raw.series, "series", problems);
    let instances = count(raw.instances, "instances", problems);
    let shapes = match modality.usual_shape() {
        None => {
            if encoding.is_encapsulated() {
                problems.add(
                    &at("transfer_syntax"),
                    format!("{} has no pixels to compress: use \"explicit\" or \"implicit\"", modality.name()),
                );
            }
            for (name, given) in [
                ("rows", raw.rows.is_some()),
                ("columns", raw.columns.is_some()),
                ("frames", raw.frames.is_some()),
                ("size", raw.size.is_some()),
            ] {
                if given {
                    problems.add(&at(name), format!("{} has no pixels: remove it", modality.name()));
                }
            }
            Vec::new()
        }
        Some(usual) => shapes(modality, usual, raw, key, problems),
    };
    if encoding == Encoding::JpegBaseline && modality.usual_shape().is_some_and(|shape| shape.bits_allocated > 8) {
        let hint =
            format!("JPEG baseline is for 8 bits and {} has more: use \"jpeg-lossless\" or \"rle\"", modality.name());
        problems.add(&at("transfer_syntax"), hint);
    }
    let largest = shapes.iter().map(Shape::native_bytes).max().unwrap_or_default();
    let frame = shapes.iter().map(Shape::frame_bytes).max().unwrap_or_default();
    if !encoding.is_encapsulated() && largest > MAX_NATIVE_BYTES {
        let hint = format!(
            "{} of native pixels are more than a length of 32 bits can say: fewer frames, or compress",
            ByteSize::b(largest)
        );
        problems.add(key, hint);
    }
    if encoding.is_encapsulated() && frame > MAX_FRAME_BYTES {
        let hint = format!(
            "a frame of {} is more than is compressed here, {}: fewer rows or columns",
            ByteSize::b(frame),
            ByteSize::b(MAX_FRAME_BYTES)
        );
        problems.add(key, hint);
    }
    Some(Source::Generated { modality, encoding, shapes, series, instances })
}

/// The shapes between the least and the most that were asked for.
fn shapes(
    modality: Modality,
    usual: Shape,
    raw: &raw::StudyKind,
    key: &str,
    problems: &mut Problems<'_>,
) -> Vec<Shape> {
    let at = |name: &str| format!("{key}.{name}");
    if let (Some(_), true) = (raw.size, raw.rows.is_some() || raw.columns.is_some()) {
        problems.add(&at("size"), "rows and columns say it already: remove one or the other");
    }
    if raw.rows == Some(0) || raw.columns == Some(0) {
        problems.add(&at(if raw.rows == Some(0) { "rows" } else { "columns" }), "must be from 1 to 65535");
    }
    let frames = raw.frames.unwrap_or(Range::just(u64::from(usual.frames)));
    if raw.frames.is_some() && !modality.is_multi_frame() {
        problems.add(&at("frames"), format!("{} has one frame: remove it, or use US, DBT or WSI", modality.name()));
    }
    if frames.low == 0 || frames.high > u64::from(u32::MAX >> 4) {
        problems.add(&at("frames"), "must be from 1 to 268435455");
        return vec![usual];
    }
    let base = Shape { rows: raw.rows.unwrap_or(usual.rows), columns: raw.columns.unwrap_or(usual.columns), ..usual };
    let varied = raw.size.is_some_and(|size| size.low < size.high) || frames.low < frames.high;
    let variants = if varied { VARIANTS } else { 1 };
    let step = |low: u64, high: u64, index: u64| low + (high - low) * index / (variants - 1).max(1);
    (0..variants)
        .map(|index| {
            let frames = u32::try_from(step(frames.low, frames.high, index)).unwrap_or(1);
            match raw.size {
                None => Shape { frames, ..base },
                Some(SizeRange { low, high }) => {
                    of_size(Shape { frames, ..base }, step(low.as_u64(), high.as_u64(), index), &at("size"), problems)
                }
            }
        })
        .collect()
}

fn of_size(base: Shape, bytes: u64, key: &str, problems: &mut Problems<'_>) -> Shape {
    let shape = with_pixels(&base, bytes);
    shape.unwrap_or_else(|| {
        problems.add(key, TOO_WIDE);
        base
    })
}

/// The shape of an image like `base` whose native pixels have about so many bytes.
///
/// # Errors
/// When there is no such image; in words.
pub(super) fn sized(base: &Shape, bytes: u64, encoding: Encoding) -> Result<Shape, String> {
    let shape = with_pixels(base, bytes).ok_or_else(|| format!("{}: {TOO_WIDE}", ByteSize::b(bytes)))?;
    let most = if encoding.is_encapsulated() { MAX_FRAME_BYTES } else { MAX_NATIVE_BYTES };
    match shape.native_bytes() {
        made if made > most => {
            Err(format!("{} of pixels: at most {} can be made", ByteSize::b(made), ByteSize::b(most)))
        }
        _ => Ok(shape),
    }
}

/// A shape of five rows to four columns whose native pixels have about so many bytes.
fn with_pixels(base: &Shape, bytes: u64) -> Option<Shape> {
    let pixels = bytes / base.pixel_bytes().max(1) / u64::from(base.frames.max(1));
    let columns = ((pixels as f64 * 0.8).sqrt() as u64).max(1);
    let rows = (pixels / columns).max(1);
    Some(Shape { rows: u16::try_from(rows).ok()?, columns: u16::try_from(columns).ok()?, ..*base })
}
