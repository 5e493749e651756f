//! The evaluation of a request: each instance is looked for in the catalogue, and its file in the storage root. It knows nothing of who asked, and
//! goes on in steps, so that one request waits for no other's files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidegate_catalogue::{Owing, Reader, StoredFile};
use tidegate_commitment::{FailureReason, Outcome, PackedUid, Referenced};
use tidegate_storage::fs::Errno;
use tidegate_storage::survey::{Reading, Survey};

/// References of one question to the catalogue.
pub(super) const CHUNK: u32 = 500;
/// After so long, it is the turn of another request.
const STEP: Duration = Duration::from_millis(20);
/// Bytes that are read of a file at a time.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// By so much, in milliseconds, the time of a change may be before that of the clock: the kernel takes it from its last tick.
const COARSE_MS: i64 = 20;

/// How files are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Their content is read.
    pub(super) by_digest: bool,
}

/// What was found of a version of an instance. Of several, the last in this order decides: the peer has one of them, and nobody knows which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Not at its place.
    Gone,
    /// Whole, and on the disk.
    Whole,
    /// Of another length, or with other bytes; the catalogue may be about to learn of a replacement.
    Changed,
    /// Nobody can tell.
    Unreadable,
}

/// The references of a chunk, with what the catalogue knows of them.
struct Chunk {
    references: Vec<Referenced>,
    /// Positions of those that the peer has sent otherwise than they are stored.
    refused: HashSet<u32>,
    /// The catalogue had all that is stored when it was asked.
    is_current: bool,
    files: Vec<Vec<StoredFile>>,
    /// The next reference, and the next of its files.
    at: (usize, usize),
    /// What was found of the versions of the present reference.
    found: Option<Found>,
    reading: Option<(Reading, u128, StoredFile)>,
    /// The file behind the one that is read, with its place: the disk begins with it early.
    ahead: Option<((usize, usize), Result<Begun, Errno>)>,
    outcomes: Vec<(u32, Option<Outcome>)>,
    doubtful: u32,
    is_withheld: bool,
    synced: Vec<PathBuf>,
    gone: Vec<PathBuf>,
}

/// An evaluation that is under way.
pub(super) struct Evaluation {
    terms: Terms,
    /// When the request was received: its files were read since.
    received_ms: i64,
    /// Of the next chunk.
    position: u32,
    chunk: Option<Chunk>,
    /// Instances that are not there, or not as the catalogue has them.
    pub(super) doubtful: u32,
    /// Of an instance without a file in the catalogue, which was not current, nothing is said: its outcome is unknown now.
    pub(super) is_withheld: bool,
    /// The last instance that a destination has yet to get, and the name of that: it arrives behind the others, mostly.
    pub(super) waits: Option<(PackedUid, String)>,
    /// What destinations have yet to get is not committed. Otherwise it is waited for.
    pub(super) waits_no_more: bool,
    /// Files that the catalogue has, and that are not there.
    gone: Vec<PathBuf>,
}

/// What a step came to.
pub(super) enum Step {
    /// It goes on, perhaps with the next references.
    More,
    /// These outcomes are to be noted.
    Outcomes(Vec<(u32, Option<Outcome>)>),
}

impl Evaluation {
    pub(super) fn new(terms: Terms) -> Self {
        let (doubtful, is_withheld, waits, waits_no_more) = (0, false, None, false);
        let (received_ms, gone) = (i64::MIN, Vec::new());
        Self { terms, received_ms, position: 0, chunk: None, doubtful, is_withheld, waits, waits_no_more, gone }
    }

    /// The request was received then: what has not changed since need not be read again.
    pub(super) fn of_request(&mut self, received_ms: i64) {
        self.received_ms = received_ms;
    }

    /// The position of the references that are needed to go on; `None`: it has them.
    pub(super) fn needs(&self) -> Option<u32> {
        self.chunk.is_none().then_some(self.position)
    }

