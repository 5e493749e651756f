//! DICOM audit messages (PS3.15 §A.5): a child of the node's supervisor takes events from the audit trail and writes them to a file or a
//! syslog receiver.
//!
//! Each message reaches the [`spool`] first. A message that could not be sent is repeated, with pauses up to [`LONGEST_PAUSE`]. Meanwhile
//! the spool fills; when it is full, the oldest messages of the sources that hold the most give way, and are counted and logged.

mod message;
mod reach;
mod shed;
mod spool;
mod syslog;
mod target;
mod transport;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_actors::gauges::audit::AuditRecord;
use tidegate_actors::gauges::audit_queue::{AuditTrail, Backlog};
use tidegate_actors::{Observer, Service};
use tokio::time::{Instant, sleep};

pub(crate) use message::Origin;
pub(crate) use reach::{reach, reach_now};
pub(crate) use spool::MAX_OPEN_FILES;
use spool::{Class, Message, Spool};
pub(crate) use target::Target;
use transport::Transport;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Least time between two lines about lost messages.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Sources that such a line names.
const TOLD_SOURCES: usize = 8;

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
    let mut keeper = Keeper { spool, origin, trail, told_at: None, oldest: None };
    let sink = target.to_string();
    let mut transport = Transport::new(target);
    // The kind of the last error, while the sink does not take messages.
    let (mut pause, mut down) = (FIRST_PAUSE, None);
    loop {
        let sent = match keeper.spool.first() {
            Ok(Some(message)) => {
                keeper.note_backlog(syslog::time(&message));
                let sent = keeper.keep_while(transport.send(&message)).await;
                sent.inspect(|()| keeper.spool.sent())
            }
            Ok(None) => match keeper.clear(&transport) {
                Err(error) if keeper.spool.unsent_bytes() > 0 => Err(error),
                _ => {
                    if keeper.spool.unsent_bytes() == 0 {
                        keeper.note_backlog(None);
                        keeper.trail.passed_on();
                        keeper.keep_next_or_tell().await;
                    }
                    continue;
                }
            },
            Err(error) => Err(error),
        };
        let backlog_bytes = keeper.spool.unsent_bytes();
        match sent {
            Ok(()) if down.is_some() => {
                tracing::info!(sink, backlog_bytes, "audit messages are written again");
                (pause, down) = (FIRST_PAUSE, None);
            }
            Ok(()) => {}
            Err(error) => {
                // Once for each cause: a sink that is reached again may refuse its certificate next.
                if down.replace(error.kind()) != Some(error.kind()) {
                    tracing::error!(sink, %error, backlog_bytes, "audit message not written; retrying");
                }
                keeper.keep_while(sleep(pause)).await;
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
    /// The last line about lost messages. A spool that is full loses thousands a second.
    told_at: Option<Instant>,
    /// The time of the oldest message that is not sent.
    oldest: Option<SystemTime>,
}

impl Keeper {
    /// Waits for records, and writes them to the spool. It can be dropped while it waits.
    async fn keep_next(&mut self) {
        let records = self.trail.take(MOST_RECORDS).await;
        let message = |record: &AuditRecord| Message {
            source: record.source(),
            class: if record.event.is_evidence() { Class::Evidence } else { Class::Contact },
            text: syslog::message(record.at, &self.origin, &message::xml(record, &self.origin)),
        };
        let messages: Vec<Message> = records.iter().map(message).collect();
        let error = match self.spool.append(&messages) {
            Ok(gave_way) => {
                gave_way.into_iter().for_each(|(source, count)| self.trail.lose(source, count));
                None
            }
            Err(error) => {
                messages.into_iter().for_each(|message| self.trail.lose(message.source, 1));
                Some(error)
            }
        };
        self.trail.written();
        self.note_backlog(self.oldest.or(records.first().map(|record| record.at)));
        self.tell_lost(error);
    }

    /// Keeps messages until `work` is done: a receiver that hangs keeps none from the spool.
    async fn keep_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                () = self.keep_next_or_tell() => {}
                done = &mut work => return done,
            }
        }
    }

    /// Losses are told, too, if no record follows them.
    async fn keep_next_or_tell(&mut self) {
        tokio::select! {
            () = self.keep_next() => {}
            () = sleep(TELL_INTERVAL) => self.tell_lost(None),
        }
    }

    fn note_backlog(&mut self, oldest: Option<SystemTime>) {
        self.oldest = oldest;
        self.trail.set_backlog(Backlog { bytes: self.spool.unsent_bytes(), oldest });
    }

    /// Logs the losses by source, in one line an interval.
    fn tell_lost(&mut self, error: Option<io::Error>) {
        if self.told_at.is_some_and(|at| at.elapsed() < TELL_INTERVAL) {
            return;
        }
        let sources = self.trail.take_lost();
        let lost: u64 = sources.iter().map(|(_, count)| count).sum();
        if lost == 0 {
            return;
        }
        let lost_total = self.trail.lost_total();
        let named = sources.iter().take(TOLD_SOURCES).map(|(source, count)| format!("{source}: {count}"));
        let by_source = named.collect::<Vec<_>>().join(", ");
        match error {
            None => tracing::error!(
                lost,
                lost_total,
                sources = sources.len(),
                by_source,
                "audit messages dropped: their queue or spool is full, and these sources had the most in it"
            ),
            Some(error) => tracing::error!(
                lost, lost_total, sources = sources.len(), by_source, %error,
                "audit messages dropped: their spool cannot be written"
            ),
        }
        self.told_at = Some(Instant::now());
    }

    /// Removes what the receiver has from the spool.
    fn clear(&mut self, transport: &Transport) -> io::Result<()> {
        transport.sync().and_then(|()| self.spool.clear()).inspect_err(|error| {
            tracing::error!(%error, "sent audit messages cannot be removed from their spool: they are sent again after a start");
        })
    }
}
