//! The child on real files, with a disk in memory.

mod retention;
mod work;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;
use tidegate_catalogue::catch_up::{Directory, Disk, File, Found, Seen};
use tidegate_catalogue::{Again, Reader, Record, Search, SeriesValues, StudyValues};
use tidegate_memory::MemoryBudget;

use crate::catalogue::actor::{CatalogueActor, Env};
use crate::catalogue::queue::{BATCH, CAPACITY, Entry, Queue};
use crate::catalogue::shared::Shared;
use crate::catalogue::state::{CatalogueRequest, CatalogueState, Condition, Work};
use crate::gauges::latency::Latencies;
use crate::mailbox::WriterMailbox;
use crate::node::settings::CatalogueSettings;
use crate::supervision::liveness::{LivenessView, liveness};

fn record(number: u64) -> Record {
    Record {
        path: PathBuf::from(format!("1.2/1.2.3.{number}.dcm")),
        sop_instance_uid: format!("1.2.3.{number}").parse().unwrap(),
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.7".to_owned(),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".to_owned(),
        study: StudyValues { uid: "1.2".to_owned(), ..StudyValues::default() },
        series: SeriesValues { uid: "1.2.3".to_owned(), ..SeriesValues::default() },
        instance_number: Some(number as i64),
        told: tidegate_catalogue::ToldNumbers::default(),
        bytes: 1000,
        digest: Some(u128::from(number)),
        received_ms: 1_700_000_000_000,
        modified_ns: None,
        origin: None,
    }
}

fn entry(number: u64) -> Entry {
    Entry::Record(Box::new(record(number)))
}

/// One directory, in memory.
#[derive(Clone, Default)]
struct TestDisk {
    files: Arc<Mutex<BTreeMap<PathBuf, Record>>>,
    stamp_ns: Arc<AtomicI64>,
}

const DIRECTORY: &str = "1.2";

impl TestDisk {
    fn store(&self, record: Record) {
        self.stamp_ns.fetch_add(1, Ordering::Relaxed);
        self.files.lock().insert(record.path.clone(), record);
    }

    fn remove(&self, number: u64) {
        self.stamp_ns.fetch_add(1, Ordering::Relaxed);
        self.files.lock().remove(&record(number).path).unwrap();
    }
}

impl Disk for TestDisk {
    type Directories = std::vec::IntoIter<io::Result<Directory>>;
    type Files = std::vec::IntoIter<io::Result<File>>;

    fn directories(&self) -> io::Result<Self::Directories> {
        let stamp_ns = self.stamp_ns.load(Ordering::Relaxed);
        Ok(vec![Ok(Directory { path: DIRECTORY.into(), stamp_ns })].into_iter())
    }

    fn stamp_ns(&self, directory: &Path) -> io::Result<Option<i64>> {
        Ok((directory == Path::new(DIRECTORY)).then(|| self.stamp_ns.load(Ordering::Relaxed)))
    }

    fn files(&self, _: &Path) -> io::Result<Self::Files> {
        let file = |(path, record): (&PathBuf, &Record)| {
            let seen = Seen { bytes: record.bytes, modified_ns: 0, digest: record.digest };
            Ok(File { name: path.file_name().unwrap().to_owned(), seen })
        };
        Ok(self.files.lock().iter().map(file).collect::<Vec<_>>().into_iter())
    }

    fn is_there(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files.lock().contains_key(path))
    }

    fn read(&self, paths: &[PathBuf]) -> Vec<io::Result<Found>> {
        let files = self.files.lock();
        let found = |path| files.get(path).map_or(Found::Gone, |record| Found::Instance(Box::new(record.clone())));
        paths.iter().map(|path| Ok(found(path))).collect()
    }

    fn now_ns(&self) -> i64 {
        i64::MAX
    }
}

/// A child on a thread of its own.
struct Child {
    shared: Arc<Shared>,
    disk: TestDisk,
    view: LivenessView,
    thread: Option<JoinHandle<()>>,
    budget: MemoryBudget,
    directory: TempDir,
}

const BUDGET: u64 = 64 << 20;

