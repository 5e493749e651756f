//! Instances whose every byte follows from their number, so that a stored file can be held against what was sent.

pub(crate) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const ROOT: &str = "2.25.20240102";

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// Below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// One SOP Instance: the `index`-th that an association sends in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InstanceId {
    pub(crate) round: u32,
    pub(crate) association: u32,
    pub(crate) index: u32,
}

/// The Study Instance UID of a round, which is also its directory.
pub(crate) fn study(round: u32) -> String {
    format!("{ROOT}.{round}")
}

impl InstanceId {
    pub(crate) fn sop_instance(self) -> String {
        format!("{}.{}", self.series(), self.index)
    }

    fn series(self) -> String {
        // A new series directory now and then: those are made durable too.
        format!("{}.{}.{}", study(self.round), self.association, self.index / 10)
    }

    /// Where the default layout puts it.
    pub(crate) fn path(self) -> String {
        format!("{}/{}/{}.dcm", study(self.round), self.series(), self.sop_instance())
    }

    /// The dataset of its `version`-th version, explicit VR little endian: from 10 KiB to 2 MiB, most of them small.
    pub(crate) fn dataset(self, version: u32) -> Vec<u8> {
        let seed = [self.round, self.association, self.index, version]
            .into_iter()
            .fold(0, |seed, number| Random::new(seed ^ u64::from(number)).next());
        let mut random = Random::new(seed);
        let kib = match random.below(10) {
            0..=5 => 10 + random.below(50),
            6..=8 => 100 + random.below(300),
            _ => 1024 + random.below(1024),
        };
        let words = kib * 128;
        let mut bytes = Vec::with_capacity(words as usize * 8 + 512);
        uid(&mut bytes, [0x08, 0x00, 0x16, 0x00], CT);
        uid(&mut bytes, [0x08, 0x00, 0x18, 0x00], &self.sop_instance());
        uid(&mut bytes, [0x20, 0x00, 0x0D, 0x00], &study(self.round));
        uid(&mut bytes, [0x20, 0x00, 0x0E, 0x00], &self.series());
        bytes.extend_from_slice(&[0xE0, 0x7F, 0x10, 0x00, b'O', b'W', 0, 0]);
        bytes.extend_from_slice(&(words as u32 * 8).to_le_bytes());
        bytes.extend((0..words).flat_map(|_| random.next().to_le_bytes()));
        bytes
    }
}

fn uid(out: &mut Vec<u8>, tag: [u8; 4], value: &str) {
    let padded = value.len() + value.len() % 2;
    out.extend_from_slice(&tag);
    out.extend_from_slice(b"UI");
    out.extend_from_slice(&(padded as u16).to_le_bytes());
    out.extend_from_slice(value.as_bytes());
    out.resize(out.len() + padded - value.len(), 0);
}
