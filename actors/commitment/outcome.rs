//! What becomes of reports: the record, the log, the audit and the figures learn of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use tidegate_commitment::{Attempt, FIRST_WAIT, FailureReason, Peer, Request, Stands, Summary};
use tracing::{error, info, warn};

use super::actor::{Away, CommitmentActor};
use super::figures::MAX_FAILURES;
use super::record::time_of;
use super::shared::{Ended, Sending};
use super::state::{NO_WAY, ReportFailure};
use crate::committed::clock_ms;
use crate::gauges::audit::{AuditEvent, AuditPeer, CommitmentStep};
use crate::gauges::incidents::{Class, NO_PEER, Topic};

/// After a failed attempt, a peer that comes is called again after so long.
const GREETING_PAUSE: Duration = Duration::from_secs(10);

impl CommitmentActor {
    /// Notes the reports that have ended. Whether there were any. One that cannot be recorded waits: until then its request is not reported again.
    pub(super) fn end_reports(&mut self) -> bool {
        if self.record.is_troubled() {
            return false;
        }
        let ended: Vec<(i64, Sending)> = {
            let mut waiting = self.shared.waiting.lock();
            waiting.sending.extract_if(|_, sending| sending.ended.is_some()).collect()
        };
        let are_there = !ended.is_empty();
        for (id, sending) in ended {
            if self.end_report(id, &sending).is_none() {
                self.shared.waiting.lock().sending.insert(id, sending);
            }
        }
        are_there
    }

    /// `None`: the record cannot be used at the moment.
    fn end_report(&mut self, id: i64, sending: &Sending) -> Option<()> {
        let Some(request) = self.record.attempt(|requests| requests.request(id))? else { return Some(()) };
        let has_address = self.shared.live.get().commitment.peer(&request.asked.peer.calling).is_some();
        let is_call = sending.line.is_none();
        match &sending.ended {
            Some(Ended::Reported) => {
                if is_call {
                    self.probing.end(&request.asked.peer.calling);
                    self.away.remove(&request.asked.peer.calling);
                }
                self.note_reported(&request, sending.summary.as_ref())
            }
            Some(Ended::Failed { status, why }) => {
                self.probing.end(&request.asked.peer.calling);
                self.note_failed(&request, *status, why, is_call)
            }
            Some(Ended::Unreachable { why }) => {
                let live = self.shared.live.get();
                if let Some(peer) = live.commitment.peer(&request.asked.peer.calling) {
                    self.probing.begin(peer);
                }
                self.note_failed(&request, None, why, is_call)
            }
            Some(Ended::Hindered { why }) => self.note_hindered(&request, why),
            Some(Ended::Lost) if is_call => self.note_hindered(&request, "the thread that called the peer ended"),
            // It is due again at once, by a call.
            Some(Ended::Lost) if has_address => Some(()),
            Some(Ended::Lost) => self.note_nowhere(&request),
            Some(Ended::Stopped) | None => Some(()),
        }
    }

    fn note_reported(&mut self, request: &Request, summary: Option<&Summary>) -> Option<()> {
        let at_ms = clock_ms();
        let noted = self.record.attempt(|requests| requests.record_attempt(request.id, Attempt::Reported, at_ms))?;
        if noted == Stands::Unknown {
            return Some(());
        }
        self.untold_ms = Some(self.untold_ms.map_or(at_ms, |untold_ms| untold_ms.min(at_ms)));
        let summary = summary.cloned().unwrap_or_default();
        let took = Duration::from_millis(at_ms.saturating_sub(request.received_ms).max(0).unsigned_abs());
        let figures = &self.shared.figures;
        figures.reported.increment();
        figures.delays.record(took);
        figures.committed.add(u64::from(summary.committed));
        for (reason, count) in FailureReason::ALL.iter().zip(&figures.failed) {
            count.add(summary.failed.get(reason).copied().unwrap_or(0).into());
        }
        self.forget(request.id);
        let not_committed: u32 = summary.failed.values().sum();
        self.log_reported(request, &summary, not_committed, took);
        let step = CommitmentStep::Reported { committed: summary.committed, failed: not_committed };
        self.gauges.record(|| audit_event(request, step));
        Some(())
    }

