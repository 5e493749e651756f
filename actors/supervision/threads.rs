//! The association threads, and the associations on each, with a second descriptor of each socket. If a thread hangs, the supervisor sends
//! A-ABORT over these to its peers.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tidegate_memory::StageBytes;
use tokio::sync::watch;
use tokio::time::sleep;

use super::liveness::HeldWork;
use crate::network::transport::Port;

/// A-ABORT: source service-provider, reason not specified (PS3.8 §9.3.8).
pub(crate) const ABORT: [u8; 10] = [7, 0, 0, 0, 0, 4, 0, 0, 2, 0];

/// Interval at which a peer that waits for a decision is looked at.
const PEER_LOOK: Duration = Duration::from_millis(50);

/// The threads that serve associations, and the associations on each.
#[derive(Debug)]
pub(crate) struct AssociationThreads {
    handles: watch::Sender<Vec<Option<ArbiterHandle>>>,
    entries: Mutex<HashMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    thread: usize,
    port: Port,
    socket: Arc<TcpStream>,
}

/// The assignment of an association to its thread. Dropping it removes the entry.
#[derive(Debug)]
pub(crate) struct Assignment {
    threads: Arc<AssociationThreads>,
    account: u64,
    /// The entry's. Only the entry keeps it open.
    socket: Weak<TcpStream>,
}

impl AssociationThreads {
    pub(crate) fn new(threads: usize) -> Self {
        Self { handles: watch::Sender::new(vec![None; threads]), entries: Mutex::default() }
    }

    /// Sets the handle of thread `index`; `None`: it serves no associations.
    pub(crate) fn set_thread(&self, index: usize, handle: Option<ArbiterHandle>) {
        self.handles.send_modify(|threads| {
            if let Some(thread) = threads.get_mut(index) {
                *thread = handle;
            }
        });
    }

    /// The first available thread from number `first` on. If all have died, waits for a successor: the supervisor starts one, or stops the
    /// node.
    pub(crate) async fn thread(&self, first: usize) -> (usize, ArbiterHandle) {
        loop {
            if let Some(thread) = first_ready_from(first, &self.handles.borrow()) {
                return thread;
            }
            // Cannot fail: `self` owns the sender.
            let _ = self.handles.subscribe().wait_for(|threads| first_ready_from(first, threads).is_some()).await;
        }
    }

    /// Adds the association with this account.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub(crate) fn assign(
        self: &Arc<Self>,
        account: u64,
        thread: usize,
        port: Port,
        socket: &impl AsFd,
    ) -> std::io::Result<Assignment> {
        let second = socket.as_fd().try_clone_to_owned()?;
        let entry = Entry { thread, port, socket: Arc::new(second.into()) };
        let socket = Arc::downgrade(&entry.socket);
        self.entries.lock().insert(account, entry);
        Ok(Assignment { threads: self.clone(), account, socket })
    }

    /// Aborts every association of a thread that cannot: sends A-ABORT if the socket accepts it, and shuts the connection down. `by_stage`
    /// gives the bytes of an account.
    pub(crate) fn abort_all_on(&self, thread: usize, by_stage: impl Fn(u64) -> StageBytes) -> HeldWork {
        let mut held = HeldWork::default();
        let mut entries = self.entries.lock();
        for (account, entry) in entries.extract_if(|_, entry| entry.thread == thread) {
            entry.abort();
            let _ = entry.socket.shutdown(Shutdown::Both);
            held.count += 1;
            held.bytes += by_stage(account);
        }
        held
    }
}

/// Whether the peer has closed or reset the connection.
fn has_left(socket: &TcpStream) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    matches!(poll(&mut fds, Some(&now)), Ok(1..)) && fds[0].revents().intersects(gone)
}

fn first_ready_from(first: usize, threads: &[Option<ArbiterHandle>]) -> Option<(usize, ArbiterHandle)> {
    let numbers = (0..threads.len()).map(|offset| (first + offset) % threads.len());
    numbers.filter_map(|number| Some((number, threads[number].clone()?))).next()
}

