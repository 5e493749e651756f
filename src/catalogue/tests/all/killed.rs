//! kill -9 of the writer.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tidegate_catalogue::Catalogue;

use super::support::{directory, path_in, record};

const FILE: &str = "TIDEGATE_TEST_CATALOGUE";

/// Not a test of its own: the process that is killed. It says how many records it has entered.
#[test]
fn the_process_that_is_killed() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let mut catalogue = Catalogue::open(&PathBuf::from(path), true).unwrap();
    for batch in 0.. {
        let records: Vec<_> = (0..50).map(|at| record(batch % 9, at % 3, batch * 50 + at)).collect();
        catalogue.enter(&records).unwrap();
        println!("entered {}", (batch + 1) * 50);
    }
}

#[test]
fn what_was_entered_is_there_after_kill_9() {
    for kill_after in [1, 7, 60] {
        let directory = directory();
        let path = path_in(&directory);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::the_process_that_is_killed", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut entered = lines.filter_map(|line| line.strip_prefix("entered ").and_then(|count| count.parse().ok()));
        let count: u64 = entered.by_ref().nth(kill_after).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let count = entered.last().unwrap_or(count);
        let mut catalogue = Catalogue::open(&path, true).unwrap();
        let mut reader = tidegate_catalogue::Reader::open(&path).unwrap();
        let instances = reader.totals().unwrap().instances;
        assert!(instances == count || instances == count + 50, "{instances} of {count}");
        assert_eq!(catalogue.check().unwrap(), []);
        catalogue.enter(&[record(1, 1, 1)]).unwrap();
    }
}
