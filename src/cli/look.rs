//! `tidegate status`, `associations` and `writers`: one look at the running node each.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Exit;
use super::ask_error::AskError;
use super::client::Client;
use super::ended::{ended_text, unix_ms_now};
use super::output::{self, show};
use super::reach::Reach;
use super::text::{Table, age, duration, safe, size};
use crate::admin::model::{Association, RefusedEntry, Status};
use crate::admin::writers::Writers;

/// Refusals and failures that `status` lists.
const LATEST: usize = 5;

/// `tidegate status`
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Exit with 0 if the node answers, ready or not: for a liveness probe
    #[arg(long)]
    live: bool,
}

/// `tidegate writers`, `tidegate resume`
#[derive(Debug, Args)]
pub(super) struct LookArgs {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
}

/// `tidegate associations`
#[derive(Debug, Args)]
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

/// Exits with 0 if the node is ready and with 1 if not, for health checks.
pub(super) fn status(args: StatusArgs) -> Exit {
    let StatusArgs { look: LookArgs { reach, json }, live } = args;
    look(reach, |client| {
        let status = client.status()?;
        let printed = show(json, &status, status_text);
        Ok(if live || status.readiness.ready { printed } else { Exit::Failed })
    })
}

pub(super) fn associations(args: AssociationsArgs) -> Exit {
    let AssociationsArgs { look: LookArgs { reach, json }, ended, abort, by } = args;
    look(reach, |client| match (abort, by) {
        _ if ended => {
            let (all, now_unix_ms) = (client.ended_associations()?, unix_ms_now());
            Ok(show(json, &all, |all| ended_text(now_unix_ms, all)))
        }
        (Some(id), _) => {
            client.abort(id)?;
            Ok(show(json, &serde_json::json!({ "id": id }), |_| format!("association {id} is being aborted\n")))
        }
        (None, Some(By::Ae)) => Ok(show(json, &by_ae(&client.associations()?), |all| by_ae_text(all))),
        (None, None) => Ok(show(json, &client.associations()?, |all| associations_text(all))),
    })
}

pub(super) fn writers(args: LookArgs) -> Exit {
    look(args.reach, |client| Ok(show(args.json, &client.writers()?, writers_text)))
}

