//! What the sections are about, and how they are written in Markdown.

use std::fmt::Display;
use std::time::Duration;

use tidegate_actors::LiveSettings;
use tidegate_protocol::Policy;

use crate::config::{Settings, period_text};

/// The subject of the statement.
pub(super) struct Subject<'a> {
    pub(super) settings: &'a Settings,
    pub(super) live: &'a LiveSettings,
    pub(super) policy: &'a Policy,
}

pub(super) fn time(duration: Duration) -> String {
    period_text(duration)
}

pub(super) fn code(value: impl Display) -> String {
    format!("`{value}`")
}

pub(super) fn head<const N: usize>(cells: [&str; N]) -> String {
    format!("{}|{}\n", row(cells), "---|".repeat(N))
}

pub(super) fn row<const N: usize>(cells: [&str; N]) -> String {
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.join(" | "))
}
