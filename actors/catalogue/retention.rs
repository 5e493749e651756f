//! Retention: files that were delivered are removed when their study is old enough, or when there are too many bytes.
//!
//! The owner of the catalogue removes them, so nothing comes to be owed between the last look and the removal: a commit that has found a file keeps it
//! (`Store::begin_removal`) until its event is in the queue, and the queue is entered after the files are reserved. Nothing is removed unless the
//! catalogue has all that is on the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_catalogue::catch_up::{Disk, Seen};
use tidegate_catalogue::{PackedUid, Releasable, Sweep};
use tidegate_storage::{Looked, Removal, Removed, Store};
use tracing::{info, warn};

use super::keeper::Keeper;
use crate::committed::clock_ms;
use crate::gauges::Gauges;
use crate::gauges::audit::{AuditEvent, AuditStudy};
use crate::node::settings::RetentionSettings;

/// Files of one step.
const PAGE: usize = 64;
/// Between two looks at all studies.
const INTERVAL: Duration = Duration::from_secs(if cfg!(feature = "test-faults") { 1 } else { 60 });
/// Before the next look, when the catalogue does not have everything.
const AGAIN: Duration = Duration::from_secs(if cfg!(feature = "test-faults") { 1 } else { 10 });
/// A pause after each step, so that a disk has other work between the removals.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause on a node where others wait, as a multiple of the step.
const PAUSE_FACTOR: u32 = 4;
/// Whatever the limits say, a study stays for so long after its last instance: more of it may be on its way.
const LEAST_AGE: Duration = Duration::from_secs(if cfg!(feature = "test-faults") { 1 } else { 600 });

/// Which of these instances a pending request for storage commitment names. An error: nobody can tell.
pub(crate) type AreAwaited = Box<dyn Fn(&[PackedUid]) -> Result<Vec<bool>, String> + Send + Sync>;

/// What retention uses of the node.
pub(crate) struct Env {
    pub(crate) settings: Box<dyn Fn() -> RetentionSettings + Send + Sync>,
    pub(crate) store: Store,
    pub(crate) are_awaited: AreAwaited,
    pub(crate) gauges: Arc<Gauges>,
}

/// The state between two steps.
pub(super) struct Retention {
    env: Env,
    sweep: Sweep,
    due_at: Instant,
    /// The next step is the next look at all studies.
    is_resting: bool,
    /// There were too many bytes, and the low water is not reached.
    is_freeing: bool,
    /// There are too many bytes, and no file may go.
    is_blocked: bool,
    /// What was removed in this sweep.
    files: u64,
    bytes: u64,
}

/// A file that is reserved for removal.
struct Reserved {
    file: Releasable,
    removal: Removal,
}

impl Retention {
    pub(super) fn new(env: Env) -> Self {
        let (sweep, due_at) = (Sweep::default(), Instant::now());
        Self { env, sweep, due_at, is_resting: false, is_freeing: false, is_blocked: false, files: 0, bytes: 0 }
    }

    /// When the next step is due.
    pub(super) fn due_at(&self) -> Instant {
        self.due_at
    }

    /// Removes a page of files, if some may go. `others_wait`: so do instances or records.
    pub(super) fn step<D: Disk>(&mut self, keeper: &mut Keeper<D>, others_wait: bool) {
        let began = Instant::now();
        let settings = (self.env.settings)();
        let pause = if !settings.is_on() {
            self.is_freeing = false;
            self.show(keeper, false);
            INTERVAL
        } else if !keeper.has_everything() {
            AGAIN
        } else {
            match self.page(keeper, &settings) {
                Some(true) if others_wait => (began.elapsed() * PAUSE_FACTOR).clamp(LEAST_PAUSE, LONGEST_PAUSE),
                Some(true) => LEAST_PAUSE,
                Some(false) => INTERVAL,
                None => AGAIN,
            }
        };
        self.is_resting = pause == INTERVAL;
        self.due_at = Instant::now() + pause;
    }

    /// Instances were entered. If they have led beyond the limit, the next look is due: a node that receives a gigabyte a second had 60 more by then.
    /// While nothing may go, it waits for the next one.
    pub(super) fn note_entered<D: Disk>(&mut self, keeper: &mut Keeper<D>) {
        let Some(max_bytes) = (self.env.settings)().max_bytes.filter(|_| self.is_resting && !self.is_blocked) else {
            return;
        };
        if keeper.attempt(|file, _| file.stored_bytes()).is_some_and(|stored_bytes| stored_bytes > max_bytes) {
            (self.due_at, self.is_resting) = (Instant::now(), false);
        }
    }

    /// Removes the next page. `Some(false)`: nothing is left to do; `None`: it cannot be done now.
    fn page<D: Disk>(&mut self, keeper: &mut Keeper<D>, settings: &RetentionSettings) -> Option<bool> {
        let stored_bytes = keeper.attempt(|file, _| file.stored_bytes())?;
        let limit_bytes = settings.limit_bytes(self.is_freeing);
        self.is_freeing = limit_bytes.is_some_and(|limit_bytes| stored_bytes > limit_bytes);
        let age = match settings.delete_after {
            _ if self.is_freeing => LEAST_AGE,
            Some(age) => age.max(LEAST_AGE),
            None => {
                self.end_sweep(keeper, false);
                return Some(false);
            }
        };
        let before_ms = clock_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let sweep = &mut self.sweep;
        let files = keeper.attempt(|file, _| {
            let left = file.releasing(PAGE)?;
            if left.is_empty() { file.releasable(sweep, before_ms, PAGE) } else { Ok(left) }
        })?;
        if files.is_empty() && self.sweep.is_done() {
            self.sweep.restart();
            let is_blocked = settings.max_bytes.is_some_and(|max_bytes| stored_bytes > max_bytes);
            self.end_sweep(keeper, is_blocked);
            return Some(false);
        }
        self.remove(keeper, files)?;
        Some(true)
    }

