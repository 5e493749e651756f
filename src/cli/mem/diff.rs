//! `mem diff`: growth and shrinkage between two snapshots.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_memory::MemorySnapshot;
use tidegate_memory::profile::SAMPLE_BYTES;
use tidegate_memory::snapshot::HolderUse;

use crate::cli::table::Table;
use crate::cli::text::{age, growth, safe, size};

/// Functions of a call stack that are shown.
const STACK_FUNCTIONS: usize = 6;
/// Samples from which on the growth is certain.
const EXPECTED_SAMPLES: f64 = 10.0;

/// The differences. An unchanged entry is left out; each list begins with the largest growth.
#[derive(Debug, Serialize)]
pub(super) struct Diff {
    milliseconds: u64,
    held: Change,
    /// Allocated bytes, without the caches of threads.
    allocated: Change,
    resident: Change,
    unattributed: Change,
    stages: Vec<Named>,
    associations: Vec<Named>,
    /// Bytes allocated between the snapshots and still live, by call stack; only if the allocations were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    stacks: Option<Vec<Stack>>,
}

/// A call stack and its bytes, as estimated from samples.
#[derive(Debug, Serialize)]
struct Stack {
    bytes: u64,
    /// The function that allocated, followed by its callers.
    functions: Vec<String>,
}

/// Bytes earlier and later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Change {
    before_bytes: u64,
    after_bytes: u64,
}

impl Change {
    fn between(before: u64, after: u64) -> Self {
        Self { before_bytes: before, after_bytes: after }
    }

    fn growth(self) -> i64 {
        self.after_bytes.cast_signed().saturating_sub(self.before_bytes.cast_signed())
    }
}

/// The change of a stage or an association.
#[derive(Debug, Serialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    bytes: Change,
    before_leases: u64,
    after_leases: u64,
    /// Associations only: whether it was open at both snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    presence: Option<Presence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Presence {
    New,
    Stayed,
    Gone,
}

impl Diff {
    /// `None` if the snapshots come from different runs of the node: within one run, the peak only rises.
    pub(super) fn of(before: &MemorySnapshot, after: &MemorySnapshot) -> Option<Self> {
        if after.highest_bytes < before.highest_bytes {
            return None;
        }
        Some(Self {
            milliseconds: after.taken_unix_ms.saturating_sub(before.taken_unix_ms),
            held: Change::between(before.held_bytes, after.held_bytes),
            allocated: Change::between(before.allocator.in_use(), after.allocator.in_use()),
            resident: Change::between(before.allocator.resident, after.allocator.resident),
            unattributed: Change::between(before.unattributed_bytes, after.unattributed_bytes),
            stages: stages(before, after),
            associations: associations(before, after),
            stacks: None,
        })
    }

    /// Adds the bytes that are still live by call stack: bytes, and functions from the one that allocated outwards.
    pub(super) fn with_stacks(mut self, stacks: Vec<(u64, Vec<String>)>) -> Self {
        self.stacks = Some(stacks.into_iter().map(|(bytes, functions)| Stack { bytes, functions }).collect());
        self
    }

    /// Each stack as its bytes, the function that allocated them and its callers.
    fn render_stacks(&self, stacks: &[Stack]) -> String {
        let mut text = String::from("\nALLOCATED MEANWHILE AND STILL HELD, BY CALL STACK\n");
        if stacks.is_empty() {
            text.push_str(&self.why_no_sample());
        }
        for stack in stacks {
            let names: Vec<_> = stack.functions.iter().take(STACK_FUNCTIONS).map(|name| safe(name)).collect();
            text.push_str(&format!("{:>10}  {}\n", size(stack.bytes), names.join("\n            ← ")));
        }
        text
    }

    /// The meaning of a recording without a sample, and the time that one with samples takes.
    fn why_no_sample(&self) -> String {
        let grown = u64::try_from(self.allocated.growth()).unwrap_or(0);
        if grown == 0 {
            return "no sample, and allocated memory did not grow\n".to_owned();
        }
        let expected = grown as f64 / SAMPLE_BYTES as f64;
        let seconds = self.milliseconds as f64 / 1e3 * EXPECTED_SAMPLES / expected;
        let advice = if expected < EXPECTED_SAMPLES {
            format!("record for {} s", seconds.ceil())
        } else {
            "it was allocated before the recording began".to_owned()
        };
        format!("no sample: {grown} bytes grew, {expected:.1} samples expected: {advice}\n")
    }

