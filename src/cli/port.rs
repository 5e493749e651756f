//! Why a port cannot be listened on, and what to do: the process that holds it, or the permission that is missing.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// The remedy for `error` of binding `address`, which `key` sets. Empty: there is none that is known.
pub(super) fn remedy(address: SocketAddr, key: &str, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = match holder(port) {
                Some((pid, name)) => format!("process {pid} ({name}) listens there"),
                None => format!("another process listens there (as root, `ss -ltnp 'sport = :{port}'` names it)"),
            };
            format!("; {holder}: stop it, or set {key} to another port")
        }
        io::ErrorKind::PermissionDenied => format!(
            "; ports below {least} need a permission: AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or `setcap \
             cap_net_bind_service=+ep` on the program, or `sysctl net.ipv4.ip_unprivileged_port_start={port}`; or set {key} to a port from {least} on",
            least = least_free_port(),
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("; no interface of this machine has that address: set {key} to one of them, or to 0.0.0.0:{port}")
        }
        _ => String::new(),
    }
}

/// The first port that needs no permission.
fn least_free_port() -> u16 {
    let set = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    set.trim().parse().unwrap_or(1024)
}

/// The process that listens on `port`, and its name, if this user may see it.
fn holder(port: u16) -> Option<(u32, String)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let sockets: Vec<String> =
        tables.iter().flat_map(|table| inodes(table, port)).map(|inode| format!("socket:[{inode}]")).collect();
    let holds = |process: &Path| {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        open.filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target)))
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let numbered = processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let (pid, process) = numbered.into_iter().find(|(_, process)| !sockets.is_empty() && holds(process))?;
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some((pid, name.trim().escape_default().to_string()))
}

/// The inodes of the sockets that listen on `port`, in a table of the kernel (proc(5), `/proc/net/tcp`).
fn inodes(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).filter_map(move |line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTENING;
        fields.get(9).copied().filter(|_| is_it)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = std::net::TcpListener::bind(address).unwrap_err();
        let remedy = remedy(address, "node.listen", &error);
        assert!(remedy.contains(&format!("process {} (", std::process::id())), "{remedy}");
        drop(listener);
        assert_eq!(holder(address.port()), None);
    }

    #[test]
    fn a_port_that_needs_a_permission_is_told_apart() {
        let address = "127.0.0.1:104".parse().unwrap();
        let remedy = remedy(address, "node.listen", &io::ErrorKind::PermissionDenied.into());
        assert!(remedy.contains("CAP_NET_BIND_SERVICE") && remedy.contains("port_start=104"), "{remedy}");
    }
}
