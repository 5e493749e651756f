//! Associations that store until they are cut off.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dicom_ul::association::client::ClientAssociationOptions;
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};

use crate::instance::{CT, InstanceId};
use crate::ledger::{Known, Sent};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
/// An answer that has not come by then never comes.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Running associations.
pub(crate) struct Load {
    senders: Vec<JoinHandle<Sent>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    acknowledged: AtomicU64,
    /// Whether an association may end by now.
    end_is_near: AtomicBool,
}

impl Load {
    /// Starts `associations` senders of the instances of `round`.
    pub(crate) fn start(address: SocketAddr, round: u32, associations: u32) -> Self {
        let shared = Arc::<Shared>::default();
        let sender = |association| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || Sender { round, association, shared, sent: Sent::default() }.run(address))
        };
        Self { senders: (0..associations).map(sender).collect(), shared }
    }

    /// Waits until all senders together have that many answers.
    pub(crate) fn wait_for_acknowledged(&self, count: u64) {
        let deadline = Instant::now() + TIMEOUT;
        while self.shared.acknowledged.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "the node has stopped answering");
            assert!(!self.senders.iter().any(JoinHandle::is_finished), "a sender has ended");
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// From now on an association may break.
    pub(crate) fn expect_the_end(&self) {
        self.shared.end_is_near.store(true, Ordering::Relaxed);
    }

    /// Waits for the senders' end, which is that of the node.
    pub(crate) fn join(self) -> Sent {
        let mut all = Sent::default();
        for sender in self.senders {
            all.0.extend(sender.join().unwrap().0);
        }
        all
    }
}

struct Sender {
    round: u32,
    association: u32,
    shared: Arc<Shared>,
    sent: Sent,
}

impl Sender {
    fn run(mut self, address: SocketAddr) -> Sent {
        if let Err(error) = self.send_until_cut_off(address) {
            let expected = self.shared.end_is_near.load(Ordering::Relaxed);
            assert!(expected, "association {} ended before the kill: {error}", self.association);
        }
        self.sent
    }

    fn send_until_cut_off(&mut self, address: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
        let mut association = ClientAssociationOptions::new()
            .calling_ae_title("CRASH")
            .called_ae_title("TIDEGATE")
            .with_presentation_context(CT, vec![EXPLICIT])
            .read_timeout(TIMEOUT)
            .write_timeout(TIMEOUT)
            .establish(address)?;
        association.inner_stream().set_nodelay(true)?;
        for count in 0.. {
            // Every fourth is another version of the first, which takes the place of the one before.
            let (index, version) = if count % 4 == 3 { (0, count / 4 + 1) } else { (count, 0) };
            let id = InstanceId { round: self.round, association: self.association, index };
            self.sent.0.entry(id).or_default().unanswered = Some(version);
            let message_id = count as u16;
            association.send(&Pdu::PData { data: vec![store_request(message_id, &id.sop_instance())] })?;
            association.send_pdata(1).write_all(&id.dataset(version))?;
            let Pdu::PData { data } = association.receive()? else { return Err("no response".into()) };
            let [response] = &data[..] else { return Err("not one response".into()) };
            assert_eq!(short(&response.data, 0x0120), Some(message_id));
            assert_eq!(short(&response.data, 0x0900), Some(0), "the status of {id:?}");
            self.sent.0.insert(id, Known { acknowledged: Some(version), unanswered: None });
            self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A C-STORE-RQ as the one PDV of its PDU.
fn store_request(message_id: u16, sop_instance: &str) -> PDataValue {
    let mut body = Vec::new();
    let mut element = |number: u16, value: &[u8]| {
        let padded = value.len() + value.len() % 2;
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&number.to_le_bytes());
        body.extend_from_slice(&(padded as u32).to_le_bytes());
        body.extend_from_slice(value);
        body.resize(body.len() + padded - value.len(), 0);
    };
    element(0x0002, CT.as_bytes());
    element(0x0100, &[1, 0]);
    element(0x0110, &message_id.to_le_bytes());
    element(0x0700, &[0, 0]);
    element(0x0800, &[1, 0]);
    element(0x1000, sop_instance.as_bytes());
    let mut data = vec![0, 0, 0, 0, 4, 0, 0, 0];
    data.extend_from_slice(&(body.len() as u32).to_le_bytes());
    data.extend_from_slice(&body);
    PDataValue { presentation_context_id: 1, value_type: PDataValueType::Command, is_last: true, data }
}

/// The 16-bit value of element (0000,`number`) of a command set.
fn short(command: &[u8], number: u16) -> Option<u16> {
    let mut rest = command;
    while let Some((header, after)) = rest.split_at_checked(8) {
        let length = u32::from_le_bytes(header[4..].try_into().ok()?) as usize;
        let (value, after) = after.split_at_checked(length)?;
        if header[2..4] == number.to_le_bytes() {
            return Some(u16::from_le_bytes(value.try_into().ok()?));
        }
        rest = after;
    }
    None
}