/// Asks a node, and reports why it does not answer.
pub(super) fn look(reach: Reach, work: impl FnOnce(&Client) -> Result<Exit, AskError>) -> Exit {
    let client = match reach.client() {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    work(&client).unwrap_or_else(|error| {
        output::complain(&error.to_string());
        Exit::from(&error)
    })
}

pub(super) fn status_text(status: &Status) -> String {
    let mut lines = vec![
        headline(status),
        format!("receiving     {}", flow(status)),
        format!("associations  {} of {}", status.associations, status.associations_max),
        format!(
            "writers       {} of {} running, {} busy, {} allowed for large instances; {} of {} mailbox slots in use",
            status.writers_running,
            status.writers,
            status.writers_busy,
            status.writers_allowed,
            status.mailbox_depth,
            status.mailbox_capacity
        ),
        format!("memory        {}", memory(status)),
        format!("disk          {}", disk(status)),
        format!("catalogue     {}", catalogue(status)),
        format!(
            "since start   {} stored ({}, {}), {} refused, {} restarts, {} hung threads",
            status.acknowledged_total,
            size(status.acknowledged_bytes_total),
            if status.durability == "fsync" { "durable" } else { "not synced" },
            status.refused_total,
            status.restarts_total,
            status.hung_threads,
        ),
    ];
    let failing = status.readiness.checks.iter().filter(|check| !check.ok);
    lines.extend(failing.map(|check| format!("NOT READY     {}: {}", check.name, safe(&check.detail))));
    if !status.refused.is_empty() {
        lines.push(String::new());
        lines.extend(refused_text(status.now_unix_ms, &status.refused).lines().map(str::to_owned));
    }
    if !status.ended.is_empty() {
        lines.push(String::new());
        let mut table = Table::new(["ENDED", "AGO", ""]);
        for ended in status.ended.iter().take(LATEST) {
            let ago = age(status.now_unix_ms.saturating_sub(ended.at_unix_ms));
            table.row([safe(&ended.child), ago, format!("{}; then: {}", safe(&ended.cause), ended.next)]);
        }
        lines.extend(table.render().lines().map(str::to_owned));
    }
    lines.join("\n") + "\n"
}

pub(super) fn headline(status: &Status) -> String {
    let ready = if status.readiness.ready { "ready" } else { "not ready" };
    let up = age(status.now_unix_ms.saturating_sub(status.started_unix_ms));
    format!("{}: tidegate {}, {}, {ready}, up {up}", safe(&status.ae_title), status.version, status.phase)
}

fn flow(status: &Status) -> String {
    let Some(second) = &status.last_second else { return "no figures yet".to_owned() };
    let per_s = |n: u64| n.saturating_mul(1000) / second.length_ms.max(1);
    let response = second.response.map_or_else(
        || "no response in the last second".to_owned(),
        |of| format!("response p50 {}, p99 {}", duration(of.p50_us), duration(of.p99_us)),
    );
    format!("{}/s, {} instances/s, {response}", size(per_s(second.received_bytes)), per_s(second.acknowledged))
}

pub(super) fn memory(status: &Status) -> String {
    format!(
        "{} held of {} ({} %), resident {}, pressure {}",
        size(status.held_bytes),
        size(status.budget_bytes),
        status.held_bytes.saturating_mul(100) / status.budget_bytes.max(1),
        size(status.resident_bytes),
        status.pressure
    )
}

pub(super) fn disk(status: &Status) -> String {
    match &status.storage {
        Some(storage) => format!(
            "{} free of {} (ready above {}: storage.min_free and an eighth of it){}{}{}",
            size(storage.free_bytes),
            size(storage.size_bytes),
            size(storage.ready_above_bytes),
            storage.free_inodes.map_or_else(String::new, |free| format!(", {free} inodes free")),
            match (storage.unanswered_ms, storage.writable) {
                (Some(ms), _) => format!(", NOT RESPONDING for {} (figures of {} ago)", age(ms), age(storage.age_ms)),
                (None, true) => String::new(),
                (None, false) => ", NOT WRITABLE".to_owned(),
            },
            match storage.set_aside {
                0 => String::new(),
                count => format!(", {count} INSTANCES SET ASIDE in .tidegate/lost"),
            }
        ),
        None => "NOT RESPONDING".to_owned(),
    }
}

pub(super) fn catalogue(status: &Status) -> String {
    let Some(health) = &status.catalogue else { return "off".to_owned() };
    let condition = match health.condition.as_str() {
        "behind" | "unavailable" => health.condition.to_uppercase(),
        condition => condition.replace('_', " "),
    };
    let mut text = format!("{condition}, {} entered since start, {} waiting", health.entered_total, health.waiting);
    if health.missed_total > 0 {
        text.push_str(&format!(", {} missed", health.missed_total));
    }
    if let Some(files) = health.files {
        text.push_str(&format!(", {files} files compared"));
    }
    for more in [&health.reason, &health.remedy].into_iter().flatten() {
        text.push_str(&format!("; {}", safe(more)));
    }
    text
}

fn refused_text(now_unix_ms: u64, refused: &[RefusedEntry]) -> String {
    let mut table = Table::new(["REFUSED", "CALLED", "STATUS", "AGO", ""]);
    for entry in refused.iter().take(LATEST) {
        let who = format!("{} {}", safe(entry.calling_ae_title.trim()), entry.peer);
        let called = safe(entry.called_ae_title.trim());
        let status = entry.status.as_deref().unwrap_or("rejected").to_owned();
        let ago = age(now_unix_ms.saturating_sub(entry.at_unix_ms));
        table.row([who.trim().to_owned(), called, status, ago, format!("{}: {}", entry.reason, safe(&entry.detail))]);
    }
    table.render()
}

fn associations_text(all: &[Association]) -> String {
    if all.is_empty() {
        return "no open associations\n".to_owned();
    }
    let mut table =
        Table::new(["CALLING AE", "ID", "OPEN", "IDLE", "RECEIVED", "RATE", "HELD", "STORED", "REFUSED", ""]);
    for association in all {
        table.row([
            title(association),
            association.id.to_string(),
            age(association.age_ms),
            age(association.quiet_ms),
            size(association.received_bytes),
            format!("{}/s", size(association.received_bytes.saturating_mul(1000) / association.age_ms.max(1))),
            size(association.held_bytes),
            association.acknowledged.to_string(),
            association.refused.to_string(),
            format!("from {}", association.peer),
        ]);
    }
    table.render()
}

/// The open associations of one calling AE title.
#[derive(Debug, PartialEq, Serialize)]
struct OfAe {
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
fn by_ae(all: &[Association]) -> Vec<OfAe> {
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

fn by_ae_text(all: &[OfAe]) -> String {
    if all.is_empty() {
        return "no open associations\n".to_owned();
    }
    let mut table =
        Table::new(["CALLING AE", "OPEN", "OLDEST", "SILENT", "RECEIVED", "HOLDS", "STORED", "REFUSED", ""]);
    for sum in all {
        table.row([
            named(&sum.calling_ae_title),
            sum.associations.to_string(),
            age(sum.oldest_ms),
            age(sum.quiet_ms),
            size(sum.received_bytes),
            size(sum.held_bytes),
            sum.acknowledged.to_string(),
            sum.refused.to_string(),
            String::new(),
        ]);
    }
    table.render()
}

/// The calling AE title, if it is known yet.
pub(super) fn title(association: &Association) -> String {
    named(&association.calling_ae_title)
}

fn named(calling_ae_title: &str) -> String {
    match calling_ae_title.trim() {
        "" => "(negotiating)".to_owned(),
        title => safe(title),
    }
}

fn writers_text(writers: &Writers) -> String {
    let mut table = Table::new(["WRITER", "JOBS", "BUSY", "STORED", "BYTES", "RESTARTS", ""]);
    for writer in &writers.writers {
        let remark = match (&writer.last_exit, writer.state.as_str()) {
            (None, "running") => String::new(),
            (None, state) => state.to_owned(),
            (Some(exit), state) => format!("{state}; last exit: {}", safe(exit)),
        };
        table.row([
            writer.name.clone(),
            writer.jobs.to_string(),
            age(writer.busy_ms),
            writer.instances_total.to_string(),
            size(writer.bytes_total),
            writer.restarts.to_string(),
            remark,
        ]);
    }
    format!("{}\nmailbox: {} of {} slots in use\n", table.render(), writers.mailbox_depth, writers.mailbox_capacity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    #[test]
    fn a_status_fits_a_screen_and_names_what_fails() {
        let expected = "\
GATEWAY: tidegate 0.1.0, serving, not ready, up 1h 2m
receiving     24.0 MiB/s, 41 instances/s, response p50 6.2 ms, p99 1.2 s
associations  2 of 512
writers       8 of 8 running, 3 busy, 4 allowed for large instances; 5 of 64 mailbox slots in use
memory        52.0 MiB held of 512.0 MiB (10 %), resident 90.0 MiB, pressure normal
disk          100.0 MiB free of 500.0 GiB (ready above 576.0 MiB: storage.min_free and an eighth of it), 1200000 inodes free
catalogue     BEHIND, 1190 entered since start, 0 waiting, 14 missed, 7000 files compared; the queue of the catalogue was full
since start   1204 stored (4.0 GiB, durable), 3 refused, 1 restarts, 0 hung threads
NOT READY     space: 100 MiB free, ready above 576 MiB (storage.min_free = 512 MiB and an eighth of it): make room, or lower the key

REFUSED                       CALLED    STATUS   AGO
MR\\u{1b}[2J 10.0.0.8:50113   GATEWAY      A700  9.0s  below_min_free: 7 bytes are free
CT1 10.0.0.9:1              GATEWAY2  rejected   20s  called_ae_title: this node has another AE title: \"GATEWAY\"

ENDED       AGO
writer-2  1m 5s  panicked: on purpose; then: restart
";
        assert_eq!(status_text(&sample::status()), expected);
    }

    #[test]
    fn associations_and_writers_are_tables() {
        let text = associations_text(&sample::associations());
        assert!(text.contains("MR\\u{1b}[2J") && text.contains("from 10.0.0.8:50113"), "{text}");
        assert!(text.contains("(negotiating)"), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert_eq!(associations_text(&[]), "no open associations\n");
        let mut twice = sample::associations();
        twice.extend(sample::associations());
        let sums = by_ae(&twice);
        let titles: Vec<_> = sums.iter().map(|sum| sum.calling_ae_title.as_str()).collect();
        assert_eq!(titles, ["MR\u{1b}[2J", "CT_ROOM_1", ""], "those that hold most first");
        assert_eq!((sums[0].associations, sums[0].held_bytes, sums[0].acknowledged), (2, 60 << 20, 56));
        let text = by_ae_text(&sums);
        assert!(text.contains("CT_ROOM_1") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(by_ae_text(&[]), "no open associations\n");
        let text = writers_text(&sample::writers());
        assert!(
            text.contains("running; last exit: panicked") && text.ends_with("mailbox: 5 of 64 slots in use\n"),
            "{text}"
        );
    }
}
