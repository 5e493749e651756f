//! A small DICOM receiver for tests, which does with each message what it is told and keeps what it acknowledged.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::dimse;
use crate::pdu;

/// The action on a message, by its number among all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Acknowledge,
    Refuse(u16),
    Abort,
    Close,
    /// Acknowledge it only when so many wait for their answer.
    Gather(usize),
}

/// The dataset of each acknowledged SOP Instance UID.
type Stored = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A running receiver.
pub(crate) struct Receiver {
    pub(crate) address: String,
    pub(crate) stored: Stored,
    pub(crate) connections: Arc<AtomicU64>,
}

impl Receiver {
    /// Listens for as long as the process lives.
    pub(crate) fn start(act: impl Fn(u64) -> Act + Send + Sync + 'static) -> Self {
        Self::start_over(act, Ok)
    }

    /// The same over whatever `wrap` makes of a connection.
    pub(crate) fn start_over<S: Read + Write + 'static>(
        act: impl Fn(u64) -> Act + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> io::Result<S> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stored, connections) = (Stored::default(), Arc::<AtomicU64>::default());
        let receiver = Self { address, stored: Arc::clone(&stored), connections: Arc::clone(&connections) };
        let shared = Arc::new((act, wrap, AtomicU64::new(0)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::Relaxed);
                let (shared, stored) = (Arc::clone(&shared), Arc::clone(&stored));
                thread::spawn(move || {
                    let (act, wrap, messages) = &*shared;
                    // How a peer ends is for the test to see on its own side.
                    let _ = stream.and_then(wrap).and_then(|stream| serve(stream, act, messages, &stored));
                });
            }
        });
        receiver
    }
}

fn serve(
    mut stream: impl Read + Write,
    act: &impl Fn(u64) -> Act,
    messages: &AtomicU64,
    stored: &Stored,
) -> io::Result<()> {
    let (mut body, mut command, mut dataset) = (Vec::new(), Vec::new(), Vec::new());
    let mut gathered = Vec::new();
    loop {
        match pdu::read_pdu(&mut stream, &mut body, 1 << 24)? {
            0x01 => stream.write_all(&pdu::accept(&body, 4096))?,
            0x04 => {
                let mut answers = Vec::new();
                for (control, fragment) in pdu::pdvs(&body) {
                    let is_data = control & 0b01 == 0;
                    if is_data { &mut dataset } else { &mut command }.extend_from_slice(fragment);
                    if !is_data || control & 0b10 == 0 {
                        continue;
                    }
                    let context = body[4];
                    let (command, dataset) = (std::mem::take(&mut command), std::mem::take(&mut dataset));
                    let mut response = dimse::success(&command).unwrap();
                    let act = act(messages.fetch_add(1, Ordering::Relaxed));
                    match act {
                        Act::Acknowledge | Act::Gather(_) => {
                            stored.lock().unwrap().insert(sop_instance(&command), dataset);
                        }
                        Act::Refuse(status) => set_status(&mut response, status),
                        Act::Abort => return stream.write_all(&[7, 0, 0, 0, 0, 4, 0, 0, 2, 0]),
                        Act::Close => return Ok(()),
                    }
                    gathered.push((context, response));
                    if let Act::Gather(count) = act
                        && gathered.len() < count
                    {
                        continue;
                    }
                    answers.append(&mut gathered);
                }
                // All in one PDU, as PS3.8 §9.3.5.1 allows.
                let mut values = Vec::new();
                for (context, response) in answers {
                    values.extend_from_slice(&(response.len() as u32 + 2).to_be_bytes());
                    values.extend_from_slice(&[context, 0b11]);
                    values.extend_from_slice(&response);
                }
                if !values.is_empty() {
                    stream.write_all(&[&[4, 0][..], &(values.len() as u32).to_be_bytes(), &values].concat())?;
                }
            }
            0x05 => return stream.write_all(&pdu::release_reply()),
            _ => return Ok(()),
        }
        stream.flush()?;
    }
}

fn sop_instance(command: &[u8]) -> String {
    String::from_utf8(command[value_of(command, 0x1000)].to_vec()).unwrap()
}

fn set_status(response: &mut [u8], status: u16) {
    let place = value_of(response, 0x0900);
    response[place].copy_from_slice(&status.to_le_bytes());
}

/// Where the value of this element of group 0000 stands.
fn value_of(command: &[u8], element: u16) -> std::ops::Range<usize> {
    let mut at = 0;
    loop {
        let length = u32::from_le_bytes(command[at + 4..at + 8].try_into().unwrap()) as usize;
        if command[at + 2..at + 4] == element.to_le_bytes() {
            return at + 8..at + 8 + length;
        }
        at += 8 + length;
    }
}
