//! Instances at which an archive dies, or that it never answers: they cost an association each, and no other instance its time.

use std::time::Instant;

use super::*;

fn is_poison(uid: &str) -> bool {
    let number: u32 = uid.rsplit('.').next().unwrap().parse().unwrap();
    (20..28).contains(&number)
}

fn poisoned(reply: Reply) -> Behaviour {
    let answer = move |uid: &str, _| if is_poison(uid) { reply } else { Reply::Status(0) };
    Behaviour { answer: Box::new(answer), ..Behaviour::default() }
}

/// The longest time between two instances that are not poisoned.
fn longest_pause(scp: &Scp) -> Duration {
    let received = scp.received();
    let others: Vec<_> = received.iter().filter(|one| !is_poison(&one.uid)).collect();
    others.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap()
}

fn others(scp: &Scp) -> usize {
    scp.counts().keys().filter(|uid| !is_poison(uid)).count()
}

/// All of them wait when the destination comes.
fn waiting(instances: std::ops::Range<u32>, more: &str, behaviour: Behaviour) -> (Gateway, Scp) {
    let (address, count) = (free_address(), i64::from(instances.end - instances.start));
    let gateway = Gateway::start(&destination(address, more));
    store(&gateway.node, instances);
    assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.waiting == count)));
    gateway.node.logged(&["destination is down"]);
    let scp = Scp::on(TcpListener::bind(address).unwrap(), behaviour);
    (gateway, scp)
}

#[test]
fn a_run_of_instances_at_which_the_archive_aborts_delays_no_other() {
    for (reply, connections) in [(Reply::Abort, 1), (Reply::Abort, 2), (Reply::CloseInTheMiddle, 1)] {
        let (gateway, scp) = waiting(0..60, &format!("connections = {connections}"), poisoned(reply));
        assert!(eventually(|| others(&scp) == 52), "{} of 52", others(&scp));
        let pause = longest_pause(&scp);
        assert!(pause < Duration::from_secs(1), "{reply:?} with {connections}: {pause:?}");
        assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.delivered == 52)));
        gateway.node.logged_times("destination is down", 1);
    }
}

/// Nothing else is left that could show that the destination lives.
#[test]
fn an_instance_that_comes_while_only_poisoned_ones_are_left_is_sent_soon() {
    let scp = Scp::new(poisoned(Reply::Abort));
    let gateway = Gateway::start(&scp.destination("archive", "connections = 1"));
    store(&gateway.node, 20..28);
    scp.wait_for(6);
    store(&gateway.node, 30..31);
    let stored = Instant::now();
    assert!(eventually(|| scp.counts().contains_key(&uid(30))));
    assert!(stored.elapsed() < Duration::from_secs(3), "{:?}", stored.elapsed());
}

#[test]
fn a_run_of_instances_without_an_answer_delays_no_other() {
    for connections in [1, 2] {
        let (gateway, scp) = waiting(0..60, &format!("connections = {connections}"), poisoned(Reply::Silence));
        assert!(eventually(|| others(&scp) == 52), "{} of 52", others(&scp));
        let pause = longest_pause(&scp);
        assert!(pause < Duration::from_secs(3), "{connections}: {pause:?}");
        // And one that comes when all of them are waited for.
        std::thread::sleep(Duration::from_secs(12));
        store(&gateway.node, 60..61);
        let stored = Instant::now();
        assert!(eventually(|| scp.counts().contains_key(&uid(60))));
        assert!(stored.elapsed() < Duration::from_secs(3), "{:?}", stored.elapsed());
        gateway.node.logged_times("destination is down", 1);
    }
}

/// It answers C-ECHO, and dies of every instance: it is down, and not asked more often than that takes.
#[test]
fn a_destination_that_dies_of_every_instance_is_down() {
    let answer = |_: &str, _| Reply::Abort;
    let scp = Scp::new(Behaviour { answer: Box::new(answer), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "connections = 2"));
    store(&gateway.node, 0..100);
    gateway.node.logged(&["destination is down"]);
    std::thread::sleep(Duration::from_secs(5));
    assert!(scp.requests().len() < 15, "{} associations", scp.requests().len());
    scp.behave(Behaviour::default());
    assert!(eventually(|| scp.counts().len() == 100));
    gateway.node.logged(&["destination is back"]);
}

/// It takes everything, and answers nothing.
#[test]
fn a_destination_that_hangs_gets_no_more_associations_than_that_takes() {
    let answer = |_: &str, _| Reply::Silence;
    let scp = Scp::new(Behaviour { answer: Box::new(answer), echoes: false, ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "connections = 2"));
    store(&gateway.node, 0..100);
    std::thread::sleep(Duration::from_secs(6));
    assert!(scp.most_open() <= 4, "{} associations", scp.most_open());
    drop(gateway);
}

/// `node.shutdown_grace` bounds it.
#[test]
fn a_node_that_stops_waits_for_an_answer_as_long_as_its_grace() {
    let scp = Scp::new(poisoned(Reply::Silence));
    let mut gateway = Gateway::start(&format!("{}\n[node]\nshutdown_grace = \"2s\"\n", scp.destination("archive", "")));
    store(&gateway.node, 20..21);
    scp.wait_for(1);
    let began = Instant::now();
    assert_eq!(gateway.node.stop(), Some(0));
    let took = began.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&took), "{took:?}");
    let (root, _kept) = gateway.keep_root();
    assert_eq!(row(&root.join(".tidegate/catalogue.sqlite")).unwrap().sums.delivered, 0, "it is sent again");
}
