//! Every table of the command line, with the longest values that it can have, in 80 columns.

use std::fs;
use std::path::Path;

use super::associations::{associations_text, by_ae, by_ae_text};
use super::catalogue::widest as of_catalogue;
use super::commitments::widest as of_commitments;
use super::ended::ended_text;
use super::events::widest as of_events;
use super::look::{status_text, writers_text};
use super::mem::widest as of_memory;
use super::outbox::widest as of_outbox;
use super::sample;
use super::table::COLUMNS;
use super::text::columns;
use crate::admin::ended::EndedAssociation;
use crate::admin::model::Association;

const MIB: u64 = 1 << 20;
const DAYS_MS: u64 = 900 * 24 * 3_600_000;
/// As many instances as an association or a node stores in a year at a thousand a second.
const MANY: u64 = 31_536_000_000;

pub(super) const PEER: &str = "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535";
pub(super) const ADDRESS: &str = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff";

/// As long as a UID may be.
pub(super) fn uid(last: u64) -> String {
    format!("1.2.840.113619.2.55.3.2831868886.1{last:0>30}")
}

/// AE titles as long as they may be: plain, and each character escaped.
pub(super) fn titles() -> [String; 3] {
    ["CT_ROOM_12_NORTH".to_owned(), "W".repeat(16), "\u{1b}\u{202e}".repeat(8)]
}

fn associations() -> Vec<Association> {
    let association = |title: &String| Association {
        id: 9_999_999,
        peer: PEER.to_owned(),
        calling_ae_title: title.clone(),
        called_ae_title: title.clone(),
        age_ms: DAYS_MS,
        quiet_ms: DAYS_MS,
        received_bytes: 1023 * MIB,
        held_bytes: 1023 * MIB,
        acknowledged: 9_999_999,
        refused: 9_999_999,
    };
    titles().iter().map(association).collect()
}

fn ended() -> Vec<EndedAssociation> {
    let ended = |title: &String| EndedAssociation {
        at_unix_ms: 0,
        id: 9_999_999,
        peer: PEER.to_owned(),
        calling_ae_title: title.clone(),
        called_ae_title: title.clone(),
        rule: Some("the modalities of the north wing, by certificate".to_owned()),
        studies: 255,
        first_study: Some(uid(7)),
        new: 9_999_999,
        identical: 9_999_999,
        replaced: 9_999_999,
        kept_both: 9_999_999,
        refused: 9_999_999,
        bytes: 1023 * MIB,
        duration_ms: DAYS_MS,
        end: "request_timeout".to_owned(),
    };
    titles().iter().map(ended).collect()
}

fn status() -> String {
    let mut status = sample::status();
    status.ae_title = "W".repeat(16);
    for counter in [&mut status.acknowledged_total, &mut status.refused_total, &mut status.restarts_total] {
        *counter = MANY;
    }
    let refused = status.refused.pop().unwrap();
    status.refused = titles()
        .map(|title| {
            let (calling_ae_title, called_ae_title) = (title.clone(), title);
            let (peer, detail) =
                (PEER.to_owned(), format!("the instance {} is of a class that no rule allows", uid(1)));
            crate::admin::model::RefusedEntry { calling_ae_title, called_ae_title, peer, detail, ..refused.clone() }
        })
        .into();
    status.ended[0].cause = format!("panicked: {}", "at a place in the code of the node ".repeat(6));
    status_text(&status, COLUMNS)
}

fn writers() -> String {
    let mut writers = sample::writers();
    for writer in &mut writers.writers {
        writer.name = "writer-255".to_owned();
        (writer.jobs, writer.busy_ms, writer.instances_total) = (1088, DAYS_MS, MANY);
        (writer.bytes_total, writer.restarts) = (1023 * MIB, 9_999_999);
        writer.last_exit = Some("the storage failed 16 times in a row, and the test of it failed too ".repeat(3));
    }
    writers_text(&writers, COLUMNS)
}

/// Each file of the command line that makes tables, how many it makes, and all of them.
fn tables() -> Vec<(&'static str, usize, String)> {
    let mut tables = vec![
        ("look.rs", 3, status() + &writers()),
        (
            "associations.rs",
            2,
            associations_text(&associations(), COLUMNS) + &by_ae_text(&by_ae(&associations()), COLUMNS),
        ),
        ("ended.rs", 1, ended_text(3_599_000, &ended(), COLUMNS)),
    ];
    tables.extend(of_memory());
    tables.push(("catalogue/text.rs", 3, of_catalogue()));
    tables.push(("commitments/text.rs", 1, of_commitments()));
    tables.push(("outbox/text.rs", 2, of_outbox()));
    tables.push(("events/mod.rs", 2, of_events(COLUMNS)));
    tables
}

#[test]
fn every_table_fits_80_columns_and_cuts_no_uid() {
    for (file, _, text) in tables() {
        let too_long: Vec<_> = text.lines().filter(|line| columns(line) > COLUMNS).collect();
        assert!(too_long.is_empty(), "{file}: {too_long:#?} of\n{text}");
        let of_uids = text.split_whitespace().filter(|word| word.starts_with("1.2.840.113619"));
        let cut: Vec<_> = of_uids.filter(|word| word.len() != 64).collect();
        assert!(cut.is_empty(), "{file}: {cut:#?} of\n{text}");
    }
    assert!(tables().iter().any(|(_, _, text)| text.contains(&uid(7))));
}

/// A table that is new has to be in the list above.
#[test]
fn no_table_is_left_out() {
    let mut known: Vec<_> = tables().into_iter().map(|(file, count, _)| (file.to_owned(), count)).collect();
    known.sort();
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    let mut found = Vec::new();
    let mut directories = vec![cli.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(&cli).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            // The other table is that of a screen, which fits what there is.
            if !["table.rs", "table_tests.rs", "top/draw.rs"].contains(&name.as_str()) && text.contains("Table::new(") {
                found.push((name, text.matches("Table::new(").count()));
            }
        }
    }
    found.sort();
    assert_eq!(found, known);
}
