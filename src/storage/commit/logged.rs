//! The part of a commit that goes through the commit log.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{Commit, Draft, FreeName, Progress, Strategy};
use crate::error::StoreError;
use crate::instance::{Instance, Payload};
use crate::log::{CommitLog, Entry, Held, Name};

/// What the log is told of an instance that is new.
pub(super) struct Logged {
    path: PathBuf,
    meta: Vec<u8>,
    name: Name,
}

type Batch<'a> = Vec<Result<Progress<'a>, StoreError>>;

impl<'a> Commit<'a> {
    /// Keeps `name` for an instance on its way through the log; `None` if that is not to be had. Only what is new goes there:
    /// a file that is there may be somebody's who does not ask the log.
    pub(super) fn reserve(&self, instance: &Instance, name: FreeName, meta: Vec<u8>) -> Option<Logged> {
        if name.replaces {
            return None;
        }
        let path = self.path(instance, name.copy);
        let name = self.root.log()?.reserve(&path)?;
        // Between the look and the reservation it may have been taken.
        let seen = rustix::fs::statat(&self.root.dir, &path, AtFlags::SYMLINK_NOFOLLOW);
        matches!(seen, Err(Errno::NOENT)).then_some(Logged { path, meta, name })
    }

    /// Makes those that go through the log durable, and gives them their names.
    pub(super) fn log(&mut self, mut batch: Batch<'a>, pulse: &dyn Fn()) -> Batch<'a> {
        let Some(log) = self.root.log().cloned() else {
            return batch;
        };
        let Some(held) = append(&log, &batch) else {
            for draft in batch.iter_mut().filter_map(logged_mut) {
                (draft.logged, draft.strategy) = (None, Strategy::PerFile);
                draft.temp.file().start_writing_out();
            }
            return batch;
        };
        let synced = held.sync();
        pulse();
        let mut taken = Vec::new();
        for (at, progress) in batch.iter_mut().enumerate().filter(|(_, progress)| logged(progress).is_some()) {
            let draft = std::mem::replace(progress, Err(StoreError::InOtherHands));
            *progress = synced.clone().and(draft).and_then(|draft| self.place(draft)).map(Progress::Named);
            if let (Ok(()), Err(StoreError::InOtherHands)) = (&synced, &progress) {
                taken.push(at);
            }
            pulse();
        }
        drop(held);
        // Somebody who does not ask the log has taken the name. What the log says of it is void only after a checkpoint.
        for at in taken {
            batch[at] = log.checkpoint().and_then(|()| self.write_by(Strategy::PerFile, self.batch[at]));
            pulse();
        }
        batch
    }
}

fn logged<'b, 'a>(progress: &'b Result<Progress<'a>, StoreError>) -> Option<(&'b Draft<'a>, &'b Logged)> {
    match progress {
        Ok(Progress::Written(draft)) => Some((draft, draft.logged.as_ref()?)),
        _ => None,
    }
}

fn logged_mut<'b, 'a>(progress: &'b mut Result<Progress<'a>, StoreError>) -> Option<&'b mut Draft<'a>> {
    match progress {
        Ok(Progress::Written(draft)) if draft.logged.is_some() => Some(draft),
        _ => None,
    }
}

/// Appends what goes through the log, as one frame. `None` also if nothing does.
fn append(log: &Arc<CommitLog>, batch: &Batch<'_>) -> Option<Held> {
    let drafts: Vec<_> = batch.iter().filter_map(logged).collect();
    let entries: Vec<Entry<'_>> = drafts
        .iter()
        .map(|(draft, logged)| {
            let mut content = vec![logged.meta.as_slice()];
            if let Payload::Memory(slices) = &draft.instance.payload {
                content.extend(slices.iter().map(|slice| slice.as_ref()));
            }
            Entry { path: &logged.path, content }
        })
        .collect();
    let names: Vec<&Name> = drafts.iter().map(|(_, logged)| &logged.name).collect();
    if entries.is_empty() { None } else { log.append(&entries, &names) }
}
