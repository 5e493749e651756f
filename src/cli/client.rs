//! Requests to a node over its admin socket.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_catalogue::QUERY_TIMEOUT;
use tidegate_memory::MemorySnapshot;
use tidegate_memory::profile::HeapStacks;

use super::ask_error::{AskError, Found};
use super::attempt::Attempt;
use crate::admin::catalogue::instance::Instances;
use crate::admin::catalogue::model::{CatalogueState, Studies, StudyDetail, WorkAsked};
use crate::admin::catalogue::search::StudySearch;
use crate::admin::catalogue::state::CatalogueWork;
use crate::admin::commitment::model::{CommitmentDetail, Commitments};
use crate::admin::commitment::search::CommitmentSearch;
use crate::admin::ended::EndedAssociation;
use crate::admin::model::{Association, Drain, Second, Status};
use crate::admin::outbox::model::{Destinations, Outbox, OutboxChanged};
use crate::admin::outbox::search::{OutboxOrder, OutboxSearch};
use crate::admin::sinks::look::{OwedSearch, PastSearch};
use crate::admin::sinks::model::{EventOrder, EventsChanged, OwedEvents, PastEvents, Sinks};
use crate::admin::wire::{Allocator, Answer, Ask, MAX_PROFILE_SECONDS, Purged};
use crate::admin::writers::Writers;

/// The additional time of a client thread beyond its socket's timeout, so that the more exact error is reported.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Interval of the looks at a node that has not answered yet: one that is stopped is told at once, whatever the timeout.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A query waits for those before it, and is stopped after [`QUERY_TIMEOUT`].
const QUERY_PATIENCE: Duration = QUERY_TIMEOUT.saturating_mul(2);

/// A node that takes requests.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// The possible places of its socket: the first one at which a node answers counts.
    sockets: Vec<PathBuf>,
    /// Time for an answer, beyond the duration of a requested profile.
    timeout: Duration,
}

impl Client {
    pub(super) fn new(sockets: Vec<PathBuf>, timeout: Duration) -> Self {
        Self { sockets, timeout }
    }

    /// The holders of leases now.
    pub(super) fn memory(&self) -> Result<MemorySnapshot, AskError> {
        self.request(Ask::Memory, |answer| if let Answer::Memory(found) = answer { Ok(*found) } else { Err(answer) })
    }

    /// The status of the node.
    pub(super) fn status(&self) -> Result<Status, AskError> {
        self.request(Ask::Status, |answer| if let Answer::Status(found) = answer { Ok(*found) } else { Err(answer) })
    }

    /// Every open association, the oldest first.
    pub(super) fn associations(&self) -> Result<Vec<Association>, AskError> {
        self.request(
            Ask::Associations,
            |answer| if let Answer::Associations(found) = answer { Ok(found) } else { Err(answer) },
        )
    }

    /// The associations that ended in the last hour, the latest first.
    pub(super) fn ended_associations(&self) -> Result<Vec<EndedAssociation>, AskError> {
        self.request(Ask::EndedAssociations, |answer| {
            if let Answer::EndedAssociations(found) = answer { Ok(found) } else { Err(answer) }
        })
    }

    /// Every writer.
    pub(super) fn writers(&self) -> Result<Writers, AskError> {
        self.request(Ask::Writers, |answer| if let Answer::Writers(found) = answer { Ok(found) } else { Err(answer) })
    }

    /// The last seconds, the oldest first.
    pub(super) fn history(&self, seconds: u64) -> Result<Vec<Second>, AskError> {
        let ask = Ask::History { seconds };
        self.request(ask, |answer| if let Answer::History(found) = answer { Ok(found) } else { Err(answer) })
    }

    /// Aborts an association.
    pub(super) fn abort(&self, id: u64) -> Result<(), AskError> {
        self.request(Ask::Abort { id }, |answer| if let Answer::Abort { .. } = answer { Ok(()) } else { Err(answer) })
    }