    /// A modality that is denied its commitment keeps its images until somebody looks after them, so that is a warning.
    fn log_reported(&self, request: &Request, summary: &Summary, not_committed: u32, took: Duration) {
        let topic = if not_committed == 0 { Topic::Stored } else { Topic::Amiss(Class::Refusal) };
        let Some(unlogged) = self.worth_a_line(topic, "commitment_reported", request) else { return };
        let (calling, peer) = (&*request.asked.peer.calling, &*request.asked.peer.address);
        let (transaction, committed) = (&*request.asked.transaction_uid, summary.committed);
        let (request, attempts, took_ms) = (request.id, request.attempts + 1, took.as_millis() as u64);
        if not_committed == 0 {
            info!(request, calling, peer, transaction, committed, attempts, took_ms, unlogged, "commitment reported");
        } else {
            warn!(
                request,
                calling,
                peer,
                transaction,
                committed,
                not_committed,
                attempts,
                took_ms,
                unlogged,
                "commitment reported: not all instances are committed"
            );
        }
    }

    /// `is_call`: the peer was called, so that a failure without a status is one of the peer and not of this report alone.
    fn note_failed(&mut self, request: &Request, status: Option<u16>, why: &str, is_call: bool) -> Option<()> {
        let attempt = Attempt::Failed { status, why };
        let stands = self.record.attempt(|requests| requests.record_attempt(request.id, attempt, clock_ms()))?;
        if is_call && status.is_none() {
            self.note_unreachable(request, stands, why);
        }
        self.shared.figures.attempts_failed.increment();
        self.keep_failure(request, why);
        match stands {
            Stands::GivenUp => self.note_given_up(request, why),
            Stands::Again { at_ms } => {
                self.retrying.insert(request.id);
                self.nowhere.remove(&request.id);
                self.log_again(request, status, why, at_ms);
            }
            Stands::Reported | Stands::Unknown => {}
        }
        Some(())
    }

    /// This node could not report, which says nothing of the peer.
    fn note_hindered(&mut self, request: &Request, why: &str) -> Option<()> {
        let attempt = Attempt::Hindered { why };
        match self.record.attempt(|requests| requests.record_attempt(request.id, attempt, clock_ms()))? {
            Stands::GivenUp => self.note_given_up(request, why),
            Stands::Again { at_ms } => self.log_again(request, None, why, at_ms),
            Stands::Reported | Stands::Unknown => {}
        }
        Some(())
    }

    fn log_again(&self, request: &Request, status: Option<u16>, why: &str, at_ms: i64) {
        let Some(unlogged) = self.worth_a_line(Topic::Amiss(Class::Refusal), "commitment_report", request) else {
            return;
        };
        let (calling, peer) = (&*request.asked.peer.calling, &*request.asked.peer.address);
        let status = status.map(|status| format!("{status:04X}"));
        let again_in_s = at_ms.saturating_sub(clock_ms()) / 1000;
        warn!(
            request = request.id,
            calling,
            peer,
            status,
            cause = why,
            again_in_s,
            unlogged,
            "commitment report failed, and is tried again"
        );
    }

    /// The other requests of the peer wait as this one does: with each that was tried for itself, a peer that does not answer would hold a call.
    fn note_unreachable(&mut self, request: &Request, stands: Stands, why: &str) {
        let at_ms = match stands {
            Stands::Again { at_ms } => at_ms,
            // Those that were tried for as long are given up with it.
            Stands::GivenUp => clock_ms().saturating_add(FIRST_WAIT.as_millis() as i64),
            Stands::Reported | Stands::Unknown => return,
        };
        let now_ms = clock_ms();
        self.away.insert(request.asked.peer.calling.clone(), Away { failed_ms: now_ms, until_ms: at_ms });
        let lines: Vec<u64> = self.shared.waiting.lock().lines.keys().copied().collect();
        let has_line = |other: &Request| lines.contains(&u64::from(other.asked.association));
        let given_up = self.record.attempt(|requests| requests.postpone(request, at_ms, why, now_ms, has_line));
        for request in given_up.unwrap_or_default() {
            self.note_given_up(&request, why);
        }
    }

