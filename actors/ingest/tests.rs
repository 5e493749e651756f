//! A second source, which proves the contract of the way in: bytes from a channel, stored and refused as those of an association are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use bytes::{BufMut, Bytes};
use parking_lot::Mutex;
use tidegate_access::Rules;
use tidegate_memory::{BudgetExhausted, Holder, Stage};
use tidegate_protocol::{Policy, Status};
use tidegate_storage::digest::Digest;
use tidegate_storage::layout::Layout;
use tidegate_storage::{CommitStrategy, Duplicates, Durability, FileAccess, Outcome, Settings, Store, Stored};
use tidegate_storage::{meta::FileMeta, uid::Uid};
use tokio::{sync::mpsc, time::Instant};

use super::*;
use crate::committed::{Committed, Origin, Subscriber};
use crate::gauges::counters::SpoolReason;
use crate::mailbox::{WriterState, WriterTask};
use crate::node::settings::*;
use crate::node::shared::Shared;
use crate::refusal::{Reason, Refusal};
use crate::supervision::child::ChildActor;
use crate::supervision::liveness::{LivenessView, liveness};
use crate::writer::Writer;

const SOP_CLASS: &str = "1.2.840.10008.5.1.4.1.1.7";
const BUDGET: u64 = 8 << 20;
const WRITERS: usize = 16;

/// A store, its writers' mailbox, and no socket.
struct Node {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
    heard: Arc<Heard>,
    writers: Vec<LivenessView>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.writers.iter().for_each(LivenessView::stop);
    }
}

/// A sink that keeps what it hears: SOP Instance UID, path, and the digest of the file.
#[derive(Default)]
struct Heard(Mutex<Vec<(String, PathBuf, Digest)>>);

impl Subscriber for Heard {
    fn committed(&self, event: &Committed<'_>) {
        assert_eq!(**event.origin, origin());
        let uid = event.instance.meta.sop_instance_uid.as_str().to_owned();
        self.0.lock().push((uid, event.stored.path.clone(), event.instance.digest()));
    }
}

fn origin() -> Origin {
    Origin::new(0, ([127, 0, 0, 1], 104).into(), "CHANNEL".to_owned(), Some("channels".to_owned()))
}

/// The error of a source that did not store an instance.
#[derive(Debug)]
enum Failed {
    /// Nothing was leased, so nothing was read.
    Budget,
    Refused(Refusal),
}

impl Node {
    fn new(min_free_bytes: u64, writers: WriterSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            root: directory.path().to_owned(),
            layout: Layout::parse("{SOPInstanceUID}").unwrap(),
            durability: Durability::Fsync,
            commit: CommitStrategy::Adaptive,
            duplicates: Duplicates::Replace,
            min_free_bytes,
            access: FileAccess::default(),
            requires_mark: false,
        };
        let store = Store::open(settings).unwrap().0;
        let heard = Arc::<Heard>::default();
        let shared = Shared::new(live(writers), WRITERS, 1, false, None, &store, vec![heard.clone() as _]);
        Self { directory, shared: Arc::new(shared.unwrap()), heard, writers: Vec::new() }
    }

    /// The SOP Instance UIDs that the sink has heard, in order.
    fn heard(&self) -> Vec<String> {
        self.heard.0.lock().iter().map(|(uid, ..)| uid.clone()).collect()
    }

    fn start_writer(&mut self) {
        let (child, view) = liveness(Arc::default());
        let in_flight = Arc::new(self.shared.mailbox.in_flight());
        let number = self.writers.len() as u32;
        let writer = Writer::new(number, self.shared.writer_env(), in_flight, child);
        ChildActor::new(&self.shared.gauges.counters, move || writer.run()).start();
        self.writers.push(view);
    }

    /// A writer that takes one job and is then fenced.
    async fn lose_writer(&self) {
        let in_flight = self.shared.mailbox.in_flight();
        match self.shared.mailbox.take(1, &mut WriterState::default()).await {
            WriterTask::Jobs(jobs) => assert!(in_flight.begin(jobs, None)),
            other => panic!("{other:?}"),
        }
        drop(in_flight.drain());
    }
}

/// Asserts that an instance was stored with these bytes: the store compares them.
async fn assert_stored(shared: &Arc<Shared>, sop_instance: &str, bytes: Vec<u8>, stored: Stored) {
    assert_eq!(stored.outcome, Outcome::New, "{sop_instance}");
    let Stored { outcome, path, .. } = store(shared, sop_instance, bytes, 5000).await.unwrap();
    assert_eq!((outcome, path), (Outcome::Identical, stored.path), "{sop_instance}");
}

