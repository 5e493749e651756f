//! A dataset that is arriving: its head is scanned, its bytes are held as slices, or go to the spool.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tidegate_memory::{BudgetSpent, Holder, MemoryLease, Stage};
use tidegate_protocol::StoreRequest;
use tidegate_storage::head::{HeadLimits, HeadScan};
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;
use tidegate_storage::{Arriving, Instance, Payload, Placement, SpoolFile, StoreError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::peer::Peer;
use crate::job::{AppendJob, Job, SpoolContent, SpoolPart, SpoolTarget, StoreInstance};
use crate::mailbox::HandoffTimeout;
use crate::outcome::Refusal;
use crate::settings::{LiveSettings, WriterSettings};
use crate::shared::Shared;

/// Fragments shorter than this are copied together: a slice of its own would cost more memory than it holds.
const SMALL_FRAGMENT: usize = 1024;
/// Bytes of a block that small fragments are copied to.
const BLOCK: usize = 16 * 1024;
/// Bytes of a part that goes to the spool file.
pub(super) const SPOOL_CHUNK: u64 = 1024 * 1024;
/// Parts on their way to the spool file while the next is received. With one alone, receiver and writer wait for each other in turns.
pub(super) const MAX_PARTS_UNDER_WAY: usize = 2;

/// How often an instance, or part of one, is handed to another writer because its writer died or hung.
pub(super) const MAX_HANDOVERS: u32 = 3;

/// A dataset that is arriving, or that is let pass by because it will not be stored.
pub(crate) struct Incoming {
    pub(crate) request: StoreRequest,
    /// Bytes so far.
    pub(crate) bytes: u64,
    pub(super) began: Instant,
    /// Boxed, because it is handed on more often than it is allocated.
    assembly: Result<Box<Assembly>, Refusal>,
}

/// The bytes of a dataset that is wanted.
struct Assembly {
    file: Arriving,
    scan: HeadScan,
    slices: Vec<Bytes>,
    leases: Vec<Arc<MemoryLease>>,
    /// Bytes in `slices` and `block`.
    held: u64,
    /// Bytes sent to the spool.
    spooled: u64,
    /// Small fragments that came after the last slice.
    block: BytesMut,
    spool: Spool,
    gauge: SpoolGauge,
    placement: Option<Arc<Placement>>,
}

/// Where a dataset is that is too large for memory.
#[derive(Default)]
struct Spool {
    /// Known when the first part is in it.
    file: Option<Arc<SpoolFile>>,
    /// Parts on their way to it, the oldest first.
    under_way: VecDeque<Appending>,
}

/// A part on its way to the spool file.
struct Appending {
    part: Arc<SpoolPart>,
    reply: oneshot::Receiver<Result<Arc<SpoolFile>, StoreError>>,
    deadline: Instant,
}

impl Incoming {
    /// Begins with the request; whether it can be stored at all is known by now.
    pub(crate) fn new(request: StoreRequest, peer: &Peer, shared: &Arc<Shared>, live: &LiveSettings) -> Self {
        let placement = peer.placement(&live.access, &request.abstract_syntax);
        let wanted = shared.wanted_for(placement.as_deref());
        let assembly = file_meta(&request, peer, &live.associations.policy.ae_title).map(|meta| {
            Box::new(Assembly {
                scan: HeadScan::new(&request.transfer_syntax, wanted, HeadLimits::default()),
                file: Arriving::new(meta),
                slices: Vec::new(),
                leases: Vec::new(),
                held: 0,
                spooled: 0,
                block: BytesMut::new(),
                spool: Spool::default(),
                gauge: SpoolGauge { shared: shared.clone(), bytes: 0 },
                placement,
            })
        });
        Self { request, bytes: 0, began: Instant::now(), assembly }
    }

    /// Takes the next fragment, cut from a segment that `lease` pays for.
    ///
    /// # Errors
    /// [`BudgetSpent`] if small fragments need a block that cannot be had: the fragment is taken all the same, but what is
    /// held must be spooled before the next one.
    pub(crate) fn push(
        &mut self,
        fragment: Bytes,
        lease: Option<&Arc<MemoryLease>>,
        holder: &Holder,
    ) -> Result<(), BudgetSpent> {
        self.bytes += fragment.len() as u64;
        match &mut self.assembly {
            Ok(assembly) => assembly.push(fragment, lease, holder),
            Err(_) => Ok(()),
        }
    }

    /// Whether so much is held that it should go to the spool.
    pub(crate) fn wants_spooling(&self, threshold: u64) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| {
            assembly.held >= if assembly.spool.is_used() { SPOOL_CHUNK.min(threshold) } else { threshold }
        })
    }

    /// Whether it goes to the spool as it comes.
    pub(crate) fn is_spooling(&self) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| assembly.spool.is_used())
    }

    /// Whether anything is held in memory that spooling would free.
    pub(crate) fn holds_memory(&self) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| assembly.held > 0 || !assembly.spool.under_way.is_empty())
    }

    /// Sends what is held on its way to the spool file, once so little is under way that it may. A failure makes the rest of the
    /// dataset pass by.
    pub(crate) async fn spool(&mut self, shared: &Shared, writers: &WriterSettings) {
        if let Ok(assembly) = &mut self.assembly
            && let Err(refusal) = assembly.append(shared, writers).await
        {
            self.assembly = Err(refusal);
        }
    }

    /// Waits until the spool file has all it was sent.
    pub(crate) async fn settle(&mut self, shared: &Shared, writers: &WriterSettings) {
        if let Ok(assembly) = &mut self.assembly
            && let Err(refusal) = assembly.spool.settle(0, shared, writers).await
        {
            self.assembly = Err(refusal);
        }
    }

    /// The dataset is complete: the instance to be stored, or why it is not.
    pub(crate) async fn finish(self, shared: &Shared, writers: &WriterSettings) -> Result<StoreInstance, Refusal> {
        let mut assembly = self.assembly?;
        if assembly.spool.is_used() {
            assembly.append(shared, writers).await?;
            assembly.spool.settle(0, shared, writers).await?;
        }
        assembly.close_block();
        let head = assembly.scan.finish()?;
        head.check(assembly.file.meta())?;
        let payload = match assembly.spool.file {
            Some(file) => Payload::Spooled(file),
            None => Payload::Memory(assembly.slices),
        };
        let instance = Instance::new(assembly.file, head, payload);
        let instance = match assembly.placement {
            Some(placement) => instance.placed(placement),
            None => instance,
        };
        Ok(StoreInstance { instance, leases: assembly.leases })
    }
}

