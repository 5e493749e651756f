//! A simulated filesystem and the threads on it (to come).

pub(crate) mod sync;
