//! Studies and series are followed in the same way: the statements of each.

use rusqlite::{Connection, Result};

use super::set::{self, ContentSet};

pub(super) struct Table {
    /// State and digest of what was announced.
    pub(super) look: &'static str,
    /// New content has come: it is due later, in that state.
    pub(super) open: &'static str,
    /// It was due while somebody was sending of it.
    pub(super) hold: &'static str,
    /// It is complete, with that content.
    pub(super) complete: &'static str,
    pub(super) set_of: fn(&Connection, i64) -> Result<ContentSet>,
}

macro_rules! table {
    ($name:literal, $set_of:path) => {
        Table {
            look: concat!("SELECT state, told_digest FROM ", $name, " WHERE id = ?1"),
            open: concat!("UPDATE ", $name, " SET state = ?2, due_ms = max(ifnull(due_ms, ?3), ?3), is_held = 0 WHERE id = ?1"),
            hold: concat!("UPDATE ", $name, " SET due_ms = NULL, is_held = 1 WHERE id = ?1"),
            complete: concat!(
                "UPDATE ",
                $name,
                " SET state = ?2, due_ms = NULL, is_held = 0, told = told + 1, told_ms = ?3, told_instances = ?4, told_bytes = ?5,
                told_digest = ?6 WHERE id = ?1"
            ),
            set_of: $set_of,
        }
    };
}

pub(super) const STUDIES: Table = table!("study", set::of_study);
pub(super) const SERIES: Table = table!("series", set::of_series);