    /// Has the node accept no new associations.
    pub(super) fn drain(&self) -> Result<Drain, AskError> {
        self.request(Ask::Drain, |answer| if let Answer::Drain(found) = answer { Ok(found) } else { Err(answer) })
    }

    /// Has a drained node accept associations again.
    pub(super) fn resume(&self) -> Result<Drain, AskError> {
        self.request(Ask::Resume, |answer| if let Answer::Drain(found) = answer { Ok(found) } else { Err(answer) })
    }

    /// The allocator in detail.
    pub(super) fn allocator(&self) -> Result<Allocator, AskError> {
        self.request(
            Ask::Allocator,
            |answer| {
                if let Answer::Allocator(found) = answer { Ok(*found) } else { Err(answer) }
            },
        )
    }

    /// A page of the studies that fit.
    pub(super) fn studies(&self, search: StudySearch) -> Result<Studies, AskError> {
        self.query(Ask::Studies(Box::new(search)), |answer| {
            if let Answer::Studies(found) = answer { Ok(*found) } else { Err(answer) }
        })
    }

    /// The study with that UID.
    pub(super) fn study(&self, uid: &str) -> Result<Option<StudyDetail>, AskError> {
        self.query(Ask::Study { uid: uid.to_owned() }, |answer| {
            if let Answer::Study(found) = answer { Ok(found.map(|found| *found)) } else { Err(answer) }
        })
    }

    /// The files of the instance with that UID.
    pub(super) fn instances(&self, uid: &str) -> Result<Option<Instances>, AskError> {
        self.query(Ask::Instances { uid: uid.to_owned() }, |answer| {
            if let Answer::Instances(found) = answer { Ok(found.map(|found| *found)) } else { Err(answer) }
        })
    }

    /// The state of the catalogue.
    pub(super) fn catalogue(&self) -> Result<CatalogueState, AskError> {
        self.request(
            Ask::Catalogue,
            |answer| {
                if let Answer::Catalogue(found) = answer { Ok(*found) } else { Err(answer) }
            },
        )
    }

    /// Starts work on the whole catalogue.
    pub(super) fn start_catalogue(&self, work: CatalogueWork) -> Result<WorkAsked, AskError> {
        self.request(Ask::StartCatalogue { work }, |answer| {
            if let Answer::StartCatalogue(asked) = answer { Ok(*asked) } else { Err(answer) }
        })
    }

    /// The destinations, and what they are owed.
    pub(super) fn destinations(&self) -> Result<Destinations, AskError> {
        self.request(
            Ask::Destinations,
            |answer| {
                if let Answer::Destinations(found) = answer { Ok(found) } else { Err(answer) }
            },
        )
    }

    /// A page of deliveries.
    pub(super) fn outbox(&self, search: OutboxSearch) -> Result<Outbox, AskError> {
        self.query(
            Ask::Outbox(search),
            |answer| {
                if let Answer::Outbox(found) = answer { Ok(found) } else { Err(answer) }
            },
        )
    }

    /// Has something done to the deliveries to a destination.
    pub(super) fn order_deliveries(&self, destination: String, order: OutboxOrder) -> Result<OutboxChanged, AskError> {
        self.query(Ask::OrderDeliveries { destination, order }, |answer| {
            if let Answer::OutboxChanged(found) = answer { Ok(found) } else { Err(answer) }
        })
    }

    /// The sinks of events, and what they are owed.
    pub(super) fn sinks(&self) -> Result<Sinks, AskError> {
        self.request(Ask::Sinks, |answer| if let Answer::Sinks(found) = answer { Ok(found) } else { Err(answer) })
    }

    /// Events that are owed.
    pub(super) fn owed_events(&self, search: OwedSearch) -> Result<OwedEvents, AskError> {
        let of = |answer| if let Answer::OwedEvents(found) = answer { Ok(found) } else { Err(answer) };
        self.query(Ask::OwedEvents(search), of)
    }

