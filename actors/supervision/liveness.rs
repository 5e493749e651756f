//! The liveness of a child: the half that the child holds, and the view of the supervisor.
//!
//! Invariant: no end of a child is missed. The child drops its [`Liveness`] however it ends, by return, by a panic that unwinds, or by the
//! end of its thread; no message is needed that could be lost. On the way, the child writes only relaxed atomics of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_memory::StageBytes;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::exit::{Exit, Panic};

/// Interval of the heartbeat of a child that waits without blocking.
const BEAT: Duration = Duration::from_millis(250);

/// The kind of a message, for the record of a child's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum MessageKind {
    /// No message yet.
    None = 0,
    /// A batch of instances to be committed.
    Commit,
    /// A spool part.
    Append,
    /// A connection that was admitted.
    Admitted,
    /// A connection that was rejected.
    TurnedAway,
    /// A failed `accept`.
    AcceptFailed,
    /// A look at the memory.
    MemoryLook,
    /// A statistics line.
    StatisticsLine,
    /// An association request.
    AssociateRequest,
    /// The command set of a C-STORE.
    StoreRequest,
    /// A fragment of a dataset.
    Fragment,
    /// The end of a dataset.
    DatasetEnd,
    /// Any other event of an association.
    OtherEvent,
}

impl MessageKind {
    const ALL: [Self; 13] = [
        Self::None,
        Self::Commit,
        Self::Append,
        Self::Admitted,
        Self::TurnedAway,
        Self::AcceptFailed,
        Self::MemoryLook,
        Self::StatisticsLine,
        Self::AssociateRequest,
        Self::StoreRequest,
        Self::Fragment,
        Self::DatasetEnd,
        Self::OtherEvent,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Commit => "commit",
            Self::Append => "append",
            Self::Admitted => "admitted",
            Self::TurnedAway => "turned_away",
            Self::AcceptFailed => "accept_failed",
            Self::MemoryLook => "memory_look",
            Self::StatisticsLine => "statistics_line",
            Self::AssociateRequest => "associate_request",
            Self::StoreRequest => "store_request",
            Self::Fragment => "fragment",
            Self::DatasetEnd => "dataset_end",
            Self::OtherEvent => "other_event",
        }
    }
}

/// The names of messages for the log.
pub(crate) fn names_of(messages: &[MessageKind]) -> String {
    messages.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" ")
}

/// The last eight messages of a child, the latest last. Written by one thread, read by any.
#[derive(Debug, Default)]
pub(crate) struct LastMessages(AtomicU64);

impl LastMessages {
    pub(crate) fn note(&self, kind: MessageKind) {
        self.0.store(self.0.load(Ordering::Relaxed) << 8 | kind as u64, Ordering::Relaxed);
    }

    pub(crate) fn list(&self) -> Vec<MessageKind> {
        let kinds = self.0.load(Ordering::Relaxed).to_be_bytes();
        let known = kinds.iter().filter_map(|kind| MessageKind::ALL.get(usize::from(*kind)).copied());
        known.filter(|kind| *kind != MessageKind::None).collect()
    }
}

/// The work that a child had when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldWork {
    /// Jobs of a writer, associations of a thread.
    pub(crate) count: usize,
    /// Their leases.
    pub(crate) bytes: StageBytes,
}

#[derive(Debug)]
struct Signals {
    progress: AtomicU64,
    busy: AtomicBool,
    ready: AtomicBool,
    fenced: AtomicBool,
    stop: watch::Sender<bool>,
    last_messages: LastMessages,
    held: Mutex<HeldWork>,
    exit: Mutex<Option<Exit>>,
    ended: AtomicBool,
    changed: Arc<Notify>,
}

/// The half of the child.
#[derive(Debug)]
pub(crate) struct Liveness(Arc<Signals>);

/// The half of the supervisor.
#[derive(Clone, Debug)]
pub(crate) struct LivenessView(Arc<Signals>);

/// Creates both halves; `changed` is notified when the child becomes ready or ends.
pub(crate) fn liveness(changed: Arc<Notify>) -> (Liveness, LivenessView) {
    let signals = Arc::new(Signals {
        progress: AtomicU64::new(0),
        busy: AtomicBool::new(false),
        ready: AtomicBool::new(false),
        fenced: AtomicBool::new(false),
        stop: watch::Sender::new(false),
        last_messages: LastMessages::default(),
        held: Mutex::default(),
        exit: Mutex::default(),
        ended: AtomicBool::new(false),
        changed,
    });
    (Liveness(signals.clone()), LivenessView(signals))
}

impl Liveness {
    /// Reports that the child is ready: children that depend on it may start.
    pub(crate) fn ready(&self) {
        self.0.ready.store(true, Ordering::Relaxed);
        self.0.changed.notify_one();
    }

