//! The crate as its callers use it, and other programs' view of its results.

use std::io::{Read, Write};

use dicom_core::Tag;
use dicom_core::value::Value;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use tidegate_reencode::{Fault, MAX_AHEAD_BYTES, Reencoder};

pub(crate) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub(crate) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub(crate) const SYNTAXES: [&str; 4] = [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN];

/// The whole dataset, given in pieces of these lengths, the last again and again.
pub(crate) fn reencode_in(pieces: &[usize], from: &str, to: &str, dataset: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut reencoder = Reencoder::new(from, to).unwrap();
    let (mut result, mut output) = (Vec::new(), Vec::new());
    let (mut rest, mut at) = (dataset, 0);
    while !rest.is_empty() {
        let piece = pieces.get(at.min(pieces.len().saturating_sub(1))).copied().unwrap_or(usize::MAX);
        at += 1;
        let (mut piece, behind) = rest.split_at(piece.clamp(1, rest.len()));
        rest = behind;
        while !piece.is_empty() {
            output.clear();
            let taken = reencoder.push(piece, &mut output)?;
            assert!(output.len() <= piece.len() + MAX_AHEAD_BYTES, "{} bytes of {}", output.len(), piece.len());
            assert!(taken > 0 || !output.is_empty(), "a call without progress");
            piece = &piece[taken..];
            result.extend_from_slice(&output);
        }
    }
    output.clear();
    reencoder.finish(&mut output)?;
    assert!(output.len() <= MAX_AHEAD_BYTES);
    result.extend_from_slice(&output);
    Ok(result)
}

pub(crate) fn reencode(from: &str, to: &str, dataset: &[u8]) -> Result<Vec<u8>, Fault> {
    reencode_in(&[], from, to, dataset)
}

pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    let mut deflated = encoder.finish().unwrap();
    if deflated.len() % 2 == 1 {
        deflated.push(0);
    }
    deflated
}

pub(crate) fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    DeflateDecoder::new(bytes).read_to_end(&mut inflated).unwrap();
    inflated
}

/// A value as dicom-rs reads it: where it stands, and its bytes in little endian.
pub(crate) type Seen = (Vec<(Tag, usize)>, Tag, Vec<u8>);

/// Every value of the dataset but group lengths, as dicom-rs reads it.
pub(crate) fn seen(syntax: &str, dataset: &[u8]) -> Vec<Seen> {
    let inflated;
    let (syntax, dataset) = match syntax {
        DEFLATED => {
            inflated = inflate(dataset);
            (EXPLICIT, inflated.as_slice())
        }
        _ => (syntax, dataset),
    };
    let object = InMemDicomObject::read_dataset_with_ts(dataset, TransferSyntaxRegistry.get(syntax).unwrap())
        .unwrap_or_else(|error| panic!("{syntax}: {error:?}"));
    let mut seen = Vec::new();
    look(&object, &mut Vec::new(), &mut seen);
    seen
}

fn look(object: &InMemDicomObject, path: &mut Vec<(Tag, usize)>, seen: &mut Vec<Seen>) {
    for element in object.iter().filter(|element| element.header().tag.element() != 0) {
        look_at(element, path, seen);
    }
}

fn look_at(element: &InMemElement, path: &mut Vec<(Tag, usize)>, seen: &mut Vec<Seen>) {
    let tag = element.header().tag;
    match element.value() {
        Value::Primitive(value) => seen.push((path.clone(), tag, value.to_bytes().into_owned())),
        Value::Sequence(sequence) => {
            seen.push((path.clone(), tag, vec![sequence.items().len() as u8]));
            for (number, item) in sequence.items().iter().enumerate() {
                path.push((tag, number));
                look(item, path, seen);
                path.pop();
            }
        }
        Value::PixelSequence(_) => panic!("encapsulated"),
    }
}
