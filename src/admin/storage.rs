//! Looks at the storage for all surfaces. A disk that hangs, or many requests, do no harm: at most one look is in progress, on a thread that may
//! block, and its result is shared for a while.

use std::time::{Duration, Instant};

use tidegate_actors::patience::within;
use tidegate_actors::{Observer, StorageLook};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// Longest wait of a request for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct StorageWatch {
    observer: Observer,
    seen: watch::Sender<Seen>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    look: Option<(Instant, StorageLook)>,
    looking_since: Option<Instant>,
}

/// The disk has not responded in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk has not responded for {} ms", .0.as_millis())]
pub(super) struct NoAnswer(Duration);

impl StorageWatch {
    pub(super) fn new(observer: Observer) -> Self {
        Self { observer, seen: watch::Sender::new(Seen::default()) }
    }

    /// The state of the storage, at most `max_age` old.
    pub(super) async fn look(&self, max_age: Duration) -> Result<StorageLook, NoAnswer> {
        let mut seen = self.seen.subscribe();
        if let Some((at, look)) = &seen.borrow().look
            && at.elapsed() <= max_age
        {
            return Ok(look.clone());
        }
        self.begin();
        let has_looked = seen.wait_for(|seen| seen.looking_since.is_none());
        let Ok(Ok(seen)) = within(PATIENCE, has_looked).await else {
            let since = self.seen.borrow().looking_since;
            return Err(NoAnswer(since.map_or(PATIENCE, |since| since.elapsed())));
        };
        seen.look.as_ref().map(|(_, look)| look.clone()).ok_or(NoAnswer(PATIENCE))
    }

    /// Begins a look, unless one is in progress.
    fn begin(&self) {
        let is_first = self.seen.send_if_modified(|seen| {
            let is_first = seen.looking_since.is_none();
            seen.looking_since = seen.looking_since.or_else(|| Some(Instant::now()));
            is_first
        });
        if !is_first {
            return;
        }
        let (observer, seen) = (self.observer.clone(), self.seen.clone());
        spawn_blocking(move || {
            let look = observer.look_at_storage();
            seen.send_replace(Seen { look: Some((Instant::now(), look)), looking_since: None });
        });
    }
}
