//! What the file of the catalogue is.

use std::path::{Path, PathBuf};

use tidegate_database::{Design, Error, Fill, Words};

use crate::names;

/// The catalogue's file.
pub static DESIGN: Design = Design {
    words: Words {
        name: "catalogue",
        newer: "start a newer tidegate, or move the file away, and the node makes a new one from the stored files",
        foreign: "set catalogue.path to another file",
        in_use: "set catalogue.path of one of the two nodes to another file",
        obstacle: "move that away, and the node makes what it needs; a catalogue on another disk is named by catalogue.path",
        damaged: "move the file away, and the node makes a new one from the stored files",
    },
    application_id: 0x5447_4341, // `TGCA`
    migrations: &MIGRATIONS,
    views: include_str!("views-of-deliveries.sql"),
    probe: "SELECT (SELECT max(id) FROM instance), (SELECT min(id) FROM instance),
        (SELECT hex(max(uid)) FROM instance), (SELECT hex(min(uid)) FROM instance),
        (SELECT max(series) FROM instance), (SELECT min(series) FROM instance),
        (SELECT max(directory) FROM instance), (SELECT min(directory) FROM instance),
        (SELECT max(last_ms) FROM study), (SELECT min(uid) FROM study), (SELECT max(id) FROM series),
        (SELECT max(path) FROM directory), (SELECT count(*) FROM gap WHERE closed_ms IS NULL), (SELECT count(*) FROM mark),
        (SELECT sum(waiting + sent) FROM destination), (SELECT max(instance) FROM delivered), (SELECT max(study) FROM study_destination),
        (SELECT destination FROM delivery LIMIT 1), (SELECT max(instance) FROM releasing),
        (SELECT min(due_ms) FROM study), (SELECT min(due_ms) FROM series), (SELECT max(id) FROM event), (SELECT min(event) FROM owed_event),
        (SELECT sum(waiting) FROM sink), (SELECT max(asked_ms) FROM study), (SELECT max(at_ms) FROM told)",
    writer_cache_kib: 8 * 1024,
};

const MIGRATIONS: [(&str, Fill); 10] = [
    (concat!(include_str!("schema.sql"), include_str!("views.sql")), |_| Ok(())),
    (include_str!("migration-2.sql"), |_| Ok(())), // the next one fills it
    (include_str!("migration-3.sql"), names::enter_all),
    (include_str!("migration-4.sql"), |_| Ok(())),
    (include_str!("migration-5.sql"), |_| Ok(())),
    (include_str!("migration-6.sql"), |_| Ok(())),
    (include_str!("migration-7.sql"), |_| Ok(())),
    (include_str!("migration-8.sql"), |_| Ok(())),
    (include_str!("migration-9.sql"), |_| Ok(())),
    (include_str!("migration-10.sql"), |_| Ok(())),
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
