//! The behaviour of each bad peer on one visit.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::association::{Association, AssociationError};
use crate::dataset::{Dataset, InstanceUids};
use crate::generate::{Encoding, ct_image};
use crate::message::{Framed, Message};
use crate::pdu::{AssociateRequest, PresentationContext};
use crate::plan::Plan;
use crate::scenario::{BadPeer, BadPeerKind};
use crate::uid::{UidKind, uid};
use crate::wire::Wire;

/// Between two bytes of a slow loris.
const LORIS_PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for what comes of a request that is no DICOM.
const HTTP_PATIENCE: Duration = Duration::from_secs(5);
const CONTEXT: u8 = 1;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: pacs\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n";
/// A-ABORT by the service user (PS3.8 §9.3.8).
const ABORT: &[u8] = &[0x07, 0, 0, 0, 0, 4, 0, 0, 0, 0];

/// One bad peer.
pub(super) struct Visit<'a> {
    plan: &'a Plan,
    kind: BadPeerKind,
    number: u32,
    dataset: Dataset,
    stop: &'a AtomicBool,
}

impl<'a> Visit<'a> {
    pub(super) fn new(plan: &'a Plan, bad_peer: &BadPeer, number: u32, stop: &'a AtomicBool) -> Self {
        let dataset = ct_image(bad_peer.size.as_u64(), Encoding::Explicit, plan.seed);
        Self { plan, kind: bad_peer.kind, number, dataset, stop }
    }

    /// Visits once and says what came of it.
    pub(super) fn once(&self, round: u64) -> Vec<String> {
        let outcome = match self.kind {
            BadPeerKind::PortCheck => self.plan.wire().map(|_| "connected".to_owned()).map_err(AssociationError::from),
            BadPeerKind::Http => self.http(),
            BadPeerKind::ReconnectStorm => {
                self.associate().and_then(Association::release).map(|()| "released".to_owned())
            }
            BadPeerKind::SlowLoris => self.byte_by_byte(round),
            BadPeerKind::HalfOpen => self.half(round).and_then(|mut wire| self.hold(&mut wire)),
            BadPeerKind::MidDatasetAbort => self.half(round).and_then(|mut wire| {
                write_all(&mut wire, ABORT, self.plan.timeout())?;
                Ok("aborted".to_owned())
            }),
            BadPeerKind::HugeInstance => return self.stores(round, 1),
            BadPeerKind::Duplicates => return self.stores(round, 2),
        };
        vec![outcome.unwrap_or_else(|error| name_of(&error))]
    }

    fn associate(&self) -> Result<Association, AssociationError> {
        let settings = &self.plan.scenario.associations;
        let request = AssociateRequest {
            called_ae: &settings.called_ae,
            calling_ae: &settings.calling_ae,
            contexts: &[PresentationContext {
                id: CONTEXT,
                abstract_syntax: self.dataset.sop_class.clone(),
                transfer_syntax: self.dataset.transfer_syntax.clone(),
            }],
            max_pdu_length_bytes: settings.max_pdu_bytes,
            window: 1,
        };
        Association::request(self.plan.wire()?, &request, self.plan.timeout())
    }

    fn message(&self, association: &Association, round: u64) -> Message {
        let of = |kind| uid(self.plan.run, self.number as usize, kind, round);
        let uids = InstanceUids {
            sop_instance: of(UidKind::Instance),
            study: of(UidKind::Study),
            series: of(UidKind::Series),
        };
        let mut message = Message::new(Arc::new(Framed::dicom(&self.dataset, CONTEXT, association.fragment_bytes())));
        message.patch(1, &uids);
        message
    }

    /// Stores one instance so often over one association.
    fn stores(&self, round: u64, times: u32) -> Vec<String> {
        let mut outcomes = Vec::new();
        let stored = self.associate().and_then(|mut association| {
            let message = self.message(&association, round);
            for _ in 0..times {
                let status = association.store(&message, 1)?.status;
                outcomes.push(if status == 0 { "acknowledged".to_owned() } else { format!("refused_{status:04X}") });
            }
            association.release()
        });
        outcomes.extend(stored.err().map(|error| name_of(&error)));
        outcomes
    }

