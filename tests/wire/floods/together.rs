//! Every flood at one time, each from an address of its own: memory, log and the good client stay within their bounds.

use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;

use super::bombs::resident;
use super::crowds::{figures, raise_limit};
use super::*;
use crate::access::{as_user, hashed, write_private};
use crate::wire::{echo_command, encoded};

const BUDGET: u64 = 64 * MIB;
/// Resident memory beyond the budget, at most (`memory.budget` in the reference of the configuration).
const BESIDE_BUDGET: u64 = 48 * MIB;

fn host(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

/// A connection from the host with this number; `None`: the node, or the machine, did not take it.
fn try_connect(last: u8, address: SocketAddr) -> Option<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).ok()?;
    socket.bind(&SocketAddr::new(host(last), 0).into()).ok()?;
    socket.connect_timeout(&address.into(), Duration::from_secs(5)).ok()?;
    socket.set_write_timeout(Some(Duration::from_millis(500))).ok()?;
    Some(socket.into())
}

/// Repeats `attack` in `threads` threads until the flood is over, with a pause of `pause_ms`: the flood is of the node, not of the processors
/// that it shares with the node.
fn flood(
    over: &Arc<AtomicBool>,
    threads: usize,
    pause_ms: u64,
    attack: impl Fn() + Clone + Send + 'static,
) -> Vec<JoinHandle<()>> {
    let one = |_| {
        let (over, attack) = (over.clone(), attack.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                attack();
                std::thread::sleep(Duration::from_millis(pause_ms));
            }
        })
    };
    (0..threads).map(one).collect()
}

/// Opens connections that send `bytes` again and again, read nothing and last until the node ends them.
fn never_reads(last: u8, address: SocketAddr, first: &[u8], again: &[u8]) {
    let Some(mut stream) = try_connect(last, address) else { return };
    let mut sent = stream.write_all(first);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) && sent.is_ok() {
        sent = match stream.write_all(again) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            other => other,
        };
    }
}

/// Half a dataset, then some bytes now and then.
fn trickles(address: SocketAddr, number: usize) {
    let Some(mut stream) = try_connect(3, address) else { return };
    let uid = format!("1.2.3.530.{number}");
    let half = dataset(&uid, 4_000_000)[..1_500_000].to_vec();
    let mut bytes = [encoded(request()), p_data(1, 3, &store_command(1, &uid))].concat();
    half.chunks(16_000).for_each(|fragment| bytes.extend(p_data(1, 0, fragment)));
    let began = Instant::now();
    let mut sent = stream.write_all(&bytes);
    while sent.is_ok() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(500));
        sent = stream.write_all(&p_data(1, 0, &[0; 600]));
    }
}

/// Sends `bytes` and closes.
fn hit_and_run(last: u8, address: SocketAddr, bytes: &[u8]) {
    if let Some(mut stream) = try_connect(last, address) {
        let _ = stream.write_all(bytes);
    }
}

/// The visits of a good client until `time` is over: how long each took.
fn visits(node: &Node, study: usize, time: Duration) -> Vec<Duration> {
    let (mut took, began) = (Vec::new(), Instant::now());
    while began.elapsed() < time {
        let visit = Instant::now();
        let uid = format!("1.2.3.531.{study}.{}", took.len());
        let (mut wire, _) = Wire::connect_from(host(9), node.address()).accepted(as_user("ct1", Some("sesame"), false));
        assert_eq!(wire.store(1, &uid, &dataset(&uid, 20_000)).status, 0);
        wire.release();
        took.push(visit.elapsed());
    }
    took.sort();
    took
}

/// `TIDEGATE_FLOODS=full`: a minute. How fast the good client is served is the machine's affair, and printed.
#[test]
fn all_floods_at_one_time_take_neither_memory_nor_log_nor_the_good_client() {
    raise_limit();
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    write_private(&users, &hashed("ct1", "sesame"));
    let node = Node::start_with_surface(&[
        ("TIDEGATE__MEMORY__BUDGET", "64 MiB"),
        ("TIDEGATE__USER_IDENTITY__FILE", users.to_str().unwrap()),
    ]);
    let is_full = std::env::var("TIDEGATE_FLOODS").is_ok_and(|value| value == "full");
    let time = Duration::from_secs(if is_full { 60 } else { 8 });
    visits(&node, 1, Duration::from_millis(500));
    let alone = visits(&node, 2, time / 4);

    let (address, admin) = (node.address(), node.admin_address());
    let over = Arc::new(AtomicBool::new(false));
    let pipelined = b"GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
    let echo = p_data(3, 3, &echo_command()).repeat(200);
    let wrong = encoded(as_user("ct1", Some("wrong-passcode"), false));
    let aborted = [encoded(request()), vec![7, 0, 0, 0, 0, 4, 0, 0, 0, 0]].concat();
    let asking = encoded(request());
    let number = Arc::new(AtomicUsize::new(0));
    let threads = [
        flood(&over, 32, 50, move || never_reads(2, admin, b"", &pipelined)),
        flood(&over, 32, 50, move || trickles(address, number.fetch_add(1, Ordering::Relaxed))),
        flood(&over, 2, 5, move || hit_and_run(4, address, &wrong)),
        flood(&over, 2, 5, move || hit_and_run(5, address, &aborted)),
        flood(&over, 32, 50, move || never_reads(6, address, &asking, &echo)),
        flood(&over, 1, 2, move || hit_and_run(7, address, b"\x09\x08\x07\x06\x05\x04\x03\x02\x01\x00")),
    ];
    let log_before = node.log_text().len();
    let watched = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut highest = 0;
            while !over.load(Ordering::Relaxed) {
                highest = highest.max(resident(&node));
                std::thread::sleep(Duration::from_millis(100));
            }
            highest
        });
        let amid = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| visits(&node, 3, time)));
        over.store(true, Ordering::Relaxed);
        (watch.join().unwrap(), amid)
    });
    let logged = node.log_text().len() - log_before;
    threads.into_iter().flatten().for_each(|thread| thread.join().unwrap());
    let (highest, amid) = watched;
    let amid = amid.unwrap_or_else(|_| panic!("the good client was turned away; resident {} MiB", highest / MIB));
    println!(
        "p50, p99, longest: alone {:?} of {}, amid {:?} of {}; resident {} MiB at most; {logged} bytes of log",
        figures(&alone),
        alone.len(),
        figures(&amid),
        amid.len(),
        highest / MIB,
    );
    assert!(highest <= BUDGET + BESIDE_BUDGET, "{} MiB resident", highest / MIB);
    assert!(logged <= MIB as usize, "{logged} bytes of log in {time:?}");
    serve_a_good_client(&node, 1);
}
