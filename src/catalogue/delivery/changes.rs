//! What operators do to deliveries, in bounded steps.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use tidegate_database::{Error, PackedUid};

use super::duties::Item;
use super::{DeliveryState, Slot};
use crate::batch::Batch;
use crate::catalogue::Catalogue;
use crate::ids::destination_id;
use crate::record::kept;

/// Rows that a step looks at.
const STEP_ROWS: usize = 1024;

/// What is done to deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Instances that are there are owed which the destination is not owed and has not had; dropped ones, too. Those whose study or SOP Instance UID
    /// is chosen are owed again even if it has had them.
    Add,
    /// Failed ones wait again, with no attempts behind them, owed since when they were; the commitment of sent ones is asked for at once.
    Retry,
    /// They are not owed any more.
    Drop,
}

/// Which deliveries are meant: those that meet all criteria.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Of the study with this Study Instance UID.
    pub study_uid: Option<String>,
    /// Of this SOP Instance UID.
    pub sop_instance_uid: Option<PackedUid>,
    /// Of instances received at this time or later, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Of instances received before this time.
    pub before_ms: Option<i64>,
    /// Only dead ones. It means nothing to [`Change::Add`].
    pub is_dead: bool,
}

/// How far a change has come. The default is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeProgress {
    /// Deliveries changed so far.
    pub changed: u64,
    /// Whether it has come to its end.
    pub is_done: bool,
    state: usize,
    after: [i64; 4],
}

/// A row that a step looks at.
struct Seen {
    slot: Slot,
    bytes: i64,
    received_ms: i64,
    uid: Option<PackedUid>,
}

impl Seen {
    fn read(row: &Row<'_>) -> Result<Self> {
        let slot = Slot { study: row.get(0)?, series: row.get(1)?, number: row.get(2)?, instance: row.get(3)? };
        let uid = PackedUid::from_bytes(row.get_ref(6)?.as_bytes()?).ok();
        Ok(Self { slot, bytes: row.get(4)?, received_ms: row.get(5)?, uid })
    }

    fn item(&self) -> Item {
        Item { slot: self.slot, bytes: self.bytes }
    }
}

impl Choice {
    fn means(&self, seen: &Seen) -> bool {
        self.since_ms.is_none_or(|since_ms| seen.received_ms >= since_ms)
            && self.before_ms.is_none_or(|before_ms| seen.received_ms < before_ms)
            && (self.sop_instance_uid.is_none() || self.sop_instance_uid == seen.uid)
    }

    /// The number of the study; `Some(None)`: any. `None`: there is no such study.
    fn study(&self, db: &Connection) -> Result<Option<Option<i64>>> {
        let Some(uid) = &self.study_uid else { return Ok(Some(None)) };
        let sql = "SELECT id FROM study WHERE uid = ?1";
        let id =
            db.prepare_cached(sql)?.query_row([kept(Some(uid)).unwrap_or_default()], |row| row.get(0)).optional()?;
        Ok(id.map(Some))
    }
}

impl Catalogue {
    /// Pauses the destination, or lets it continue. It stays so over restarts.
    ///
    /// # Errors
    /// Any of a transaction.
    pub fn pause(&mut self, destination: &str, is_paused: bool) -> std::result::Result<(), Error> {
        let sql = "UPDATE destination SET paused = ?2 WHERE id = ?1";
        self.transact(|batch| {
            let id = destination_id(batch.db(), destination)?;
            batch.db().prepare_cached(sql)?.execute((id, is_paused))
        })?;
        self.note_change();
        Ok(())
    }

    /// Does a bounded part of a change of the deliveries to a destination, in one transaction. It is called until `progress` is at its end.
    ///
    /// # Errors
    /// Any of a transaction; the part may be repeated.
    pub fn change_deliveries(
        &mut self,
        destination: &str,
        change: Change,
        choice: &Choice,
        progress: &mut ChangeProgress,
        at_ms: i64,
    ) -> std::result::Result<(), Error> {
        let begun = *progress;
        let (done, _) = self.transact(|batch| {
            let mut progress = begun;
            let Some(study) = choice.study(batch.db())? else {
                return Ok(ChangeProgress { is_done: true, ..progress });
            };
            let step = Step { destination: destination_id(batch.db(), destination)?, study, choice, at_ms };
            match change {
                Change::Add => step.add(batch, &mut progress)?,
                Change::Retry => step.retry_or_drop(batch, &mut progress, true)?,
                Change::Drop => step.retry_or_drop(batch, &mut progress, false)?,
            }
            Ok(progress)
        })?;
        *progress = done;
        Ok(())
    }
}

/// A step of a change.
struct Step<'a> {
    destination: i64,
    study: Option<i64>,
    choice: &'a Choice,
    at_ms: i64,
}

