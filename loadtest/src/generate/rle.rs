//! RLE Lossless (PS3.5 §G): one segment a byte of a sample, most significant first, each packed by rows.

use super::shape::Shape;

/// A frame's fragment.
pub(super) fn encode(samples: &[u16], shape: &Shape) -> Vec<u8> {
    let bytes_a_sample = usize::from(shape.bits_allocated / 8);
    let channels = usize::from(shape.samples);
    let row = usize::from(shape.columns).max(1);
    let mut segments = Vec::new();
    for channel in 0..channels {
        for byte in (0..bytes_a_sample).rev() {
            let plane: Vec<u8> =
                samples.iter().skip(channel).step_by(channels).map(|sample| (sample >> (8 * byte)) as u8).collect();
            let mut segment = Vec::new();
            plane.chunks(row).for_each(|row| pack(&mut segment, row));
            segment.resize(segment.len() + segment.len() % 2, 0);
            segments.push(segment);
        }
    }
    // The number of segments, then the offset of each; sixteen 32-bit words in all.
    let mut out = vec![0; 64];
    let mut offsets = vec![segments.len() as u32];
    let mut at = 64;
    for segment in &segments {
        offsets.push(at);
        at += segment.len() as u32;
    }
    for (place, offset) in out.chunks_exact_mut(4).zip(&offsets) {
        place.copy_from_slice(&offset.to_le_bytes());
    }
    out.extend(segments.concat());
    out
}

/// PackBits: a run of at least three as its length and the byte, everything else as it is.
fn pack(out: &mut Vec<u8>, row: &[u8]) {
    let mut literal: &[u8] = row.get(..0).unwrap_or_default();
    let mut rest = row;
    while let Some(&byte) = rest.first() {
        let run = rest.iter().take(128).take_while(|&&next| next == byte).count();
        if run < 3 {
            let length = literal.len() + run;
            let begin = row.len() - rest.len() - literal.len();
            literal = row.get(begin..begin + length).unwrap_or_default();
        } else {
            put_literal(out, literal);
            literal = &[];
            // −(run − 1) as a signed byte (PS3.5 §G.3.1).
            out.extend_from_slice(&[(257 - run) as u8, byte]);
        }
        rest = rest.get(run..).unwrap_or_default();
    }
    put_literal(out, literal);
}

fn put_literal(out: &mut Vec<u8>, literal: &[u8]) {
    for part in literal.chunks(128) {
        out.push((part.len() - 1) as u8);
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(mut packed: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while let [length, rest @ ..] = packed {
            if *length < 128 {
                let count = usize::from(*length) + 1;
                out.extend_from_slice(&rest[..count]);
                packed = &rest[count..];
            } else {
                out.extend(std::iter::repeat_n(rest[0], 257 - usize::from(*length)));
                packed = &rest[1..];
            }
        }
        out
    }

    #[test]
    fn a_packed_row_unpacks_to_itself() {
        let rows: [&[u8]; 6] =
            [b"", b"a", b"aab", b"aaab", &[7; 300], &(0..=255).chain([9; 5]).chain(0..3).collect::<Vec<u8>>()];
        for row in rows {
            let mut packed = Vec::new();
            pack(&mut packed, row);
            assert_eq!(unpack(&packed), row);
        }
    }
}
