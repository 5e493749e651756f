//! The conditions that the host sets: open files, the storage root's permissions, and whether its filesystem can store.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;

use bytesize::ByteSize;
use parking_lot::RwLock;
use rustix::fs::statvfs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_actors::{
    DESCRIPTORS_OF_ASSOCIATION, LiveSettings, NodeSettings, StorageLook, descriptors_of_writers, most_connections,
};
use tidegate_storage::FileAccess;

use crate::audit;

/// Descriptors of a node at its start besides those of writers and association threads, with a few to spare.
const START_FILES: u64 = 64;
/// Descriptors of each of these threads: an event loop has four.
const FILES_OF_THREAD: u64 = 4;

/// The limit of open files is too low for a start.
#[derive(Debug, thiserror::Error)]
#[error(
    "open file limit is {limit}, and a node with this configuration needs {least} to start: raise it (ulimit -Hn, LimitNOFILE=), or lower writers.count and associations.arbiters"
)]
pub(super) struct TooFewFiles {
    limit: u64,
    least: u64,
}

/// Threads of a node at its start besides writers and association threads: log, admin surface, catalogue, allocator, and those that are lent
/// for blocking work.
const START_THREADS: u64 = 24;

/// The least length of a file without which a node stores next to nothing: a new catalogue has a quarter of it.
const LEAST_FILE_BYTES: u64 = 1024 * 1024;

/// The process may not have what a start needs.
#[derive(Debug, thiserror::Error)]
pub(super) enum LimitError {
    #[error(transparent)]
    Files(#[from] TooFewFiles),
    #[error(
        "this process can start {possible} more threads, and a node with this configuration needs {least}: raise the limit (TasksMax=, pids.max, \
         ulimit -u), or lower writers.count and associations.arbiters"
    )]
    Threads { possible: u64, least: u64 },
    #[error("file size limit is {}, and a node needs {} to start: raise it (ulimit -Hf, LimitFSIZE=)", iec(*.limit), iec(LEAST_FILE_BYTES))]
    FileSize { limit: u64 },
}

/// Raises the soft limits to the hard ones, and looks whether a node with these settings can start with them.
///
/// # Errors
/// If it cannot.
pub(super) fn raise_limits(settings: &NodeSettings) -> Result<(), LimitError> {
    raise_open_files_limit(settings)?;
    if let Some(limit) = raise(Resource::Fsize) {
        if limit < LEAST_FILE_BYTES {
            return Err(LimitError::FileSize { limit });
        }
        tracing::warn!(
            limit = iec(limit),
            "file size limit is set: longer instances are refused with A700; raise the hard limit (ulimit -Hf, LimitFSIZE=)"
        );
    }
    if let Some(seconds) = raise(Resource::Cpu) {
        tracing::warn!(
            seconds,
            "CPU time limit is set: the system kills the node when it has used it up; take it away (ulimit -Ht, LimitCPU=)"
        );
    }
    let least = START_THREADS + (settings.writers + settings.association_threads) as u64;
    let possible = startable_threads(least);
    if possible < least { Err(LimitError::Threads { possible, least }) } else { Ok(()) }
}

/// The warnings of `raise_limits` that follow from the limits alone.
pub(super) fn limit_warnings() -> Vec<String> {
    let file_size = getrlimit(Resource::Fsize).maximum.map(|limit| {
        let limit = iec(limit);
        format!("file size limit is {limit}: longer instances are refused with A700; raise the hard limit (ulimit -Hf, LimitFSIZE=)")
    });
    let cpu = getrlimit(Resource::Cpu).maximum.map(|seconds| {
        format!("CPU time limit is {seconds} s: the system kills the node when it has used it up; take it away (ulimit -Ht, LimitCPU=)")
    });
    file_size.into_iter().chain(cpu).collect()
}

/// Raises a soft limit to the hard one. `None`: there is no limit.
fn raise(resource: Resource) -> Option<u64> {
    let maximum = getrlimit(resource).maximum;
    let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    getrlimit(resource).current
}

