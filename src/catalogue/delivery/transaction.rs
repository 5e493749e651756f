//! Transaction UIDs (0008,1195) of requests for commitment. Each says which catalogue, which destination and which of its requests it is of, so a
//! report is known by its UID alone, however late it comes.

use super::Generation;

/// UIDs made from UUIDs (PS3.5 §B.2).
const ROOT: &str = "2.25.";
/// Version 8 of a UUID, whose other bits are the maker's (RFC 9562 §5.8).
const VERSION: u128 = 8 << 76;
const VARIANT: u128 = 2 << 62;
const NUMBER_BITS: u32 = 40;
const DESTINATION_BITS: u32 = 22;

impl Generation {
    /// The UID of the transaction with that number, from 1, at the destination.
    pub fn transaction_uid(self, destination: i64, number: i64) -> String {
        let generation = u128::from(self.0.cast_unsigned());
        // 48 bits of it in front of the version, and 12 behind.
        let high = (generation >> 16) << 80 | (generation & 0xFFF) << 64;
        let low = masked(destination, DESTINATION_BITS) << NUMBER_BITS | masked(number, NUMBER_BITS);
        format!("{ROOT}{}", high | VERSION | VARIANT | low)
    }

    /// The destination and the number of a transaction of this catalogue.
    pub fn transaction_of(self, uid: &str) -> Option<(i64, i64)> {
        let bits: u128 = uid.strip_prefix(ROOT)?.parse().ok()?;
        let number = |shift: u32, width: u32| ((bits >> shift) as u64 & ((1 << width) - 1)).cast_signed();
        let (destination, number) = (number(NUMBER_BITS, DESTINATION_BITS), number(0, NUMBER_BITS));
        (number > 0 && self.transaction_uid(destination, number) == uid).then_some((destination, number))
    }
}

fn masked(number: i64, bits: u32) -> u128 {
    u128::from(number.cast_unsigned()) & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_known_by_its_uid_in_its_own_catalogue_only() {
        for generation in [0, 1, -1, i64::MIN, i64::MAX, 0x1234_5678_9ABC_DEF0] {
            let own = Generation(generation);
            for (destination, number) in [(1, 1), (7, 123_456), ((1 << 22) - 1, (1 << 40) - 1)] {
                let uid = own.transaction_uid(destination, number);
                assert!(uid.len() <= 44, "{uid}");
                assert_eq!(own.transaction_of(&uid), Some((destination, number)));
                assert_eq!(Generation(generation ^ 1 << 40).transaction_of(&uid), None);
            }
        }
        for uid in ["", "1.2.3", "2.25.", "2.25.12345", "2.25.x", "2.25.340282366920938463463374607431768211456"] {
            assert_eq!(Generation(1).transaction_of(uid), None, "{uid}");
        }
    }
}
