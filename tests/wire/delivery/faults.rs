//! Destinations that refuse, fail, hang and die.

use std::time::Instant;

use super::*;

/// The statuses of the standard, and what becomes of the instance.
const STATUSES: [(u16, bool); 12] = [
    (0x0000, true),
    (0xB000, true),
    (0xB006, true),
    (0xB007, true),
    (0x0001, true),
    (0x0107, true),
    (0x0111, true),
    (0x0116, true),
    (0xA900, false),
    (0xC000, false),
    (0x0122, false),
    (0x0117, false),
];

#[test]
fn each_status_settles_its_instance_and_no_other() {
    let answer = |uid: &str, _| {
        let number: usize = uid.rsplit('.').next().unwrap().parse().unwrap();
        Reply::Status(STATUSES[number % STATUSES.len()].0)
    };
    let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "attempts = 1"));
    store(&gateway.node, 0..24);
    gateway.wait_for(16, 8);
    assert!(scp.counts().values().all(|count| *count == 1), "{:?}", scp.counts());
    gateway.node.logged(&["instance not delivered", "status A900", "as the test says"]);
    assert!(!gateway.node.log_text().contains("destination is down"));
}

#[test]
fn a_destination_without_resources_is_asked_again_and_no_instance_dies_of_it() {
    let answer = |_: &str, before: usize| Reply::Status(if before < 3 { 0xA700 } else { 0 });
    let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "attempts = 1\nconnections = 1"));
    store(&gateway.node, 0..10);
    gateway.node.logged(&["destination is down", "status A700"]);
    gateway.node.logged(&["destination is back"]);
    gateway.wait_for(10, 0);
}

#[test]
fn an_instance_that_ends_associations_delays_no_other() {
    for poison in [Reply::Abort, Reply::Close, Reply::CloseInTheMiddle] {
        let answer = move |uid: &str, _| if uid == super::uid(7) { poison } else { Reply::Status(0) };
        let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
        let gateway = Gateway::start(&scp.destination("archive", "connections = 1"));
        let began = Instant::now();
        store(&gateway.node, 0..100);
        assert!(eventually(|| scp.counts().keys().filter(|other| **other != uid(7)).count() == 99));
        let received = scp.received();
        let others: Vec<_> = received.iter().filter(|one| one.uid != uid(7)).collect();
        let longest = others.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
        assert!(longest < Duration::from_secs(1), "{poison:?}: {longest:?} of {:?}", began.elapsed());
        let is_retried =
            eventually(|| gateway.row().is_some_and(|row| (row.sums.delivered, row.sums.retrying) == (99, 1)));
        assert!(is_retried, "{:?}", gateway.row());
        assert!(!gateway.node.log_text().contains("destination is down"));
    }
}

#[test]
fn an_instance_without_an_answer_delays_no_other() {
    for connections in [1, 2] {
        let answer = |uid: &str, _| if uid == super::uid(7) { Reply::Silence } else { Reply::Status(0) };
        let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
        let gateway = Gateway::start(&scp.destination("archive", &format!("connections = {connections}")));
        store(&gateway.node, 0..200);
        assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.delivered == 199)));
        let received = scp.received();
        let longest = received.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
        assert!(longest < Duration::from_secs(3), "and not the minute that the answer may take: {longest:?}");
        assert_eq!(received.len(), 200, "none came twice");
        assert!(scp.most_open() <= 2 * connections, "{} associations", scp.most_open());
        assert!(!gateway.node.log_text().contains("destination is down"));
    }
}

/// It does not count against `connections`, but against the limit of the destination itself.
#[test]
fn a_late_answer_does_not_exceed_the_limit_of_the_destination() {
    let answer = |uid: &str, _| match uid == super::uid(7) {
        true => Reply::Late(Duration::from_secs(4), 0),
        false => Reply::Status(0),
    };
    let scp = Scp::new(Behaviour { answer: Box::new(answer), most_associations: 1, ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "connections = 1"));
    store(&gateway.node, 0..50);
    gateway.wait_for(50, 0);
    assert_eq!((scp.most_open(), scp.received().len()), (1, 50));
    assert!(scp.requests().len() < 8, "{} associations were requested", scp.requests().len());
    assert!(!gateway.node.log_text().contains("destination is down"));
}

#[test]
fn a_destination_that_is_slow_with_each_instance_keeps_its_limit() {
    let answer = |_: &str, _| Reply::Late(Duration::from_millis(1200), 0);
    let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "connections = 1"));
    store(&gateway.node, 0..8);
    gateway.wait_for(8, 0);
    let mut instances_of = std::collections::BTreeMap::<usize, usize>::new();
    scp.received().iter().for_each(|one| *instances_of.entry(one.association).or_default() += 1);
    assert!(instances_of.len() <= 3, "only the first answer was late: {instances_of:?}");
}

