//! The questions to a running node, and the orders of operators.

use tidegate_actors::gauges::audit::{AuditQuery, Operation, Operator};
use tidegate_actors::{DeliveryOrder, NotOrdered, Observer, Phase};
use tidegate_catalogue::EventChange;
use tokio::sync::watch;
use tracing::field::display;

use super::look::{self, OwedSearch, PastSearch};
use super::model::{EventOrder, EventsChanged, OwedEvents, PastEvents, Sink, Sinks};
use crate::admin::catalogue::readers::Readers;
use crate::admin::look_error::{LookError, ReadError};

/// The questions of a surface.
#[derive(Clone, Debug)]
pub(in crate::admin) struct EventSinks {
    observer: Observer,
    catalogue: Readers,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::admin) enum SinkError {
    #[error("no sink of that name is configured, and nothing is owed to one")]
    Unknown,
    #[error("action must be retry or drop")]
    Action,
    #[error("nothing says which events: give event or dead, or all")]
    Nothing,
    #[error(transparent)]
    NotOrdered(#[from] NotOrdered),
    #[error(transparent)]
    Read(#[from] ReadError),
}

const OFF: SinkError = SinkError::Read(ReadError::Off { what: "there are no events without the catalogue" });

impl EventSinks {
    pub(in crate::admin) fn new(observer: Observer, catalogue: Readers) -> Self {
        Self { observer, catalogue }
    }

    /// The sinks. It costs no look into the file.
    pub(in crate::admin) fn sinks(&self) -> Result<Sinks, SinkError> {
        self.observer.catalogue().ok_or(OFF)?;
        let states = self.observer.event_sinks();
        let doing = |sink: Sink| match states.iter().find(|state| state.name == sink.name) {
            Some(state) => sink.doing(state.clone()),
            None => sink,
        };
        // One that is taken away stays as long as it is owed something.
        let is_listed = |sink: &Sink| sink.phase.is_some() || sink.waiting + sink.dead > 0;
        let sinks = self.observer.event_queues().into_iter().map(Sink::from).map(doing);
        Ok(Sinks { sinks: sinks.filter(is_listed).collect() })
    }

    /// Events that are owed.
    pub(in crate::admin) async fn owed(&self, search: OwedSearch, by: &Operator) -> Result<OwedEvents, SinkError> {
        self.audit("/api/sinks/owed", by);
        let state = self.catalogue.state().map_err(|_| OFF)?;
        Ok(self.catalogue.ask(&state, move |reader| Ok(look::owed(reader, &search)?)).await?)
    }

    /// Events, owed or not.
    pub(in crate::admin) async fn past(&self, search: PastSearch, by: &Operator) -> Result<PastEvents, SinkError> {
        let found = self.look(search).await?;
        // One that finds nothing has told nothing: `events tail` looks every second.
        if !found.events.is_empty() {
            self.audit("/api/sinks/events", by);
        }
        Ok(found)
    }

    pub(super) async fn look(&self, search: PastSearch) -> Result<PastEvents, SinkError> {
        let state = self.catalogue.state().map_err(|_| OFF)?;
        let found = self.catalogue.ask(&state, move |reader| look::past(reader, &search)).await?;
        Ok(PastEvents { source: Some(self.observer.event_source()), ..found })
    }

    /// What a client waits for that follows the events: their changes, and the phase of the node.
    pub(super) fn follow(
        &self,
        search: &PastSearch,
        by: &Operator,
    ) -> Result<(watch::Receiver<u64>, watch::Receiver<Phase>), SinkError> {
        search.check().map_err(|error| ReadError::from(LookError::from(error)))?;
        self.audit("/api/events/stream", by);
        Ok((self.observer.events_changed().ok_or(OFF)?, self.observer.phases()))
    }

    fn audit(&self, uri: &str, by: &Operator) {
        let query = AuditQuery { uri: uri.to_owned(), study: None, conditions: String::new() };
        self.observer.record_query(query, by);
    }

    /// Has something done to the events of a sink.
    pub(in crate::admin) async fn order(
        &self,
        sink: String,
        order: EventOrder,
        by: &Operator,
    ) -> Result<EventsChanged, SinkError> {
        let change = match order.action.as_str() {
            "retry" => EventChange::Retry,
            "drop" => EventChange::Drop,
            _ => return Err(SinkError::Action),
        };
        // A word too few must not forget everything.
        if change == EventChange::Drop && order.event.is_none() && !order.dead && !order.all {
            return Err(SinkError::Nothing);
        }
        if !self.observer.event_queues().iter().any(|row| row.name == sink) {
            return Err(SinkError::Unknown);
        }
        let event = order.event.map_or_else(String::new, |event| format!(" event={event}"));
        let text = format!("{}{event}{}", order.action, if order.dead { " dead" } else { "" });
        self.observer.record_operation(Operation::Deliveries(format!("events of {sink}: {text}")), by);
        let what = DeliveryOrder::Events { change, is_dead: order.dead, event: order.event };
        let ordered = self.observer.order_deliveries(&sink, what).await.ok_or(OFF)??;
        let (operator, address, changed) = (by.identity.as_str(), by.address.map(display), ordered.changed);
        tracing::info!(sink, order = text, changed, operator, address, "events changed by an operator");
        Ok(EventsChanged { sink, changed, is_done: ordered.is_done })
    }
}
