//! Faults on demand, for tests: a port that makes a child panic, hang, or lose its thread. Without the feature `test-faults`, this compiles to
//! nothing.
//!
//! A child calls [`point`] with its name where it works. A request is a line, `<child> <fault>`, answered by `armed`. The next child of that
//! name, or of that name and a number (`writer` for `writer-3`), gets the fault once.
//!
//! | fault | effect |
//! |---|---|
//! | `panic` | a panic |
//! | `hang MS` | the thread sleeps for MS milliseconds |
//! | `hang` | the thread sleeps until the line `wake` arrives, however late the hang is detected |
//! | `die` | the thread's event loop ends |
//! | `fail` | returned to the caller: every storage call fails |
//! | `hold BYTES` | returned to the caller: it leases BYTES and keeps them |

/// A fault that the caller carries out itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "test-faults"), expect(dead_code, reason = "made by the port alone"))]
pub(crate) enum Injected {
    /// Fail.
    Fail,
    /// Lease this many bytes, and keep them.
    Hold(u64),
}

#[cfg(not(feature = "test-faults"))]
#[inline(always)]
pub(crate) fn point(_child: &str) -> Option<Injected> {
    None
}

/// Passes the fault port, for a child without a loop of its own.
pub(crate) async fn fault_points(name: &str) {
    if !cfg!(feature = "test-faults") {
        return std::future::pending().await;
    }
    loop {
        point(name);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[cfg(feature = "test-faults")]
pub use port::open;
#[cfg(feature = "test-faults")]
pub(crate) use port::point;

#[cfg(feature = "test-faults")]
mod port {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use parking_lot::{Condvar, Mutex};

    use super::Injected;

    #[derive(Clone, Copy, Debug)]
    enum Fault {
        Panic,
        /// The time; `None`: until `wake`.
        Hang(Option<Duration>),
        Die,
        Injected(Injected),
    }

    /// Few at most.
    static ARMED: Mutex<Vec<(String, Fault)>> = Mutex::new(Vec::new());
    /// Number of `wake` lines.
    static WAKES: Mutex<u64> = Mutex::new(0);
    static WOKEN: Condvar = Condvar::new();

    fn sleep_until_woken() {
        let mut wakes = WAKES.lock();
        let before = *wakes;
        WOKEN.wait_while(&mut wakes, |wakes| *wakes == before);
    }

    /// Injects the fault that is armed for `child`.
    #[allow(clippy::panic, reason = "that is what it is for")]
    pub(crate) fn point(child: &str) -> Option<Injected> {
        let matches_child =
            |name: &str| child.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let fault = {
            let mut armed = ARMED.lock();
            let index = armed.iter().position(|(name, _)| matches_child(name))?;
            armed.remove(index).1
        };
        match fault {
            Fault::Panic => panic!("fault port: {child} is to panic"),
            Fault::Hang(Some(time)) => std::thread::sleep(time),
            Fault::Hang(None) => sleep_until_woken(),
            Fault::Die => {
                actix_rt::Arbiter::current().stop();
            }
            Fault::Injected(injected) => return Some(injected),
        }
        None
    }

    fn parse(line: &str) -> Option<(String, Fault)> {
        let mut fields = line.split_whitespace();
        let (child, fault) = (fields.next()?, fields.next()?);
        let mut number = || fields.next()?.parse().ok();
        let fault = match fault {
            "panic" => Fault::Panic,
            "hang" => Fault::Hang(number().map(Duration::from_millis)),
            "die" => Fault::Die,
            "fail" => Fault::Injected(Injected::Fail),
            "hold" => Fault::Injected(Injected::Hold(number()?)),
            _ => return None,
        };
        Some((child.to_owned(), fault))
    }

    /// Opens the fault port on a free port of the loopback address, which is logged.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn open() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        tracing::warn!(address = %listener.local_addr()?, "fault port open: this build is for tests");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(&stream);
            }
        });
        Ok(())
    }

    fn serve(mut stream: &TcpStream) -> std::io::Result<()> {
        for line in BufReader::new(stream).lines() {
            let answer = match line?.as_str() {
                "forget" => {
                    ARMED.lock().clear();
                    "armed\n"
                }
                "wake" => {
                    *WAKES.lock() += 1;
                    WOKEN.notify_all();
                    "armed\n"
                }
                line => match parse(line) {
                    Some(armed) => {
                        ARMED.lock().push(armed);
                        "armed\n"
                    }
                    None => "unknown fault\n",
                },
            };
            stream.write_all(answer.as_bytes())?;
        }
        Ok(())
    }
}