fn live(writers: WriterSettings) -> LiveSettings {
    let second = Duration::from_secs(1);
    let policy = Policy {
        ae_title: "TIDEGATE".to_owned(),
        require_called_ae_title: false,
        max_pdu_length: 0,
        max_request_length: 0,
        max_command_set: 0,
        async_operations: 1,
        strict: false,
        accept_unknown_sop_classes: false,
        accept_unknown_transfer_syntaxes: false,
        storage_commitment: false,
        transfer_syntax_preference: Vec::new(),
    };
    LiveSettings {
        associations: AssociationSettings {
            max_lifetime: Duration::from_secs(86_400),
            max: 1,
            max_per_calling_ae: None,
            max_per_address: None,
            max_per_address_is_auto: false,
            policy: Arc::new(policy),
            spool_threshold_bytes: 1 << 20,
            request_timeout: second,
            idle_timeout: second,
            send_timeout: second,
            minimum_rate: MinimumRate { bytes_per_s: 0, window: second },
            max_dataset_bytes: u64::MAX,
            max_instances: None,
            max_bytes: None,
        },
        tls: None,
        client_verifier: None,
        commitment: Arc::default(),
        delivery: Arc::default(),
        retention: Default::default(),
        events: Arc::default(),
        access: Arc::new(AccessSettings {
            rules: Rules::new(Vec::new()),
            terms: Vec::new(),
            proxies: Vec::new(),
            users: None,
            require_user: false,
        }),
        writers,
        memory_budget_bytes: BUDGET,
        statistics_interval: None,
        log_repeat_interval: second,
        supervision: SupervisionSettings {
            hang_timeout: second,
            restarts: RestartLimit { max: 1, window: second },
            max_hung_threads: 1,
        },
        certificate_ends: CertificateEnds::default(),
    }
}

fn patient() -> WriterSettings {
    let patience = Duration::from_secs(60);
    WriterSettings { mailbox_capacity: 4, batch: 4, handoff_timeout: patience, commit_timeout: patience }
}

/// An Explicit VR Little Endian dataset with `pixels` bytes of pixel data.
fn dataset(sop_instance: &str, pixels: usize) -> Vec<u8> {
    let mut dataset = Vec::new();
    for (element, uid) in [(0x0016, SOP_CLASS), (0x0018, sop_instance)] {
        let length = uid.len().next_multiple_of(2);
        dataset.put_u16_le(0x0008);
        dataset.put_u16_le(element);
        dataset.put_slice(b"UI");
        dataset.put_u16_le(length as u16);
        dataset.put_slice(uid.as_bytes());
        dataset.put_bytes(0, length - uid.len());
    }
    dataset.put_slice(b"\xE0\x7F\x10\0OB\0\0");
    dataset.put_u32_le(pixels as u32);
    dataset.extend((0..pixels).map(|index| (index % 251) as u8));
    dataset
}

/// Stores a dataset that arrives over a channel in messages of `message` bytes; long messages are read directly.
async fn store(shared: &Arc<Shared>, sop_instance: &str, bytes: Vec<u8>, message: usize) -> Result<Stored, Failed> {
    let (sender, channel) = mpsc::channel::<Bytes>(2);
    let feed = async move {
        for part in bytes.chunks(message) {
            if sender.send(Bytes::copy_from_slice(part)).await.is_err() {
                return;
            }
        }
    };
    let holder = shared.budget.open_account("a source without an association");
    let ingest = Arc::new(shared.association_env().ingest(&shared.live()));
    let receive = async {
        let mut channel = channel; // closed with this
        let mut inbound = Inbound::new(ingest.clone());
        let meta = FileMeta {
            sop_class_uid: Uid::parse(SOP_CLASS.as_bytes()).unwrap(),
            sop_instance_uid: Uid::parse(sop_instance.as_bytes()).unwrap(),
            transfer_syntax_uid: "1.2.840.10008.1.2.1".to_owned(),
            source_ae_title: String::new(),
            sending_ae_title: String::new(),
            receiving_ae_title: String::new(),
        };
        inbound.begin(
            (),
            Ok(Description { origin: Arc::new(origin()), meta, placement: None, wanted: shared.store.wanted().into() }),
        );
        while let Some(bytes) = channel.recv().await {
            take_in(&mut inbound, bytes, &holder).await?;
        }
        let ((), dataset) = inbound.complete().unwrap();
        let store = dataset.finish(Instant::now()).await.map_err(|refused| Failed::Refused(refused.refusal))?;
        hand_off(store, &ingest).await.map_err(Failed::Refused)
    };
    let ((), stored) = tokio::join!(feed, receive);
    // A job that nobody has taken keeps its bytes.
    assert!(shared.mailbox.depth() > 0 || holder.by_stage().total() == 0, "{:?}", holder.by_stage());
    stored
}

