//! Locks, waits and the clock in a simulation; outside of one, the real ones.

pub(crate) use crate::sync::real::*;
