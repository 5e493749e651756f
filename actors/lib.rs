//! Every actor of the node, and the messages between them.
//!
//! ```text
//!                 ┌────────────┐  factories, exits, statistics
//!                 │ supervisor │───────────────┐
//!                 └────────────┘               │
//! ┌──────────┐ admitted socket ┌─────────────┐ │ Job{instance, permit, reply} ┌────────┐
//! │ listener │────────────────▶│ association │─┼─▶ mailbox (bounded) ────────▶│ writer │ × count
//! └──────────┘                 └─────────────┘ ▼                              └────────┘
//!                                    ▲         outcome, over the reply             │
//!                                    └─────────────────────────────────────────────┘
//! ```
//!
//! | module | role |
//! |---|---|
//! | [`node`] | start and stop order |
//! | [`listener`] | accepts connections, admits or turns them away ([`admission`]) |
//! | [`association`] | one actor per connection: reads, assembles, hands over, answers |
//! | [`mailbox`] | the bounded way from associations to writers |
//! | [`writer`] | one actor on a thread of its own: commits what it takes from the mailbox |
//! | [`supervisor`] | replaces writers that died, publishes the statistics |
//! | [`observer`] | what the running node says of itself |
//! | [`outcome`] | what became of an instance, as a DIMSE status |
//! | [`statistics`] | the counters all of them share |
//!
//! What is not here: files (only through `tidegate_storage`), configuration files, the command line.

mod admission;
pub mod association;
pub mod listener;
pub mod mailbox;
pub mod node;
pub mod observer;
pub mod outcome;
pub mod settings;
pub mod statistics;
pub mod supervisor;
mod turn_away;
pub mod writer;

pub use association::FLOOR_LEASE_BYTES;
pub use node::{Node, StartError};
pub use observer::{Observer, StatisticsSnapshot};
pub use settings::{AssociationSettings, NodeSettings, WriterSettings};

#[cfg(test)]
mod tests {
    #[test]
    fn the_association_and_the_file_meta_name_the_same_implementation() {
        use tidegate_storage::meta;
        assert_eq!(tidegate_protocol::IMPLEMENTATION_CLASS_UID, meta::IMPLEMENTATION_CLASS_UID);
        assert_eq!(tidegate_protocol::IMPLEMENTATION_VERSION_NAME, meta::IMPLEMENTATION_VERSION_NAME);
    }
}
