//! Why there is no heap profile.

/// There is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// jemalloc was started without: `MALLOC_CONF` says `prof:false`.
    #[error("heap profiling is off in this process (MALLOC_CONF overrides prof:true)")]
    Off,
    /// One at a time.
    #[error("a heap profile is being recorded already")]
    Busy,
    /// jemalloc would not start or stop.
    #[error("jemalloc refused to profile: {0}")]
    Refused(tikv_jemalloc_ctl::Error),
    /// No sample: nothing that was allocated during the recording is still held, or less than the sampling sees.
    #[error(
        "no sample: one allocation in every 512 KiB is noted, and none of those is still held; record for longer, or see what grew with `tidegate mem diff`"
    )]
    Empty,
    /// Its addresses mean nothing in this process, which runs another build.
    #[error("the heap profile is of another build: this one has no {0} like it")]
    OtherBuild(String),
    /// It could not be written to the directory for temporary files, read back, or drawn.
    #[error("the heap profile could not be made: {0}")]
    Dump(Box<dyn std::error::Error + Send + Sync>),
}
