//! The part of a commit that goes through the commit log.

use std::sync::Arc;

use super::{Batch, Draft, Progress, Run, Strategy};
use crate::error::StoreError;
use crate::instance::Payload;
use crate::log::{CommitLog, Entry, Held, Name};

/// What the log is told of an instance that is new, beside its path.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) meta: Vec<u8>,
    pub(super) name: Name,
}

impl<'a> Run<'a> {
    /// Appends those that go through the log to it, as one frame. If that is not to be had, they go another way.
    pub(super) fn append_to_log(&self, batch: &mut Batch<'a>) -> Option<Held> {
        let log = self.root.log()?;
        let held = append(log, batch);
        if held.is_none() {
            for draft in batch.iter_mut().filter_map(logged_mut) {
                (draft.logged, draft.strategy) = (None, Strategy::PerFile);
                draft.temp.file().start_writing_out();
            }
        }
        held
    }

    /// Makes those that go through the log durable, and gives them their names.
    pub(super) fn place_logged(&mut self, mut batch: Batch<'a>, held: Held, pulse: &dyn Fn()) -> Batch<'a> {
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
            batch[at] = match self.root.log() {
                Some(log) => log.checkpoint().and_then(|()| self.write_by(Strategy::PerFile, self.instances[at])),
                None => Err(StoreError::InOtherHands),
            };
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
            Entry { path: &draft.name.path, content }
        })
        .collect();
    let names: Vec<&Name> = drafts.iter().map(|(_, logged)| &logged.name).collect();
    if entries.is_empty() { None } else { log.append(&entries, &names) }
}
