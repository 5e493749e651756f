//! A request of any size is written in a small memory.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tidegate_commitment::{MAX_REFERENCES, Outcome};

use super::support::{T0, asked, directory, open, path_in, references};

const FILE: &str = "TIDEGATE_TEST_LARGE_COMMITMENT";

/// What may be resident besides what the process has anyway: two page caches, and the index of the log.
const MAX_KIB: u64 = 5 * 1024;

fn resident_kib(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    value.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Not a test of its own: a process whose memory is its own.
#[test]
fn the_process_that_is_measured() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let mut requests = open(&PathBuf::from(path)).unwrap();
    let small = requests.accept(&asked(1, 1), references(10), T0).unwrap();
    requests.conclude(small, T0).unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap(); // the peak begins anew
    let before = resident_kib("VmRSS:");
    let id = requests.accept(&asked(1, 2), references(MAX_REFERENCES as u32), T0).unwrap();
    for from in (0..MAX_REFERENCES as u32).step_by(1000) {
        let outcomes: Vec<_> = requests
            .references(id, from, 1000)
            .unwrap()
            .iter()
            .map(|kept| (kept.position, Outcome::Committed))
            .collect();
        requests.record_outcomes(id, &outcomes).unwrap();
    }
    assert_eq!(requests.conclude(id, T0).unwrap().unwrap().committed, 100_000);
    let more = resident_kib("VmHWM:") - before;
    println!("\n{more} KiB more");
    assert!(more <= MAX_KIB, "{more} KiB");
}

#[test]
fn a_hundred_thousand_references_take_a_few_mebibytes() {
    let directory = directory();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::the_process_that_is_measured", "--nocapture"])
        .env(FILE, path_in(&directory))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("KiB more"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
