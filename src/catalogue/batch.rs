//! One transaction of the writer.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Result, Row, params};

use crate::completeness::due::{self, Circumstances, Completed};
use crate::completeness::{Following, news::News};
use crate::delivery::duties::Duties;
use crate::events::{deliveries, outbox, outbox::Outbox};
use crate::ids::{Ids, RecordIds, find_directory};
use crate::place::{Bytes, Place, kept_name};
use crate::record::{Record, Reports, State, digest};
use crate::times::Times;
use tidegate_database::PackedUid;

/// What a call of [`Catalogue::enter`](crate::Catalogue::enter) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// Files that the catalogue did not know.
    pub new: u64,
    /// Files of which it knew something else, or that they were gone.
    pub changed: u64,
    /// Files that it knew as they are, or of which it has learnt a value that it did not have.
    pub unchanged: u64,
    /// Records that were passed over, since their path does not lead below the root.
    pub refused: u64,
}

/// Files of an instance among which one that was moved is looked for: there may be any number of copies.
pub(crate) const FILES_LOOKED_AT: u32 = 16;

/// A transaction, and the sums that are written once at its end.
pub(crate) struct Batch<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) ids: &'a mut Ids,
    keeps_patients: bool,
    pub(crate) reports: Reports,
    series: HashMap<i64, Change>,
    studies: HashMap<i64, Times>,
    sources: HashSet<(i64, i64)>,
    /// It is the one statement that every record needs: finding it in the cache each time costs a tenth of a record.
    insertion: Option<CachedStatement<'a>>,
    pub(crate) duties: Duties<'a>,
    pub(crate) following: &'a Following,
    /// Since when studies are followed.
    pub(crate) followed_since_ms: i64,
    news: News,
    pub(crate) outbox: Outbox<'a>,
    pub(crate) entered: Entered,
}

/// The change of a series.
#[derive(Default)]
struct Change {
    instances: i64,
    bytes: i64,
    gone: i64,
    times: Option<Times>,
}

/// The row of a file, as far as a record is held against it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: i64,
    pub(crate) series: i64,
    kind: i64,
    pub(crate) number: Option<i64>,
    pub(crate) bytes: u64,
    pub(crate) digest: Option<u128>,
    pub(crate) received_ms: i64,
    pub(crate) modified_ns: Option<i64>,
    pub(crate) arrival: Option<i64>,
    pub(crate) state: State,
}

/// A query of [`Known`].
macro_rules! known {
    ($rest:literal) => {
        concat!(
            "SELECT id, series, kind, number, bytes, digest, received_ms, modified_ns, arrival, state FROM instance ",
            $rest
        )
    };
}

impl Known {
    pub(crate) fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            series: row.get(1)?,
            kind: row.get(2)?,
            number: row.get(3)?,
            bytes: row.get::<_, i64>(4)?.unsigned_abs(),
            digest: digest(row.get_ref(5)?),
            received_ms: row.get(6)?,
            modified_ns: row.get(7)?,
            arrival: row.get(8)?,
            state: State::of(row.get(9)?),
        })
    }
}

/// What a record made of the row of a known file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Update {
    /// It says what the row has.
    Nothing,
    /// The row has gained a value.
    Completed,
    /// The row had something else, or the file was gone.
    Changed,
}

impl<'a> Batch<'a> {
    pub(crate) fn db(&self) -> &Connection {
        self.db
    }

