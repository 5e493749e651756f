//! A node at work: writers that commit, alone and in groups, spools, resends, cancellations, checkpoints.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::oracle::Ledger;
use super::plan::{Plan, Subject, blocks, root};
use super::world::{Open, World};
use crate::commit::Commit;
use crate::error::StoreError;
use crate::fs::sim::{Random, SimFile, Time, threads};
use crate::instance::{Instance, Payload, Stored};
use crate::store::Store;

type Shared = Arc<Numbered>;
type Batch = Commit<Shared, SimFile>;

/// An instance, and the attempt of the ledger that it is.
#[derive(Debug)]
pub(super) struct Numbered {
    instance: Instance<SimFile>,
    attempt: usize,
    /// Refused instances that could not be made void, when it was begun.
    not_voided: u64,
}

impl AsRef<Instance<SimFile>> for Numbered {
    fn as_ref(&self) -> &Instance<SimFile> {
        &self.instance
    }
}

/// Batches that wait for a leader, with their attempts.
pub(super) type Lane = RefCell<Vec<(Batch, Vec<Shared>)>>;

/// One writer of a store.
pub(super) struct Writer {
    pub(super) world: Rc<World>,
    pub(super) open: Rc<Open>,
    pub(super) random: Random,
    pub(super) rounds: u64,
    pub(super) is_slow: bool,
}

impl Writer {
    pub(super) fn run(mut self) {
        for _ in 0..self.rounds {
            if self.is_slow {
                threads::sleep(Time::from_millis(self.random.below(1500)));
            }
            self.round();
        }
        self.lead(None);
    }

    fn round(&mut self) {
        let count = *self.random.pick(&[1, 1, 1, 2, 3, 5]);
        let instances: Vec<Shared> = (0..count).filter_map(|_| self.instance()).collect();
        if instances.is_empty() {
            return;
        }
        if self.random.one_in(12) {
            let (gone, delay_us) = (Arc::clone(self.random.pick(&instances)), self.random.below(3000));
            threads::spawn("canceller", move || {
                threads::sleep(Time::from_micros(delay_us));
                gone.instance.cancel();
            });
        }
        match self.random.below(3) {
            0 => self.commit(&instances),
            1 => self.begin(instances, false),
            _ => self.begin(instances, true),
        }
    }

    fn commit(&mut self, instances: &[Shared]) {
        let batch: Vec<&Instance<SimFile>> = instances.iter().map(|shared| &shared.instance).collect();
        let mut answers = self.open.store.commit(&batch, &|| ());
        // A writer that was given up leaves it to another, which commits it once more, and answers.
        if self.random.one_in(10) {
            answers = self.open.store.commit(&batch, &|| ());
        }
        for (shared, answer) in instances.iter().zip(answers) {
            self.answered(shared, answer);
        }
    }

    fn begin(&mut self, instances: Vec<Shared>, leaves: bool) {
        match self.open.store.begin(instances.clone(), &|| ()) {
            Ok(commit) if leaves && commit.is_wholly_to_log() => self.open.lane.borrow_mut().push((commit, instances)),
            Ok(commit) => self.lead(Some((commit, instances))),
            Err(error) => instances.iter().for_each(|shared| self.answered(shared, Err(error.clone()))),
        }
    }

    /// Leads a group commit of its own batch and of those that wait.
    fn lead(&mut self, own: Option<(Batch, Vec<Shared>)>) {
        let waiting = self.open.lane.take();
        let mut group: Vec<_> = own.into_iter().chain(waiting).collect();
        if group.is_empty() {
            return;
        }
        if self.random.one_in(2)
            && let Some(files) = group.iter().find_map(|(commit, _)| commit.files())
        {
            threads::spawn("files", move || files.write(&|| ()));
        }
        if group.len() > 1 || self.random.one_in(2) {
            let _ = Batch::write_log(group.iter_mut().map(|(commit, _)| commit), &|| ());
        }
        for (commit, instances) in group {
            if self.random.one_in(4)
                && let Some(files) = commit.files()
            {
                files.write(&|| ());
            }
            let mut answered = instances.iter();
            commit.finish(&|| (), &mut |answer| {
                if let Some(shared) = answered.next() {
                    self.answered(shared, answer);
                }
            });
        }
    }

