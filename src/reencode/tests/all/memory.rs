//! A dataset of any size passes in a small memory.

use std::fs;
use std::process::Command;

use dicom_core::Tag;
use tidegate_reencode::{MAX_STATE_BYTES, Reencoder};

use super::dataset::{Encoding, header};
use super::support::{BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT};

const MEASURED: &str = "TIDEGATE_TEST_REENCODE";
const GIBIBYTE: u32 = 1 << 30;
/// The state, and the buffers of this test.
const MAX_KIB: u64 = MAX_STATE_BYTES as u64 / 1024 + 1024;

fn resident_kib(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    value.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A value of a gibibyte, behind a sequence: the seconds that it takes.
fn pass(from: &str, to: &str, encoding: Encoding) -> f64 {
    let mut reencoder = Reencoder::new(from, to).unwrap();
    let mut output = Vec::with_capacity(256 * 1024);
    let piece = vec![0x5A; 64 * 1024];
    let sequence = [
        header(Tag(0x0008, 0x1140), Some(b"SQ"), 8, encoding),
        header(Tag(0xFFFE, 0xE000), None, 0, encoding),
        header(Tag(0x7FE0, 0x0010), Some(b"OW"), GIBIBYTE, encoding),
    ]
    .concat();
    let begin = std::time::Instant::now();
    assert_eq!(reencoder.push(&sequence, &mut output), Ok(sequence.len()));
    for _ in 0..GIBIBYTE as usize / piece.len() {
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            output.clear();
            rest = &rest[reencoder.push(rest, &mut output).unwrap()..];
        }
    }
    reencoder.finish(&mut output).unwrap();
    begin.elapsed().as_secs_f64()
}

/// Not a test of its own: a process whose memory is its own.
#[test]
fn the_process_that_is_measured() {
    if std::env::var_os(MEASURED).is_none() {
        return;
    }
    pass(EXPLICIT, EXPLICIT, Encoding::ExplicitLe); // the dictionary is made once
    fs::write("/proc/self/clear_refs", "5").unwrap(); // the peak begins anew
    let before = resident_kib("VmRSS:");
    for (from, to, encoding) in [
        (IMPLICIT, EXPLICIT, Encoding::ImplicitLe),
        (EXPLICIT, IMPLICIT, Encoding::ExplicitLe),
        (EXPLICIT, BIG_ENDIAN, Encoding::ExplicitLe),
        (BIG_ENDIAN, IMPLICIT, Encoding::ExplicitBe),
        (IMPLICIT, DEFLATED, Encoding::ImplicitLe),
    ] {
        println!("\n{from} to {to}: {:.0} MB/s", f64::from(GIBIBYTE) / 1e6 / pass(from, to, encoding));
    }
    let more = resident_kib("VmHWM:") - before;
    println!("\n{more} KiB more");
    assert!(more <= MAX_KIB, "{more} KiB");
}

#[test]
fn a_gibibyte_passes_in_a_few_mebibytes() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::the_process_that_is_measured", "--nocapture"])
        .env(MEASURED, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success() && text.contains("KiB more"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
