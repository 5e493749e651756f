//! Peers that cannot be reached: a connection asks each, again and again, whether it is back. That costs the peer nothing, so it is done more often than
//! a report is tried, and a modality that was away for an hour has its reports within 15 s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::routes::address_of;
use super::shared::Shared;
use crate::delivery::backoff::Backoff;
use crate::network::calling::CallAddress;
use crate::node::settings::{CommitmentSettings, PeerSettings};

/// Between two probes of a peer.
const BETWEEN: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_millis(6500), factor: 2 };
/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// Probes at one time.
const MOST: usize = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Probing {
    /// By AE title.
    peers: BTreeMap<String, Probe>,
}

struct Probe {
    address: CallAddress,
    failures: u32,
    at: Instant,
    is_under_way: bool,
}

impl Probing {
    /// A call has not reached the peer.
    pub(super) fn begin(&mut self, peer: &PeerSettings) {
        let address = address_of(peer);
        let probe = self.peers.entry(peer.ae_title.clone()).or_insert_with(|| Probe {
            address: address.clone(),
            failures: 0,
            at: Instant::now(),
            is_under_way: false,
        });
        probe.address = address;
        probe.fail();
    }

    /// Nothing waits for the peer that a connection could tell: a call has reached it.
    pub(super) fn end(&mut self, ae_title: &str) {
        self.peers.remove(ae_title);
    }

    /// A probe has ended. Whether the peer is back.
    pub(super) fn ended(&mut self, ae_title: &str, is_back: bool) -> bool {
        let Some(probe) = self.peers.get_mut(ae_title) else { return false };
        probe.is_under_way = false;
        probe.fail();
        if is_back {
            // The next call says whether it is; until then there is nothing to ask.
            probe.at = Instant::now() + CONNECT_TIMEOUT * 10;
        }
        is_back
    }

    /// When the next probe is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let (under_way, others): (Vec<_>, Vec<_>) = self.peers.values().partition(|probe| probe.is_under_way);
        others.iter().filter(|_| under_way.len() < MOST).map(|probe| probe.at).min()
    }

    /// Starts the probes that are due, of the peers that the settings have.
    pub(super) fn start(&mut self, shared: &Arc<Shared>, settings: &CommitmentSettings) {
        let now = Instant::now();
        self.peers.retain(|ae_title, _| settings.peer(ae_title).is_some());
        let mut under_way = self.peers.values().filter(|probe| probe.is_under_way).count();
        for (ae_title, probe) in &mut self.peers {
            if probe.is_under_way || probe.at > now || under_way >= MOST {
                continue;
            }
            (probe.is_under_way, under_way) = (true, under_way + 1);
            let (shared, ae_title, address) = (shared.clone(), ae_title.clone(), probe.address.clone());
            // A connection without a byte: a listener takes it for one that has thought better of it.
            tokio::spawn(async move {
                let connected =
                    timeout(CONNECT_TIMEOUT, TcpStream::connect((address.host.as_str(), address.port))).await;
                shared.probed(ae_title, matches!(connected, Ok(Ok(_))));
            });
        }
    }
}

impl Probe {
    fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.at = Instant::now() + BETWEEN.after(self.failures);
    }
}
