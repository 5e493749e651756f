//! Whether a target can be reached, without a message. A broken target must show when the configuration is checked and when the node starts,
//! not when an auditor asks.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use tidegate_actors::patience;
use tokio::net::UdpSocket;

use super::target::Target;
use super::transport::{connect, udp};

/// Tries the target for at most `patience`: resolves its name, and connects over TCP and TLS; a file is opened, or if there is none its directory
/// looked at. Over UDP no receiver answers, so nothing but its name is known.
///
/// # Errors
/// The reason, as text.
pub(crate) async fn reach(target: &Target, patience: Duration) -> Result<(), String> {
    let tried = patience::within(patience, async {
        match target {
            Target::File(path) => file(path),
            Target::Udp(address) => udp(address).await.map(|_: UdpSocket| ()),
            Target::Tcp(_) | Target::Tls { .. } => connect(target).await.map(drop),
        }
    });
    match tried.await {
        Ok(tried) => tried.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(patience))),
    }
}

/// The same outside of a runtime. A name server that does not answer keeps nobody longer.
///
/// # Errors
/// The reason, as text.
pub(crate) fn reach_now(target: &Target, patience: Duration) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let reached = runtime.block_on(reach(target, patience));
    runtime.shutdown_background();
    reached
}

/// Makes no file: the user of this command may be another than that of the node.
fn file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| {
                io::Error::new(io::Error::from(errno).kind(), format!("{}: {errno}", directory.display()))
            })
        }
        opened => opened.map(|_: File| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_target_that_cannot_be_reached_is_told_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let patience = Duration::from_secs(60);
        let file = |name: &str| Target::File(directory.path().join(name));
        reach(&file("audit"), patience).await.unwrap();
        assert!(!directory.path().join("audit").exists(), "nothing is made");
        assert!(reach(&file("missing/audit"), patience).await.unwrap_err().contains("missing: No such file"));
        std::fs::create_dir(directory.path().join("directory")).unwrap();
        reach(&file("directory"), patience).await.unwrap_err();
        reach(&Target::Tcp(address.clone()), patience).await.unwrap();
        reach(&Target::Udp(address.clone()), patience).await.unwrap();
        let late = reach(&Target::Tcp("192.0.2.1:601".to_owned()), Duration::ZERO).await.unwrap_err();
        assert!(!late.is_empty());
        drop(listener);
        assert!(reach(&Target::Tcp(address), patience).await.unwrap_err().contains("refused"));
        assert!(reach(&Target::Udp("nowhere.invalid:514".to_owned()), patience).await.is_err());
    }
}
