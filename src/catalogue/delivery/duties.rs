//! The rows of deliveries within a transaction, and their sums, which are written once at its end.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, Result, params};

use super::{DeliveryState, FILE_IS_GONE, Slot, Sums};

/// The deliveries of one transaction.
pub(crate) struct Duties<'a> {
    db: &'a Connection,
    /// By destination and study.
    changes: HashMap<(i64, i64), Change>,
    /// It is needed once for each delivery.
    insertion: Option<CachedStatement<'a>>,
    /// Whether there are destinations; `None`: nobody has looked.
    is_used: Option<bool>,
    /// A delivery has changed, and no sum.
    has_changed: bool,
}

/// The change of the sums of a study at a destination.
#[derive(Default)]
struct Change {
    sums: Sums,
    /// The earliest of the deliveries that were added.
    since_ms: Option<i64>,
}

/// A delivery of an instance.
struct Known {
    destination: i64,
    state: DeliveryState,
    owed_ms: i64,
    /// It is dead since its file is gone.
    is_gone: bool,
}

/// An instance, as far as its deliveries are concerned.
#[derive(Clone, Copy)]
pub(crate) struct Item {
    pub(crate) slot: Slot,
    /// Of its file.
    pub(crate) bytes: i64,
}

impl<'a> Duties<'a> {
    pub(crate) fn new(db: &'a Connection) -> Self {
        Self { db, changes: HashMap::new(), insertion: None, is_used: None, has_changed: false }
    }

    /// Whether any delivery was added or changed.
    pub(crate) fn have_changed(&self) -> bool {
        self.has_changed || !self.changes.is_empty()
    }

    /// A delivery has changed, and no sum.
    pub(super) fn note_change(&mut self) {
        self.has_changed = true;
    }

