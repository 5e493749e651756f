//! An open association on which this node may report. Its association holds one end, the child looks at the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_commitment::Peer;
use tokio::sync::{Notify, mpsc};

use super::report::Ticket;
use super::shared::Shared;

/// The end of the child.
pub(super) struct Line {
    pub(super) peer: Peer,
    pub(super) wanted: Arc<Wanted>,
    pub(super) reports: mpsc::Sender<Ticket>,
    /// The association has been idle since a report was wanted.
    pub(super) is_ready: bool,
}

/// Whether a report waits for the association to be idle.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    is_set: AtomicBool,
    changed: Notify,
}

impl Wanted {
    pub(super) fn set(&self) {
        if !self.is_set.swap(true, Ordering::Relaxed) {
            self.changed.notify_one();
        }
    }
}

/// The end of an association. When it is dropped, no report comes by it any more.
pub(crate) struct LineEnd {
    shared: Arc<Shared>,
    association: u64,
    wanted: Arc<Wanted>,
    reports: mpsc::Receiver<Ticket>,
}

impl LineEnd {
    pub(crate) fn open(shared: Arc<Shared>, association: u64, peer: Peer) -> Self {
        let (sender, reports) = mpsc::channel(1);
        let wanted = Arc::new(Wanted::default());
        let line = Line { peer, wanted: wanted.clone(), reports: sender, is_ready: false };
        shared.open_line(association, line);
        Self { shared, association, wanted, reports }
    }

    /// Whether a report waits until this association is idle.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.is_set.load(Ordering::Relaxed)
    }

    /// Says that the association is idle.
    pub(crate) fn ready(&self) {
        self.wanted.is_set.store(false, Ordering::Relaxed);
        self.shared.line_ready(self.association);
    }

    /// Waits for a report; `None`: one is wanted that was not before.
    pub(crate) async fn next(&mut self) -> Option<Ticket> {
        tokio::select! {
            ticket = self.reports.recv() => ticket,
            () = self.wanted.changed.notified() => None,
        }
    }
}

impl Drop for LineEnd {
    fn drop(&mut self) {
        self.shared.close_line(self.association);
    }
}
