//! Studies and series are followed in the same way: the statements of each.

use rusqlite::{Connection, Result};

use super::set::{self, ContentSet};

pub(super) struct Table {
    /// State and digest of what was announced.
    pub(super) look: &'static str,
    /// New content has come, with numbers that it tells: it is due later, in that state. What was told
    /// before it was complete is forgotten. Returns the number that all of at least two tell.
    pub(super) open: &'static str,
    /// Files that it has had: no fewer than instances.
    pub(super) files: &'static str,
    /// Instances that it has had.
    pub(super) instances: &'static str,
    /// The number that was told is reached: it is due then, if that is earlier.
    pub(super) shorten: &'static str,
    /// It was due while somebody was sending of it.
    pub(super) hold: &'static str,
    /// Something of it seems missing.
    pub(super) wait: &'static str,
    /// It is complete, with that content. What its source has answered stays: people are told by what it is complete.
    pub(super) complete: &'static str,
    pub(super) set_of: fn(&Connection, i64) -> Result<ContentSet>,
}

macro_rules! table {
    ($name:literal, asked: $was_asked:literal, $not_asked:literal, $answered:literal, files: $files:literal, instances: $instances:literal, $set_of:path) => {
        Table {
            look: concat!("SELECT state, told_digest FROM ", $name, " WHERE id = ?1"),
            open: concat!(
                "UPDATE ",
                $name,
                " SET state = ?2, due_ms = iif(wait_until_ms IS NULL",
                $was_asked,
                ", max(ifnull(due_ms, ?3), ?3), ?3), is_held = 0, wait_until_ms = NULL,
                expected_least = iif(state = 2, ?4, iif(?4 IS NULL, expected_least, min(ifnull(expected_least, ?4), ?4))),
                expected_most = iif(state = 2, ?5, iif(?5 IS NULL, expected_most, max(ifnull(expected_most, ?5), ?5))),
                expected_by = iif(state = 2, 0, expected_by) + ?6",
                $not_asked,
                " WHERE id = ?1 RETURNING iif(expected_least = expected_most AND expected_by > 1, expected_most, NULL)"
            ),
            files: $files,
            instances: $instances,
            shorten: concat!("UPDATE ", $name, " SET due_ms = min(due_ms, ?2) WHERE id = ?1"),
            hold: concat!("UPDATE ", $name, " SET due_ms = NULL, is_held = 1 WHERE id = ?1"),
            wait: concat!("UPDATE ", $name, " SET wait_until_ms = ?2, due_ms = ?3", $not_asked, " WHERE id = ?1"),
            complete: concat!(
                "UPDATE ",
                $name,
                " SET state = ?2, due_ms = NULL, is_held = 0, told = told + 1, told_ms = ?3, told_instances = ?4, told_bytes = ?5,
                told_digest = ?6, wait_until_ms = NULL",
                $answered,
                " WHERE id = ?1"
            ),
            set_of: $set_of,
        }
    };
}

pub(super) const STUDIES: Table = table!(
    "study",
    asked: " AND asked_ms IS NULL",
    ", asked_ms = NULL, source_has = NULL",
    ", asked_ms = NULL",
    files: "SELECT ifnull(sum(instances + gone), 0) FROM series WHERE study = ?1",
    instances: "SELECT count(DISTINCT instance.uid) FROM series CROSS JOIN instance ON instance.series = series.id WHERE series.study = ?1",
    set::of_study
);
pub(super) const SERIES: Table = table!(
    "series",
    asked: "",
    "",
    "",
    files: "SELECT instances + gone FROM series WHERE id = ?1",
    instances: "SELECT count(DISTINCT uid) FROM instance WHERE series = ?1",
    set::of_series
);
