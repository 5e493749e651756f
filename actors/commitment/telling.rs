//! Tells the catalogue of requests that are reported, each at least once: it is an event there.
//!
//! The record and the catalogue are two files. What the record says of the last hour before its last report is told again after a start, and the
//! catalogue knows what it was told.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use tidegate_catalogue::{EventKind, Told};
use tidegate_commitment::Request;
use tokio::time::sleep;

use super::record::Record;
use crate::catalogue::deliveries::{Deliveries, NotNoted};

/// Requests that are told at a time.
const PAGE: u32 = 64;
/// What is told again after a start, in milliseconds.
const AGAIN_MS: i64 = 3_600_000;
/// Before it is told again what there was no memory for.
const RETRY: Duration = Duration::from_secs(1);

/// The time of a report and its request: what is behind it is to be told.
type Place = (i64, i64);

pub(super) struct Telling {
    deliveries: Deliveries,
    /// `None`: all is told, or being told.
    from: Option<Place>,
    under_way: Option<LocalBoxFuture<'static, Option<Place>>>,
}

impl Telling {
    pub(super) fn new(deliveries: Deliveries) -> Self {
        Self { deliveries, from: None, under_way: None }
    }

    /// Begins to tell what is reported since `untold_ms`, and what was not told before, unless that is under way.
    pub(super) fn begin(&mut self, record: &mut Record, untold_ms: Option<i64>) {
        self.from = [self.from, untold_ms.map(|at_ms| (at_ms, 0))].into_iter().flatten().min();
        let Some(from) = self.from.filter(|_| self.under_way.is_none()) else { return };
        let Some(page) = record.attempt(|requests| requests.reported(from, PAGE)) else { return };
        self.from = None;
        let next = page.last().filter(|_| page.len() >= PAGE as usize).map(place);
        let told: Vec<_> = page.iter().map(told).collect();
        if told.is_empty() {
            return;
        }
        let deliveries = self.deliveries.clone();
        self.under_way = Some(
            async move {
                match deliveries.tell(told).await {
                    Ok(()) => next,
                    Err(NotNoted::NoMemory | NotNoted::Lost) => {
                        sleep(RETRY).await;
                        Some(from)
                    }
                    // The next process tells it.
                    Err(NotNoted::Ended) => None,
                }
            }
            .boxed_local(),
        );
    }

    /// Ends when a part is told.
    pub(super) async fn step(&mut self) {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        let next = under_way.await;
        self.under_way = None;
        self.from = [self.from, next].into_iter().flatten().min();
    }
}

/// Since when requests are reported that another process may not have told.
pub(super) fn recalled(record: &mut Record) -> Option<i64> {
    let last_ms = record.attempt(|requests| requests.last_reported_ms()).flatten();
    last_ms.map(|last_ms| last_ms - AGAIN_MS)
}

fn place(request: &Request) -> Place {
    (request.ended_ms.unwrap_or_default(), request.id)
}

fn told(request: &Request) -> Told {
    let (at_ms, id) = place(request);
    let data = json!({
        "transaction": request.asked.transaction_uid,
        "calling": request.asked.peer.calling.trim(),
        "instances": request.instances,
        "committed": request.committed,
        "not_committed": request.refused,
        "attempts": request.attempts,
    });
    Told {
        kind: EventKind::CommitmentReported,
        // An operator may have it reported again.
        origin: format!("commitment {id} {at_ms}"),
        subject: request.asked.transaction_uid.clone(),
        at_ms,
        data: data.to_string(),
    }
}
