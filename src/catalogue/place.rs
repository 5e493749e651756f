//! A path as the catalogue holds it: a directory, and a name that most files need not have.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use tidegate_database::PackedUid;

const ENDING: &str = ".dcm";

/// Bytes of a path or a name: text where they are UTF-8, a blob otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl ToSql for Bytes<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let is_text = std::str::from_utf8(self.0).is_ok();
        Ok(ToSqlOutput::Borrowed(if is_text { ValueRef::Text(self.0) } else { ValueRef::Blob(self.0) }))
    }
}

/// A path below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a [u8],
    pub(crate) name: &'a [u8],
}

impl<'a> Place<'a> {
    /// `None` for one that does not lead to a file below the root, or is not spelled as plainly as it can be: paths are compared as bytes.
    pub(crate) fn of(path: &'a Path) -> Option<Self> {
        let bytes = path.as_os_str().as_bytes();
        let is_plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        if !bytes.split(|byte| *byte == b'/').all(is_plain) {
            return None;
        }
        let (directory, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (&b""[..], bytes),
        };
        Some(Self { directory, name })
    }

    /// The SOP Instance UID of a file that is named by nothing else.
    pub(crate) fn uid(&self) -> Option<PackedUid> {
        std::str::from_utf8(self.name).ok()?.strip_suffix(ENDING)?.parse().ok()
    }
}

/// The name that is kept of a file with that instance: empty for the UID and `.dcm`.
pub(crate) fn kept_name<'a>(place: &Place<'a>, uid: &PackedUid) -> &'a [u8] {
    let is_uid = place.name.strip_suffix(ENDING.as_bytes()).is_some_and(|text| uid.is(text));
    if is_uid { b"" } else { place.name }
}

/// The reverse of [`kept_name`].
pub(crate) fn file_name(kept: &[u8], uid: &PackedUid) -> Vec<u8> {
    if kept.is_empty() { format!("{uid}{ENDING}").into_bytes() } else { kept.to_vec() }
}

pub(crate) fn path_of(directory: &[u8], kept: &[u8], uid: &PackedUid) -> PathBuf {
    Path::new(OsStr::from_bytes(directory)).join(OsStr::from_bytes(&file_name(kept, uid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_root_are_places() {
        for path in ["", "/a", "a\0b", "..", "../a", "a/../b", "a//b", "a/./b", "./a", "a/", "/"] {
            assert_eq!(Place::of(Path::new(path)), None, "{path}");
        }
        let place = Place::of(Path::new("1.2/3/4.5.dcm")).unwrap();
        assert_eq!((place.directory, place.name), (&b"1.2/3"[..], &b"4.5.dcm"[..]));
        assert_eq!(Place::of(Path::new("a")).unwrap().directory, b"");
    }

    #[test]
    fn a_name_is_kept_if_it_is_more_than_the_uid() {
        let uid: PackedUid = "1.2.3".parse().unwrap();
        for (name, kept) in [
            ("1.2.3.dcm", ""),
            ("1.2.3", "1.2.3"),
            ("1.2.3~2.dcm", "1.2.3~2.dcm"),
            ("1.2.4.dcm", "1.2.4.dcm"),
            (".dcm", ".dcm"),
        ] {
            let path = Path::new("d").join(name);
            let place = Place::of(&path);
            if let Some(place) = place {
                assert_eq!(kept_name(&place, &uid), kept.as_bytes());
                assert_eq!(path_of(b"d", kept.as_bytes(), &uid), path);
            }
        }
    }
}