#[test]
fn a_destination_that_refuses_contexts_gets_what_it_accepts() {
    let scp = Scp::new(Behaviour { accept: Box::new(|_| None), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "attempts = 1"));
    store(&gateway.node, 0..3);
    gateway.wait_for(0, 3);
    gateway.node.logged(&["destination refuses presentation contexts", "transfer syntaxes not supported"]);
    gateway.node.logged(&["instance not delivered", "does not accept"]);
    assert!(!gateway.node.log_text().contains("destination is down"));
}

#[test]
fn a_rejection_is_told_and_ends_when_the_destination_mends_it() {
    let scp = Scp::new(Behaviour { rejects: true, ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", ""));
    store(&gateway.node, 0..3);
    gateway.node.logged(&["destination is down", "called-AE-title-not-recognized"]);
    scp.behave(Behaviour::default());
    gateway.wait_for(3, 0);
    gateway.node.logged(&["destination is back"]);
}

#[test]
fn a_limit_of_associations_is_respected() {
    let answer = |_: &str, _| Reply::Late(Duration::from_millis(10), 0);
    let scp = Scp::new(Behaviour { answer: Box::new(answer), most_associations: 1, ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "connections = 4"));
    store(&gateway.node, 0..100);
    gateway.wait_for(100, 0);
    assert_eq!(scp.most_open(), 1);
    assert!(scp.requests().len() < 12, "{} associations were requested", scp.requests().len());
}

#[test]
fn a_file_that_is_not_what_was_stored_is_not_sent() {
    let address = free_address();
    let gateway = Gateway::start(&destination(address, ""));
    store(&gateway.node, 0..5);
    gateway.node.logged(&["destination is down"]);
    assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.waiting == 5)));
    let path = |number: u32| gateway.node.storage().join(format!("1.2.3/1.2.3.4/1.2.3.4.{number}.dcm"));
    fs::remove_file(path(0)).unwrap();
    fs::OpenOptions::new().write(true).open(path(1)).unwrap().set_len(700).unwrap();
    fs::rename(path(2), path(3)).unwrap();
    let mut changed = fs::read(path(4)).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(path(4), changed).unwrap();
    let scp = Scp::on(TcpListener::bind(address).unwrap(), Behaviour::default());
    gateway.wait_for(0, 5);
    assert_eq!(scp.received().len(), 0);
    gateway.node.logged(&["instance not delivered", "the file is gone"]);
    gateway.node.logged(&["instance not delivered", "not what was stored"]);
}

#[test]
fn what_is_being_sent_is_finished_when_the_node_stops() {
    let answer = |_: &str, _| Reply::Late(Duration::from_millis(300), 0);
    let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
    let mut gateway = Gateway::start(&scp.destination("archive", "connections = 2"));
    store(&gateway.node, 0..20);
    scp.wait_for(4);
    assert_eq!(gateway.node.stop(), Some(0));
    assert_eq!((scp.aborted(), scp.released(), scp.open()), (0, 2, 0));
    let came = scp.received().len();
    assert!(came < 20);
    let (root, _kept) = gateway.keep_root();
    let delivered = row(&root.join(".tidegate/catalogue.sqlite")).unwrap().sums.delivered;
    assert_eq!(delivered, came as i64, "each answer is noted");
    let next = Gateway::start_on(Some(&root), &scp.destination("archive", ""));
    next.wait_for(20, 0);
    assert!(scp.counts().values().all(|count| *count == 1), "{:?}", scp.counts());
}

#[test]
fn a_killed_node_repeats_no_more_than_was_under_way() {
    let answer = |_: &str, _| Reply::Late(Duration::from_millis(2), 0);
    let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
    let table = scp.destination("archive", "connections = 2");
    let mut gateway = Gateway::start(&table);
    store(&gateway.node, 0..300);
    let mut kept = Vec::new();
    for kills in 1..4 {
        scp.wait_for(kills * 60);
        let (root, directory) = gateway.kill();
        gateway = Gateway::start_on(Some(&root), &table);
        kept.push(directory);
    }
    gateway.wait_for(300, 0);
    let repeated: usize = scp.counts().values().map(|count| count - 1).sum();
    // Two outstanding, and those whose notes were not durable: what is answered in a tenth of a second or two.
    assert!(repeated < 3 * 250, "{repeated}");
    assert_eq!(scp.counts().len(), 300);
}
