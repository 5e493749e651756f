//! `[admin]`: where the HTTP surface listens, and what it asks of clients. Beyond the loopback it must ask for something.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use super::checks::Checks;
use super::raw;
use crate::admin::{AdminSettings, TlsFiles};

/// A token that can be guessed is none.
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 16..=256;

/// The surface's settings; `Some(None)`: off.
pub(super) fn admin(raw: &raw::Admin, checks: &mut Checks<'_>) -> Option<Option<AdminSettings>> {
    let token = token(raw, checks);
    let tls = tls(raw, checks);
    let listen: SocketAddr = match raw.listen.trim() {
        "off" => return Some(None),
        address => checks.parsed(
            "admin.listen",
            address.parse(),
            "must be \"off\" or an IP address and a port, such as 127.0.0.1:9112",
        )?,
    };
    let is_sound = checks.sound(&["admin.token", "admin.token_file", "admin.tls_certificate"]);
    if is_sound && !is_loopback(listen.ip()) && token.is_none() && tls.is_none() {
        checks.refuse(
            "admin.listen",
            "others than this machine could read and steer the node: set admin.token_file (a bearer token), or \
             admin.tls_certificate, admin.tls_key and admin.tls_client_ca (clients with a certificate), or listen on 127.0.0.1",
        );
    }
    Some(Some(AdminSettings { listen, token, tls }))
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

fn token(raw: &raw::Admin, checks: &mut Checks<'_>) -> Option<String> {
    let (key, token) = match (raw.token.trim(), raw.token_file.trim()) {
        ("", "") => return None,
        (token, "") => ("admin.token", token.to_owned()),
        ("", path) => match fs::read_to_string(path) {
            Ok(text) => ("admin.token_file", text.trim().to_owned()),
            Err(error) => {
                checks.refuse("admin.token_file", &format!("cannot be read: {error}"));
                return None;
            }
        },
        (_, _) => {
            checks.refuse("admin.token_file", "cannot be set together with admin.token: leave one of them empty");
            return None;
        }
    };
    if !TOKEN_CHARS.contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let (least, most) = TOKEN_CHARS.into_inner();
        let complaint = format!(
            "must be {least} to {most} characters of printable ASCII without spaces; `openssl rand -hex 24` makes one"
        );
        checks.refuse(key, &complaint);
    }
    Some(token)
}

/// All three files or none.
fn tls(raw: &raw::Admin, checks: &mut Checks<'_>) -> Option<TlsFiles> {
    let paths = [&raw.tls_certificate, &raw.tls_key, &raw.tls_client_ca].map(|path| path.trim());
    if paths.iter().all(|path| path.is_empty()) {
        return None;
    }
    if paths.iter().any(|path| path.is_empty()) {
        checks.refuse(
            "admin.tls_certificate",
            "admin.tls_certificate, admin.tls_key and admin.tls_client_ca belong together: set all three or none",
        );
        return None;
    }
    let files = TlsFiles { certificate: paths[0].into(), key: paths[1].into(), client_ca: paths[2].into() };
    if let Err(error) = files.load() {
        checks.refuse("admin.tls_certificate", &error.to_string());
    }
    Some(files)
}
