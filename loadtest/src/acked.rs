//! The record of acknowledged instances, one line each: SOP Instance UID and the dataset's SHA-256.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// SHA-256 of a dataset, in lower-case hexadecimal.
pub(crate) type DatasetDigest = String;

/// Appends each acknowledged instance the moment its answer is there, so that a receiver killed a moment later can be held to it.
#[derive(Debug)]
pub(crate) struct AckedLog {
    file: Mutex<File>,
}

impl AckedLog {
    /// Opens `path` for appending.
    pub(crate) fn append_to(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Writes one line with one system call.
    pub(crate) fn record(&self, sop_instance: &[u8], digest: &DatasetDigest) -> io::Result<()> {
        let line = format!("{} {digest}\n", String::from_utf8_lossy(sop_instance));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())
    }
}

/// Reads a record back: the digest last acknowledged under each SOP Instance UID.
///
/// # Errors
/// Those of the file, and `InvalidData` naming the line that is none of ours.
pub(crate) fn read(path: &Path) -> io::Result<HashMap<String, DatasetDigest>> {
    let mut acked = HashMap::new();
    for (index, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = line?;
        let Some((uid, digest)) = line.split_once(' ').filter(|(uid, digest)| !uid.is_empty() && digest.len() == 64)
        else {
            let message = format!("{}:{}: not a UID and a SHA-256: {line:?}", path.display(), index + 1);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        };
        acked.insert(uid.to_owned(), digest.to_owned());
    }
    Ok(acked)
}

/// The digest of a dataset given in parts.
pub(crate) fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> DatasetDigest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hexadecimal(hasher)
}

/// The digest that `hasher` has come to.
pub(crate) fn hexadecimal(hasher: Sha256) -> DatasetDigest {
    format!("{:x}", hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_back_and_the_last_digest_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acked");
        let (one, two) = (digest([&b"one"[..]].into_iter()), digest([&b"t"[..], b"wo"].into_iter()));
        AckedLog::append_to(&path).unwrap().record(b"1.2", &one).unwrap();
        AckedLog::append_to(&path).unwrap().record(b"1.2", &two).unwrap();
        AckedLog::append_to(&path).unwrap().record(b"1.3", &one).unwrap();
        let acked = read(&path).unwrap();
        assert_eq!(acked, HashMap::from([("1.2".into(), two.clone()), ("1.3".into(), one)]));
        assert_eq!(two, "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3");
    }

    #[test]
    fn a_line_cut_short_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acked");
        std::fs::write(&path, "1.2 abc\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("acked:1:"), "{error}");
    }
}
