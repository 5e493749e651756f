//! The start-up lines: the node's addresses and storage, its resources, and a command to try it.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tidegate_actors::NodeSettings;
use tidegate_storage::Recovery;

use crate::config::{ClientAuth, OwnCertificate, size_text};

/// The address of the admin surface.
#[derive(Clone, Copy)]
pub(super) struct AdminUrl {
    pub(super) scheme: &'static str,
    pub(super) address: SocketAddr,
}

/// The parts of the settings that the lines show, kept because the node takes the settings when it starts.
pub(super) struct StartUp {
    ae_title: String,
    storage: tidegate_storage::Settings,
    memory_budget_bytes: u64,
    spool_threshold_bytes: u64,
    certificate: Option<OwnCertificate>,
}

impl StartUp {
    pub(super) fn of(settings: &NodeSettings, certificate: Option<OwnCertificate>) -> Self {
        Self {
            ae_title: settings.live.associations.policy.ae_title.clone(),
            storage: settings.storage.clone(),
            memory_budget_bytes: settings.live.memory_budget_bytes,
            spool_threshold_bytes: settings.live.associations.spool_threshold_bytes,
            certificate,
        }
    }

    /// Logs the contents of the lines, for readers that have the log alone.
    pub(super) fn log(
        &self,
        listen: Option<SocketAddr>,
        tls: Option<SocketAddr>,
        recovery: &Recovery,
        admin: Option<AdminUrl>,
    ) {
        let Self { ae_title, storage, .. } = self;
        let text = |address: SocketAddr| address.to_string();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            ae_title,
            listen = listen.map(text),
            tls_listen = tls.map(text),
            admin = admin.map(|AdminUrl { scheme, address }| format!("{scheme}://{address}/")),
            storage = %absolute(&storage.root).display(),
            durability = %storage.durability,
            duplicates = %storage.duplicates,
            layout = storage.layout.template(),
            memory_budget_bytes = self.memory_budget_bytes,
            removed_files = recovery.removed_files,
            restored_files = recovery.restored_files,
            "node started"
        );
    }

    /// The lines of a node that has started and knows its addresses.
    pub(super) fn lines(
        &self,
        listen: Option<SocketAddr>,
        tls: Option<SocketAddr>,
        recovery: &Recovery,
        admin: Option<AdminUrl>,
        audit: Option<&str>,
    ) -> String {
        let Self { ae_title, storage, .. } = self;
        let mut lines = format!(
            "tidegate {version}: AE title {ae_title}{listening}\n\
             storage: {root} (durability {durability}, duplicates {duplicates}, layout {layout}); \
             removed {removed} unfinished files, restored {restored} from the commit log\n\
             memory budget: {budget} (spool threshold {spool})\n",
            version = env!("CARGO_PKG_VERSION"),
            listening = listen.map(|listen| format!(", listening on {listen}")).unwrap_or_default(),
            root = absolute(&storage.root).display(),
            durability = storage.durability,
            duplicates = storage.duplicates,
            layout = storage.layout.template(),
            removed = recovery.removed_files,
            restored = recovery.restored_files,
            budget = size_text(self.memory_budget_bytes),
            spool = size_text(self.spool_threshold_bytes),
        );
        if let Some(AdminUrl { scheme, address }) = admin {
            let _ = writeln!(lines, "admin: {scheme}://{}/", reachable(address));
        }
        if let Some(audit) = audit {
            let _ = writeln!(lines, "audit: {audit}");
        }
        if let (Some(tls), Some(certificate)) = (tls, &self.certificate) {
            let clients = match certificate.client_auth {
                ClientAuth::None => "client certificates not requested",
                ClientAuth::Optional => "client certificates verified if presented",
                ClientAuth::Required => "client certificates required",
            };
            let OwnCertificate { subject, not_after, .. } = certificate;
            let _ = writeln!(lines, "tls: {tls}, certificate {subject:?} valid until {not_after}, {clients}");
        }
        let called = shell_word(ae_title);
        // With `--anonymous-tls +cf` a peer checks the certificate without showing one.
        let (peer, options) = match (listen, tls) {
            (Some(listen), _) => (reachable(listen), ""),
            (None, tls) => {
                let is_asked = self.certificate.as_ref().is_some_and(|own| own.client_auth == ClientAuth::Required);
                // PEER.KEY and PEER.PEM stand for those of a sender.
                let options = if is_asked {
                    " +tls PEER.KEY PEER.PEM --ignore-peer-cert"
                } else {
                    " --anonymous-tls --ignore-peer-cert"
                };
                (reachable(tls.unwrap_or((Ipv4Addr::LOCALHOST, 0).into())), options)
            }
        };
        let (host, port) = (peer.ip(), peer.port());
        let _ = write!(
            lines,
            "try: echoscu -v{options} -aec {called} {host} {port}\n\
             \x20    storescu -v{options} -aec {called} {host} {port} image.dcm\n"
        );
        if listen.or(tls).is_some_and(|bound| bound.ip().is_unspecified()) {
            let _ = writeln!(lines, "     from another machine: the name of this one in place of {host}");
        }
        lines
    }
}

/// The canonical path, if it can be resolved.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// An address that a client on this machine can connect to: the unspecified address becomes the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The text as one word of a shell command line.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_tried_by_loopback() {
        for (bound, tried) in
            [("0.0.0.0:11112", "127.0.0.1:11112"), ("[::]:1", "[::1]:1"), ("192.0.2.7:104", "192.0.2.7:104")]
        {
            assert_eq!(reachable(bound.parse().unwrap()), tried.parse().unwrap());
        }
    }

    #[test]
    fn ae_titles_survive_a_shell() {
        assert_eq!(shell_word("STORE-1_A.B"), "STORE-1_A.B");
        assert_eq!(shell_word("MY AE"), "'MY AE'");
        assert_eq!(shell_word("IT'S $1"), r"'IT'\''S $1'");
    }
}
