//! Bounds on the clients of the surface: their memory, their time, their places.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::*;
use crate::node::PATIENCE;

/// A client's way to a node: plain TCP, or TLS.
#[derive(Clone)]
struct Way {
    address: std::net::SocketAddr,
    tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Way {
    fn to(node: &Node, tls: Option<std::sync::Arc<rustls::ClientConfig>>) -> Self {
        Self { address: node.admin_address(), tls }
    }

    fn connect(&self, write_timeout: Option<Duration>) -> std::io::Result<Box<dyn Stream>> {
        let Some(tls) = &self.tls else {
            let stream = TcpStream::connect(self.address)?;
            stream.set_write_timeout(write_timeout)?;
            return Ok(Box::new(stream));
        };
        let stream = Authority::connect(tls, self.address);
        stream.sock.set_write_timeout(write_timeout)?;
        Ok(Box::new(stream))
    }

    /// The text of the answer; incomplete if the node ends the connection.
    fn get(&self, path: &str, token: &str) -> String {
        let mut bytes = Vec::new();
        let ask = |bytes: &mut Vec<u8>| -> std::io::Result<()> {
            let mut stream = self.connect(None)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n")?;
            stream.read_to_end(bytes).map(|_| ())
        };
        let _ = ask(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One connection after the other that asks without end and reads nothing.
    fn flood(&self, path: &str, until: Instant) {
        let requests = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(2000);
        while Instant::now() < until {
            let Ok(mut stream) = self.connect(Some(Duration::from_secs(1))) else { continue };
            while Instant::now() < until && stream.write_all(requests.as_bytes()).is_ok() {}
        }
    }
}

/// `VmRSS` of the node, in bytes.
fn resident_bytes(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Floods a node by more strangers than there are places. Meanwhile it stays small, and answers a probe and an operator.
fn withstands_floods(node: &Node, way: &Way, token: &str) {
    let before = resident_bytes(node);
    for path in ["/app.js", "/api/events", "/api/openapi.json"] {
        let until = Instant::now() + Duration::from_secs(3);
        let floods: Vec<_> = (0..70).map(|_| (way.clone(), path)).collect();
        let floods: Vec<_> =
            floods.into_iter().map(|(way, path)| std::thread::spawn(move || way.flood(path, until))).collect();
        let (mut peak, mut probes, mut operators) = (0, 0, 0);
        while Instant::now() < until || (probes == 0 || operators == 0) && until.elapsed() < PATIENCE {
            peak = peak.max(resident_bytes(node));
            probes += usize::from(way.get("/live", "").contains(r#"{"status":"live"}"#));
            operators += usize::from(way.get("/api/memory", token).starts_with("HTTP/1.1 200"));
        }
        floods.into_iter().for_each(|flood| flood.join().unwrap());
        assert!(probes > 0 && operators > 0, "{path}: {probes} probes and {operators} operators are answered");
        assert!(peak < before + (24 << 20), "{path}: {before} to {peak} bytes");
    }
}

#[test]
fn requests_without_end_that_nobody_reads_cost_no_memory_and_no_probe() {
    let mut node = Node::start(&[SURFACE, ("TIDEGATE__MEMORY__BUDGET", "64 MiB")]);
    withstands_floods(&node, &Way::to(&node, None), &bearer(&node));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn the_same_over_tls() {
    let authority = Authority::new();
    authority.sign("admin", "localhost", 1);
    let [certificate, key] = ["admin.pem", "admin.key"].map(|name| authority.path(name).to_str().unwrap().to_owned());
    let mut node = Node::start(&[
        SURFACE,
        ("TIDEGATE__MEMORY__BUDGET", "64 MiB"),
        ("TIDEGATE__ADMIN__TLS_CERTIFICATE", &certificate),
        ("TIDEGATE__ADMIN__TLS_KEY", &key),
    ]);
    withstands_floods(&node, &Way::to(&node, Some(authority.client(None, &TLS13))), &bearer(&node));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_request_that_does_not_arrive_is_ended_and_silent_connections_keep_nobody_out() {
    let mut node = Node::start(&[SURFACE]);
    let address = node.admin_address();
    let mut silent: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(get(address, "/live").status, 200, "more connections than places");
    let head = "GET /live HTTP/1.1\r\nHost: localhost\r\nX: ".to_owned();
    let body = format!(
        "PUT /api/loglevel HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 900\r\n\r\n",
        bearer(&node)
    );
    let slow: Vec<_> = [head, body]
        .into_iter()
        .map(|begin| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            stream.write_all(begin.as_bytes()).unwrap();
            // A byte now and then does not extend the time.
            std::thread::spawn(move || {
                eventually(|| match stream.read(&mut [0; 1024]) {
                    Ok(0) => true,
                    Ok(_) => false,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => stream.write_all(b" ").is_err(),
                    Err(_) => true,
                })
            })
        })
        .collect();
    for (name, slow) in ["head", "body"].into_iter().zip(slow) {
        assert!(slow.join().unwrap(), "a slow {name} is served for ever");
    }
    for stream in &mut silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let outcome = stream.read(&mut [0; 64]);
        assert!(!matches!(&outcome, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{outcome:?}");
    }
    assert_eq!(node.stop(), Some(0));
}

/// Sockets of the node's surface that have bytes to send, with those that no process has open any more.
fn send_queues(address: std::net::SocketAddr) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&port) && !row[4].starts_with("00000000:")).count()
}

#[test]
fn answers_that_nobody_reads_leave_no_more_send_queues_in_the_kernel_than_places() {
    use socket2::{Domain, Socket, Type};
    let mut node = Node::start(&[SURFACE]);
    let unread: Vec<_> = (0..300)
        .map(|_| {
            let mut socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(2048).unwrap();
            socket.connect(&node.admin_address().into()).unwrap();
            let _ = socket.write_all(b"GET /api/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
            socket
        })
        .collect();
    assert_eq!(get(node.admin_address(), "/live").status, 200, "all of them were accepted before");
    let held = send_queues(node.admin_address());
    assert!((1..=64).contains(&held), "{held} send queues");
    assert!(eventually(|| send_queues(node.admin_address()) == 0), "nobody waits for ever");
    drop(unread);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn one_connection_is_one_request() {
    let mut node = Node::start(&[SURFACE]);
    let mut stream = TcpStream::connect(node.admin_address()).unwrap();
    stream.write_all("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(5).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    let shown = format!("Host: localhost\r\nAuthorization: {}\r\nContent-Type: application/json", bearer(&node));
    let bodies = [
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n".to_owned(), "411"),
        ("Content-Length: 99999", "x".repeat(2000), "400"),
    ];
    for (header, body, expected) in bodies {
        let mut stream = TcpStream::connect(node.admin_address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "PUT /api/loglevel HTTP/1.1\r\n{shown}\r\n{header}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{header}: {answer}");
    }
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn readers_of_events_that_do_not_read_keep_nobody_from_reading_them() {
    let mut node = Node::start(&[SURFACE]);
    let subscribe = || {
        let mut stream = TcpStream::connect(node.admin_address()).unwrap();
        write!(stream, "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let mut idle: Vec<_> = (0..40).map(|_| subscribe()).collect();
    let mut reader = subscribe();
    reader.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = [0; 12];
    reader.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // The first has been ended for the sake of the others.
    idle[0].set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = idle[0].read_to_end(&mut Vec::new());
    drop((idle, reader));
    assert_eq!(node.stop(), Some(0));
}
