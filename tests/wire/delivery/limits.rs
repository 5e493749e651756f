//! Limits that an operator sets: bandwidth, hours, connections.

use std::time::Instant;

use super::*;

#[test]
fn a_bandwidth_is_kept_over_all_connections() {
    let scp = Scp::new(Behaviour { max_pdu_length: 0, ..Behaviour::default() });
    let address = free_address();
    let gateway = Gateway::start(&destination(address, "bandwidth = \"500 KiB\"\nconnections = 3"));
    let (mut wire, _) = Wire::associate(gateway.node.address(), request());
    for number in 0..30 {
        let bytes = dataset_of(&uid(number), (&format!("1.2.{}", number % 5), "1.2.9"), 100_000);
        assert_eq!(wire.store(1, &uid(number), &bytes).status, 0);
    }
    assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.waiting == 30)));
    gateway.reload(&scp.destination("archive", "bandwidth = \"500 KiB\"\nconnections = 3"));
    gateway.wait_for(30, 0);
    let received = scp.received();
    let first = received.iter().map(|one| one.at).min().unwrap();
    let last: Instant = received.iter().map(|one| one.at).max().unwrap();
    // The first of them, by each connection, came before the clock ran.
    let bytes: usize = received.iter().map(|one| one.dataset.len()).sum();
    let rate = bytes as f64 / (last - first).as_secs_f64();
    assert!((0.9..=1.25).contains(&(rate / 512_000.0)), "{rate} bytes/s");
}

#[test]
fn outside_of_its_hours_nothing_is_sent() {
    let scp = Scp::new(Behaviour::default());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 60 % 1440;
    let clock = |minute: u64| format!("{:02}:{:02}", minute % 1440 / 60, minute % 60);
    // The tests run by the time zone of the machine, of which only whole hours are known: so the hours exclude all of them.
    let outside: String = format!("hours = \"{}-{}\"", clock(now + 5), clock(now + 10));
    let gateway = Gateway::start(&scp.destination("archive", &outside));
    store(&gateway.node, 0..3);
    assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.waiting == 3)));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(scp.requests().len(), 0);
    gateway.reload(&scp.destination("archive", "hours = \"off\""));
    gateway.wait_for(3, 0);
}

/// And not at the next look, a minute later.
#[test]
fn a_limit_of_bytes_that_is_passed_is_noticed_at_once() {
    let address = free_address();
    let gateway = Gateway::start(&format!("[retention]\nmax_bytes = \"1 MiB\"\n{}", destination(address, "")));
    // The look at the start comes before.
    std::thread::sleep(Duration::from_secs(2));
    let (mut wire, _) = Wire::associate(gateway.node.address(), request());
    for number in 0..4 {
        assert_eq!(wire.store(1, &uid(number), &dataset(&uid(number), 400_000)).status, 0);
    }
    let began = Instant::now();
    gateway.node.logged(&["stored files have more bytes than retention.max_bytes"]);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
