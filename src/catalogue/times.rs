//! When the instances of a study or series were received.

/// The times of the first and of the last instance.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

impl Times {
    /// With an instance more.
    pub(crate) fn extend(times: Option<Self>, at_ms: i64) -> Self {
        let Self { first_ms, last_ms } = times.unwrap_or(Self { first_ms: at_ms, last_ms: at_ms });
        Self { first_ms: first_ms.min(at_ms), last_ms: last_ms.max(at_ms) }
    }
}
