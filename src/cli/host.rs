//! The conditions that the host sets: open files, the storage root's permissions, and whether its filesystem can store.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use bytesize::ByteSize;
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
pub(super) fn raise_open_files_limit(settings: &NodeSettings) -> Result<(), TooFewFiles> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let Some(limit) = getrlimit(Resource::Nofile).current.or(current) else { return Ok(()) };
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
