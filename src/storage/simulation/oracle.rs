//! The oracle: which content each path may have, according to the answers and to the acts of people.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::plan::{Plan, Subject};
use crate::digest::{ATTRIBUTE, Digest, Recorded};
use crate::fs::Kind;
use crate::fs::sim::Volume;
use crate::recovery::Recovery;
use crate::settings::Duplicates;

/// The content of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Nothing,
    File(Vec<u8>),
    /// A directory, or a link.
    Other,
}

impl Standing {
    pub(super) fn at(volume: &mut Volume, path: &Path) -> Self {
        match volume.kind(path) {
            None => Self::Nothing,
            Some(Kind::File) => volume.content(path).map_or(Self::Other, Self::File),
            Some(_) => Self::Other,
        }
    }
}

/// The answer to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// There was no answer: it may be stored at any time, or never.
    Open,
    Stored {
        path: PathBuf,
        at: u64,
    },
    /// It was refused, and may be stored all the same.
    Undecided,
    Refused,
}

#[derive(Debug)]
struct Attempt {
    subject: usize,
    version: usize,
    begun: u64,
    answer: Answer,
}

/// An act of people on a path.
#[derive(Debug)]
struct Act {
    at: u64,
    left: Standing,
    /// A crash makes what is missing look as if it had never reached the disk.
    looks_lost: bool,
    is_certain: bool,
}

/// Something that put what stands at a path, or may have.
#[derive(Debug)]
struct Cause<'a> {
    begun: u64,
    /// `None`: it may still.
    ended: Option<u64>,
    left: Left<'a>,
    is_certain: bool,
    is_ours: bool,
}