/// Takes one message of a dataset: by a direct read if that pays, otherwise as a leased slice.
async fn take_in(inbound: &mut Inbound<()>, mut bytes: Bytes, holder: &Holder) -> Result<(), Failed> {
    while !bytes.is_empty() {
        let is_exhausted = match inbound.next_read(bytes.len(), holder) {
            NextRead::Direct(most) => {
                inbound.direct_target(most).unwrap().put_slice(&bytes.split_to(most));
                inbound.note_direct_read(most);
                false
            }
            NextRead::Header | NextRead::Buffered => {
                let lease = match holder.lease(Stage::Receiving, bytes.len() as u64) {
                    Ok(lease) => Arc::new(lease),
                    Err(_) if inbound.holds_memory() => {
                        let mut current = inbound.take().unwrap();
                        current.1.spool(SpoolExtent::Everything).await;
                        current.1.settle().await;
                        inbound.put_back(current);
                        continue;
                    }
                    Err(BudgetExhausted { .. }) => return Err(Failed::Budget),
                };
                inbound.push(std::mem::take(&mut bytes), Some(&lease), holder).is_err()
            }
        };
        if let Some(extent) = inbound.spooling_due(is_exhausted) {
            let mut current = inbound.take().unwrap();
            current.1.spool(extent).await;
            inbound.put_back(current);
        }
    }
    Ok(())
}

async fn hand_off(store: crate::mailbox::job::StoreInstance, ingest: &Arc<Ingest>) -> Result<Stored, Refusal> {
    let mut handoffs = Handoffs::new(ingest.clone());
    let mut next = Some(handoffs.begin((), store));
    while let Some(mut instance) = next.take() {
        match instance.submit().await {
            Ok(reply) => handoffs.push(instance, reply),
            Err(outcome) => return instance.end(outcome).outcome,
        }
        match handoffs.next().await.unwrap() {
            Returned::Ended(ended) => return ended.outcome,
            Returned::Lost => next = handoffs.take_lost(),
        }
    }
    unreachable!("an instance that is lost is there to be submitted again")
}

