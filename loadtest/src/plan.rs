//! A scenario with its target, ready to run.

use std::fmt::Write;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::association::{Association, AssociationError};
use crate::catalogue::Catalogue;
use crate::objective::Wanted;
use crate::pdu::AssociateRequest;
use crate::reconcile::Verify;
use crate::result::Sampler;
use crate::scenario::{Pace, Range, Scenario, TlsSettings};
use crate::tls::{TlsClient, TlsError};
use crate::uid;
use crate::wire::Wire;

/// Why a scenario cannot be run so.
#[derive(Debug, Error)]
pub(crate) enum PlanError {
    #[error("cannot use TLS")]
    Tls(#[from] TlsError),
    #[error("{what} has no effect on a load in steps: remove it, or take another scenario")]
    Steps { what: &'static str },
    #[error("{0}")]
    Override(String),
}

/// Everything that a run needs.
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    /// `HOST:PORT`.
    pub(crate) target: String,
    /// Decides the datasets, their order and the arrivals.
    pub(crate) seed: u64,
    /// Decides the UIDs.
    pub(crate) run: u64,
    pub(crate) verify: Option<Verify>,
    /// The filesystem of this directory is synced after the load, and the time that it takes is noted.
    pub(crate) sync_after: Option<PathBuf>,
    /// The ledger is kept even if nothing is verified.
    pub(crate) keeps_ledger: bool,
    /// The datasets, if they are encoded already.
    pub(crate) catalogue: Option<Arc<Catalogue>>,
    /// Counts instances as they are acknowledged.
    pub(crate) acknowledged: Arc<AtomicU64>,
    pub(crate) objectives: Vec<Wanted>,
    /// Each association sends its equal share of the instances: two runs of one seed send the same ones, whoever is quicker.
    pub(crate) equal_shares: bool,
    /// Set from anywhere, ends the load soon after.
    pub(crate) stop: Arc<AtomicBool>,
    /// Say nothing about associations that fail.
    pub(crate) quiet: bool,
    tls: Option<TlsClient>,
    sampler: Mutex<Option<Box<dyn Sampler>>>,
}

/// The changes to the scenario, and the settings that a scenario does not have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// `HOST:PORT`
    pub(crate) target: String,
    pub(crate) called_ae: Option<String>,
    pub(crate) calling_ae: Option<String>,
    /// 1 when nothing is said.
    pub(crate) seed: Option<u64>,
    /// One that no other run has when nothing is said.
    pub(crate) run: Option<u64>,
    pub(crate) duration_s: Option<f64>,
    pub(crate) instances: Option<u64>,
    pub(crate) associations: Option<u32>,
    /// Bytes of the native pixels of every generated instance.
    pub(crate) size_bytes: Option<u64>,
    /// Makes the load an open one.
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) max_pdu_bytes: Option<u32>,
    pub(crate) async_window: Option<u16>,
    pub(crate) timeout_s: Option<u64>,
    pub(crate) reconnect: Option<bool>,
    pub(crate) tls: Option<TlsSettings>,
    /// Left out of the figures at the beginning.
    pub(crate) warm_up_s: Option<f64>,
    /// Files of the user's own are sent with their own patients.
    pub(crate) keep_patient: bool,
}

impl Plan {
    /// Applies `overrides` to a copy of `scenario`.
    ///
    /// # Errors
    /// When the two do not go together, or TLS cannot be set up.
    pub(crate) fn from_scenario(scenario: &Scenario, overrides: &Overrides) -> Result<Self, PlanError> {
        let mut scenario = scenario.clone();
        override_load(&mut scenario, overrides)?;
        if let Some(bytes) = overrides.size_bytes {
            scenario.set_size(bytes).map_err(PlanError::Override)?;
        }
        if overrides.keep_patient {
            scenario.keep_patients();
        }
        let associations = &mut scenario.associations;
        let Overrides { called_ae, calling_ae, .. } = overrides.clone();
        associations.called_ae = called_ae.unwrap_or_else(|| associations.called_ae.clone());
        associations.calling_ae = calling_ae.unwrap_or_else(|| associations.calling_ae.clone());
        associations.count = overrides.associations.unwrap_or(associations.count);
        associations.max_pdu_bytes = overrides.max_pdu_bytes.unwrap_or(associations.max_pdu_bytes);
        associations.async_window = overrides.async_window.unwrap_or(associations.async_window);
        associations.timeout_s = overrides.timeout_s.unwrap_or(associations.timeout_s);
        associations.reconnect = overrides.reconnect.unwrap_or(associations.reconnect);
        scenario.tls = overrides.tls.clone().or(scenario.tls);
        let tls = scenario.tls.as_ref().map(|tls| TlsClient::new(tls, &overrides.target)).transpose()?;
        Ok(Self {
            scenario,
            target: overrides.target.clone(),
            seed: overrides.seed.unwrap_or(1),
            run: overrides.run.unwrap_or_else(uid::fresh_run),
            verify: None,
            sync_after: None,
            keeps_ledger: false,
            catalogue: None,
            acknowledged: Arc::default(),
            objectives: Vec::new(),
            equal_shares: false,
            stop: Arc::default(),
            quiet: false,
            tls,
            sampler: Mutex::new(None),
        })
    }

