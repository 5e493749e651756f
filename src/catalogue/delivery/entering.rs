//! What the entering of a file makes of its deliveries.

use rusqlite::Result;

use super::duties::Item;
use super::{DeliveryNote, Slot, notes};
use crate::batch::{Batch, Known, clamped, find};
use crate::catalogue::Again;
use crate::ids::RecordIds;
use crate::record::{Record, Reports, State};

impl Batch<'_> {
    /// When what is owed now is owed since. What was read from the disk may have been received long ago.
    fn owed_ms(&self, record: &Record) -> i64 {
        match self.reports {
            Reports::Late => record.received_ms,
            Reports::Current { at_ms } => at_ms,
        }
    }

    /// A file that was not known owes a delivery to each destination of its origin.
    pub(crate) fn owe_first(&mut self, record: &Record, ids: &RecordIds) -> Result<()> {
        let Some(arrival) = ids.arrival.as_ref().filter(|arrival| !arrival.destinations.is_empty()) else {
            return Ok(());
        };
        let slot = slot(self.db.last_insert_rowid(), ids.study, ids.series, record.instance_number);
        let (item, owed_ms) = (Item { slot, bytes: clamped(record.bytes) }, self.owed_ms(record));
        self.duties.add(&arrival.destinations, item, owed_ms)
    }

    /// A known file came again. `known` is what its row has so far.
    pub(crate) fn owe_again(
        &mut self,
        record: &Record,
        ids: &RecordIds,
        known: &Known,
        is_same_content: bool,
    ) -> Result<()> {
        let is_as_known = (known.series, known.number) == (ids.series, record.instance_number);
        let is_settled = known.state == State::Present && is_same_content && is_as_known;
        let arrival = ids.arrival.as_ref().filter(|arrival| {
            // A file that was entered with its sender owes what that said, and the rules of today say nothing about what is known.
            let is_assumed = record.origin.as_ref().is_some_and(|origin| origin.is_assumed());
            let is_known = is_settled && known.arrival == Some(arrival.id) || is_assumed && is_same_content;
            !arrival.destinations.is_empty() && !is_known
        });
        if is_settled && arrival.is_none() {
            return Ok(());
        }
        let destinations = arrival.map_or(&[][..], |arrival| &arrival.destinations);
        let owed_ms = self.owed_ms(record);
        let slot = slot(known.id, ids.study, ids.series, record.instance_number);
        let (former, item) = (self.item(known)?, Item { slot, bytes: clamped(record.bytes) });
        if !is_same_content {
            return self.duties.owe_anew(destinations, former, item, owed_ms);
        }
        if former.slot != item.slot {
            self.duties.relocate(former, item)?;
        }
        self.duties.owe(destinations, item, owed_ms).map(drop)
    }

    /// A known file, as far as deliveries are concerned.
    pub(crate) fn item(&self, known: &Known) -> Result<Item> {
        let sql = "SELECT study FROM series WHERE id = ?1";
        let study = self.db.prepare_cached(sql)?.query_row([known.series], |row| row.get(0))?;
        Ok(Item { slot: slot(known.id, study, known.series, known.number), bytes: clamped(known.bytes) })
    }

    /// A file came again: it is owed to the destinations of its sender that it neither owes nor has had.
    pub(crate) fn come_again(&mut self, again: &Again) -> Result<()> {
        let destinations = self.ids.destinations(self.db, &again.origin)?;
        if destinations.is_empty() {
            return Ok(());
        }
        match find(self.db, &again.path)? {
            Some(known) if known.state == State::Present => {
                let item = self.item(&known)?;
                self.duties.owe(&destinations, item, again.at_ms).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Notes outcomes of deliveries. How many were about deliveries that are as they were.
    pub(crate) fn note(&mut self, notes: &[&DeliveryNote]) -> Result<u64> {
        if notes.is_empty() {
            return Ok(0);
        }
        let generation = notes::generation(self.db)?;
        let mut noted = 0;
        for note in notes.iter().filter(|note| note.generation == generation) {
            noted += u64::from(notes::enter(&mut self.duties, self.db, note)?);
        }
        Ok(noted)
    }
}

fn slot(instance: i64, study: i64, series: i64, number: Option<i64>) -> Slot {
    Slot { study, series, number: number.unwrap_or(0), instance }
}
