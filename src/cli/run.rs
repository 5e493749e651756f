//! `run`: starts the node and the admin surface, prints the start-up lines, waits for a signal or a failure, and stops.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_actors::gauges::alarm::Alarm;
use tidegate_actors::gauges::audit::{Operation, Operator};
use tidegate_actors::patience::within;
use tidegate_actors::{
    DESCRIPTORS_OF_ASSOCIATION, Failure, LiveSettings, Node, NodeSettings, Observer, Service, StartError,
    descriptors_of_writers, most_connections,
};
use tidegate_storage::Durability;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::reload::Reloader;
use super::signals::{Asked, Signals, StopSignal};
use super::start_up::{AdminUrl, StartUp};
use super::{Exit, logging, output, recovery, reload, service_manager};
use crate::admin::{Admin, AdminSettings, DoorKeeper, Steering, socket};
use crate::audit::{self, Origin, Target};
use crate::config::{ConfigError, Loaded, LogFormat, Raw, Settings};
use crate::flight::{self, Messages};

/// Time for the last flight record to be written at the end.
const RECORD_GRACE: Duration = Duration::from_secs(10);

/// Time for a slow reader to take the start-up lines, and the last lines of the log.
const LOG_GRACE: Duration = Duration::from_secs(2);

/// Time for the sink of audit messages to answer, before the start-up lines say that it does not.
const SINK_GRACE: Duration = Duration::from_millis(500);

/// Runs the node until it is asked to stop or fails. `load` reads the configuration again.
pub(super) fn run(loaded: Loaded, load: impl Fn(&Raw) -> Result<Loaded, ConfigError> + 'static) -> Exit {
    let messages = Messages::default();
    let log_level = match logging::init(&loaded.settings.log, messages.clone()) {
        Ok(log_level) => log_level,
        Err(error) => {
            output::complain(&format!("cannot start the thread that writes the log: {error}"));
            return Exit::Failed;
        }
    };
    let log = log_level.queue().clone();
    #[cfg(feature = "test-faults")]
    if let Err(error) = tidegate_actors::fault::open() {
        tracing::error!(%error, "cannot open the fault port");
    }
    let reloader = Reloader::new(loaded.raw, log_level, Box::new(load));
    let end = actix_rt::System::new().block_on(serve(loaded.settings, reloader, messages));
    let exit = match end {
        Ok(End::Asked) => Exit::Done,
        Ok(End::Failed) => Exit::GaveUp,
        Err(error) => {
            log.complain(&output::one_line(&error));
            Exit::Failed
        }
    };
    log.flush(LOG_GRACE);
    exit
}

/// The reason why a node did not start.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(
        "cannot serve the admin surface on {address}: {source}; set admin.listen to another address, to port 0 for a free one, or to \"off\""
    )]
    Admin { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot install signal handlers")]
    Signals(#[source] io::Error),
}

/// The result of a node that started.
enum End {
    Asked,
    Failed,
}

/// The reason for the end of a node.
enum Reason {
    Signal(StopSignal),
    Failure(Failure),
}

async fn serve(settings: Settings, mut reloader: Reloader, messages: Messages) -> Result<End, RunError> {
    let Settings {
        node: settings,
        certificate,
        revocation_lists,
        mut shutdown_grace,
        admin,
        admin_socket,
        log,
        audit,
        flight_records,
        warnings,
    } = settings;
    raise_open_files_limit(&settings);
    warnings.iter().for_each(|warning| reload::log_warning(warning));
    reload::log_certificates(certificate.as_ref(), admin.as_ref());
    revocation_lists.iter().for_each(reload::log_revocation_list);
    let start_up = StartUp::of(&settings, certificate);
    let durability = settings.storage.durability;
    let (root, layout) = (settings.storage.root.clone(), settings.storage.layout.clone());
    let mut services = Vec::new();
    let (admin, door_keeper) = match admin {
        Some(settings) => Some(bind_admin(settings, reloader.steering(), &mut services)?),
        None => None,
    }
    .unzip();
    services.extend(admin_socket.map(socket::service));
    let sink = audit.clone();
    services.extend(audit.map(|target| audit::service(target, origin(&settings), &root)));
    let node = Node::start(settings, services, Vec::new()).await?;
    let keeps_records = flight_records.is_some_and(|path| flight::start(&path, &root, messages, node.observer()));
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    warn_of_durability(durability);
    recovery::warn_of_filesystem(&root, node.filesystem(), durability);
    recovery::log(node.recovery(), &layout);
    actix_rt::spawn(service_manager::watchdog(node.heart()));
    warn_of_open_root(&root);
    let audit = match sink {
        Some(sink) => Some(state_of(&sink).await),
        None => None,
    };
    start_up.log(node.local_address(), node.tls_address(), node.recovery(), admin);
    if log.format == LogFormat::Text {
        say(start_up.lines(node.local_address(), node.tls_address(), node.recovery(), admin, audit.as_deref())).await;
    }
    let addresses: Vec<_> = [node.local_address(), node.tls_address()].into_iter().flatten().collect();
    let serving = format!("serving on {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "));
    service_manager::ready(&serving);

    let reason =
        reason_to_stop(&node, &mut signals, &mut reloader, door_keeper.as_ref(), &serving, &mut shutdown_grace).await;
    let end = announce(&reason, shutdown_grace);
    if let Reason::Failure(failure) = &reason {
        node.observer().raise(Alarm::GaveUp { failure: failure.to_string() });
    }
    actix_rt::spawn(async move { std::process::exit(signals.next_stop().await.exit_code) });
    let observer = node.observer();
    let stopped = node.stop(shutdown_grace).await;
    if keeps_records {
        wait_for_records(&observer).await;
    }
    tracing::info!(
        associations_aborted = stopped.associations_aborted,
        actors_left = stopped.actors_left,
        leased_bytes_left = stopped.leased_bytes_left,
        "stopped"
    );
    Ok(end)
}

