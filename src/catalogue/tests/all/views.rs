//! What other programs rely on: the columns of the views, and the queries of the documentation.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tidegate_catalogue::{Catalogue, Change, Choice};

use super::delivering::{DELIVERED, dead, record_to, retry};
use super::support::Fixture;

fn connection(fixture: &Fixture) -> Connection {
    Connection::open_with_flags(fixture.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// Columns may be added at the end; none is renamed or removed.
#[test]
fn the_columns_of_the_views_are_these() {
    let fixture = Fixture::new();
    let db = connection(&fixture);
    let columns = |view: &str| {
        let statement = db.prepare(&format!("SELECT * FROM {view}")).unwrap();
        statement.column_names().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        columns("studies"),
        "study_instance_uid patient_id patient_name patient_birth_date accession_number study_date study_description \
         modalities series instances bytes gone calling_ae_titles first_received last_received last_received_ms"
    );
    assert_eq!(
        columns("series_of_studies"),
        "study_instance_uid series_instance_uid modality series_number series_description instances bytes gone \
         first_received last_received"
    );
    assert_eq!(
        columns("instances"),
        "study_instance_uid series_instance_uid sop_instance_uid sop_class_uid transfer_syntax_uid instance_number path \
         bytes xxh128 received calling_ae_title address rule association state ended packed_uid"
    );
    assert_eq!(
        columns("deliveries"),
        "destination state study_instance_uid sop_instance_uid bytes owed attempts due last_attempt status why packed_uid"
    );
    assert_eq!(
        columns("past_deliveries"),
        "destination outcome study_instance_uid sop_instance_uid bytes at status why packed_uid"
    );
}

/// All columns of the rows, with a space between them and `-` for what is absent.
fn rows(db: &Connection, query: &str) -> Vec<String> {
    let mut statement = db.prepare(query).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let text = |at| match row.get_ref(at).unwrap() {
            ValueRef::Null => "-".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            other => other.as_str().unwrap().replace(' ', "_"),
        };
        Ok((0..columns).map(text).collect::<Vec<_>>().join(" "))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn deliveries_are_seen_in_words() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record_to(1, 1, 1, &["a", "b", "c", "d", "e"])]).unwrap();
    fixture.settle("b", &retry(8_000_000, true));
    fixture.settle("c", &dead());
    fixture.settle("d", &DELIVERED);
    fixture.change("e", Change::Drop, &Choice::default());
    let db = connection(&fixture);
    let columns =
        "destination, state, study_instance_uid, sop_instance_uid, owed, attempts, due, last_attempt, status, why";
    assert_eq!(
        rows(&db, &format!("SELECT {columns} FROM deliveries ORDER BY destination")),
        [
            "a waiting 1.2.1 1.2.1.1.1 1970-01-01T00:16:41Z 0 - - - -",
            "b retrying 1.2.1 1.2.1.1.1 1970-01-01T00:16:41Z 1 1970-01-01T02:13:20Z 1970-01-01T01:23:20Z A700 out_of_resources",
            "c dead 1.2.1 1.2.1.1.1 1970-01-01T00:16:41Z 1 - 1970-01-01T01:23:20Z C000 cannot_understand",
        ]
    );
    let columns = "destination, outcome, study_instance_uid, sop_instance_uid, at, status, why";
    assert_eq!(
        rows(&db, &format!("SELECT {columns} FROM past_deliveries ORDER BY destination")),
        [
            "d delivered 1.2.1 1.2.1.1.1 1970-01-01T01:23:20Z 0000 -",
            "e dropped 1.2.1 1.2.1.1.1 1970-01-01T01:56:40Z - dropped",
        ]
    );
}

/// A catalogue of this version that was made before a view came.
#[test]
fn a_view_that_a_file_lacks_is_made_when_it_is_opened() {
    let fixture = Fixture::new();
    let path = fixture.path();
    drop(fixture.catalogue);
    Connection::open(&path).unwrap().execute_batch("DROP VIEW deliveries").unwrap();
    drop(Catalogue::open(&path, true).unwrap());
    let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    assert_eq!(rows(&db, "SELECT * FROM deliveries").len(), 0);
}

/// The blocks of SQL in the documentation.
fn documented() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/catalogue.md"));
    let text = text.unwrap();
    text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_documented_queries_answer_and_walk_through_no_table() {
    let mut fixture = Fixture::new();
    let records: Vec<_> = (1..=60).map(|number| record_to(number % 5, 1, number, &["archive"])).collect();
    fixture.catalogue.enter(&records[..30]).unwrap();
    fixture.settle("archive", &DELIVERED);
    fixture.catalogue.enter(&records[30..]).unwrap();
    fixture.settle("archive", &dead());
    let db = connection(&fixture);
    let queries = documented();
    assert!(queries.len() >= 3, "{}", queries.len());
    for query in queries {
        let mut rows = db.prepare(&query).unwrap();
        assert!(rows.query([]).unwrap().next().unwrap().is_some(), "nothing: {query}");
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        for step in steps.map(Result::unwrap) {
            let walks = step.starts_with("SCAN") && !step.contains("USING INDEX study_last");
            assert!(!walks, "{step}: {query}");
        }
    }
}
