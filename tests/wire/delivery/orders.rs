//! What becomes of deliveries that change while the child has them: by operators, by other content, by a clock that is set.

use std::process::Command;

use super::*;

impl Gateway {
    fn order(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("outbox").args(arguments).args(["--destination", "archive", "--storage"]).arg(self.node.storage());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// As if the wait of what is tried again were over.
    fn make_due(&self) {
        let db = rusqlite::Connection::open(file(&self.node)).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute_batch("UPDATE delivery SET due_ms = 0").unwrap();
        self.order(&["pause"]); // it is looked at
        self.order(&["resume"]);
    }
}

/// A page of the queue is in memory when it is dropped.
#[test]
fn what_is_dropped_is_not_sent_when_the_destination_is_resumed_or_is_back() {
    let slow =
        Behaviour { answer: Box::new(|_, _| Reply::Late(Duration::from_millis(300), 0)), ..Behaviour::default() };
    let scp = Scp::new(slow);
    let gateway = Gateway::start(&scp.destination("archive", "connections = 1"));
    store(&gateway.node, 0..20);
    assert!(eventually(|| scp.received().len() >= 2));
    gateway.order(&["pause"]);
    gateway.order(&["drop", "--all"]);
    assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.waiting == 0)));
    let sent = scp.received().len();
    assert!(sent < 10);
    gateway.order(&["resume"]);
    store(&gateway.node, 50..51);
    assert!(eventually(|| scp.counts().contains_key(&uid(50))));
    let others = scp.counts().len() - 1;
    assert!(others <= sent + 1, "{others} of {sent} were sent");
}

/// The outcome of the former content means nothing, and the destination has it only then.
#[test]
fn content_that_comes_while_the_former_is_being_sent_is_sent_too() {
    let slow =
        Behaviour { answer: Box::new(|_, _| Reply::Late(Duration::from_millis(1500), 0)), ..Behaviour::default() };
    let scp = Scp::new(slow);
    let mut gateway = Gateway::start_in(
        &[("TIDEGATE__STORAGE__DUPLICATES", "replace")],
        None,
        &scp.destination("archive", "connections = 1"),
    );
    let (mut wire, _) = Wire::associate(gateway.node.address(), request());
    assert_eq!(wire.store(1, &uid(0), &dataset(&uid(0), 100)).status, 0);
    assert!(eventually(|| scp.received().len() == 1));
    assert_eq!(wire.store(1, &uid(0), &dataset(&uid(0), 200)).status, 0);
    gateway.wait_for(1, 0);
    assert!(scp.received().last().is_some_and(|last| last.dataset == dataset(&uid(0), 200)));
    assert_eq!(gateway.node.stop(), Some(0));
}

/// Another delivery wakes the child; here there is none.
#[test]
fn a_retry_under_an_attempt_is_not_forgotten() {
    let answer = |_: &str, before: usize| match before {
        0 => Reply::Status(0xA700),
        _ => Reply::Late(Duration::from_millis(1500), 0),
    };
    let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "connections = 1"));
    store(&gateway.node, 0..1);
    assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.retrying == 1)));
    gateway.make_due();
    assert!(eventually(|| scp.received().len() == 2));
    gateway.order(&["retry", "--all"]);
    gateway.wait_for(1, 0);
}

/// A day ahead when something was put off, and then right.
#[test]
fn a_clock_that_was_set_back_delays_nothing() {
    let scp = Scp::new(Behaviour { answer: Box::new(|_, _| Reply::Status(0xA700)), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", ""));
    store(&gateway.node, 0..3);
    assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.retrying == 3)));
    let (root, _kept) = gateway.kill();
    let db = rusqlite::Connection::open(root.join(".tidegate/catalogue.sqlite")).unwrap();
    db.execute_batch("UPDATE delivery SET due_ms = due_ms + 86400000, owed_ms = owed_ms + 86400000").unwrap();
    drop(db);
    let next = Scp::new(Behaviour::default());
    let gateway = Gateway::start_on(Some(&root), &next.destination("archive", ""));
    gateway.wait_for(3, 0);
}

/// The destination takes everything else.
#[test]
fn an_instance_that_is_put_off_again_and_again_delays_no_other() {
    let answer = |instance: &str, _: usize| Reply::Status(if instance == uid(0) { 0xA700 } else { 0 });
    let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", ""));
    store(&gateway.node, 0..1);
    for tries in 1..6 {
        assert!(eventually(|| scp.received().len() == tries));
        assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.retrying == 1)));
        gateway.make_due();
    }
    assert!(!gateway.node.log_text().contains("destination is down"));
    store(&gateway.node, 1..2);
    assert!(eventually(|| scp.counts().contains_key(&uid(1))));
}

/// Whatever is outstanding in its window.
#[test]
fn commitment_is_asked_for_while_the_queue_flows() {
    let address = free_address();
    let gateway = Gateway::start(&destination(address, "connections = 1\ncommit = true"));
    store(&gateway.node, 0..400);
    let slow = Behaviour {
        answer: Box::new(|_, _| Reply::Late(Duration::from_millis(20), 0)),
        window: 8,
        ..Behaviour::default()
    };
    let scp = Scp::on(TcpListener::bind(address).unwrap(), slow);
    assert!(eventually(|| !scp.asked().is_empty()));
    assert!(gateway.row().is_some_and(|row| row.sums.waiting > 50), "while the queue flows");
    gateway.wait_for(400, 0);
}