    /// Files that are not there, although the catalogue has them, as far as they were not taken.
    pub(super) fn take_gone(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.gone)
    }

    /// Takes the next references, with their files by the catalogue. `refused`: positions of those that are not to be committed, whatever is stored.
    /// `commit_when`: destinations that must have each that they are owed. `is_current`: the catalogue has all that is stored.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub(super) fn take(
        &mut self,
        references: Vec<Referenced>,
        mut refused: HashSet<u32>,
        commit_when: &[String],
        is_current: bool,
        catalogue: &mut Reader,
    ) -> Result<(), tidegate_catalogue::Error> {
        let uids: Vec<PackedUid> =
            references.iter().map(|referenced| referenced.reference.sop_instance.clone()).collect();
        let mut files = vec![Vec::new(); references.len()];
        for (at, file) in catalogue.instances_of(&uids)? {
            files[at].push(file);
        }
        if !commit_when.is_empty() {
            for Owing { at, destination, is_dead } in catalogue.owing(&uids, commit_when)? {
                if is_dead || self.waits_no_more {
                    refused.insert(references[at].position);
                } else {
                    self.waits = Some((uids[at].clone(), commit_when[destination].clone()));
                }
            }
        }
        if let Some(last) = references.last() {
            self.position = last.position + 1;
        }
        let (reading, ahead, outcomes, synced, gone) = (None, None, Vec::new(), Vec::new(), Vec::new());
        let (at, found) = ((0, 0), None);
        let (doubtful, is_withheld) = (0, false);
        self.chunk = Some(Chunk {
            references,
            refused,
            is_current,
            files,
            at,
            found,
            reading,
            ahead,
            outcomes,
            doubtful,
            is_withheld,
            synced,
            gone,
        });
        Ok(())
    }

    /// Looks at files for a while.
    pub(super) fn step(&mut self, survey: &Survey, buffer: &mut [u8]) -> Step {
        let Some(chunk) = &mut self.chunk else { return Step::More };
        let began = Instant::now();
        while chunk.at.0 < chunk.references.len() {
            chunk.look(self.terms, self.received_ms, survey, buffer);
            if began.elapsed() >= STEP {
                return Step::More;
            }
        }
        let outcomes = std::mem::take(&mut chunk.outcomes);
        self.gone.append(&mut chunk.gone);
        (self.doubtful, self.is_withheld) = (self.doubtful + chunk.doubtful, self.is_withheld | chunk.is_withheld);
        self.chunk = None;
        Step::Outcomes(outcomes)
    }
}

impl Chunk {
    /// Looks at the next file, or reads on in it.
    fn look(&mut self, terms: Terms, received_ms: i64, survey: &Survey, buffer: &mut [u8]) {
        if let Some((mut reading, expected, file)) = self.reading.take() {
            match reading.step(buffer) {
                Ok(None) => self.reading = Some((reading, expected, file)),
                Ok(Some((bytes, digest))) => {
                    let is_whole = bytes == file.bytes && digest.value() == expected;
                    let found = if is_whole { self.settle(survey, &file) } else { Found::Changed };
                    self.note(found);
                }
                Err(_) => self.note(Found::Unreadable),
            }
            return;
        }
        if self.refused.contains(&self.references[self.at.0].position) {
            self.found = Some(Found::Changed);
            return self.conclude();
        }
        let Some(file) = self.file_at(self.at).cloned() else { return self.conclude() };
        let begun = match self.ahead.take() {
            Some((place, begun)) if place == self.at => begun,
            _ => self.begin(self.at, &file, (terms, received_ms), survey),
        };
        match begun {
            Ok(Begun::Whole) => {
                let found = self.settle(survey, &file);
                self.note(found);
            }
            Ok(Begun::Read(reading, digest)) => {
                self.reading = Some((*reading, digest, file));
                let next = (self.at.0 + 1, 0);
                let file = self.file_at(next);
                self.ahead = file.map(|file| (next, self.begin(next, file, (terms, received_ms), survey)));
            }
            Ok(Begun::Not(found)) => {
                if found == Found::Gone {
                    self.gone.push(file.path);
                }
                self.note(found);
            }
            Err(_) => self.note(Found::Unreadable),
        }
    }

    /// A file of a reference, among those of the class that was named.
    fn file_at(&self, (at, version): (usize, usize)) -> Option<&StoredFile> {
        let sop_class = &self.references.get(at)?.reference.sop_class;
        self.files[at].iter().filter(|file| sop_class.is(file.sop_class_uid.as_bytes())).nth(version)
    }

