//! `[audit]`: the destination of audit messages.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tidegate_actors::CertificateFacts;

use super::calling::{client, roots};
use super::checks::Checks;
use super::keys::{self, Raw};
use super::pem::{certificates, key};
use super::tls::key_error;
use crate::audit::Target;

const ALLOWED: &str =
    "must be \"off\", \"file:PATH\", or \"udp://HOST:PORT\", \"tcp://HOST:PORT\" or \"tls://HOST:PORT\"";

/// The destination; `Some(None)`: there is none.
pub(super) fn audit(raw: &Raw, checks: &mut Checks<'_>) -> Option<Option<Target>> {
    let sink = raw.audit.sink.trim();
    if !sink.starts_with("tls:") {
        let keys::Audit { ca, certificate, key, .. } = &raw.audit;
        let is_set = [("audit.ca", ca), ("audit.certificate", certificate), ("audit.key", key)];
        let is_set = is_set.map(|(key, path)| (key, !path.trim().is_empty()));
        checks.without_effect(&is_set, "audit.sink is no tls:// address");
    }
    if sink == "off" {
        return Some(None);
    }
    let target = match sink.split_once(':') {
        Some(("file", path)) if !path.is_empty() && !path.contains('\0') => Some(Target::File(path.into())),
        Some(("udp", rest)) => address(rest).map(|(_, address)| Target::Udp(address)),
        Some(("tcp", rest)) => address(rest).map(|(_, address)| Target::Tcp(address)),
        Some(("tls", rest)) => match address(rest) {
            Some((host, address)) => Some(tls(&raw.audit, host, address, checks)?),
            None => None,
        },
        _ => None,
    };
    if target.is_none() {
        checks.refuse("audit.sink", ALLOWED);
    }
    Some(Some(target?))
}

/// `//HOST:PORT`, as host and as a whole.
fn address(rest: &str) -> Option<(&str, String)> {
    let address = rest.strip_prefix("//")?;
    let (host, port) = address.rsplit_once(':')?;
    let is_right = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
    is_right.then(|| (host.trim_matches(['[', ']']), address.to_owned()))
}

fn tls(raw: &keys::Audit, host: &str, address: String, checks: &mut Checks<'_>) -> Option<Target> {
    let roots = roots(("audit.ca", &raw.ca), checks)?;
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        checks.refuse("audit.sink", ALLOWED);
        return None;
    };
    let client = client(roots).map_err(|error| checks.refuse("audit.sink", &error.to_string())).ok()?;
    let client = match (raw.certificate.trim(), raw.key.trim()) {
        ("", "") => client.with_no_client_auth(),
        (certificate, path) => {
            let certificates = certificates(("audit.certificate", certificate), checks);
            let key = key(("audit.key", path), checks);
            let certificates = certificates?;
            let subject = certificates.first().and_then(|leaf| CertificateFacts::of(leaf)).map(|facts| facts.subject);
            client
                .with_client_auth_cert(certificates, key?)
                .map_err(|error| {
                    checks.refuse("audit.key", &key_error(&error, "audit.certificate", &subject.unwrap_or_default()));
                })
                .ok()?
        }
    };
    Some(Target::Tls { address, name, client: Arc::new(client) })
}
