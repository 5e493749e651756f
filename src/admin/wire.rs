//! The protocol of the admin socket: one request for each connection, one line of JSON each way.
//!
//! ```text
//! → {"version":1,"ask":"memory"}
//! ← {"version":1,"tidegate":"0.1.0","answer":{"memory":{…}}}
//! ```
//! A profile follows its line as that many bytes of JSON, `"answer":{"profile":{"bytes":4711}}`: call stacks, which the client draws, because
//! looking names up takes more memory than a node has to spare.

use serde::{Deserialize, Serialize};
use tidegate_memory::arenas::AllocatorDetail;
use tidegate_memory::cgroup::GroupMemory;
use tidegate_memory::{AllocatorStatistics, MemorySnapshot};

use super::catalogue::instance::Instances;
use super::catalogue::model::{CatalogueState, Studies, StudyDetail, WorkAsked};
use super::catalogue::search::StudySearch;
use super::catalogue::state::CatalogueWork;
use super::commitment::model::{CommitmentDetail, Commitments};
use super::commitment::search::CommitmentSearch;
use super::ended::EndedAssociation;
use super::model::{Association, Drain, Second, Status};
use super::outbox::model::{Destinations, Outbox, OutboxChanged};
use super::outbox::search::{OutboxOrder, OutboxSearch};
use super::sinks::look::{OwedSearch, PastSearch};
use super::sinks::model::{EventOrder, EventsChanged, OwedEvents, PastEvents, Sinks};
use super::writers::Writers;

/// Raised by every change that an older side would misread.
pub(crate) const VERSION: u32 = 1;
/// Longest request line, with its line feed.
pub(crate) const MAX_REQUEST_BYTES: u64 = 4096;
/// Longest time a heap profile may be taken, in seconds.
pub(crate) const MAX_PROFILE_SECONDS: u64 = 600;

/// A request line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) version: u32,
    pub(crate) ask: Ask,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// The holders of memory and their leases.
    Memory,
    /// The status of the node.
    Status,
    /// Every open association.
    Associations,
    /// The associations that ended in the last hour.
    EndedAssociations,
    /// Every writer.
    Writers,
    /// A page of the studies that fit.
    Studies(Box<StudySearch>),
    /// A study with its series.
    Study { uid: String },
    /// The files of an instance.
    Instances { uid: String },
    /// The state of the catalogue.
    Catalogue,
    /// Start work on the whole catalogue.
    StartCatalogue { work: CatalogueWork },
    /// A page of the requests of storage commitment.
    Commitments(CommitmentSearch),
    /// A request of storage commitment, and what is not committed.
    Commitment { id: i64 },
    /// Report a request now.
    RetryCommitment { id: i64 },
    /// The destinations, and what they are owed.
    Destinations,
    /// A page of deliveries.
    Outbox(OutboxSearch),
    /// Do something to the deliveries to a destination.
    OrderDeliveries { destination: String, order: OutboxOrder },
    /// The sinks of events, and what they are owed.
    Sinks,
    /// Events that are owed.
    OwedEvents(OwedSearch),
    /// Events, owed or not.
    PastEvents(PastSearch),
    /// Do something to the events of a sink.
    OrderEvents { sink: String, order: EventOrder },
    /// The last seconds, ten minutes at most.
    History { seconds: u64 },
    /// End an association.
    Abort { id: u64 },
    /// The allocator in detail, and the memory of the process and its control group.
    Allocator,
    /// Accept no new associations.
    Drain,
    /// Accept associations again.
    Resume,
    /// Return free pages to the system.
    Purge,
    /// A heap profile of the coming seconds, 1 to [`MAX_PROFILE_SECONDS`].
    Profile { seconds: u64 },
}

