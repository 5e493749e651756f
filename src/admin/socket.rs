//! The admin socket: a Unix domain socket on which the running node answers its own user's command line.
//!
//! Bounds: [`MAX_CONNECTIONS`] connections at a time (the next one waits in the backlog), a request of at most [`MAX_REQUEST_BYTES`] within
//! [`REQUEST_TIMEOUT`], one request for each connection, one profile at a time.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};
use tidegate_actors::gauges::audit::Operator;
use tidegate_actors::gauges::ended::KEPT;
use tidegate_actors::patience::within;
use tidegate_actors::{Observer, Service};
use tidegate_memory::profile::Recording;
use tidegate_memory::{Holder, MemoryLease, Stage};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use super::allocation::{allocator_detail, answer_or_error, purge};
use super::catalogue::readers::Readers;
use super::commitment::readers::Requests;
use super::ended::EndedAssociation;
use super::model::{Association, Drain, Second, Status};
use super::outbox::readers::Deliveries;
use super::queries::Queries;
use super::sinks::readers::EventSinks;
use super::socket_path::{Link, SocketPath, addressable};
use super::storage::StorageWatch;
use super::wire::{Answer, Ask, MAX_PROFILE_SECONDS, MAX_REQUEST_BYTES, Request, Response, Spoken, VERSION, line};
use super::writers::Writers;

/// Most connections at one time.
const MAX_CONNECTIONS: usize = 4;
/// Time for a client to send its request. It is less than a client waits for its answer, since it may wait behind a silent one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a client to receive the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Sockets in a runtime directory that a start examines.
const MAX_SWEPT: usize = 1024;
/// A younger socket may belong to a node that does not listen yet.
const SWEPT_AGE: Duration = Duration::from_secs(60);
/// Pause after a failed `accept`.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Only the owner (and root) may connect.
const SOCKET_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A bound admin socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: StdListener,
    _file: SocketFile,
    _link: Option<Link>,
}

/// The error of the admin socket. The node runs without it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// `sun_path` holds 108 bytes.
    #[error("the path is {} bytes long and a unix socket allows 107: set [admin] socket to a shorter one", .0.as_os_str().len())]
    PathTooLong(PathBuf),
    /// Another process answers there.
    #[error("another process listens on the socket: give each node its own [admin] socket")]
    InUse,
    /// The path is another kind of file, which the node must not remove.
    #[error("the file is not a socket: remove it, or set [admin] socket to another path")]
    NotASocket,
    /// The operating system refuses.
    #[error("cannot {what} the socket: {source}")]
    Io { what: &'static str, source: io::Error },
}

impl SocketError {
    fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// The state that connections share.
struct Observed<F> {
    look: F,
    account: Arc<Holder>,
}

impl AdminSocket {
    /// Binds `path` with mode 0600, in place of a socket that a dead node has left there.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let (at, _directory) = addressable(path).map_err(SocketError::io("open the directory of"))?;
        let address = SockAddr::unix(at).map_err(|_| SocketError::PathTooLong(path.to_owned()))?;
        let new = || Socket::new(Domain::UNIX, Type::STREAM, None).map_err(SocketError::io("create"));
        remove_stale(path, &address, &new()?)?;
        let socket = new()?;
        // Linux makes the file with the mode of the socket: it never has another, whatever the umask. Other systems
        // refuse this; there the mode is set before anyone can connect, since nobody listens yet.
        let _ = rustix::fs::fchmod(&socket, SOCKET_MODE);
        socket.bind(&address).map_err(SocketError::io("bind"))?;
        let file = SocketFile::of(path).map_err(SocketError::io("examine"))?;
        rustix::fs::chmod(path, SOCKET_MODE)
            .map_err(|errno| SocketError::Io { what: "restrict", source: errno.into() })?;
        socket.set_nonblocking(true).map_err(SocketError::io("set up"))?;
        socket.listen(MAX_CONNECTIONS as i32).map_err(SocketError::io("listen on"))?;
        let listener = StdListener::from(std::os::fd::OwnedFd::from(socket));
        Ok(Self { listener, _file: file, _link: None })
    }

