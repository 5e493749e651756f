//! DICOM audit messages (PS3.15 §A.5): a child of the node's supervisor takes events from the audit trail and writes them to a file or a
//! syslog receiver.
//!
//! Each message reaches the [`spool`] first. A message that could not be sent is repeated, with pauses up to [`LONGEST_PAUSE`]. Meanwhile
//! the spool fills, and a message that finds it full is lost and counted.

mod message;
mod spool;
mod syslog;
mod target;
mod transport;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tidegate_actors::gauges::audit::AuditRecord;
use tidegate_actors::gauges::audit_queue::AuditTrail;
use tidegate_actors::{Observer, Service};
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) use message::Origin;
use spool::{Message, Spool};
pub(crate) use target::Target;
use transport::Transport;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Least time between two lines about lost messages.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Records written at a time.
const MOST_RECORDS: usize = 64;
/// The spool in a storage root.
const SPOOL: &str = ".tidegate/audit";

/// The child that writes audit messages to `target`, in the name of `origin`, by way of a spool in the storage root.
pub(crate) fn service(target: Target, origin: Origin, root: &Path) -> Service {
    let path = root.join(SPOOL);
    Service::new("audit", move |observer| Box::pin(write_down(observer, target.clone(), origin.clone(), path.clone())))
}

async fn write_down(observer: Observer, target: Target, origin: Origin, path: PathBuf) {
    let Some(trail) = observer.audit() else { return };
    let spool = loop {
        match Spool::open(&path) {
            Ok(spool) => break spool,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the spool of audit messages cannot be opened; retrying");
                sleep(LONGEST_PAUSE).await;
            }
        }
    };
    let mut keeper = Keeper { spool, origin, trail, told_dropped: 0, told_at: None };
    let mut transport = Transport::new(target);
    let (mut pause, mut retry_at) = (FIRST_PAUSE, Instant::now());
    loop {
        let sent = match keeper.spool.first() {
            Ok(None) => {
                keeper.empty(&transport);
                keeper.keep_next().await;
                continue;
            }
            Ok(Some(message)) => {
                let mut sending = pin!(async {
                    sleep_until(retry_at).await;
                    transport.send(&message).await
                });
                // A receiver that hangs keeps no message from the spool.
                let sent = loop {
                    tokio::select! {
                        () = keeper.keep_next() => {}
                        sent = &mut sending => break sent,
                    }
                };
                sent.inspect(|()| keeper.spool.sent(&message))
            }
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) if pause != FIRST_PAUSE => {
                tracing::info!("audit messages are written again");
                pause = FIRST_PAUSE;
            }
            Ok(()) => {}
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::error!(%error, "audit message not written; retrying");
                }
                retry_at = Instant::now() + pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Brings messages from the trail to the spool.
struct Keeper {
    spool: Spool,
    origin: Origin,
    trail: Arc<AuditTrail>,
    told_dropped: u64,
    /// The last line about lost messages. A spool that is full loses thousands a second.
    told_at: Option<Instant>,
}

impl Keeper {
    /// Waits for records, and writes them to the spool. It can be dropped while it waits.
    async fn keep_next(&mut self) {
        let records = self.trail.take(MOST_RECORDS).await;
        let message = |record: &AuditRecord| Message {
            text: syslog::message(record.at, &self.origin, &message::xml(record, &self.origin)),
            is_evidence: record.event.is_evidence(),
        };
        let messages: Vec<Message> = records.iter().map(message).collect();
        let appended = self.spool.append(&messages);
        self.trail.dropped.add(*appended.as_ref().unwrap_or(&(messages.len() as u64)));
        self.trail.written();
        let dropped = self.trail.dropped.get();
        if dropped > self.told_dropped && self.told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            let lost = dropped - self.told_dropped;
            match appended {
                Ok(_) => {
                    tracing::error!(
                        lost,
                        lost_total = dropped,
                        "audit messages dropped: no room in their queue or spool"
                    );
                }
                Err(error) => {
                    tracing::error!(lost, lost_total = dropped, %error, "audit messages dropped: their spool cannot be written");
                }
            }
            (self.told_dropped, self.told_at) = (dropped, Some(Instant::now()));
        }
    }

    /// Empties the spool once the receiver has all of it.
    fn empty(&mut self, transport: &Transport) {
        if let Err(error) = transport.sync().and_then(|()| self.spool.clear()) {
            tracing::error!(%error, "the spool of audit messages cannot be emptied: they are sent again after a start");
        }
        self.trail.passed_on();
    }
}
