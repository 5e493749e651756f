//! What the node says of itself: figures, the last minutes, and what has to be recorded.
//!
//! | module | is |
//! |---|---|
//! | [`counters`], [`latency`] | the counters and histograms that all actors share |
//! | [`activity`] | what each association and each writer is about, and the way to end an association |
//! | [`history`], [`recent`] | the last minutes, and what went wrong in them |
//! | [`incidents`] | violations and limits by peer: counted, and logged once in a while |
//! | [`audit`] | events for an audit repository, on their way to the service that sends them |
//! | [`statistics`] | the actor that acts on memory pressure, watches for leaks and publishes the statistics line |
//! | [`line`](mod@line) | the statistics line of an interval |
//! | [`observer`] | a view of all of it for the surfaces of operators |

pub(crate) mod activity;
pub mod alarm;
mod all;
pub mod audit;
pub mod audit_queue;
pub mod counters;
pub mod history;
pub mod incidents;
pub mod latency;
mod line;
pub mod observer;
pub mod recent;
pub mod statistics;

pub(crate) use self::all::Gauges;
