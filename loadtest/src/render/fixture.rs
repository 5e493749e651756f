//! A made-up run with everything in it.

use std::collections::BTreeMap;

use crate::baseline::Comparison;
use crate::random::Random;
use crate::result::{
    Host, Latency, Modality, Objective, RunResult, SCHEMA, Second, Step, Target, TargetKind, TargetSample, Totals,
    Usage, Verification,
};

/// Ninety seconds of about two hundred instances each, of a target that is `slower` times slower than another.
pub(crate) fn run(seed: u64, slower: f64) -> RunResult {
    let mut random = Random::new(seed);
    let mut whole = Latency::empty_histogram();
    let mut totals = Totals { associations_opened: 8, ..Totals::default() };
    let series: Vec<Second> = (1..=90).map(|t| second(t, slower, &mut random, &mut whole, &mut totals)).collect();
    totals.refused = BTreeMap::from([("A700".to_owned(), 12), ("0122".to_owned(), 3)]);
    totals.bad_peers = BTreeMap::from([("slow_loris.aborted".to_owned(), 4), ("port_check.closed".to_owned(), 90)]);
    RunResult {
        schema: SCHEMA,
        scenario: "ct".to_owned(),
        seed: 7,
        run: 7,
        started_unix_ms: 1_795_477_573_929,
        elapsed_s: 90.2,
        target: Target {
            address: "127.0.0.1:11112".to_owned(),
            kind: TargetKind::Tidegate,
            name: Some("Tidegate 0.1.0".to_owned()),
            durability: Some("file and directory synced before the answer".to_owned()),
        },
        host: Host { cpus: 2, memory_bytes: 24 << 30, kernel: "Linux 6.18".to_owned() },
        load: "closed, 8 associations for 90 s".to_owned(),
        latency: Latency::of(&whole),
        service: Latency::of(&whole),
        senders: Vec::new(),
        modalities: vec![Modality {
            name: "CT".to_owned(),
            acknowledged: totals.acknowledged,
            bytes: totals.bytes,
            latency: Latency::of(&whole),
        }],
        totals,
        series,
        steps: vec![step(100.0, 100.0, 9.0, false), step(200.0, 199.0, 14.0, true), step(400.0, 260.0, 900.0, false)],
        generator: Usage { user_s: 1.5, system_s: 6.2, peak_rss_bytes: 18 << 20 },
        target_usage: Some(Usage { user_s: 12.0, system_s: 40.0, peak_rss_bytes: 130 << 20 }),
        target_resting_bytes: Some(30 << 20),
        sync_after_s: None,
        noise: None,
        stopped: None,
        verification: Some(Verification {
            acknowledged: 18_000,
            whole: 17_999,
            lost: vec!["2.25.1".to_owned()],
            ..Verification::default()
        }),
        objectives: vec![
            Objective { text: "p99=250ms".to_owned(), measured: "88 ms".to_owned(), met: true },
            Objective { text: "rss=100MiB".to_owned(), measured: "130 MiB".to_owned(), met: false },
        ],
    }
}

/// Four runs in turns with four that are so much slower.
pub(crate) fn compared(slower: f64) -> Comparison {
    let (mut base, mut new) = (Vec::new(), Vec::new());
    for round in 0..4 {
        for (runs, slower) in [(&mut base, 1.0), (&mut new, slower)] {
            let mut run = run(round + 1, slower);
            run.started_unix_ms = 100_000 * (2 * round + u64::from(slower != 1.0));
            runs.push(run);
        }
    }
    Comparison::of(base, new)
}

/// One objective.
pub(crate) fn objective(text: &str, met: bool) -> Vec<Objective> {
    vec![Objective { text: text.to_owned(), measured: String::new(), met }]
}

fn step(offered_per_s: f64, achieved_per_s: f64, p99_ms: f64, knee: bool) -> Step {
    Step { offered_per_s, achieved_per_s, p50_ms: p99_ms / 3.0, p99_ms, knee }
}

fn second(
    t: u64,
    slower: f64,
    random: &mut Random,
    whole: &mut hdrhistogram::Histogram<u64>,
    totals: &mut Totals,
) -> Second {
    let answers = ((170.0 + 60.0 * random.unit()) / slower) as u64;
    let mut histogram = Latency::empty_histogram();
    // A disk that stalls now and then.
    let stall = if t.is_multiple_of(30) { 6.0 } else { 1.0 };
    for _ in 0..answers {
        histogram.saturating_record((1000.0 * slower * stall * (4.0 + random.exponential(9.0))) as u64);
    }
    let _ = whole.add(&histogram);
    totals.acknowledged += answers;
    totals.bytes += answers * (525 << 10);
    let latency = Latency::of(&histogram);
    let (receiving, queued) = (random.between(1 << 20, 6 << 20), if t.is_multiple_of(30) { 30 << 20 } else { 1 << 20 });
    Second {
        t_s: t as f64,
        acknowledged: answers,
        bytes: answers * (525 << 10),
        failed: if t.is_multiple_of(30) { 5 } else { 0 },
        p50_ms: latency.p50_ms,
        p99_ms: latency.p99_ms,
        max_ms: latency.max_ms,
        associations: 8,
        backlog: if t.is_multiple_of(30) { 40 } else { 0 },
        target: Some(TargetSample {
            rss_bytes: (60 << 20) + queued + receiving,
            cpu_s: 0.6 * t as f64,
            leased_bytes: Some(queued + receiving + (256 << 10)),
            stages: BTreeMap::from([
                ("floor".to_owned(), 256 << 10),
                ("receiving".to_owned(), receiving),
                ("queued".to_owned(), queued),
                ("writing".to_owned(), 2 << 20),
                ("spooling".to_owned(), 0),
                ("negotiating".to_owned(), 0),
            ]),
            mailbox_depth: Some(queued >> 19),
            threads: Some(14),
        }),
    }
}
