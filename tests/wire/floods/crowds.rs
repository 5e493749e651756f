//! Hundreds of peers that are silent, trickle or reconnect, and more connections than there are descriptors.

use rustix::process::Signal;
use socket2::Socket;

use super::*;

const CROWD: usize = 500;

/// Lets this process have as many connections as it may.
pub(super) fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Whether the peer has closed, or says something, without waiting for it.
fn is_over(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.peek(&mut [0; 64]) {
        Err(error) => error.kind() != ErrorKind::WouldBlock,
        Ok(_said) => true,
    }
}

#[test]
fn hundreds_of_silent_connections_leave_a_good_client_served() {
    raise_limit();
    let node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__MAX", "600"),
        ("TIDEGATE__ASSOCIATIONS__ASSOCIATION_REQUEST_TIMEOUT", "5s"),
    ]);
    let mut silent: Vec<_> = (0..CROWD).map(|_| TcpStream::connect(node.address()).unwrap()).collect();
    // Some begin a request, byte by byte: the timer is not renewed by them.
    let mut trickled = 0;
    let all_closed = eventually(|| {
        if silent.len() == CROWD && trickled < 5 {
            serve_a_good_client(&node, trickled);
        }
        if trickled < 60 {
            silent.iter_mut().step_by(7).for_each(|stream| drop(stream.write(&[1])));
            trickled += 1;
        }
        silent.retain_mut(|stream| !is_over(stream));
        silent.is_empty()
    });
    assert!(all_closed, "{} connections are still open", silent.len());
    serve_a_good_client(&node, 100);
    node.logged_times("no association request in time", 1);
    node.settled();
}

#[test]
fn connections_that_were_reset_before_they_were_accepted_take_no_place() {
    raise_limit();
    let node = Node::start(&[("TIDEGATE__ASSOCIATIONS__MAX", "8")]);
    // All of them wait in the backlog, and a client behind them.
    node.signal(Signal::STOP);
    for _ in 0..CROWD {
        let reset = Socket::from(TcpStream::connect(node.address()).unwrap());
        reset.set_linger(Some(Duration::ZERO)).unwrap();
    }
    let waiting = Wire::connect_from([127, 0, 0, 2].into(), node.address());
    node.signal(Signal::CONT);
    waiting.accepted(request()).0.release();
    node.settled();
}

#[test]
#[cfg(feature = "test-faults")] // the minute of the minimum rate is five seconds there
fn hundreds_of_senders_that_trickle_are_aborted_and_a_slow_one_is_not() {
    raise_limit();
    let node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__MAX", "600"),
        ("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "unlimited"),
        ("TIDEGATE__ASSOCIATIONS__MIN_RATE", "64 B"),
        ("TIDEGATE_TEST_MIN_RATE_WINDOW_MS", "5000"),
    ]);
    let sent = dataset("1.2.3.501", 4000);
    let message = crate::wire::store_message(1, "1.2.3.501", &sent, 16_000);
    let (mut slow, _) = Wire::associate(node.address(), request());
    let mut crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut wire = Wire::associate(node.address(), request()).0;
            wire.send(&message[..100]);
            wire.0
        })
        .collect();
    // Seconds between two bytes of theirs. The slow one sends 300 bytes a second by the clock, however long a turn takes.
    let mut sent_by_slow = 0;
    let (mut good, mut turn, began) = (0, 0, Instant::now());
    let all_aborted = eventually(|| {
        turn += 1;
        if turn % 3 == 0 {
            crowd.iter_mut().skip(turn % 50).step_by(50).for_each(|stream| drop(stream.write(&[0])));
        }
        let due = (began.elapsed().as_millis() as usize * 300 / 1000).min(message.len());
        slow.send(&message[sent_by_slow..due]);
        sent_by_slow = due;
        if good < 5 {
            serve_a_good_client(&node, good);
            good += 1;
        }
        crowd.retain_mut(|stream| !is_over(stream));
        crowd.is_empty()
    });
    assert!(all_aborted, "{} associations are still open", crowd.len());
    slow.send(&message[sent_by_slow..]);
    assert_eq!(slow.response().status, 0, "a slow line is no trickle");
    slow.release();
    node.logged_times("association too slow, aborted", 1);
    node.settled();
    assert_eq!(node.temp_files(), 0);
}

