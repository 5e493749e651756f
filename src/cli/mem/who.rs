//! `mem who`: each holder with its chain: association → stage → place → since when.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_memory::snapshot::HolderUse;
use tidegate_memory::{Location, MemorySnapshot, Stage};

use super::top::largest;
use crate::cli::table::{Table, wrapped};
use crate::cli::text::{age, count, cut, safe, size};

/// The thresholds of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Least {
    /// Holders of at most this many bytes are left out.
    pub(super) over_bytes: u64,
    /// Leases of at most this age are left out.
    pub(super) older_ms: u64,
}

/// The remaining holders, the largest first, each with the leases above the thresholds.
#[derive(Debug, Serialize)]
pub(super) struct Who {
    taken_unix_ms: u64,
    pub(super) holders: Vec<HolderUse>,
}

impl Who {
    pub(super) fn of(snapshot: &MemorySnapshot, least: Least) -> Self {
        let mut counted = snapshot.clone();
        for holder in &mut counted.holders {
            holder.leases.retain(|lease| least.older_ms == 0 || lease.age_ms > least.older_ms);
            holder.bytes = holder.leases.iter().map(|lease| lease.bytes).sum();
        }
        let holders = largest(&counted).into_iter().filter(|holder| holder.bytes > least.over_bytes).cloned().collect();
        Self { taken_unix_ms: snapshot.taken_unix_ms, holders }
    }

    /// The chains. `queue` has the positions in the mailbox.
    pub(super) fn render(&self, queue: &Queue, width: usize) -> String {
        if self.holders.is_empty() {
            return "no holder matches\n".to_owned();
        }
        let chains = self.holders.iter().map(|holder| {
            let leases = count(holder.leases.len() as u64, "lease");
            let (label, bytes) = (cut(&safe(&holder.label), width - 1), size(holder.bytes));
            let holds = format!("{label}: {bytes} in {leases}, open for {}", age(holder.age_ms));
            wrapped("", &holds, width) + &chain(holder, queue, width)
        });
        chains.collect::<Vec<_>>().join("\n")
    }
}

/// The leases of a holder at one place, summed up.
#[derive(Default)]
struct Link {
    bytes: u64,
    leases: u64,
    /// The time at which the first of them came there.
    there_ms: u64,
    /// The time at which the first of them was taken.
    held_ms: u64,
}

fn chain(holder: &HolderUse, queue: &Queue, width: usize) -> String {
    let mut links = BTreeMap::<(usize, u64), (String, Link)>::new();
    for lease in &holder.leases {
        let (order, location) = match lease.location {
            Location::Association => (0, String::new()),
            Location::Mailbox { ticket } => (ticket, format!(", {}", queue.position(ticket))),
            Location::Writer { index } => (u64::from(index), format!(", writer {index}")),
        };
        let (_, link) = links
            .entry((stage_order(lease.stage), order))
            .or_insert_with(|| (format!("  → {}{location}", lease.stage.name()), Link::default()));
        link.bytes += lease.bytes;
        link.leases += 1;
        link.there_ms = link.there_ms.max(lease.in_stage_ms);
        link.held_ms = link.held_ms.max(lease.age_ms);
    }
    let mut table = Table::new(["  STAGE", "BYTES", "LEASES", "IN STAGE", "HELD FOR"]);
    for (what, link) in links.into_values() {
        table.row([what, size(link.bytes), link.leases.to_string(), age(link.there_ms), age(link.held_ms)]);
    }
    table.render(width)
}

/// The order in which a byte passes the stages.
fn stage_order(stage: Stage) -> usize {
    Stage::ALL.iter().position(|other| *other == stage).unwrap_or(usize::MAX)
}

/// The tickets of all jobs that wait for a writer, in order.
pub(super) struct Queue(Vec<u64>);

impl Queue {
    pub(super) fn of(snapshot: &MemorySnapshot) -> Self {
        let mut tickets: Vec<u64> = snapshot
            .holders
            .iter()
            .flat_map(|holder| &holder.leases)
            .filter_map(|lease| match lease.location {
                Location::Mailbox { ticket } => Some(ticket),
                Location::Association | Location::Writer { .. } => None,
            })
            .collect();
        tickets.sort_unstable();
        tickets.dedup();
        Self(tickets)
    }

    fn position(&self, ticket: u64) -> String {
        match self.0.binary_search(&ticket) {
            Ok(before) => format!("mailbox position {} of {}", before + 1, self.0.len()),
            Err(_) => "mailbox".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mem::sample;
    use crate::cli::table::COLUMNS;

    fn rendered(least: Least) -> String {
        let snapshot = sample::snapshot();
        Who::of(&snapshot, least).render(&Queue::of(&snapshot), COLUMNS)
    }

    #[test]
    fn each_holder_has_its_chain() {
        let expected = "\
\"CT1\" from 10.0.0.7:50112: 8.1 MiB in 2 leases, open for 1h 2m
  STAGE           BYTES  LEASES  IN STAGE  HELD FOR
  → floor      64.0 KiB       1     1h 2m     1h 2m
  → receiving   8.0 MiB       1       12s       12s

\"MR\\u{1b}[2J\" from 10.0.0.8:1: 4.2 MiB in 5 leases, open for 1m 40s
  STAGE                                  BYTES  LEASES  IN STAGE  HELD FOR
  → floor                             64.0 KiB       1    1m 40s    1m 40s
  → queued, mailbox position 1 of 2    1.0 MiB       1      3.0s       20s
  → queued, mailbox position 2 of 2  128.0 KiB       1      0.2s       10s
  → writing, writer 3                  3.0 MiB       2      0.9s    1m 30s
";
        assert_eq!(rendered(Least::default()), expected);
    }

    #[test]
    fn who_holds_little_or_new_is_left_out() {
        let over = rendered(Least { over_bytes: 5 << 20, older_ms: 0 });
        assert!(over.contains("CT1") && !over.contains("MR"), "{over}");
        // The floor of CT1 is old, its dataset is not.
        let older = rendered(Least { over_bytes: 1 << 20, older_ms: 60_000 });
        assert!(older.starts_with("\"MR\\u{1b}[2J\" from 10.0.0.8:1: 3.1 MiB in 3 leases"), "{older}");
        assert!(!older.contains("CT1") && !older.contains("queued"), "{older}");
        assert_eq!(rendered(Least { over_bytes: 1 << 30, older_ms: 0 }), "no holder matches\n");
    }
}