    /// Whether anything may be owed.
    pub(crate) fn are_used(&mut self) -> Result<bool> {
        let ask = || {
            let sql = "SELECT EXISTS (SELECT 1 FROM destination)";
            self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))
        };
        let is_used = self.is_used.map_or_else(ask, Ok)?;
        self.is_used = Some(is_used);
        Ok(is_used)
    }

    /// Counts a delivery that has come to that state, owed since then.
    pub(super) fn put(&mut self, destination: i64, item: Item, state: DeliveryState, owed_ms: i64) {
        self.count(destination, item, state, 1);
        if state.waits() {
            let since_ms = &mut self.changes.entry((destination, item.slot.study)).or_default().since_ms;
            *since_ms = Some(since_ms.map_or(owed_ms, |since_ms| since_ms.min(owed_ms)));
        }
    }

    /// Counts a delivery that has left that state.
    pub(super) fn take(&mut self, destination: i64, item: Item, state: DeliveryState) {
        self.count(destination, item, state, -1);
    }

    fn count(&mut self, destination: i64, item: Item, state: DeliveryState, by: i64) {
        let Sums { waiting, waiting_bytes, retrying, sent, dead, .. } =
            &mut self.changes.entry((destination, item.slot.study)).or_default().sums;
        match state {
            DeliveryState::Waiting => *waiting += by,
            DeliveryState::Retrying => *retrying += by,
            DeliveryState::Dead => *dead += by,
            DeliveryState::Sent => *sent += by,
        }
        if state.waits() {
            *waiting_bytes += by * item.bytes;
        }
    }

    pub(super) fn count_delivered(&mut self, destination: i64, study: i64, by: i64) {
        self.changes.entry((destination, study)).or_default().sums.delivered += by;
    }

    /// An instance waits for each of the destinations, none of which knows it.
    pub(crate) fn add(&mut self, destinations: &[i64], item: Item, owed_ms: i64) -> Result<()> {
        let sql = "INSERT INTO delivery (destination, state, study, series, number, instance, owed_ms)
            VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6)";
        let Slot { study, series, number, instance } = item.slot;
        for destination in destinations {
            let insertion = match &mut self.insertion {
                Some(insertion) => insertion,
                none => none.insert(self.db.prepare_cached(sql)?),
            };
            insertion.execute((destination, study, series, number, instance, owed_ms))?;
            self.put(*destination, item, DeliveryState::Waiting, owed_ms);
            self.is_used = Some(true);
        }
        Ok(())
    }

    /// The deliveries that an instance owes. Looked up by their keys: a destination has few names, and a delivery four states.
    fn of(&self, slot: Slot) -> Result<Vec<Known>> {
        let sql = "SELECT destination, state, owed_ms, ifnull(why, '') = ?5 FROM delivery
            WHERE destination IN (SELECT id FROM destination) AND state IN (0, 1, 2, 3)
                AND study = ?1 AND series = ?2 AND number = ?3 AND instance = ?4";
        let mut statement = self.db.prepare_cached(sql)?;
        let Slot { study, series, number, instance } = slot;
        let known = statement.query_map(params![study, series, number, instance, FILE_IS_GONE], |row| {
            let state = DeliveryState::of(row.get(1)?);
            let is_gone = row.get::<_, bool>(3)? && state == DeliveryState::Dead;
            Ok(Known { destination: row.get(0)?, state, owed_ms: row.get(2)?, is_gone })
        })?;
        known.collect()
    }

    /// Whether an instance was delivered to a destination at least, and owes nothing: not even what is dead.
    pub(crate) fn are_done(&self, slot: Slot) -> Result<bool> {
        Ok(self.of(slot)?.is_empty() && self.had(slot.instance)?.iter().any(|(_, is_dropped)| !is_dropped))
    }

    /// The destinations that have had an instance; and whether an operator has dropped it for them.
    fn had(&self, instance: i64) -> Result<Vec<(i64, bool)>> {
        let sql = "SELECT destination, status IS NULL FROM delivered WHERE instance = ?1";
        let mut statement = self.db.prepare_cached(sql)?;
        let had = statement.query_map([instance], |row| Ok((row.get(0)?, row.get(1)?)))?;
        had.collect()
    }

    /// A known instance with the same content came again: it is owed to those of the destinations that it neither owes nor has had, and what was
    /// dead for the lack of its file waits again. How many deliveries it owes more.
    pub(crate) fn owe(&mut self, destinations: &[i64], item: Item, owed_ms: i64) -> Result<u64> {
        let mut added = 0;
        let known = self.of(item.slot)?;
        for Known { destination, .. } in known.iter().filter(|known| known.is_gone) {
            self.remove(*destination, item, DeliveryState::Dead)?;
            self.add(&[*destination], item, owed_ms)?;
            added += 1;
        }
        let had = if destinations.is_empty() { Vec::new() } else { self.had(item.slot.instance)? };
        for destination in destinations {
            let is_owed = known.iter().any(|known| known.destination == *destination);
            let was_had = had.iter().any(|(had, _)| had == destination);
            if !is_owed && !was_had {
                self.add(&[*destination], item, owed_ms)?;
                added += 1;
            }
        }
        Ok(added)
    }

    /// A destination has not had the instance after all: what was dropped, and with `is_delivered` what was delivered.
    pub(super) fn disown(&mut self, destination: i64, item: Item, is_delivered: bool) -> Result<()> {
        let instance = item.slot.instance;
        let had = self.had(instance)?.into_iter().find(|(had, _)| *had == destination);
        let Some((_, is_dropped)) = had.filter(|(_, is_dropped)| *is_dropped || is_delivered) else { return Ok(()) };
        let sql = "DELETE FROM delivered WHERE instance = ?1 AND destination = ?2";
        self.db.prepare_cached(sql)?.execute((instance, destination))?;
        self.count_delivered(destination, item.slot.study, -i64::from(!is_dropped));
        Ok(())
    }

    /// A file has other content: it is owed anew to the destinations, and to those that it owed the former content.
    pub(crate) fn owe_anew(&mut self, destinations: &[i64], former: Item, item: Item, owed_ms: i64) -> Result<()> {
        let mut destinations = destinations.to_vec();
        for Known { destination, state, .. } in self.of(former.slot)? {
            self.remove(destination, former, state)?;
            if !destinations.contains(&destination) {
                destinations.push(destination);
            }
        }
        for (destination, is_dropped) in self.had(former.slot.instance)? {
            self.count_delivered(destination, former.slot.study, -i64::from(!is_dropped));
        }
        self.db.prepare_cached("DELETE FROM delivered WHERE instance = ?1")?.execute([former.slot.instance])?;
        self.add(&destinations, item, owed_ms)
    }

    /// The place of an instance has changed, and its content has not.
    pub(crate) fn relocate(&mut self, former: Item, item: Item) -> Result<()> {
        let sql = "UPDATE delivery SET study = ?3, series = ?4, number = ?5
            WHERE destination = ?1 AND state = ?2 AND study = ?6 AND series = ?7 AND number = ?8 AND instance = ?9";
        let (from, to) = (former.slot, item.slot);
        for Known { destination, state, owed_ms, .. } in self.of(from)? {
            self.db.prepare_cached(sql)?.execute(params![
                destination,
                state.number(),
                to.study,
                to.series,
                to.number,
                from.study,
                from.series,
                from.number,
                from.instance
            ])?;
            self.take(destination, former, state);
            self.put(destination, item, state, owed_ms);
        }
        for (destination, is_dropped) in self.had(from.instance)? {
            self.count_delivered(destination, from.study, -i64::from(!is_dropped));
            self.count_delivered(destination, to.study, i64::from(!is_dropped));
        }
        Ok(())
    }

    /// The file of an instance is gone: what it owes is dead, apart from what was sent.
    pub(crate) fn bury(&mut self, item: Item, at_ms: i64) -> Result<()> {
        let sql = "UPDATE delivery SET state = 2, last_ms = ?7, status = NULL, why = ?8
            WHERE destination = ?1 AND state = ?2 AND study = ?3 AND series = ?4 AND number = ?5 AND instance = ?6";
        let Slot { study, series, number, instance } = item.slot;
        for Known { destination, state, owed_ms, .. } in self.of(item.slot)? {
            if !state.waits() {
                continue; // what is dead keeps its own reason, and the destination may have what it was sent
            }
            let row = params![destination, state.number(), study, series, number, instance, at_ms, FILE_IS_GONE];
            self.db.prepare_cached(sql)?.execute(row)?;
            self.take(destination, item, state);
            self.put(destination, item, DeliveryState::Dead, owed_ms);
        }
        Ok(())
    }

    /// An instance owes nothing any more.
    pub(crate) fn absolve(&mut self, item: Item) -> Result<()> {
        self.of(item.slot)?.into_iter().try_for_each(|known| self.remove(known.destination, item, known.state))
    }

    /// A delivery that has failed waits again. Since when it is owed, and what failed last, stays with it.
    pub(super) fn retry(&mut self, destination: i64, item: Item, state: DeliveryState) -> Result<()> {
        let sql = "UPDATE delivery SET state = 0, attempts = 0, due_ms = 0
            WHERE destination = ?1 AND state = ?2 AND study = ?3 AND series = ?4 AND number = ?5 AND instance = ?6
            RETURNING owed_ms";
        let Slot { study, series, number, instance } = item.slot;
        let row = (destination, state.number(), study, series, number, instance);
        let owed_ms = self.db.prepare_cached(sql)?.query_row(row, |row| row.get(0))?;
        self.take(destination, item, state);
        self.put(destination, item, DeliveryState::Waiting, owed_ms);
        Ok(())
    }

    /// Removes the row of a delivery.
    pub(super) fn remove(&mut self, destination: i64, item: Item, state: DeliveryState) -> Result<()> {
        let sql = "DELETE FROM delivery
            WHERE destination = ?1 AND state = ?2 AND study = ?3 AND series = ?4 AND number = ?5 AND instance = ?6";
        let Slot { study, series, number, instance } = item.slot;
        self.db.prepare_cached(sql)?.execute((destination, state.number(), study, series, number, instance))?;
        self.take(destination, item, state);
        Ok(())
    }

    /// Writes the sums. The destinations and studies whose deliveries have changed.
    pub(crate) fn finish(self) -> Result<Vec<(i64, i64)>> {
        let of_study = "INSERT INTO study_destination AS s
                (study, destination, waiting, waiting_bytes, retrying, dead, delivered, since_ms, sent)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, iif(?3 + ?5 > 0, ?8, NULL), ?9)
            ON CONFLICT (study, destination) DO UPDATE SET
                waiting = waiting + ?3, waiting_bytes = waiting_bytes + ?4, retrying = retrying + ?5, dead = dead + ?6,
                delivered = delivered + ?7, sent = sent + ?9, since_ms = iif(s.waiting + s.retrying + ?3 + ?5 > 0, ifnull(since_ms, ?8), NULL)";
        let of_all = "UPDATE destination SET waiting = waiting + ?2, waiting_bytes = waiting_bytes + ?3, retrying = retrying + ?4,
            dead = dead + ?5, delivered = delivered + ?6, sent = sent + ?7 WHERE id = ?1";
        let mut totals: HashMap<i64, Sums> = HashMap::new();
        let changed = self.changes.keys().copied().collect();
        for ((destination, study), Change { sums, since_ms }) in self.changes {
            let Sums { waiting, waiting_bytes, retrying, sent, dead, delivered } = sums;
            let row = params![study, destination, waiting, waiting_bytes, retrying, dead, delivered, since_ms, sent];
            self.db.prepare_cached(of_study)?.execute(row)?;
            let total = totals.entry(destination).or_default();
            total.waiting += waiting;
            total.waiting_bytes += waiting_bytes;
            total.retrying += retrying;
            total.sent += sent;
            total.dead += dead;
            total.delivered += delivered;
        }
        for (destination, Sums { waiting, waiting_bytes, retrying, sent, dead, delivered }) in totals {
            let row = params![destination, waiting, waiting_bytes, retrying, dead, delivered, sent];
            self.db.prepare_cached(of_all)?.execute(row)?;
        }
        Ok(changed)
    }
}
