//! Writers that panic, hang, die or only fail: what they had goes to the next writer and is stored once.

use super::*;

#[test]
fn the_dataset_of_a_writer_that_panics_goes_to_the_next_and_is_stored_once() {
    for fault in ["writer panic", "reply panic"] {
        let mut node = start(&[ONE_WRITER]);
        node.arm(&[fault]);
        assert_eq!(store(&node, "1.2.3.50"), 0, "{fault}");
        assert_stored_whole(&node, "1.2.3.50", &dataset("1.2.3.50", PIXELS));
        let record = node.logged(&["child ended", "writer-0"]);
        for evidence in [
            "panicked: fault port",
            "panic_location=\"actors/fault.rs",
            "held_count=1",
            "writing=",
            "mailbox_depth=",
            "restart_policy=\"permanent\"",
            "restart_in_ms=0",
        ] {
            assert!(record.contains(evidence), "no {evidence} in {record}");
        }
        assert_eq!(node.temp_files(), 0);
        assert_eq!(node.stop(), Some(0));
    }
}

#[test]
fn the_dataset_of_a_writer_that_hangs_goes_to_the_next_and_its_late_result_is_ignored() {
    for fault in ["writer hang", "reply hang"] {
        let mut node = start(&[ONE_WRITER]);
        assert_eq!(store(&node, "1.2.3.51"), 0);
        let before = at_rest(&node);
        fs::remove_file(node.storage().join("1.2.3/1.2.3.4/1.2.3.51.dcm")).unwrap();
        node.arm(&[fault]);
        assert_eq!(store(&node, "1.2.3.51"), 0, "{fault}");
        let record = node.logged(&["child ended", "writer-0", "hung: no progress for"]);
        assert!(record.contains("held_count=1"), "{record}");
        // Its thread wakes up, finds that it was given up, and ends.
        node.wake();
        node.wait_for_hung_threads();
        assert_eq!(store(&node, "1.2.3.51"), 0, "a resend is the same instance");
        assert_stored_whole(&node, "1.2.3.51", &dataset("1.2.3.51", PIXELS));
        node.wait_for_no_more_than(before);
        assert_eq!(node.temp_files(), 0);
        assert_eq!(node.stop(), Some(0));
    }
}

