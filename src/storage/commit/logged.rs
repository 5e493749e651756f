//! The part of a commit that goes through the commit log.

use std::ops::Deref;

use super::files::{Files, ToWrite};
use super::naming::{Draft, FreeName, Temp};
use super::{Batch, Progress, Run, Strategy};
use crate::error::StoreError;
use crate::instance::{Instance, Stored};
use crate::log::{Appended, Entry, Name};
use crate::temp::TempFile;

/// An instance that is new and goes through the log.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) name: FreeName,
    pub(super) reserved: Name,
}

/// What of a batch goes through the log, and the files it is to have.
#[derive(Debug)]
pub(super) struct ToLog<I> {
    pub(super) files: Files<I>,
    /// What became of it, once that was tried.
    pub(super) appended: Option<Appended>,
}

impl Run {
    /// Finds those that are to go through the log. If there is no room for them, they go another way.
    pub(super) fn prepare_log<I>(&self, instances: &[I], batch: &mut Batch, pulse: &dyn Fn()) -> Option<ToLog<I>>
    where
        I: Deref<Target: AsRef<Instance>> + Clone,
    {
        let log = self.root.log()?;
        let mut bytes = 0;
        let mut to_write = Vec::new();
        for (progress, instance) in batch.iter().zip(instances) {
            if logged(progress).is_some() {
                bytes += (**instance).as_ref().file_bytes();
                to_write.push(ToWrite { instance: instance.clone(), temp: None });
            }
        }
        if to_write.is_empty() {
            return None;
        }
        let has_room = log.has_room(bytes, to_write.len());
        let files = Files::new(&self.store, &self.root, to_write);
        if has_room {
            return Some(ToLog { files, appended: None });
        }
        self.go_another_way(batch, files.take(pulse));
        None
    }

    /// Has those that were to go through the log synced file by file instead.
    fn go_another_way(&self, batch: &mut Batch, temps: Vec<Result<TempFile, StoreError>>) {
        let mut temps = temps.into_iter();
        for progress in batch {
            let Some(logged) = take(progress) else { continue };
            *progress = temps.next().unwrap_or(Err(StoreError::InOtherHands)).map(|temp| {
                temp.start_writing_out(0);
                let (temp, name) = (Temp::Own(temp), logged.name);
                Progress::Written(Draft { temp, name, strategy: Strategy::PerFile, logged: None })
            });
        }
    }

    /// Gives those that went through the log their names, once that is written. Answers for as many as it can at the beginning of the
    /// batch; the others it gives back.
    pub(super) fn place_logged<I>(
        &mut self,
        instances: Vec<I>,
        mut batch: Batch,
        ToLog { files, appended }: ToLog<I>,
        pulse: &dyn Fn(),
        answer: &mut dyn FnMut(Result<Stored, StoreError>),
    ) -> (Vec<I>, Batch)
    where
        I: Deref<Target: AsRef<Instance>>,
    {
        let (held, mut temps) = match appended {
            Some(Appended::Durable(held)) => (held, files.take(pulse).into_iter()),
            Some(Appended::NotSynced(error)) => {
                let is_logged = |progress: &&mut Result<Progress, StoreError>| logged(progress).is_some();
                batch.iter_mut().filter(is_logged).for_each(|failed| *failed = Err(error.clone()));
                return (instances, batch);
            }
            Some(Appended::NoRoom | Appended::NotWritten(_)) | None => {
                self.go_another_way(&mut batch, files.take(pulse));
                return (instances, batch);
            }
        };
        let (mut others, mut taken) = (Vec::new(), Vec::new());
        for (instance, mut progress) in instances.into_iter().zip(batch) {
            let Some(logged) = take(&mut progress) else {
                others.push((instance, progress));
                continue;
            };
            let temp = match temps.next().unwrap_or(Err(StoreError::InOtherHands)) {
                Ok(temp) => temp,
                Err(error) => {
                    // Nor should the next start store it. Not waited for: what else is in the log may be waiting for this thread.
                    held.leave_segment();
                    others.push((instance, Err(error)));
                    continue;
                }
            };
            // A checkpoint that finds it on the disk does not keep the next syncs waiting for all of them at once. For a small one it
            // would cost more than it spares.
            if !(*instance).as_ref().is_small() {
                temp.start_writing_out(0);
            }
            let placed = self.place((*instance).as_ref(), logged.draft(temp));
            pulse();
            match placed {
                // Whoever waits for it need not wait for the names of the others.
                Ok(named) if others.is_empty() => {
                    let outcome = self.conclude((*instance).as_ref(), Ok(named));
                    drop(instance); // who hears of it may count on its memory
                    answer(outcome);
                }
                placed => {
                    if matches!(placed, Err(StoreError::InOtherHands)) {
                        taken.push(others.len());
                    }
                    others.push((instance, placed.map(Progress::Named)));
                }
            }
        }
        drop(held);
        // Somebody who does not ask the log has taken the name. What the log says of it is void only after a checkpoint.
        for at in taken {
            let (instance, progress) = &mut others[at];
            *progress = match self.root.log() {
                Some(log) => log.checkpoint().and_then(|()| self.write_by(Strategy::PerFile, (**instance).as_ref())),
                None => Err(StoreError::InOtherHands),
            };
            pulse();
        }
        others.into_iter().unzip()
    }
}

impl Logged {
    fn draft(self, temp: TempFile) -> Draft {
        let (temp, name) = (Temp::Own(temp), self.name);
        Draft { temp, name, strategy: Strategy::Log, logged: Some(self.reserved) }
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

/// What the log is to keep of a batch, each under its name.
pub(super) fn entries<'c, I: Deref<Target: AsRef<Instance>>>(
    instances: &'c [I],
    batch: &'c Batch,
) -> impl Iterator<Item = (Entry<'c>, &'c Name)> {
    batch.iter().zip(instances).filter_map(|(progress, instance)| {
        let Logged { name, reserved } = logged(progress)?;
        let instance = (**instance).as_ref();
        let content = instance.pieces().collect();
        Some((Entry { path: &name.path, content, digest: instance.digest() }, reserved))
    })
}
