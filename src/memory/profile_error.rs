//! The errors of heap profiles.

/// An error of a heap profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Profiling is off: `MALLOC_CONF` has `prof:false`.
    #[error("heap profiling is off in this process (MALLOC_CONF overrides prof:true)")]
    Off,
    /// Another recording is in progress.
    #[error("a heap profile is already being recorded")]
    Busy,
    /// jemalloc refused to start or stop.
    #[error("jemalloc refused to profile: {0}")]
    Refused(tikv_jemalloc_ctl::Error),
    /// No sample: nothing that was allocated during the recording is still held, or less than the sampling sees.
    #[error(
        "no sample: one allocation in every 512 KiB is noted, and none of those is still held; record for longer, or see what grew with `tidegate mem diff`"
    )]
    Empty,
    /// The profile is of another build, so its addresses are invalid in this process.
    #[error("the heap profile is of another build: {0} differs from that of this program")]
    OtherBuild(String),
    /// It could not be written to the directory for temporary files, read back, or drawn.
    #[error("the heap profile could not be made: {0}")]
    Dump(Box<dyn std::error::Error + Send + Sync>),
}