    /// The same, with a look at the target once a second.
    pub(crate) fn with_sampler(self, sampler: Box<dyn Sampler>) -> Self {
        Self { sampler: Mutex::new(Some(sampler)), ..self }
    }

    pub(crate) fn take_sampler(&self) -> Option<Box<dyn Sampler>> {
        self.sampler.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Connects to the target over what the plan says, as far as the first byte of DICOM.
    ///
    /// # Errors
    /// Those of the connection.
    pub(crate) fn wire(&self) -> io::Result<Wire> {
        let socket = connect(&self.target, self.timeout())?;
        match &self.tls {
            Some(tls) => tls.wire(socket),
            None => Wire::plain(socket),
        }
    }

    /// Whether the target is reached over loopback.
    pub(crate) fn is_local(&self) -> bool {
        self.target.to_socket_addrs().is_ok_and(|mut addresses| addresses.any(|address| address.ip().is_loopback()))
    }

    /// Longest wait for the target.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.scenario.associations.timeout_s)
    }

    /// Opens an association that everything in the catalogue can be sent over.
    ///
    /// # Errors
    /// Those of the association.
    pub(crate) fn connect(&self, catalogue: &Catalogue, calling_ae: &str) -> Result<Association, AssociationError> {
        let settings = &self.scenario.associations;
        let request = AssociateRequest {
            called_ae: &settings.called_ae,
            calling_ae,
            contexts: &catalogue.contexts,
            max_pdu_length_bytes: settings.max_pdu_bytes,
            window: settings.async_window,
        };
        Association::request(self.wire()?, &request, self.timeout())
    }

    /// The load in words.
    pub(crate) fn describe_load(&self) -> String {
        let load = &self.scenario.load;
        let mut text = match &load.pace {
            _ if !self.scenario.senders.is_empty() => self.describe_senders(),
            Pace::Closed { think_time_ms: Range { high: 0, .. } } => "closed".to_owned(),
            Pace::Closed { think_time_ms: Range { low, high } } => {
                format!("closed, {low} to {high} ms between instances")
            }
            Pace::Open { rate_per_s, arrival } => format!("open, {rate_per_s}/s {arrival:?}").to_lowercase(),
            Pace::Steps { rates_per_s, step_s, .. } => format!("open, {} steps of {step_s} s", rates_per_s.len()),
            Pace::Trace { visits } => format!("a trace of {} associations", visits.len()),
        };
        // Writing to a String never fails.
        if self.scenario.senders.is_empty() {
            let _ = write!(text, ", {} associations", self.scenario.associations.count);
        }
        if let Some(instances) = load.instances {
            let _ = write!(text, ", {instances} instances");
        }
        if let Some(duration_s) = load.duration_s {
            let _ = write!(text, ", {duration_s} s");
        }
        if self.scenario.tls.is_some() {
            text.push_str(", TLS");
        }
        text
    }
}

impl Plan {
    fn describe_senders(&self) -> String {
        let each = self.scenario.senders.iter().map(|sender| {
            let pace = match &sender.pace {
                Pace::Open { rate_per_s, .. } => format!("{rate_per_s}/s"),
                _ => "closed".to_owned(),
            };
            format!("{} over {} associations, {pace}", sender.name, sender.associations)
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

fn override_load(scenario: &mut Scenario, overrides: &Overrides) -> Result<(), PlanError> {
    let has_senders = !scenario.senders.is_empty();
    for (given, what) in
        [(overrides.rate_per_s.is_some(), "a rate"), (overrides.associations.is_some(), "a number of associations")]
    {
        if given && has_senders {
            return Err(PlanError::Override(format!(
                "{what} has no effect on [[senders]], which have their own: remove it"
            )));
        }
    }
    let load = &mut scenario.load;
    load.warm_up_s = overrides.warm_up_s.unwrap_or(load.warm_up_s);
    if let Some(rate_per_s) = overrides.rate_per_s {
        if rate_per_s <= 0.0 || !rate_per_s.is_finite() {
            return Err(PlanError::Override(format!(
                "a rate of {rate_per_s} instances a second: it must be more than 0"
            )));
        }
        let arrival = match load.pace {
            Pace::Open { arrival, .. } => arrival,
            Pace::Steps { .. } => return Err(PlanError::Steps { what: "a rate" }),
            Pace::Closed { .. } | Pace::Trace { .. } => Default::default(),
        };
        load.pace = Pace::Open { rate_per_s, arrival };
    }
    if overrides.duration_s.is_none() && overrides.instances.is_none() {
        return Ok(());
    }
    if matches!(load.pace, Pace::Steps { .. }) {
        return Err(PlanError::Steps { what: "a duration or a number of instances" });
    }
    if let Some(duration_s) = overrides.duration_s.filter(|duration_s| !(0.0..=1e8).contains(duration_s)) {
        return Err(PlanError::Override(format!("a duration of {duration_s} s: it must be from 0 to 100000000")));
    }
    // A length in time replaces a number of instances, and the other way round.
    (load.duration_s, load.instances) = (overrides.duration_s, overrides.instances);
    Ok(())
}

/// Connects to the first address of `target` that answers.
pub(crate) fn connect(target: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("{target} has no address"));
    for address in target.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