/// A response line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) version: u32,
    /// Version of the program that answers.
    pub(crate) tidegate: String,
    pub(crate) answer: Answer,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Memory(Box<MemorySnapshot>),
    Status(Box<Status>),
    Associations(Vec<Association>),
    EndedAssociations(Vec<EndedAssociation>),
    Writers(Writers),
    Studies(Box<Studies>),
    /// `None`: it is not known.
    Study(Option<Box<StudyDetail>>),
    /// `None`: it is not known.
    Instances(Option<Box<Instances>>),
    Catalogue(Box<CatalogueState>),
    StartCatalogue(Box<WorkAsked>),
    Commitments(Commitments),
    /// To a question for it, and to its retry. `None`: it is not known.
    Commitment(Option<Box<CommitmentDetail>>),
    Destinations(Destinations),
    Outbox(Outbox),
    OutboxChanged(OutboxChanged),
    Sinks(Sinks),
    OwedEvents(OwedEvents),
    PastEvents(PastEvents),
    EventsChanged(EventsChanged),
    History(Vec<Second>),
    /// It is being aborted.
    Abort {
        id: u64,
    },
    /// To a drain, and to its end.
    Drain(Drain),
    Allocator(Box<Allocator>),
    Purge(Purged),
    /// Number of bytes that follow the line.
    Profile {
        bytes: u64,
    },
    /// The reason of a refusal, as text.
    Refused(String),
}

impl Answer {
    pub(super) fn of_commitment(found: Option<CommitmentDetail>) -> Self {
        Self::Commitment(found.map(Box::new))
    }
}

/// The memory of the process, from the allocator's sizes of blocks to the control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Allocator {
    pub(crate) detail: AllocatorDetail,
    /// Physical memory of the process, code and stacks included; `None`: the kernel does not report it.
    pub(crate) process_resident_bytes: Option<u64>,
    /// Address space of the process.
    pub(crate) process_virtual_bytes: Option<u64>,
    /// `None`: no control group accounts for the process.
    pub(crate) control_group: Option<GroupMemory>,
    /// Microseconds in which some task of the group, or of the machine, waited for memory, since it exists.
    pub(crate) memory_stalled_us: Option<u64>,
}

/// The allocator's figures around a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purged {
    pub(crate) before: AllocatorStatistics,
    pub(crate) after: AllocatorStatistics,
}

/// The part of a line that every version has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Spoken {
    pub(crate) version: u32,
    /// Present in responses only.
    #[serde(default)]
    pub(crate) tidegate: String,
}

/// `message` as a line of JSON.
///
/// # Errors
/// None for the types above: each is made of numbers, text, lists and named fields.
pub(crate) fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of the format that scripts on the other side rely on.
    #[test]
    fn requests_are_written_as_the_documentation_says() {
        for (text, ask) in [
            (r#"{"version":1,"ask":"memory"}"#, Ask::Memory),
            (r#"{"version":1,"ask":"purge"}"#, Ask::Purge),
            (r#"{"version":1,"ask":"allocator"}"#, Ask::Allocator),
            (r#"{"version":1,"ask":"status"}"#, Ask::Status),
            (r#"{"version":1,"ask":"ended_associations"}"#, Ask::EndedAssociations),
            (r#"{"version":1,"ask":"drain"}"#, Ask::Drain),
            (r#"{"version":1,"ask":"resume"}"#, Ask::Resume),
            (r#"{"version":1,"ask":{"history":{"seconds":60}}}"#, Ask::History { seconds: 60 }),
            (r#"{"version":1,"ask":{"abort":{"id":7}}}"#, Ask::Abort { id: 7 }),
            (r#"{"version":1,"ask":{"study":{"uid":"1.2"}}}"#, Ask::Study { uid: "1.2".to_owned() }),
            (
                r#"{"version":1,"ask":{"start_catalogue":{"work":"catch_up"}}}"#,
                Ask::StartCatalogue { work: CatalogueWork::CatchUp },
            ),
            (r#"{"version":1,"ask":{"profile":{"seconds":30}}}"#, Ask::Profile { seconds: 30 }),
        ] {
            let request = Request { version: VERSION, ask };
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        let search: Request = serde_json::from_str(r#"{"version":1,"ask":{"studies":{"since":"2h"}}}"#).unwrap();
        let since = StudySearch { since: Some("2h".to_owned()), ..StudySearch::default() };
        assert_eq!(search.ask, Ask::Studies(Box::new(since)));
        assert!(serde_json::from_str::<Request>(r#"{"version":1,"ask":"memory","more":1}"#).is_err());
    }
}