/// The sink of audit messages and its state, for the start-up lines and the log.
async fn state_of(sink: &Target) -> String {
    match audit::reach(sink, SINK_GRACE).await {
        Ok(()) => {
            tracing::info!(sink = %sink, "audit sink reached");
            format!("{sink}, reached")
        }
        Err(error) => {
            tracing::warn!(sink = %sink, error, "audit sink not reached: messages wait in .tidegate/audit of the storage root");
            format!("{sink}, not reached: {error}; messages wait in .tidegate/audit of the storage root")
        }
    }
}

/// Prints the start-up lines. A stdout that is closed, or that nobody reads, keeps no node from its work.
async fn say(lines: String) {
    let (said, is_said) = oneshot::channel();
    let print = move || said.send(output::print(&lines));
    if thread::Builder::new().name("stdout".to_owned()).spawn(print).is_ok() {
        let _ = within(LOG_GRACE, is_said).await;
    }
}

/// Waits, for a bounded time, until a flight record that is due is written.
async fn wait_for_records(observer: &Observer) {
    let are_written = async {
        while !observer.alarms_are_handled() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = within(RECORD_GRACE, are_written).await; // the log says what could not be written
}

/// Waits for a failure of the node, or for a request to stop.
async fn reason_to_stop(
    node: &Node,
    signals: &mut Signals,
    reloader: &mut Reloader,
    door_keeper: Option<&DoorKeeper>,
    serving: &str,
    shutdown_grace: &mut Duration,
) -> Reason {
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop(signal) => return Reason::Signal(signal),
                Asked::Record => node.observer().raise(Alarm::Asked),
                Asked::Reload => {
                    service_manager::reloading();
                    let reloaded = reloader.reload();
                    let by = Operator { identity: "signal SIGHUP".to_owned(), address: None };
                    node.observer().record_operation(Operation::Reload(reloaded.is_some()), &by);
                    if let Some(settings) = reloaded {
                        *shutdown_grace = settings.shutdown_grace;
                        if let Some(keeper) = door_keeper {
                            keeper.apply(settings.admin);
                        }
                        node.apply(settings.node.live);
                    }
                    service_manager::ready(serving);
                }
            },
            failure = node.failed() => return Reason::Failure(failure),
        }
    }
}

fn warn_of_durability(durability: Durability) {
    if durability == Durability::None {
        tracing::warn!(
            %durability,
            "instances are acknowledged before they are durable: a power failure may lose them"
        );
    }
}

/// Logs the reason why the node stops.
fn announce(reason: &Reason, shutdown_grace: Duration) -> End {
    let grace = humantime::format_duration(shutdown_grace);
    match reason {
        Reason::Signal(signal) => {
            service_manager::stopping("asked to stop");
            tracing::info!(signal = signal.name, %grace, "stopping; a second signal exits at once");
            End::Asked
        }
        Reason::Failure(failure) => {
            service_manager::stopping(&format!("failed: {failure}"));
            tracing::error!(%failure, %grace, "stopping with exit code 3; a signal exits at once");
            End::Failed
        }
    }
}

/// The node, as audit messages name it.
fn origin(settings: &NodeSettings) -> Origin {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let ae_title = settings.live.associations.policy.ae_title.clone();
    Origin { ae_title, host, process_id: std::process::id() }
}

/// Binds the admin surface. Returns its address, and the handle to the authentication of its clients.
fn bind_admin(
    settings: AdminSettings,
    steering: Steering,
    services: &mut Vec<Service>,
) -> Result<(AdminUrl, DoorKeeper), RunError> {
    let address = settings.listen;
    let (admin, keeper) = Admin::bind(settings, steering).map_err(|source| RunError::Admin { address, source })?;
    let url = AdminUrl { scheme: admin.scheme(), address: admin.address() };
    services.push(admin.service());
    Ok((url, keeper))
}

/// Files of this process are closed to others. A storage root that existed before may be open.
fn warn_of_open_root(root: &Path) {
    const OTHERS: u32 = 0o007;
    const GROUP_WRITES: u32 = 0o020;
    let Ok(metadata) = root.metadata() else { return };
    let mode = metadata.permissions().mode() & 0o7777;
    let (root, octal) = (root.display(), format_args!("{mode:04o}"));
    if mode & OTHERS != 0 {
        tracing::warn!(%root, mode = %octal, "every user of this machine can enter the storage root: chmod o-rwx it");
    }
    if mode & GROUP_WRITES != 0 {
        tracing::warn!(%root, mode = %octal, "the group of the storage root can change what is stored: chmod g-w it");
    }
}

/// Descriptors for connections that are being rejected.
const BEING_TURNED_AWAY: u64 = 256;

/// The most file descriptors that a node with these settings has open.
pub(super) fn open_files(settings: &NodeSettings) -> u64 {
    let LiveSettings { associations, writers, .. } = &settings.live;
    DESCRIPTORS_OF_ASSOCIATION * most_connections(associations.max) as u64
        + descriptors_of_writers(settings.writers, writers.batch)
        + BEING_TURNED_AWAY
        + if settings.audits { audit::MAX_OPEN_FILES } else { 0 }
}

/// Common soft limits (1024) are below the need of the default settings.
fn raise_open_files_limit(settings: &NodeSettings) {
    let wanted = open_files(settings);
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
            "open file limit is too low for associations.max: raise the limit (ulimit -n) or lower the setting"
        );
    }
}