    fn note_given_up(&mut self, request: &Request, why: &str) {
        self.shared.figures.gave_up.increment();
        self.forget(request.id);
        let (calling, peer) = (&*request.asked.peer.calling, &*request.asked.peer.address);
        error!(
            request = request.id,
            calling,
            peer,
            transaction = request.asked.transaction_uid,
            attempts = request.attempts + 1,
            cause = why,
            remedy = "see that the peer listens at the address in [[peer]], then `tidegate commitments retry`",
            "commitment report given up: the peer does not know what is stored"
        );
        self.gauges.record(|| audit_event(request, CommitmentStep::GivenUp));
    }

    /// There is no way to the peer at the moment.
    pub(super) fn note_nowhere(&mut self, request: &Request) -> Option<()> {
        let attempt = Attempt::Impossible { why: NO_WAY };
        let stands = self.record.attempt(|requests| requests.record_attempt(request.id, attempt, clock_ms()))?;
        match stands {
            Stands::GivenUp => self.note_given_up(request, NO_WAY),
            _ => self.log_nowhere(request),
        }
        Some(())
    }

    /// Logs once that a report waits for its peer.
    fn log_nowhere(&mut self, request: &Request) {
        if self.nowhere.insert(request.id)
            && let Some(unlogged) = self.worth_a_line(Topic::Association, "commitment_no_address", request)
        {
            let (calling, peer) = (&*request.asked.peer.calling, &*request.asked.peer.address);
            let (called, request) = (&*request.asked.called, request.id);
            info!(
                request,
                calling,
                peer,
                called,
                unlogged,
                "commitment report waits until the peer associates again: no [[peer]] names its ae title"
            );
        }
    }

    /// What this process knows of a request that has ended, or begins anew.
    pub(super) fn forget(&mut self, request: i64) {
        self.seen.remove(&request);
        self.awaited.remove(&request);
        self.retrying.remove(&request);
        self.nowhere.remove(&request);
        self.shared.waiting.lock().patient.remove(&request);
    }

    fn keep_failure(&self, request: &Request, why: &str) {
        let mut seen = self.shared.figures.seen.lock();
        let ae_title = request.asked.peer.calling.clone();
        seen.last_failures.retain(|failure| failure.ae_title != ae_title);
        seen.last_failures.truncate(MAX_FAILURES - 1);
        seen.last_failures.push_front(ReportFailure {
            at: SystemTime::now(),
            ae_title,
            address: address_of(request),
            request: request.id,
            cause: why.to_owned(),
        });
    }

    /// Whether an attempt to report to the peer has just failed.
    pub(super) fn has_failed_lately(&self, peer: &Peer) -> bool {
        let seen = self.shared.figures.seen.lock();
        let of_peer = seen.last_failures.iter().find(|failure| failure.ae_title == peer.calling);
        of_peer.is_some_and(|failure| failure.at.elapsed().is_ok_and(|since| since < GREETING_PAUSE))
    }

    fn worth_a_line(&self, topic: Topic, kind: &'static str, request: &Request) -> Option<u64> {
        let address = address_of(request).unwrap_or(NO_PEER);
        self.gauges.incidents.worth_a_line_about(topic, kind, address, &request.asked.peer.calling)
    }

    /// Lets operators see how much is pending.
    pub(super) fn note_figures(&mut self) {
        let Some(counts) = self.record.counts() else { return };
        let mut seen = self.shared.figures.seen.lock();
        seen.pending = counts.received + counts.evaluated;
        seen.kept_failed = counts.failed;
        (seen.retrying, seen.without_address) = (self.retrying.len() as u64, self.nowhere.len() as u64);
        seen.oldest_pending = counts.oldest_ms.map(time_of);
    }
}

fn address_of(request: &Request) -> Option<IpAddr> {
    request.asked.peer.address.parse().ok()
}

fn audit_event(request: &Request, step: CommitmentStep) -> AuditEvent {
    let asked = &request.asked;
    let peer = AuditPeer {
        address: SocketAddr::new(address_of(request).unwrap_or(NO_PEER), 0),
        ae_title: asked.peer.calling.clone(),
        certificate: String::new(),
    };
    AuditEvent::Commitment { peer, transaction_uid: asked.transaction_uid.clone(), step }
}
