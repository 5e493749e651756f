//! The default template, and the bounds of templates and names.

/// The default template.
pub(super) const DEFAULT: &str = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm";

/// Components of 255 bytes and their separators stay below 3 KiB of the 4 KiB a path may have,
/// which leaves the rest to the root.
pub(super) const MAX_COMPONENTS: usize = 12;

pub(super) const MAX_TEMPLATE_BYTES: usize = 1024;

/// Longest file name of common filesystems, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 255;

/// `~` and a SHA-256 in hexadecimal.
pub(super) const CUT_MARK_BYTES: usize = 1 + 64;

/// Bytes beyond literals and values: `~` and the number of a copy, and the two bytes by
/// which escaping the first character of a reserved name makes it longer.
pub(super) const RESERVED_BYTES: usize = 11 + 2;
