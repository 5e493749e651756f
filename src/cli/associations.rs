//! `tidegate associations`: the open ones, their sums by calling AE title, and those that have ended.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Exit;
use super::ended::{ended_text, unix_ms_now};
use super::look::{LookArgs, TITLE_COLUMNS, look};
use super::output::show;
use super::table::Table;
use super::text::{age, cut, safe, size};
use crate::admin::model::Association;

/// `tidegate associations`
#[derive(Debug, Args)]
#[command(after_help = "\
Numbers are reserved in blocks of 1,024, so that none comes twice: a start passes over the rest of a block, and a storage root of an \
earlier version goes on at 1,048,576. No association is lost between them.")]
pub(super) struct AssociationsArgs {
    #[command(flatten)]
    look: LookArgs,
    /// List those that ended in the last hour instead, the latest first; the node keeps 512
    #[arg(long, conflicts_with_all = ["abort", "by"])]
    ended: bool,
    /// Abort the association with this ID (see the list) instead of listing
    #[arg(long, value_name = "ID")]
    abort: Option<u64>,
    /// Sum up the open associations instead of listing them
    #[arg(long, value_name = "WHAT", conflicts_with = "abort")]
    by: Option<By>,
}

/// The key by which associations are summed up.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Calling AE title
    Ae,
}

pub(super) fn associations(args: AssociationsArgs) -> Exit {
    let AssociationsArgs { look: LookArgs { reach, json }, ended, abort, by } = args;
    look(reach, |client| match (abort, by) {
        _ if ended => {
            let (all, now_unix_ms) = (client.ended_associations()?, unix_ms_now());
            Ok(show(json, &all, |all, width| ended_text(now_unix_ms, all, width)))
        }
        (Some(id), _) => {
            client.abort(id)?;
            Ok(show(json, &serde_json::json!({ "id": id }), |_, _| format!("association {id} is being aborted\n")))
        }
        (None, Some(By::Ae)) => Ok(show(json, &by_ae(&client.associations()?), |all, width| by_ae_text(all, width))),
        (None, None) => Ok(show(json, &client.associations()?, |all, width| associations_text(all, width))),
    })
}

pub(super) fn associations_text(all: &[Association], width: usize) -> String {
    if all.is_empty() {
        return "no open associations\n".to_owned();
    }
    let mut table = Table::new(["CALLING AE", "ID", "IDLE", "RECEIVED", "HELD", "STORED", "REFUSED", ""]);
    for association in all {
        let bytes_per_s = association.received_bytes.saturating_mul(1000) / association.age_ms.max(1);
        let open = age(association.age_ms);
        table.row([
            title(association),
            association.id.to_string(),
            age(association.quiet_ms),
            size(association.received_bytes),
            size(association.held_bytes),
            association.acknowledged.to_string(),
            association.refused.to_string(),
            format!("from {}, open for {open}, {}/s", association.peer, size(bytes_per_s)),
        ]);
    }
    table.render(width)
}

/// The open associations of one calling AE title.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct OfAe {
    /// The title as the peers wrote it.
    calling_ae_title: String,
    associations: u64,
    /// The age of the oldest association.
    oldest_ms: u64,
    /// The longest silence of an association.
    quiet_ms: u64,
    received_bytes: u64,
    held_bytes: u64,
    acknowledged: u64,
    refused: u64,
}

/// The associations summed up by calling AE title, the largest holders first.
pub(super) fn by_ae(all: &[Association]) -> Vec<OfAe> {
    let mut sums = BTreeMap::<&str, OfAe>::new();
    for association in all {
        let title = association.calling_ae_title.trim();
        let sum = sums.entry(title).or_insert_with(|| OfAe {
            calling_ae_title: title.to_owned(),
            associations: 0,
            oldest_ms: 0,
            quiet_ms: 0,
            received_bytes: 0,
            held_bytes: 0,
            acknowledged: 0,
            refused: 0,
        });
        sum.associations += 1;
        sum.oldest_ms = sum.oldest_ms.max(association.age_ms);
        sum.quiet_ms = sum.quiet_ms.max(association.quiet_ms);
        sum.received_bytes += association.received_bytes;
        sum.held_bytes += association.held_bytes;
        sum.acknowledged += association.acknowledged;
        sum.refused += association.refused;
    }
    let mut sums: Vec<_> = sums.into_values().collect();
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.held_bytes));
    sums
}

pub(super) fn by_ae_text(all: &[OfAe], width: usize) -> String {
    if all.is_empty() {
        return "no open associations\n".to_owned();
    }
    let mut table = Table::new(["CALLING AE", "OPEN", "RECEIVED", "HELD", "STORED", "REFUSED", ""]);
    for sum in all {
        table.row([
            named(&sum.calling_ae_title),
            sum.associations.to_string(),
            size(sum.received_bytes),
            size(sum.held_bytes),
            sum.acknowledged.to_string(),
            sum.refused.to_string(),
            format!("oldest {}, idle for {} at most", age(sum.oldest_ms), age(sum.quiet_ms)),
        ]);
    }
    table.render(width)
}

/// The calling AE title, if it is known yet.
pub(super) fn title(association: &Association) -> String {
    named(&association.calling_ae_title)
}

fn named(calling_ae_title: &str) -> String {
    match calling_ae_title.trim() {
        "" => "(negotiating)".to_owned(),
        title => cut(&safe(title), TITLE_COLUMNS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;
    use crate::cli::table::COLUMNS;

    #[test]
    fn an_association_has_its_id_and_its_peer() {
        let expected = "\
CALLING AE     ID  IDLE   RECEIVED      HELD  STORED  REFUSED
CT_ROOM_1       3  0.0s  900.0 MiB   9.0 MiB      12        0
  from 10.0.0.7:50112, open for 30s, 30.0 MiB/s
MR\\u{1b}[2J     7  0.0s  100.0 MiB  30.0 MiB      28        0
  from 10.0.0.8:50113, open for 1m 10s, 1.4 MiB/s
(negotiating)   9  0.0s        0 B       0 B      36        0
  from 10.0.0.9:40000, open for 1m 30s, 0 B/s
";
        assert_eq!(associations_text(&sample::associations(), COLUMNS), expected);
        assert_eq!(associations_text(&[], COLUMNS), "no open associations\n");
    }

    #[test]
    fn the_associations_of_a_title_are_summed_up() {
        let mut twice = sample::associations();
        twice.extend(sample::associations());
        let sums = by_ae(&twice);
        let titles: Vec<_> = sums.iter().map(|sum| sum.calling_ae_title.as_str()).collect();
        assert_eq!(titles, ["MR\u{1b}[2J", "CT_ROOM_1", ""], "those that hold most first");
        assert_eq!((sums[0].associations, sums[0].held_bytes, sums[0].acknowledged), (2, 60 << 20, 56));
        let text = by_ae_text(&sums, COLUMNS);
        assert!(text.contains("CT_ROOM_1") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(by_ae_text(&[], COLUMNS), "no open associations\n");
    }
}
