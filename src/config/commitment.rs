//! `[commitment]` and `[[peer]]`: storage commitment, and the peers that this node calls.

use tidegate_actors::{CommitmentSettings, PeerSettings, Verify};

use super::calling::{A_TITLE, AN_ADDRESS, address, is_title, tls};
use super::checks::Checks;
use super::delivery::{names, unknown};
use super::keys::{self, Raw};

/// Most peers. Each report looks for its peer among them.
const MAX_PEERS: usize = 1000;

pub(super) fn commitment(raw: &Raw, checks: &mut Checks<'_>) -> Option<CommitmentSettings> {
    let keys::Commitment { enabled, verify, retry_for, commit_when } = &raw.commitment;
    let verify = checks.chosen("commitment.verify", verify, &[("size", Verify::Size), ("digest", Verify::Digest)]);
    if let Some(complaint) = unknown(commit_when, raw) {
        checks.refuse("commitment.commit_when", &complaint);
    }
    let peers = peers(raw, checks);
    if *enabled && raw.catalogue.path.trim() == "off" {
        let unused = if peers.is_empty() { "" } else { ", and no [[peer]] is called" };
        let complaint = format!(
            "leaves no storage commitment: nothing knows what is stored{unused}; set commitment.enabled = false if that is meant"
        );
        checks.warn("catalogue.path", &complaint);
    }
    let tls = if peers.iter().any(|peer| peer.is_tls) { Some(tls(&raw.tls, checks)?) } else { None };
    let commit_when = names(commit_when);
    Some(CommitmentSettings { is_enabled: *enabled, verify: verify?, commit_when, retry_for: retry_for.0, peers, tls })
}

/// The peers; every mistake in them is refused.
fn peers(raw: &Raw, checks: &mut Checks<'_>) -> Vec<PeerSettings> {
    let mut peers: Vec<PeerSettings> = Vec::new();
    if raw.peer.len() > MAX_PEERS {
        checks.refuse("peer", &format!("has more than {MAX_PEERS} peers"));
    }
    for (number, entry) in (1..).zip(raw.peer.iter().take(MAX_PEERS)) {
        let ae_title = entry.ae_title.trim_matches(' ').to_owned();
        if !is_title(&ae_title) {
            checks.refuse_peer(number, "ae_title", A_TITLE);
        }
        if let Some(earlier) = peers.iter().position(|earlier| earlier.ae_title == ae_title) {
            let complaint = format!("is the AE title of peer {} before it: a title has one address", earlier + 1);
            checks.refuse_peer(number, "ae_title", &complaint);
        }
        let (host, port) = match address(&entry.address) {
            Some((host, port)) => (host.to_owned(), port),
            None => {
                checks.refuse_peer(number, "address", AN_ADDRESS);
                (String::new(), 0)
            }
        };
        if entry.tls && raw.tls.client_ca.trim().is_empty() {
            let complaint = "requires tls.client_ca: the authorities that must have issued the certificate of the peer";
            checks.refuse_peer(number, "tls", complaint);
        }
        peers.push(PeerSettings { ae_title, host, port, is_tls: entry.tls });
    }
    peers
}
