//! Makes a catalogue of any size without a file of an instance, and measures it.
//!
//! ```text
//! generate COUNT FILE [random | single] [to N]
//!                                         makes FILE with so many instances, 100 to a study, and ends as by kill -9; `random`: UIDs of
//!                                         UUIDs; `single`: an instance to a study; `to`: each is owed to so many destinations
//! generate measure FILE                   opens it, asks, and enters more
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a program that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_catalogue::{Catalogue, Origin, Reader, Record, Search, SeriesValues, StudyValues};

const SERIES_OF_STUDY: u64 = 4;
/// Studies that arrive at once.
const AT_ONCE: u64 = 8;
/// Records of a transaction: 100 ms of a busy node.
const BATCH: usize = 2000;
/// Instances over which a rate is taken.
const RATE_OVER: u64 = 200_000;

/// What is made.
#[derive(Clone, Copy)]
struct Shape {
    instances_of_study: u64,
    is_random: bool,
    destinations: usize,
}

impl Shape {
    fn study(self, at: u64) -> u64 {
        // Eight studies take turns.
        at / (AT_ONCE * self.instances_of_study) * AT_ONCE + at % AT_ONCE
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        ["measure", file] => measure(Path::new(file)),
        [count, file, rest @ ..] => {
            let instances_of_study = if rest.first() == Some(&"single") { 1 } else { 100 };
            let to = rest.iter().position(|word| *word == "to").and_then(|at| rest.get(at + 1)?.parse().ok());
            let is_random = rest.first() == Some(&"random");
            let shape = Shape { instances_of_study, is_random, destinations: to.unwrap_or(0) };
            generate(count.parse().expect("a number"), Path::new(file), shape);
        }
        _ => eprintln!("usage: generate COUNT FILE [random | single] [to N] | generate measure FILE"),
    }
}

/// A number that looks random (splitmix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

fn study_uid(study: u64) -> String {
    format!("1.2.840.113619.2.55.3.{}.{}.{study}", 2_831_183_874 + study % 7, 1_190_000_000 + study * 61)
}

fn patient_id(study: u64) -> String {
    format!("{:08}", mixed(study / 2) % 100_000_000)
}

fn accession_number(study: u64) -> String {
    format!("ACC{:09}", mixed(study + 7) % 1_000_000_000)
}

fn origin(study: u64, shape: Shape) -> Arc<Origin> {
    Arc::new(Origin {
        calling_ae_title: format!("MODALITY{:02}", study % 40),
        address: format!("10.1.2.{}", study % 40),
        rule: "modalities".to_owned(),
        destinations: (0..shape.destinations).map(|number| format!("archive{number}")).collect(),
        association: (study % 1_000_000) as u32,
    })
}

fn record(at: u64, shape: Shape) -> Record {
    let Shape { instances_of_study, is_random, .. } = shape;
    let (study, number) = (shape.study(at), at % (AT_ONCE * instances_of_study) / AT_ONCE);
    let series = number * SERIES_OF_STUDY / instances_of_study;
    let study_uid = study_uid(study);
    let series_uid = format!("{study_uid}.{series}");
    let uid = match is_random {
        true => format!("2.25.{}", u128::from(mixed(at)) << 64 | u128::from(mixed(at + 1))),
        false => format!("{series_uid}.{}", 20_000 + number),
    };
    Record {
        path: format!("{study_uid}/{series_uid}/{uid}.dcm").into(),
        sop_instance_uid: uid.parse().unwrap(),
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        transfer_syntax_uid: "1.2.840.10008.1.2.4.70".to_owned(),
        study: StudyValues {
            patient_id: Some(patient_id(study)),
            patient_name: Some(format!("Name{:06}^Given", mixed(study / 2) % 1_000_000)),
            patient_birth_date: Some("19631122".to_owned()),
            accession_number: Some(accession_number(study)),
            study_date: Some(format!("2026{:02}{:02}", study / 28 % 12 + 1, study % 28 + 1)),
            description: Some("CT Thorax/Abdomen with contrast".to_owned()),
            uid: study_uid,
        },
        series: SeriesValues {
            modality: Some("CT".to_owned()),
            number: i64::try_from(series).ok(),
            description: Some("Thorax 1.0 B70f".to_owned()),
            uid: series_uid,
        },
        instance_number: i64::try_from(number + 1).ok(),
        told: tidegate_catalogue::ToldNumbers::default(),
        bytes: 524_288 + mixed(at) % 4096,
        digest: Some(u128::from(mixed(at)) << 64 | u128::from(mixed(at + 3))),
        received_ms: 1_790_000_000_000 + at as i64 * 10,
        modified_ns: None,
        origin: None,
    }
}

/// What this thread has spent of the processor.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Enters `range` and returns the time in the catalogue alone, and that of the processor.
fn enter(catalogue: &mut Catalogue, range: std::ops::Range<u64>, shape: Shape) -> [Duration; 2] {
    let (mut spent, mut at) = ([Duration::ZERO; 2], range.start);
    let mut origins: Vec<(u64, Arc<Origin>)> = Vec::new();
    while at < range.end {
        let until = range.end.min(at + BATCH as u64);
        let records: Vec<Record> = (at..until)
            .map(|at| {
                let study = shape.study(at);
                let known = origins.iter().find(|(of, _)| *of == study).map(|(_, origin)| Arc::clone(origin));
                let origin = known.unwrap_or_else(|| {
                    let origin = origin(study, shape);
                    origins.retain(|(of, _)| of + 2 * AT_ONCE > study);
                    origins.push((study, Arc::clone(&origin)));
                    origin
                });
                Record { origin: Some(origin), ..record(at, shape) }
            })
            .collect();
        let (start, processor) = (Instant::now(), processor_time());
        catalogue.enter(&records).unwrap();
        spent[0] += start.elapsed();
        spent[1] += processor_time() - processor;
        at = until;
    }
    spent
}

