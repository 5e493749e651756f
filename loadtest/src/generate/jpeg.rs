//! JPEG codestreams of generated frames: baseline by a crate, lossless by the few lines that it takes (ITU-T T.81 §H).

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::shape::Shape;

const QUALITY: u8 = 80;

/// A baseline codestream of an 8-bit frame, grey or RGB. Empty when the encoder refuses it, which no shape that a scenario may have does.
pub(super) fn baseline(samples: &[u16], shape: &Shape) -> Vec<u8> {
    let bytes: Vec<u8> = samples.iter().map(|&sample| sample.min(255) as u8).collect();
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_2);
    let colour = if shape.samples == 1 { ColorType::Luma } else { ColorType::Rgb };
    match encoder.encode(&bytes, shape.columns, shape.rows, colour) {
        Ok(()) => out,
        Err(_) => Vec::new(),
    }
}

/// Code lengths of the difference categories 0 to 16: short for the small differences that these pictures are made of.
const CODE_LENGTHS: [u8; 17] = [4, 4, 3, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

/// A lossless codestream, process 14 with selection value 1: each sample as its difference from its left neighbour, by Huffman
/// codes of the difference's category.
pub(super) fn lossless(samples: &[u16], shape: &Shape) -> Vec<u8> {
    let (channels, columns) = (usize::from(shape.samples), usize::from(shape.columns));
    let mut out = vec![0xFF, 0xD8];
    // SOF3: precision, lines, samples per line, components of one sampling factor.
    let mut frame = vec![shape.bits_stored as u8];
    frame.extend_from_slice(&shape.rows.to_be_bytes());
    frame.extend_from_slice(&shape.columns.to_be_bytes());
    frame.push(channels as u8);
    (1..=channels as u8).for_each(|id| frame.extend_from_slice(&[id, 0x11, 0]));
    segment(&mut out, 0xC3, &frame);
    let (table, codes) = huffman();
    segment(&mut out, 0xC4, &table);
    // SOS: components, each with table 0; selection value 1; no point transform.
    let mut scan = vec![channels as u8];
    (1..=channels as u8).for_each(|id| scan.extend_from_slice(&[id, 0]));
    scan.extend_from_slice(&[1, 0, 0]);
    segment(&mut out, 0xDA, &scan);

    let mut bits = Bits { out, held: 0, count: 0 };
    let row_samples = (columns * channels).max(1);
    let mut above: &[u16] = &[];
    for row in samples.chunks(row_samples) {
        for (index, &sample) in row.iter().enumerate() {
            // T.81 §H.1.2.1: the first of all from half the range, the first of a line from the line above, all else from the left.
            let predicted = match index.checked_sub(channels) {
                Some(left) => row.get(left).copied(),
                None => above.get(index).copied(),
            };
            let predicted = predicted.unwrap_or(1 << (shape.bits_stored - 1));
            bits.difference(sample.wrapping_sub(predicted) as i16, &codes);
        }
        above = row;
    }
    let mut out = bits.finish();
    out.extend_from_slice(&[0xFF, 0xD9]);
    out
}

fn segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    out.extend_from_slice(&[0xFF, marker]);
    out.extend_from_slice(&((body.len() + 2) as u16).to_be_bytes());
    out.extend_from_slice(body);
}

/// The table's segment and each category's code with its length (T.81 §C).
fn huffman() -> (Vec<u8>, [(u32, u8); 17]) {
    let mut order: Vec<usize> = (0..CODE_LENGTHS.len()).collect();
    order.sort_by_key(|&category| CODE_LENGTHS.get(category).copied());
    let mut counts = [0_u8; 16];
    let mut codes = [(0, 0); 17];
    let (mut code, mut length) = (0_u32, 0);
    for &category in &order {
        let wanted = CODE_LENGTHS.get(category).copied().unwrap_or(16);
        code <<= wanted - length;
        length = wanted;
        if let (Some(place), Some(count)) = (codes.get_mut(category), counts.get_mut(usize::from(length) - 1)) {
            *place = (code, length);
            *count += 1;
        }
        code += 1;
    }
    let mut table = vec![0];
    table.extend_from_slice(&counts);
    table.extend(order.iter().map(|&category| category as u8));
    (table, codes)
}

/// Bits, most significant first, with the zero byte that follows every 0xFF (T.81 §F.1.2.3).
struct Bits {
    out: Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, length: u32) {
        self.held = self.held << length | u64::from(value);
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xFF {
                self.out.push(0);
            }
        }
        self.held &= (1 << self.count) - 1;
    }

    fn difference(&mut self, difference: i16, codes: &[(u32, u8); 17]) {
        let magnitude = u32::from(difference.unsigned_abs());
        let category = u32::BITS - magnitude.leading_zeros();
        let (code, length) = codes.get(category as usize).copied().unwrap_or_default();
        self.put(code, u32::from(length));
        // −32768 is the one difference whose category says everything.
        if category > 0 && category < 16 {
            let low = if difference < 0 { (i32::from(difference) - 1) as u32 } else { magnitude };
            self.put(low & ((1 << category) - 1), category);
        }
    }

    /// The rest is filled up with ones.
    fn finish(mut self) -> Vec<u8> {
        let missing = (8 - self.count % 8) % 8;
        self.put((1 << missing) - 1, missing);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_implementation_decodes_the_lossless_frame_to_its_samples() {
        let shape = Shape { rows: 37, columns: 53, ..Shape::grey(16, 16) };
        let mut random = crate::random::Random::new(1);
        // Smooth, and then noise of the whole range, where every category of differences occurs.
        let noise: Vec<u16> = (0..37 * 53).map(|_| random.next() as u16).collect();
        for samples in [shape.frame(&mut random), noise] {
            let code = lossless(&samples, &shape);
            let mut decoder = jpeg_decoder::Decoder::new(&code[..]);
            let decoded = decoder.decode().unwrap();
            let decoded: Vec<u16> =
                decoded.chunks_exact(2).map(|bytes| u16::from_ne_bytes(bytes.try_into().unwrap())).collect();
            assert!(decoded == samples);
        }
    }

    #[test]
    fn another_implementation_decodes_the_baseline_frame_to_about_its_samples() {
        let shape = Shape { rows: 64, columns: 64, ..Shape::COLOUR };
        let samples = shape.frame(&mut crate::random::Random::new(1));
        let decoded = jpeg_decoder::Decoder::new(&baseline(&samples, &shape)[..]).decode().unwrap();
        let error = decoded.iter().zip(&samples).map(|(&a, &b)| u64::from(u16::from(a).abs_diff(b))).sum::<u64>();
        assert_eq!(decoded.len(), samples.len());
        assert!(error / (samples.len() as u64) < 32, "{error}");
    }

    #[test]
    fn the_codes_are_a_prefix_code_and_none_is_all_ones() {
        let (_, codes) = huffman();
        for (index, &(code, length)) in codes.iter().enumerate() {
            assert!(code < (1 << length) - 1, "category {index}: {code:b}");
            for &(other, longer) in codes.iter().filter(|(_, longer)| *longer > length) {
                assert_ne!(other >> (longer - length), code);
            }
        }
    }
}
