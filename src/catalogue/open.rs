//! What the file of the catalogue is.

use std::path::{Path, PathBuf};

use tidegate_database::{Design, Error, Fill, Words};

use crate::names;

/// The catalogue's file.
pub static DESIGN: Design = Design {
    words: Words {
        name: "catalogue",
        newer: "move the file away and let the node rebuild it",
        foreign: "name another file",
        in_use: "set catalogue.path of one of them to another file",
    },
    application_id: 0x5447_4341, // `TGCA`
    migrations: &MIGRATIONS,
    probe: "SELECT (SELECT max(id) FROM instance), (SELECT min(id) FROM instance),
        (SELECT hex(max(uid)) FROM instance), (SELECT hex(min(uid)) FROM instance),
        (SELECT max(series) FROM instance), (SELECT min(series) FROM instance),
        (SELECT max(directory) FROM instance), (SELECT min(directory) FROM instance),
        (SELECT max(last_ms) FROM study), (SELECT min(uid) FROM study), (SELECT max(id) FROM series),
        (SELECT max(path) FROM directory), (SELECT count(*) FROM gap WHERE closed_ms IS NULL), (SELECT count(*) FROM mark)",
    writer_cache_kib: 8 * 1024,
};

const MIGRATIONS: [(&str, Fill); 2] = [
    (concat!(include_str!("schema.sql"), include_str!("views.sql")), |_| Ok(())),
    (include_str!("migration-2.sql"), names::enter_all),
];

/// The version of the schema.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// Moves a damaged catalogue out of the way: [`Design::set_aside`].
///
/// # Errors
/// Those of [`Design::set_aside`].
pub fn set_aside(path: &Path, at_ms: i64) -> Result<PathBuf, Error> {
    DESIGN.set_aside(path, at_ms)
}
