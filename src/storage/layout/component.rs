//! Makes one name of a path: any bytes in, 1..=255 harmless bytes out.
//!
//! A value keeps `A-Z a-z 0-9 . _ -`; every other byte, and a period at either end, becomes `%` and
//! two hexadecimal digits. A value that is too long is cut and ends in `~` and the SHA-256 of the whole
//! value. As neither `%` nor `~` is kept, different values stay different. The first character of a name that may not be used becomes
//! `%` and two digits as well: of a device name, and of a literal that another layout has in the same place.

use std::borrow::Cow;
use std::fmt::Write;

use dicom_core::Tag;
use sha2::{Digest, Sha256};

use super::limits::CUT_MARK_BYTES;
use super::template::{Component, Field, Function, Piece};

const MISSING: &str = "_";

/// Device names on Windows, whatever their case and extension; where the root is shared from there,
/// such a file cannot be opened.
const RESERVED_STEMS: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
const RESERVED_NUMBERED_STEMS: [&str; 2] = ["COM", "LPT"];

/// Appends the name `component` has for the values of one instance.
pub(super) fn push_name<'a>(
    path: &mut String,
    component: &Component,
    value_of: impl Fn(Tag) -> Option<&'a [u8]>,
    copy: Option<u32>,
) {
    let start = path.len();
    for piece in &component.pieces {
        match piece {
            Piece::Literal(literal) => path.push_str(literal),
            Piece::Field(field) => {
                match field.apply(value_of(field.tag)) {
                    Some(value) => push_encoded(path, &value, component.max_value_bytes),
                    None => path.push_str(MISSING),
                }
                if let Some(copy) = copy {
                    // Writing to a String cannot fail.
                    let _ = write!(path, "~{copy}");
                }
            }
        }
    }
    let name = &path[start..];
    if is_reserved(name) || component.apart_from.iter().any(|literal| literal.eq_ignore_ascii_case(name)) {
        let first = path.remove(start);
        path.insert_str(start, &format!("%{:02X}", u32::from(first)));
    }
}

impl Field {
    fn apply<'a>(&'a self, value: Option<&'a [u8]>) -> Option<Cow<'a, [u8]>> {
        self.functions.iter().fold(value.map(Cow::Borrowed), |value, function| match (function, value) {
            (Function::First(n), Some(value)) => Some(Cow::Owned(first(&value, *n).to_vec())),
            (Function::Hash(n), Some(value)) => Some(Cow::Owned(sha256_hex(&value)[..*n].into())),
            (Function::Or(text), None) => Some(Cow::Borrowed(text.as_bytes())),
            (_, value) => value,
        })
    }
}

/// The first `n` characters of UTF-8, or the first `n` bytes of another encoding.
fn first(value: &[u8], n: usize) -> &[u8] {
    let end = match std::str::from_utf8(value) {
        Ok(text) => text.char_indices().nth(n).map(|(at, _)| at),
        Err(_) => Some(n),
    };
    &value[..end.unwrap_or(value.len()).min(value.len())]
}

/// Appends `value` in at most `max_bytes`, which are more than [`CUT_MARK_BYTES`].
fn push_encoded(name: &mut String, value: &[u8], max_bytes: usize) {
    let start = name.len();
    let is_edge = |at: usize| at == 0 || at + 1 == value.len();
    let is_kept = |at: usize, byte: u8| match byte {
        b'.' => !is_edge(at),
        byte => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
    };
    // Bytes that are kept are copied in one piece: for most values, such as UIDs, all of them.
    let mut rest = 0;
    for (at, &byte) in value.iter().enumerate().filter(|(at, byte)| !is_kept(*at, **byte)) {
        push_kept(name, &value[rest..at]);
        let _ = write!(name, "%{byte:02X}");
        rest = at + 1;
    }
    push_kept(name, &value[rest..]);
    if name.len() - start > max_bytes {
        let most = start + max_bytes - CUT_MARK_BYTES;
        // No part of an escaped byte is left in front of the mark: it has three.
        let cut = (start..most).rev().take(2).find(|at| name.as_bytes()[*at] == b'%').unwrap_or(most);
        name.truncate(cut);
        name.push('~');
        name.push_str(&sha256_hex(value));
    }
}

/// Appends bytes that are kept as they are, ASCII all of them.
fn push_kept(name: &mut String, kept: &[u8]) {
    name.push_str(std::str::from_utf8(kept).unwrap_or_default());
}

fn sha256_hex(value: &[u8]) -> String {
    Sha256::digest(value).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

pub(super) fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let is_one_of = |stems: &[&str], stem: &str| stems.iter().any(|reserved| reserved.eq_ignore_ascii_case(stem));
    let numbered = || {
        let (base, digit) = stem.split_at_checked(3)?;
        Some(is_one_of(&RESERVED_NUMBERED_STEMS, base) && digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit())
    };
    is_one_of(&RESERVED_STEMS, stem) || numbered().unwrap_or(false)
}
