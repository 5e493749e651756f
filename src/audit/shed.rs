//! The choice of the messages that give way when the spool is full.
//!
//! Max-min fairness: there is one level, and each source that holds more comes down to it. A source below the level loses nothing, so no
//! stranger pushes out the evidence of others, however much it sends.

use std::collections::HashMap;

/// The bytes of each source, and what of them gives way.
#[derive(Default)]
pub(super) struct Shed {
    /// Bytes held; from [`Self::settle`] on, the bytes above the level.
    sources: HashMap<String, u64>,
    /// Bytes that still have to give way.
    left: u64,
}

impl Shed {
    /// Adds a message of the source.
    pub(super) fn add(&mut self, source: &str, bytes: u64) {
        match self.sources.get_mut(source) {
            Some(held) => *held += bytes,
            None => {
                self.sources.insert(source.to_owned(), bytes);
            }
        }
    }

    /// Finds the level at which so many bytes are above it. All messages are added.
    pub(super) fn settle(&mut self, bytes: u64) {
        let mut held: Vec<u64> = self.sources.values().copied().collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        let (mut sum, mut level) = (0, 0);
        for (index, of_source) in held.iter().enumerate() {
            sum += of_source;
            level = sum.saturating_sub(bytes) / (index as u64 + 1);
            if held.get(index + 1).is_none_or(|next| level >= *next) {
                break;
            }
        }
        self.sources.values_mut().for_each(|held| *held = held.saturating_sub(level));
        self.left = bytes;
    }

    /// Whether enough has given way.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Whether the next message of the source gives way. Called for each, the oldest first.
    pub(super) fn takes(&mut self, source: &str, bytes: u64) -> bool {
        match self.sources.get_mut(source) {
            Some(above) if *above > 0 && self.left > 0 => {
                *above = above.saturating_sub(bytes);
                self.left = self.left.saturating_sub(bytes);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each source keeps of messages of 10 bytes, after so many bytes have given way.
    fn kept<const N: usize>(messages: [u64; N], bytes: u64) -> [u64; N] {
        let mut shed = Shed::default();
        let name = |index: usize| index.to_string();
        messages.iter().enumerate().for_each(|(index, count)| (0..*count).for_each(|_| shed.add(&name(index), 10)));
        shed.settle(bytes);
        let mut index = 0;
        messages.map(|count| {
            let taken = (0..count).filter(|_| shed.takes(&name(index), 10)).count() as u64;
            index += 1;
            count - taken
        })
    }

    #[test]
    fn the_sources_that_hold_the_most_come_down_to_one_level() {
        assert_eq!(kept([100, 3, 1], 500), [50, 3, 1]);
        assert_eq!(kept([100, 80, 10], 600), [60, 60, 10]);
        assert_eq!(kept([40, 100, 80, 3], 800), [40, 50, 50, 3]);
        assert_eq!(kept([10, 10], 1000), [0, 0]);
        assert_eq!(kept([0; 0], 10), [0; 0]);
    }

    #[test]
    fn of_many_sources_alike_no_more_gives_way_than_is_needed() {
        let kept = kept([1; 1000], 100);
        assert_eq!(kept.iter().sum::<u64>(), 990);
        assert_eq!(kept[..10], [0; 10], "the oldest");
    }
}