    fn begin(
        &self,
        at: (usize, usize),
        file: &StoredFile,
        (terms, received_ms): (Terms, i64),
        survey: &Survey,
    ) -> Result<Begun, Errno> {
        let was_committed = self.references[at.0].outcome == Some(Outcome::Committed);
        begin(survey, file, terms, was_committed.then_some(received_ms))
    }

    /// The bytes are there: makes sure that they are on the disk. Whatever the settings are now, the file may have been stored without a sync, or
    /// by somebody else.
    fn settle(&mut self, survey: &Survey, file: &StoredFile) -> Found {
        let was_committed = self.references[self.at.0].outcome == Some(Outcome::Committed);
        let is_own = was_committed || !file.is_from_disk;
        let settled = match survey.is_all_synced() {
            Ok(true) if is_own => Ok(true),
            Ok(_) => sync(survey, &file.path, &mut self.synced),
            Err(error) => Err(error),
        };
        match settled {
            Ok(true) => Found::Whole,
            Ok(false) => Found::Gone,
            Err(_) => Found::Unreadable,
        }
    }

    /// Notes what was found of a version.
    fn note(&mut self, found: Found) {
        self.found = self.found.max(Some(found));
        self.at.1 += 1;
    }

    /// The present reference has its outcome.
    fn conclude(&mut self) {
        let referenced = &self.references[self.at.0];
        let is_known = !self.files[self.at.0].is_empty();
        let found = self.found.take();
        let outcome = match found {
            Some(Found::Whole) => Outcome::Committed,
            Some(Found::Changed | Found::Unreadable) => Outcome::Failed(FailureReason::ProcessingFailure),
            None if is_known => Outcome::Failed(FailureReason::ClassInstanceConflict),
            Some(Found::Gone) | None => Outcome::Failed(FailureReason::NoSuchObjectInstance),
        };
        // That the catalogue does not know an instance says nothing if it is not current; what was said before may be so no more.
        let (outcome, is_withheld) = match (found, referenced.outcome) {
            (None, failed @ Some(Outcome::Failed(_))) if !self.is_current => (failed, false),
            (None, _) if !self.is_current => (None, true),
            _ => (Some(outcome), false),
        };
        self.is_withheld |= is_withheld;
        self.doubtful += u32::from(outcome != Some(Outcome::Committed));
        if referenced.outcome != outcome {
            self.outcomes.push((referenced.position, outcome));
        }
        self.at = (self.at.0 + 1, 0);
    }
}

/// What opening a file came to.
enum Begun {
    Whole,
    /// Its content is to be read, and must have this digest.
    Read(Box<Reading>, u128),
    Not(Found),
}

/// Opens a file, and looks how far its length is proof enough.
/// `read_ms`: its content was read since then, and was what it should be.
fn begin(survey: &Survey, known: &StoredFile, terms: Terms, read_ms: Option<i64>) -> Result<Begun, Errno> {
    let Some(file) = survey.stored(&known.path)? else { return Ok(Begun::Not(Found::Gone)) };
    if file.bytes() != known.bytes {
        return Ok(Begun::Not(Found::Changed));
    }
    // A row that was made from the file has the length that the file had then.
    let is_read = read_ms.is_some_and(|read_ms| file.changed_ms() < read_ms.saturating_sub(COARSE_MS));
    if is_read || !(terms.by_digest || known.is_from_disk) {
        return Ok(Begun::Whole);
    }
    // A file that was moved here has brought its digest along.
    let recorded = file.recorded().map(|recorded| recorded.digest.value());
    Ok(match (known.digest, recorded) {
        (Some(known), Some(recorded)) if known != recorded => Begun::Not(Found::Changed),
        (Some(digest), _) | (None, Some(digest)) => Begun::Read(Box::new(file.reading()), digest),
        (None, None) => Begun::Whole,
    })
}

/// Syncs a file, and the names on its way. False: it is gone.
fn sync(survey: &Survey, path: &Path, synced: &mut Vec<PathBuf>) -> Result<bool, Errno> {
    let Some(file) = survey.stored(path)? else { return Ok(false) };
    file.sync()?;
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    if !synced.contains(&directory) {
        survey.sync_names(path)?;
        synced.push(directory);
    }
    Ok(true)
}
