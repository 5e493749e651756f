//! A destination that does what a test says.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Instant;

use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceUserReason, AssociationRJSource,
    AssociationRQ, Pdu, PresentationContextResult, PresentationContextResultReason, UserVariableItem, write_pdu,
};
use parking_lot::Mutex;

pub(crate) use super::behaviour::{Behaviour, Commit, Reply};
use super::reports::commit;
use crate::node::eventually;
use crate::wire::{Wire, command, p_data};

/// An instance as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) uid: String,
    pub(crate) syntax: String,
    pub(crate) dataset: Vec<u8>,
    /// The number of the association, from 0.
    pub(crate) association: usize,
    pub(crate) at: Instant,
    /// The longest PDU of the dataset, in bytes of its variable field.
    pub(crate) longest_pdu: usize,
}

/// A request for commitment as it came: its transaction and its instances.
pub(crate) type Asked = (String, Vec<String>);

/// What has come.
#[derive(Default)]
pub(super) struct Seen {
    received: Mutex<Vec<Received>>,
    requests: Mutex<Vec<AssociationRQ>>,
    pub(super) asked: Mutex<Vec<Asked>>,
    /// Statuses with which reports were answered.
    pub(super) reported: Mutex<Vec<u16>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
    released: AtomicUsize,
    aborted: AtomicUsize,
    most_outstanding: AtomicUsize,
}

/// A destination.
pub(crate) struct Scp {
    address: SocketAddr,
    seen: Arc<Seen>,
    behaviour: Arc<Mutex<Arc<Behaviour>>>,
}

impl Scp {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), behaviour)
    }

    pub(crate) fn on(listener: TcpListener, behaviour: Behaviour) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let behaviour = Arc::new(Mutex::new(Arc::new(behaviour)));
        let (of_thread, shared) = (behaviour.clone(), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, behaviour) = (shared.clone(), of_thread.lock().clone());
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &behaviour));
            }
        });
        Self { address, seen, behaviour }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves otherwise from the next association on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = Arc::new(behaviour);
    }

    /// The table of the configuration, with further keys.
    pub(crate) fn destination(&self, name: &str, more: &str) -> String {
        format!(
            "[[destination]]\nname = \"{name}\"\nkind = \"dicom\"\naddress = \"{}\"\ncalled = \"ARCHIVE\"\n{more}\n",
            self.address
        )
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.seen.received.lock().clone()
    }

    /// How often each instance came.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for received in self.seen.received.lock().iter() {
            *counts.entry(received.uid.clone()).or_default() += 1;
        }
        counts
    }

    /// The requests for commitment.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().clone()
    }

    /// The statuses with which reports were answered.
    pub(crate) fn reported(&self) -> Vec<u16> {
        self.seen.reported.lock().clone()
    }

    pub(crate) fn requests(&self) -> Vec<AssociationRQ> {
        self.seen.requests.lock().clone()
    }

    pub(crate) fn most_open(&self) -> usize {
        self.seen.most_open.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    pub(crate) fn released(&self) -> usize {
        self.seen.released.load(Ordering::SeqCst)
    }

    pub(crate) fn aborted(&self) -> usize {
        self.seen.aborted.load(Ordering::SeqCst)
    }

    pub(crate) fn most_outstanding(&self) -> usize {
        self.seen.most_outstanding.load(Ordering::SeqCst)
    }

    /// Waits until so many different instances have come.
    pub(crate) fn wait_for(&self, instances: usize) {
        assert!(eventually(|| self.counts().len() >= instances), "{} of {instances} came", self.counts().len());
    }
}

/// Counts an open association while it lives.
struct OpenOne<'a>(&'a Seen);

impl<'a> OpenOne<'a> {
    fn new(seen: &'a Seen) -> Self {
        let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_open.fetch_max(open, Ordering::SeqCst);
        Self(seen)
    }
}