impl Child {
    fn start(is_own: bool) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), TestDisk::default(), is_own)
    }

    fn start_in(directory: TempDir, disk: TestDisk, is_own: bool) -> Self {
        let path = directory.path().join("catalogue.sqlite");
        let budget = MemoryBudget::new(BUDGET);
        let shared = Shared::new(CatalogueSettings { path, is_own, keeps_patients: true }, &budget);
        let (view, thread) = Self::spawn(&shared, &budget, &disk);
        Self { shared, disk, view, thread: Some(thread), budget, directory }
    }

    fn spawn(shared: &Arc<Shared>, budget: &MemoryBudget, disk: &TestDisk) -> (LivenessView, JoinHandle<()>) {
        let (liveness, view) = liveness(Arc::default());
        let (shared, budget, disk) = (shared.clone(), budget.clone(), disk.clone());
        let thread = std::thread::spawn(move || {
            let mailbox = Arc::new(WriterMailbox::new(1, 1, Arc::<Latencies>::default()));
            let root_id = Box::new(|| Ok((1, PathBuf::from("/srv/root"))));
            let open_disk = Box::new(move || Ok(disk.clone()));
            let actor = CatalogueActor::new(
                Env {
                    shared,
                    budget,
                    mailbox,
                    is_measured: Box::new(|| true),
                    root_id,
                    open_disk,
                    retention: None,
                    completeness: None,
                },
                liveness,
            );
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(actor.run());
        });
        (view, thread)
    }

    /// Deletes the file, and the two beside it.
    fn delete_files(&self) {
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{ending}", self.path().display()));
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("catalogue.sqlite")
    }

    /// Stores an instance, and tells the catalogue of it.
    fn store(&self, number: u64) {
        self.disk.store(record(number));
        self.shared.queue.push(entry(number));
    }

    fn wait_for(&self, what: &str, has_come: impl Fn(&CatalogueState) -> bool) -> CatalogueState {
        let began = Instant::now();
        loop {
            let state = self.shared.state();
            if has_come(&state) {
                return state;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: {state:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_until_current(&self) -> CatalogueState {
        self.wait_for("it becomes current", |state| {
            state.condition == Condition::Current
                && state.waiting == 0
                && state.work.as_ref().is_some_and(|work| !work.is_running)
        })
    }

    /// Waits until the file has exactly these instances.
    fn wait_for_instances(&self, count: u64) {
        let has_them = |_: &CatalogueState| self.instances() == Some(count);
        self.wait_for(&format!("{count} instances, {:?}", self.instances()), has_them);
    }

    fn instances(&self) -> Option<u64> {
        Reader::open(&self.path()).and_then(|mut reader| reader.totals()).ok().map(|totals| totals.instances)
    }

    fn work_of(&self, request: CatalogueRequest, work: Work) -> CatalogueState {
        let number = self.shared.ask(request);
        self.wait_for("the work ends", |state| {
            state.work.as_ref().is_some_and(|of| of.number >= number && of.work == work && !of.is_running)
        })
    }

    /// Asks the child to stop, and waits until it has.
    fn stop(&mut self) {
        self.view.stop();
        self.thread.take().unwrap().join().unwrap();
        assert_eq!(self.budget.held(), 0, "a lease is left");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.view.stop();
            let _ = thread.join();
        }
    }
}

#[test]
fn a_record_without_room_is_counted_and_none_keeps_its_lease() {
    let queue = Queue::new(MemoryBudget::new(BUDGET));
    (0..CAPACITY as u64).for_each(|number| assert!(queue.push(entry(number)) || number > BATCH as u64));
    let (waiting, _) = queue.waiting();
    while queue.push(entry(0)) {}
    assert!(queue.waiting().0 >= waiting);
    assert!(queue.has_missed());
    let missed: u64 = queue.take_missed().into_iter().map(|(_, count)| count).sum();
    assert!(missed > 0 && !queue.has_missed());
    let whole = queue.waiting().0;
    let first = queue.take();
    assert_eq!((first.records.len(), queue.waiting().0), (BATCH, whole - BATCH));
    first.done();
    let second = queue.take();
    drop(second);
    let (cause, count) = queue.take_missed()[0];
    assert_eq!((cause.text(), count), ("the thread of the catalogue ended", BATCH as u64));
    while queue.waiting().0 > 0 {
        queue.take().done();
    }
    assert!(queue.waiting().1.is_none());

    let budget = MemoryBudget::new(1 << 20);
    let queue = Queue::new(budget.clone());
    while queue.push(entry(1)) {}
    assert_eq!(queue.take_missed()[0].0.text(), "the memory budget had no room for the queue of the catalogue");
    assert!(budget.held() > (1 << 20) - (128 << 10), "{}", budget.held());
    queue.take().done();
    assert_eq!(budget.held(), 0);
}

#[test]
fn what_is_stored_is_entered_and_what_waits_at_the_end_too() {
    let mut child = Child::start(true);
    (0..10).for_each(|number| child.store(number));
    child.wait_for_instances(10);
    child.wait_for("they are entered", |state| state.entered == 10);
    child.wait_until_current();
    // The caches are given back.
    let began = Instant::now();
    while child.budget.held() > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{} bytes are leased at rest", child.budget.held());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.store(10);
    child.stop();
    assert_eq!(child.instances(), Some(11));
    let search = Search::default();
    let studies = Reader::open(&child.path()).unwrap().studies(&search, None, 10).unwrap().studies;
    assert_eq!((studies.len(), studies[0].instances), (1, 11));
}

#[test]
fn a_start_finds_what_happened_without_it() {
    let mut child = Child::start(true);
    (0..5).for_each(|number| child.store(number));
    child.wait_for_instances(5);
    child.stop();
    let disk = child.disk.clone();
    (5..9).for_each(|number| disk.store(record(number)));
    disk.remove(0);
    let directory = std::mem::replace(&mut child.directory, tempfile::tempdir().unwrap());
    let child = Child::start_in(directory, disk, true);
    let state = child.wait_until_current();
    assert_eq!(child.instances(), Some(8));
    let progress = state.work.unwrap().progress;
    assert_eq!((progress.new, progress.gone, state.entered), (4, 1, 0));
}

#[test]
fn missed_instances_open_a_gap_that_catch_up_closes() {
    let child = Child::start(true);
    child.wait_until_current();
    // More than the queue takes, before the child can look at any.
    let count = 3 * CAPACITY as u64;
    for number in 0..count {
        child.disk.files.lock().insert(record(number).path, record(number));
    }
    child.disk.stamp_ns.fetch_add(1, Ordering::Relaxed);
    let mut missed = 0;
    for number in 0..count {
        missed += u64::from(!child.shared.queue.push(entry(number)));
    }
    if missed == 0 {
        return; // a child that is faster than this test has no gap
    }
    child.wait_for_instances(count);
    let state = child.wait_until_current();
    assert_eq!(state.gap, None);
    let gaps = Reader::open(&child.path()).unwrap().gaps(10).unwrap();
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap.closed_ms.is_some()), "{gaps:?}");
    assert_eq!(gaps.iter().map(|gap| gap.missed).sum::<u64>(), missed);
}

