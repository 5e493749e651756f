//! The last events of a kind.

use tidegate_catalogue::EventKind::{InstanceStored, StudyComplete};

use super::completing::following;
use super::support::{Fixture, record};

#[test]
fn the_last_events_of_a_kind_are_found_behind_many_of_others() {
    let mut fixture = Fixture::following(following(&[InstanceStored]));
    let records: Vec<_> = (1..=30).map(|number| record(1, 1, number)).collect();
    for study in 1..=3 {
        fixture.catalogue.enter(&[record(study, 1, 1)]).unwrap();
        assert_eq!(fixture.complete(10_000_000 * i64::from(study)).studies, 1);
    }
    fixture.catalogue.enter(&records).unwrap();
    let mut reader = fixture.reader();
    let last = reader.last_event().unwrap();
    let after = reader.before_last_events(2, Some(StudyComplete)).unwrap();
    let page = reader.events(after, Some(StudyComplete), 10).unwrap();
    let subjects: Vec<_> = page.events.iter().map(|event| event.subject.as_str()).collect();
    assert_eq!((subjects, page.last, page.has_more), (vec!["1.2.2", "1.2.3"], last, false));
    assert_eq!(page.looked_at, (last - after).unsigned_abs());
    // A page that is full ends with its last event, so that the next one continues behind it.
    let page = reader.events(after, Some(StudyComplete), 1).unwrap();
    assert_eq!((page.events.len(), page.has_more, page.events[0].event), (1, true, page.last));
    let next = reader.events(page.last, Some(StudyComplete), 1).unwrap();
    assert_eq!(next.events[0].subject, "1.2.3");
    // Of all kinds, and more than there are.
    assert_eq!(reader.before_last_events(3, None).unwrap(), last - 3);
    assert_eq!(reader.before_last_events(0, Some(StudyComplete)).unwrap(), last);
    assert_eq!(reader.before_last_events(9, Some(StudyComplete)).unwrap(), 0);
    assert_eq!(reader.events(0, Some(StudyComplete), 10).unwrap().events.len(), 3);
}