    /// Reports progress.
    pub(crate) fn progress(&self) {
        // Only this child writes the count, so it needs no atomic addition.
        self.0.progress.store(self.0.progress.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(crate) fn note(&self, kind: MessageKind) {
        self.0.last_messages.note(kind);
    }

    /// Until the guard is dropped, the child has work and must report progress.
    pub(crate) fn busy(&self) -> Busy<'_> {
        self.progress();
        self.0.busy.store(true, Ordering::Relaxed);
        Busy(self)
    }

    /// Sends a heartbeat while it is polled, for a child that waits without blocking. Ends when the child is asked to stop.
    async fn beat(&self) {
        let _busy = self.busy();
        let mut stop = self.0.stop.subscribe();
        loop {
            self.progress();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = sleep(BEAT) => {}
            }
        }
    }

    /// Runs `work` with a heartbeat, until it is done or the child is asked to stop.
    pub(crate) async fn during(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = self.beat() => {}
            () = work => {}
        }
        self.finish();
    }

    /// Waits until the child is asked to stop.
    pub(crate) async fn stop_requested(&self) {
        let _ = self.0.stop.subscribe().wait_for(|stop| *stop).await; // cannot fail: `self` owns the sender
    }

    /// Whether this child is fenced: nothing that it does may have an effect any more.
    pub(crate) fn is_fenced(&self) -> bool {
        self.0.fenced.load(Ordering::Relaxed)
    }

    /// Records the work that the child drops at its end.
    pub(crate) fn held(&self, held: HeldWork) {
        *self.0.held.lock() = held;
    }

    /// Ends the child with a cause.
    pub(crate) fn exit(&self, exit: Exit) {
        *self.0.exit.lock() = Some(exit);
    }

    /// Ends the child without a fault.
    pub(crate) fn finish(&self) {
        let asked = *self.0.stop.borrow();
        self.exit(if asked { Exit::Stopped } else { Exit::Finished });
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        let mut exit = self.0.exit.lock();
        if exit.is_none() {
            *exit = Some(if std::thread::panicking() {
                Exit::Panicked(Panic::of_this_thread())
            } else if *self.0.stop.borrow() {
                Exit::Stopped
            } else {
                Exit::ThreadDied // dropped without a cause
            });
        }
        drop(exit);
        self.0.ended.store(true, Ordering::Release);
        self.0.changed.notify_one();
    }
}

/// See [`Liveness::busy`].
#[derive(Debug)]
pub(crate) struct Busy<'a>(&'a Liveness);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.0.busy.store(false, Ordering::Relaxed);
    }
}

impl LivenessView {
    /// How the child ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.has_ended().then(|| self.0.exit.lock().clone()).flatten()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    /// The progress count, if the child has work. It must rise.
    pub(crate) fn progress(&self) -> Option<u64> {
        self.0.busy.load(Ordering::Relaxed).then(|| self.0.progress.load(Ordering::Relaxed))
    }

    pub(crate) fn last_messages(&self) -> Vec<MessageKind> {
        self.0.last_messages.list()
    }

    pub(crate) fn held(&self) -> HeldWork {
        *self.0.held.lock()
    }

    /// Asks the child to stop.
    pub(crate) fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    /// Fences the child.
    pub(crate) fn fence(&self) {
        self.0.fenced.store(true, Ordering::Relaxed);
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (Liveness, LivenessView) {
        liveness(Arc::default())
    }

    #[test]
    fn the_last_eight_messages_are_known_in_their_order() {
        let messages = LastMessages::default();
        assert!(messages.list().is_empty());
        for kind in MessageKind::ALL {
            messages.note(kind);
        }
        assert_eq!(messages.list(), &MessageKind::ALL[5..]);
        for (index, kind) in MessageKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn every_way_to_end_is_told_from_the_others() {
        let (child, view) = ends();
        assert_eq!(view.exit(), None);
        child.finish();
        drop(child);
        assert_eq!(view.exit(), Some(Exit::Finished));

        let (child, view) = ends();
        view.stop();
        child.finish();
        drop(child);
        assert_eq!(view.exit(), Some(Exit::Stopped));

        let (child, view) = ends();
        drop(child);
        assert_eq!(view.exit(), Some(Exit::ThreadDied));

        let (child, view) = ends();
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _child = child;
            panic!("on purpose");
        }));
        assert!(matches!(view.exit(), Some(Exit::Panicked(_))));
    }

    #[test]
    fn only_a_child_with_work_has_to_show_progress() {
        let (child, view) = ends();
        assert_eq!(view.progress(), None);
        let busy = child.busy();
        let before = view.progress().unwrap();
        child.progress();
        assert_ne!(view.progress().unwrap(), before);
        drop(busy);
        assert_eq!(view.progress(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_waits_beats_until_it_is_asked_to_stop() {
        let (child, view) = ends();
        let looks = async {
            sleep(BEAT / 2).await;
            let first = view.progress().unwrap();
            sleep(BEAT * 4).await;
            assert!(view.progress().unwrap() >= first + 4);
            view.stop();
        };
        tokio::join!(child.beat(), looks);
        assert_eq!(view.progress(), None);
    }
}
