//! The plan of a history, from its seed.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::digest::{RECEIPT_BYTES, Receipt};
use crate::fs::sim::{Aborted, Ailment, End, Event, Faults, Nature, Random};
use crate::fs::{Errno, FilesystemKind};
use crate::head::{Head, HeadLimits, HeadScan};
use crate::instance::FileBuilder;
use crate::layout::Layout;
use crate::meta::FileMeta;
use crate::settings::{CommitStrategy, Duplicates, Durability, FileAccess, Settings};
use crate::support;

/// Where the root is.
pub(super) const ROOT: &str = "/data/root";

/// Versions beside each other that a history can come to.
const MAX_COPIES: u32 = 6;

/// A SOP Instance UID, and the different bytes that are sent under it.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) meta: FileMeta,
    pub(super) series: String,
    /// Whole files.
    pub(super) versions: Vec<Vec<u8>>,
    pub(super) datasets: Vec<Bytes>,
    /// By copy, relative to the root.
    pub(super) paths: Vec<PathBuf>,
    uid: String,
}

/// A history.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nature: Nature,
    pub(super) settings: Settings,
    pub(super) eras: Vec<Era>,
    /// One in this many instances is a resend.
    pub(super) resends_percent: u64,
    pub(super) subjects: usize,
    pub(super) has_people: bool,
    /// No call fails, so every file gets what it is to say of itself.
    pub(super) is_healthy: bool,
    pub(super) final_end: End,
}

/// The part of a history from one start to the next.
#[derive(Debug)]
pub(super) struct Era {
    pub(super) writers: u64,
    pub(super) rounds: u64,
    /// The events, each at a call counted from its start; the next one is last.
    pub(super) events: Vec<(u64, Event)>,
    /// The call at which it ends, if it does before all is done.
    pub(super) ends_at: Option<u64>,
    pub(super) end: End,
    pub(super) is_slow: bool,
}

impl Plan {
    pub(super) fn of(random: &mut Random) -> Self {
        let kind = match random.below(12) {
            0 => FilesystemKind::Fuse,
            1 => FilesystemKind::Overlay,
            2 => FilesystemKind::Memory,
            3 | 4 => FilesystemKind::Xfs,
            _ => FilesystemKind::Ext4,
        };
        let mut nature = Nature {
            kind,
            capacity_blocks: if random.one_in(10) { random.range(40, 200) } else { 1 << 20 },
            direct_bytes: *random.pick(&[Some(512), Some(512), Some(512), Some(4096), None]),
            renames_to_free: !random.one_in(8),
            has_attributes: !random.one_in(6),
            lists_kinds: random.one_in(2),
            abort_shows: if random.one_in(4) { Aborted::Loud } else { Aborted::Quiet },
            background_one_in: *random.pick(&[0, 2, 5, 20]),
            commit_one_in: *random.pick(&[0, 4, 15, 60]),
            call_us: *random.pick(&[10, 200, 5000]),
            sync_us: *random.pick(&[100, 3000, 30_000]),
        };
        if kind == FilesystemKind::Memory {
            nature.direct_bytes = None;
        }
        let layout = match random.below(4) {
            0 => "{SOPInstanceUID}.dcm",
            1 => "{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
            _ => "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
        };
        let commit = match random.below(6) {
            0 | 1 => CommitStrategy::PerFile,
            2 | 3 => CommitStrategy::Log,
            _ => CommitStrategy::Adaptive,
        };
        let duplicates =
            *random.pick(&[Duplicates::Replace, Duplicates::Replace, Duplicates::KeepBoth, Duplicates::Refuse]);
        let settings = Settings {
            root: ROOT.into(),
            layout: Layout::parse(layout).unwrap(),
            durability: Durability::Fsync,
            commit,
            duplicates,
            min_free_bytes: 0,
            access: FileAccess::default(),
            requires_mark: false,
        };
        let troubles = Troubles::of(random);
        let eras = (0..random.range(1, 3)).map(|_| Era::of(random, troubles)).collect();
        let ends = [End::PowerCut, End::PowerCut, End::Unclean, End::Remount, End::Kill];
        Self {
            nature,
            settings,
            eras,
            resends_percent: *random.pick(&[0, 20, 50]),
            subjects: random.range(2, 24) as usize,
            has_people: random.one_in(4),
            is_healthy: matches!(troubles, Troubles::None),
            final_end: *random.pick(&ends),
        }
    }
}

/// The faults of a history.
#[derive(Debug, Clone, Copy)]
enum Troubles {
    None,
    Calls,
    Syncs,
    Device,
    Writes,
    Thin,
    Abort,
    Any,
}

impl Troubles {
    fn of(random: &mut Random) -> Self {
        match random.below(16) {
            0..=4 => Self::None,
            5 | 6 => Self::Calls,
            7 => Self::Syncs,
            8 | 9 => Self::Device,
            10 | 11 => Self::Writes,
            12 => Self::Thin,
            13 | 14 => Self::Abort,
            _ => Self::Any,
        }
    }

