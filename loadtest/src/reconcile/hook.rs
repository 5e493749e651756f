//! Asks a command where each instance is, for receivers that keep no plain tree of files.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use sha2::{Digest, Sha256};

use super::findings::{Findings, Found, ReconcileError};
use super::ledger::{Ledger, Place};
use crate::part10::Part10File;

/// Commands that run at a time.
const AT_A_TIME: usize = 4;

/// Runs `command` once for each instance, with its SOP Instance UID as the last argument. An exit code other than 0, or nothing
/// printed, is an instance that is not there.
pub(super) fn look(command: &str, ledger: &Ledger, findings: &mut Findings) -> Result<(), ReconcileError> {
    let instances = Mutex::new(ledger.all());
    let next = || instances.lock().unwrap_or_else(PoisonError::into_inner).next();
    let seen: Vec<Result<Vec<(Place, Seen)>, io::Error>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = Vec::new();
                    while let Some((place, uid, _)) = next() {
                        seen.push((place, ask(command, &uid, ledger, place)?));
                    }
                    Ok(seen)
                })
            })
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|seen| seen.unwrap_or_else(|_| Err(io::Error::other("a thread ended by a panic")))).collect()
    });
    for seen in seen {
        for (place, found) in seen.map_err(ReconcileError::Hook)? {
            match found {
                Seen::Found(Found::Absent) => {}
                Seen::Found(found) => findings.saw(place, found),
                Seen::Mislabelled(problem) => findings.saw_mislabelled(place, problem),
            }
        }
    }
    Ok(())
}

/// The consequence of the command's answer.
enum Seen {
    Found(Found),
    Mislabelled(String),
}

fn ask(command: &str, uid: &str, ledger: &Ledger, place: Place) -> io::Result<Seen> {
    let output = Command::new("sh")
        .args(["-c", &format!("{command} \"$1\""), "sh", uid])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let answer = answer.trim();
    if !output.status.success() || answer.is_empty() {
        return Ok(Seen::Found(Found::Absent));
    }
    let Some((start, rest)) = ledger.dataset(place) else {
        return Ok(Seen::Found(Found::Absent));
    };
    let mut parts = std::iter::once(&start[..]).chain(rest);
    let is_digest = answer.len() == 64 && answer.bytes().all(|byte| byte.is_ascii_hexdigit());
    let whole = if is_digest {
        answer.eq_ignore_ascii_case(&digest(parts))
    } else if Path::new(answer).exists() {
        let path = Path::new(answer);
        let opened = Part10File::open(path).and_then(|mut file| Ok(file.dataset_is(&mut parts)?.then_some(file)));
        match opened {
            Ok(Some(file)) => {
                if let Some(problem) = ledger.mislabelled(place, &file, path) {
                    return Ok(Seen::Mislabelled(format!("{answer}: {problem}")));
                }
                true
            }
            Ok(None) | Err(_) => false,
        }
    } else {
        return Ok(Seen::Found(Found::Absent));
    };
    Ok(Seen::Found(if whole { Found::Whole } else { Found::Other }))
}

/// SHA-256 of a dataset given in parts, in lower-case hexadecimal.
pub(super) fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    format!("{:x}", hasher.finalize())
}