    fn answered(&self, shared: &Shared, answer: Result<Stored, StoreError>) {
        self.world.answered(shared.attempt, answer, shared.not_voided != self.open.store.not_voided());
    }

    fn instance(&mut self) -> Option<Shared> {
        let (attempt, subject, version) = {
            let mut ledger = self.world.ledger.borrow_mut();
            let (subject, version) = choose(&mut ledger, &self.world.plan, &mut self.random);
            (ledger.begin(subject, version), ledger.subjects[subject].clone(), version)
        };
        let not_voided = self.open.store.not_voided();
        let payload = match self.random.below(8) {
            0 | 1 => Payload::Contiguous(blocks(&subject.versions[version], 8192, true)),
            2 => match self.spool(&subject, version) {
                Ok(spool) => Payload::Spooled(Arc::new(spool)),
                Err(error) => {
                    self.world.answered(attempt, Err(error), false);
                    return None;
                }
            },
            _ => Payload::Memory(blocks(&subject.datasets[version], *self.random.pick(&[700, 5000]), false)),
        };
        let (arrived, head) = subject.arrived(version, &self.world.plan.settings);
        let instance = Instance::new(arrived, head, payload);
        instance.set_receipt(subject.receipt());
        Some(Arc::new(Numbered { instance, attempt, not_voided }))
    }

    fn spool(&mut self, subject: &Subject, version: usize) -> Result<crate::spool::SpoolFile<SimFile>, StoreError> {
        let whole = &subject.versions[version];
        let meta_bytes = whole.len() - subject.datasets[version].len();
        let spool = self.open.store.spool(meta_bytes as u64)?;
        for part in blocks(whole, *self.random.pick(&[4096, 8192, 3000]), self.random.one_in(2)) {
            spool.write(spool.file_bytes(), &[part])?;
        }
        Ok(spool)
    }
}

/// The next instance: a new one, other bytes under a known UID, or a resend.
fn choose(ledger: &mut Ledger, plan: &Plan, random: &mut Random) -> (usize, usize) {
    let known = ledger.subjects.len();
    if known < plan.subjects && (known == 0 || !random.percent(plan.resends_percent)) {
        let mut subject = Subject::new(known, &plan.settings);
        let version = subject.add_version(random);
        return (ledger.add_subject(subject), version);
    }
    let subject = random.index(known);
    let versions = ledger.subjects[subject].versions.len();
    if random.one_in(2) || versions > 4 {
        return (subject, random.index(versions));
    }
    (subject, ledger.subjects[subject].add_version(random))
}

/// Makes due checkpoints until the writers have ended.
pub(super) fn checkpoint(world: &World, open: &Open, writers: &Cell<u64>) {
    while writers.get() > 0 && world.is_alive() {
        threads::sleep(Time::from_millis(150));
        if open.store.checkpoint_due().is_some_and(|due| due <= crate::sync::now())
            && let Ok(recovery) = open.store.checkpoint(&|| ())
        {
            world.recovered(&recovery);
        }
    }
}

/// Makes checkpoints until the log is empty.
pub(super) fn quiet_down(world: &World, store: &Store<SimFile>) -> Result<(), String> {
    for _ in 0..40 {
        let Some(due) = store.checkpoint_due() else { return Ok(()) };
        threads::sleep(due.saturating_duration_since(crate::sync::now()) + Time::from_micros(1));
        match store.checkpoint(&|| ()) {
            Ok(recovery) => world.recovered(&recovery),
            Err(error) => threads::note(|| format!("checkpoint: {error}")),
        }
    }
    Err("a log that does not become empty though all is well".to_owned())
}

/// Whether the instance may still be stored after this error.
pub(super) fn is_undecided(error: &StoreError) -> bool {
    matches!(error, StoreError::Contended)
}

/// The content of each path that the ledger knows.
pub(super) fn look(world: &World) -> BTreeMap<std::path::PathBuf, super::oracle::Standing> {
    let paths = world.ledger.borrow().paths();
    let mut volume = world.machine.lock();
    paths.into_iter().map(|path| (path.clone(), super::oracle::Standing::at(&mut volume, &root().join(path)))).collect()
}
