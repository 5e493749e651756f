//! The questions to the catalogue of a running node, and the orders of operators.

use std::time::SystemTime;

use tidegate_actors::gauges::audit::{AuditQuery, Operation, Operator};
use tidegate_actors::{DestinationSettings, NotOrdered, Observer};
use tidegate_catalogue::{DestinationRow, Sums};
use tracing::field::display;

use super::look;
use super::model::{Destination, Destinations, Outbox, OutboxChanged};
use super::search::{OutboxOrder, OutboxSearch, SearchError};
use crate::admin::catalogue::readers::Readers;
use crate::admin::look_error::ReadError;

/// The questions of a surface.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Deliveries {
    observer: Observer,
    catalogue: Readers,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::admin) enum OutboxError {
    #[error("no destination of that name is configured, and nothing is owed to one")]
    Unknown,
    #[error(transparent)]
    NotOrdered(#[from] NotOrdered),
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

const OFF: OutboxError = OutboxError::Read(ReadError::Off { what: "there are no deliveries without the catalogue" });

impl Deliveries {
    pub(in crate::admin) fn new(observer: Observer, catalogue: Readers) -> Self {
        Self { observer, catalogue }
    }

    /// The destinations: those of the configuration, and those that are owed something. It costs no look into the file.
    pub(in crate::admin) fn destinations(&self) -> Result<Destinations, OutboxError> {
        self.observer.catalogue().ok_or(OFF)?;
        let (settings, mut rows) = (self.observer.delivery_settings(), self.observer.queues());
        // What it has had stays in the catalogue, with each study.
        rows.retain(|row| settings.destination(&row.name).is_some() || owes(row));
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
                peer: configured.map(DestinationSettings::peer),
                ..Destination::from(row)
            }
        };
        Ok(Destinations { destinations: rows.into_iter().map(destination).collect() })
    }

    /// A page of deliveries.
    pub(in crate::admin) async fn page(&self, search: OutboxSearch, by: &Operator) -> Result<Outbox, OutboxError> {
        let state = self.catalogue.state().map_err(|_| OFF)?;
        let query = AuditQuery {
            uri: "/api/outbox".to_owned(),
            study: search.study.as_ref().map(|uid| uid.chars().take(64).collect()),
            conditions: search.conditions(),
        };
        self.observer.record_query(query, by);
        let asked = search.read()?;
        Ok(self.catalogue.ask(&state, move |reader| Ok(look::page(reader, &asked)?)).await?)
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
        let ordered = self.observer.order_deliveries(&destination, what).await.ok_or(OFF)??;
        let (operator, address, changed) = (by.identity.as_str(), by.address.map(display), ordered.changed);
        tracing::info!(destination, order = text, changed, operator, address, "deliveries changed by an operator");
        Ok(OutboxChanged { destination, changed, is_done: ordered.is_done })
    }
}

/// Whether anything is owed to a destination, be it dead.
pub(in crate::admin) fn owes(row: &DestinationRow) -> bool {
    let Sums { waiting, retrying, sent, dead, .. } = row.sums;
    waiting + retrying + sent + dead > 0
}

/// A destination to which nothing was ever owed.
fn nothing(name: &str) -> DestinationRow {
    let (name, sums) = (name.to_owned(), Sums::default());
    DestinationRow { id: 0, name, is_paused: false, sums, since_ms: None, due_ms: None, asked: 0, sent_due_ms: None }
}
