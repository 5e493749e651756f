//! Measures the record of commitment requests: `measure_requests FILE` makes FILE, which must not be there, and leaves it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a program that cannot go on has failed")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tidegate_commitment::{Asked, Attempt, Outcome, Peer, Reader, Reference, Requests};

const NOW_MS: i64 = 1_790_000_000_000;

fn asked(peer: u32, transaction: u32) -> Asked {
    Asked {
        transaction_uid: format!("1.2.840.113619.2.55.3.2831183874.{peer}.{transaction}"),
        peer: Peer { calling: format!("MODALITY{peer:02}"), address: format!("10.1.2.{peer}") },
        called: "TIDEGATE".to_owned(),
        association: 7,
    }
}

fn references(count: u32) -> impl ExactSizeIterator<Item = Reference> {
    (0..count as usize).map(|number| Reference {
        sop_class: "1.2.840.10008.5.1.4.1.1.2".parse().unwrap(),
        sop_instance: format!("1.2.840.113619.2.55.3.2831183874.1120000061.0.{}", 20_000 + number).parse().unwrap(),
    })
}

/// UIDs of UUIDs, of which no two stand together.
fn random_references(count: u32, of: u32) -> impl ExactSizeIterator<Item = Reference> {
    (0..count as usize).map(move |number| {
        let mixed =
            ((u128::from(of) << 32) + number as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        Reference {
            sop_class: "1.2.840.10008.5.1.4.1.1.2".parse().unwrap(),
            sop_instance: format!("2.25.{mixed}").parse().unwrap(),
        }
    })
}

fn time<T>(what: &str, times: u32, mut work: impl FnMut(u32) -> T) -> T {
    let mut spent = Vec::new();
    let mut last = None;
    for at in 0..times {
        let start = Instant::now();
        last = Some(work(at));
        spent.push(start.elapsed());
    }
    spent.sort_unstable();
    let all: Duration = spent.iter().sum();
    println!("{what:<34} p50 {:>9.2?}  max {:>9.2?}  all {all:>9.2?}", spent[spent.len() / 2], spent[spent.len() - 1]);
    last.expect("at least once")
}

/// All that is done of a request besides looking for its instances.
fn evaluate(requests: &mut Requests, id: i64) {
    let mut from = 0;
    loop {
        let chunk = requests.references(id, from, 3000).unwrap();
        let Some(last) = chunk.last() else { break };
        from = last.position + 1;
        let outcomes: Vec<_> = chunk.iter().map(|kept| (kept.position, Outcome::Committed)).collect();
        requests.record_outcomes(id, &outcomes).unwrap();
    }
    requests.conclude(id, NOW_MS).unwrap();
}

fn main() {
    let Some(path) = std::env::args().nth(1).map(PathBuf::from).filter(|path| !path.exists()) else {
        return eprintln!("usage: measure_requests FILE");
    };
    let mut requests = Requests::open(&path, Duration::from_secs(86_400), NOW_MS).unwrap();
    for (count, times) in [(3, 100), (3000, 20), (100_000, 3)] {
        let accept = |at| requests.accept(&asked(count, at), references(count), NOW_MS).unwrap();
        let id = time(&format!("accept {count} references"), times, accept);
        time(&format!("evaluate {count} references"), 1, |_| evaluate(&mut requests, id));
        time(&format!("evaluate {count} references again"), 1, |_| evaluate(&mut requests, id));
        time(&format!("report {count} references"), 1, |_| {
            requests.record_attempt(id, Attempt::Reported, NOW_MS).unwrap()
        });
    }
    for peer in [60, 61, 62] {
        time("accept 100,000 random references", 9, |at| {
            requests.accept(&asked(peer, at), random_references(100_000, peer * 10 + at), NOW_MS).unwrap()
        });
    }
    let mut reader = Reader::open(&path).unwrap();
    let uids: Vec<_> = random_references(64, 1).map(|reference| reference.sop_instance).collect();
    time("are 64 of 2,700,000 awaited", 5, |_| reader.are_awaited(&uids).unwrap());
    for at in 0..2000 {
        requests.accept(&asked(10 + at % 20, at), references(1), NOW_MS).unwrap();
    }
    time("due, of 2,000 pending", 100, |_| requests.due(NOW_MS, 4, |_| true).unwrap().len());
    time("accept, with 2,000 pending", 100, |at| requests.accept(&asked(50, at), references(3), NOW_MS).unwrap());
    time("counts, with 2,000 pending", 100, |_| requests.counts().unwrap());
    let days = 31 * 86_400_000;
    let mut has_more = true;
    while has_more {
        has_more = time("a step of pruning", 1, |_| requests.prune(NOW_MS + days).unwrap());
    }
    println!("{} KiB on disk", requests.bytes() / 1024);
}