    /// Answers until it is dropped. `look` answers requests about the node, on a thread that may block. `account` is charged for the
    /// buffers of connections. Clients are served even if the budget is exhausted, because operators ask at that time; they are few.
    async fn serve<F>(self: Arc<Self>, look: F, account: Arc<Holder>) -> io::Result<()>
    where
        F: Fn(Ask, &Operator) -> Answer + Send + Sync + 'static,
    {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        let observed = Arc::new(Observed { look, account });
        let mut conversations = JoinSet::new();
        loop {
            while conversations.try_join_next().is_some() {}
            if conversations.len() >= MAX_CONNECTIONS {
                conversations.join_next().await;
                continue;
            }
            match listener.accept().await {
                Ok((stream, _)) => {
                    conversations.spawn(converse(stream, observed.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "admin socket cannot accept connections; retrying");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

/// The socket as a child of the node's supervisor. It is bound when the child first starts, since it may lie in the storage root, which the
/// node creates. The node serves without it if it cannot be bound.
pub(crate) fn service(path: SocketPath) -> Service {
    let bound = OnceLock::new();
    Service::new("admin-socket", move |observer| {
        let socket = bound.get_or_init(|| open(&path)).clone();
        Box::pin(async move {
            let Some(socket) = socket else { return };
            let account = Arc::new(observer.open_account("admin socket"));
            if let Err(error) = socket.serve(looks(observer, account.clone()), account).await {
                tracing::error!(%error, "admin socket failed");
            }
        })
    })
}

/// Binds the socket; removes what dead nodes have left beside it, and leaves the link below the storage root.
fn open(path: &SocketPath) -> Option<Arc<AdminSocket>> {
    let at = path.prepare();
    let mut socket = match AdminSocket::bind(&at) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(path = %at.display(), %error, "admin socket unavailable: `tidegate status`, `top` and `mem` cannot reach this node");
            return None;
        }
    };
    tracing::info!(path = %at.display(), "admin socket open");
    if matches!(path, SocketPath::Of(_)) {
        // The link is on the disk of the storage root, which the node has just opened.
        match path.link(&at) {
            Ok(link) => socket._link = link,
            Err(error) => tracing::warn!(
                %error,
                "cannot link the admin socket below the storage root: clients must name the root as the node does"
            ),
        }
        spawn_blocking(move || at.parent().into_iter().for_each(sweep));
    }
    Some(Arc::new(socket))
}

/// Removes the sockets of dead nodes from a runtime directory.
fn sweep(directory: &Path) {
    let is_old = |path: &PathBuf| {
        let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
        modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= SWEPT_AGE))
    };
    let found =
        fs::read_dir(directory).into_iter().flatten().take(MAX_SWEPT).filter_map(|entry| Some(entry.ok()?.path()));
    for path in found.filter(|path| path.extension().is_some_and(|ending| ending == "sock")).filter(is_old) {
        if let (Ok(address), Ok(probe)) = (SockAddr::unix(&path), Socket::new(Domain::UNIX, Type::STREAM, None)) {
            let _ = remove_stale(&path, &address, &probe); // one that is in use stays
        }
    }
}

/// Answers a request about the node. Called on threads that may block.
fn looks(observer: Observer, account: Arc<Holder>) -> impl Fn(Ask, &Operator) -> Answer {
    let storage = StorageWatch::new(observer.clone());
    let queries = Queries::new(account);
    let readers = Readers::new(observer.clone(), queries.clone());
    let requests = Requests::new(observer.clone(), queries);
    let deliveries = Deliveries::new(observer.clone(), readers.clone());
    let sinks = EventSinks::new(observer.clone(), readers.clone());
    let runtime = Handle::current();
    move |ask, operator| match ask {
        Ask::Memory => answer_or_error(observer.memory(), |snapshot| Answer::Memory(Box::new(snapshot))),
        Ask::Status => {
            let status = runtime.block_on(Status::of(&observer, &storage));
            answer_or_error(status, |status| Answer::Status(Box::new(status)))
        }
        Ask::Associations => Answer::Associations(Association::all(&observer)),
        Ask::EndedAssociations => Answer::EndedAssociations(EndedAssociation::latest(&observer, KEPT)),
        Ask::Writers => Answer::Writers(Writers::of(&observer)),
        Ask::History { seconds } => {
            let points = observer.history(usize::try_from(seconds).unwrap_or(usize::MAX));
            Answer::History(points.iter().map(Second::of).collect())
        }
        Ask::Abort { id } if observer.abort(id, operator) => Answer::Abort { id },
        Ask::Abort { id } => Answer::Refused(format!("there is no association {id}")),
        Ask::Drain => {
            observer.drain(operator);
            Answer::Drain(Drain::of(&observer))
        }
        Ask::Resume if observer.undrain(operator) => Answer::Drain(Drain::of(&observer)),
        Ask::Resume => Answer::Refused("the node is stopping".to_owned()),
        Ask::Studies(search) => {
            found(runtime.block_on(readers.studies(*search, operator)), |studies| Answer::Studies(Box::new(studies)))
        }
        Ask::Study { uid } => {
            found(runtime.block_on(readers.study(uid, operator)), |study| Answer::Study(study.map(Box::new)))
        }
        Ask::Instances { uid } => found(runtime.block_on(readers.instances(uid, operator)), |instances| {
            Answer::Instances(instances.map(Box::new))
        }),
        Ask::Catalogue => found(readers.state(), |state| Answer::Catalogue(Box::new(state))),
        Ask::StartCatalogue { work } => {
            found(readers.start(work, operator), |asked| Answer::StartCatalogue(Box::new(asked)))
        }
        Ask::Commitments(search) => found(runtime.block_on(requests.page(search, operator)), Answer::Commitments),
        Ask::Commitment { id } => found(runtime.block_on(requests.one(id, operator)), Answer::of_commitment),
        Ask::RetryCommitment { id } => found(runtime.block_on(requests.retry(id, operator)), Answer::of_commitment),
        Ask::Destinations => found(deliveries.destinations(), Answer::Destinations),
        Ask::Outbox(search) => found(runtime.block_on(deliveries.page(search, operator)), Answer::Outbox),
        Ask::OrderDeliveries { destination, order } => {
            found(runtime.block_on(deliveries.order(destination, order, operator)), Answer::OutboxChanged)
        }
        Ask::Sinks => found(sinks.sinks(), Answer::Sinks),
        Ask::OwedEvents(search) => found(runtime.block_on(sinks.owed(search, operator)), Answer::OwedEvents),
        Ask::PastEvents(search) => found(runtime.block_on(sinks.past(search, operator)), Answer::PastEvents),
        Ask::OrderEvents { sink, order } => {
            found(runtime.block_on(sinks.order(sink, order, operator)), Answer::EventsChanged)
        }
        Ask::Allocator | Ask::Purge | Ask::Profile { .. } => {
            Answer::Refused("this is not asked of the node".to_owned())
        }
    }
}

/// What was found, or why there is no answer.
fn found<T>(outcome: Result<T, impl ToString>, answer: impl FnOnce(T) -> Answer) -> Answer {
    outcome.map_or_else(|error| Answer::Refused(error.to_string()), answer)
}

/// Removes the socket that a dead node left at `path`. A living node accepts, or has a full backlog.
fn remove_stale(path: &Path, address: &SockAddr, probe: &Socket) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SocketError::Io { what: "examine", source }),
    }
    probe.set_nonblocking(true).map_err(SocketError::io("try"))?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(SocketError::io("replace"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) => Err(SocketError::InUse),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse),
        Err(source) => Err(SocketError::Io { what: "try", source }),
    }
}

