//! What becomes of a request: its evaluation, the attempts to report it, and an operator's retry.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tidegate_database::Error;

use crate::named;
use crate::request::{FailureReason, Outcome, Request, State, Summary};
use crate::requests::Requests;
use crate::rows::{self, outcome_number, outcome_of, requests, weight};
use crate::schedule::{HINDERED_WAIT, LONGEST_WAIT, ms, tried_ms, wait_ms};

/// Bytes that are kept of a comment.
const MAX_COMMENT_BYTES: usize = 1024;

/// What came of an attempt to report a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt<'a> {
    /// The peer has taken the report.
    Reported,
    /// It has not.
    Failed {
        /// The status that it answered with.
        status: Option<u16>,
        /// Why, for people.
        why: &'a str,
    },
    /// None can be made until the peer comes itself: see [`Requests::hasten`].
    Impossible {
        /// Why, for people.
        why: &'a str,
    },
    /// This node could not report at the moment, whatever the peer would have done. It is tried again after [`HINDERED_WAIT`].
    Hindered {
        /// Why, for people.
        why: &'a str,
    },
}

/// How a request stands after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It is reported.
    Reported,
    /// It is tried again then.
    Again {
        /// Milliseconds since 1970.
        at_ms: i64,
    },
    /// It was tried for `retry_for`, and is given up.
    GivenUp,
    /// There is no request with that id that waits for a report. Nothing was changed.
    Unknown,
}

/// What [`Requests::retry`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It had ended, and is pending again from its beginning.
    PutBack,
    /// It was pending, and is due now, with as much time as a new one.
    WasPending,
    /// There is no such request.
    Unknown,
}