impl Step<'_> {
    /// The states whose rows are looked at.
    fn states(&self, is_retry: bool) -> &'static [DeliveryState] {
        match (self.choice.is_dead, is_retry) {
            (true, _) => &[DeliveryState::Dead],
            (false, true) => &[DeliveryState::Retrying, DeliveryState::Dead, DeliveryState::Sent],
            (false, false) => &DeliveryState::ALL,
        }
    }

    fn retry_or_drop(&self, batch: &mut Batch<'_>, progress: &mut ChangeProgress, is_retry: bool) -> Result<()> {
        let Some(state) = self.states(is_retry).get(progress.state).copied() else {
            progress.is_done = true;
            return Ok(());
        };
        let rows = self.rows(batch.db(), state, progress.after)?;
        match rows.last() {
            Some(Seen { slot: Slot { study, series, number, instance }, .. }) if rows.len() == STEP_ROWS => {
                progress.after = [*study, *series, *number, *instance];
            }
            _ => (progress.state, progress.after) = (progress.state + 1, [0; 4]),
        }
        for seen in rows.iter().filter(|seen| self.choice.means(seen)) {
            let (item, instance) = (seen.item(), seen.slot.instance);
            if is_retry && state == DeliveryState::Sent {
                self.ask_at_once(batch.db(), seen.slot)?;
                batch.duties.note_change();
                progress.changed += 1;
                continue;
            }
            if is_retry {
                // Without its file it would only die again.
                let sql = "SELECT state = 0 FROM instance WHERE id = ?1";
                if !batch.db().prepare_cached(sql)?.query_row([instance], |row| row.get(0))? {
                    continue;
                }
            }
            if is_retry {
                batch.duties.retry(self.destination, item, state)?;
            } else {
                batch.duties.remove(self.destination, item, state)?;
                let sql = "INSERT OR REPLACE INTO delivered (instance, destination, at_ms, status, why)
                    VALUES (?1, ?2, ?3, NULL, 'dropped')";
                batch.db().prepare_cached(sql)?.execute((instance, self.destination, self.at_ms))?;
            }
            progress.changed += 1;
        }
        Ok(())
    }

    /// The commitment of what was sent is due.
    fn ask_at_once(&self, db: &Connection, Slot { study, series, number, instance }: Slot) -> Result<()> {
        let sql = "UPDATE delivery SET due_ms = ?6
            WHERE destination = ?1 AND state = 3 AND study = ?2 AND series = ?3 AND number = ?4 AND instance = ?5";
        let row = params![self.destination, study, series, number, instance, self.at_ms];
        db.prepare_cached(sql)?.execute(row).map(drop)
    }

    /// The next rows in that state.
    fn rows(&self, db: &Connection, state: DeliveryState, after: [i64; 4]) -> Result<Vec<Seen>> {
        let sql = "SELECT delivery.study, delivery.series, delivery.number, delivery.instance, bytes, received_ms, uid
            FROM delivery CROSS JOIN instance ON instance.id = delivery.instance
            WHERE delivery.destination = ?1 AND delivery.state = ?2 AND delivery.study BETWEEN ?3 AND ?4
                AND (delivery.study, delivery.series, delivery.number, delivery.instance) > (?5, ?6, ?7, ?8)
            ORDER BY delivery.study, delivery.series, delivery.number, delivery.instance LIMIT ?9";
        let [study, series, number, instance] = after;
        // Numbers of instances may be negative, and rows have numbers above 0.
        let (first, last) = self.study.map_or((study, i64::MAX), |study| (study, study));
        let mut statement = db.prepare_cached(sql)?;
        let limit = STEP_ROWS as i64;
        let row = params![self.destination, state.number(), first, last, study, series, number, instance, limit];
        let rows = statement.query_map(row, Seen::read)?;
        rows.collect()
    }

    fn add(&self, batch: &mut Batch<'_>, progress: &mut ChangeProgress) -> Result<()> {
        let rows = self.present(batch.db(), progress)?;
        // An archive that has lost a study gets it again; a span of time only adds what is wanting.
        let is_named = self.choice.study_uid.is_some() || self.choice.sop_instance_uid.is_some();
        for seen in rows.iter().filter(|seen| self.choice.means(seen)) {
            batch.duties.disown(self.destination, seen.item(), is_named)?;
            progress.changed += batch.duties.owe(&[self.destination], seen.item(), self.at_ms)?;
        }
        Ok(())
    }

    /// The next files that are there: of the series behind the last one, or the rest of that.
    fn present(&self, db: &Connection, progress: &mut ChangeProgress) -> Result<Vec<Seen>> {
        let of_any = "SELECT id FROM series WHERE id > ?1 AND last_ms >= ?2 ORDER BY id LIMIT 1";
        let of_study = "SELECT id FROM series WHERE id > ?1 AND last_ms >= ?2 AND study = ?3 ORDER BY id LIMIT 1";
        let sql = "SELECT series.study, series.id, ifnull(instance.number, 0), instance.id, instance.bytes, received_ms, instance.uid
            FROM instance CROSS JOIN series ON series.id = instance.series
            WHERE instance.series = ?1 AND instance.id > ?2 AND instance.state = 0 ORDER BY instance.id LIMIT ?3";
        let since_ms = self.choice.since_ms.unwrap_or(i64::MIN);
        let [_, mut series, _, mut instance] = progress.after;
        let (mut seen, mut looks) = (Vec::new(), 0);
        while seen.len() < STEP_ROWS && looks < STEP_ROWS {
            looks += 1;
            let mut statement = db.prepare_cached(sql)?;
            let before = seen.len();
            for row in statement.query_map((series, instance, (STEP_ROWS - before) as i64), Seen::read)? {
                seen.push(row?);
            }
            if seen.len() > before {
                instance = seen.last().map_or(instance, |seen: &Seen| seen.slot.instance);
                continue;
            }
            let next = match self.study {
                Some(study) => db.prepare_cached(of_study)?.query_row((series, since_ms, study), |row| row.get(0)),
                None => db.prepare_cached(of_any)?.query_row((series, since_ms), |row| row.get(0)),
            };
            let Some(next) = next.optional()? else {
                progress.is_done = true;
                break;
            };
            (series, instance) = (next, 0);
        }
        progress.after = [0, series, 0, instance];
        Ok(seen)
    }
}
