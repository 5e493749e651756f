//! A dataset that is arriving: its head is scanned, its bytes are held as slices, or go to the spool.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tidegate_memory::{BudgetSpent, Holder, MemoryLease, Stage};
use tidegate_protocol::StoreRequest;
use tidegate_storage::head::{HeadLimits, HeadScan};
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;
use tidegate_storage::{Instance, Payload, SpoolFile, StoreError};
use tokio::sync::oneshot;

use super::connection::Peer;
use crate::mailbox::{AppendJob, Job, SpoolTarget, StoreInstance};
use crate::node::Shared;
use crate::outcome::Refusal;

/// Fragments shorter than this are copied together: a slice of its own would cost more memory than it holds.
const SMALL_FRAGMENT: usize = 1024;
/// Bytes of a block that small fragments are copied to.
const BLOCK: usize = 16 * 1024;
/// Bytes held while the part before them goes to the spool file.
const SPOOL_CHUNK: u64 = 1024 * 1024;

/// A dataset that is arriving, or that is let pass by because it will not be stored.
pub(crate) struct Incoming {
    pub(crate) request: StoreRequest,
    /// Bytes so far.
    pub(crate) bytes: u64,
    assembly: Result<Assembly, Refusal>,
}

/// The bytes of a dataset that is wanted.
struct Assembly {
    meta: FileMeta,
    scan: HeadScan,
    slices: Vec<Bytes>,
    leases: Vec<Arc<MemoryLease>>,
    /// Bytes in `slices` and `block`.
    held: u64,
    /// Small fragments that came after the last slice.
    block: BytesMut,
    spool: Spool,
    gauge: SpoolGauge,
}

enum Spool {
    /// Everything is in memory.
    Unused,
    /// What came before is on its way to the spool file.
    Appending(oneshot::Receiver<Result<SpoolFile, StoreError>>),
    /// What came before is in the spool file.
    Ready(SpoolFile),
}

impl Incoming {
    /// Begins with the request; whether it can be stored at all is known by now.
    pub(crate) fn new(request: StoreRequest, peer: &Peer, shared: &Arc<Shared>) -> Self {
        let assembly = file_meta(&request, peer, shared).map(|meta| Assembly {
            scan: HeadScan::new(&request.transfer_syntax, shared.wanted.clone(), HeadLimits::default()),
            meta,
            slices: Vec::new(),
            leases: Vec::new(),
            held: 0,
            block: BytesMut::new(),
            spool: Spool::Unused,
            gauge: SpoolGauge { shared: shared.clone(), bytes: 0 },
        });
        Self { request, bytes: 0, assembly }
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
        self.assembly.as_ref().is_ok_and(|assembly| match assembly.spool {
            Spool::Unused => assembly.held >= threshold,
            Spool::Appending(_) | Spool::Ready(_) => assembly.held >= SPOOL_CHUNK.min(threshold),
        })
    }

    /// Whether anything is held in memory that spooling would free.
    pub(crate) fn holds_memory(&self) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| assembly.held > 0 || matches!(assembly.spool, Spool::Appending(_)))
    }

    /// Sends what is held on its way to the spool file, after the part before it has got there. A failure makes the rest of
    /// the dataset pass by.
    pub(crate) async fn spool(&mut self, shared: &Shared) {
        if let Ok(assembly) = &mut self.assembly
            && let Err(refusal) = assembly.append(shared).await
        {
            self.assembly = Err(refusal);
        }
    }

    /// Waits until the spool file has all it was sent.
    pub(crate) async fn settle(&mut self) {
        if let Ok(assembly) = &mut self.assembly
            && let Err(refusal) = assembly.settle().await
        {
            self.assembly = Err(refusal);
        }
    }

    /// The dataset is complete: the instance to be stored, or why it is not.
    pub(crate) async fn finish(self, shared: &Shared) -> Result<StoreInstance, Refusal> {
        let mut assembly = self.assembly?;
        if !matches!(assembly.spool, Spool::Unused) {
            assembly.append(shared).await?;
            assembly.settle().await?;
        }
        assembly.close_block();
        let head = assembly.scan.finish()?;
        head.check(&assembly.meta)?;
        let payload = match assembly.spool {
            Spool::Ready(file) => Payload::Spooled(file),
            Spool::Unused | Spool::Appending(_) => Payload::Memory(assembly.slices),
        };
        Ok(StoreInstance { instance: Instance::new(assembly.meta, head, payload), leases: assembly.leases })
    }
}

impl Assembly {
    fn push(&mut self, fragment: Bytes, lease: Option<&Arc<MemoryLease>>, holder: &Holder) -> Result<(), BudgetSpent> {
        let _ = self.scan.feed(&fragment); // the verdict comes with finish()
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

    async fn append(&mut self, shared: &Shared) -> Result<(), Refusal> {
        self.settle().await?;
        self.close_block();
        if self.slices.is_empty() {
            return Ok(());
        }
        let (reply, appended) = oneshot::channel();
        let spool = match std::mem::replace(&mut self.spool, Spool::Unused) {
            Spool::Ready(file) => SpoolTarget::Open(file),
            Spool::Unused | Spool::Appending(_) => {
                shared.statistics.datasets_spooled.increment();
                SpoolTarget::New(self.meta.clone())
            }
        };
        self.block = BytesMut::new();
        self.gauge.add(std::mem::take(&mut self.held));
        let slices = std::mem::take(&mut self.slices);
        let leases = std::mem::take(&mut self.leases);
        shared
            .mailbox
            .hand_over(shared.handoff_timeout, || Job::Append(AppendJob { spool, slices, leases, reply }))
            .await?;
        self.spool = Spool::Appending(appended);
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Refusal> {
        if let Spool::Appending(appended) = &mut self.spool {
            let file = appended.await.map_err(|_| Refusal::WriterLost)??;
            self.spool = Spool::Ready(file);
        }
        Ok(())
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
        self.shared.statistics.spool_bytes.add(bytes);
    }
}

impl Drop for SpoolGauge {
    fn drop(&mut self) {
        self.shared.statistics.spool_bytes.subtract(self.bytes);
    }
}

/// What can be told from the command set alone.
fn file_meta(request: &StoreRequest, peer: &Peer, shared: &Shared) -> Result<FileMeta, Refusal> {
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
        receiving_ae_title: shared.associations.policy.ae_title.clone(),
    })
}
