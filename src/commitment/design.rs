//! What the file is.

use tidegate_database::{Design, Fill, Words};

use crate::named;

/// The file of the requests. [`Design::set_aside`] moves a damaged one out of the way.
pub static DESIGN: Design = Design {
    words: Words {
        name: "record of commitment requests",
        newer: "start a newer tidegate, or move the file away: the node then forgets the requests in it, and modalities have to ask again",
        foreign: "move it away, and the node makes a new one",
        in_use: "stop one of the two nodes",
        obstacle: "move that away, and the node makes what it needs",
        damaged: "move the file away: the node then forgets the requests in it, and modalities have to ask again",
    },
    application_id: 0x5447_434F, // `TGCO`
    migrations: &MIGRATIONS,
    views: "",
    probe: "SELECT (SELECT max(id) FROM request), (SELECT min(id) FROM request), (SELECT max(calling) FROM request),
        (SELECT min(next_ms) FROM request WHERE state < 2), (SELECT min(ended_ms) FROM request WHERE state > 1),
        (SELECT max(request) FROM reference), (SELECT min(request) FROM reference), (SELECT max(seq) FROM sqlite_sequence),
        (SELECT max(instance) FROM named), (SELECT min(instance) FROM named)",
    // A transaction of 100,000 references goes to the log in pieces of that.
    writer_cache_kib: 2 * 1024,
};

const MIGRATIONS: [(&str, Fill); 3] = [
    (concat!(include_str!("schema.sql"), include_str!("views.sql")), |_| Ok(())),
    (include_str!("migration-2.sql"), |_| Ok(())),
    (include_str!("migration-3.sql"), named::fill),
];

/// The version of the schema.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;
