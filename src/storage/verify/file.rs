//! The check of one file, in one read: digest, file meta, whole dataset, and path.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use dicom_core::Tag;
use flate2::{Decompress, FlushDecompress, Status};

use super::verdict::{Digested, Fault, Verdict};
use crate::digest::{Hasher, Recorded};
use crate::fs::{Errno, Handle, read_full};
use crate::head::syntax::{PixelForm, Syntax};
use crate::head::walk::{DatasetFault, Walk};
use crate::head::{HeadLimits, HeadScan};
use crate::layout::Layout;
use crate::meta::{FileMeta, MetaFault, StoredMeta};

/// Bytes of one read.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of one inflated buffer.
const INFLATED_BYTES: usize = 64 * 1024;
/// Deflate makes at most 1032 bytes of one: a deflated dataset of any honest size stays below.
const MAX_INFLATED_BYTES: u64 = 16 << 30;

/// What is known of a file from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Of the file.
    pub bytes: u64,
    /// XXH3-128 of the file.
    pub digest: Option<u128>,
}

/// Finds what is known from elsewhere of a file, which has no recorded digest, by its path below the root.
pub type Lookup<'a> = dyn Fn(&Path) -> Option<Known> + Sync + 'a;

/// The buffers and layouts of a thread that checks files.
pub(super) struct Checker<'a> {
    layouts: &'a [Layout],
    lookup: &'a Lookup<'a>,
    /// The elements that any of the layouts names.
    wanted: Arc<[Tag]>,
    chunk: Box<[u8]>,
}

/// The findings about a file's bytes.
#[derive(Default)]
struct Found {
    faults: Vec<Fault>,
    stored: Option<StoredMeta>,
    head: Option<HeadScan>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(layouts: &'a [Layout], lookup: &'a Lookup<'a>) -> Self {
        let mut wanted: Vec<Tag> = layouts.iter().flat_map(|layout| layout.wanted().to_vec()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        Self { layouts, lookup, wanted: wanted.into(), chunk: vec![0; CHUNK_BYTES].into() }
    }

    /// Checks the open `file` at `path` below the root.
    pub(super) fn check(&mut self, file: &File, path: &Path) -> Verdict {
        // Drops cached pages, so that the bytes come from the disk, and enables read-ahead.
        file.expect_reading();
        let mut hasher = Hasher::default();
        let mut bytes = 0;
        let mut found = Found::default();
        match self.read(file, &mut hasher, &mut bytes, &mut found) {
            Ok(()) => self.check_path(path, &mut found),
            Err(error) => found.faults.push(Fault::Unreadable { after_bytes: bytes, error }),
        }
        file.start_write_back(0, None); // it is not read again
        let recorded = Recorded::read(file).map(|recorded| recorded.digest.value());
        let known = if recorded.is_none() { (self.lookup)(path) } else { None };
        // After a failed read, the length says nothing more.
        let is_whole = !matches!(found.faults.last(), Some(Fault::Unreadable { .. }));
        if let Some(Known { bytes: committed, .. }) = known.filter(|known| is_whole && known.bytes != bytes) {
            found.faults.push(Fault::Length { bytes, committed });
        }
        let digested = match recorded.or(known.and_then(|known| known.digest)) {
            None => Digested::NotRecorded,
            Some(digest) if digest == hasher.digest().value() => Digested::Matches,
            Some(_) => {
                found.faults.push(Fault::Digest);
                Digested::Differs
            }
        };
        let is_ours = digested != Digested::NotRecorded
            || known.is_some()
            || self.layouts.iter().any(|layout| layout.could_make(path));
        if !is_ours && found.faults.contains(&Fault::Meta(MetaFault::NotPart10)) {
            found.faults = vec![Fault::Foreign];
        }
        Verdict { path: path.to_owned(), bytes, digested, faults: found.faults }
    }

    /// Reads the file to its end.
    fn read(&mut self, file: &File, hasher: &mut Hasher, bytes: &mut u64, found: &mut Found) -> Result<(), Errno> {
        let length = read_full(file, 0, &mut self.chunk)?;
        *bytes = length as u64;
        hasher.update(&self.chunk[..length]);
        let stored = StoredMeta::read(&self.chunk[..length.min(FileMeta::MAX_ENCODED_BYTES)]);
        let mut dataset = match stored {
            Ok(stored) => {
                let syntax = &stored.meta.transfer_syntax_uid;
                found.head = Some(HeadScan::of_head(syntax, Arc::clone(&self.wanted), HeadLimits::default()));
                let dataset = Dataset::new(syntax);
                found.stored = Some(stored);
                dataset
            }
            Err(fault) => {
                found.faults.push(Fault::Meta(fault));
                Dataset::Opaque
            }
        };
        let start = found.stored.as_ref().map_or(0, |stored| stored.dataset_offset as usize);
        let mut piece = start..length;
        loop {
            if let Some(head) = &mut found.head {
                let _ = head.feed(&self.chunk[piece.clone()]);
            }
            dataset.feed(&self.chunk[piece]);
            let length = read_full(file, *bytes, &mut self.chunk)?;
            if length == 0 {
                break;
            }
            *bytes += length as u64;
            hasher.update(&self.chunk[..length]);
            piece = 0..length;
        }
        if let Err(fault) = dataset.finish() {
            found.faults.push(Fault::Dataset(fault));
        }
        Ok(())
    }

    /// Compares path, file meta and dataset.
    fn check_path(&self, path: &Path, found: &mut Found) {
        let (Some(stored), Some(head)) = (&found.stored, found.head.take()) else { return };
        let head = match head.finish() {
            Ok(head) => head,
            Err(error) => {
                // The walk has most likely said so already, and better.
                if found.faults.is_empty() {
                    found.faults.push(Fault::Head(error));
                }
                return;
            }
        };
        if let Err(mismatch) = head.check(&stored.meta) {
            found.faults.push(Fault::Mismatch(mismatch));
        }
        let in_place = self.layouts.iter().any(|layout| layout.copy_at(&stored.meta, &head, path).is_some());
        if let (false, Some(layout)) = (in_place, self.layouts.first()) {
            found.faults.push(Fault::Misplaced { belongs_at: layout.path(&stored.meta, &head, 1) });
        }
    }
}

/// The dataset as input of the walk, and the form that its pixel data must have.
enum Dataset {
    Plain(Box<Walk>, Option<PixelForm>),
    Deflated(Box<Inflating>, Option<PixelForm>),
    /// Not ours to judge: the transfer syntax is private, so its datasets may be anything.
    Opaque,
}

struct Inflating {
    stream: Decompress,
    walk: Walk,
    buffer: Vec<u8>,
    ended: bool,
    trailing_bytes: u64,
    fault: Option<DatasetFault>,
}

impl Dataset {
    fn new(transfer_syntax_uid: &str) -> Self {
        let syntax = Syntax::of(transfer_syntax_uid);
        let walk = Walk::new(syntax.encoding);
        if syntax.is_deflated {
            let inflating = Inflating {
                stream: Decompress::new(false),
                walk,
                buffer: vec![0; INFLATED_BYTES],
                ended: false,
                trailing_bytes: 0,
                fault: None,
            };
            return Self::Deflated(Box::new(inflating), syntax.pixels);
        }
        if syntax.is_private { Self::Opaque } else { Self::Plain(Box::new(walk), syntax.pixels) }
    }

    fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(walk, _) => walk.feed(bytes),
            Self::Deflated(inflating, _) => inflating.feed(bytes),
            Self::Opaque => {}
        }
    }

    fn finish(self) -> Result<(), DatasetFault> {
        match self {
            Self::Plain(walk, form) => walk.finish(form),
            Self::Deflated(inflating, form) => inflating.finish(form),
            Self::Opaque => Ok(()),
        }
    }
}

impl Inflating {
    fn feed(&mut self, mut deflated: &[u8]) {
        while self.fault.is_none() {
            if self.ended {
                self.trailing_bytes += deflated.len() as u64;
                return;
            }
            let (taken_before, made_before) = (self.stream.total_in(), self.stream.total_out());
            let Ok(status) = self.stream.decompress(deflated, &mut self.buffer, FlushDecompress::None) else {
                self.fault = Some(DatasetFault::Deflate { offset: taken_before });
                return;
            };
            let taken = (self.stream.total_in() - taken_before) as usize;
            let made = (self.stream.total_out() - made_before) as usize;
            self.walk.feed(&self.buffer[..made]);
            deflated = &deflated[taken..];
            self.ended = status == Status::StreamEnd;
            if self.stream.total_out() > MAX_INFLATED_BYTES {
                self.fault = Some(DatasetFault::TooLong { max_bytes: MAX_INFLATED_BYTES });
            }
            // A full buffer means that more may be waiting inside the inflater.
            if !self.ended && deflated.is_empty() && made < self.buffer.len() {
                return;
            }
            if !self.ended && taken + made == 0 {
                self.fault = Some(DatasetFault::Deflate { offset: taken_before });
            }
        }
    }

    fn finish(self, form: Option<PixelForm>) -> Result<(), DatasetFault> {
        match self.fault {
            Some(fault) => Err(fault),
            None if !self.ended && self.stream.total_in() == 0 => Err(DatasetFault::Empty),
            None if !self.ended => Err(DatasetFault::Deflate { offset: self.stream.total_in() }),
            None if self.trailing_bytes > 1 => Err(DatasetFault::Trailing { bytes: self.trailing_bytes }),
            None => self.walk.finish(form),
        }
    }
}
