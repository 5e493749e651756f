//! The writer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use tidegate_database::{Error, Writer};

use crate::batch::{Batch, Entered, find};
use crate::completeness::Following;
use crate::delivery::{DeliveryNote, DestinationRow, destinations};
use crate::events::outbox::now_ms;
use crate::events::{EventNote, Told};
use crate::ids::Ids;
use crate::open::DESIGN;
use crate::record::{Origin, Record, Reports, State};

/// Whether the catalogue has ever kept patients.
const PATIENTS: &str = "patients";

/// When a catch-up came to its end for the first time.
const COMPLETE: &str = "complete_ms";

/// The id of the storage root whose instances it has.
pub(crate) const ROOT: &str = "root";

/// When the last record was received.
const LAST_RECORD: &str = "last_record_ms";

/// Since when studies are followed.
const FOLLOWED_SINCE: &str = "followed_since_ms";

/// The catalogue, open for its one writer. Each call is one transaction, durable when it returns, and none after an error. A call blocks for at most
/// [`BUSY_TIMEOUT`](crate::BUSY_TIMEOUT) on locks, and otherwise as long as the disk takes.
pub struct Catalogue {
    file: Writer,
    ids: Ids,
    keeps_patients: bool,
    /// Transactions so far that have changed a delivery.
    delivery_changes: u64,
    /// Transactions so far that have changed an event that is owed.
    event_changes: u64,
    following: Following,
    followed_since_ms: i64,
    /// Bytes of the files that are there, once they were asked for.
    stored_bytes: Option<i64>,
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue").field("path", &self.path()).finish_non_exhaustive()
    }
}

/// What is entered in one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct News<'a> {
    /// Files.
    pub records: &'a [Record],
    /// Files that were stored before, and came again.
    pub again: &'a [Again],
    /// Outcomes of deliveries.
    pub notes: &'a [&'a DeliveryNote],
    /// Outcomes of events.
    pub event_notes: &'a [&'a EventNote],
    /// What other parts of the node tell.
    pub told: &'a [&'a Told],
}

/// A file that was stored before, and came again with the same content.
#[derive(Clone, Debug)]
pub struct Again {
    /// Below the root.
    pub path: PathBuf,
    /// Who has sent it now.
    pub origin: Arc<Origin>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A time in which instances were stored and not entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its number, ascending.
    pub id: i64,
    /// When it was noted first.
    pub opened_ms: i64,
    /// Why instances were missed.
    pub reason: String,
    /// How many are known to be missed.
    pub missed: u64,
    /// When a catch-up had found them.
    pub closed_ms: Option<i64>,
}

impl Catalogue {
    /// Opens the file, or makes one. Without `keeps_patients` it keeps no patient ID, name, birth date, accession number, study date
    /// and description, and those that it has are erased, with what was set aside earlier. Other users lose their access to the file.
    ///
    /// # Errors
    /// Any: see [`Error::remedy`]. A file that is damaged, newer, in use or another program's is left as it is.
    pub fn open(path: &Path, keeps_patients: bool) -> Result<Self, Error> {
        let mut catalogue = Self {
            file: Writer::open(&DESIGN, path)?,
            ids: Ids::default(),
            keeps_patients,
            delivery_changes: 0,
            event_changes: 0,
            following: Following::default(),
            followed_since_ms: 0,
            stored_bytes: None,
        };
        catalogue.followed_since_ms = catalogue.mark(FOLLOWED_SINCE)?.unwrap_or(i64::MAX);
        let kept = catalogue.mark(PATIENTS)?.unwrap_or(0) != 0;
        if !keeps_patients {
            catalogue.file.remove_set_aside()?;
        }
        if kept && !keeps_patients {
            catalogue.erase_patients()?;
        }
        if kept != keeps_patients {
            catalogue.set_mark(PATIENTS, i64::from(keeps_patients))?;
        }
        Ok(catalogue)
    }