#[test]
fn what_is_left_to_a_writer_that_dies_or_hangs_over_the_commit_log_is_stored_by_others() {
    const SENDERS: usize = 8;
    const EACH: usize = 25;
    let uid = |sender: usize, number: usize| format!("1.2.3.53.{sender}.{number}");
    for fault in ["reply panic", "reply hang"] {
        let mut node = start(&[]);
        // Small ones: all go through the log, and the leader holds batches of other writers.
        std::thread::scope(|scope| {
            let send = |sender: usize| {
                let mut wire = associate(&node);
                scope.spawn(move || {
                    for number in 0..EACH {
                        let uid = uid(sender, number);
                        assert_eq!(wire.store(1, &uid, &dataset(&uid, 2000)).status, 0, "{fault}: {uid}");
                    }
                    wire.release();
                })
            };
            let senders: Vec<_> = (0..SENDERS).map(send).collect();
            node.arm(&[fault, fault]);
            // A hang ends once one is found out: as long as one lasts, writers that come to the log after it hang as well.
            let mut ended = 0;
            while senders.iter().any(|sender| !sender.is_finished()) {
                let now = node.log_text().matches("child ended").count();
                if now > ended {
                    ended = now;
                    node.wake();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        node.logged(&["child ended", "writer-"]);
        let mut expected: Vec<_> = (0..SENDERS * EACH).map(|n| format!("{}.dcm", uid(n / EACH, n % EACH))).collect();
        expected.sort();
        assert_eq!(stored(&node), expected, "{fault}: each once");
        node.wait_for_hung_threads();
        assert_eq!((node.temp_files(), held_bytes(&node)), (0, 0));
        assert_eq!(node.stop(), Some(0));
    }
}

#[test]
fn a_writer_whose_thread_died_is_replaced() {
    let mut node = start(&[ONE_WRITER]);
    node.arm(&["writer die"]);
    assert_eq!(store(&node, "1.2.3.52"), 0);
    node.logged(&["child ended", "writer-0", "its thread died"]);
    assert_eq!(store(&node, "1.2.3.52"), 0);
    assert_stored_whole(&node, "1.2.3.52", &dataset("1.2.3.52", PIXELS));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_spooled_dataset_outlives_the_writers_of_its_parts() {
    let content = dataset("1.2.3.53", 1_000_000);
    for faults in [&["writer panic", "reply panic", "writer panic"][..], &["reply hang"], &["writer die"]] {
        let mut node = start(&[ONE_WRITER, ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "64 KiB")]);
        let mut wire = associate(&node);
        let message = store_message(1, "1.2.3.53", &content, 16_000);
        let (first, second) = message.split_at(message.len() / 2);
        wire.send(&first[..first.len() / 2]);
        // Not before the first parts are in the spool file.
        assert!(eventually(|| node.temp_files() > 0));
        node.arm(faults);
        wire.send(&first[first.len() / 2..]);
        wire.send(second);
        assert_eq!(wire.response().status, 0, "{faults:?}");
        wire.release();
        assert_stored_whole(&node, "1.2.3.53", &content);
        node.logged(&["child ended"]);
        node.wake();
        node.wait_for_hung_threads();
        node.wait_for_temp_files(0);
        assert_eq!(node.stop(), Some(0));
    }
}

#[test]
fn a_dataset_that_no_writer_answers_for_is_given_up_in_time_and_may_be_sent_again() {
    let mut node = start(&[
        ONE_WRITER,
        ("TIDEGATE__SUPERVISION__HANG_TIMEOUT", "3s"),
        ("TIDEGATE__WRITERS__COMMIT_TIMEOUT", "4500ms"),
    ]);
    // Found out after three seconds; the next one hangs as well, and the time is up before that is found out.
    node.arm(&["writer hang", "writer hang"]);
    let mut wire = associate(&node);
    let refused = wire.store(1, "1.2.3.54", &dataset("1.2.3.54", 5000));
    assert_eq!((refused.status, refused.comment.as_str()), (0xA700, "storage does not respond, retry later"));
    // The association lives, and is served once both hangs are found out.
    let mut message = 1;
    let served = eventually(|| {
        message += 1;
        wire.store(message, "1.2.3.54", &dataset("1.2.3.54", 5000)).status == 0
    });
    assert!(served);
    node.wake();
    wire.release();
    node.wait_for_hung_threads();
    assert_stored_whole(&node, "1.2.3.54", &dataset("1.2.3.54", 5000));
    assert_eq!(node.stop(), Some(0));
}

/// The association can read no more until the instance is stored, and there is nobody else whom it waits for.
#[test]
fn a_dataset_that_loses_its_writer_while_the_budget_is_exhausted_goes_to_the_next() {
    const BUDGET: u64 = 16 << 20;
    /// Floors of 8 associations and 8 startup places, and the control reserve.
    const RESERVED: u64 = 16 * (32 << 10) + (2 << 20);
    let mut node = start(&[
        ONE_WRITER,
        ("TIDEGATE__ASSOCIATIONS__MAX", "8"),
        ("TIDEGATE__MEMORY__BUDGET", "16 MiB"),
        ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "4 MiB"),
    ]);
    let mut asking = request();
    asking.user_variables.push(UserVariableItem::Unknown(0x53, vec![0, 2, 0, 1]));
    let (mut wire, _) = Wire::associate(node.address(), asking);
    let mut greedy = associate(&node);
    // Less is left than any segment beyond the floor takes.
    let leased_bytes = BUDGET - RESERVED - (32 << 10);
    node.arm(&[&format!("association hold {leased_bytes}")]);
    assert_eq!(greedy.echo().status, 0);
    assert!(held_bytes(&node) >= leased_bytes);
    node.arm(&["writer panic"]);
    // The message leaves less of the floor (16 KiB) than is worth a read.
    let rest = 14_400 - store_message(1, "1.2.3.68", &dataset("1.2.3.68", 0), 16_000).len();
    let content = dataset("1.2.3.68", rest);
    assert_eq!(wire.store(1, "1.2.3.68", &content).status, 0);
    node.logged(&["child ended", "writer-0"]);
    wire.release();
    greedy.release();
    assert_stored_whole(&node, "1.2.3.68", &content);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_dataset_that_kills_every_writer_is_refused_and_the_node_lives() {
    let mut node = start(&[ONE_WRITER]);
    node.arm(&["writer panic"; 4]);
    assert_eq!(store(&node, "1.2.3.55"), 0xA700);
    assert_eq!(store(&node, "1.2.3.55"), 0);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_writer_whose_storage_only_fails_starts_afresh_and_in_the_end_the_node_gives_up() {
    let mut node = start(&[ONE_WRITER, ("TIDEGATE__SUPERVISION__MAX_RESTARTS", "1")]);
    let mut wire = associate(&node);
    node.arm(&["writer fail"; 15]);
    for i in 0..15 {
        assert_eq!(wire.store(i, "1.2.3.56", &dataset("1.2.3.56", 50)).status, 0xA700);
    }
    assert_eq!(wire.store(20, "1.2.3.56", &dataset("1.2.3.56", 50)).status, 0, "that was not all it can do");
    // Paths that fail are none of the storage: it is tried, and the writer goes on.
    node.arm(&["writer fail"; 16]);
    for i in 0..16 {
        assert_eq!(wire.store(10 + i, "1.2.3.57", &dataset("1.2.3.57", 50)).status, 0xA700);
    }
    assert_eq!(wire.store(28, "1.2.3.57", &dataset("1.2.3.57", 50)).status, 0);
    node.logged(&["the test of the storage succeeded"]);
    node.arm(&["writer fail"; 32]);
    node.arm(&["trial fail"; 2]);
    for i in 0..16 {
        assert_eq!(wire.store(30 + i, "1.2.3.57", &dataset("1.2.3.57", 50)).status, 0xA700);
    }
    node.logged(&["child ended", "storage failing: 16 errors in a row", "restart_in_ms=0"]);
    for i in 0..16 {
        assert_eq!(wire.store(60 + i, "1.2.3.57", &dataset("1.2.3.57", 50)).status, 0xA700);
    }
    node.logged(&["child ended", "the node goes down"]);
    assert_eq!(node.wait(), Some(3));
}
