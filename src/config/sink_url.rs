//! The URL of a `[[sink]]`, and how it is called over TLS.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::calling::{address, client};
use super::keys::SinkEntry;

/// How the sink is called over TLS, if it is; `None`: that was refused.
#[expect(clippy::option_option, reason = "what was refused is not what is not wanted")]
pub(super) fn tls(
    is_tls: bool,
    entry: &SinkEntry,
    refuse: &mut impl FnMut(&str, &str),
) -> Option<Option<Arc<ClientConfig>>> {
    if !is_tls {
        return Some(None);
    }
    roots(&entry.ca).map_err(|complaint| refuse("ca", &complaint)).ok().map(Some)
}

pub(super) struct Url {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, from the slash on.
    pub(super) target: String,
}

/// A URL with the plain or the secure scheme, each with its usual port, and without user.
pub(super) fn url(text: &str, [plain, secure]: [(&str, u16); 2]) -> Option<Url> {
    let (scheme, rest) = text.trim().split_once("://")?;
    let (_, usual) = [plain, secure].into_iter().find(|(name, _)| *name == scheme)?;
    let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let is_plain =
        path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\'));
    let has_port = authority.rsplit_once(':').is_some_and(|(before, _)| !before.contains(':') || before.ends_with(']'));
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:{usual}") };
    let (host, port) = address(&with_port)?;
    let target = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let is_tls = scheme == secure.0;
    (is_plain && !authority.contains('@')).then(|| Url { is_tls, host: host.to_owned(), port, target })
}

/// How sinks over TLS are called: their certificates must be of an authority in that file.
fn roots(path: &str) -> Result<Arc<ClientConfig>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| format!("{path:?} cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(format!("{path:?} holds no certificate of an authority in PEM"));
    }
    let client = client(roots).map_err(|error| error.to_string())?;
    Ok(Arc::new(client.with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_path() {
        let read = |text: &str| {
            url(text, [("http", 80), ("https", 443)]).map(|url| (url.is_tls, url.host, url.port, url.target))
        };
        let of = |tls, host: &str, port, target: &str| Some((tls, host.to_owned(), port, target.to_owned()));
        assert_eq!(read("https://ris.example/hook?a=1"), of(true, "ris.example", 443, "/hook?a=1"));
        assert_eq!(read("http://127.0.0.1:8080"), of(false, "127.0.0.1", 8080, "/"));
        assert_eq!(read("http://ris.example?x"), of(false, "ris.example", 80, "/?x"));
        assert_eq!(read("https://[2001:db8::5]:8443/x"), of(true, "2001:db8::5", 8443, "/x"));
        assert_eq!(read("https://[2001:db8::5]/x"), of(true, "2001:db8::5", 443, "/x"));
        for text in [
            "ftp://x/",
            "ris.example/x",
            "http://user:pw@ris.example/",
            "http://x/a b",
            "http://x/#f",
            "http://:80/",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
