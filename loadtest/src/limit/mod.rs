//! The limit that receivers are held against: a DICOM receiver that does what a durable one cannot leave out, and nothing else.
//!
//! The limit takes PDUs apart without a look at the dataset, writes Part 10 files, and makes each durable in the cheapest way known. It
//! has no rules, no digests, no memory budget, no supervision, and it does not recover its log.

mod buffer;
mod connection;
mod direct;
mod log;
mod mode;
mod spool;
mod store;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Args;
use thiserror::Error;

pub(crate) use self::mode::Mode;
use self::store::Store;
use crate::tls::{TlsError, TlsServer};

/// Connections that wait to be accepted; hundreds of associations may begin at once.
const BACKLOG: i32 = 4096;

/// Where the limit listens, and what it does before it answers success.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Address to listen on; port 0 picks a free one, and stdout says which
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Directory to store in; made when it is missing
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// How an instance becomes durable before it is acknowledged
    #[arg(long, value_enum, default_value = "log")]
    mode: Mode,
    /// Serve TLS with the certificate chain and the key of these PEM files
    #[arg(long, num_args = 2, value_names = ["CERTIFICATE", "KEY"])]
    tls: Vec<PathBuf>,
}

/// Why the limit could not run.
#[derive(Debug, Error)]
pub(crate) enum LimitError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot store in {directory}")]
    Prepare { directory: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Serves until the process is ended.
///
/// # Errors
/// When the limit cannot start. An association that fails is said on stderr.
pub(crate) fn run(args: &LimitArgs) -> Result<bool, LimitError> {
    let prepare = |source| LimitError::Prepare { directory: args.dir.clone(), source };
    let store = Arc::new(Store::new(&args.dir, args.mode).map_err(prepare)?);
    let tls = match args.tls.as_slice() {
        [certificate, key] => Some(TlsServer::new(certificate, key)?),
        _ => None,
    };
    let failed = |source| LimitError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).map_err(failed)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
    println!("limit listening on {}", listener.local_addr().map_err(failed)?);
    for socket in listener.incoming() {
        let (store, tls) = (Arc::clone(&store), tls.clone());
        thread::spawn(move || {
            let served = socket.and_then(|socket| serve(&store, tls.as_ref(), socket));
            if let Err(error) = served.as_ref().map_err(connection::said) {
                eprintln!("{error}");
            }
        });
    }
    Ok(true)
}

fn serve(store: &Store, tls: Option<&TlsServer>, socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    match tls {
        Some(tls) => connection::serve(tls.stream(socket)?, store),
        None => connection::serve(socket, store),
    }
}
