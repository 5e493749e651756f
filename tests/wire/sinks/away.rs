//! Receivers that are away for long, or want no more. Time passes in the file.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{QUIET, Receiver, kill, operate, row, start, store};
use crate::catalogue::{file, wait_for};
use crate::node::eventually;

/// Changes the catalogue of a node that does not run.
fn execute(root: &Path, sql: &str) {
    let db = rusqlite::Connection::open(root.join(".tidegate/catalogue.sqlite")).unwrap();
    db.execute_batch(sql).unwrap();
}

/// It has failed for an hour, and every event with it.
#[test]
fn a_receiver_that_comes_back_after_an_hour_has_its_events_within_a_minute_and_in_order() {
    let mut receiver = Receiver::started();
    let tables = format!("{QUIET}{}", receiver.table("events = [\"instance.stored\"]"));
    receiver.stop();
    let node = start(None, &tables);
    let studies: Vec<_> = (0..20).map(|study| format!("1.2.{study}")).collect();
    studies.iter().for_each(|study| store(&node, study, 0..5));
    assert!(eventually(|| row(&node).is_some_and(|row| row.waiting == 100)));
    let (root, _kept) = kill(node);
    execute(&root, "UPDATE owed_event SET owed_ms = owed_ms - 3600000, attempts = 120, due_ms = min(due_ms, 0)");
    receiver.start();
    receiver.tell(&["503"; 4]);
    let began = Instant::now();
    let _node = start(Some(&root), &tables);
    assert!(eventually(|| receiver.taken().len() == 100), "{}", receiver.taken().len());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let requests = receiver.requests();
    for study in &studies {
        let is_of_study = |request: &&Value| request["event"]["subject"] == **study && request["told"] == "200";
        let number = |request: &Value| request["id"].as_str()?.rsplit('-').next()?.parse::<u64>().ok();
        let numbers: Vec<_> = requests.iter().filter(is_of_study).map(number).collect();
        assert!(numbers.len() == 5 && numbers.is_sorted(), "{numbers:?}");
    }
}

#[test]
fn a_receiver_that_is_gone_is_sent_nothing_until_an_operator_wants_it() {
    let receiver = Receiver::started();
    receiver.tell(&["410"]);
    let tables = format!("{QUIET}{}", receiver.table("events = [\"study.complete\"]"));
    let node = start(None, &tables);
    store(&node, "1.2.3", 0..2);
    assert!(eventually(|| row(&node).is_some_and(|row| row.gone_ms.is_some())));
    node.logged(&["sink wants no events any more", "ris"]);
    let (root, _kept) = kill(node);
    let node = start(Some(&root), &tables);
    store(&node, "1.2.4", 0..2);
    assert!(eventually(|| row(&node).is_some_and(|row| row.waiting == 2)));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(receiver.requests().len(), 1);
    operate(&node, &["retry"]);
    receiver.wait_for(&[("study.complete", "1.2.3"), ("study.complete", "1.2.4")]);
}

/// A sink that was gone for longer than `retry_for` is owed nothing younger: it gets all of the time again.
#[test]
fn after_a_retry_the_time_of_events_begins_anew_and_one_that_dies_has_a_line() {
    let receiver = Receiver::started();
    receiver.tell(&["410"; 2]); // they may be sent together
    let tables = format!("{QUIET}{}", receiver.table("events = [\"study.complete\"]\nretry_for = \"1m\""));
    let node = start(None, &tables);
    store(&node, "1.2.3", 0..2);
    store(&node, "1.2.4", 0..2);
    assert!(eventually(|| row(&node).is_some_and(|row| row.gone_ms.is_some() && row.waiting == 2)));
    let (root, _kept) = kill(node);
    execute(&root, "UPDATE owed_event SET owed_ms = owed_ms - 3600000");
    let node = start(Some(&root), &tables);
    wait_for(&file(&node), 4, 0);
    receiver.tell(&["503", "503", "413", "200"]);
    operate(&node, &["retry"]);
    assert!(eventually(|| row(&node).is_some_and(|row| (row.published, row.dead) == (1, 1))), "{:?}", row(&node));
    let dead = "event not published, and not tried again";
    node.logged(&["ERROR", dead, "sink=\"ris\"", "kind=\"study.complete\"", "subject=\"1.2.", "413", "remedy="]);
    // The time runs again from there, and the line says so when it is over.
    receiver.tell(&["503"]);
    store(&node, "1.2.5", 0..1);
    assert!(eventually(|| row(&node).is_some_and(|row| row.waiting == 1)));
    let (root, _other) = kill(node);
    execute(&root, "UPDATE owed_event SET owed_ms = owed_ms - 3600000; UPDATE sink SET asked_ms = asked_ms - 3600000");
    receiver.tell(&["503"; 10]);
    let node = start(Some(&root), &tables);
    node.logged(&[dead, "subject=\"1.2.5\"", "retry_for is over"]);
    assert!(eventually(|| row(&node).is_some_and(|row| (row.waiting, row.dead) == (0, 2))), "{:?}", row(&node));
}
