//! What other programs rely on: the columns of the views, and the queries of the documentation.

use rusqlite::{Connection, OpenFlags};

use super::support::{Fixture, record};

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
    let records: Vec<_> = (1..=60).map(|number| record(number % 5, 1, number)).collect();
    fixture.catalogue.enter(&records).unwrap();
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