    fn event(self, random: &mut Random) -> Option<Event> {
        let ailment = |ailment| Some(Event::Ailment(ailment));
        let error = *random.pick(&[Errno::IO, Errno::IO, Errno::NOSPC]);
        match self {
            Self::None => None,
            Self::Calls => Some(Event::Faults(Faults { one_call_in: *random.pick(&[5, 20, 80]), ..Faults::default() })),
            Self::Syncs => Some(Event::Faults(Faults { one_sync_in: *random.pick(&[2, 5, 10]), ..Faults::default() })),
            Self::Device => ailment(match random.below(3) {
                0 => Ailment { writes: Some(error), ..Ailment::default() },
                1 => Ailment { flushes: Some(error), ..Ailment::default() },
                _ => Ailment { one_read_in: 3, one_flush_in: 4, one_write_in: 8, ..Ailment::default() },
            }),
            Self::Writes => ailment(Ailment { one_write_in: *random.pick(&[3, 10, 30]), ..Ailment::default() }),
            Self::Thin => ailment(Ailment { thin: Some(error), ..Ailment::default() }),
            Self::Abort => Some(Event::AbortJournal),
            Self::Any => {
                let all = [Self::Calls, Self::Syncs, Self::Device, Self::Writes, Self::Thin, Self::Abort];
                random.pick(&all).event(random)
            }
        }
    }
}

impl Era {
    fn of(random: &mut Random, troubles: Troubles) -> Self {
        let mut events = Vec::new();
        if let Some(event) = troubles.event(random) {
            let begins = random.below(250);
            // Most troubles pass.
            if !random.one_in(3) {
                let ends = begins + random.range(1, 120);
                events.push((ends, Event::Ailment(Ailment::default())));
                events.push((ends, Event::Faults(Faults::default())));
            }
            events.push((begins, event));
        }
        let ends = [End::PowerCut, End::PowerCut, End::PowerCut, End::Unclean, End::Remount, End::Kill, End::Kill];
        Self {
            writers: random.range(1, 4),
            rounds: random.range(1, 4),
            events,
            ends_at: (!random.one_in(3)).then(|| random.below(300)),
            end: *random.pick(&ends),
            is_slow: random.one_in(4),
        }
    }
}

impl Subject {
    pub(super) fn new(number: usize, settings: &Settings) -> Self {
        let uid = format!("1.2.3.9.{number}");
        let series = format!("1.2.3.4.{}", number % 2);
        let meta = support::meta(&uid);
        let mut subject = Self { meta, series, versions: Vec::new(), datasets: Vec::new(), paths: Vec::new(), uid };
        let head = subject.head(settings, &subject.dataset(b""));
        subject.paths = (1..=MAX_COPIES).map(|copy| settings.layout.path(&subject.meta, &head, copy)).collect();
        subject
    }

    fn dataset(&self, pixels: &[u8]) -> Vec<u8> {
        support::dataset(&self.uid, support::STUDY, &self.series, pixels)
    }

    fn head(&self, settings: &Settings, dataset: &[u8]) -> Head {
        let wanted = settings.layout.wanted();
        let mut scan = HeadScan::new(&self.meta.transfer_syntax_uid, wanted, HeadLimits::default());
        let _ = scan.feed(dataset);
        scan.finish().unwrap()
    }

    /// What every file of it is to have behind its digest.
    pub(super) fn receipt(&self) -> Receipt {
        let mut receipt = [b'-'; RECEIPT_BYTES];
        receipt[..self.uid.len()].copy_from_slice(self.uid.as_bytes());
        receipt
    }

    /// Different bytes than any before.
    pub(super) fn add_version(&mut self, random: &mut Random) -> usize {
        let bytes = match random.below(20) {
            0..=12 => random.range(8, 3000),
            13..=17 => random.range(3000, 14_000),
            18 => random.range(14_000, 40_000),
            _ => random.range(40_000, 70_000),
        } & !1;
        // No byte is 0, so that what is missing can be told.
        let words = (0..bytes / 8 + 1).map(|_| (random.next() | 0x0101_0101_0101_0101).to_le_bytes());
        let mut pixels: Vec<u8> = words.flatten().collect();
        pixels.truncate(bytes as usize);
        let dataset = self.dataset(&pixels);
        let mut whole = self.meta.encode();
        whole.extend(&dataset);
        self.versions.push(whole);
        self.datasets.push(dataset.into());
        self.versions.len() - 1
    }

    /// Of a version, what an instance is made of. Where its memory lies does not depend on chance.
    pub(super) fn arrived(&self, version: usize, settings: &Settings) -> (FileBuilder, Head) {
        let dataset = &self.datasets[version];
        let begins_a_page = |builder: &FileBuilder| builder.encoded_meta().as_ptr().addr().is_multiple_of(4096);
        let mut unused = Vec::new();
        let mut builder = FileBuilder::new(self.meta.clone());
        while begins_a_page(&builder) {
            unused.push(std::mem::replace(&mut builder, FileBuilder::new(self.meta.clone())));
        }
        builder.update(dataset);
        (builder, self.head(settings, dataset))
    }
}

/// A copy of `bytes` in blocks, each beginning on a page of memory or surely not.
pub(super) fn blocks(bytes: &[u8], block_bytes: usize, on_a_page: bool) -> Vec<Bytes> {
    let block = |part: &[u8]| {
        let mut memory: Vec<u8> = Vec::with_capacity(part.len() + 4097);
        memory.resize(memory.as_ptr().align_offset(4096) + usize::from(!on_a_page), 0);
        let begin = memory.len();
        memory.extend_from_slice(part);
        Bytes::from(memory).slice(begin..)
    };
    bytes.chunks(block_bytes).map(block).collect()
}

pub(super) fn root() -> &'static Path {
    Path::new(ROOT)
}