impl Assembly {
    fn push(&mut self, fragment: Bytes, lease: Option<&Arc<MemoryLease>>, holder: &Holder) -> Result<(), BudgetSpent> {
        let _ = self.scan.feed(&fragment); // the verdict comes with finish()
        self.file.update(&fragment);
        self.held += fragment.len() as u64;
        if fragment.len() >= SMALL_FRAGMENT {
            self.keep(fragment, lease);
            return Ok(());
        }
        if self.block.capacity() - self.block.len() < fragment.len() {
            self.close_block();
            match holder.lease(Stage::Receiving, BLOCK as u64) {
                Ok(lease) => {
                    self.block = BytesMut::with_capacity(BLOCK);
                    self.leases.push(Arc::new(lease));
                }
                Err(spent) => {
                    self.keep(fragment, lease);
                    return Err(spent);
                }
            }
        }
        self.block.extend_from_slice(&fragment);
        Ok(())
    }

    /// Makes a slice of the small fragments collected so far; the next ones go on in the same block.
    fn close_block(&mut self) {
        if !self.block.is_empty() {
            self.slices.push(self.block.split().freeze());
        }
    }

    fn keep(&mut self, fragment: Bytes, lease: Option<&Arc<MemoryLease>>) {
        self.close_block();
        if let Some(lease) = lease
            && !self.leases.last().is_some_and(|last| Arc::ptr_eq(last, lease))
        {
            self.leases.push(lease.clone());
        }
        self.slices.push(fragment);
    }