    pub(super) fn render(&self, width: usize) -> String {
        let mut sums = Table::new(["", "GROWTH", "BEFORE", "NOW"]);
        for (name, change) in [
            ("held", self.held),
            ("in use", self.allocated),
            ("resident", self.resident),
            ("unattributed", self.unattributed),
        ] {
            let Change { before_bytes, after_bytes } = change;
            sums.row([name.to_owned(), growth(change.growth()), size(before_bytes), size(after_bytes)]);
        }
        format!(
            "in {}\n{}\n{}\n{}{}",
            age(self.milliseconds),
            sums.render(width),
            table("STAGE", &self.stages, width),
            table("ASSOCIATION", &self.associations, width),
            self.stacks.as_deref().map(|stacks| self.render_stacks(stacks)).unwrap_or_default()
        )
    }
}

fn table(heading: &str, changes: &[Named], width: usize) -> String {
    if changes.is_empty() {
        return format!("{heading}\nno change\n");
    }
    let mut table = Table::new([heading, "GROWTH", "BEFORE", "NOW", "LEASES", ""]);
    for change in changes {
        let leases = change.after_leases.cast_signed() - change.before_leases.cast_signed();
        let remark = match change.presence {
            Some(Presence::New) => "new",
            Some(Presence::Gone) => "gone",
            Some(Presence::Stayed) | None => "",
        };
        table.row([
            safe(&change.name),
            growth(change.bytes.growth()),
            size(change.bytes.before_bytes),
            size(change.bytes.after_bytes),
            if leases == 0 { "0".to_owned() } else { format!("{leases:+}") },
            remark.to_owned(),
        ]);
    }
    table.render(width)
}

fn stages(before: &MemorySnapshot, after: &MemorySnapshot) -> Vec<Named> {
    let mut pairs = BTreeMap::<&str, [(u64, u64); 2]>::new();
    for (when, snapshot) in [before, after].into_iter().enumerate() {
        for stage in &snapshot.stages {
            pairs.entry(stage.stage.name()).or_default()[when] = (stage.bytes, stage.leases);
        }
    }
    let changes = pairs.into_iter().map(|(name, [before, after])| Named {
        name: name.to_owned(),
        bytes: Change::between(before.0, after.0),
        before_leases: before.1,
        after_leases: after.1,
        presence: None,
    });
    sorted(changes)
}

fn associations(before: &MemorySnapshot, after: &MemorySnapshot) -> Vec<Named> {
    let mut pairs = BTreeMap::<u64, [Option<&HolderUse>; 2]>::new();
    for (when, snapshot) in [before, after].into_iter().enumerate() {
        for holder in &snapshot.holders {
            pairs.entry(holder.id).or_default()[when] = Some(holder);
        }
    }
    let changes = pairs.into_values().filter_map(|[before, after]| {
        let bytes = |holder: Option<&HolderUse>| holder.map_or(0, |holder| holder.bytes);
        let leases = |holder: Option<&HolderUse>| holder.map_or(0, |holder| holder.leases.len() as u64);
        Some(Named {
            // The later label is more complete: the calling AE title is unknown at first.
            name: after.or(before)?.label.clone(),
            bytes: Change::between(bytes(before), bytes(after)),
            before_leases: leases(before),
            after_leases: leases(after),
            presence: Some(match (before, after) {
                (None, _) => Presence::New,
                (_, None) => Presence::Gone,
                (Some(_), Some(_)) => Presence::Stayed,
            }),
        })
    });
    sorted(changes)
}

fn sorted(changes: impl Iterator<Item = Named>) -> Vec<Named> {
    let changed = |change: &Named| {
        change.bytes.growth() != 0
            || change.before_leases != change.after_leases
            || !matches!(change.presence, None | Some(Presence::Stayed))
    };
    let mut changes: Vec<Named> = changes.filter(changed).collect();
    changes.sort_by_key(|change| Reverse(change.bytes.growth()));
    changes
}

#[cfg(test)]
mod tests {
    use tidegate_memory::snapshot::LeaseUse;
    use tidegate_memory::{Location, Stage};

