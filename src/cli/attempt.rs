//! One attempt to ask a node: a request line, an answer line, and the bytes that follow it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::runtime;

use super::ask_error::{AskError, Found};
use crate::admin::addressable;
use crate::admin::wire::{Answer, Ask, Request, Response, Spoken, VERSION, line};

/// Most bytes of an answer line or a profile: far above the answer for 65,536 associations, far below a danger to this process.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// One request to a node, with its deadline.
pub(super) struct Attempt {
    /// The process that listens at the socket, once there is a connection.
    pub(super) node: Arc<OnceLock<u32>>,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
}

impl Attempt {
    /// Asks the first node that accepts at one of `sockets`.
    pub(super) fn run(&self, sockets: &[PathBuf], ask: Ask) -> Result<(Answer, Vec<u8>), AskError> {
        let (mut stream, process) = self.connect_to_any(sockets)?;
        if let Some(process) = process {
            let _ = self.node.set(process); // once
        }
        let request = line(&Request { version: VERSION, ask }).map_err(io::Error::from)?;
        stream.write_all(&request).map_err(|error| self.too_late(error))?;
        let mut reader = BufReader::new(Timed { stream, deadline: self.deadline });
        let mut answer = Vec::new();
        let read = reader.by_ref().take(MAX_ANSWER_BYTES).read_until(b'\n', &mut answer);
        read.map_err(|error| self.too_late(error))?;
        if answer.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let answer = parse(&answer)?;
        let Answer::Profile { bytes } = answer else { return Ok((answer, Vec::new())) };
        if bytes > MAX_ANSWER_BYTES {
            return Err(AskError::NotUnderstood(format!("a profile of {bytes} bytes")));
        }
        let mut profile = Vec::new();
        reader.take(bytes).read_to_end(&mut profile).map_err(|error| self.too_late(error))?;
        if profile.len() as u64 != bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok((answer, profile))
    }

    /// A connection to the first socket at which a node accepts; otherwise the most informative error.
    fn connect_to_any(&self, sockets: &[PathBuf]) -> Result<(UnixStream, Option<u32>), AskError> {
        let mut why = None;
        for socket in sockets {
            match self.connect(socket) {
                Ok(stream) => return Ok(stream),
                Err(AskError::NoNode(_)) => {}
                Err(error) => why = why.or(Some(error)),
            }
        }
        Err(why.unwrap_or_else(|| AskError::NoNode(sockets.to_vec())))
    }

    fn connect(&self, path: &Path) -> Result<(UnixStream, Option<u32>), AskError> {
        let (at, _directory) = addressable(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => AskError::Denied(path.to_owned()),
            _ => AskError::NoNode(vec![path.to_owned()]),
        })?;
        let address = SockAddr::unix(at).map_err(|_| AskError::PathTooLong(path.to_owned()))?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The timeout also bounds the wait for a place in the backlog.
        socket.set_write_timeout(Some(remaining(self.deadline)))?;
        match socket.connect(&address) {
            Ok(()) => {
                let (stream, listener) = listener_of(UnixStream::from(OwnedFd::from(socket)))?;
                match is_trusted(listener.uid, rustix::process::geteuid().as_raw()) {
                    true => Ok((stream, listener.process)),
                    false => Err(AskError::Stranger { path: path.to_owned(), uid: listener.uid }),
                }
            }
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                    AskError::NoNode(vec![path.to_owned()])
                }
                io::ErrorKind::PermissionDenied => AskError::Denied(path.to_owned()),
                _ => self.too_late(error),
            }),
        }
    }

    /// An expired timeout is reported as `WouldBlock`.
    fn too_late(&self, error: io::Error) -> AskError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                AskError::TooLate { timeout: self.timeout, found: Found::of(self.node.get().copied()) }
            }
            _ => AskError::Broken(error),
        }
    }
}

/// The process and the user that listen at the other end of a socket.
struct Listener {
    /// `None`: that process is in another PID namespace and has no number here.
    process: Option<u32>,
    uid: u32,
}

fn listener_of(stream: UnixStream) -> io::Result<(UnixStream, Listener)> {
    let io = runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = io.enter();
    stream.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(stream)?;
    let peer = stream.peer_cred()?;
    let process = peer.pid().and_then(|process| u32::try_from(process).ok()).filter(|process| *process > 0);
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok((stream, Listener { process, uid: peer.uid() }))
}

/// Whether the user `ours` believes a node that `theirs` runs. Where a socket is expected, another user may have put one of their own.
/// Root asks the nodes of all users.
fn is_trusted(theirs: u32, ours: u32) -> bool {
    theirs == ours || theirs == 0 || ours == 0
}

/// A stream that is read until a deadline, in however many reads.
struct Timed {
    stream: UnixStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(remaining(self.deadline)))?;
        self.stream.read(buffer)
    }
}

/// Never zero, which would mean no timeout.
fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn parse(line: &[u8]) -> Result<Answer, AskError> {
    let not_understood = |error: serde_json::Error| AskError::NotUnderstood(error.to_string());
    let spoken: Spoken = serde_json::from_slice(line).map_err(not_understood)?;
    if spoken.version != VERSION {
        return Err(AskError::OtherVersion { node: spoken.tidegate, version: spoken.version });
    }
    let response: Response = serde_json::from_slice(line).map_err(not_understood)?;
    match response.answer {
        Answer::Refused(why) => Err(AskError::Refused(why)),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_another_user_is_believed_by_root_alone() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(1000, 0));
        assert!(!is_trusted(1001, 1000) && !is_trusted(65_534, 1000));
    }
}
