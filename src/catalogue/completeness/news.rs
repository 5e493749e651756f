//! What a transaction makes of studies and series by the instances that it enters.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::hints::{self, Expected};
use super::table::{SERIES, STUDIES, Table};
use super::{Following, Wholeness};
use crate::events::EventKind;
use crate::events::outbox::{self, Outbox};
use crate::record::{Record, Reports, digest};

/// New content of a transaction: when each study and series is due by it.
#[derive(Default)]
pub(crate) struct News {
    studies: HashMap<i64, Arrival>,
    /// With their studies.
    series: HashMap<i64, (i64, Arrival)>,
    /// New instances that a sink wants to hear of: study, series UID and what is said of it.
    stored: Vec<Stored>,
}

#[derive(Clone, Copy)]
struct Arrival {
    at_ms: i64,
    due_ms: i64,
    expected: Expected,
}

struct Stored {
    study: i64,
    study_uid: String,
    series_uid: String,
    uid: String,
    class: String,
    bytes: i64,
    digest: Option<u128>,
    at_ms: i64,
    source: String,
}

impl Arrival {
    fn join(former: Option<Self>, at_ms: i64, quiet_ms: i64, expected: Expected) -> Self {
        let none = Self { at_ms: i64::MIN, due_ms: i64::MIN, expected: Expected::default() };
        let former = former.unwrap_or(none);
        let due_ms = former.due_ms.max(at_ms.saturating_add(quiet_ms));
        Self { at_ms: former.at_ms.max(at_ms), due_ms, expected: former.expected.join(expected) }
    }
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        self.studies.is_empty()
    }

    /// New content of a series has come. What is read from the disk is news if it was received since this node follows studies.
    pub(crate) fn add(
        &mut self,
        record: &Record,
        (study, series): (i64, i64),
        following: &Following,
        since_ms: i64,
        reports: Reports,
    ) {
        let Some(origin) = record.origin.as_ref().filter(|_| !record.study.uid.is_empty()) else { return };
        let at_ms = record.received_ms;
        if reports != Reports::Late && at_ms < since_ms {
            return;
        }
        let quiet = following.quiet(&origin.rule);
        let of_study = self.studies.get(&study).copied();
        let told = record.told;
        self.studies.insert(study, Arrival::join(of_study, at_ms, quiet.study_ms, Expected::exactly(told.study)));
        let of_series = self.series.get(&series).map(|(_, arrival)| *arrival);
        let expected = match told.series {
            Some(_) => Expected::exactly(told.series),
            None => Expected::up_to(told.acquisition),
        };
        self.series.insert(series, (study, Arrival::join(of_series, at_ms, quiet.series_ms, expected)));
        if following.writes(EventKind::InstanceStored) {
            self.stored.push(Stored {
                study,
                study_uid: record.study.uid.clone(),
                series_uid: record.series.uid.clone(),
                uid: record.sop_instance_uid.to_string(),
                class: record.sop_class_uid.clone(),
                bytes: i64::try_from(record.bytes).unwrap_or(i64::MAX),
                digest: record.digest,
                at_ms,
                source: origin.calling_ae_title.clone(),
            });
        }
    }

    /// Opens, keeps open and reopens. How many were reopened.
    pub(crate) fn finish(self, db: &Connection, outbox: &mut Outbox<'_>) -> Result<u64> {
        let mut reopened = 0;
        for stored in &self.stored {
            let data = outbox::json(
                db,
                "json_object('study', ?1, 'series', ?2, 'instance', ?3, 'sop_class', ?4, 'bytes', ?5, 'xxh128', ?6, 'source', ?7)",
                params![
                    stored.study_uid,
                    stored.series_uid,
                    stored.uid,
                    stored.class,
                    stored.bytes,
                    stored.digest.map(|digest| format!("{digest:032x}")),
                    stored.source
                ],
            )?;
            outbox.emit(EventKind::InstanceStored, stored.study, &stored.study_uid, stored.at_ms, &data)?;
        }
        for (series, (_, arrival)) in self.series {
            open(db, &SERIES, series, arrival)?;
        }
        for (study, arrival) in self.studies {
            if open(db, &STUDIES, study, arrival)? {
                reopened += 1;
                reopen(db, outbox, study, arrival.at_ms)?;
            }
        }
        Ok(reopened)
    }
}

/// Whether it was complete, and is not any more. A file that came back or was moved is nothing new.
fn open(db: &Connection, table: &Table, id: i64, arrival: Arrival) -> Result<bool> {
    let look = |row: &rusqlite::Row<'_>| Ok((Wholeness::of(row.get(0)?), digest(row.get_ref(1)?)));
    let Some((state, told)) = db.prepare_cached(table.look)?.query_row([id], look).optional()? else {
        return Ok(false);
    };
    let to = match state {
        Wholeness::Unknown | Wholeness::Open => Wholeness::Open,
        Wholeness::Reopened => Wholeness::Reopened,
        Wholeness::Complete if told == Some((table.set_of)(db, id)?.digest) => return Ok(false),
        Wholeness::Complete => Wholeness::Reopened,
    };
    hints::open(db, table, (id, to.number()), (arrival.at_ms, arrival.due_ms), arrival.expected)?;
    Ok(state == Wholeness::Complete)
}

fn reopen(db: &Connection, outbox: &mut Outbox<'_>, study: i64, at_ms: i64) -> Result<()> {
    let forget = "UPDATE study_destination SET is_done_told = 0 WHERE study = ?1";
    db.prepare_cached(forget)?.execute([study])?;
    let sql =
        "SELECT uid, json_object('study', uid, 'completions', told, 'instances', told_instances, 'bytes', told_bytes,
        'digest', lower(hex(told_digest))) FROM study WHERE id = ?1";
    let (uid, data): (String, String) =
        db.prepare_cached(sql)?.query_row([study], |row| Ok((row.get(0)?, row.get(1)?)))?;
    outbox.emit(EventKind::StudyReopened, study, &uid, at_ms, &data)
}