fn generate(count: u64, file: &Path, shape: Shape) {
    let mut catalogue = Catalogue::open(file, true).unwrap();
    let (mut at, mut total, mut total_processor) = (0, Duration::ZERO, Duration::ZERO);
    while at < count {
        let until = count.min(at + RATE_OVER);
        let [spent, processor] = enter(&mut catalogue, at..until, shape);
        total += spent;
        total_processor += processor;
        if at == 0 || until == count || (at / RATE_OVER).is_multiple_of(5) {
            let rate = |spent: Duration| (until - at) as f64 / spent.as_secs_f64();
            println!("{until:>9} instances: {:>6.0}/s, {:>6.0}/s of the processor", rate(spent), rate(processor));
        }
        at = until;
    }
    let each = |total: Duration| total.as_micros() as f64 / count as f64;
    let (wall, processor) = (each(total), each(total_processor));
    println!(
        "{:.1} s in the catalogue, {wall:.1} µs an instance, {processor:.1} of the processor",
        total.as_secs_f64()
    );
    println!("{:.1} bytes an instance, with the log", catalogue.bytes() as f64 / count as f64);
    println!("resident at most {} KiB", resident_peak_kib());
    std::process::abort();
}

fn resident_peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

fn measure(file: &Path) {
    let before = resident_peak_kib();
    let start = Instant::now();
    let mut catalogue = Catalogue::open(file, true).unwrap();
    println!("opened in {:?}", start.elapsed());
    let mut reader = Reader::open(file).unwrap();
    let start = Instant::now();
    let totals = reader.totals().unwrap();
    println!("{totals:?} in {:?}", start.elapsed());
    println!("{:.1} bytes an instance", std::fs::metadata(file).unwrap().len() as f64 / totals.instances as f64);

    let studies = totals.studies;
    let shape = Shape { instances_of_study: (totals.instances / studies).max(1), is_random: false, destinations: 0 };
    let any = |at: u64| mixed(at * 31 + 5) % studies;
    let first_of = |search: Search| move |reader: &mut Reader| reader.studies(&search, None, 50).unwrap().studies.len();
    let text = |text: &str| Some(text.to_owned());
    ask("study by uid", &mut reader, 1000, |reader, at| reader.study(&study_uid(any(at))).unwrap().map_or(0, |_| 1));
    ask("instance by uid", &mut reader, 1000, |reader, at| {
        reader.instances(&record(mixed(at) % totals.instances, shape).sop_instance_uid, 9).unwrap().len()
    });
    // As a request for storage commitment has them: instances that came together, and any.
    let of = |at: u64| record(at % totals.instances, shape).sop_instance_uid;
    for (what, stride) in [("3,000 together", 1), ("3,000 anywhere", totals.instances / 3000 + 1)] {
        let chunk = |at: u64| (0..3000).map(|number| of(mixed(at).wrapping_add(number * stride))).collect::<Vec<_>>();
        let chunks: Vec<_> = (0..20).map(chunk).collect();
        ask(what, &mut reader, 20, |reader, at| reader.instances_of(&chunks[at as usize]).unwrap().len());
    }
    ask("patient", &mut reader, 300, |reader, at| {
        first_of(Search { patient: Some(patient_id(any(at))), ..Search::default() })(reader)
    });
    ask("accession", &mut reader, 300, |reader, at| {
        first_of(Search { accession: Some(accession_number(any(at))), ..Search::default() })(reader)
    });
    ask("newest 50", &mut reader, 300, |reader, _| first_of(Search::default())(reader));
    for prefix in ["0", "12", "123", "Name", "Name1", "Given", "ACC", "ACC12", "1.2", "MODALITY07"] {
        let search = Search { text: text(prefix), ..Search::default() };
        ask(&format!("typed {prefix}"), &mut reader, 20, |reader, _| first_of(search.clone())(reader));
    }
    for (from, to) in [("20260301", "20260301"), ("20260101", "20260331"), ("20270101", "99991231")] {
        let search = Search { study_date: Some((from.to_owned(), to.to_owned())), ..Search::default() };
        ask(&format!("date {from}"), &mut reader, 20, |reader, _| first_of(search.clone())(reader));
    }
    let search = Search { source: text("MODALITY07"), ..Search::default() };
    ask("source", &mut reader, 20, |reader, _| first_of(search.clone())(reader));

    let [spent, _] = enter(&mut catalogue, totals.instances..totals.instances + RATE_OVER, shape);
    println!("enters {:.0}/s", RATE_OVER as f64 / spent.as_secs_f64());
    println!("resident at most {} KiB, {} more than before", resident_peak_kib(), resident_peak_kib() - before);
}

fn ask(what: &str, reader: &mut Reader, times: u64, mut question: impl FnMut(&mut Reader, u64) -> usize) {
    let (mut spent, mut found) = (Vec::new(), 0);
    let processor = processor_time();
    for at in 0..times {
        let start = Instant::now();
        found += question(reader, at);
        spent.push(start.elapsed());
    }
    spent.sort_unstable();
    let at = |share: f64| spent[((spent.len() - 1) as f64 * share) as usize];
    let processor = (processor_time() - processor) / times as u32;
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    println!(
        "{what:<18} p50 {p50:>10.1?}  p99 {p99:>10.1?}  max {max:>10.1?}  processor {processor:>10.1?}  {found} found"
    );
}
