//! What clients of the surface can make the node hold.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::*;

/// One connection after the other that asks without end and reads nothing.
fn flood(address: std::net::SocketAddr, path: &str, until: std::time::Instant) {
    let requests = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(2000);
    while std::time::Instant::now() < until {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        while std::time::Instant::now() < until && stream.write_all(requests.as_bytes()).is_ok() {}
    }
}

#[test]
fn requests_without_end_that_nobody_reads_cost_no_memory_and_no_probe() {
    let mut node = Node::start(&[SURFACE, ("TIDEGATE__MEMORY__BUDGET", "64 MiB")]);
    let address = node.admin_address();
    let shown = bearer(&node);
    let status = || ask(address, "GET", "/api/status", &[("Authorization", &shown)], "");
    let before = status().json()["resident_bytes"].as_u64().unwrap();
    for path in ["/app.js", "/api/events", "/api/openapi.json"] {
        let until = std::time::Instant::now() + Duration::from_secs(3);
        let floods: Vec<_> = (0..70).map(|_| std::thread::spawn(move || flood(address, path, until))).collect();
        let mut peak = 0;
        let mut answered = 0;
        while std::time::Instant::now() < until {
            // An operator is not cut off for a stranger.
            let answer = status();
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            peak = peak.max(answer.json()["resident_bytes"].as_u64().unwrap());
            answered += usize::from(get(address, "/live").status == 200);
        }
        floods.into_iter().for_each(|flood| flood.join().unwrap());
        assert!(answered > 0, "{path}");
        assert!(peak < before + (24 << 20), "{path}: {before} to {peak} bytes");
    }
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
    let chunked = ask(node.admin_address(), "POST", "/api/drain", &[("Transfer-Encoding", "chunked")], "");
    assert!(chunked.status >= 400, "{chunked:?}");
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
