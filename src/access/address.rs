//! Addresses and networks. IPv4 has two forms, `192.0.2.7` and `::ffff:192.0.2.7` (RFC 4291 §2.5.5.2): a peer on a socket for both
//! families comes in the second, and both mean the same host, in a pattern as in a connection.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Length of the prefix that maps IPv4 addresses into IPv6.
const MAPPED_PREFIX: u8 = 96;

/// A text that is no network of hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Something else.
    #[error("{0:?} is not a network such as \"10.0.0.0/8\" or an address such as \"192.0.2.7\"")]
    Invalid(String),
    /// An address within a network, where the network was expected.
    #[error("{0:?} has bits set beyond its prefix: write \"{1}\" for the network, or \"{2}\" for the one host")]
    HostBits(String, IpNet, IpAddr),
    /// A network without hosts.
    #[error("{0:?} can never match: {1}")]
    Never(String, &'static str),
}

/// Reads a network such as `10.0.0.0/8`, or a single address.
///
/// # Errors
/// The text, if it is no network, one that no peer can come from, or an address with the prefix of its network: which of the two was meant is
/// not known.
pub fn parse(text: &str) -> Result<IpNet, NetworkError> {
    let text = text.trim();
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse().ok().or_else(single).ok_or_else(|| NetworkError::Invalid(text.to_owned()))?;
    if network.addr() != network.network() {
        return Err(NetworkError::HostBits(text.to_owned(), network.trunc(), network.addr()));
    }
    let network = canonical(network);
    match without_hosts(&network) {
        Some(why) => Err(NetworkError::Never(text.to_owned(), why)),
        None => Ok(network),
    }
}

/// Whether the address is in the network, each in whichever form it comes.
pub fn contains(network: &IpNet, address: IpAddr) -> bool {
    match (canonical(*network), address.to_canonical()) {
        // `::/0` and the few networks like it have all IPv4 addresses, in their mapped form.
        (IpNet::V6(network), IpAddr::V4(address)) => network.contains(&address.to_ipv6_mapped()),
        (network, address) => network.contains(&address),
    }
}

/// A network of mapped addresses as the IPv4 network that it is.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_PREFIX));
    match v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()) {
        Some(v4) => v4.into(),
        None => network,
    }
}

/// Why no peer comes from the network, if none does.
fn without_hosts(network: &IpNet) -> Option<&'static str> {
    match network {
        IpNet::V4(net) if net.prefix_len() == 32 && net.addr().is_unspecified() => Some("0.0.0.0 is no peer's address"),
        IpNet::V6(net) if net.prefix_len() == 128 && net.addr().is_unspecified() => Some(":: is no peer's address"),
        IpNet::V4(net) if net.addr().is_broadcast() => Some("a broadcast address is no peer's address"),
        IpNet::V4(net) if net.prefix_len() >= 4 && net.addr().is_multicast() => Some("a peer has no multicast address"),
        IpNet::V6(net) if net.prefix_len() >= 8 && net.addr().is_multicast() => Some("a peer has no multicast address"),
        IpNet::V6(net) if is_compatible(net) => {
            Some("::/96 holds no hosts; IPv4 addresses are written 10.0.0.0/8 or ::ffff:10.0.0.0/104")
        }
        IpNet::V4(_) | IpNet::V6(_) => None,
    }
}

/// Whether it is of IPv4-compatible addresses (RFC 4291 §2.5.5.1, deprecated), `::1` apart.
fn is_compatible(network: &Ipv6Net) -> bool {
    network.prefix_len() >= MAPPED_PREFIX
        && network.addr().segments()[..6] == [0; 6]
        && !network.contains(&std::net::Ipv6Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_ipv4_address_mean_the_same_host() {
        for (network, address, is_in) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:a00:0/104", "11.1.2.3", false),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("::ffff:192.0.2.7/128", "192.0.2.8", false),
            ("::ffff:0:0/96", "192.0.2.7", true),
            ("::ffff:0:0/96", "2001:db8::1", false),
            ("::/0", "192.0.2.7", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::fffe:0:0/95", "192.0.2.7", true),
            ("2001:db8::/32", "2001:db8::1", true),
            ("::1", "::1", true),
        ] {
            let parsed = parse(network).unwrap();
            assert_eq!(contains(&parsed, address.parse().unwrap()), is_in, "{network} {address}");
        }
    }

    #[test]
    fn a_network_that_no_peer_can_come_from_is_a_mistake() {
        for text in [
            "0.0.0.0",
            "::",
            "::ffff:0.0.0.0",
            "255.255.255.255",
            "224.0.0.0/4",
            "ff02::/16",
            "::10.0.0.0/104",
            "::192.0.2.7",
        ] {
            assert!(matches!(parse(text), Err(NetworkError::Never(..))), "{text}");
        }
        for (text, network, host) in [
            ("10.1.2.3/8", "\"10.0.0.0/8\"", "\"10.1.2.3\""),
            ("192.0.2.7/31", "\"192.0.2.6/31\"", "\"192.0.2.7\""),
            ("2001:db8::1/64", "\"2001:db8::/64\"", "\"2001:db8::1\""),
            ("::ffff:10.1.2.3/104", "\"::ffff:10.0.0.0/104\"", "\"::ffff:10.1.2.3\""),
            ("10.1.2.3/0", "\"0.0.0.0/0\"", "\"10.1.2.3\""),
        ] {
            let complaint = parse(text).unwrap_err().to_string();
            assert!(complaint.contains(network) && complaint.contains(host), "{complaint}");
        }
        for text in ["10.0.0.0/33", "::ffff:10.0.0.0/129", "ct1.example", "", "10.0.0"] {
            assert!(matches!(parse(text), Err(NetworkError::Invalid(_))), "{text}");
        }
        for text in ["::1", "::/96", "0.0.0.0/0", "::/0", "fe80::/10", "127.0.0.0/8"] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }
}
