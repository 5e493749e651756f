//! Why there is no heap profile.

/// There is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// jemalloc was started without: `MALLOC_CONF` says `prof:false`.
    #[error("heap profiling is off in this process (MALLOC_CONF overrides prof:true)")]
    Off,
    /// One at a time.
    #[error("a heap profile is already being recorded")]
    Busy,
    /// jemalloc would not start or stop.
    #[error("jemalloc refused to profile: {0}")]
    Refused(tikv_jemalloc_ctl::Error),
    /// Nothing that was allocated during the recording is still held, or less than the sampling sees.
    #[error("no sampled allocation is still live since the heap profile was started")]
    Empty,
    /// Its addresses mean nothing in this process, which runs another build.
    #[error("the heap profile is of another build: {0} differs from that of this program")]
    OtherBuild(String),
    /// It could not be written to the directory for temporary files, read back, or drawn.
    #[error("the heap profile could not be made: {0}")]
    Dump(Box<dyn std::error::Error + Send + Sync>),
}
