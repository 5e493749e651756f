//! DICOM audit messages (PS3.15 §A.5): a child of the node's supervisor takes events from the audit trail and writes them to a file or a
//! syslog receiver.
//!
//! A message that could not be sent is repeated, with pauses up to [`LONGEST_PAUSE`]. Meanwhile the queue of the trail fills, and an event
//! that finds it full is lost and counted. No association waits for any of this.

mod message;
mod syslog;
mod target;
mod transport;

use std::time::Duration;

use tidegate_actors::{Observer, Service};
use tokio::time::sleep;

pub(crate) use message::Origin;
pub(crate) use target::Target;
use transport::Transport;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The child that writes audit messages to `target`, in the name of `origin`.
pub(crate) fn service(target: Target, origin: Origin) -> Service {
    Service::new("audit", move |observer| Box::pin(write_down(observer, target.clone(), origin.clone())))
}

async fn write_down(observer: Observer, target: Target, origin: Origin) {
    let Some(trail) = observer.audit() else { return };
    let mut transport = Transport::new(target);
    let mut told_dropped = 0;
    loop {
        let record = trail.next().await;
        let message = syslog::message(record.at, &origin, &message::xml(&record, &origin));
        let mut pause = FIRST_PAUSE;
        while let Err(error) = transport.send(&message).await {
            if pause == FIRST_PAUSE {
                tracing::error!(%error, "audit message not written; retrying");
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if pause != FIRST_PAUSE {
            tracing::info!("audit messages are written again");
        }
        let dropped = trail.dropped.get();
        if dropped > told_dropped {
            tracing::error!(
                lost = dropped - told_dropped,
                lost_total = dropped,
                "audit messages dropped: the queue was full"
            );
            told_dropped = dropped;
        }
    }
}