fn refusal(stored: Result<Stored, Failed>) -> Refusal {
    match stored {
        Err(Failed::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

#[test]
fn datasets_are_stored_from_slices_in_place_and_by_way_of_the_spool() {
    run(async {
        let mut node = Node::new(0, patient());
        node.start_writer();
        for (uid, pixels, message) in [("1.2.1", 500, 200), ("1.2.2", 700_000, 100_000), ("1.2.3", 3 << 20, 16_000)] {
            let bytes = dataset(uid, pixels);
            let stored = store(&node.shared, uid, bytes.clone(), message).await.unwrap();
            assert_stored(&node.shared, uid, bytes, stored).await;
        }
        let counters = &node.shared.gauges.counters;
        assert_eq!((counters.spooled(SpoolReason::Threshold).get(), counters.spool_bytes.get()), (2, 0));
        assert_eq!(node.shared.budget.held(), 0);
        assert_eq!(node.heard(), ["1.2.1", "1.2.1", "1.2.2", "1.2.2", "1.2.3", "1.2.3"], "each, and each again");
        for pair in node.heard.0.lock().chunks(2) {
            let (uid, path, digest) = &pair[0];
            assert!(node.directory.path().join(path).exists(), "{uid}");
            assert_eq!((path, digest), (&pair[1].1, &pair[1].2), "{uid}");
        }
    });
}

#[test]
fn an_instance_and_a_spool_part_outlive_their_writers() {
    run(async {
        let mut node = Node::new(0, patient());
        for (uid, pixels) in [("1.2.1", 500), ("1.2.2", 3 << 20)] {
            let bytes = dataset(uid, pixels);
            let shared = node.shared.clone();
            let (stored, ()) = tokio::join!(store(&shared, uid, bytes.clone(), 16_000), async {
                for _ in 0..handoff::MAX_RETRIES {
                    node.lose_writer().await;
                }
                node.start_writer();
            });
            assert_stored(&shared, uid, bytes, stored.unwrap()).await;
            node.writers.drain(..).for_each(|writer| writer.stop());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(node.shared.gauges.counters.handed_over_again.get(), 2 * u64::from(handoff::MAX_RETRIES));
    });
}

#[test]
fn an_instance_and_a_spool_part_are_refused_when_writer_after_writer_is_lost() {
    run(async {
        let node = Node::new(0, patient());
        for (uid, pixels) in [("1.2.1", 500), ("1.2.2", 3 << 20)] {
            let lose_all = async {
                loop {
                    node.lose_writer().await;
                }
            };
            let stored = tokio::select! {
                stored = store(&node.shared, uid, dataset(uid, pixels), 16_000) => stored,
                () = lose_all => unreachable!(),
            };
            assert_eq!(refusal(stored).reason(), Reason::WriterLost);
        }
        assert_eq!(node.shared.mailbox.depth(), 0);
        assert!(node.heard().is_empty(), "of what is refused nobody hears");
    });
}

#[test]
fn a_committed_instance_is_told_of_though_its_source_is_gone() {
    run(async {
        let mut node = Node::new(0, patient());
        let shared = node.shared.clone();
        tokio::select! {
            stored = store(&shared, "1.2.1", dataset("1.2.1", 500), 200) => panic!("{stored:?}"),
            () = async {
                while shared.mailbox.depth() == 0 {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        node.start_writer();
        while node.heard().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(node.heard(), ["1.2.1"]);
        assert!(node.directory.path().join("1.2.1").exists());
    });
}

#[test]
fn an_exhausted_budget_and_a_storage_that_fails_refuse_it_like_any_other_source() {
    run(async {
        let mut node = Node::new(u64::MAX, patient());
        node.start_writer();
        for (uid, pixels) in [("1.2.1", 500), ("1.2.2", 3 << 20)] {
            let refusal = refusal(store(&node.shared, uid, dataset(uid, pixels), 16_000).await);
            assert_eq!((refusal.reason(), refusal.status()), (Reason::BelowMinFree, Status::OutOfResources));
        }
        let others = node.shared.budget.open_account("others");
        let _all = (0..BUDGET / 4096).map_while(|_| others.lease(Stage::Queued, 4096).ok()).collect::<Vec<_>>();
        let stored = store(&node.shared, "1.2.1", dataset("1.2.1", 9000), 9000).await;
        assert!(matches!(stored, Err(Failed::Budget)), "{stored:?}");
    });
}

/// While jobs wait, a fast batch lets one more writer take large jobs.
#[test]
fn a_disk_that_refuses_everything_at_once_is_not_taken_for_a_fast_one() {
    run(async {
        let mut node = Node::new(u64::MAX, WriterSettings { batch: 1, ..patient() });
        node.start_writer();
        let _others: Vec<_> = (0..WRITERS).map(|_| node.shared.mailbox.in_flight()).collect();
        let allowed = node.shared.mailbox.writers_allowed();
        let uids: Vec<_> = (0..16).map(|number| format!("1.2.{number}")).collect();
        let stores = uids.iter().map(|uid| store(&node.shared, uid, dataset(uid, 200_000), 100_000));
        let refused = futures_util::future::join_all(stores).await;
        assert!(refused.into_iter().all(|stored| refusal(stored).reason() == Reason::BelowMinFree));
        assert_eq!(node.shared.mailbox.writers_allowed(), allowed);
    });
}

#[test]
fn without_a_slot_or_an_answer_in_time_it_is_refused_and_cancelled() {
    run(async {
        let soon = Duration::from_millis(100);
        let node = Node::new(0, WriterSettings { mailbox_capacity: 1, handoff_timeout: soon, ..patient() });
        let (first, second) = tokio::join!(
            async {
                let first = store(&node.shared, "1.2.1", dataset("1.2.1", 500), 200);
                tokio::time::timeout(Duration::from_secs(2), first).await
            },
            async {
                while node.shared.mailbox.depth() == 0 {
                    tokio::task::yield_now().await;
                }
                store(&node.shared, "1.2.2", dataset("1.2.2", 500), 200).await
            }
        );
        assert!(first.is_err(), "it waits for a writer");
        assert_eq!(refusal(second).reason(), Reason::Busy);
        let mut node = Node::new(0, WriterSettings { commit_timeout: soon, ..patient() });
        let timed_out = store(&node.shared, "1.2.1", dataset("1.2.1", 500), 200).await;
        assert_eq!(refusal(timed_out).reason(), Reason::CommitTimeout);
        assert_eq!(node.shared.gauges.counters.commits_timed_out.get(), 1);
        node.start_writer();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!node.directory.path().join("1.2.1").exists(), "a writer that comes late does not store it");
        assert_eq!(node.shared.budget.held(), 0);
    });
}
