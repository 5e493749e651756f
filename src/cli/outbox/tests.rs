use std::sync::Arc;

use tempfile::TempDir;
use tidegate_catalogue::{Catalogue, DeliveryNote, Origin, Outcome, Reader, Record, SeriesValues, StudyValues};

use super::text;
use crate::admin::outbox::look;
use crate::admin::outbox::model::{Destinations, Doing, Outbox, OutboxChanged};
use crate::admin::outbox::search::OutboxSearch;
use crate::cli::table::COLUMNS;
use crate::cli::table_tests::uid;

struct Fixture {
    directory: TempDir,
    catalogue: Catalogue,
}

fn record(number: u64, destinations: &[&str]) -> Record {
    let uid = uid(number);
    Record {
        path: format!("{uid}.dcm").into(),
        sop_instance_uid: uid.parse().unwrap(),
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".to_owned(),
        study: StudyValues { uid: "1.2.3".to_owned(), ..StudyValues::default() },
        series: SeriesValues { uid: "1.2.3.4".to_owned(), ..SeriesValues::default() },
        instance_number: Some(number as i64),
        told: tidegate_catalogue::ToldNumbers::default(),
        bytes: 1 << 30,
        digest: Some(1),
        received_ms: 1_764_444_800_000,
        modified_ns: None,
        origin: Some(Arc::new(Origin {
            calling_ae_title: "CT1".to_owned(),
            address: "10.1.2.3".to_owned(),
            destinations: destinations.iter().map(|name| (*name).to_owned()).collect(),
            ..Origin::default()
        })),
    }
}

impl Fixture {
    /// Three deliveries: one that waits, one that is retried, and a dead one.
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut catalogue = Catalogue::open(&directory.path().join("catalogue.sqlite"), true).unwrap();
        let name = "a-destination-with-a-long-name-ab";
        catalogue.enter(&(0..3).map(|number| record(number, &[name])).collect::<Vec<_>>()).unwrap();
        let mut fixture = Self { directory, catalogue };
        let mut reader = fixture.reader();
        let (generation, id) = (reader.generation().unwrap(), reader.destinations().unwrap()[0].id);
        let owed = reader.waiting(id, None, 9).unwrap();
        let why = "Unable to process: the archive said \u{1b}[31m so at some length, as archives do".to_owned();
        let retry = Outcome::Retry { due_ms: 1_764_444_900_000, counts: true, status: Some(0xA700), why: why.clone() };
        let outcomes = [retry, Outcome::Dead { status: Some(0xC000), why }];
        let notes: Vec<_> = outcomes
            .into_iter()
            .zip(&owed)
            .map(|(outcome, owed)| DeliveryNote { generation, key: owed.key, outcome, at_ms: 1_764_444_850_000 })
            .collect();
        assert_eq!(fixture.catalogue.note_deliveries(&notes).unwrap(), 2);
        fixture
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.directory.path().join("catalogue.sqlite")).unwrap()
    }

    fn destinations(&self) -> Destinations {
        look::destinations(&mut self.reader()).unwrap()
    }

    fn page(&self, search: &OutboxSearch) -> Outbox {
        look::page(&mut self.reader(), &search.read().unwrap()).unwrap()
    }
}

/// The widest tables.
pub(in crate::cli) fn widest() -> String {
    let fixture = Fixture::new();
    let mut destinations = fixture.destinations();
    for row in &mut destinations.destinations {
        (row.waiting, row.retrying, row.dead, row.delivered) = (99_999_999, 99_999_999, 9_999_999, 999_999_999);
        row.sent = 99_999_999;
        row.waiting_bytes = 1023 << 40;
        (row.is_configured, row.peer, row.is_paused) = (Some(false), Some("A".repeat(200)), true);
    }
    text::destinations(&destinations, COLUMNS) + &text::deliveries(&fixture.page(&OutboxSearch::default()), COLUMNS)
}

