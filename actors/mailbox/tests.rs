use std::future::Future;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::job::{AppendJob, CommitJob, PartContent, SpoolContent, SpoolPart, SpoolTarget, StoreInstance};
use super::open_spool::OpenSpool;
use super::scheduler::{BACKLOG, MAX_DISCARDS};
use super::*;
use crate::committed::Origin;
use bytes::Bytes;
use tidegate_storage::head::Head;
use tidegate_storage::layout::Layout;
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;
use tidegate_storage::{
    CommitStrategy, Duplicates, Durability, FileAccess, FileBuilder, Instance, Payload, Settings, Store,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

fn origin() -> Arc<Origin> {
    let peer = "127.0.0.1:104".parse().unwrap();
    Arc::new(Origin::new(1, peer, String::new(), None))
}

fn meta() -> FileMeta {
    let uid = || Uid::parse(b"1.2.3").unwrap();
    FileMeta {
        sop_class_uid: uid(),
        sop_instance_uid: uid(),
        transfer_syntax_uid: String::new(),
        source_ae_title: String::new(),
        sending_ae_title: String::new(),
        receiving_ae_title: String::new(),
    }
}

fn job() -> Job {
    let spool = SpoolTarget::New { meta_bytes: 0 };
    let content = PartContent::Held(SpoolContent { slices: Vec::new(), leases: Vec::new() });
    let part = Arc::new(SpoolPart { spool, offset_bytes: 0, content: Mutex::new(content) });
    Job::Append(AppendJob { part, reply: oneshot::channel().0 })
}

fn small_job() -> Job {
    let payload = Payload::Memory(vec![Bytes::from_static(b"small")]);
    let instance = Instance::new(FileBuilder::new(meta()), Head::default(), payload);
    let store = Arc::new(StoreInstance { instance, origin: origin(), leases: Vec::new(), spool: None });
    Job::Commit(CommitJob { store, lane: Lane::Small, reply: oneshot::channel().0 })
}

async fn take(mailbox: &WriterMailbox, most: usize, state: &mut WriterState) -> Vec<Job> {
    match mailbox.take(most, state).await {
        WriterTask::Jobs(jobs) => jobs,
        other => panic!("{other:?}"),
    }
}

const PATIENCE: Patience = Patience::new(Duration::from_secs(30));

fn mailbox(capacity: usize, writers: usize) -> WriterMailbox {
    WriterMailbox::new(capacity, writers, Arc::default())
}

#[tokio::test(start_paused = true)]
async fn there_are_never_more_jobs_than_places_however_many_senders_try() {
    let mailbox = mailbox(4, 1);
    let senders = (0..100).map(|_| mailbox.submit(PATIENCE, job));
    let submitted = futures_util::future::join_all(senders).await;
    assert_eq!(submitted.iter().filter(|result| result.is_ok()).count(), 4);
    assert_eq!((mailbox.depth(), mailbox.take_high_water()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_as_soon_as_a_writer_has_taken_the_job() {
    let mailbox = mailbox(1, 1);
    mailbox.submit(PATIENCE, job).await.unwrap();
    let mut state = WriterState::default();
    let (submitted, taken) = tokio::join!(mailbox.submit(PATIENCE, job), take(&mailbox, 1, &mut state));
    assert_eq!(submitted, Ok(()));
    assert_eq!((taken.len(), mailbox.depth()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_writer_leaves_the_others_their_share() {
    let mailbox = mailbox(16, 4);
    for _ in 0..9 {
        mailbox.submit(PATIENCE, job).await.unwrap();
    }
    let taken = take(&mailbox, 16, &mut WriterState::default()).await;
    assert_eq!(taken.len(), 3, "one, and a quarter of the other eight");
    let taken = take(&mailbox, 1, &mut WriterState::default()).await;
    assert_eq!(taken.len(), 1, "never more than asked for");
    assert_eq!(mailbox.depth(), 5);
    let taken = take(&mailbox, 16, &mut WriterState::default()).await;
    assert_eq!(taken.len(), 2, "one, and a quarter of the other four");
    let taken = take(&mailbox, 16, &mut WriterState::default()).await;
    assert_eq!((taken.len(), mailbox.depth()), (1, 2), "there is a writer for each of the others");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_found_no_place_is_not_even_made() {
    let mailbox = mailbox(1, 1);
    mailbox.submit(PATIENCE, job).await.unwrap();
    let late = mailbox.submit(PATIENCE, || unreachable!()).await;
    assert_eq!(late, Err(HandoffTimeout));
}

/// Jobs that must find a slot at once.
async fn slots(mailbox: &WriterMailbox) -> usize {
    let mut found = 0;
    while mailbox.submit(Patience::new(Duration::ZERO), job).await.is_ok() {
        found += 1;
    }
    found
}

#[tokio::test(start_paused = true)]
async fn a_capacity_that_grows_lets_more_in_and_loses_nothing_that_waits() {
    let mailbox = mailbox(2, 1);
    assert_eq!(slots(&mailbox).await, 2);
    mailbox.set_capacity(5);
    assert_eq!((slots(&mailbox).await, mailbox.depth()), (3, 5));
    let taken = take(&mailbox, 5, &mut WriterState::default()).await;
    assert_eq!((taken.len(), mailbox.depth()), (5, 0));
    assert_eq!(slots(&mailbox).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_that_shrinks_holds_once_what_waits_has_gone() {
    let mailbox = mailbox(6, 1);
    for _ in 0..4 {
        mailbox.submit(PATIENCE, job).await.unwrap();
    }
    mailbox.set_capacity(2);
    assert_eq!(slots(&mailbox).await, 0, "four wait where two may");
    assert_eq!(take(&mailbox, 2, &mut WriterState::default()).await.len(), 2);
    assert_eq!(slots(&mailbox).await, 0, "two still wait");
    assert_eq!(take(&mailbox, 1, &mut WriterState::default()).await.len(), 1);
    assert_eq!(slots(&mailbox).await, 1);
    assert_eq!(take(&mailbox, 8, &mut WriterState::default()).await.len(), 2);
    assert_eq!(slots(&mailbox).await, 2);
    // Raised again, while some slots are still to be withdrawn.
    mailbox.set_capacity(1);
    mailbox.set_capacity(6);
    take(&mailbox, 8, &mut WriterState::default()).await;
    assert_eq!(slots(&mailbox).await, 6);
}

#[tokio::test(start_paused = true)]
async fn small_instances_are_taken_all_at_once_by_one_writer() {
    let mailbox = mailbox(64, 4);
    let mut states = [WriterState::default(), WriterState::default()];
    for _ in 0..3 {
        mailbox.submit(PATIENCE, small_job).await.unwrap();
    }
    assert_eq!(take(&mailbox, 16, &mut states[0]).await.len(), 3);
    // A second writer finds no permit, and takes the large job.
    mailbox.submit(PATIENCE, small_job).await.unwrap();
    mailbox.submit(PATIENCE, job).await.unwrap();
    let taken = take(&mailbox, 16, &mut states[1]).await;
    assert!(matches!(taken[..], [Job::Append(_)]), "{taken:?}");
    assert!(timeout(PATIENCE.left(), take(&mailbox, 16, &mut states[1])).await.is_err());
    // A writer that has reached the log, or has died, leaves its permit to the second one.
    states[0].permit = None;
    assert_eq!(take(&mailbox, 16, &mut states[1]).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_small_instances_opens_another_permit() {
    let mailbox = mailbox(64, 4);
    let mut states = [WriterState::default(), WriterState::default(), WriterState::default()];
    mailbox.submit(PATIENCE, small_job).await.unwrap();
    take(&mailbox, 16, &mut states[0]).await;
    for _ in 0..BACKLOG {
        mailbox.submit(PATIENCE, small_job).await.unwrap();
    }
    assert!(timeout(PATIENCE.left(), take(&mailbox, 4, &mut states[1])).await.is_err());
    mailbox.submit(PATIENCE, small_job).await.unwrap();
    assert_eq!(take(&mailbox, 4, &mut states[1]).await.len(), 4);
    assert!(timeout(PATIENCE.left(), take(&mailbox, 4, &mut states[2])).await.is_err());
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_wakes_the_writer_that_came_last_and_no_other() {
    let mailbox = mailbox(64, 4);
    let mut states = [WriterState::default(), WriterState::default(), WriterState::default()];
    let woken: [Arc<Woken>; 3] = Default::default();
    let mut waiting: Vec<_> = states.iter_mut().map(|state| Box::pin(take(&mailbox, 16, state))).collect();
    let counts = || woken.each_ref().map(|woken| woken.0.load(Ordering::Relaxed));
    for (waiting, woken) in waiting.iter_mut().zip(&woken) {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&Waker::from(woken.clone()))).is_pending());
    }
    mailbox.submit(PATIENCE, small_job).await.unwrap();
    mailbox.submit(PATIENCE, small_job).await.unwrap();
    assert_eq!(counts(), [0, 0, 1], "who takes the first takes the second, too");
    mailbox.submit(PATIENCE, job).await.unwrap();
    assert_eq!(counts(), [0, 1, 1]);
    // A writer that turns away after its wake-up wakes others.
    drop(waiting.pop());
    assert_eq!(counts(), [1, 1, 1]);
    let first = waiting[0].as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(first, Poll::Ready(ref jobs) if jobs.len() == 2), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn one_writer_alone_serves_both_lanes_in_turn() {
    let mailbox = mailbox(16, 1);
    let (mut state, mut order) = (WriterState::default(), Vec::new());
    for _ in 0..4 {
        mailbox.submit(PATIENCE, job).await.unwrap();
    }
    for _ in 0..4 {
        mailbox.submit(PATIENCE, small_job).await.unwrap();
        let taken = take(&mailbox, 1, &mut state).await;
        state.permit = None;
        order.push(taken[0].lane());
    }
    assert_eq!(order, [Lane::Small, Lane::Large, Lane::Small, Lane::Large]);
}

fn store(directory: &tempfile::TempDir) -> Store {
    let (store, _) = Store::open(Settings {
        root: directory.path().join("root"),
        layout: Layout::parse("{SOPInstanceUID}").unwrap(),
        durability: Durability::Fsync,
        commit: CommitStrategy::Log,
        duplicates: Duplicates::Replace,
        min_free_bytes: 0,
        access: FileAccess::default(),
        requires_mark: false,
    })
    .unwrap();
    store
}

/// A batch of one instance for the commit log of `store`.
fn to_log(store: &Store, uid: &str) -> PendingWrite {
    let instance = Instance::new(
        FileBuilder::new(FileMeta { sop_instance_uid: Uid::parse(uid.as_bytes()).unwrap(), ..meta() }),
        Head::default(),
        Payload::Memory(vec![Bytes::from_static(b"small")]),
    );
    let job = Arc::new(StoreInstance { instance, origin: origin(), leases: Vec::new(), spool: None });
    let commit = store.begin(vec![job.clone()], &|| ()).unwrap();
    assert!(commit.is_wholly_to_log());
    let job = Job::Commit(CommitJob { store: job, lane: Lane::Small, reply: oneshot::channel().0 });
    PendingWrite { commit, jobs: vec![job], writer: 0, began: std::time::Instant::now() }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_one_writes_the_log_is_left_to_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let mailbox = mailbox(16, 4);
    let Some((first, Some(logging))) = mailbox.join_group(to_log(&store, "1.1")) else { panic!("no leader yet") };
    assert_eq!(first.len(), 1);
    let mut state = WriterState::default();
    for n in 0..MAX_PENDING_WRITES {
        assert!(mailbox.join_group(to_log(&store, &format!("2.{n}"))).is_none(), "there is a leader");
    }
    assert!(timeout(PATIENCE.left(), mailbox.take(16, &mut state)).await.is_err());
    // When the group is full, each writer writes its own batch.
    assert!(matches!(mailbox.join_group(to_log(&store, "3.1")), Some((own, None)) if own.len() == 1));
    drop(logging);
    match mailbox.take(16, &mut state).await {
        WriterTask::Log(to_log, _) => assert_eq!(to_log.len(), MAX_PENDING_WRITES),
        other => panic!("{other:?}"),
    }
    // A writer that takes up the log returns its permit.
    let mut writing = WriterState::default();
    mailbox.submit(PATIENCE, small_job).await.unwrap();
    assert_eq!(take(&mailbox, 16, &mut writing).await.len(), 1);
    let Some((_, Some(logging))) = mailbox.join_group(to_log(&store, "3.2")) else { panic!("no leader yet") };
    assert!(mailbox.join_group(to_log(&store, "3.3")).is_none());
    drop(logging);
    let task = mailbox.take(16, &mut writing).await;
    assert!(matches!(task, WriterTask::Log(..)) && writing.permit.is_none());
    mailbox.submit(PATIENCE, small_job).await.unwrap();
    assert_eq!(take(&mailbox, 16, &mut state).await.len(), 1);
    drop((task, state.permit.take()));
    // The leader died without waking another; the backlog wakes the next one.
    let Some((_, Some(logging))) = mailbox.join_group(to_log(&store, "4.1")) else { panic!("no leader yet") };
    assert!(mailbox.join_group(to_log(&store, "4.2")).is_none());
    let died = async {
        drop(logging);
        mailbox.wake_for_backlog();
    };
    let (task, ()) = tokio::join!(mailbox.take(16, &mut state), died);
    assert!(matches!(task, WriterTask::Log(..)));
}

#[tokio::test(start_paused = true)]
async fn files_to_be_written_wake_a_writer_that_sleeps_and_are_nobody_elses_business() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mailbox) = (store(&directory), mailbox(16, 4));
    let PendingWrite { commit, .. } = to_log(&store, "1.1");
    let mut state = WriterState::default();
    mailbox.offload_files(commit.files().unwrap());
    assert!(
        timeout(PATIENCE.left(), mailbox.take(16, &mut state)).await.is_err(),
        "all were busy: whoever is at the log writes them"
    );
    let offered = async { mailbox.offload_files(commit.files().unwrap()) };
    let (task, ()) = tokio::join!(mailbox.take(16, &mut state), offered);
    assert!(matches!(task, WriterTask::Write(_)), "{task:?}");
    assert!(timeout(PATIENCE.left(), mailbox.take(16, &mut state)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_spool_file_that_is_given_up_is_closed_by_a_writer_and_by_who_gives_it_up_if_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mailbox) = (store(&directory), mailbox(16, 4));
    let temp_files = || directory.path().join("root/.tidegate/tmp").read_dir().unwrap().count();
    let open = || OpenSpool::new(store.spool(0).unwrap(), mailbox.spool_closer());
    drop(open());
    assert_eq!(temp_files(), 0, "there is no writer");

    let (in_flight, mut writer) = (mailbox.in_flight(), WriterState::default());
    let given_up = async { drop(open()) };
    let (task, ()) = tokio::join!(mailbox.take(16, &mut writer), given_up);
    assert_eq!(temp_files(), 1);
    assert!(matches!(task, WriterTask::Discard(_)), "{task:?}");
    drop(task);
    assert_eq!(temp_files(), 0);

    for _ in 0..MAX_DISCARDS {
        drop(open());
    }
    drop(open());
    assert_eq!(temp_files(), MAX_DISCARDS, "the list is full: that one was closed at once");
    drop(in_flight.drain());
    assert_eq!(temp_files(), 0, "nobody comes for them after the last writer");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_writer_has_one_that_sleeps_look_at_its_timer() {
    let mailbox = mailbox(16, 2);
    let (ended, mut writer) = (mailbox.in_flight(), WriterState::default());
    let end = async { drop(ended.drain()) };
    let (task, ()) = tokio::join!(mailbox.take(16, &mut writer), end);
    assert!(matches!(task, WriterTask::Nothing), "{task:?}");
}

#[test]
fn a_writer_that_was_given_up_holds_nothing_any_more() {
    let mailbox = mailbox(16, 2);
    let in_flight = mailbox.in_flight();
    drop(in_flight.drain());
    assert!(!in_flight.begin(vec![small_job()], None));
    assert_eq!(in_flight.take_jobs().len(), 0);
}

#[test]
fn a_spooled_instance_does_not_say_how_many_bytes_it_has_for_the_disk() {
    assert_eq!((small_job().bytes(), job().bytes()), (Some(5), Some(0)));
    let directory = tempfile::tempdir().unwrap();
    let spool = Arc::new(OpenSpool::new(store(&directory).spool(0).unwrap(), mailbox(1, 1).spool_closer()));
    let payload = Payload::Spooled(spool.file().clone());
    let instance = Instance::new(FileBuilder::new(meta()), Head::default(), payload);
    let store = Arc::new(StoreInstance { instance, origin: origin(), leases: Vec::new(), spool: Some(spool) });
    let spooled = Job::Commit(CommitJob { store, lane: Lane::Large, reply: oneshot::channel().0 });
    assert_eq!(spooled.bytes(), None);

    let (written, elsewhere) = (job(), tempfile::tempdir().unwrap());
    let Job::Append(append) = &written else { unreachable!() };
    append.part.set_written(&append.part.write(&self::store(&elsewhere), mailbox(1, 1).spool_closer()).unwrap());
    assert_eq!(written.bytes(), None, "another writer has written it");
}
