//! `[admin]`: the address of the HTTP surface, and the authentication of its clients. Invariant: outside the loopback address, clients must
//! authenticate, and not in clear text.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::checks::Checks;
use super::keys;
use super::secret::secret;
use super::tls::{self, ClientAuth, Files, Tls};
use crate::admin::{AdminSettings, Door, OperatorName};

/// Length of a token: a shorter one could be guessed.
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 16..=256;

/// The surface's settings; `Some(None)`: off.
pub(super) fn admin(raw: &keys::Admin, storage_root: &Path, checks: &mut Checks<'_>) -> Option<Option<AdminSettings>> {
    let operators = operators(raw, checks);
    let token = token(raw, checks);
    let tls = tls(raw, checks);
    let listen: SocketAddr = match raw.listen.trim() {
        "off" => {
            let is_set = [
                ("admin.token_file", !raw.token_file.trim().is_empty()),
                ("admin.tls_certificate", !raw.tls_certificate.trim().is_empty()),
                ("admin.tls_client_ca", !raw.tls_client_ca.trim().is_empty()),
            ];
            checks.without_effect(&is_set, "admin.listen = \"off\", and the admin socket needs none of it");
            return Some(None);
        }
        address => checks.parsed(
            "admin.listen",
            address.parse(),
            "must be \"off\" or an IP address and a port, such as 127.0.0.1:9112",
        )?,
    };
    let keys =
        ["admin.token_file", "admin.tls_certificate", "admin.tls_key", "admin.tls_client_ca", "admin.tls_client_crls"];
    if checks.sound(&keys) && !is_loopback(listen.ip()) {
        let asks_for_certificates = tls.as_ref().is_some_and(|tls| tls.own.client_auth == ClientAuth::Required);
        if token.is_none() && !asks_for_certificates {
            checks.refuse(
                "admin.listen",
                "other machines could read and control the node: set admin.tls_certificate and admin.tls_key, and \
                 admin.token_file (a bearer token) or admin.tls_client_ca (clients with a certificate) or both; or listen on 127.0.0.1",
            );
        } else if tls.is_none() {
            checks.refuse(
                "admin.listen",
                "the bearer token would travel in clear text: set admin.tls_certificate and admin.tls_key, or listen on \
                 127.0.0.1",
            );
        }
    }
    let door = Door { token, tls, operators };
    Some(Some(AdminSettings { listen, door, storage_root: storage_root.to_owned() }))
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

fn operators(raw: &keys::Admin, checks: &mut Checks<'_>) -> Vec<OperatorName> {
    let key = "admin.tls_client_operators";
    let named = raw.tls_client_operators.iter().filter_map(|text| {
        let name = operator(text).map_err(|why| checks.refuse(key, &format!("{text:?} {why}")));
        name.ok()
    });
    let named = named.collect::<Vec<_>>();
    let (has_operators, has_lists) = (!raw.tls_client_operators.is_empty(), !raw.tls_client_crls.is_empty());
    if raw.tls_client_ca.trim().is_empty() && (has_operators || has_lists) {
        let set = if has_operators { key } else { "admin.tls_client_crls" };
        checks.refuse(set, "is about client certificates, and none are asked for: set admin.tls_client_ca");
    }
    if has_operators && !raw.token_file.trim().is_empty() {
        checks.refuse(
            key,
            "has no effect with admin.token_file, because only the token then counts, whatever the certificate: delete one of the two",
        );
    }
    named
}

/// Reads the name of an operator.
fn operator(text: &str) -> Result<OperatorName, &'static str> {
    let name = OperatorName::new(text).ok_or("must be CN=name or DNS:name, a whole name of a client certificate")?;
    let (value, is_dns) = match &name {
        OperatorName::Common(name) => (name, false),
        OperatorName::Dns(name) => (name, true),
    };
    if value.contains(['*', '?']) {
        return Err(
            "can never match: patterns have no effect here; write the whole name of each operator's certificate, as in CN=alice",
        );
    }
    if value.chars().any(char::is_control) || value.contains(['\\', '"']) || value.contains(", ") && value.contains('=')
    {
        return Err(
            "can never match: one name is compared as it is, without escapes, quotes and further attributes, as in CN=alice",
        );
    }
    if is_dns && !value.split('.').all(|label| !label.is_empty() && label.bytes().all(is_of_label)) {
        return Err("can never match: a DNS name has ASCII labels with dots between them, xn--… for others");
    }
    Ok(name)
}

fn is_of_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn token(raw: &keys::Admin, checks: &mut Checks<'_>) -> Option<String> {
    let token = match raw.token_file.trim() {
        "" => return None,
        path => match secret(path).and_then(|()| fs::read_to_string(path).map_err(unreadable)) {
            Ok(text) => text.trim().to_owned(),
            Err(complaint) => {
                checks.refuse("admin.token_file", &complaint);
                return None;
            }
        },
    };
    if !TOKEN_CHARS.contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let (least, most) = TOKEN_CHARS.into_inner();
        let complaint = format!(
            "must hold {least} to {most} characters of printable ASCII without spaces; `openssl rand -hex 24` generates one"
        );
        checks.refuse("admin.token_file", &complaint);
    }
    Some(token)
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

/// With a client authority, each client must present a certificate of it.
fn tls(raw: &keys::Admin, checks: &mut Checks<'_>) -> Option<Tls> {
    let [certificate, key, client_ca] =
        [&raw.tls_certificate, &raw.tls_key, &raw.tls_client_ca].map(|path| path.trim());
    if [certificate, key, client_ca].iter().all(|path| path.is_empty()) {
        return None;
    }
    let files = Files {
        certificate: ("admin.tls_certificate", certificate),
        key: ("admin.tls_key", key),
        client_auth: if client_ca.is_empty() { ClientAuth::None } else { ClientAuth::Required },
        client_ca: ("admin.tls_client_ca", client_ca),
        client_crls: ("admin.tls_client_crls", &raw.tls_client_crls),
    };
    tls::load(&files, checks)
}