/// Starts up to `wanted` threads that live at the same time, and ends them: limits of the user, of the control group and of memory all count.
fn startable_threads(wanted: u64) -> u64 {
    let gate = RwLock::new(());
    thread::scope(|scope| {
        let closed = gate.write();
        let start = |_| thread::Builder::new().name("trial".to_owned()).spawn_scoped(scope, || drop(gate.read())).ok();
        let trials: Vec<_> = (0..wanted).map_while(start).collect();
        drop(closed);
        let started = trials.len() as u64;
        // Of a thread that is joined the system counts none.
        trials.into_iter().for_each(|trial| drop(trial.join()));
        started
    })
}

/// Tells at the start what `/ready` tells: a filesystem may lack something that every commit needs, or the space to be kept free.
pub(super) fn warn_of_storage(look: &StorageLook, min_free_bytes: u64) {
    if let Ok(space) = &look.space
        && space.size_bytes <= min_free_bytes
    {
        let (min_free, disk) = (iec(min_free_bytes), iec(space.size_bytes));
        tracing::error!(
            min_free,
            disk,
            "storage.min_free is more than the disk has, so every instance is refused: lower it"
        );
    }
    if let Err(error) = &look.written {
        tracing::error!(%error, "no instance can be stored: each is refused until a file can be written, and /ready says why");
    }
}

/// The warning of a `storage.min_free` that the filesystem of the storage root, or the one that it would be made on, can never satisfy.
pub(super) fn min_free_warning(settings: &NodeSettings) -> Option<String> {
    let tidegate_storage::Settings { root, min_free_bytes, .. } = &settings.storage;
    let (there, filesystem) = root.ancestors().find_map(|path| Some((path, statvfs(path).ok()?)))?;
    let size_bytes = filesystem.f_blocks.saturating_mul(filesystem.f_frsize);
    (size_bytes <= *min_free_bytes).then(|| {
        format!(
            "storage.min_free = {} is more than the disk of {} has, {}: every instance would be refused; lower storage.min_free",
            iec(*min_free_bytes),
            there.display(),
            iec(size_bytes)
        )
    })
}

fn iec(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// Files of this process are closed to others. A storage root that existed before may be open. Only its owner can follow the warning:
/// below a volume whose group a container platform sets (fsGroup), the node is not.
pub(super) fn warn_of_open_root(root: &Path, access: FileAccess) {
    const OTHERS: u32 = 0o007;
    const GROUP_WRITES: u32 = 0o020;
    let Ok(metadata) = root.metadata() else { return };
    let user = rustix::process::geteuid().as_raw();
    if user != 0 && user != metadata.uid() {
        return;
    }
    let mode = metadata.permissions().mode() & 0o7777;
    // What is configured is meant.
    let mode = mode & !access.directory_mode.unwrap_or(0);
    let (root, octal) = (root.display(), format_args!("{mode:04o}"));
    if mode & OTHERS != 0 {
        tracing::warn!(%root, mode = %octal, "every user of this machine can enter the storage root: chmod o-rwx it");
    }
    if mode & GROUP_WRITES != 0 {
        tracing::warn!(%root, mode = %octal, "the group of the storage root can change what is stored: chmod g-w it");
    }
}

/// Descriptors for connections that are being rejected.
const BEING_TURNED_AWAY: u64 = 256;

/// The most file descriptors that a node with these settings has open.
pub(super) fn open_files(settings: &NodeSettings) -> u64 {
    let LiveSettings { associations, writers, .. } = &settings.live;
    DESCRIPTORS_OF_ASSOCIATION * most_connections(associations.max) as u64
        + descriptors_of_writers(settings.writers, writers.batch)
        + BEING_TURNED_AWAY
        + if settings.audits { audit::MAX_OPEN_FILES } else { 0 }
}

/// Raises the soft limit of open files to the hard one: common soft limits (1024) are below the need of the default settings.
///
/// # Errors
/// If a node with these settings cannot even start with it.
fn raise_open_files_limit(settings: &NodeSettings) -> Result<(), TooFewFiles> {
    let Some(limit) = raise(Resource::Nofile) else { return Ok(()) };
    let least = START_FILES + FILES_OF_THREAD * (settings.writers + settings.association_threads) as u64;
    if limit < least {
        return Err(TooFewFiles { limit, least });
    }
    let wanted = open_files(settings);
    if limit < wanted {
        tracing::warn!(
            limit,
            wanted,
            "open file limit is too low for associations.max: raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower the setting"
        );
    }
    Ok(())
}