    pub(crate) fn new(
        db: &'a Connection,
        ids: &'a mut Ids,
        keeps_patients: bool,
        reports: Reports,
        (following, followed_since_ms): (&'a Following, i64),
    ) -> Self {
        let (series, studies, sources) = (HashMap::new(), HashMap::new(), HashSet::new());
        let (insertion, duties, entered) = (None, Duties::new(db), Entered::default());
        let (news, outbox) = (News::default(), Outbox::new(db, following));
        Self {
            db,
            ids,
            keeps_patients,
            reports,
            series,
            studies,
            sources,
            insertion,
            duties,
            following,
            followed_since_ms,
            news,
            outbox,
            entered,
        }
    }

    /// The stamp of a directory has been set.
    pub(crate) fn forget_directory(&mut self, path: &[u8]) {
        self.ids.forget_directory(path);
    }

    pub(crate) fn enter(&mut self, record: &Record) -> Result<()> {
        let Some(place) = Place::of(&record.path) else {
            self.entered.refused += 1;
            return Ok(());
        };
        let ids = self.ids.of(self.db, record, place.directory, self.keeps_patients)?;
        let name = kept_name(&place, &record.sop_instance_uid);
        if !name.is_empty() && !ids.directory_has_named {
            self.ids.note_named(place.directory);
        }
        if matches!(self.reports, Reports::Current { .. }) {
            self.bring(record, name, &ids)?;
        }
        if self.insert(record, name, &ids)? {
            self.entered.new += 1;
            self.owe_first(record, &ids)?;
            self.follow(record, &ids);
        } else {
            let update = self.update(record, name, &ids)?;
            let count = if update == Update::Changed { &mut self.entered.changed } else { &mut self.entered.unchanged };
            *count += 1;
            if update == Update::Nothing {
                return Ok(());
            }
        }
        if self.reports == Reports::Late && ids.directory_is_stamped {
            self.ids.unstamp(self.db, place.directory)?;
        }
        if ids.directory_has_named || !name.is_empty() {
            self.end_others(record, &place, name, ids.directory)?;
        }
        let at_ms = record.received_ms;
        let times = self.studies.entry(ids.study).or_insert(Times { first_ms: at_ms, last_ms: at_ms });
        *times = Times::extend(Some(*times), at_ms);
        if let Some(arrival) = ids.arrival {
            self.sources.insert((ids.study, arrival.source));
        }
        Ok(())
    }

    /// Brings the row of a file that is gone to a new place where the same content was found: people have moved it, and what it owes and has had goes with it.
    /// It is looked for among [`FILES_LOOKED_AT`] of the instance.
    fn bring(&mut self, record: &Record, name: &[u8], ids: &RecordIds) -> Result<()> {
        let Some(digest) = record.digest.map(u128::to_be_bytes) else { return Ok(()) };
        let sql = "UPDATE instance SET directory = ?2, name = ?3 WHERE id =
                (SELECT id FROM (SELECT id, state, digest, bytes, ended_ms FROM instance WHERE uid = ?1 LIMIT ?6)
                    WHERE state = 1 AND digest = ?4 AND bytes = ?5 ORDER BY ended_ms DESC, id DESC LIMIT 1)
            AND NOT EXISTS (SELECT 1 FROM instance WHERE uid = ?1 AND directory = ?2 AND name = ?3)";
        let (uid, bytes) = (record.sop_instance_uid.as_bytes(), clamped(record.bytes));
        let row = params![uid, ids.directory, Bytes(name), digest, bytes, FILES_LOOKED_AT];
        self.db.prepare_cached(sql)?.execute(row).map(drop)
    }

    /// Whether the file was not known.
    fn insert(&mut self, record: &Record, name: &[u8], ids: &RecordIds) -> Result<bool> {
        let sql = "INSERT OR IGNORE INTO instance
            (series, uid, directory, name, kind, number, bytes, digest, received_ms, modified_ns, arrival, state)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0)";
        let row = params![
            ids.series,
            record.sop_instance_uid.as_bytes(),
            ids.directory,
            Bytes(name),
            ids.kind,
            record.instance_number,
            clamped(record.bytes),
            record.digest.map(u128::to_be_bytes),
            record.received_ms,
            record.modified_ns,
            ids.arrival.as_ref().map(|arrival| arrival.id)
        ];
        let insertion = match &mut self.insertion {
            Some(insertion) => insertion,
            none => none.insert(self.db.prepare_cached(sql)?),
        };
        let is_new = insertion.execute(row)? > 0;
        if is_new {
            let change = self.series.entry(ids.series).or_default();
            change.instances += 1;
            change.bytes += clamped(record.bytes);
            change.times = Some(Times::extend(change.times, record.received_ms));
        }
        Ok(is_new)
    }

