//! What the writer does about completeness and events.

use crate::catalogue::Catalogue;
use crate::completeness::asking::{self, Answer};
use crate::completeness::due::{Circumstances, Completed};
use crate::completeness::{Following, due};
use crate::events::SinkRow;
use crate::events::{EventChange, notes};
use crate::open::DESIGN;
use crate::reader::events::sinks;
use tidegate_database::Error;

impl Catalogue {
    /// Says what is followed from now on. A sink that is not there any more keeps what it is owed.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn follow(&mut self, following: Following) -> Result<(), Error> {
        let names: Vec<String> = following.sinks.iter().map(|sink| sink.sink.clone()).collect();
        self.set_following(following);
        self.transact(|batch| {
            names.iter().try_for_each(|name| crate::events::outbox::row_of(batch.db(), name).map(drop))
        })?;
        self.note_event_change();
        Ok(())
    }

    /// The sinks, by name.
    ///
    /// # Errors
    /// Those of a question.
    pub fn sinks(&self) -> Result<Vec<SinkRow>, Error> {
        sinks(self.connection()).map_err(DESIGN.sqlite(self.path()))
    }

    /// When the next study or series is due, in milliseconds since 1970; `None`: none will be without an arrival or a [`release`](Self::release).
    ///
    /// # Errors
    /// Those of a question.
    pub fn next_due_ms(&self) -> Result<Option<i64>, Error> {
        due::next(self.connection()).map_err(DESIGN.sqlite(self.path()))
    }

    /// Completes studies and series that are due, at most `most` in a call and the open series of the studies, in one transaction with their events. One of
    /// whose study somebody is sending is held instead, one that seems to lack something waits, and one whose source may be asked is asked first.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn complete(&mut self, now_ms: i64, most: u32, circumstances: &Circumstances<'_>) -> Result<Completed, Error> {
        let (done, _) = self.transact(|batch| batch.complete(now_ms, most, circumstances))?;
        Ok(done)
    }

    /// Enters what came of questions to sources. The studies are due; one that has had new content since its question waits on.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn answer(&mut self, answers: &[Answer], now_ms: i64) -> Result<(), Error> {
        self.transact(|batch| answers.iter().try_for_each(|answer| asking::answer(batch.db(), answer, now_ms)))
            .map(drop)
    }

    /// Nobody is sending of these studies any more: what was held of them is due.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn release(&mut self, study_uids: &[String], now_ms: i64) -> Result<(), Error> {
        // Most associations end with nothing held: they cost a look, and no transaction.
        let is_held = |uid: &&String| due::is_held(self.connection(), uid).map_err(DESIGN.sqlite(self.path()));
        let held = study_uids.iter().map(|uid| is_held(&uid).map(|is_held| is_held.then_some(uid)));
        let held: Vec<&String> = held.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        if held.is_empty() {
            return Ok(());
        }
        self.transact(|batch| held.iter().try_for_each(|uid| due::release(batch.db(), uid, now_ms)))?;
        Ok(())
    }

    /// Nobody is sending of any study: what was held is due. After a start, and if it is not known who has ended. Questions from before `since_ms`, when this
    /// process began to ask, are asked again.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn release_all(&mut self, now_ms: i64, since_ms: i64) -> Result<(), Error> {
        self.transact(|batch| due::release_all(batch.db(), batch.following, now_ms, since_ms)).map(drop)
    }

    /// Changes events that are owed to the sink of that name, a bounded part of them: those from behind `after`, only dead ones or only one. How many,
    /// and from where to continue; `None`: it is done.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn change_events(
        &mut self,
        sink: &str,
        change: EventChange,
        which: (bool, Option<i64>),
        after: i64,
    ) -> Result<(u64, Option<i64>), Error> {
        let (changed, _) = self.transact(|batch| {
            let sink = crate::events::outbox::row_of(batch.db(), sink)?;
            notes::change(batch.db(), sink, change, which, after)
        })?;
        self.note_event_change();
        Ok(changed)
    }
}
