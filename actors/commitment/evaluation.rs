//! The evaluation of a request: each instance is looked for in the catalogue, and its file in the storage root. It knows nothing of who asked, and
//! goes on in steps, so that one request waits for no other's files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidegate_catalogue::{Reader, StoredFile};
use tidegate_commitment::{FailureReason, Outcome, PackedUid, Referenced};
use tidegate_storage::digest::Digest;
use tidegate_storage::fs::Errno;
use tidegate_storage::survey::{Reading, Survey};

/// References of one question to the catalogue.
pub(super) const CHUNK: u32 = 500;
/// After so long, it is the turn of another request.
const STEP: Duration = Duration::from_millis(20);
/// Bytes that are read of a file at a time.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// How files are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Their content is read.
    pub(super) by_digest: bool,
    /// An instance may be stored without a sync, which is made up for.
    pub(super) syncs: bool,
}

/// What was found of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Whole, and on the disk.
    Whole,
    /// Not at its place.
    Gone,
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
    files: Vec<Vec<StoredFile>>,
    /// The next reference, and the next of its files.
    at: (usize, usize),
    /// The best that was found of the present reference.
    best: Option<Found>,
    reading: Option<(Reading, u128, StoredFile)>,
    outcomes: Vec<(u32, Outcome)>,
    synced: Vec<PathBuf>,
    gone: Vec<PathBuf>,
}

/// An evaluation that is under way.
pub(super) struct Evaluation {
    terms: Terms,
    /// Of the next chunk.
    position: u32,
    chunk: Option<Chunk>,
    /// Instances that are not there, or not as the catalogue has them.
    pub(super) doubtful: u32,
    /// Files that the catalogue has, and that are not there.
    gone: Vec<PathBuf>,
}

/// What a step came to.
pub(super) enum Step {
    /// It goes on, perhaps with the next references.
    More,
    /// These outcomes are to be noted.
    Outcomes(Vec<(u32, Outcome)>),
}

impl Evaluation {
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms, position: 0, chunk: None, doubtful: 0, gone: Vec::new() }
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
    ///
    /// # Errors
    /// Those of the catalogue.
    pub(super) fn take(
        &mut self,
        references: Vec<Referenced>,
        refused: HashSet<u32>,
        catalogue: &mut Reader,
    ) -> Result<(), tidegate_catalogue::Error> {
        let uids: Vec<PackedUid> =
            references.iter().map(|referenced| referenced.reference.sop_instance.clone()).collect();
        let mut files = vec![Vec::new(); references.len()];
        for (at, file) in catalogue.instances_of(&uids)? {
            files[at].push(file);
        }
        if let Some(last) = references.last() {
            self.position = last.position + 1;
        }
        let (reading, outcomes, synced, gone) = (None, Vec::new(), Vec::new(), Vec::new());
        self.chunk =
            Some(Chunk { references, refused, files, at: (0, 0), best: None, reading, outcomes, synced, gone });
        Ok(())
    }

    /// Looks at files for a while.
    pub(super) fn step(&mut self, survey: &Survey, buffer: &mut [u8]) -> Step {
        let Some(chunk) = &mut self.chunk else { return Step::More };
        let began = Instant::now();
        while chunk.at.0 < chunk.references.len() {
            chunk.look(self.terms, survey, buffer, &mut self.doubtful);
            if began.elapsed() >= STEP {
                return Step::More;
            }
        }
        let outcomes = std::mem::take(&mut chunk.outcomes);
        self.gone.append(&mut chunk.gone);
        self.chunk = None;
        Step::Outcomes(outcomes)
    }
}