/// The file of a socket, removed with this if it is still the same one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    dev: u64,
    ino: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), dev: found.dev(), ino: found.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == (self.dev, self.ino)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Serves one client. An error on its connection concerns that client only.
async fn converse<F>(mut stream: UnixStream, observed: Arc<Observed<F>>)
where
    F: Fn(Ask, &Operator) -> Answer + Send + Sync + 'static,
{
    let _lease = observed.charge(MAX_REQUEST_BYTES);
    let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
    let answer = match within(REQUEST_TIMEOUT, read_request(&mut stream)).await {
        Ok(Some(Ok(ask))) => match ask {
            Ask::Allocator => observed.clone().blocking(|_| allocator_detail()).await,
            Ask::Purge => observed.clone().blocking(|_| purge()).await,
            Ask::Profile { seconds } => match profile(seconds, &mut stream).await {
                Ok(Some(profile)) => {
                    send(&mut stream, &observed, Answer::Profile { bytes: profile.len() as u64 }).await;
                    let _lease = observed.charge(profile.len() as u64);
                    let _ = within(ANSWER_TIMEOUT, stream.write_all(&profile)).await;
                    return;
                }
                Ok(None) => return,
                Err(refusal) => Answer::Refused(refusal),
            },
            ask => observed.clone().blocking(move |observed| (observed.look)(ask, &operator(uid))).await,
        },
        Ok(Some(Err(refusal))) => Answer::Refused(refusal),
        Ok(None) | Err(_) => return,
    };
    send(&mut stream, &observed, answer).await;
}