impl Cause<'_> {
    fn bytes(&self) -> Option<Vec<u8>> {
        if let Left::File(bytes) = self.left { Some(bytes.to_vec()) } else { None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left<'a> {
    Nothing,
    File(&'a [u8]),
    Other,
}

/// The requests, answers and acts of a history.
#[derive(Debug)]
pub(super) struct Ledger {
    step: u64,
    duplicates: Duplicates,
    /// Nobody takes its attributes from a file, and it has got them.
    has_attributes: bool,
    pub(super) subjects: Vec<Subject>,
    /// Whose each path is.
    by_path: HashMap<PathBuf, usize>,
    attempts: Vec<Attempt>,
    acts: BTreeMap<PathBuf, Vec<Act>>,
    /// Since when nobody can tell what is to stand there, until something is acknowledged.
    exempt: BTreeMap<PathBuf, u64>,
    /// Instances that a store reported as set aside or lost.
    pub(super) reported: BTreeSet<PathBuf>,
    /// A copy took the place of the root, with what was set aside in it.
    was_restored: bool,
    /// The filesystem was mounted again, and no store has settled since what the log of the time before holds.
    is_unsettled: bool,
    /// When a start left files to wait for space.
    waited: Vec<u64>,
    /// Acknowledged, set aside, and found whole there.
    pub(super) found_aside: u64,
}

impl Ledger {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            step: 0,
            duplicates: plan.settings.duplicates,
            has_attributes: plan.nature.has_attributes && plan.is_healthy && !plan.has_people,
            subjects: Vec::new(),
            by_path: HashMap::new(),
            attempts: Vec::new(),
            acts: BTreeMap::new(),
            exempt: BTreeMap::new(),
            reported: BTreeSet::new(),
            was_restored: false,
            is_unsettled: false,
            waited: Vec::new(),
            found_aside: 0,
        }
    }

    pub(super) fn add_subject(&mut self, subject: Subject) -> usize {
        let number = self.subjects.len();
        self.by_path.extend(subject.paths.iter().map(|path| (path.clone(), number)));
        self.subjects.push(subject);
        number
    }

    fn step(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    pub(super) fn now(&self) -> u64 {
        self.step
    }

    pub(super) fn begin(&mut self, subject: usize, version: usize) -> usize {
        let begun = self.step();
        self.attempts.push(Attempt { subject, version, begun, answer: Answer::Open });
        self.attempts.len() - 1
    }

    pub(super) fn stored(&mut self, attempt: usize, path: PathBuf) {
        let at = self.step();
        self.attempts[attempt].answer = Answer::Stored { path, at };
    }

    /// `is_undecided`: the error says so, or it stands there already.
    pub(super) fn refused(&mut self, attempt: usize, is_undecided: bool) {
        self.step();
        self.attempts[attempt].answer = if is_undecided { Answer::Undecided } else { Answer::Refused };
    }

    /// The bytes of an attempt, and the paths it could have.
    pub(super) fn bytes_and_paths(&self, attempt: usize) -> (&[u8], &[PathBuf]) {
        let Attempt { subject, version, .. } = self.attempts[attempt];
        let subject = &self.subjects[subject];
        (&subject.versions[version], &subject.paths)
    }

    /// The contents that may have been stored at a path.
    pub(super) fn versions(&self, path: &Path) -> impl Iterator<Item = &[u8]> {
        let subject = self.by_path.get(path).map(|subject| &self.subjects[*subject]);
        subject.into_iter().flat_map(|subject| &subject.versions).map(Vec::as_slice)
    }

    /// Every path there is something to say of.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let used: BTreeSet<usize> = self.attempts.iter().map(|attempt| attempt.subject).collect();
        let mut paths: BTreeSet<&PathBuf> = self.acts.keys().collect();
        paths.extend(used.iter().flat_map(|subject| &self.subjects[*subject].paths));
        paths.into_iter().cloned().collect()
    }

    /// Paths of instances that were acknowledged.
    pub(super) fn acknowledged(&self) -> Vec<PathBuf> {
        let stored = self.attempts.iter().filter_map(|attempt| match &attempt.answer {
            Answer::Stored { path, .. } => Some(path.clone()),
            _ => None,
        });
        stored.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// People have changed what stands at `path`.
    pub(super) fn act(&mut self, path: PathBuf, left: Standing, looks_lost: bool) {
        let at = self.step();
        let looks_lost = looks_lost || left == Standing::Nothing;
        let is_certain = !(looks_lost && self.is_unsettled);
        let acts = self.acts.entry(path).or_default();
        acts.iter_mut().for_each(|act| act.is_certain &= is_certain);
        acts.push(Act { at, left, looks_lost, is_certain });
    }

    pub(super) fn exempt(&mut self, path: PathBuf) {
        let at = self.step();
        self.exempt.insert(path, at);
    }

    fn is_exempt(&self, path: &Path) -> bool {
        self.exempt.get(path).is_some_and(|since| {
            let is_later = |cause: &Cause<'_>| cause.is_ours && cause.is_certain && cause.begun > *since;
            !self.causes(path).iter().any(is_later)
        })
    }

    /// People put a copy in place of the root: what they copied may be torn.
    pub(super) fn begins_to_restore(&mut self) {
        self.was_restored = true;
        // Until a start has settled the log of the copy, a file that is removed looks like one that the copy never had.
        self.is_unsettled = true;
    }

    /// The root was restored from a copy that was made at `copied`: where the copy has nothing, anything may be put that is in its log.
    pub(super) fn restored(&mut self, copied: u64, copy_has: impl Fn(&Path) -> bool) {
        for path in self.paths() {
            if !copy_has(&path) {
                self.exempt(path);
            }
        }
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.begun <= copied) {
            if attempt.answer == Answer::Refused {
                attempt.answer = Answer::Undecided;
            }
        }
    }

    /// The filesystem was mounted again.
    pub(super) fn mounted_again(&mut self) {
        self.is_unsettled = true;
        for acts in self.acts.values_mut() {
            if acts.last().is_some_and(|last| last.looks_lost) {
                acts.iter_mut().for_each(|act| act.is_certain = false);
            }
        }
    }

    /// Whether those bytes are a whole instance.
    pub(super) fn is_whole(&self, bytes: &[u8]) -> bool {
        self.subjects.iter().any(|subject| subject.versions.iter().any(|version| version == bytes))
    }

    /// A store has opened, and said what it has found.
    pub(super) fn opened(&mut self, recovery: &Recovery) {
        self.is_unsettled &= recovery.waiting_files > 0;
        if recovery.waiting_files > 0 {
            self.waited.push(self.step);
        }
    }

    fn causes<'a>(&'a self, path: &'a Path) -> Vec<Cause<'a>> {
        let mut causes =
            vec![Cause { begun: 0, ended: Some(0), left: Left::Nothing, is_certain: false, is_ours: false }];
        let of = self.by_path.get(path).copied();
        for attempt in self.attempts.iter().filter(|attempt| Some(attempt.subject) == of) {
            let subject = &self.subjects[attempt.subject];
            let ended = match &attempt.answer {
                Answer::Stored { path: stored, at } if stored == path => Some(*at),
                Answer::Open | Answer::Undecided => None,
                // Committed again, it may have found what it had left under another name not to be on the disk.
                Answer::Stored { .. } if self.duplicates == Duplicates::KeepBoth => None,
                _ => continue,
            };
            let left = Left::File(&subject.versions[attempt.version]);
            let (begun, is_certain) = (attempt.begun, ended.is_some());
            causes.push(Cause { begun, ended, left, is_certain, is_ours: true });
        }
        for Act { at, left, is_certain, .. } in self.acts.get(path).into_iter().flatten() {
            let left = match left {
                Standing::Nothing => Left::Nothing,
                Standing::File(bytes) => Left::File(bytes),
                Standing::Other => Left::Other,
            };
            causes.push(Cause { begun: *at, ended: Some(*at), left, is_certain: *is_certain, is_ours: false });
        }
        causes
    }

    /// Whether the path may have this content. If not, the content may still be right if one of the returned is set aside.
    fn check_path(&self, path: &Path, standing: &Standing) -> Result<(), (String, Vec<Vec<u8>>)> {
        let found = match standing {
            Standing::Nothing => Left::Nothing,
            Standing::File(bytes) => Left::File(bytes),
            Standing::Other => Left::Other,
        };
        let causes = self.causes(path);
        let is_superseded = |cause: &Cause<'_>| {
            let ended = cause.ended.unwrap_or(u64::MAX);
            let supersedes = |later: &&Cause<'_>| later.is_certain && later.begun > ended && later.left != cause.left;
            // An instance that waited for space may get a path that people have emptied since.
            let waits_for_path = |later: &Cause<'_>| {
                let removed = |act: &Cause<'_>| !act.is_ours && act.left == Left::Nothing && act.begun > later.begun;
                self.waited.iter().any(|at| (ended..later.begun).contains(at)) && causes.iter().any(removed)
            };
            causes.iter().filter(supersedes).any(|later| !(cause.is_ours && waits_for_path(later)))
        };
        let Some(_) = causes.iter().find(|cause| cause.left == found && !is_superseded(cause)) else {
            let all: Vec<_> = causes.iter().map(|cause| self.describe_cause(cause)).collect();
            let is_last = |cause: &&Cause<'_>| cause.is_ours && cause.is_certain && !is_superseded(cause);
            let mut ours: Vec<_> = causes.iter().filter(is_last).filter_map(Cause::bytes).collect();
            // What was removed since may be gone, and what came behind it, answered or not, set aside.
            let may_be_gone = |cause: &Cause<'_>| {
                let removed =
                    |act: &Cause<'_>| !act.is_ours && act.left == Left::Nothing && Some(act.begun) > cause.ended;
                causes.iter().any(removed)
            };
            if causes.iter().filter(is_last).all(may_be_gone) {
                ours.extend(causes.iter().filter(|cause| cause.is_ours).filter_map(Cause::bytes));
            }
            return Err((format!("{} holds {}, of {}", path.display(), self.describe(found), all.join("; ")), ours));
        };
        if self.duplicates != Duplicates::Replace && matches!(found, Left::File(_)) {
            let is_theirs = |cause: &Cause<'_>| !cause.is_ours;
            // An instance committed before people restored the root went with the old root.
            let is_of_this_root = |cause: &Cause<'_>| self.exempt.get(path).is_none_or(|since| cause.begun > *since);
            let stands = |cause: &&Cause<'_>| cause.is_certain && cause.is_ours && is_of_this_root(cause);
            let lost = causes.iter().filter(stands).filter(|cause| cause.left != found).find(|first| {
                let people = causes.iter().any(|act| is_theirs(act) && act.begun > first.begun);
                let later = causes.iter().filter(|cause| cause.left == found);
                !people && later.clone().all(|cause| cause.is_ours && Some(cause.begun) > first.ended)
            });
            if let Some(first) = lost {
                let (found, first_told) = (self.describe(found), self.describe_cause(first));
                let complaint = format!("{} holds {found} in place of {first_told}", path.display());
                return Err((complaint, first.bytes().into_iter().collect()));
            }
        }
        Ok(())
    }

    fn describe(&self, left: Left<'_>) -> String {
        let Left::File(bytes) = left else { return format!("{left:?}").to_lowercase() };
        let versions = self.subjects.iter().enumerate().flat_map(|(subject, all)| {
            all.versions.iter().enumerate().map(move |(version, bytes)| (subject, version, bytes))
        });
        for (subject, version, whole) in versions {
            if whole.as_slice() == bytes {
                return format!("version {subject}.{version}");
            }
        }
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        format!("{} bytes of nobody's, the last {zeros} zeros", bytes.len())
    }

    fn describe_cause(&self, cause: &Cause<'_>) -> String {
        let by = match (cause.is_ours, cause.is_certain) {
            (true, true) => "acknowledged",
            (true, false) => "possible",
            (false, true) => "people's",
            (false, false) => "people's, or lost",
        };
        let ended = cause.ended.map_or_else(|| "…".to_owned(), |ended| ended.to_string());
        format!("{} {by} {}–{ended}", self.describe(cause.left), cause.begun)
    }

    /// Compares everything below the root with the answers and the acts.
    pub(super) fn check(&mut self, volume: &mut Volume, root: &Path) -> Result<(), String> {
        let aside = set_aside(volume, root);
        for path in self.paths() {
            if self.is_exempt(&path) {
                continue;
            }
            let standing = Standing::at(volume, &root.join(&path));
            if let Err((complaint, missing)) = self.check_path(&path, &standing) {
                if missing.iter().any(|bytes| aside.contains(bytes)) {
                    self.found_aside += 1;
                    continue;
                }
                return Err(complaint);
            }
        }
        self.check_wholeness(volume, root)?;
        let whole = |bytes: &Vec<u8>| self.subjects.iter().any(|subject| subject.versions.contains(bytes));
        if let Some(torn) = aside.iter().find(|bytes| !whole(bytes) && !self.was_restored) {
            return Err(format!("something set aside is not whole: {}", self.describe(Left::File(torn))));
        }
        Ok(())
    }

    /// Whether every file under a final name is whole, or people's.
    pub(super) fn check_wholeness(&self, volume: &mut Volume, root: &Path) -> Result<(), String> {
        let aside = set_aside(volume, root);
        for path in volume.files_below(root) {
            let is_known =
                self.exempt.contains_key(&path) || self.reported.contains(&path) || self.acts.contains_key(&path);
            if path.starts_with(".tidegate") || is_known {
                continue;
            }
            let Standing::File(bytes) = Standing::at(volume, &root.join(&path)) else { continue };
            let Some(subject) = self.by_path.get(&path) else { continue };
            let subject = &self.subjects[*subject];
            let versions = &subject.versions;
            if self.has_attributes {
                let (digest, receipt) = (Digest::of([&*bytes]), Some(subject.receipt()));
                let recorded = volume.attribute_of(&root.join(&path), ATTRIBUTE);
                let recorded = recorded.as_deref().and_then(Recorded::decode);
                if recorded != Some(Recorded { digest, receipt }) {
                    return Err(format!("{} says of itself {recorded:?}", path.display()));
                }
            }
            // One that could not be replaced is whole beside it, which a start that failed afterwards could not tell.
            if !versions.contains(&bytes) && !versions.iter().any(|version| aside.contains(version)) {
                return Err(format!("{} is {}", path.display(), self.describe(Left::File(&bytes))));
            }
        }
        Ok(())
    }
}

/// The instances that were set aside. Whole damaged segments of the log are not among them.
fn set_aside(volume: &mut Volume, root: &Path) -> Vec<Vec<u8>> {
    let lost = root.join(".tidegate/lost");
    let is_instance = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "dcm");
    let names = volume.files_below(&lost);
    names.iter().filter(is_instance).filter_map(|path| volume.content(&lost.join(path))).collect()
}
