//! The part of a commit that goes through the commit log.

use std::ops::Deref;
use std::sync::Arc;

use super::files::{Files, ToWrite, write_file};
use super::{Batch, Draft, FreeName, Progress, Run, Strategy, Temp};
use crate::error::StoreError;
use crate::instance::Instance;
use crate::log::{CommitLog, Entry, Held, Name};
use crate::temp::TempFile;

/// An instance that is new and goes through the log.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) name: FreeName,
    pub(super) reserved: Name,
}

/// What a batch has in the log, and the files it is to have.
#[derive(Debug)]
pub(super) struct Frame<I> {
    pub(super) held: Held,
    pub(super) files: Files<I>,
    /// One of them at least is more than small, and they are written.
    pub(super) is_large: bool,
}

impl Run {
    /// Appends those that go through the log to it, as one frame. If that is not to be had, they go another way. Where one is
    /// more than small, the files are written by the time this returns.
    pub(super) fn append_to_log<I>(&self, instances: &[I], batch: &mut Batch, pulse: &dyn Fn()) -> Option<Frame<I>>
    where
        I: Deref<Target: AsRef<Instance>> + Clone,
    {
        let log = self.root.log()?;
        let held = append(log, instances, batch);
        pulse();
        let Some(held) = held else {
            for (progress, instance) in batch.iter_mut().zip(instances) {
                let Some(logged) = take(progress) else { continue };
                let temp = write_file(&self.store, &self.root, (**instance).as_ref(), false);
                *progress = temp.map(|temp| {
                    temp.start_writing_out();
                    let (temp, name) = (Temp::Own(temp), logged.name);
                    Progress::Written(Draft { temp, name, strategy: Strategy::PerFile, logged: None })
                });
            }
            return None;
        };
        let mut is_large = false;
        let to_write = batch.iter().zip(instances).filter_map(|(progress, instance)| match progress {
            Ok(Progress::Logged(_)) => {
                is_large |= !(**instance).as_ref().is_small();
                Some(ToWrite { instance: instance.clone(), temp: None })
            }
            _ => None,
        });
        let files = Files::new(&self.store, &self.root, to_write.collect());
        if is_large {
            // The disk has something to do meanwhile, and another thread is a wake-up away and has none of it in its caches.
            held.start_writing_out();
            files.write(pulse);
        }
        Some(Frame { held, files, is_large })
    }

    /// Gives those that went through the log their names, once they are `synced`.
    pub(super) fn place_logged<'i, I>(
        &mut self,
        instances: impl Iterator<Item = &'i Instance>,
        mut batch: Batch,
        Frame { held, files, is_large }: Frame<I>,
        synced: Result<(), StoreError>,
        pulse: &dyn Fn(),
    ) -> Batch
    where
        I: Deref<Target: AsRef<Instance>>,
    {
        let mut temps = synced.map(|()| files.take(pulse).into_iter());
        let mut taken = Vec::new();
        for (progress, instance) in batch.iter_mut().zip(instances) {
            let Some(logged) = take(progress) else { continue };
            let temp = match &mut temps {
                Ok(temps) => temps.next().unwrap_or(Err(StoreError::InOtherHands)),
                Err(error) => Err(error.clone()),
            };
            let placed = match temp {
                Ok(temp) => {
                    // A checkpoint that finds it on the disk does not keep the next syncs waiting for all of them at once. For a
                    // small one it would cost more than it spares.
                    if is_large {
                        temp.start_writing_out();
                    }
                    self.place(instance, logged.draft(temp))
                }
                Err(error) => {
                    // Nor should the next start store it. Not waited for: what else is in the log may be waiting for this thread.
                    held.leave_segment();
                    *progress = Err(error);
                    continue;
                }
            };
            let is_taken = matches!(placed, Err(StoreError::InOtherHands));
            *progress = placed.map(Progress::Named);
            if is_taken {
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

impl Logged {
    fn draft(self, temp: TempFile) -> Progress {
        let (temp, name) = (Temp::Own(temp), self.name);
        Progress::Written(Draft { temp, name, strategy: Strategy::Log, logged: Some(self.reserved) })
    }
}

fn logged(progress: &Result<Progress, StoreError>) -> Option<&Logged> {
    match progress {
        Ok(Progress::Logged(logged)) => Some(logged),
        _ => None,
    }
}

/// Takes out what goes through the log, to be replaced by what comes of it.
fn take(progress: &mut Result<Progress, StoreError>) -> Option<Logged> {
    match std::mem::replace(progress, Err(StoreError::InOtherHands)) {
        Ok(Progress::Logged(logged)) => Some(logged),
        other => {
            *progress = other;
            None
        }
    }
}

/// Appends what goes through the log, as one frame. `None` also if nothing does.
fn append<I: Deref<Target: AsRef<Instance>>>(log: &Arc<CommitLog>, instances: &[I], batch: &Batch) -> Option<Held> {
    let (mut entries, mut names) = (Vec::new(), Vec::new());
    for (progress, instance) in batch.iter().zip(instances) {
        if let Some(Logged { name, reserved }) = logged(progress) {
            let instance = (**instance).as_ref();
            let content = instance.pieces().collect();
            entries.push(Entry { path: &name.path, content, digest: instance.digest() });
            names.push(reserved);
        }
    }
    if entries.is_empty() { None } else { log.append(&entries, &names) }
}