#[test]
fn a_deleted_file_and_a_damaged_one_are_made_again() {
    let child = Child::start(true);
    (0..5).for_each(|number| child.store(number));
    child.wait_for_instances(5);
    child.wait_until_current();
    child.delete_files();
    child.store(5);
    child.wait_for_instances(6);
    child.wait_until_current();

    // Overwritten while it is open. The child meets it when it needs a page that it does not hold.
    let bytes = fs::metadata(child.path()).unwrap().len();
    fs::write(child.path(), vec![0x5A; bytes as usize]).unwrap();
    fs::write(format!("{}-wal", child.path().display()), "").unwrap();
    let began = Instant::now();
    let mut number = 6;
    while child.instances() != Some(number) {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", child.shared.state());
        child.store(number);
        number += 1;
        child.wait_for("it is entered", |state| state.waiting == 0);
        std::thread::sleep(Duration::from_millis(200));
    }
    child.wait_until_current();
    let names = fs::read_dir(child.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name.contains(".damaged-")), "{names:?}");
}

#[test]
fn a_check_heals_a_child_at_rest() {
    let child = Child::start(true);
    (0..5).for_each(|number| child.store(number));
    child.wait_for_instances(5);
    child.wait_until_current();
    child.delete_files();
    child.shared.ask(CatalogueRequest::Check);
    child.wait_for_instances(5);
    child.wait_until_current();
    let bytes = fs::metadata(child.path()).unwrap().len();
    fs::write(child.path(), vec![0x5A; bytes as usize]).unwrap();
    fs::write(format!("{}-wal", child.path().display()), "").unwrap();
    child.shared.ask(CatalogueRequest::Check);
    child.wait_for_instances(5);
    child.wait_until_current();
}

#[test]
fn a_directory_in_its_place_is_set_aside_each_time() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("catalogue.sqlite")).unwrap();
    fs::create_dir(directory.path().join("catalogue.sqlite.damaged-1")).unwrap();
    let child = Child::start_in(directory, TestDisk::default(), true);
    child.store(1);
    child.wait_for_instances(1);
    child.wait_until_current();
}

#[test]
fn a_file_that_an_operator_named_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue.sqlite");
    fs::write(&path, "another program's").unwrap();
    let child = Child::start_in(directory, TestDisk::default(), false);
    child.store(1);
    let is_unavailable = |state: &CatalogueState| matches!(state.condition, Condition::Unavailable { .. });
    let state = child.wait_for("it is unavailable", is_unavailable);
    let Condition::Unavailable { reason, remedy } = state.condition else { unreachable!() };
    assert!(
        reason.contains("is not a catalogue of tidegate") && remedy.contains("catalogue.path"),
        "{reason}; {remedy}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"another program's");
    fs::remove_file(&path).unwrap();
    child.wait_for_instances(1);
    child.wait_until_current();
}

#[test]
fn a_child_that_dies_is_followed_by_one_that_finds_its_records() {
    let mut child = Child::start(true);
    child.wait_until_current();
    // Its thread ends with a batch in hand.
    (0..3).for_each(|number| child.store(number));
    drop(child.shared.queue.take());
    child.stop();
    let (view, thread) = Child::spawn(&child.shared, &child.budget, &child.disk);
    (child.view, child.thread) = (view, Some(thread));
    child.wait_for_instances(3);
    let state = child.wait_until_current();
    assert_eq!(state.gap, None);
}

#[test]
fn an_instance_that_was_stored_before_is_read_if_it_is_not_known() {
    let child = Child::start(true);
    child.store(1);
    child.wait_for_instances(1);
    child.wait_until_current();
    // The event of its first commit is lost; the sender sends it again.
    child.disk.store(record(2));
    for number in 1..3 {
        let Record { path, received_ms: at_ms, .. } = record(number);
        child.shared.queue.push(Entry::Stored(Again { path, origin: Arc::default(), at_ms }));
    }
    child.wait_for_instances(2);
}
