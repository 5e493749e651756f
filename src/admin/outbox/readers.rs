//! The questions to the catalogue of a running node, and the orders of operators.

use std::time::SystemTime;

use tidegate_actors::gauges::audit::{AuditQuery, Operation, Operator};
use tidegate_actors::{DestinationKind, DestinationSettings, DicomDestination, NotOrdered, Observer};
use tidegate_catalogue::{DestinationRow, Reader, Sums};
use tracing::field::display;

use super::look::{self, LookError};
use super::model::{Destination, Destinations, Outbox, OutboxChanged};
use super::search::{OutboxOrder, OutboxSearch, SearchError};
use crate::admin::queries::{Queries, QueryError};

/// The questions of a surface. A reader is opened for a question, and closed after it.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Deliveries {
    observer: Observer,
    queries: Queries,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::admin) enum OutboxError {
    #[error("there are no deliveries without the catalogue: set [catalogue] path = \"auto\" and start the node again")]
    Off,
    #[error("the catalogue is unavailable: {reason}; {remedy}")]
    Unavailable { reason: String, remedy: String },
    #[error("no destination of that name is configured, and nothing is owed to one")]
    Unknown,
    #[error(transparent)]
    NotOrdered(#[from] NotOrdered),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Look(#[from] LookError),
}

impl From<SearchError> for OutboxError {
    fn from(error: SearchError) -> Self {
        Self::Look(error.into())
    }
}

impl Deliveries {
    pub(in crate::admin) fn new(observer: Observer, queries: Queries) -> Self {
        Self { observer, queries }
    }

    /// The destinations: those of the configuration, and those that are owed something. It costs no look into the file.
    pub(in crate::admin) fn destinations(&self) -> Result<Destinations, OutboxError> {
        self.observer.catalogue().ok_or(OutboxError::Off)?;
        let (settings, mut rows) = (self.observer.delivery_settings(), self.observer.queues());
        for configured in &settings.destinations {
            if !rows.iter().any(|row| row.name == configured.name) {
                rows.push(nothing(&configured.name));
            }
        }
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        let states = self.observer.destinations();
        let destination = |row: DestinationRow| {
            let configured = settings.destination(&row.name);
            let state = states.iter().find(|state| state.name == row.name);
            Destination {
                live: state.cloned().map(Into::into),
                is_configured: Some(configured.is_some()),
                peer: configured.map(peer),
                ..Destination::from(row)
            }
        };
        Ok(Destinations { destinations: rows.into_iter().map(destination).collect() })
    }

    /// A page of deliveries.
    pub(in crate::admin) async fn page(&self, search: OutboxSearch, by: &Operator) -> Result<Outbox, OutboxError> {
        let state = self.observer.catalogue().ok_or(OutboxError::Off)?;
        if let (Some(reason), Some(remedy)) = state.why() {
            return Err(OutboxError::Unavailable { reason: reason.to_owned(), remedy: remedy.to_owned() });
        }
        let query = AuditQuery {
            uri: "/api/outbox".to_owned(),
            study: search.study.as_ref().map(|uid| uid.chars().take(64).collect()),
            conditions: search.conditions(),
        };
        self.observer.record_query(query, by);
        let asked = self.queries.run(move || {
            let mut reader = Reader::open(&state.path).map_err(LookError::from)?;
            look::page(&mut reader, &search)
        });
        Ok(asked.await??)
    }

    /// Has something done to the deliveries to a destination.
    pub(in crate::admin) async fn order(
        &self,
        destination: String,
        order: OutboxOrder,
        by: &Operator,
    ) -> Result<OutboxChanged, OutboxError> {
        let what = order.read(SystemTime::now())?;
        let is_known = self.observer.delivery_settings().destination(&destination).is_some()
            || self.observer.queues().iter().any(|row| row.name == destination);
        if !is_known {
            return Err(OutboxError::Unknown);
        }
        let text = order.text();
        self.observer.record_operation(Operation::Deliveries(format!("deliveries to {destination}: {text}")), by);
        let ordered = self.observer.order_deliveries(&destination, what).await.ok_or(OutboxError::Off)??;
        let (operator, address, changed) = (by.identity.as_str(), by.address.map(display), ordered.changed);
        tracing::info!(destination, order = text, changed, operator, address, "deliveries changed by an operator");
        Ok(OutboxChanged { destination, changed, is_done: ordered.is_done })
    }
}

/// The AE title and address of a destination.
fn peer(settings: &DestinationSettings) -> String {
    let DestinationKind::Dicom(DicomDestination { host, port, called, .. }) = &settings.kind;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    format!("{called} at {host}:{port}")
}

/// A destination to which nothing was ever owed.
fn nothing(name: &str) -> DestinationRow {
    let (name, sums) = (name.to_owned(), Sums::default());
    DestinationRow { id: 0, name, is_paused: false, sums, since_ms: None, due_ms: None }
}
