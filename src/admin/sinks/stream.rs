//! `GET /api/events/stream`: events as they come about, as server-sent events (HTML §9.2), for operators.
//!
//! Nothing is queued for a client: each reads pages of the catalogue as fast as it takes them. One that takes nothing holds a page and its socket, and
//! the transport ends it.

use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::unfold;
use serde_json::json;
use tidegate_actors::Phase;
use tidegate_actors::gauges::audit::Operator;
use tidegate_memory::MemoryLease;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::http::refuse;
use super::look::PastSearch;
use super::model::{PastEventLine, PastEvents};
use super::readers::EventSinks;
use crate::admin::leases::Leases;
use crate::admin::surface::Surface;
use crate::unprintable::harmless;

/// Events that are read at a time.
const PAGE: u32 = 100;
/// Between two looks of a client that has had all, whatever changes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Before the catalogue is read again that could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// Between two blocks of a stream. Balancers and browsers end what is silent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A node that stops sends what comes about meanwhile for so long.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Where a client was that connects again. It counts before `after`, which is still in the address then.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(in crate::admin) async fn stream(
    surface: web::Data<Surface>,
    search: web::Query<PastSearch>,
    operator: web::ReqData<Operator>,
    request: HttpRequest,
) -> HttpResponse {
    let search = search.into_inner();
    let after = last_event_id(request.headers()).or(search.after).unwrap_or_else(|| "-0".to_owned());
    let search = PastSearch { after: Some(after), limit: Some(PAGE), ..search };
    let (changed, phases) = match surface.sinks.follow(&search, &operator) {
        Ok(watched) => watched,
        Err(error) => return refuse(&error),
    };
    let now = Instant::now();
    let feed = Feed {
        sinks: surface.sinks.clone(),
        leases: surface.leases.clone(),
        search,
        changed,
        phases,
        has_begun: false,
        looks_at: Some(now),
        looked_at: now,
        beats_at: now + HEARTBEAT,
        ends_at: None,
        lease: None,
    };
    let events = unfold(feed, async |mut feed| {
        let text = feed.next().await?;
        Some((Ok::<_, actix_web::Error>(text), feed))
    });
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/event-stream")).streaming(surface.streams.add(events))
}

/// Browsers send an empty one where there was none.
fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(LAST_EVENT_ID)?.to_str().ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The events of one client.
struct Feed {
    sinks: EventSinks,
    leases: Leases,
    /// From where it reads on.
    search: PastSearch,
    changed: watch::Receiver<u64>,
    phases: watch::Receiver<Phase>,
    has_begun: bool,
    /// When it reads; `None`: when something has changed.
    looks_at: Option<Instant>,
    looked_at: Instant,
    beats_at: Instant,
    ends_at: Option<Instant>,
    /// Of the text that is being sent.
    lease: Option<MemoryLease>,
}

impl Feed {
    /// The next blocks; `None`: the node stops.
    async fn next(&mut self) -> Option<Bytes> {
        self.lease = None;
        loop {
            if matches!(*self.phases.borrow_and_update(), Phase::Draining | Phase::Aborting) && self.ends_at.is_none() {
                self.ends_at = Some(Instant::now() + LAST_WORD);
                self.looks_at = self.looks_at.or(self.ends_at); // a last time
            }
            let text = if self.looks_at.is_some_and(|at| at <= Instant::now()) { self.look().await } else { None };
            let now = Instant::now();
            let text = text.or_else(|| (self.beats_at <= now).then(|| format!(":\n{}\n", self.place())));
            if let Some(text) = text {
                self.beats_at = now + HEARTBEAT;
                self.lease = self.leases.charge(text.len() as u64);
                return Some(Bytes::from(text));
            }
            if self.ends_at.is_some_and(|at| at <= now) {
                return None;
            }
            let wake_at = [self.looks_at, self.ends_at].into_iter().flatten().fold(self.beats_at, Instant::min);
            tokio::select! {
                () = sleep_until(wake_at) => {}
                _ = self.phases.changed() => {}
                Ok(()) = self.changed.changed(), if self.looks_at.is_none() => {
                    self.looks_at = Some(self.looked_at + LOOK_INTERVAL);
                }
            }
        }
    }

    /// Reads on; `None`: nothing has come, or it cannot be read at the moment.
    async fn look(&mut self) -> Option<String> {
        let page = self.sinks.look(self.search.clone()).await;
        self.looked_at = Instant::now();
        let Ok(page) = page else {
            self.looks_at = Some(self.looked_at + RETRY);
            return None;
        };
        self.looks_at = page.has_more.then_some(self.looked_at);
        self.search.after = Some(page.last.clone());
        let mut text = blocks(&page);
        if !std::mem::replace(&mut self.has_begun, true) && page.events.is_empty() {
            // One that is cut off before its first event knows where it was. Before events, it would pass over them.
            text.push_str(&format!("{}\n", self.place()));
        }
        (!text.is_empty()).then_some(text)
    }

    /// A line that alone makes a block which tells a client where it is, and no event.
    fn place(&self) -> String {
        let after = self.search.after.as_ref().filter(|_| self.has_begun);
        after.map(|after| format!("id: {after}\n")).unwrap_or_default()
    }
}

fn blocks(page: &PastEvents) -> String {
    let gap = page.gap().map(|gap| format!("event: gap\ndata: {}\n\n", json!({ "reason": gap })));
    let source = page.source.as_deref().unwrap_or_default();
    let block = |event: &PastEventLine| {
        let data = event.cloud_event(source);
        format!("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.kind, harmless(&data))
    };
    gap.into_iter().chain(page.events.iter().map(block)).collect()
}