/// The user at the other end of the socket.
fn operator(uid: Option<u32>) -> Operator {
    let identity = match uid {
        Some(uid) => format!("user {} (uid {uid})", user_name(uid).as_deref().unwrap_or("unknown")),
        None => "user unknown".to_owned(),
    };
    Operator { identity, address: None }
}

/// The name of a user of this machine, by its own list: a directory service could keep the answer waiting.
fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let names = users.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse::<u32>().ok()?))
    });
    names.filter(|(_, of_user)| *of_user == uid).map(|(name, _)| name.to_owned()).next()
}

async fn send<F>(stream: &mut UnixStream, observed: &Observed<F>, answer: Answer) {
    let response = Response { version: VERSION, tidegate: env!("CARGO_PKG_VERSION").to_owned(), answer };
    let Ok(Ok(line)) = spawn_blocking(move || line(&response)).await else {
        return;
    };
    let _lease = observed.charge(line.len() as u64);
    let _ = within(ANSWER_TIMEOUT, stream.write_all(&line)).await;
}

/// The request, or the reason why it is invalid; `None` if the client left without one.
async fn read_request(stream: &mut UnixStream) -> Option<Result<Ask, String>> {
    let mut line = Vec::with_capacity(MAX_REQUEST_BYTES as usize);
    let mut reader = BufReader::with_capacity(1024, stream.take(MAX_REQUEST_BYTES));
    reader.read_until(b'\n', &mut line).await.ok()?;
    if line.last() != Some(&b'\n') {
        let too_long = line.len() as u64 == MAX_REQUEST_BYTES;
        return too_long.then(|| Err(format!("a request has at most {MAX_REQUEST_BYTES} bytes")));
    }
    Some(parse(&line))
}

fn parse(line: &[u8]) -> Result<Ask, String> {
    let refusal = |error| format!("not a request: {error}");
    let spoken: Spoken = serde_json::from_slice(line).map_err(refusal)?;
    if spoken.version != VERSION {
        return Err(format!("version {} is not spoken here, but {VERSION}", spoken.version));
    }
    serde_json::from_slice::<Request>(line).map(|request| request.ask).map_err(refusal)
}

impl<F> Observed<F>
where
    F: Send + Sync + 'static,
{
    /// Runs a look that may wait for locks or the allocator on a thread where it delays no actor.
    async fn blocking(self: Arc<Self>, work: impl FnOnce(&Self) -> Answer + Send + 'static) -> Answer {
        let done = spawn_blocking(move || work(&self)).await;
        done.unwrap_or_else(|_| Answer::Refused("the node failed at it: see its log".to_owned()))
    }
}

impl<F> Observed<F> {
    /// Leases the memory of a connection, if the budget has it.
    fn charge(&self, bytes: u64) -> Option<MemoryLease> {
        self.account.lease(Stage::Admin, bytes).ok()
    }
}

/// Takes a heap profile, unless the client leaves before it is done (`None`).
async fn profile(seconds: u64, client: &mut UnixStream) -> Result<Option<Vec<u8>>, String> {
    if !(1..=MAX_PROFILE_SECONDS).contains(&seconds) {
        return Err(format!("a profile takes 1 to {MAX_PROFILE_SECONDS} seconds"));
    }
    let recording = Recording::start().map_err(|error| error.to_string())?;
    tokio::select! {
        () = sleep(Duration::from_secs(seconds)) => {}
        // A client sends nothing after its request: bytes or an end mean that it has gone.
        _ = client.read_u8() => return Ok(None),
    }
    match spawn_blocking(move || recording.stop().map(|stacks| serde_json::to_vec(&stacks))).await {
        Ok(Ok(stacks)) => stacks.map(Some).map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the node failed at the profile: see its log".to_owned()),
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