impl Drop for OpenOne<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(stream: TcpStream, seen: &Arc<Seen>, behaviour: &Behaviour) {
    stream.set_nodelay(true).unwrap();
    let mut wire = Wire(stream);
    let Some(Pdu::AssociationRQ(request)) = wire.pdu() else { return };
    let association = {
        let mut requests = seen.requests.lock();
        requests.push(request.clone());
        requests.len() - 1
    };
    if behaviour.rejects || seen.open.load(Ordering::SeqCst) >= behaviour.most_associations {
        let (result, reason) = match behaviour.rejects {
            true => (
                AssociationRJResult::Permanent,
                AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::CalledAETitleNotRecognized),
            ),
            false => (
                AssociationRJResult::Transient,
                AssociationRJSource::ServiceProviderPresentation(
                    dicom_ul::pdu::AssociationRJServiceProviderPresentationReason::LocalLimitExceeded,
                ),
            ),
        };
        send(&mut wire, &Pdu::AssociationRJ(AssociationRJ { result, source: reason }));
        return;
    }
    let _open = OpenOne::new(seen);
    let contexts = accept(&mut wire, request, behaviour);
    while let Some(end) = message(&mut wire, seen, behaviour, association, &contexts) {
        match end {
            Reply::Status(_) => {}
            Reply::Silence => {
                let _ = wire.0.set_read_timeout(None);
                let _ = wire.0.read(&mut [0; 64]); // an A-ABORT, or the end
                seen.aborted.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Reply::Abort => {
                wire.send(&[7, 0, 0, 0, 0, 4, 0, 0, 2, 0]);
                return;
            }
            _ => return,
        }
    }
}

fn send(wire: &mut Wire, pdu: &Pdu) {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).unwrap();
    let _ = wire.0.write_all(&bytes);
}

/// Accepts; the transfer syntax of each context.
fn accept(wire: &mut Wire, request: AssociationRQ, behaviour: &Behaviour) -> BTreeMap<u8, String> {
    let mut contexts = BTreeMap::new();
    let answers = request.presentation_contexts.iter().map(|context| match (behaviour.accept)(context) {
        Some(transfer_syntax) => {
            contexts.insert(context.id, transfer_syntax.clone());
            let reason = PresentationContextResultReason::Acceptance;
            PresentationContextResult { id: context.id, reason, transfer_syntax }
        }
        None => {
            let reason = PresentationContextResultReason::TransferSyntaxesNotSupported;
            PresentationContextResult { id: context.id, reason, transfer_syntax: "1.2.840.10008.1.2".to_owned() }
        }
    });
    let presentation_contexts = answers.collect();
    let mut user_variables = vec![UserVariableItem::MaxLength(behaviour.max_pdu_length)];
    if behaviour.window > 1 {
        let window = [behaviour.window.to_be_bytes(), 1_u16.to_be_bytes()].concat();
        user_variables.push(UserVariableItem::Unknown(0x53, window));
    }
    let answer = AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title,
        called_ae_title: request.called_ae_title,
        application_context_name: request.application_context_name,
        presentation_contexts,
        user_variables,
    };
    send(wire, &Pdu::AssociationAC(answer));
    contexts
}

/// The value of an element of a command set.
pub(super) fn value(mut command: &[u8], number: u16) -> Vec<u8> {
    while command.len() >= 8 {
        let length = u32::from_le_bytes(command[4..8].try_into().unwrap()) as usize;
        if u16::from_le_bytes([command[2], command[3]]) == number {
            return command[8..8 + length].to_vec();
        }
        command = &command[8 + length..];
    }
    Vec::new()
}

pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

