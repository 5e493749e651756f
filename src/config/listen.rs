//! The addresses that the node listens on.

use std::net::SocketAddr;

use super::checks::Checks;
use super::keys::Raw;
use crate::admin::AdminSettings;

pub(super) fn listen(key: &str, address: &str, checks: &mut Checks<'_>) -> Option<Option<SocketAddr>> {
    match address.trim() {
        "off" => Some(None),
        address => checks
            .parsed(
                key,
                address.parse(),
                "must be \"off\" or an IP address and a port, such as 0.0.0.0:11112 or [::]:11112 (port 0 picks a free one)",
            )
            .map(Some),
    }
}

pub(super) fn listen_for_tls(raw: &Raw, checks: &mut Checks<'_>) -> Option<Option<SocketAddr>> {
    let address = listen("tls.listen", &raw.tls.listen, checks)?;
    if address.is_none() && raw.node.listen.trim() == "off" {
        checks.refuse(
            "node.listen",
            "cannot be \"off\" while tls.listen is \"off\": the node would accept no association; set one of them",
        );
    }
    Some(address)
}

/// The addresses for associations, as far as they are valid, with their keys.
pub(super) fn addresses(raw: &Raw) -> Vec<(&'static str, SocketAddr)> {
    let surfaces = [("node.listen", &raw.node.listen), ("tls.listen", &raw.tls.listen)];
    surfaces.into_iter().filter_map(|(key, address)| Some((key, address.trim().parse().ok()?))).collect()
}

/// Refuses a port that two of the surfaces have: the second could not be opened, and the system would blame another process.
pub(super) fn one_address_each(
    node: Option<SocketAddr>,
    tls: Option<SocketAddr>,
    admin: Option<&AdminSettings>,
    checks: &mut Checks<'_>,
) {
    let surfaces = [("node.listen", node), ("tls.listen", tls), ("admin.listen", admin.map(|admin| admin.listen))];
    let surfaces: Vec<_> = surfaces.into_iter().filter_map(|(key, address)| Some((key, address?))).collect();
    for (at, (key, address)) in surfaces.iter().enumerate() {
        let is_same = |other: &&(&str, SocketAddr)| {
            let has_all = other.1.ip().is_unspecified() || address.ip().is_unspecified();
            address.port() != 0 && other.1.port() == address.port() && (has_all || other.1.ip() == address.ip())
        };
        if let Some((other, _)) = surfaces[..at].iter().find(is_same) {
            checks.refuse(key, &format!("{address} is the port of {other}: give it another"));
        }
    }
}
