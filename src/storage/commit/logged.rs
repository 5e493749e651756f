//! The part of a commit that goes through the commit log.

use std::ops::Deref;
use std::sync::Arc;

use super::{Batch, Draft, Progress, Run, Strategy};
use crate::error::StoreError;
use crate::instance::{Instance, Payload};
use crate::log::{CommitLog, Entry, Held, Name};

/// What the log is told of an instance that is new, beside its path.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) meta: Vec<u8>,
    pub(super) name: Name,
}

impl Run {
    /// Appends those that go through the log to it, as one frame. If that is not to be had, they go another way.
    pub(super) fn append_to_log<I: Deref<Target: AsRef<Instance>>>(
        &self,
        instances: &[I],
        batch: &mut Batch,
    ) -> Option<Held> {
        let log = self.root.log()?;
        let held = append(log, instances.iter().map(|instance| (**instance).as_ref()), batch);
        if held.is_none() {
            for draft in batch.iter_mut().filter_map(logged_mut) {
                (draft.logged, draft.strategy) = (None, Strategy::PerFile);
                draft.temp.file().start_writing_out();
            }
        }
        held
    }

    /// Gives those that went through the log their names, once they are `synced`.
    pub(super) fn place_logged<'i>(
        &mut self,
        instances: impl Iterator<Item = &'i Instance>,
        mut batch: Batch,
        held: Held,
        synced: Result<(), StoreError>,
        pulse: &dyn Fn(),
    ) -> Batch {
        let mut taken = Vec::new();
        for (progress, instance) in batch.iter_mut().zip(instances).filter(|(progress, _)| logged(progress).is_some()) {
            let draft = std::mem::replace(progress, Err(StoreError::InOtherHands));
            *progress = synced.clone().and(draft).and_then(|draft| self.place(instance, draft)).map(Progress::Named);
            if let (Ok(()), Err(StoreError::InOtherHands)) = (&synced, &progress) {
                taken.push((progress, instance));
            }
            pulse();
        }
        drop(held);
        // Somebody who does not ask the log has taken the name. What the log says of it is void only after a checkpoint.
        for (progress, instance) in taken {
            *progress = match self.root.log() {
                Some(log) => log.checkpoint().and_then(|()| self.write_by(Strategy::PerFile, instance)),
                None => Err(StoreError::InOtherHands),
            };
            pulse();
        }
        batch
    }
}

fn logged(progress: &Result<Progress, StoreError>) -> Option<(&Draft, &Logged)> {
    match progress {
        Ok(Progress::Written(draft)) => Some((draft, draft.logged.as_ref()?)),
        _ => None,
    }
}

fn logged_mut(progress: &mut Result<Progress, StoreError>) -> Option<&mut Draft> {
    match progress {
        Ok(Progress::Written(draft)) if draft.logged.is_some() => Some(draft),
        _ => None,
    }
}

/// Appends what goes through the log, as one frame. `None` also if nothing does.
fn append<'i>(log: &Arc<CommitLog>, instances: impl Iterator<Item = &'i Instance>, batch: &Batch) -> Option<Held> {
    let drafts: Vec<_> =
        batch.iter().zip(instances).filter_map(|(progress, instance)| Some((logged(progress)?, instance))).collect();
    let entries: Vec<Entry<'_>> = drafts
        .iter()
        .map(|((draft, logged), instance)| {
            let mut content = vec![logged.meta.as_slice()];
            if let Payload::Memory(slices) = &instance.payload {
                content.extend(slices.iter().map(|slice| slice.as_ref()));
            }
            Entry { path: &draft.name.path, content }
        })
        .collect();
    let names: Vec<&Name> = drafts.iter().map(|((_, logged), _)| &logged.name).collect();
    if entries.is_empty() { None } else { log.append(&entries, &names) }
}