    async fn append(&mut self, shared: &Shared, writers: &WriterSettings) -> Result<(), Refusal> {
        self.spool.settle(MAX_PARTS_UNDER_WAY - 1, shared, writers).await?;
        self.close_block();
        if self.slices.is_empty() {
            return Ok(());
        }
        let spool = match &self.spool.file {
            Some(file) => SpoolTarget::Open(file.clone()),
            None => {
                shared.counters.datasets_spooled.increment();
                SpoolTarget::New(self.file.meta().clone())
            }
        };
        self.block = BytesMut::new();
        let (offset_bytes, bytes) = (self.spooled, std::mem::take(&mut self.held));
        self.spooled += bytes;
        self.gauge.add(bytes);
        let content =
            SpoolContent { slices: std::mem::take(&mut self.slices), leases: std::mem::take(&mut self.leases) };
        let part = Arc::new(SpoolPart { spool, offset_bytes, content: Mutex::new(Some(content)) });
        let deadline = Instant::now() + writers.commit_timeout;
        self.spool.under_way.push_back(Appending::send(part, deadline, shared, writers).await?);
        Ok(())
    }
}

impl Spool {
    fn is_used(&self) -> bool {
        self.file.is_some() || !self.under_way.is_empty()
    }

    /// Waits until at most so many parts are under way, and none before there is a file.
    async fn settle(&mut self, most: usize, shared: &Shared, writers: &WriterSettings) -> Result<(), Refusal> {
        while (self.file.is_none() || self.under_way.len() > most)
            && let Some(oldest) = self.under_way.front_mut()
        {
            self.file = Some(oldest.finish(shared, writers).await?);
            self.under_way.pop_front();
        }
        Ok(())
    }
}

impl Appending {
    async fn send(
        part: Arc<SpoolPart>,
        deadline: Instant,
        shared: &Shared,
        writers: &WriterSettings,
    ) -> Result<Self, HandoffTimeout> {
        let (reply, appended) = oneshot::channel();
        let patience = writers.handoff_timeout.min(deadline.saturating_duration_since(Instant::now()));
        let job = part.clone();
        shared.mailbox.hand_over(patience, || Job::Append(AppendJob { part: job, reply })).await?;
        Ok(Self { part, reply: appended, deadline })
    }

    /// Waits until the part is written, by one writer or, if that dies or hangs over it, by another.
    async fn finish(&mut self, shared: &Shared, writers: &WriterSettings) -> Result<Arc<SpoolFile>, Refusal> {
        for _ in 0..=MAX_HANDOVERS {
            match timeout_at(self.deadline, &mut self.reply).await {
                Ok(Ok(Err(StoreError::InOtherHands)) | Err(_)) => {
                    shared.counters.handed_over_again.increment();
                    *self = Self::send(self.part.clone(), self.deadline, shared, writers).await?;
                }
                Ok(Ok(appended)) => return Ok(appended?),
                Err(_) => {
                    shared.counters.commits_timed_out.increment();
                    return Err(Refusal::CommitTimeout);
                }
            }
        }
        Err(Refusal::WriterLost)
    }
}

/// Bytes of this dataset in spool files, counted as long as it is arriving.
struct SpoolGauge {
    shared: Arc<Shared>,
    bytes: u64,
}

impl SpoolGauge {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.shared.counters.spool_bytes.add(bytes);
    }
}

impl Drop for SpoolGauge {
    fn drop(&mut self) {
        self.shared.counters.spool_bytes.subtract(self.bytes);
    }
}

/// What can be told from the command set alone.
fn file_meta(request: &StoreRequest, peer: &Peer, receiving_ae_title: &str) -> Result<FileMeta, Refusal> {
    if !request.has_data_set {
        return Err(Refusal::NoDataSet);
    }
    if !request.is_storage_context() {
        return Err(Refusal::NotAStorageContext);
    }
    let sop_class_uid = Uid::parse(request.affected_sop_class_uid()).map_err(Refusal::ClassUid)?;
    if sop_class_uid.as_str() != &*request.abstract_syntax {
        return Err(Refusal::ClassOfAnotherContext);
    }
    let sop_instance_uid = Uid::parse(request.affected_sop_instance_uid()).map_err(Refusal::InstanceUid)?;
    Ok(FileMeta {
        sop_class_uid,
        sop_instance_uid,
        transfer_syntax_uid: request.transfer_syntax.to_string(),
        source_ae_title: peer.calling_ae_title.clone(),
        sending_ae_title: peer.calling_ae_title.clone(),
        receiving_ae_title: receiving_ae_title.to_owned(),
    })
}