impl Entry {
    /// Sends A-ABORT, if the socket accepts it. Within TLS only the association itself could.
    fn abort(&self) {
        if self.port == Port::Plain {
            let _ = SockRef::from(&*self.socket).send(&ABORT);
        }
    }
}

impl Assignment {
    /// Waits until the peer has closed its side of the connection, whatever it has sent before. Looks at once, then at intervals: the socket
    /// is registered with another reactor handle, and the wait is rare.
    pub(crate) fn peer_left(&self) -> impl Future<Output = ()> + use<> {
        let socket = self.socket.clone();
        async move {
            while !socket.upgrade().is_none_or(|socket| has_left(&socket)) {
                sleep(PEER_LOOK).await;
            }
        }
    }

    /// Whether the peer has closed its side of the connection. Bytes that it sent before do not hide that.
    pub(crate) fn has_peer_left(&self) -> bool {
        self.socket.upgrade().is_none_or(|socket| has_left(&socket))
    }

    /// Sends A-ABORT to the peer, unless the supervisor has: both detect the death of a thread, and the first one sends it.
    pub(crate) fn abort(&self) {
        if let Some(entry) = self.threads.entries.lock().remove(&self.account) {
            entry.abort();
        }
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        self.threads.entries.lock().remove(&self.account);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn associate(
        listener: &TcpListener,
        threads: &Arc<AssociationThreads>,
        account: u64,
        thread: usize,
    ) -> (TcpStream, TcpStream, Assignment) {
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let assignment = threads.assign(account, thread, Port::Plain, &socket).unwrap();
        (peer, socket, assignment)
    }

    fn read_to_end_of(mut peer: TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn only_the_associations_of_the_thread_are_aborted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let threads = Arc::new(AssociationThreads::new(2));
        let (hung, _its_socket, assignment) = associate(&listener, &threads, 1, 0);
        let (well, its_socket, _other) = associate(&listener, &threads, 2, 1);
        assert_eq!(threads.abort_all_on(0, |_| StageBytes::default()).count, 1);
        assert_eq!(read_to_end_of(hung), ABORT);
        drop(assignment);
        assert_eq!(threads.entries.lock().len(), 1);
        drop((its_socket, _other));
        assert_eq!(read_to_end_of(well), Vec::<u8>::new(), "closed with its last descriptor, and without a word");
    }

    #[test]
    fn an_association_that_has_aborted_is_not_aborted_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let threads = Arc::new(AssociationThreads::new(1));
        let (peer, socket, assignment) = associate(&listener, &threads, 1, 0);
        assignment.abort();
        assert_eq!(threads.abort_all_on(0, |_| StageBytes::default()).count, 0);
        drop(socket);
        assert_eq!(read_to_end_of(peer), ABORT);
    }

    #[test]
    fn threads_take_turns_a_dead_one_is_passed_over_and_where_all_are_dead_the_next_is_waited_for() {
        actix_rt::System::new().block_on(async {
            let threads = AssociationThreads::new(3);
            let handle = actix_rt::Arbiter::current();
            let wait = threads.thread(0);
            tokio::pin!(wait);
            assert!(futures_util::FutureExt::now_or_never(wait.as_mut()).is_none());
            threads.set_thread(2, Some(handle.clone()));
            assert_eq!(wait.await.0, 2);
            threads.set_thread(0, Some(handle));
            for (first, thread) in [0, 2, 2, 0].into_iter().enumerate() {
                assert_eq!(threads.thread(first).await.0, thread);
            }
        });
    }

    #[tokio::test]
    async fn a_peer_that_has_left_is_seen_behind_what_it_has_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let threads = Arc::new(AssociationThreads::new(1));
        let (mut peer, _socket, assignment) = associate(&listener, &threads, 1, 0);
        std::io::Write::write_all(&mut peer, b"a request").unwrap();
        let left = assignment.peer_left();
        tokio::pin!(left);
        assert!(futures_util::FutureExt::now_or_never(left.as_mut()).is_none());
        drop(peer);
        left.await;
    }
}
