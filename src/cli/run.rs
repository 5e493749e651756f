//! `run`: start the node and the admin surface, say where they are, wait for a signal, stop.

use std::io;
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_actors::{Node, NodeSettings, StartError};
use tidegate_storage::Durability;

use super::signals::StopSignals;
use super::start_up::StartUp;
use super::{Exit, logging, output};
use crate::admin;
use crate::admin::socket::AdminSocket;
use crate::config::Settings;

/// Runs the node until it is asked to stop.
pub(super) fn run(settings: Settings) -> Exit {
    logging::init(&settings.log);
    match actix_rt::System::new().block_on(serve(settings)) {
        Ok(()) => Exit::Done,
        Err(error) => {
            output::complain(&output::one_line(&error));
            Exit::Failed
        }
    }
}

/// Why a node did not come up.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("cannot serve the admin surface on {address} (admin.listen)")]
    Admin {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

async fn serve(settings: Settings) -> Result<(), RunError> {
    let Settings { node: settings, shutdown_grace, admin, admin_socket, log: _ } = settings;
    raise_open_files_limit(&settings);
    let start_up = StartUp::of(&settings);
    let durability = settings.storage.durability;
    let admin = match admin {
        Some(address) => Some(admin::bind(address).map_err(|source| RunError::Admin { address, source })?),
        None => None,
    };
    let node = Node::start(settings).await?;
    let mut signals = StopSignals::new().map_err(RunError::Signals)?;
    if durability == Durability::None {
        tracing::warn!(
            %durability,
            "instances are acknowledged before they are durable: a power failure may lose them"
        );
    }

    // The node is worth more than its observation: without a socket it serves all the same.
    let observed = admin_socket.and_then(|path| match AdminSocket::bind(&path) {
        Ok(socket) => {
            let observer = node.observer();
            let account = observer.open_account("admin socket");
            Some(actix_rt::spawn(socket.serve(move || observer.memory(), account)))
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no admin socket: `tidegate mem` cannot ask this node");
            None
        }
    });
    let admin_address = admin.as_ref().map(|admin| admin.address);
    let admin = admin.map(|admin| {
        let handle = admin.server.handle();
        (handle, actix_rt::spawn(admin.server))
    });
    // Whoever started us may have closed stdout since: the node serves all the same.
    let _ = output::print(&start_up.lines(node.local_address(), node.recovery(), admin_address));

    let signal = signals.next().await;
    tracing::info!(
        signal = signal.name,
        grace = %humantime::format_duration(shutdown_grace),
        "stopping; a second signal exits at once"
    );
    actix_rt::spawn(async move { std::process::exit(signals.next().await.exit_code) });
    let aborted = node.stop(shutdown_grace).await;
    if let Some((handle, _)) = admin {
        handle.stop(false).await;
    }
    if let Some(task) = observed {
        task.abort();
        let _ = task.await; // the file is gone when the task is
    }
    tracing::info!(associations_aborted = aborted, "stopped");
    Ok(())
}

/// An association holds a socket and, while a dataset is spooled, a file; common soft limits (1024) are below what the
/// default settings may need.
fn raise_open_files_limit(settings: &NodeSettings) {
    let wanted = 2 * settings.associations.max as u64 + 4 * settings.writers.count as u64 + 128;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|limit| limit >= wanted) {
        return;
    }
    let raised = maximum.map_or(wanted, |most| most.min(wanted));
    let outcome = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    if outcome.is_err() || raised < wanted {
        tracing::warn!(
            limit = getrlimit(Resource::Nofile).current,
            wanted,
            "too few open files allowed for associations.max: raise the limit (ulimit -n) or lower the setting"
        );
    }
}
