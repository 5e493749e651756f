//! Writes past the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::buffer::Buffer;

/// Writes the content of `buffer` at `offset`, whole pages past the page cache when `direct`. The rest of the last page goes first, so that
/// the file has its length.
pub(super) fn write_part(file: &File, buffer: &Buffer, offset: u64, direct: bool) -> io::Result<()> {
    let (pages, rest) = buffer.split();
    if !direct || pages.is_empty() {
        return file.write_all_at(buffer.filled(), offset);
    }
    if !rest.is_empty() {
        set_direct(file, false)?;
        file.write_all_at(rest, offset + pages.len() as u64)?;
    }
    set_direct(file, true)?;
    file.write_all_at(pages, offset)
}

/// Lets `file` be written past the page cache, or not. A filesystem that knows no direct writes goes on without.
pub(super) fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    let wanted = if direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT };
    match fcntl_setfl(file, wanted) {
        Err(rustix::io::Errno::INVAL) if direct => Ok(()),
        set => Ok(set?),
    }
}
