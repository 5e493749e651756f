//! `run`: starts the node and the admin surface, prints the start-up lines, waits for a signal or a failure, and stops.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use actix_rt::SystemRunner;
use tidegate_actors::gauges::alarm::Alarm;
use tidegate_actors::gauges::audit::{Operation, Operator};
use tidegate_actors::patience::within;
use tidegate_actors::{Failure, Node, NodeSettings, Observer, Service, StartError};
use tidegate_storage::Durability;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::host::{LimitError, raise_limits, warn_of_open_root, warn_of_storage};
use super::reload::Reloader;
use super::signals::{Asked, Signals, StopSignal};
use super::start_up::{AdminUrl, StartUp};
use super::{Exit, LogQueue, logging, output, port, recovery, reload, service_manager};
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

/// The event loop of the main thread, and the signals of the process.
pub(super) struct Process {
    system: SystemRunner,
    signals: Signals,
}

impl Process {
    /// Handles signals from now on. Before the configuration is read: until then a SIGHUP ends the process, and the first process of a
    /// container would not get a SIGTERM.
    pub(super) fn prepare() -> io::Result<Self> {
        let system = actix_rt::System::new();
        let signals = system.block_on(async { Signals::new() })?;
        Ok(Self { system, signals })
    }
}

/// Runs the node until it is asked to stop or fails. `load` reads the configuration again.
pub(super) fn run(
    process: Process,
    loaded: Loaded,
    load: impl Fn(&Raw) -> Result<Loaded, ConfigError> + 'static,
) -> Exit {
    let Process { system, signals } = process;
    let messages = Messages::default();
    let log_level = match logging::init(&loaded.settings.log, messages.clone()) {
        Ok(log_level) => log_level,
        Err(error) => {
            let cause = format!("cannot start the thread that writes the log: {error}");
            logging::not_started(loaded.settings.log.format, &cause);
            return Exit::Failed;
        }
    };
    let log = log_level.queue().clone();
    #[cfg(feature = "test-faults")]
    if let Err(error) = tidegate_actors::fault::open() {
        tracing::error!(%error, "cannot open the fault port");
    }
    let reloader = Reloader::new(loaded.raw, log_level, Box::new(load));
    let end = system.block_on(serve(loaded.settings, reloader, messages, signals, &log));
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
        "cannot serve the admin surface on {address}: {source}{}; port 0 is a free one, \"off\" is none",
        port::remedy(*.address, "admin.listen", .source)
    )]
    Admin { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}: {source}{}", port::remedy(*.address, "node.listen or tls.listen", .source))]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Start(StartError),
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl From<StartError> for RunError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen { address, source } => Self::Listen { address, source },
            error => Self::Start(error),
        }
    }
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

async fn serve(
    settings: Settings,
    mut reloader: Reloader,
    messages: Messages,
    mut signals: Signals,
    log_queue: &LogQueue,
) -> Result<End, RunError> {
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
    raise_limits(&settings)?;
    warnings.iter().for_each(|warning| reload::log_warning(warning));
    reload::log_certificates(certificate.as_ref(), admin.as_ref());
    revocation_lists.iter().for_each(reload::log_revocation_list);
    let start_up = StartUp::of(&settings, certificate);
    let (durability, access) = (settings.storage.durability, settings.storage.access);
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
    let node = start(settings, services, &mut signals, log_queue).await?;
    let keeps_records = flight_records.is_some_and(|path| flight::start(&path, &root, messages, node.observer()));
    warn_of_durability(durability);
    recovery::warn_of_filesystem(&root, node.filesystem(), durability);
    recovery::log(node.recovery(), &root, &layout);
    look_at_storage(node.observer()).await;
    actix_rt::spawn(service_manager::watchdog(node.heart()));
    warn_of_open_root(&root, access);
    tell_start(&start_up, &node, admin, sink.as_ref(), log.format).await;
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

/// Tells where the node listens and what it found: in the log, and on stdout for people.
async fn tell_start(
    start_up: &StartUp,
    node: &Node,
    admin: Option<AdminUrl>,
    sink: Option<&Target>,
    format: LogFormat,
) {
    let audit = match sink {
        Some(sink) => Some(state_of(sink).await),
        None => None,
    };
    start_up.log(node.local_address(), node.tls_address(), node.recovery(), admin);
    if format == LogFormat::Text {
        say(start_up.lines(node.local_address(), node.tls_address(), node.recovery(), admin, audit.as_deref())).await;
    }
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

/// Starts the node, unless a signal asks to stop before it has started: then the process ends.
async fn start(
    settings: NodeSettings,
    services: Vec<Service>,
    signals: &mut Signals,
    log_queue: &LogQueue,
) -> Result<Node, RunError> {
    tokio::select! {
        node = Node::start(settings, services, Vec::new()) => Ok(node?),
        signal = signals.next_stop() => {
            tracing::info!(signal = signal.name, "asked to stop while starting: stopped, the storage as after a crash");
            log_queue.flush(LOG_GRACE);
            // The storage may be in the middle of its recovery, which the next start begins anew.
            std::process::exit(0);
        }
    }
}

/// Tells at the start what `/ready` tells. A disk that hangs delays no start: the look is awaited for a bounded time.
async fn look_at_storage(observer: Observer) {
    let (looked, is_looked) = oneshot::channel();
    let look = move || {
        warn_of_storage(&observer.look_at_storage(), observer.limits().min_free_bytes);
        looked.send(())
    };
    // Without a thread to be had, `/ready` is asked soon enough.
    if thread::Builder::new().name("first-look".to_owned()).spawn(look).is_ok() {
        let _ = within(LOG_GRACE, is_looked).await;
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
                    let is_reloaded = reloader.reload(|settings| {
                        *shutdown_grace = settings.shutdown_grace;
                        if let Some(keeper) = door_keeper {
                            keeper.apply(settings.admin);
                        }
                        node.apply(settings.node.live);
                    });
                    let by = Operator { identity: "signal SIGHUP".to_owned(), address: None };
                    node.observer().record_operation(Operation::Reload(is_reloaded), &by);
                    node.observer().note_reload(is_reloaded);
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
