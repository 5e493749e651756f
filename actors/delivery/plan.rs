//! The next part of a destination's queue, and the study that each connection is at.
//!
//! Invariant: an instance is in the plan or with a connection at most once, until its outcome is durable.

use std::collections::{HashMap, HashSet, VecDeque};

use tidegate_catalogue::{Generation, Owed, OwedKey};

/// Deliveries that are read at a time.
pub(super) const PAGE: u32 = 512;
/// Deliveries that are with connections, or whose outcome is not durable yet. With more, nothing is begun: the catalogue does not keep up.
const MAX_UNDER_WAY: usize = 4096;
/// Of so many instances, one at most is a repetition: those that never failed come first, and none waits for ever.
const TURNS: u32 = 8;

/// An instance that is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) owed: Owed,
    /// The catalogue that it was read from.
    pub(super) generation: Generation,
    /// It has failed before: nothing else is outstanding beside it, which would fail with it.
    pub(super) is_repetition: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The catalogue that it was read from.
    generation: Option<Generation>,
    /// In the order of the queue, each with its number.
    studies: VecDeque<(i64, VecDeque<Owed>)>,
    repetitions: VecDeque<Owed>,
    /// The study of each connection.
    at: HashMap<usize, i64>,
    /// What is in the plan or under way.
    known: HashSet<OwedKey>,
    planned: usize,
    since_repetition: u32,
    /// Where the next page begins; `None`: at the beginning of the queue.
    cursor: Option<OwedKey>,
    /// The last page was the end of the queue.
    is_at_end: bool,
}

impl Plan {
    /// Whether the catalogue keeps up with what is under way.
    fn has_room(&self) -> bool {
        self.known.len() - self.planned < MAX_UNDER_WAY
    }

    /// Whether another page is worth its reading.
    pub(super) fn wants_page(&self) -> bool {
        !self.is_at_end && self.planned < PAGE as usize / 2 && self.known.len() < MAX_UNDER_WAY
    }

    /// Where the next page begins.
    pub(super) fn cursor(&self) -> Option<&OwedKey> {
        self.cursor.as_ref()
    }

    /// The queue has changed: it is read from its beginning again when it was read to its end.
    pub(super) fn queue_changed(&mut self) {
        self.is_at_end = false;
    }

    /// The catalogue that it is read from.
    pub(super) fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// What is planned is of this catalogue from now on. What was planned from another one is dropped.
    pub(super) fn begin_generation(&mut self, generation: Generation) {
        if self.generation != Some(generation) {
            self.clear();
            self.generation = Some(generation);
        }
    }

    /// Adds a page. Whether anything in it is new.
    pub(super) fn add_page(&mut self, page: Vec<Owed>) -> bool {
        self.is_at_end = page.len() < PAGE as usize;
        self.cursor = page.last().map(|owed| owed.key).filter(|_| !self.is_at_end);
        let before = self.planned;
        for owed in page {
            if !self.known.insert(owed.key) {
                continue;
            }
            self.planned += 1;
            let study = owed.key.study();
            match self.studies.iter_mut().rev().find(|(number, _)| *number == study) {
                Some((_, instances)) => instances.push_back(owed),
                None => self.studies.push_back((study, [owed].into())),
            }
        }
        self.planned > before
    }

    /// Adds deliveries that are tried again. Whether anything is new.
    pub(super) fn add_repetitions(&mut self, due: Vec<Owed>) -> bool {
        let before = self.planned;
        for owed in due {
            if self.known.insert(owed.key) {
                self.planned += 1;
                self.repetitions.push_back(owed);
            }
        }
        self.planned > before
    }

    /// Repetitions that are planned.
    pub(super) fn repetitions(&self) -> usize {
        self.repetitions.len()
    }

    /// Instances that a connection could take.
    pub(super) fn available(&self) -> usize {
        if self.has_room() { self.planned } else { 0 }
    }

    /// What is planned, the next first; `takes_last`: that is the last one, and then the others.
    pub(super) fn planned_owed(&self, takes_last: bool) -> impl Iterator<Item = &Owed> {
        let last = self.studies.back().and_then(|(_, instances)| instances.back());
        self.repetitions
            .iter()
            .take(1)
            .chain(last.filter(|_| takes_last))
            .chain(self.studies.iter().flat_map(|(_, instances)| instances))
            .chain(&self.repetitions)
    }

    /// The last instance, for a connection that keeps away from where others fail: what is at fault is seldom alone, and seldom far from its like.
    pub(super) fn take_last(&mut self, connection: usize) -> Option<Task> {
        let generation = self.generation.filter(|_| self.has_room())?;
        let Some((_, instances)) = self.studies.back_mut() else { return self.take(connection) };
        let owed = instances.pop_back()?;
        if instances.is_empty() {
            self.studies.pop_back();
        }
        (self.since_repetition, self.planned) = (self.since_repetition.saturating_add(1), self.planned - 1);
        Some(Task { owed, generation, is_repetition: false })
    }

    /// The next instance for a connection. It stays with its study while that has any, and then takes the next one that no other connection is at.
    pub(super) fn take(&mut self, connection: usize) -> Option<Task> {
        let generation = self.generation.filter(|_| self.has_room())?;
        if (self.since_repetition >= TURNS - 1 || self.studies.is_empty())
            && let Some(owed) = self.repetitions.pop_front()
        {
            (self.since_repetition, self.planned) = (0, self.planned - 1);
            return Some(Task { owed, generation, is_repetition: true });
        }
        let own = self.at.get(&connection).copied();
        let position = |wanted: &dyn Fn(i64) -> bool| self.studies.iter().position(|(study, _)| wanted(*study));
        let is_taken = |study: i64| self.at.iter().any(|(other, at)| *other != connection && *at == study);
        let position = position(&|study| Some(study) == own).or_else(|| position(&|study| !is_taken(study)));
        let (study, instances) = self.studies.get_mut(position.unwrap_or(0))?;
        let study = *study;
        let owed = instances.pop_front();
        if instances.is_empty() {
            self.studies.retain(|(other, _)| *other != study);
        }
        self.at.insert(connection, study);
        (self.since_repetition, self.planned) = (self.since_repetition.saturating_add(1), self.planned - 1);
        owed.map(|owed| Task { owed, generation, is_repetition: false })
    }

    /// Takes an instance back that was not sent: it is the next of its kind.
    pub(super) fn put_back(&mut self, task: Task) {
        if self.generation != Some(task.generation) {
            return self.forget(&task.owed.key);
        }
        self.planned += 1;
        if task.is_repetition {
            self.repetitions.push_front(task.owed);
            self.since_repetition = TURNS;
            return;
        }
        let study = task.owed.key.study();
        match self.studies.iter_mut().find(|(number, _)| *number == study) {
            Some((_, instances)) => instances.push_front(task.owed),
            None => self.studies.push_front((study, [task.owed].into())),
        }
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, connection: usize) {
        self.at.remove(&connection);
    }

    /// The outcome of this delivery is durable.
    pub(super) fn forget(&mut self, key: &OwedKey) {
        self.known.remove(key);
    }

    /// Drops what is planned: it is read again. What is under way stays so.
    pub(super) fn clear(&mut self) {
        for owed in self.studies.drain(..).flat_map(|(_, instances)| instances).chain(self.repetitions.drain(..)) {
            self.known.remove(&owed.key);
        }
        (self.planned, self.cursor, self.is_at_end) = (0, None, false);
    }

    /// The studies that connections are at.
    pub(super) fn studies_at(&self) -> usize {
        self.at.values().collect::<HashSet<_>>().len()
    }
}
