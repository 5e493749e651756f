//! Delivery: what was received reaches its destinations, whatever they do. One supervised child a destination, on a thread of its own.
//!
//! | module | is |
//! |---|---|
//! | [`actor`] | the child: it reads the queue, opens associations, and has outcomes noted |
//! | [`queue`], [`plan`] | the queue, in pages; the next part of it, and the study of each connection |
//! | [`opening`], [`association`], [`sending`] | an association with the destination: how it comes about, and its life; an instance on the wire |
//! | [`lateness`], [`file`](mod@file) | an answer that is late; the file of an instance |
//! | [`contexts`] | what is proposed, and the way of each instance in what is accepted |
//! | [`hub`] | what the associations share with the child |
//! | [`committing`], [`proof`] | what the destination is asked to commit; what becomes of that |
//! | [`asking`], [`requesting`], [`report`] | an association's part of that; a report, and who waits for its answer |
//! | [`echo`] | an association's question whether a destination lives that has lost instances |
//! | [`export`] | what an association has delivered, for the audit trail |
//! | [`outcome`], [`settling`] | what each status means; what becomes of an instance, and of the destination |
//! | [`breaker`], [`backoff`] | a destination that fails as a whole is probed; waits that grow |
//! | [`bandwidth`], [`hours`] | how much is sent, and when |
//! | [`inquiry`] | what a destination has, asked by a command |
//! | [`shared`], [`figures`], [`state`] | what operators see of it |
//!
//! Invariants: an outcome is noted after the answer of the destination, and what is not noted is sent again. What waits is in the catalogue: of any
//! queue, a page is in memory.

pub(crate) mod actor;
mod asking;
mod association;
pub(crate) mod backoff;
mod bandwidth;
mod breaker;
mod committing;
mod contexts;
mod echo;
mod export;
mod figures;
mod file;
mod hours;
mod hub;
pub mod inquiry;
mod lateness;
mod opening;
mod outcome;
mod plan;
mod proof;
mod queue;
pub(crate) mod report;
mod requesting;
mod sending;
mod settling;
pub(crate) mod shared;
pub mod state;
#[cfg(test)]
mod tests;

pub(crate) use self::shared::Shared;