#[test]
fn deliveries_are_listed_with_what_failed() {
    let fixture = Fixture::new();
    let text = text::deliveries(&fixture.page(&OutboxSearch::default()), 120);
    for part in ["waiting", "retrying", "DEAD", "A700 Unable", "C000 Unable", "next at 2025-11-29 19:35", &uid(2)] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "what a peer wrote is escaped");
    let text = text::destinations(&fixture.destinations(), 120);
    for part in ["a-destination", "2.0 GiB", "waiting since 2025-11-29 19:33", "next retry 2025-11-29 19:35"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_destination_says_what_the_node_does_about_it() {
    let fixture = Fixture::new();
    let live = |phase: &str, bytes_per_s| Doing {
        phase: phase.to_owned(),
        down_since: Some("2025-11-29T19:30:00.000Z".to_owned()),
        next_probe: Some("2025-11-29T19:36:00.000Z".to_owned()),
        connections: 2,
        bytes_per_s,
        last_error: Some("cannot connect to 10.0.0.5:104: refused \u{1b}".to_owned()),
        last_error_at: None,
        last_success: None,
        not_committing: Some("not offered \u{1b}".to_owned()),
        not_committing_since: Some("2025-11-29T19:31:00.000Z".to_owned()),
    };
    let said_with = |phase, bytes_per_s, sent| {
        let mut found = fixture.destinations();
        found.destinations[0].live = Some(live(phase, bytes_per_s));
        found.destinations[0].sent = sent;
        text::destinations(&found, 200)
    };
    let said = |phase, bytes_per_s| said_with(phase, bytes_per_s, 0);
    let text = said_with("idle", 0, 3);
    assert!(text.contains("DOES NOT COMMIT since 2025-11-29 19:31: not offered"), "{text}");
    assert!(!text.contains('\u{1b}'));
    let text = said("sending", 1 << 20);
    assert!(text.contains("sending 1.0 MiB/s over 2 associations, 34m 8s left at this rate"), "{text}");
    assert!(said("sending", 0).contains("over 2 associations\n"));
    let mut last = fixture.destinations();
    (last.destinations[0].live, last.destinations[0].waiting_bytes) = (Some(live("sending", 1 << 20)), 0);
    let text = text::destinations(&last, 200);
    assert!(text.contains("over 2 associations\n"), "no time is left when nothing waits: {text}");
    let text = said("down", 0);
    assert!(text.contains("DOWN since 2025-11-29 19:30, next call at 2025-11-29 19:36: cannot connect"), "{text}");
    assert!(!text.contains('\u{1b}'));
    assert_eq!(said("idle", 0), text::destinations(&fixture.destinations(), 200));
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let fixture = Fixture::new();
    let mut search = OutboxSearch { limit: Some(1), ..OutboxSearch::default() };
    let mut states = Vec::new();
    loop {
        let page = fixture.page(&search);
        states.extend(page.deliveries.into_iter().map(|row| row.state));
        search.after = page.next;
        if search.after.is_none() {
            break;
        }
    }
    assert_eq!(states, ["waiting", "retrying", "dead"]);
    let of = |destination: Option<&str>, state: Option<&str>, study: Option<&str>| {
        let [destination, state, study] = [destination, state, study].map(|text| text.map(str::to_owned));
        fixture.page(&OutboxSearch { destination, state, study, ..OutboxSearch::default() }).deliveries.len()
    };
    assert_eq!([of(None, Some("dead"), None), of(None, None, Some("1.2.3")), of(None, None, Some("1.2"))], [1, 3, 0]);
    assert_eq!([of(Some("other"), None, None), of(Some(""), None, None)], [0, 3]);
}

#[test]
fn an_order_that_is_not_done_says_so() {
    let changed =
        |changed, is_done| text::changed(&OutboxChanged { destination: "a".to_owned(), changed, is_done }, 80);
    assert_eq!(changed(1, true), "1 delivery changed\n");
    assert_eq!(changed(2000, false), "2000 deliveries changed so far; the node continues\n");
}