    /// Makes the row of a known file say what the record says.
    fn update(&mut self, record: &Record, name: &[u8], ids: &RecordIds) -> Result<Update> {
        let sql = known!("WHERE uid = ?1 AND directory = ?2 AND name = ?3");
        let key = params![record.sop_instance_uid.as_bytes(), ids.directory, Bytes(name)];
        let known = self.db.prepare_cached(sql)?.query_row(key, Known::read)?;
        let is_same_content = known.bytes == record.bytes
            && (known.digest.is_none() || record.digest.is_none() || known.digest == record.digest);
        let is_same_file = known.state == State::Present && is_same_content;
        self.owe_again(record, ids, &known, is_same_content)?;
        if !is_same_content {
            self.follow(record, ids);
        }
        // Of one file that is reported twice, the first report stands, and a later one adds what it did not say. Who stored the file knows
        // more of its sender than the file, which may have no receipt.
        let arrival = ids.arrival.as_ref().map(|arrival| arrival.id);
        let is_first = known.arrival.is_some() && !(self.reports == Reports::Late && known.modified_ns.is_some());
        let (received_ms, arrival) = match is_same_file {
            true if is_first || arrival.is_none() => (known.received_ms, known.arrival),
            _ => (record.received_ms, arrival),
        };
        let digest = if is_same_file { record.digest.or(known.digest) } else { record.digest };
        let modified_ns = if is_same_file { record.modified_ns.or(known.modified_ns) } else { record.modified_ns };
        let is_same_instance =
            (known.series, known.kind, known.number) == (ids.series, ids.kind, record.instance_number);
        let is_kept = |known: Option<i64>, now: Option<i64>| known.is_none() || known == now;
        let says_no_other = is_same_file
            && is_same_instance
            && known.received_ms == received_ms
            && is_kept(known.arrival, arrival)
            && is_kept(known.modified_ns, modified_ns);
        let says_no_more = (known.arrival, known.digest, known.modified_ns) == (arrival, digest, modified_ns);
        if says_no_other && says_no_more {
            return Ok(Update::Nothing);
        }
        let sql = "UPDATE instance SET series = ?2, kind = ?3, number = ?4, bytes = ?5, digest = ?6, received_ms = ?7,
            modified_ns = ?8, arrival = ?9, state = 0, ended_ms = NULL WHERE id = ?1";
        let digest = digest.map(u128::to_be_bytes);
        let (number, bytes) = (record.instance_number, clamped(record.bytes));
        let row = params![known.id, ids.series, ids.kind, number, bytes, digest, received_ms, modified_ns, arrival];
        self.db.prepare_cached(sql)?.execute(row)?;
        self.take_away(&known);
        let change = self.series.entry(ids.series).or_default();
        change.instances += 1;
        change.bytes += bytes;
        change.times = Some(Times::extend(change.times, received_ms));
        Ok(if says_no_other { Update::Completed } else { Update::Changed })
    }

    fn take_away(&mut self, known: &Known) {
        let change = self.series.entry(known.series).or_default();
        if known.state == State::Present {
            change.instances -= 1;
            change.bytes -= clamped(known.bytes);
        } else {
            change.gone -= 1;
        }
    }

    /// A file has one instance in it: others that were known under its path are gone.
    fn end_others(&mut self, record: &Record, place: &Place<'_>, name: &[u8], directory: i64) -> Result<()> {
        let uid = record.sop_instance_uid.as_bytes();
        let named = known!("WHERE directory = ?1 AND name = ?2 AND name <> '' AND state = 0 AND uid <> ?3");
        let mut statement = self.db.prepare_cached(named)?;
        let named = statement.query_map(params![directory, Bytes(place.name), uid], Known::read)?;
        let mut others = named.collect::<Result<Vec<_>>>()?;
        if !name.is_empty()
            && let Some(other) = place.uid()
        {
            let by_uid = known!("WHERE uid = ?1 AND directory = ?2 AND name = '' AND state = 0");
            let mut statement = self.db.prepare_cached(by_uid)?;
            others.extend(statement.query_row(params![other.as_bytes(), directory], Known::read).optional()?);
        }
        others.iter().try_for_each(|known| self.end(known, State::Gone, record.received_ms))
    }

