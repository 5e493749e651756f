//! Deterministic UIDs of a fixed length, so that a pre-encoded message can be patched in place.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

/// Characters in every generated UID. Even, so that none needs padding (PS3.5 §9.1).
pub(crate) const UID_LENGTH: usize = 44;

/// A generated UID, as it stands in a data element.
pub(crate) type UidBytes = [u8; UID_LENGTH];

/// The kind of entity that a generated UID identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UidKind {
    Study = 1,
    Series = 2,
    Instance = 3,
}

/// A number for a run that no other run has: its UIDs follow from it, so no two runs send an instance of the same UID.
pub(crate) fn fresh_run() -> u64 {
    RandomState::new().hash_one((SystemTime::now(), std::process::id()))
}

/// The UID of the `index`-th entity of `kind` that association number `association` sends in the run numbered `run`.
///
/// Under the root 2.25 (PS3.5 §B.2): one 39-digit component below 2^128. Run, association (below 100 000), kind and index
/// (below 10^12) have digits of their own, so no two entities of a run share a UID.
pub(crate) fn uid(run: u64, association: usize, kind: UidKind, index: u64) -> UidBytes {
    let association = association % 100_000;
    let index = index % 1_000_000_000_000;
    let mut text = String::with_capacity(UID_LENGTH);
    // Writing to a String never fails.
    let _ = write!(text, "2.25.1{run:020}{association:05}{}{index:012}", kind as u8);
    let mut bytes = [b'0'; UID_LENGTH];
    for (byte, digit) in bytes.iter_mut().zip(text.bytes()) {
        *byte = digit;
    }
    bytes
}

/// The parts of a generated UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) run: u64,
    pub(crate) association: u32,
    pub(crate) index: u64,
}

/// Reads the UID of an instance back; `None` when it is none of ours.
pub(crate) fn parse_instance(text: &str) -> Option<Parsed> {
    let digits = text.strip_prefix("2.25.1").filter(|digits| digits.len() == 38 && digits.is_ascii())?;
    let (run, rest) = digits.split_at(20);
    let (association, rest) = rest.split_at(5);
    let index = rest.strip_prefix('3')?;
    Some(Parsed { run: run.parse().ok()?, association: association.parse().ok()?, index: index.parse().ok()? })
}

/// The generated UIDs that stand in a name, such as `CT.2.25.1….dcm`, with what each identifies.
pub(crate) fn named_in(name: &str) -> impl Iterator<Item = (UidKind, &str)> {
    name.match_indices("2.25.1").filter_map(|(at, _)| {
        let uid = name.get(at..at + UID_LENGTH)?;
        let digits = uid.strip_prefix("2.25.")?;
        let kind = match digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.as_bytes().get(26))?? {
            b'1' => UidKind::Study,
            b'2' => UidKind::Series,
            b'3' => UidKind::Instance,
            _ => return None,
        };
        Some((kind, uid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_number_below_2_to_the_128_and_fills_its_length() {
        for run in [0, 1, u64::MAX] {
            let bytes = uid(run, 99_999, UidKind::Instance, 999_999_999_999);
            let text = std::str::from_utf8(&bytes).unwrap();
            let component = text.strip_prefix("2.25.").unwrap();
            assert_eq!(component.len(), 39);
            component.parse::<u128>().unwrap();
        }
    }

    #[test]
    fn no_two_runs_have_a_number() {
        let runs: std::collections::BTreeSet<u64> = (0..1000).map(|_| fresh_run()).collect();
        assert_eq!(runs.len(), 1000);
    }

    #[test]
    fn an_instances_uid_is_read_back_and_no_others() {
        let bytes = uid(u64::MAX, 90_001, UidKind::Instance, 77);
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(parse_instance(text), Some(Parsed { run: u64::MAX, association: 90_001, index: 77 }));
        let study = uid(1, 1, UidKind::Study, 77);
        assert_eq!(parse_instance(std::str::from_utf8(&study).unwrap()), None);
        assert_eq!(parse_instance("1.2.840.10008.1.2"), None);
    }

    #[test]
    fn uids_are_found_within_names() {
        let text = |kind| String::from_utf8(uid(7, 1, kind, 5).to_vec()).unwrap();
        let (study, instance) = (text(UidKind::Study), text(UidKind::Instance));
        let name = format!("CT.{instance}.dcm");
        assert_eq!(named_in(&name).collect::<Vec<_>>(), [(UidKind::Instance, instance.as_str())]);
        assert_eq!(named_in(&study).collect::<Vec<_>>(), [(UidKind::Study, study.as_str())]);
        assert_eq!(named_in("2.25.1é, 2.25.12.25.1").count(), 0);
    }

    #[test]
    fn run_association_kind_and_index_each_change_the_uid() {
        let base = uid(1, 1, UidKind::Instance, 1);
        assert_ne!(base, uid(2, 1, UidKind::Instance, 1));
        assert_ne!(base, uid(1, 2, UidKind::Instance, 1));
        assert_ne!(base, uid(1, 1, UidKind::Series, 1));
        assert_ne!(base, uid(1, 1, UidKind::Instance, 2));
        assert_eq!(base, uid(1, 1, UidKind::Instance, 1));
    }
}