#[test]
fn a_storm_of_reconnects_leaves_a_good_client_served() {
    let node =
        Node::start(&[("TIDEGATE__ASSOCIATIONS__MAX", "64"), ("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "unlimited")]);
    let address = node.address();
    static OVER: AtomicBool = AtomicBool::new(false);
    static RECONNECTS: AtomicUsize = AtomicUsize::new(0);
    let storm = |_| {
        std::thread::spawn(move || {
            while !OVER.load(Ordering::Relaxed) {
                let Ok(stream) = TcpStream::connect(address) else { continue };
                let turn = RECONNECTS.fetch_add(1, Ordering::Relaxed);
                let mut wire = Wire(stream);
                wire.0.set_read_timeout(Some(PATIENCE)).unwrap();
                if turn.is_multiple_of(2) && matches!(wire.ask(request()), Some(Pdu::AssociationAC(_))) {
                    let _ = wire.0.write_all(&p_data(1, 3, &store_command(1, "1.2.3.502")));
                }
            }
        })
    };
    let storm: Vec<_> = (0..4).map(storm).collect();
    let (mut wire, _) = Wire::associate(address, request());
    // As long as it takes for a storm to have blown: how fast either side is, is the machine's affair.
    let deadline = Instant::now() + PATIENCE;
    let mut number = 0;
    while number < 50 || RECONNECTS.load(Ordering::Relaxed) < 200 {
        assert!(Instant::now() < deadline, "{} reconnects, {number} instances", RECONNECTS.load(Ordering::Relaxed));
        let uid = format!("1.2.3.502.{number}");
        assert_eq!(wire.store(1, &uid, &dataset(&uid, 20_000)).status, 0);
        number += 1;
    }
    OVER.store(true, Ordering::Relaxed);
    for thread in storm {
        thread.join().unwrap();
    }
    wire.release();
    node.settled();
}

/// Median, 99th percentile and longest of sorted times.
pub(super) fn figures(took: &[Duration]) -> [Duration; 3] {
    [took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]]
}

/// How long each of `count` visits of a good client takes: connect, associate, store 20 kB durably, release.
fn visits(node: &Node, study: usize, count: usize) -> Vec<Duration> {
    let mut took: Vec<_> = (0..count)
        .map(|number| {
            let began = Instant::now();
            serve_a_good_client(node, study * 10_000 + number);
            began.elapsed()
        })
        .collect();
    took.sort();
    took
}

/// 500 connections that are silent, 500 that trickle, and a storm of reconnects, all at one time.
#[test]
fn a_good_client_is_served_amid_all_of_them() {
    raise_limit();
    // Those that trickle are to stay to the end, however busy the machine.
    let node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__MAX", "1200"),
        ("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "unlimited"),
        ("TIDEGATE__MEMORY__BUDGET", "256 MiB"),
        ("TIDEGATE__ASSOCIATIONS__ASSOCIATION_REQUEST_TIMEOUT", "1h"),
        ("TIDEGATE__ASSOCIATIONS__MIN_RATE", "0 B"),
    ]);
    let count = if std::env::var("TIDEGATE_FLOODS").is_ok_and(|value| value == "full") { 300 } else { 40 };
    visits(&node, 1, 10);
    let alone = visits(&node, 2, count);

    let address = node.address();
    // The command, and the beginning of a PDU that lasts for minutes.
    let command = p_data(1, 3, &store_command(1, "1.2.3.520"));
    let begun = [&command[..], &p_data(1, 0, &dataset("1.2.3.520", 100_000))[..500]].concat();
    let mut trickling: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut wire = Wire::associate(address, request()).0;
            wire.send(&begun);
            wire.0
        })
        .collect();
    let silent: Vec<_> = (0..CROWD).map(|_| TcpStream::connect(address).unwrap()).collect();
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let trickle = std::thread::spawn(move || {
        for place in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // 300 bytes a second for each of them.
            drop(trickling[place % CROWD].write(&[0; 30]));
            std::thread::sleep(Duration::from_micros(200));
        }
        trickling
    });
    let stop = over.clone();
    let storm = std::thread::spawn(move || {
        for turn in 0.. {
            if stop.load(Ordering::Relaxed) {
                return turn;
            }
            if let Ok(mut stream) = TcpStream::connect(address) {
                drop(stream.write(&[1, 0, 0, 0]));
            }
            std::thread::sleep(Duration::from_millis(2)); // some hundreds a second
        }
        0
    });
    let amid = visits(&node, 3, count);
    over.store(true, Ordering::Relaxed);
    let reconnects: u64 = storm.join().unwrap();
    let mut trickling = trickle.join().unwrap();
    assert!(!trickling.iter_mut().any(is_over), "some of them were gone before the end");
    drop(silent); // most of them gave way

    let (alone, amid) = (figures(&alone), figures(&amid));
    // Every visit was served, amid all who were there to the end. How fast is the machine's affair.
    println!("p50, p99, longest of {count} visits: alone {alone:?}, amid {amid:?} ({reconnects} reconnects)");
}

/// Changes the node's limit of open files.
fn limit_descriptors(node: &Node, limit: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    prlimit(Pid::from_raw(node.pid() as i32), Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
}

#[test]
fn without_descriptors_those_who_are_in_go_on_and_those_outside_come_in_later() {
    raise_limit();
    let node = Node::start(&[("TIDEGATE__WRITERS__COUNT", "2"), ("TIDEGATE__WRITERS__BATCH", "2")]);
    let (mut inside, _) = Wire::associate(node.address(), request());
    let (_, used) = node.threads_and_descriptors();
    limit_descriptors(&node, used as u64 + 100);
    // More than fit: the surplus is closed, or waits in the listen queue.
    let outside: Vec<_> = (0..200).map(|_| TcpStream::connect(node.address()).unwrap()).collect();
    node.logged(&["too few file descriptors", "connection closed"]);
    for number in 0..10 {
        let uid = format!("1.2.3.512.{number}");
        assert_eq!(inside.store(1, &uid, &dataset(&uid, 20_000)).status, 0, "who is in goes on");
    }
    // Not even `accept` has one left. It must not spin over it.
    limit_descriptors(&node, 3);
    let waiting = TcpStream::connect(node.address()).unwrap();
    node.logged(&["cannot accept connections; retrying"]);
    let ticks = cpu_ticks(&node);
    std::thread::sleep(Duration::from_secs(2)); // the time over which processor time is measured
    let ticks = cpu_ticks(&node) - ticks;
    assert!(ticks < 100, "{ticks} hundredths of a second in two seconds");
    limit_descriptors(&node, used as u64 + 100);
    drop((outside, waiting));
    let is_served = eventually(|| matches!(Wire::connect(node.address()).ask(request()), Some(Pdu::AssociationAC(_))));
    assert!(is_served, "new associations are accepted again");
    assert_eq!(inside.store(1, "1.2.3.512.99", &dataset("1.2.3.512.99", 20_000)).status, 0);
    inside.release();
}