    /// Events, owed or not.
    pub(super) fn past_events(&self, search: PastSearch) -> Result<PastEvents, AskError> {
        let of = |answer| if let Answer::PastEvents(found) = answer { Ok(found) } else { Err(answer) };
        self.query(Ask::PastEvents(search), of)
    }

    /// Has something done to the events of a sink.
    pub(super) fn order_events(&self, sink: String, order: EventOrder) -> Result<EventsChanged, AskError> {
        let of = |answer| if let Answer::EventsChanged(found) = answer { Ok(found) } else { Err(answer) };
        self.query(Ask::OrderEvents { sink, order }, of)
    }

    /// A page of the requests of storage commitment.
    pub(super) fn commitments(&self, search: CommitmentSearch) -> Result<Commitments, AskError> {
        self.query(Ask::Commitments(search), |answer| {
            if let Answer::Commitments(found) = answer { Ok(found) } else { Err(answer) }
        })
    }

    /// The request of that number.
    pub(super) fn commitment(&self, id: i64) -> Result<Option<CommitmentDetail>, AskError> {
        self.query(Ask::Commitment { id }, one_commitment)
    }

    /// Has a request reported now; the request as it is then.
    pub(super) fn retry_commitment(&self, id: i64) -> Result<Option<CommitmentDetail>, AskError> {
        self.query(Ask::RetryCommitment { id }, one_commitment)
    }

    /// Purges free pages.
    pub(super) fn purge(&self) -> Result<Purged, AskError> {
        self.request(Ask::Purge, |answer| if let Answer::Purge(found) = answer { Ok(found) } else { Err(answer) })
    }

    /// Takes a profile, and waits for it.
    pub(super) fn profile(&self, seconds: u64) -> Result<HeapStacks, AskError> {
        let timeout = self.timeout + Duration::from_secs(seconds.min(MAX_PROFILE_SECONDS));
        let (answer, profile) = self.ask(Ask::Profile { seconds }, timeout)?;
        let Answer::Profile { .. } = answer else {
            return Err(misplaced(answer));
        };
        serde_json::from_slice(&profile).map_err(|error| AskError::NotUnderstood(error.to_string()))
    }

    fn request<T>(&self, ask: Ask, of: impl FnOnce(Answer) -> Result<T, Answer>) -> Result<T, AskError> {
        of(self.ask(ask, self.timeout)?.0).map_err(misplaced)
    }

    /// The same for a query of the catalogue, which the node answers or stops.
    fn query<T>(&self, ask: Ask, of: impl FnOnce(Answer) -> Result<T, Answer>) -> Result<T, AskError> {
        of(self.ask(ask, self.timeout + QUERY_PATIENCE)?.0).map_err(misplaced)
    }

    /// Sends the request on a thread of its own: a path on a disk that hangs would block its caller for ever. Returns the answer, and the
    /// bytes that follow it.
    fn ask(&self, ask: Ask, timeout: Duration) -> Result<(Answer, Vec<u8>), AskError> {
        let (answers, answered) = sync_channel(1);
        let node = Arc::<OnceLock<u32>>::default();
        let attempt = Attempt { node: node.clone(), timeout, deadline: Instant::now() + timeout };
        let sockets = self.sockets.clone();
        let asking = thread::Builder::new().name("ask".to_owned());
        asking.spawn(move || drop(answers.send(attempt.run(&sockets, ask))))?;
        let (began, mut was_stopped) = (Instant::now(), false);
        let mut looks = 0;
        loop {
            looks += 1;
            let left = (timeout + LAST_WORD).saturating_sub(began.elapsed());
            let none = match answered.recv_timeout(left.min(LOOK_INTERVAL)) {
                Ok(answer) => return answer,
                Err(none) => none,
            };
            let found = Found::of(node.get().copied());
            if left <= LOOK_INTERVAL || none == RecvTimeoutError::Disconnected {
                return Err(AskError::TooLate { timeout, found });
            }
            // Twice: a debugger that takes a stack stops the node for a moment.
            if std::mem::replace(&mut was_stopped, found.is_stopped()) && was_stopped {
                return Err(AskError::TooLate { timeout: looks * LOOK_INTERVAL, found });
            }
        }
    }
}

