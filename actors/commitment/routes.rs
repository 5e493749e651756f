//! The way of a report: the association that asked, while it is open; else a call of the peer's address; and where the configuration names none, any
//! association of that peer. A report goes only to the peer that asked.

use std::time::{Duration, Instant, SystemTime};

use tidegate_commitment::Request;

use super::shared::Waiting;
use super::state::Call;
use crate::network::calling::CallAddress;
use crate::node::settings::{CommitmentSettings, PeerSettings};

/// Calls at one time.
const MAX_CALLS: usize = 16;
/// Of them, calls after a failed attempt: peers that do not answer leave room for those that do.
const MAX_RETRIES: usize = 8;
/// An association is idle a second after its last message. One that has not been for so long since its report was ready gets none if its peer has an
/// address.
const LINE_PATIENCE: Duration = Duration::from_millis(1250);

/// What can be done about a report at the moment.
pub(super) enum Route {
    /// It can be sent.
    Now(Way),
    /// Something else comes first; perhaps nothing but time.
    Later(Option<Duration>),
    /// There is no way, until the peer comes.
    Nowhere,
}

/// A way.
pub(super) enum Way {
    /// The association with this number.
    Line(u64),
    /// A call.
    Call(PeerSettings),
}

/// The way of a report.
pub(super) fn route(request: &Request, waiting: &mut Waiting, settings: &CommitmentSettings) -> Route {
    let id = request.id;
    if waiting.sending.contains_key(&id) || waiting.unanswered.contains(&id) {
        return Route::Later(None);
    }
    let asked = &request.asked;
    let peer = settings.peer(&asked.peer.calling);
    let own = u64::from(asked.association);
    if let Some(line) = waiting.lines.get_mut(&own).filter(|line| line.peer == asked.peer) {
        if line.is_ready {
            return Route::Now(Way::Line(own));
        }
        line.wanted.set();
        if peer.is_none() {
            return Route::Later(None);
        }
        let left = LINE_PATIENCE.saturating_sub(waiting.patient.entry(id).or_insert_with(Instant::now).elapsed());
        if !left.is_zero() {
            return Route::Later(Some(left));
        }
    }
    match peer {
        Some(peer) => by_call(request, waiting, peer),
        None => by_any_line(request, waiting),
    }
}

fn by_call(request: &Request, waiting: &Waiting, peer: &PeerSettings) -> Route {
    let (calls, retries) = waiting.calls();
    let address = address_of(peer).to_string();
    // One that has ended counts until its outcome is noted: if it has failed, this request waits with it.
    let mut calls_under_way = waiting.sending.values();
    let is_called = calls_under_way.any(|sending| sending.call.as_ref().is_some_and(|call| call.address == address));
    let is_full = calls >= MAX_CALLS || (request.attempts > 0 && retries >= MAX_RETRIES);
    if is_called || is_full { Route::Later(None) } else { Route::Now(Way::Call(peer.clone())) }
}

fn by_any_line(request: &Request, waiting: &mut Waiting) -> Route {
    let mut has_line = false;
    for (association, line) in &mut waiting.lines {
        if line.peer == request.asked.peer {
            if line.is_ready {
                return Route::Now(Way::Line(*association));
            }
            line.wanted.set();
            has_line = true;
        }
    }
    if has_line { Route::Later(None) } else { Route::Nowhere }
}

/// The address of a peer.
pub(super) fn address_of(peer: &PeerSettings) -> CallAddress {
    CallAddress { host: peer.host.clone(), port: peer.port }
}

/// A call, for operators.
pub(super) fn call_of(request: &Request, peer: &PeerSettings) -> Call {
    let (ae_title, address, request) = (peer.ae_title.clone(), address_of(peer).to_string(), request.id);
    Call { ae_title, address, request, began: SystemTime::now() }
}
