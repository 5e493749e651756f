//! Every actor of the node, and the messages between them.
//!
//! ```text
//!                 ┌────────────┐  starts, watches, replaces: statistics, writers, association threads, listener, services
//!                 │ supervisor │───────────────┐
//!                 └────────────┘               │
//! ┌──────────┐ admitted socket ┌─────────────┐ │ Job{instance, lane, reply}  ┌────────┐
//! │ listener │────────────────▶│ association │─┼─▶ mailbox (bounded) ────────▶│ writer │ × count
//! └──────────┘                 └─────────────┘ ▼                              └────────┘
//!                                    ▲         outcome, over the reply             │
//!                                    └─────────────────────────────────────────────┘
//! ```
//!
//! | module | role |
//! |---|---|
//! | [`node`] | start and stop order |
//! | [`shared`] | what all actors share |
//! | [`supervisor`], [`supervision`] | who runs, who has ended or hangs, what follows |
//! | [`children`] | the children: how each is started |
//! | [`listener`] | accepts connections, admits them ([`admission`]) or rejects them ([`overload`]) |
//! | [`association`] | one actor per connection: reads, parses, answers |
//! | [`ingest`] | the one way in for datasets: assembly, spooling, handoff to the writers, retry |
//! | [`transport`], [`certificate`] | the socket or TLS over it, and whose certificate was shown |
//! | [`threads`] | which thread serves which association |
//! | [`mailbox`] | the bounded way from associations to writers, the scheduler of these, and the group of the next write of the commit log |
//! | [`in_flight`] | what a writer works at, where the supervisor can take it away |
//! | [`open_spool`] | a spool file that a writer closes, whoever gives it up |
//! | [`sync`] | the primitives under both, which a model replaces |
//! | [`writer`] | one actor on a thread of its own: commits what it takes from the mailbox |
//! | [`failures`] | whether a writer's storage fails, or only some paths |
//! | [`statistics`] | publishes the statistics line, acts on memory pressure |
//! | [`patience`] | time that counts only while the observer was awake |
//! | [`service`] | children from outside: surfaces for operators |
//! | [`observer`] | what the running node says of itself |
//! | [`activity`] | what each association and each writer is about, and the way to end an association |
//! | [`refusal`] | why an instance was refused, and its DIMSE status |
//! | [`audit`] | what someone may have to answer for, on its way to be written down |
//! | [`counters`], [`latency`] | the counters and histograms all of them share |
//! | [`incidents`] | what peers do amiss, counted, and logged once in a while |
//! | [`history`], [`recent`] | the last minutes, and what went wrong in them |
//! | [`fault`] | faults on demand, for tests |
//!
//! What is not here: files (only through `tidegate_storage`), configuration files, the command line.

mod activity;
mod admission;
pub mod association;
pub mod audit;
pub mod certificate;
mod children;
pub mod counters;
mod descriptors;
mod failures;
pub mod fault;
pub mod history;
mod in_flight;
pub mod incidents;
mod ingest;
mod job;
pub mod latency;
pub mod listener;
pub mod mailbox;
pub mod node;
pub mod observer;
mod open_spool;
mod overload;
pub mod patience;
pub mod recent;
pub mod refusal;
pub mod service;
pub mod settings;
pub mod shared;
pub mod statistics;
pub mod supervision;
pub(crate) mod supervisor;
mod sync;
mod threads;
mod transport;
pub mod writer;

pub use activity::{AssociationUse, WriterUse};
pub use admission::FLOOR_LEASE_BYTES;
pub use certificate::CertificateNames;
pub use descriptors::{DESCRIPTORS_OF_ASSOCIATION, descriptors_of_writers};
pub use node::{Heart, Node, StartError, Stopped};
pub use observer::{Limits, Observer, StatisticsSnapshot, StorageLook};
pub use refusal::Reason;
pub use service::Service;
pub use settings::{
    AccessSettings, AssociationSettings, LiveSettings, MinimumRate, NodeSettings, RestartLimit, SupervisionSettings,
    Terms, WriterSettings,
};
pub use shared::Phase;
pub use supervision::exit::{Exit, Panic, record_panics};
pub use supervision::spec::Group;
pub use supervision::tree::{ChildState, ChildStatus, Failure};
pub use transport::TLS_LEASE_BYTES;

#[cfg(test)]
mod tests {
    #[test]
    fn the_association_and_the_file_meta_name_the_same_implementation() {
        use tidegate_storage::meta;
        assert_eq!(tidegate_protocol::IMPLEMENTATION_CLASS_UID, meta::IMPLEMENTATION_CLASS_UID);
        assert_eq!(tidegate_protocol::IMPLEMENTATION_VERSION_NAME, meta::IMPLEMENTATION_VERSION_NAME);
    }
}
