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
//! | [`node`] | starts and stops everything in order; the settings, what all actors share, the list of children |
//! | [`network`] | listens, admits or rejects connections; the socket, or TLS over it |
//! | [`association`] | one actor per connection: reads, parses, answers |
//! | [`ingest`] | the one way in for datasets: assembly, spooling, hand-off to the writers, retry |
//! | [`mailbox`] | the bounded queue from associations to writers: jobs, lanes, the scheduler, the group of the next frame |
//! | [`writer`] | one actor on a thread of its own: takes jobs from the mailbox and commits them |
//! | [`catalogue`] | enters each stored instance into the catalogue, and compares it with the disk |
//! | [`commitment`] | answers for stored instances: storage commitment requests, their evaluation and reports |
//! | [`delivery`] | sends what is stored to its destinations |
//! | [`supervision`] | starts, watches and replaces the parts of the node |
//! | [`sinks`] | publishes events to other systems |
//! | [`senders`] | who is sending of which study |
//! | [`sources`] | asks the sources of studies how many instances they have |
//! | [`gauges`] | counters, histograms, events and records, for operators |
//! | [`committed`] | the event that an instance is stored, for everything behind the storage |
//! | [`refusal`] | the reasons of a refusal, and their DIMSE statuses |
//! | [`patience`] | time that counts only while the observer was awake |
//! | [`sync`] | the locks of the mailbox, which a model checker replaces |
//! | [`fault`] | faults on demand, for tests |
//!
//! This crate touches files only through `tidegate_storage`, and knows no configuration file and no command line.

pub mod association;
pub mod catalogue;
pub mod commitment;
mod committed;
pub mod delivery;
mod elements;
pub mod fault;
pub mod fixed;
pub mod gauges;
mod ingest;
pub mod mailbox;
pub mod network;
pub mod node;
pub mod patience;
pub mod refusal;
mod reopening;
mod senders;
pub mod sinks;
mod sources;
pub mod supervision;
mod sync;
mod writer;

pub use catalogue::orders::{DeliveryOrder, NotOrdered, Ordered};
pub use catalogue::state::CompletedState;
pub use catalogue::state::{
    CatalogueRequest, CatalogueState, Condition, LastBatch, OpenGap, RetentionState, Work, WorkState,
};
pub use commitment::state::{Call, CommitmentCondition, CommitmentState, NO_WAY, ReportFailure};
pub use committed::{Committed, Origin, Subscriber};
pub use delivery::state::{DestinationPhase, DestinationState};
pub use gauges::activity::{AssociationUse, WriterUse};
pub use gauges::counters::SpoolReason;
pub use gauges::observer::{Limits, Observer, StatisticsSnapshot, StorageLook};
pub use network::admission::{FLOOR_LEASE_BYTES, floors_of, most_connections};
pub use network::certificate::CertificateNames;
pub use network::descriptors::{DESCRIPTORS_OF_ASSOCIATION, descriptors_of_writers};
pub use network::transport::TLS_LEASE_BYTES;
pub use network::{CertificateFacts, ClientKeys, ClientVerifier, ClientVerifierError, rfc3339};
pub use node::phase::Phase;
pub use node::settings::{
    AccessSettings, AmqpSettings, AssociationSettings, BrokerLogin, CatalogueSettings, CertificateEnds,
    CommitmentSettings, DeliverySettings, DestinationKind, DestinationSettings, DicomDestination, EventSettings, Hours,
    LiveSettings, MinimumRate, NatsSettings, NodeSettings, PeerSettings, RestartLimit, RetentionSettings, Secret,
    SinkKind, SinkSettings, SupervisionSettings, Terms, Verify, WebhookSettings, WriterSettings,
};
pub use node::{Heart, Node, StartError, Stopped};
pub use refusal::Reason;
pub use sinks::{CloudEvent, SinkPhase, SinkState, event_id};
pub use sources::SourceFigures;
pub use supervision::exit::{Exit, Panic, record_panics};
pub use supervision::service::Service;
pub use supervision::spec::Group;
pub use supervision::status::{ChildState, ChildStatus};
pub use supervision::tree::Failure;

#[cfg(test)]
mod tests {
    #[test]
    fn the_association_and_the_file_meta_name_the_same_implementation() {
        use tidegate_storage::meta;
        assert_eq!(tidegate_protocol::IMPLEMENTATION_CLASS_UID, meta::IMPLEMENTATION_CLASS_UID);
        assert_eq!(tidegate_protocol::IMPLEMENTATION_VERSION_NAME, meta::IMPLEMENTATION_VERSION_NAME);
    }
}