    /// Ends the file at `path`: it is not there any more. Whether it was, by the catalogue.
    pub(crate) fn end_path(&mut self, path: &Path, state: State, at_ms: i64) -> Result<bool> {
        match find(self.db, path)? {
            Some(known) if known.state == State::Present => self.end(&known, state, at_ms).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Forgets that a file is about to be removed. Whether it was: a node may have ended between the removal and its note.
    pub(crate) fn stop_releasing(&mut self, instance: i64) -> Result<bool> {
        Ok(self.db.prepare_cached("DELETE FROM releasing WHERE instance = ?1")?.execute([instance])? > 0)
    }

    fn end(&mut self, known: &Known, state: State, at_ms: i64) -> Result<()> {
        let state = if self.stop_releasing(known.id)? { State::Released } else { state };
        let sql = "UPDATE instance SET state = ?2, ended_ms = ?3 WHERE id = ?1";
        self.db.prepare_cached(sql)?.execute((known.id, state.number(), at_ms))?;
        self.take_away(known);
        self.series.entry(known.series).or_default().gone += 1;
        if !self.duties.are_used()? {
            return Ok(());
        }
        let item = self.item(known)?;
        if state == State::Released { self.duties.absolve(item) } else { self.duties.bury(item, at_ms) }
    }

    /// The change of the bytes of all files that are there.
    pub(crate) fn more_bytes(&self) -> i64 {
        self.series.values().map(|change| change.bytes).sum()
    }

    /// New content has come.
    fn follow(&mut self, record: &Record, ids: &RecordIds) {
        let (of, since_ms) = ((ids.study, ids.series), self.followed_since_ms);
        self.news.add(record, of, self.following, since_ms, self.reports);
    }

    /// Completes what is due.
    pub(crate) fn complete(&mut self, now_ms: i64, most: u32, circumstances: &Circumstances<'_>) -> Result<Completed> {
        due::complete(self.db, &mut self.outbox, self.following, (now_ms, most), circumstances)
    }

    /// Writes the sums. Also whether events that are owed have changed.
    pub(crate) fn finish(self) -> Result<(Entered, bool)> {
        let Self { db, series, studies, sources, duties, news, mut outbox, entered, .. } = self;
        let delivered = duties.finish()?;
        let sql = "UPDATE series SET instances = instances + ?2, bytes = bytes + ?3, gone = gone + ?4,
            first_ms = min(first_ms, ifnull(?5, first_ms)), last_ms = max(last_ms, ifnull(?6, last_ms)) WHERE id = ?1";
        for (id, Change { instances, bytes, gone, times }) in series {
            let (first_ms, last_ms) = (times.map(|times| times.first_ms), times.map(|times| times.last_ms));
            db.prepare_cached(sql)?.execute((id, instances, bytes, gone, first_ms, last_ms))?;
        }
        let sql = "UPDATE study SET first_ms = min(first_ms, ?2), last_ms = max(last_ms, ?3) WHERE id = ?1";
        for (id, Times { first_ms, last_ms }) in studies {
            db.prepare_cached(sql)?.execute((id, first_ms, last_ms))?;
        }
        let sql = "INSERT OR IGNORE INTO study_source (study, source) VALUES (?1, ?2)";
        for (study, source) in sources {
            db.prepare_cached(sql)?.execute((study, source))?;
        }
        if !news.is_empty() {
            news.finish(db, &mut outbox)?;
        }
        for (destination, study) in delivered {
            deliveries::tell(db, &mut outbox, destination, study, outbox::now_ms(db)?)?;
        }
        Ok((entered, outbox.has_changed))
    }
}

/// The row of the file at a path that is there, or was last.
pub(crate) fn find(db: &Connection, path: &Path) -> Result<Option<Known>> {
    let Some(place) = Place::of(path) else { return Ok(None) };
    let Some(directory) = find_directory(db, place.directory)? else { return Ok(None) };
    let by_uid = |uid: PackedUid| {
        let sql = known!("WHERE uid = ?1 AND directory = ?2 AND name = ''");
        db.prepare_cached(sql)?.query_row(params![uid.as_bytes(), directory], Known::read).optional()
    };
    let by_uid = place.uid().map_or(Ok(None), by_uid)?;
    if by_uid.as_ref().is_some_and(|known| known.state == State::Present) {
        return Ok(by_uid);
    }
    let sql = known!("WHERE directory = ?1 AND name = ?2 AND name <> '' ORDER BY state, id DESC LIMIT 1");
    let by_name = db.prepare_cached(sql)?.query_row(params![directory, Bytes(place.name)], Known::read).optional()?;
    Ok(match (by_name, by_uid) {
        (Some(named), Some(_)) if named.state == State::Present => Some(named),
        (named, by_uid) => by_uid.or(named),
    })
}

/// The SOP Instance UID of a row.
pub(crate) fn uid_of(db: &Connection, id: i64) -> Result<Option<PackedUid>> {
    let sql = "SELECT uid FROM instance WHERE id = ?1";
    let uid = db
        .prepare_cached(sql)?
        .query_row([id], |row| Ok(PackedUid::from_bytes(row.get_ref(0)?.as_bytes()?)))
        .optional()?;
    Ok(uid.and_then(std::result::Result::ok))
}

/// Bytes as a column holds them.
pub(crate) fn clamped(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