    /// Claims the catalogue for the storage root at `path` with that id. One that was claimed for another root is left alone, unless it
    /// `stands_in_root`: then the root has lost its id, and its files are the same.
    ///
    /// # Errors
    /// [`Error::OtherRoot`], and any of a transaction.
    pub fn claim(&mut self, path: &Path, root: u64, stands_in_root: bool) -> Result<(), Error> {
        let root = root.cast_signed();
        match self.mark(ROOT)? {
            Some(of) if of == root => {}
            Some(_) if !stands_in_root => {
                let (path, root) = (self.path().to_owned(), self.file.former_root());
                return Err(Error::OtherRoot { design: &DESIGN, path, root });
            }
            _ => self.set_mark(ROOT, root)?,
        }
        self.file.name_root(path);
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes of the file and of its write-ahead log. A reader that holds a transaction open keeps the log from being reused.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Whether a catch-up has ever come to its end. Until then, the catalogue may know any part of what is on the disk.
    pub fn is_complete(&self) -> Result<bool, Error> {
        self.mark(COMPLETE).map(|at_ms| at_ms.is_some())
    }

    /// A catch-up has come to its end.
    pub(crate) fn note_complete(&mut self, at_ms: i64) -> Result<(), Error> {
        if self.is_complete()? { Ok(()) } else { self.set_mark(COMPLETE, at_ms) }
    }

    /// Lets the page cache grow to so many bytes at most. It is 8 MiB unless this was called.
    pub fn limit_cache(&self, bytes: u64) -> Result<(), Error> {
        self.file.limit_cache(bytes)
    }

    /// Gives back as much memory as can be had again from the file.
    pub fn release_memory(&self) {
        self.file.release_memory();
    }

    /// Enters files. What is known already changes nothing, so a record may come twice, and in any order with the same record read from the
    /// disk; a file that was gone is there again.
    pub fn enter(&mut self, records: &[Record]) -> Result<Entered, Error> {
        self.enter_news(&News { records, ..News::default() }).map(|(entered, _)| entered)
    }

    /// Enters all news in one transaction. Also how many notes were about deliveries that are as they were when they were read: a note may come
    /// twice, and one of another catalogue or about what has changed since means nothing.
    pub fn enter_news(&mut self, news: &News<'_>) -> Result<(Entered, u64), Error> {
        let News { records, again, notes, event_notes, told } = *news;
        let last_ms = records.iter().map(|record| record.received_ms).max();
        let (noted, entered) = self.transact(|batch| {
            records.iter().try_for_each(|record| batch.enter(record))?;
            last_ms.map_or(Ok(()), |last_ms| set_mark(batch.db(), LAST_RECORD, last_ms))?;
            again.iter().try_for_each(|again| batch.come_again(again))?;
            batch.note_events(event_notes)?;
            batch.tell(told)?;
            batch.note(notes)
        })?;
        Ok((entered, noted))
    }

    /// Notes the outcomes of deliveries: [`enter_news`](Self::enter_news) with nothing else.
    pub fn note_deliveries(&mut self, notes: &[DeliveryNote]) -> Result<u64, Error> {
        let notes: Vec<_> = notes.iter().collect();
        self.enter_news(&News { notes: &notes, ..News::default() }).map(|(_, noted)| noted)
    }

    /// Bytes of the files that are there, by the catalogue. The first call reads the rows of all series.
    ///
    /// # Errors
    /// Those of a question.
    pub fn stored_bytes(&mut self) -> Result<u64, Error> {
        let bytes = match self.stored_bytes {
            Some(bytes) => bytes,
            None => {
                let sql = "SELECT ifnull(sum(bytes), 0) FROM series";
                self.connection().query_row(sql, [], |row| row.get(0)).map_err(DESIGN.sqlite(self.path()))?
            }
        };
        self.stored_bytes = Some(bytes);
        Ok(bytes.unsigned_abs())
    }

    /// Transactions so far that have changed a delivery or a destination.
    pub fn delivery_changes(&self) -> u64 {
        self.delivery_changes
    }

    /// The destinations, by name.
    pub fn destinations(&self) -> Result<Vec<DestinationRow>, Error> {
        destinations::all(self.connection()).map_err(DESIGN.sqlite(self.path()))
    }

    /// Transactions so far that have changed an event that is owed, or a sink.
    pub fn event_changes(&self) -> u64 {
        self.event_changes
    }

    pub(crate) fn set_following(&mut self, following: Following) {
        self.following = following;
    }

    /// A sink or its events have changed.
    pub(crate) fn note_event_change(&mut self) {
        self.event_changes += 1;
    }

    /// A destination has changed.
    pub(crate) fn note_change(&mut self) {
        self.delivery_changes += 1;
    }

    /// Those of `paths` that the catalogue does not know as files that are there.
    pub fn not_present<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Result<Vec<PathBuf>, Error> {
        let mut not_present = Vec::new();
        for path in paths {
            let known = find(self.connection(), path).map_err(DESIGN.sqlite(self.path()))?;
            if known.is_none_or(|known| known.state != State::Present) {
                not_present.push(path.to_owned());
            }
        }
        Ok(not_present)
    }

    /// Notes that the files at `paths` are not there any more. The number of those that were, by the catalogue.
    pub fn mark_gone(&mut self, paths: &[PathBuf], at_ms: i64) -> Result<u64, Error> {
        self.end(paths, State::Gone, at_ms)
    }

    /// Notes that the node has removed the files at `paths`. The number of those that were there, by the catalogue.
    pub fn mark_released(&mut self, paths: &[PathBuf], at_ms: i64) -> Result<u64, Error> {
        self.end(paths, State::Released, at_ms)
    }

    fn end(&mut self, paths: &[PathBuf], state: State, at_ms: i64) -> Result<u64, Error> {
        let (ended, _) = self.transact(|batch| {
            let ended = paths.iter().map(|path| batch.end_path(path, state, at_ms).map(u64::from));
            ended.sum::<rusqlite::Result<u64>>()
        })?;
        Ok(ended)
    }

    /// Notes that `missed` instances were stored and not entered. One note stands for all with the same reason until it is closed.
    pub fn note_gap(&mut self, reason: &str, missed: u64, at_ms: i64) -> Result<(), Error> {
        let missed = i64::try_from(missed).unwrap_or(i64::MAX);
        let more = "UPDATE gap SET missed = missed + ?2 WHERE closed_ms IS NULL AND reason = ?1";
        let first = "INSERT INTO gap (opened_ms, reason, missed) VALUES (?1, ?2, ?3)";
        self.transact(|batch| {
            if batch.db().execute(more, (reason, missed))? == 0 {
                batch.db().execute(first, (at_ms, reason, missed))?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Closes the gaps up to that number: a catch-up that began after they were noted has come to its end.
    pub fn close_gaps(&mut self, up_to: i64, at_ms: i64) -> Result<u64, Error> {
        let sql = "UPDATE gap SET closed_ms = ?2 WHERE closed_ms IS NULL AND id <= ?1";
        let (closed, _) = self.transact(|batch| batch.db().execute(sql, (up_to, at_ms)))?;
        Ok(closed as u64)
    }

    /// The number of the last gap, open or closed; 0 if there was none.
    pub(crate) fn last_gap(&self) -> Result<i64, Error> {
        let sql = "SELECT ifnull(max(id), 0) FROM gap";
        self.connection().query_row(sql, [], |row| row.get(0)).map_err(DESIGN.sqlite(self.path()))
    }

    /// When the last record was received, by the clock of its time. For display: catch-up trusts no clock.
    pub fn last_record_ms(&self) -> Result<Option<i64>, Error> {
        self.mark(LAST_RECORD)
    }

    pub(crate) fn mark(&self, name: &str) -> Result<Option<i64>, Error> {
        let sql = "SELECT value FROM mark WHERE name = ?1";
        self.connection().query_row(sql, [name], |row| row.get(0)).optional().map_err(DESIGN.sqlite(self.path()))
    }

    pub(crate) fn set_mark(&mut self, name: &str, value: i64) -> Result<(), Error> {
        self.transact(|batch| set_mark(batch.db(), name, value)).map(|_| ())
    }

    /// The connection, for reading in turns with writing.
    pub(crate) fn connection(&self) -> &Connection {
        self.file.connection()
    }

    /// # Errors
    /// [`Error::Vanished`]: what is open is not what stands at the path.
    pub(crate) fn is_in_place(&self) -> Result<(), Error> {
        self.file.is_in_place()
    }

    /// Runs `work` as one transaction.
    pub(crate) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Batch<'_>) -> rusqlite::Result<T>,
    ) -> Result<(T, Entered), Error> {
        self.transact_reports(Reports::Late, work)
    }

    /// The same with records from there.
    pub(crate) fn transact_reports<T>(
        &mut self,
        reports: Reports,
        work: impl FnOnce(&mut Batch<'_>) -> rusqlite::Result<T>,
    ) -> Result<(T, Entered), Error> {
        let Self { file, ids, keeps_patients, following, followed_since_ms, .. } = self;
        let done = file.transact(|db| {
            // The clock may have been ahead when the catalogue was made: what comes from now on is news all the same.
            let now_ms = now_ms(db)?;
            if now_ms < *followed_since_ms {
                set_mark(db, FOLLOWED_SINCE, now_ms)?;
                *followed_since_ms = now_ms;
            }
            let mut batch = Batch::new(db, ids, *keeps_patients, reports, (following, *followed_since_ms));
            let result = work(&mut batch)?;
            let (has_changed, more_bytes) = (batch.duties.have_changed(), batch.more_bytes());
            let (entered, have_events_changed) = batch.finish()?;
            Ok((result, entered, has_changed, have_events_changed, more_bytes))
        });
        if done.is_err() {
            // They may be of rows that were rolled back.
            self.ids = Ids::default();
        }
        let (result, entered, has_changed, have_events_changed, more_bytes) = done?;
        self.stored_bytes = self.stored_bytes.map(|bytes| bytes + more_bytes);
        self.delivery_changes += u64::from(has_changed);
        self.event_changes += u64::from(have_events_changed);
        Ok((result, entered))
    }

    fn erase_patients(&mut self) -> Result<(), Error> {
        // Overwritten in the file, not only unlinked, and not left in the log.
        self.connection().execute_batch("PRAGMA secure_delete = ON").map_err(DESIGN.sqlite(self.path()))?;
        self.transact(|batch| {
            batch.db().execute_batch(
                "UPDATE study SET patient_id = NULL, patient_name = NULL, patient_birth_date = NULL, accession_number = NULL,
                    study_date = NULL, description = NULL;
                 DELETE FROM study_name;
                 UPDATE series SET description = NULL;",
            )
        })?;
        let truncate = "PRAGMA secure_delete = FAST; PRAGMA wal_checkpoint(TRUNCATE);";
        self.connection().execute_batch(truncate).map_err(DESIGN.sqlite(self.path()))
    }
}

fn set_mark(db: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO mark (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    db.prepare_cached(sql)?.execute((name, value)).map(|_| ())
}
