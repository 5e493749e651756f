//! A dataset that is arriving, or that is let pass by because it will not be stored.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_memory::{BudgetSpent, Holder, MemoryLease};
use tidegate_protocol::StoreRequest;
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;
use tokio::time::Instant;

use super::assembly::{Assembly, SPOOL_CHUNK};
use super::peer::Peer;
use crate::mailbox::job::StoreInstance;
use crate::network::transport::Transport;
use crate::node::settings::{LiveSettings, WriterSettings};
use crate::node::shared::Shared;
use crate::refusal::Refusal;

/// See the module.
pub(crate) struct InboundDataset {
    pub(crate) request: StoreRequest,
    /// Bytes so far.
    pub(crate) bytes: u64,
    pub(super) began: Instant,
    /// Whether the last read was direct.
    pub(super) is_direct: bool,
    /// Boxed, because it is moved more often than it is allocated.
    assembly: Result<Box<Assembly>, Refusal>,
}

impl InboundDataset {
    /// Begins with the request; whether it can be stored at all is known by now.
    pub(crate) fn new(request: StoreRequest, peer: &Peer, shared: &Arc<Shared>, live: &LiveSettings) -> Self {
        let placement = peer.placement(&live.access, &request.abstract_syntax);
        let assembly = file_meta(&request, peer, &live.associations.policy.ae_title)
            .map(|meta| Box::new(Assembly::new(meta, &request.transfer_syntax, placement, shared)));
        Self { request, bytes: 0, began: Instant::now(), is_direct: false, assembly }
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

    /// Whether the dataset is read directly, as far as there is memory for it.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| assembly.is_contiguous())
    }

    /// How many bytes can be read directly.
    pub(crate) fn room(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| if assembly.is_contiguous() { assembly.room() } else { 0 })
    }

    /// Begins a block of `bytes`, a power of two, for direct reads, unless the budget is spent or the dataset stays in slices.
    pub(crate) fn begin_contiguous_block(&mut self, bytes: usize, holder: &Holder) {
        if let Ok(assembly) = &mut self.assembly {
            let _ = assembly.begin_contiguous_block(bytes, holder); // there is the other way
        }
    }

    /// Reads bytes of the dataset directly, `most` at the most: no more than there is [room](Self::room) for.
    pub(crate) async fn read_from(&mut self, transport: &mut Transport, most: usize) -> std::io::Result<usize> {
        match &mut self.assembly {
            Ok(assembly) => assembly.read_from(transport, most).await,
            Err(_) => Ok(0), // has no room
        }
    }

    /// Accounts for the last `bytes`, which were read directly.
    pub(crate) fn note_direct_read(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Ok(assembly) = &mut self.assembly {
            assembly.note_direct_read(bytes);
        }
    }

    /// Whether so much is held that it should go to the spool, `all` of it or what makes whole parts.
    pub(crate) fn wants_spooling(&self, threshold: u64, all: bool) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| {
            let enough = if assembly.is_spooling() { SPOOL_CHUNK.min(threshold) } else { threshold };
            assembly.ready_for_spool(all) >= enough
        })
    }

    /// Whether it goes to the spool as it comes.
    pub(crate) fn is_spooling(&self) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| assembly.is_spooling())
    }

    /// Whether anything is held in memory that spooling would free.
    pub(crate) fn holds_memory(&self) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| assembly.holds_memory())
    }

    /// Sends what is held on its way to the spool file, `all` of it or what makes whole parts, once so little is under way that it
    /// may. A failure makes the rest of the dataset pass by.
    pub(crate) async fn spool(&mut self, all: bool, shared: &Shared, writers: &WriterSettings) {
        if let Ok(assembly) = &mut self.assembly
            && let Err(refusal) = assembly.spool(all, shared, writers).await
        {
            self.assembly = Err(refusal);
        }
    }

    /// Waits until the spool file has all it was sent.
    pub(crate) async fn settle(&mut self, shared: &Shared, writers: &WriterSettings) {
        if let Ok(assembly) = &mut self.assembly
            && let Err(refusal) = assembly.settle(shared, writers).await
        {
            self.assembly = Err(refusal);
        }
    }

    /// The dataset is complete: the instance to be stored, or why it is not.
    pub(crate) async fn finish(self, shared: &Shared, writers: &WriterSettings) -> Result<StoreInstance, Refusal> {
        self.assembly?.finish(shared, writers).await
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