fn one_commitment(answer: Answer) -> Result<Option<CommitmentDetail>, Answer> {
    if let Answer::Commitment(found) = answer { Ok(found.map(|found| *found)) } else { Err(answer) }
}

fn misplaced(answer: Answer) -> AskError {
    AskError::NotUnderstood(match answer {
        Answer::Refused(why) => why,
        Answer::Memory(_)
        | Answer::Status(_)
        | Answer::Associations(_)
        | Answer::EndedAssociations(_)
        | Answer::Drain(_)
        | Answer::Writers(_)
        | Answer::Studies(_)
        | Answer::Study(_)
        | Answer::Instances(_)
        | Answer::Catalogue(_)
        | Answer::StartCatalogue(_)
        | Answer::Commitments(_)
        | Answer::Commitment(_)
        | Answer::Destinations(_)
        | Answer::Outbox(_)
        | Answer::OutboxChanged(_)
        | Answer::Sinks(_)
        | Answer::OwedEvents(_)
        | Answer::PastEvents(_)
        | Answer::EventsChanged(_)
        | Answer::History(_)
        | Answer::Abort { .. }
        | Answer::Allocator(_)
        | Answer::Purge(_)
        | Answer::Profile { .. } => "it belongs to another request".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(180);

    /// The client's result if the node answers every request with `answer`.
    fn error_of(answer: &'static [u8]) -> AskError {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let node = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            request
        });
        let error = Client::new(vec![path], LONG).profile(1).unwrap_err();
        assert_eq!(node.join().unwrap(), "{\"version\":1,\"ask\":{\"profile\":{\"seconds\":1}}}\n");
        error
    }

    #[test]
    fn what_a_node_answers_is_told_in_words() {
        for (answer, expected) in [
            (
                &b"{\"version\":99,\"tidegate\":\"9.1.0\",\"answer\":\"new\"}\n"[..],
                "the node is tidegate 9.1.0 and speaks version 99 of the admin protocol, this program is",
            ),
            (
                b"{\"version\":1,\"tidegate\":\"0.1.0\",\"answer\":{\"refused\":\"busy\"}}\n",
                "the node refused the request: busy",
            ),
            (b"hello\n", "cannot parse the answer of the node: "),
            (
                b"{\"version\":1,\"tidegate\":\"0.1.0\",\"answer\":{\"profile\":{\"bytes\":999999999999}}}\n",
                "cannot parse the answer of the node: a profile of 999999999999 bytes",
            ),
            (
                b"{\"version\":1,\"tidegate\":\"0.1.0\",\"answer\":{\"profile\":{\"bytes\":4}}}\nabc",
                "lost the connection to the node: ",
            ),
            (b"", "lost the connection to the node: "),
        ] {
            let error = error_of(answer).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn where_no_node_is_it_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let dead = directory.path().join("admin.sock");
        drop(UnixListener::bind(&dead).unwrap());
        for path in [dead, directory.path().join("missing"), "/dev/null/admin.sock".into()] {
            let error = Client::new(vec![path.clone()], LONG).memory().unwrap_err();
            assert!(matches!(error, AskError::NoNode(ref found) if found[..] == [path]), "{error}");
        }
        let long = Client::new(vec![directory.path().join("x".repeat(108))], LONG);
        assert!(matches!(long.memory(), Err(AskError::PathTooLong(_))));
    }

    #[test]
    fn a_node_that_does_not_answer_is_named_when_the_time_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let _silent = UnixListener::bind(&path).unwrap();
        let missing = directory.path().join("missing");
        let error = Client::new(vec![missing, path], Duration::from_millis(300)).memory().unwrap_err().to_string();
        let expected = format!("the node did not answer within 300ms: process {} ", std::process::id());
        assert!(error.starts_with(&expected), "{error}");
    }
}
