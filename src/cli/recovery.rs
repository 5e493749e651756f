//! The log lines about the recovery at a start, each with the remedy.

use std::path::{Path, PathBuf};

use tidegate_storage::layout::Layout;
use tidegate_storage::{Aside, Durability, Recovery, fs};

/// Most lines about single instances; further ones are only counted.
const MAX_LINES: usize = 100;

/// Logs the findings of the recovery that need attention.
pub(super) fn log(recovery: &Recovery, root: &Path, layout: &Layout) {
    if recovery.is_new {
        tracing::info!(
            root = %root.display(),
            "the storage root is new: no node has used it before. If one has, its volume is not mounted: stop, mount it, and set storage.require_mark"
        );
    }
    if recovery.left_files > 0 {
        tracing::info!(
            files = recovery.left_files,
            "files of instances in the commit log were changed, moved or removed since they were stored; left as they are"
        );
    }
    if recovery.waiting_files > 0 {
        tracing::error!(
            files = recovery.waiting_files,
            "acknowledged instances stay in the commit log for lack of free space: make room and restart"
        );
    }
    for aside in recovery.aside.iter().take(MAX_LINES) {
        if aside.path.starts_with(".tidegate") {
            tracing::error!(
                segment = %aside.path.display(),
                kept_as = aside.kept_as.as_ref().map(|kept_as| kept_as.display().to_string()),
                reason = %aside.reason,
                "part of the commit log is damaged: instances of the last second before the crash may be missing; check with the senders"
            );
            continue;
        }
        let (path, kept_as) = (layout.loggable(&aside.path), kept_as(aside, layout));
        match kept_as {
            Some(kept_as) => tracing::error!(
                path = %path.display(),
                kept_as = %kept_as.display(),
                reason = %aside.reason,
                "acknowledged instance set aside: compare it with its path, then move it there or delete it"
            ),
            None => tracing::error!(
                path = %path.display(),
                reason = %aside.reason,
                "acknowledged instance lost: ask its sender to send it again"
            ),
        }
    }
    if recovery.aside.len() > MAX_LINES {
        tracing::error!(
            instances = recovery.aside.len() - MAX_LINES,
            "further instances were set aside or lost: run `tidegate recover`"
        );
    }
    if recovery.lost_files > 0 {
        tracing::warn!(
            files = recovery.lost_files,
            "files are in .tidegate/lost below the storage root: move each to its path, or delete it (docs/durability.md)"
        );
    }
}

/// The place of an instance, without the part of its path that may identify a patient.
pub(super) fn kept_as(aside: &Aside, layout: &Layout) -> Option<PathBuf> {
    let kept_as = aside.kept_as.as_ref()?;
    let is_masked = layout.loggable(&aside.path).file_name() != aside.path.file_name();
    let number = |name: &str| name.splitn(4, '-').take(3).collect::<Vec<_>>().join("-") + "-…";
    Some(match (is_masked, kept_as.file_name()) {
        (true, Some(name)) => kept_as.with_file_name(number(&name.to_string_lossy())),
        _ => kept_as.clone(),
    })
}

/// Warns of a filesystem whose syncs are not known to be durable.
pub(super) fn warn_of_filesystem(root: &Path, filesystem: fs::Filesystem, durability: Durability) {
    let kind = filesystem.kind;
    match durability {
        Durability::None => {}
        Durability::Fsync if kind == fs::FilesystemKind::Memory => tracing::warn!(
            root = %root.display(),
            filesystem = %kind,
            "the storage root is in memory: acknowledged instances do not survive a reboot"
        ),
        Durability::Fsync if !kind.syncs_as_a_whole() => tracing::warn!(
            root = %root.display(),
            filesystem = %kind,
            "instances are synced file by file, whatever storage.commit says, and are only as durable as the storage below this filesystem: \
             use a volume with ext4 or XFS"
        ),
        Durability::Fsync => {}
    }
}

#[cfg(test)]
mod tests {
    use tidegate_storage::Reason;

    use super::*;

    #[test]
    fn a_path_says_nothing_of_a_patient() {
        let layout = Layout::parse("{SOPInstanceUID}/{PatientID}.dcm").unwrap();
        let aside = Aside {
            path: "1.2.3/P1.dcm".into(),
            kept_as: Some(".tidegate/lost/7-0-2-P1.dcm".into()),
            reason: Reason::ChangedSince,
        };
        assert_eq!(kept_as(&aside, &layout), Some(".tidegate/lost/7-0-2-…".into()));
        let layout = Layout::parse("{StudyInstanceUID}/{SOPInstanceUID}.dcm").unwrap();
        assert_eq!(kept_as(&aside, &layout), Some(".tidegate/lost/7-0-2-…".into()), "text where a UID belongs");
        let (path, kept) = ("1.2.3/4.5.dcm".into(), Some(".tidegate/lost/7-0-2-4.5.dcm".into()));
        let aside = Aside { path, kept_as: kept.clone(), ..aside };
        assert_eq!(kept_as(&aside, &layout), kept);
    }
}