    /// Sends half of a message, and gives the connection back.
    fn half(&self, round: u64) -> Result<Wire, AssociationError> {
        let association = self.associate()?;
        let message = self.message(&association, round);
        let mut wire = association.into_wire();
        let until = message.len() / 2;
        let deadline = Instant::now() + self.plan.timeout();
        let mut position = 0;
        while position < until {
            let mut left = usize::try_from(until - position).unwrap_or(usize::MAX);
            let whole = message.slices(position);
            let part = whole.each_ref().map(|slice| {
                let part = slice.get(..left).unwrap_or(slice);
                left -= part.len();
                IoSlice::new(part)
            });
            match wire.write(&part) {
                Ok(written) => position += written as u64,
                Err(error) if is_wait(&error) => {
                    if !wire.wait(true, deadline)?.writable {
                        return Err(AssociationError::TimedOut(self.plan.timeout()));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(wire)
    }

    /// Sends a message byte by byte, until it is cut off or the run is over.
    fn byte_by_byte(&self, round: u64) -> Result<String, AssociationError> {
        let association = self.associate()?;
        let message = self.message(&association, round);
        let mut wire = association.into_wire();
        for position in 0..message.len() {
            let byte = message.slices(position).iter().find_map(|slice| slice.first().copied());
            write_all(&mut wire, byte.as_slice(), self.plan.timeout())?;
            if self.is_cut_off(&mut wire, LORIS_PAUSE)? {
                return Ok("cut_off".to_owned());
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok("outlasted".to_owned())
    }

    /// Says nothing more, until it is cut off or the run is over.
    fn hold(&self, wire: &mut Wire) -> Result<String, AssociationError> {
        while !self.stop.load(Ordering::Relaxed) {
            if self.is_cut_off(wire, Duration::from_millis(200))? {
                return Ok("cut_off".to_owned());
            }
        }
        Ok("outlasted".to_owned())
    }

    /// Whether the receiver says or ends anything within `patience`: it owes a bad peer nothing but an abort.
    fn is_cut_off(&self, wire: &mut Wire, patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        if !wire.wait(false, until)?.readable {
            return Ok(false);
        }
        Ok(!matches!(wire.read(&mut [0; 64]), Err(error) if is_wait(&error)))
    }

    fn http(&self) -> Result<String, AssociationError> {
        let mut wire = self.plan.wire()?;
        write_all(&mut wire, GET, self.plan.timeout())?;
        let until = Instant::now() + HTTP_PATIENCE;
        let mut answered = false;
        loop {
            match wire.read(&mut [0; 1024]) {
                Ok(0) => return Ok(if answered { "answered" } else { "closed" }.to_owned()),
                Ok(_) => answered = true,
                Err(error) if is_wait(&error) => {
                    if Instant::now() >= until || self.stop.load(Ordering::Relaxed) {
                        return Ok("ignored".to_owned());
                    }
                    wire.wait(false, until.min(Instant::now() + Duration::from_millis(200)))?;
                }
                Err(_) => return Ok("closed".to_owned()),
            }
        }
    }
}

fn write_all(wire: &mut Wire, mut bytes: &[u8], patience: Duration) -> Result<(), AssociationError> {
    let until = Instant::now() + patience;
    while !bytes.is_empty() || wire.holds_back() {
        match wire.write(&[IoSlice::new(bytes)]) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if is_wait(&error) => {
                let ready = wire.wait(true, until)?;
                if ready.readable {
                    // Records of the handshake, or an abort; the next write tells.
                    let _ = wire.read(&mut [0; 64]);
                }
                if Instant::now() >= until {
                    return Err(AssociationError::TimedOut(patience));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The outcome that an error is.
fn name_of(error: &AssociationError) -> String {
    match error {
        AssociationError::Rejected { .. } | AssociationError::ContextsRefused(_) => "rejected",
        AssociationError::Aborted { .. } | AssociationError::Closed => "cut_off",
        AssociationError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => "refused_connection",
        AssociationError::Io(error)
            if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) =>
        {
            "cut_off"
        }
        AssociationError::TimedOut(_) => "timed_out",
        _ => "failed",
    }
    .to_owned()
}
