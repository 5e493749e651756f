//! The figures of the node for operators: counts, activity, recent history, and events to be recorded.
//!
//! | module | is |
//! |---|---|
//! | [`counters`], [`latency`] | the counters and histograms that all actors share |
//! | [`activity`] | the figures of each association and each writer, and the abort of an association by an operator |
//! | [`history`], [`recent`] | the last minutes, and the failures in them |
//! | [`ended`] | the associations that ended in the last hour |
//! | [`incidents`] | violations and limits by peer: counted, and logged once in a while |
//! | [`audit`], [`audit_queue`], [`transfers`] | events for an audit repository, on their way to the service that sends them |
//! | [`stalled`] | the holders of memory that stall while others wait for it |
//! | [`statistics`] | the actor that acts on memory pressure, watches for leaks and publishes the statistics line |
//! | [`eviction`] | the end of an association, when memory is short and nothing else helps |
//! | [`line`](mod@line) | the statistics line of an interval |
//! | [`observer`] | a view of all of it for the surfaces of operators |

pub(crate) mod activity;
pub mod alarm;
mod all;
pub mod audit;
mod audit_queries;
pub mod audit_queue;
pub mod counters;
mod deliveries;
pub mod ended;
mod eviction;
pub mod history;
pub mod incidents;
pub mod latency;
mod line;
pub mod observer;
pub mod recent;
mod sinks;
mod stalled;
pub mod statistics;
pub mod text;
pub(crate) mod transfers;

pub(crate) use self::all::Gauges;