    /// Removes those of the files that still owe nothing. The others are not about to be removed any more, whatever a process that ended had noted of them:
    /// as long as they are, each page is these.
    fn remove<D: Disk>(&mut self, keeper: &mut Keeper<D>, files: Vec<Releasable>) -> Option<()> {
        let mut left = Vec::new();
        let mut reserved = Vec::new();
        for file in files {
            match self.reserve(&file) {
                Some(removal) => reserved.push(Reserved { file, removal }),
                None => left.push(file),
            }
        }
        // Whoever has sent one of them again has said so by now.
        if !keeper.enter_all() || !keeper.has_everything() {
            return None;
        }
        let uids: Vec<_> = reserved.iter().map(|reserved| reserved.file.sop_instance_uid.clone()).collect();
        let awaited = match (self.env.are_awaited)(&uids) {
            Ok(awaited) => awaited,
            Err(error) => {
                warn!(
                    error,
                    "delivered files are not deleted: nobody can tell which a storage commitment request waits for"
                );
                return None;
            }
        };
        let (mut files, mut removals) = (Vec::new(), Vec::new());
        for (Reserved { file, removal }, is_awaited) in reserved.into_iter().zip(awaited) {
            if is_awaited {
                left.push(file);
            } else {
                files.push(file);
                removals.push(removal);
            }
        }
        let may_go = keeper.attempt(|file, _| file.begin_release(&files, clock_ms()))?;
        let (mut released, mut kept) = (Vec::new(), left.iter().collect::<Vec<_>>());
        for ((file, removal), may_go) in files.iter().zip(&removals).zip(may_go) {
            let is_gone = may_go && self.is_removed(keeper, file, removal);
            if is_gone { &mut released } else { &mut kept }.push(file);
        }
        let (files, bytes) = (released.len() as u64, released.iter().map(|file| file.bytes).sum::<u64>());
        keeper.shared.figures.deleted_files.add(files);
        keeper.shared.figures.deleted_bytes.add(bytes);
        (self.files, self.bytes) = (self.files + files, self.bytes + bytes);
        audit(&self.env.gauges, &released);
        keeper.attempt(|file, _| file.end_release(&released, &kept, clock_ms()))
    }

    /// Reserves a file. `None`: not now, and the next sweep comes to it again.
    fn reserve(&self, file: &Releasable) -> Option<Removal> {
        match self.env.store.begin_removal(&file.path) {
            Ok(removal) => removal,
            Err(error) => {
                warn_of(&file.path, &error.to_string());
                None
            }
        }
    }

    /// Removes a file. Whether it is not there any more.
    fn is_removed<D: Disk>(&self, keeper: &Keeper<D>, file: &Releasable, removal: &Removal) -> bool {
        let seen = |looked: &Looked| Seen {
            bytes: looked.bytes,
            modified_ns: looked.modified_ns,
            digest: looked.recorded.map(|recorded| recorded.digest.value()),
        };
        let reason = match removal.remove(|looked| file.is(&seen(looked))) {
            Ok(Removed::Removed | Removed::Gone) => return true,
            Ok(Removed::Other) => "it is not the file that was stored".to_owned(),
            Err(error) => error.to_string(),
        };
        keeper.shared.figures.not_deleted.add(1);
        warn_of(&file.path, &reason);
        false
    }

    fn end_sweep<D: Disk>(&mut self, keeper: &Keeper<D>, is_blocked: bool) {
        let (files, bytes) = (std::mem::take(&mut self.files), std::mem::take(&mut self.bytes));
        if files > 0 {
            info!(files, bytes, "delivered files deleted");
        }
        self.show(keeper, is_blocked);
    }

    fn show<D: Disk>(&mut self, keeper: &Keeper<D>, is_blocked: bool) {
        if is_blocked && !self.is_blocked {
            warn!("stored files have more bytes than retention.max_bytes, and none of them may be deleted now");
        }
        self.is_blocked = is_blocked;
        keeper.shared.figures.seen.lock().is_retention_blocked = is_blocked;
    }
}

fn warn_of(path: &Path, reason: &str) {
    warn!(path = %path.display(), reason, "delivered file not deleted");
}

/// A message for each study.
fn audit(gauges: &Gauges, released: &[&Releasable]) {
    let mut studies: Vec<AuditStudy> = Vec::new();
    for file in released {
        let uid = &*file.study_uid;
        let at = studies.iter().position(|study| study.uid == uid).unwrap_or_else(|| {
            let patient_id = file.patient_id.as_deref().unwrap_or_default().to_owned();
            studies.push(AuditStudy { uid: uid.to_owned(), patient_id, sop_classes: Vec::new() });
            studies.len() - 1
        });
        studies[at].count(&file.sop_class_uid);
    }
    for study in studies {
        gauges.record(|| AuditEvent::Deleted { study });
    }
}
