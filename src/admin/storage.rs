//! Looks at the storage for whoever asks, without letting a disk that hangs, or many who ask, do harm: one look at a time, on a
//! thread that may block; its result is good for a while.

use std::time::{Duration, Instant};

use tidegate_actors::patience::within;
use tidegate_actors::{Observer, StorageLook};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// How long whoever asks waits for the disk.
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

/// The disk has not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk has not responded for {} ms", .0.as_millis())]
pub(super) struct NoAnswer(Duration);

impl StorageWatch {
    pub(super) fn new(observer: Observer) -> Self {
        Self { observer, seen: watch::Sender::new(Seen::default()) }
    }

    /// What the storage is like, as of `max_age` ago at most.
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

    /// Begins a look, unless one is under way.
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