impl Chunk {
    /// Looks at the next file, or reads on in it.
    fn look(&mut self, terms: Terms, survey: &Survey, buffer: &mut [u8], doubtful: &mut u32) {
        let (at, version) = self.at;
        if let Some((mut reading, expected, file)) = self.reading.take() {
            match reading.step(buffer) {
                Ok(None) => self.reading = Some((reading, expected, file)),
                Ok(Some((bytes, digest))) => {
                    let is_whole = bytes == file.bytes && digest.value() == expected;
                    let found = if is_whole { self.settle(terms, survey, &file) } else { Found::Changed };
                    self.found(found, doubtful);
                }
                Err(_) => self.found(Found::Unreadable, doubtful),
            }
            return;
        }
        let referenced = &self.references[at];
        if self.refused.contains(&referenced.position) {
            self.best = Some(Found::Changed);
            return self.conclude(doubtful);
        }
        let sop_class = &referenced.reference.sop_class;
        let is_of_class = |file: &&StoredFile| sop_class.is(file.sop_class_uid.as_bytes());
        let Some(file) = self.files[at].iter().filter(is_of_class).nth(version).cloned() else {
            return self.conclude(doubtful);
        };
        let was_committed = referenced.outcome == Some(Outcome::Committed);
        match begin(survey, &file, terms, was_committed) {
            Ok(Begun::Whole) => {
                let found = self.settle(terms, survey, &file);
                self.found(found, doubtful);
            }
            Ok(Begun::Read(reading, digest)) => self.reading = Some((*reading, digest, file)),
            Ok(Begun::Not(found)) => {
                if found == Found::Gone {
                    self.gone.push(file.path);
                }
                self.found(found, doubtful);
            }
            Err(_) => self.found(Found::Unreadable, doubtful),
        }
    }

    /// The bytes are there: makes sure that they are on the disk.
    fn settle(&mut self, terms: Terms, survey: &Survey, file: &StoredFile) -> Found {
        if !terms.syncs {
            return Found::Whole;
        }
        match sync(survey, &file.path, &mut self.synced) {
            Ok(true) => Found::Whole,
            Ok(false) => Found::Gone,
            Err(_) => Found::Unreadable,
        }
    }

    /// Notes what was found of a file. Any whole version commits the instance.
    fn found(&mut self, found: Found, doubtful: &mut u32) {
        self.best = Some(match self.best {
            Some(Found::Unreadable) if found != Found::Whole => Found::Unreadable,
            Some(Found::Changed) if found == Found::Gone => Found::Changed,
            _ => found,
        });
        self.at.1 += 1;
        if found == Found::Whole {
            self.conclude(doubtful);
        }
    }

    /// The present reference has its outcome.
    fn conclude(&mut self, doubtful: &mut u32) {
        let referenced = &self.references[self.at.0];
        let is_known = !self.files[self.at.0].is_empty();
        let outcome = match self.best.take() {
            Some(Found::Whole) => Outcome::Committed,
            Some(Found::Changed | Found::Unreadable) => Outcome::Failed(FailureReason::ProcessingFailure),
            None if is_known => Outcome::Failed(FailureReason::ClassInstanceConflict),
            Some(Found::Gone) | None => Outcome::Failed(FailureReason::NoSuchObjectInstance),
        };
        if outcome != Outcome::Committed {
            *doubtful += 1;
        }
        if referenced.outcome != Some(outcome) {
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
fn begin(survey: &Survey, known: &StoredFile, terms: Terms, was_committed: bool) -> Result<Begun, Errno> {
    let Some(file) = survey.stored(&known.path)? else { return Ok(Begun::Not(Found::Gone)) };
    if file.bytes() != known.bytes {
        return Ok(Begun::Not(Found::Changed));
    }
    // The content was read when it was committed. A row that was made from the file has the length that the file had then.
    if was_committed || !(terms.by_digest || known.is_from_disk) {
        return Ok(Begun::Whole);
    }
    let recorded = file.recorded().map(|recorded| recorded.digest).map(Digest::value);
    Ok(match recorded.or(known.digest) {
        Some(digest) => Begun::Read(Box::new(file.reading()), digest),
        None => Begun::Whole,
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
