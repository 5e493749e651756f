//! Instances that were refused, since other bytes are stored under their UIDs.

use tidegate_commitment::{KEPT, Sent};

use super::support::{Fixture, SECOND, T0, open, reference};

fn sent(calling: &str, number: u32, is_refused: bool) -> Sent {
    Sent { calling: calling.to_owned(), sop_instance: reference(number).sop_instance, is_refused }
}

#[test]
fn a_refusal_stands_against_its_sender_until_it_is_stored_or_is_old() {
    let mut fixture = Fixture::new();
    assert!(!fixture.requests.has_refusals().unwrap());
    let [of_ct1, of_ct2] = [1, 2].map(|peer| fixture.accept(peer, 1, 6, T0));
    let notes = [sent("CT1", 1, true), sent("CT1", 3, true), sent("CT1", 4, true), sent("CT1", 4, false)];
    fixture.requests.note_sent(&notes, T0).unwrap();
    let refused = |requests: &tidegate_commitment::Requests, id, from, to| {
        let mut positions: Vec<u32> = requests.refused(id, from, to).unwrap().into_iter().collect();
        positions.sort_unstable();
        positions
    };
    assert_eq!(refused(&fixture.requests, of_ct1, 0, 5), [1, 3]);
    assert_eq!(refused(&fixture.requests, of_ct1, 2, 3), [3]);
    assert!(refused(&fixture.requests, of_ct2, 0, 5).is_empty());
    fixture.requests.note_sent(&[sent("CT2", 1, false), sent("CT1", 1, false), sent("CT1", 5, false)], T0).unwrap();
    assert_eq!(refused(&fixture.requests, of_ct1, 0, 5), [3]);
    // It is on the disk.
    let path = fixture.path();
    drop(fixture.requests);
    let mut requests = open(&path).unwrap();
    assert!(requests.has_refusals().unwrap());
    let kept = i64::try_from(KEPT.as_millis()).unwrap();
    assert!(!requests.prune_refusals(T0 + kept).unwrap());
    assert_eq!(refused(&requests, of_ct1, 0, 5), [3]);
    assert!(!requests.prune_refusals(T0 + kept + SECOND).unwrap());
    assert!(!requests.has_refusals().unwrap());
}