/// Receives a message, and answers it. `None`: the association is over.
fn message(
    wire: &mut Wire,
    seen: &Arc<Seen>,
    behaviour: &Behaviour,
    association: usize,
    contexts: &BTreeMap<u8, String>,
) -> Option<Reply> {
    let (mut command_set, mut dataset, mut longest_pdu, mut context) = (Vec::new(), Vec::new(), 0, 0);
    let mut reply = None;
    loop {
        match wire.pdu()? {
            Pdu::PData { data } => {
                let mut is_over = false;
                for value in data {
                    context = value.presentation_context_id;
                    match value.value_type {
                        dicom_ul::pdu::PDataValueType::Command => command_set.extend(value.data),
                        dicom_ul::pdu::PDataValueType::Data => {
                            longest_pdu = longest_pdu.max(value.data.len() + 6);
                            dataset.extend(value.data);
                            is_over = value.is_last;
                        }
                    }
                }
                if value(&command_set, 0x0100) == 0x8100_u16.to_le_bytes() {
                    let status = value(&command_set, 0x0900);
                    seen.reported.lock().push(u16::from_le_bytes(status.try_into().unwrap()));
                    return Some(Reply::Status(0));
                }
                if value(&command_set, 0x0100) == 0x0030_u16.to_le_bytes() {
                    return echo(wire, behaviour, context, &command_set);
                }
                let uid = text(&value(&command_set, 0x1000));
                if !uid.is_empty() && reply.is_none() {
                    reply = Some((behaviour.answer)(&uid, seen.received.lock().len()));
                }
                if reply == Some(Reply::CloseInTheMiddle) && !dataset.is_empty() {
                    return reply;
                }
                if is_over {
                    break;
                }
            }
            Pdu::ReleaseRQ => {
                seen.released.fetch_add(1, Ordering::SeqCst);
                send(wire, &Pdu::ReleaseRP);
                return None;
            }
            _ => {
                seen.aborted.fetch_add(1, Ordering::SeqCst);
                return None;
            }
        }
    }
    if value(&command_set, 0x0100) == 0x0130_u16.to_le_bytes() {
        return commit(wire, seen, behaviour, context, (&command_set, &dataset));
    }
    let uid = text(&value(&command_set, 0x1000));
    let reply = reply?;
    seen.most_outstanding.fetch_max(outstanding(wire), Ordering::SeqCst);
    seen.received.lock().push(Received {
        uid: uid.clone(),
        syntax: contexts[&context].clone(),
        dataset,
        association,
        at: Instant::now(),
        longest_pdu,
    });
    respond(wire, context, reply, (&command_set, &uid))
}

/// Answers an instance as the reply says.
fn respond(wire: &mut Wire, context: u8, reply: Reply, (command_set, uid): (&[u8], &str)) -> Option<Reply> {
    let status = match reply {
        Reply::Status(status) => status,
        Reply::Late(after, status) => {
            sleep(after);
            status
        }
        other => return Some(other),
    };
    let response = response(command_set, uid, status);
    wire.0.write_all(&p_data(context, 3, &response)).ok()?;
    Some(Reply::Status(status))
}

/// The command set of the response to that command.
fn response(command_set: &[u8], uid: &str, status: u16) -> Vec<u8> {
    command(&[
        (0x0002, &value(command_set, 0x0002)),
        (0x0100, &0x8001_u16.to_le_bytes()),
        (0x0120, &value(command_set, 0x0110)),
        (0x0800, &[1, 1]),
        (0x0900, &status.to_le_bytes()),
        (0x0902, b"as the test says "),
        (0x1000, uid.as_bytes()),
    ])
}

/// Answers a C-ECHO, or does not.
fn echo(wire: &mut Wire, behaviour: &Behaviour, context: u8, command_set: &[u8]) -> Option<Reply> {
    let response = command(&[
        (0x0002, &value(command_set, 0x0002)),
        (0x0100, &0x8030_u16.to_le_bytes()),
        (0x0120, &value(command_set, 0x0110)),
        (0x0800, &[1, 1]),
        (0x0900, &[0, 0]),
    ]);
    if behaviour.echoes {
        wire.0.write_all(&p_data(context, 3, &response)).ok()?;
    }
    Some(Reply::Status(0))
}

/// 2 if another message has begun to come before this one is answered.
fn outstanding(wire: &Wire) -> usize {
    wire.0.set_nonblocking(true).unwrap();
    let has_more = wire.0.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
    wire.0.set_nonblocking(false).unwrap();
    1 + usize::from(has_more)
}