impl Requests {
    /// Notes outcomes of a pending request, by position; `None`: it is not known any more. Those that are not named stay as they are.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn record_outcomes(
        &mut self,
        id: i64,
        outcomes: &[(u32, impl Into<Option<Outcome>> + Copy)],
    ) -> Result<(), Error> {
        // Before each report, most are as they were.
        let sql = "UPDATE reference SET outcome = ?3 WHERE request = ?1 AND position = ?2 AND outcome IS NOT ?3";
        self.file.transact_unsynced(|db| {
            if pending(db, id)?.is_none() {
                return Ok(());
            }
            let mut statement = db.prepare_cached(sql)?;
            for (position, outcome) in outcomes {
                statement.execute((id, position, outcome_number((*outcome).into())))?;
            }
            Ok(())
        })
    }

    /// A request that is [`State::Received`] waits until then, or for [`LONGEST_WAIT`] if that is shorter: some of its instances may be on their way.
    /// `why` is for people, and empty if it waits as every request does.
    /// `false`: it has waited for `retry_for`, or is not there; the caller concludes it.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn wait(&mut self, id: i64, until_ms: i64, why: &str, now_ms: i64) -> Result<bool, Error> {
        let retry_for = self.retry_for;
        let sql = "UPDATE request SET next_ms = ?2, tried_ms = ?3, counted_ms = ?4, last_comment = ?5 WHERE id = ?1";
        let next_ms = until_ms.min(now_ms.saturating_add(ms(LONGEST_WAIT)));
        self.file.transact_unsynced(|db| {
            let Some((request, counted_ms)) = pending(db, id)? else { return Ok(false) };
            let tried_ms = tried_ms(request.tried_ms, counted_ms, now_ms);
            let may_wait = request.state == State::Received && !has_passed(retry_for, tried_ms);
            if may_wait {
                db.prepare_cached(sql)?.execute((id, next_ms, tried_ms, now_ms, kept(why)))?;
            }
            Ok(may_wait)
        })
    }

    /// A request that is [`State::Received`] is due now: what it waited for may have come.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn retry_wait(&mut self, id: i64, now_ms: i64) -> Result<(), Error> {
        let sql = "UPDATE request SET next_ms = ?2 WHERE id = ?1 AND state = 0 AND next_ms > ?2";
        self.file.transact_unsynced(|db| db.prepare_cached(sql)?.execute((id, now_ms))).map(drop)
    }

    /// The evaluation has come to its end. A reference without an outcome fails with [`FailureReason::ProcessingFailure`]. One that is
    /// [`State::Received`] becomes [`State::Evaluated`], is due at once, and has the whole of `retry_for` for its report.
    ///
    /// `None`: there is no such pending request.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn conclude(&mut self, id: i64, now_ms: i64) -> Result<Option<Summary>, Error> {
        let fail = "UPDATE reference SET outcome = ?2 WHERE request = ?1 AND outcome IS NULL";
        let outcomes = "SELECT outcome FROM reference WHERE request = ?1";
        let note = "UPDATE request SET committed = ?2, refused = ?3, evaluated_ms = ?4 WHERE id = ?1";
        let begin = "UPDATE request SET state = 1, next_ms = ?2, last_comment = '', tried_ms = 0, counted_ms = ?2 WHERE id = ?1 AND state = 0";
        self.file.transact_unsynced(|db| {
            if pending(db, id)?.is_none() {
                return Ok(None);
            }
            db.prepare_cached(fail)?.execute((id, FailureReason::ProcessingFailure.code()))?;
            let mut summary = Summary::default();
            // A sum by group would sort them in memory.
            let mut statement = db.prepare_cached(outcomes)?;
            let mut rows = statement.query([id])?;
            while let Some(row) = rows.next()? {
                match outcome_of(row.get(0)?)? {
                    Some(Outcome::Failed(reason)) => *summary.failed.entry(reason).or_default() += 1,
                    _ => summary.committed += 1,
                }
            }
            let refused: u32 = summary.failed.values().sum();
            db.prepare_cached(note)?.execute((id, summary.committed, refused, now_ms))?;
            db.prepare_cached(begin)?.execute((id, now_ms))?;
            Ok(Some(summary))
        })
    }

    /// A request that is [`State::Evaluated`] is not due before then: its peer could not be reached.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn defer(&mut self, id: i64, until_ms: i64) -> Result<(), Error> {
        let sql = "UPDATE request SET next_ms = ?2 WHERE id = ?1 AND state = 1 AND next_ms < ?2";
        self.file.transact_unsynced(|db| db.prepare_cached(sql)?.execute((id, until_ms))).map(drop)
    }

    /// Notes an attempt to report a request that is [`State::Evaluated`].
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn record_attempt(&mut self, id: i64, attempt: Attempt<'_>, now_ms: i64) -> Result<Stands, Error> {
        let retry_for = self.retry_for;
        let noted = self.file.transact_unsynced(|db| {
            let Some((request, counted_ms)) = pending(db, id)? else { return Ok(None) };
            if request.state != State::Evaluated {
                return Ok(None);
            }
            let attempts = request.attempts.saturating_add(u32::from(matches!(attempt, Attempt::Reported | Attempt::Failed { .. })));
            let tried_ms = tried_ms(request.tried_ms, counted_ms, now_ms);
            let (stands, status, why) = match attempt {
                Attempt::Reported => (Stands::Reported, None, ""),
                Attempt::Failed { status, why } if has_passed(retry_for, tried_ms) => (Stands::GivenUp, status, why),
                Attempt::Impossible { why } | Attempt::Hindered { why } if has_passed(retry_for, tried_ms) => {
                    (Stands::GivenUp, None, why)
                }
                Attempt::Failed { status, why } => (again(now_ms, wait_ms(id, attempts)), status, why),
                Attempt::Impossible { why } => (again(now_ms, ms(LONGEST_WAIT)), None, why),
                Attempt::Hindered { why } => (again(now_ms, ms(HINDERED_WAIT)), None, why),
            };
            let (state, next_ms, ended_ms) = match stands {
                Stands::Again { at_ms } => (State::Evaluated, at_ms, None),
                Stands::Reported => (State::Reported, now_ms, Some(now_ms)),
                Stands::GivenUp | Stands::Unknown => (State::GivenUp, now_ms, Some(now_ms)),
            };
            let sql = "UPDATE request SET state = ?2, next_ms = ?3, attempts = ?4, last_status = ?5, last_comment = ?6, tried_ms = ?7,
                counted_ms = ?8, ended_ms = ?9 WHERE id = ?1";
            let row = params![id, state.number(), next_ms, attempts, status, kept(why), tried_ms, now_ms, ended_ms];
            db.prepare_cached(sql)?.execute(row)?;
            Ok(Some((stands, request.instances)))
        })?;
        let Some((stands, instances)) = noted else { return Ok(Stands::Unknown) };
        if !matches!(stands, Stands::Again { .. }) {
            self.kept += weight(instances);
        }
        Ok(stands)
    }

    /// An attempt of `leader` has found that its peer cannot be reached before `at_ms`. The requests of the same AE title that would be tried before
    /// that wait as well, and come up before it: each would take the time of an attempt to fail likewise. For those that are due it counts as an
    /// attempt. `has_other_way` names those that need not reach the peer there.
    ///
    /// Returns those that were tried for `retry_for`, and are given up.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn postpone(
        &mut self,
        leader: &Request,
        at_ms: i64,
        why: &str,
        now_ms: i64,
        has_other_way: impl Fn(&Request) -> bool,
    ) -> Result<Vec<Request>, Error> {
        let retry_for = self.retry_for;
        let of_peer = requests!(
            "request INDEXED BY request_pending WHERE state < 2 AND state = 1 AND calling = ?1 AND next_ms < ?2 AND id <> ?3"
        );
        let counted = "SELECT counted_ms FROM request WHERE id = ?1";
        let sql = "UPDATE request SET state = ?2, next_ms = ?3, attempts = ?4, last_status = NULL, last_comment = ?5, tried_ms = ?6,
            counted_ms = ?7, ended_ms = ?8 WHERE id = ?1";
        let given_up = self.file.transact_unsynced(|db| {
            let mut statement = db.prepare_cached(of_peer)?;
            let waiting = statement.query_map((&leader.asked.peer.calling, at_ms, leader.id), rows::request)?;
            let waiting: Vec<Request> = waiting.collect::<rusqlite::Result<_>>()?;
            let mut given_up = Vec::new();
            for request in waiting.into_iter().filter(|request| !has_other_way(request)) {
                let counted_ms = db.prepare_cached(counted)?.query_row([request.id], |row| row.get(0))?;
                let tried_ms = tried_ms(request.tried_ms, counted_ms, now_ms);
                let is_due = request.next_ms.is_some_and(|next_ms| next_ms <= now_ms);
                let attempts = request.attempts.saturating_add(is_due.into());
                let (state, next_ms, ended_ms) = match has_passed(retry_for, tried_ms) {
                    true => (State::GivenUp, now_ms, Some(now_ms)),
                    false => (State::Evaluated, at_ms - 1, None),
                };
                let row = params![request.id, state.number(), next_ms, attempts, kept(why), tried_ms, now_ms, ended_ms];
                db.prepare_cached(sql)?.execute(row)?;
                if state == State::GivenUp {
                    given_up.push(request);
                }
            }
            Ok(given_up)
        })?;
        self.kept += given_up.iter().map(|request| weight(request.instances)).sum::<u64>();
        Ok(given_up)
    }

    /// The peer can be reached: its requests that wait to be reported are due now, those from `address` only if there is one. How many.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn hasten(&mut self, calling: &str, address: Option<&str>, now_ms: i64) -> Result<u64, Error> {
        let sql = "UPDATE request SET next_ms = ?3 WHERE state < 2 AND state = 1 AND calling = ?1 AND address = ifnull(?2, address)
            AND next_ms > ?3";
        let row = (calling, address, now_ms);
        self.file.transact_unsynced(|db| db.prepare_cached(sql)?.execute(row)).map(|hastened| hastened as u64)
    }

    /// An operator wants a request to be evaluated and reported again, or now. Until the next attempt, it says why the last one failed.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn retry(&mut self, id: i64, now_ms: i64) -> Result<Retried, Error> {
        let sql = "UPDATE request SET state = ?2, next_ms = ?3, attempts = 0, tried_ms = 0,
            counted_ms = ?3, ended_ms = NULL WHERE id = ?1";
        let found = self.file.transact(|db| {
            let Some(request) = rows::find(db, id)? else { return Ok(None) };
            let state = if request.state.is_pending() { request.state } else { State::Received };
            db.prepare_cached(sql)?.execute((id, state.number(), now_ms))?;
            if !request.state.is_pending() {
                // It may have ended under a former version.
                named::insert_all(db, id)?;
            }
            Ok(Some(request))
        })?;
        Ok(match found {
            None => Retried::Unknown,
            Some(request) if request.state.is_pending() => Retried::WasPending,
            Some(request) => {
                self.kept = self.kept.saturating_sub(weight(request.instances));
                Retried::PutBack
            }
        })
    }
}

fn again(now_ms: i64, wait_ms: i64) -> Stands {
    Stands::Again { at_ms: now_ms.saturating_add(wait_ms) }
}

/// What is kept of a comment.
fn kept(why: &str) -> &str {
    let end = (0..=MAX_COMMENT_BYTES.min(why.len())).rev().find(|end| why.is_char_boundary(*end));
    &why[..end.unwrap_or(0)]
}

fn has_passed(retry_for: Duration, tried_ms: i64) -> bool {
    tried_ms >= ms(retry_for)
}

/// A pending request, with the time up to which its tries are counted.
fn pending(db: &Connection, id: i64) -> rusqlite::Result<Option<(Request, i64)>> {
    let counted = "SELECT counted_ms FROM request WHERE id = ?1";
    let Some(request) = rows::find(db, id)?.filter(|request| request.state.is_pending()) else { return Ok(None) };
    let counted_ms = db.prepare_cached(counted)?.query_row([id], |row| row.get(0)).optional()?;
    Ok(counted_ms.map(|counted_ms| (request, counted_ms)))
}