    use super::*;
    use crate::cli::mem::sample;
    use crate::cli::table::COLUMNS;

    /// Ten seconds later: CT1 holds more, MR has ended, US has opened.
    fn later() -> MemorySnapshot {
        let receiving = |bytes| LeaseUse {
            stage: Stage::Receiving,
            bytes,
            age_ms: 5000,
            in_stage_ms: 5000,
            location: Location::Association,
        };
        let earlier = sample::snapshot();
        let mut ct = earlier.holders[0].clone();
        ct.leases.push(receiving(2 << 20));
        let mut later = sample::of(vec![
            sample::holder(ct.id, &ct.label, 3_733_000, ct.leases),
            earlier.holders[2].clone(),
            sample::holder(11, "\"US\" from 10.0.0.3:1", 5000, vec![receiving(1 << 20)]),
        ]);
        later.taken_unix_ms += 10_000;
        later.allocator.resident = 1 << 20;
        later
    }

    #[test]
    fn growth_comes_first_and_newcomers_and_leavers_are_named() {
        let expected = "\
in 10s
                 GROWTH    BEFORE       NOW
held           -1.2 MiB  12.2 MiB  11.1 MiB
in use              0 B  20.0 MiB  20.0 MiB
resident      -30.5 MiB  31.5 MiB   1.0 MiB
unattributed   +1.2 MiB   1.2 MiB   2.4 MiB

STAGE         GROWTH     BEFORE       NOW  LEASES
receiving   +3.0 MiB    8.0 MiB  11.0 MiB      +2
floor      -64.0 KiB  128.0 KiB  64.0 KiB      -1
queued      -1.1 MiB    1.1 MiB       0 B      -2
writing     -3.0 MiB    3.0 MiB       0 B      -2

ASSOCIATION                      GROWTH   BEFORE       NOW  LEASES
\"CT1\" from 10.0.0.7:50112      +2.0 MiB  8.1 MiB  10.1 MiB      +1
\"US\" from 10.0.0.3:1           +1.0 MiB      0 B   1.0 MiB      +1  new
\"MR\\u{1b}[2J\" from 10.0.0.8:1  -4.2 MiB  4.2 MiB       0 B      -5  gone
";
        assert_eq!(Diff::of(&sample::snapshot(), &later()).unwrap().render(COLUMNS), expected);
    }

    #[test]
    fn a_recording_without_a_sample_says_how_long_one_with_samples_takes() {
        let mut later = later();
        later.allocator.allocated += 256 << 10;
        let diff = Diff::of(&sample::snapshot(), &later).unwrap().with_stacks(Vec::new());
        let rendered = diff.render(COLUMNS);
        assert!(rendered.contains("\nSTAGE "), "the growth is told all the same: {rendered}");
        let told = "no sample: 262144 bytes grew, 0.5 samples expected: record for 200 s\n";
        assert!(rendered.ends_with(told), "{rendered}");
        let unchanged = Diff::of(&sample::snapshot(), &sample::snapshot()).unwrap().with_stacks(Vec::new());
        assert!(unchanged.render(COLUMNS).ends_with("no sample, and allocated memory did not grow\n"));
    }

    #[test]
    fn the_function_that_allocated_comes_first() {
        let functions = ["node::grow", "node::run"].map(str::to_owned).to_vec();
        let diff = Diff::of(&sample::snapshot(), &later()).unwrap().with_stacks(vec![(3 << 20, functions)]);
        let told =
            "\nALLOCATED MEANWHILE AND STILL HELD, BY CALL STACK\n   3.0 MiB  node::grow\n            ← node::run\n";
        assert!(diff.render(COLUMNS).ends_with(told), "{}", diff.render(COLUMNS));
    }

    #[test]
    fn nothing_new_is_no_change() {
        let rendered = Diff::of(&sample::snapshot(), &sample::snapshot()).unwrap().render(COLUMNS);
        assert!(rendered.ends_with("\nSTAGE\nno change\n\nASSOCIATION\nno change\n"), "{rendered}");
    }

    #[test]
    fn another_run_of_the_node_is_not_compared() {
        let mut restarted = later();
        restarted.highest_bytes = 5;
        assert!(Diff::of(&sample::snapshot(), &restarted).is_none());
    }
}
