//! `tidegate status` and `writers`: one look at the running node each.

use clap::Args;

use super::Exit;
use super::ask_error::AskError;
use super::client::Client;
use super::outgoing::{delivery, events};
use super::output::{self, show};
use super::reach::Reach;
use super::table::{Table, labelled, wrapped};
use super::text::{age, cut, duration, safe, size};
use crate::admin::model::{EndedEntry, RefusedEntry, Status};
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

/// The options of a command that looks at a node.
#[derive(Debug, Args)]
pub(super) struct LookArgs {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
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

/// Columns of an AE title, which has 16 characters at most; one that is longer has some that are escaped.
pub(super) const TITLE_COLUMNS: usize = 16;

pub(super) fn status_text(status: &Status, width: usize) -> String {
    let associations = format!("{} of {}", status.associations, status.associations_max);
    let writers = format!(
        "{} of {} running, {} busy, {} allowed for large instances; {} of {} mailbox slots in use",
        status.writers_running,
        status.writers,
        status.writers_busy,
        status.writers_allowed,
        status.mailbox_depth,
        status.mailbox_capacity
    );
    let since_start = format!(
        "{} stored ({}, {}), {} refused, {} restarts, {} hung threads",
        status.acknowledged_total,
        size(status.acknowledged_bytes_total),
        if status.durability == "fsync" { "durable" } else { "not synced" },
        status.refused_total,
        status.restarts_total,
        status.hung_threads,
    );
    let mut lines = vec![
        ("receiving", flow(status)),
        ("associations", associations),
        ("writers", writers),
        ("memory", memory(status)),
        ("disk", disk(status)),
        ("catalogue", catalogue(status)),
        ("commitment", commitment(status)),
        ("delivery", delivery(status.delivery.as_ref())),
        ("events", events(status.events.as_ref())),
        ("since start", since_start),
    ];
    let failing = status.readiness.checks.iter().filter(|check| !check.ok);
    lines.extend(failing.map(|check| ("NOT READY", format!("{}: {}", check.name, safe(&check.detail)))));
    let mut out = wrapped("", &headline(status), width);
    lines.iter().for_each(|(label, value)| out.push_str(&labelled(label, value, width)));
    let past = [refused(status.now_unix_ms, &status.refused), ended(status.now_unix_ms, &status.ended)];
    for table in past.into_iter().flatten() {
        out.push('\n');
        out.push_str(&table.render(width));
    }
    out
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

/// Storage commitment: whether reports reach the modalities.
pub(super) fn commitment(status: &Status) -> String {
    let Some(health) = &status.commitment else {
        return "none without a catalogue; what was asked before it was off waits (tidegate commitments --pending)"
            .to_owned();
    };
    if let (Some(reason), Some(remedy)) = (&health.reason, &health.remedy) {
        return format!("UNAVAILABLE: {}; {}", safe(reason), safe(remedy));
    }
    let mut text =
        if health.condition == "off" { "OFF (commitment.enabled = false), ".to_owned() } else { String::new() };
    text.push_str(&format!("{} reported since start, {} pending", health.reported_total, health.pending));
    if let Some(oldest) = health.oldest_pending_ms {
        text.push_str(&format!(" (the oldest for {})", age(oldest)));
    }
    if health.without_address > 0 {
        text.push_str(&format!(", {} WITHOUT AN ADDRESS TO REPORT TO", health.without_address));
    }
    if health.not_committed_total > 0 {
        text.push_str(&format!(", {} instances NOT COMMITTED", health.not_committed_total));
    }
    if health.given_up > 0 {
        text.push_str(&format!(", {} GIVEN UP", health.given_up));
    }
    if let Some(failure) = &health.last_failure {
        let title = cut(&safe(failure.calling_ae_title.trim()), TITLE_COLUMNS);
        text.push_str(&format!(", {} CANNOT BE DELIVERED: {title}: {}", health.retrying, safe(&failure.error)));
    }
    text
}

/// The latest refusals; `None`: there are none.
fn refused(now_unix_ms: u64, refused: &[RefusedEntry]) -> Option<Table> {
    let mut table = Table::new(["REFUSED", "CALLED", "STATUS", "AGO", ""]);
    for entry in refused.iter().take(LATEST) {
        let [calling, called] =
            [&entry.calling_ae_title, &entry.called_ae_title].map(|title| cut(&safe(title.trim()), TITLE_COLUMNS));
        let who = format!("{calling} {}", entry.peer);
        let status = entry.status.as_deref().unwrap_or("rejected").to_owned();
        let ago = age(now_unix_ms.saturating_sub(entry.at_unix_ms));
        let image = entry.sop_instance_uid.as_ref().map_or_else(String::new, |uid| format!("; SOP Instance {uid}"));
        let why = format!("{}: {}{image}", entry.reason, safe(&entry.detail));
        table.row([who.trim().to_owned(), called, status, ago, why]);
    }
    (!refused.is_empty()).then_some(table)
}

/// The latest ends of parts of the node; `None`: there are none.
fn ended(now_unix_ms: u64, ended: &[EndedEntry]) -> Option<Table> {
    let mut table = Table::new(["ENDED", "AGO", ""]);
    for entry in ended.iter().take(LATEST) {
        let ago = age(now_unix_ms.saturating_sub(entry.at_unix_ms));
        table.row([safe(&entry.child), ago, format!("{}; then: {}", safe(&entry.cause), entry.next)]);
    }
    (!ended.is_empty()).then_some(table)
}

pub(super) fn writers_text(writers: &Writers, width: usize) -> String {
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
    format!(
        "{}\nmailbox: {} of {} slots in use\n",
        table.render(width),
        writers.mailbox_depth,
        writers.mailbox_capacity
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;
    use crate::cli::table::COLUMNS;

    #[test]
    fn a_status_fits_a_screen_and_names_what_fails() {
        let expected = "\
GATEWAY: tidegate 0.1.0, serving, not ready, up 1h 2m
receiving     24.0 MiB/s, 41 instances/s, response p50 6.2 ms, p99 1.2 s
associations  2 of 512
writers       8 of 8 running, 3 busy, 4 allowed for large instances; 5 of 64
              mailbox slots in use
memory        52.0 MiB held of 512.0 MiB (10 %), resident 90.0 MiB, pressure
              normal
disk          100.0 MiB free of 500.0 GiB (ready above 576.0 MiB:
              storage.min_free and an eighth of it), 1200000 inodes free
catalogue     BEHIND, 1190 entered since start, 0 waiting, 14 missed, 7000 files
              compared; the queue of the catalogue was full
commitment    812 reported since start, 3 pending (the oldest for 2h 5m), 2
              instances NOT COMMITTED, 2 CANNOT BE DELIVERED: CT1: cannot
              connect to 10.0.0.9:104: refused
delivery      40 waiting, 2 retrying (the oldest for 2h 5m), 5 to be committed,
              1 DEAD; archive is DOWN: cannot connect to 10.0.0.7:104: refused;
              research is paused
events        12 waiting (the oldest for 20m 0s), 3 DEAD; ris WANTS NO MORE
              (tidegate events retry sends them again)
since start   1204 stored (4.0 GiB, durable), 3 refused, 1 restarts, 0 hung
              threads
NOT READY     space: 100 MiB free, ready above 576 MiB (storage.min_free = 512
              MiB and an eighth of it): make room, or lower the key

REFUSED                       CALLED    STATUS   AGO
MR\\u{1b}[2J 10.0.0.8:50113   GATEWAY      A700  9.0s
  below_min_free: 7 bytes are free; SOP Instance 1.2.840.7
CT1 10.0.0.9:1              GATEWAY2  rejected   20s
  called_ae_title: this node has another AE title: \"GATEWAY\"

ENDED       AGO
writer-2  1m 5s  panicked: on purpose; then: restart
";
        assert_eq!(status_text(&sample::status(), COLUMNS), expected);
    }

    #[test]
    fn writers_are_a_table() {
        let text = writers_text(&sample::writers(), COLUMNS);
        assert!(text.contains("running; last exit: panicked"), "{text}");
        assert!(text.ends_with("mailbox: 5 of 64 slots in use\n"), "{text}");
    }
}
