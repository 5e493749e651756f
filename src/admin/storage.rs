//! Looks at the storage for all who ask. A look runs on a thread that may block, one at a time. A request waits for it within bounds and
//! gets the last look with its age, so a disk that hangs delays an answer once, and no scrape at all.

use std::time::{Duration, Instant};

use tidegate_actors::patience::within;
use tidegate_actors::{Observer, StorageLook};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// A look that takes longer than this means that the disk does not answer. A request that judges the disk waits for as long.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(2);
/// How long a request waits that has more to tell than the disk.
pub(super) const GLANCE: Duration = Duration::from_millis(200);

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

/// What is known of the storage at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// The last look, and its age; `None`: the first is under way.
    pub(super) last: Option<(Duration, StorageLook)>,
    /// How long the disk has not answered; `None`: it does.
    pub(super) unanswered: Option<Duration>,
}

impl StorageWatch {
    /// Nothing is looked at before somebody asks.
    pub(super) fn new(observer: Observer) -> Self {
        Self { observer, seen: watch::Sender::new(Seen::default()) }
    }

    /// What is known of the storage, from a look that is `max_age` old at most unless the disk takes longer than `patience` for one.
    pub(super) async fn look(&self, max_age: Duration, patience: Duration) -> Sight {
        let mut seen = self.seen.subscribe();
        let is_fresh = seen.borrow().look.as_ref().is_some_and(|(at, _)| at.elapsed() <= max_age);
        if !is_fresh {
            self.begin();
            // Whoever comes later waits for the rest of the time only.
            let left = seen.borrow().left_of(patience);
            let _ = within(left, seen.wait_for(|seen| seen.looking_since.is_none())).await;
        }
        seen.borrow().sight()
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

impl Seen {
    /// What is left of the time for which the look under way is awaited. Without a look there is nothing else to tell.
    fn left_of(&self, patience: Duration) -> Duration {
        let patience = if self.look.is_some() { patience } else { ANSWER_TIME };
        patience.saturating_sub(self.looking_since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn sight(&self) -> Sight {
        Sight {
            last: self.look.as_ref().map(|(at, look)| (at.elapsed(), look.clone())),
            unanswered: self.looking_since.map(|since| since.elapsed()).filter(|time| *time >= ANSWER_TIME),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_storage::Space;

    use super::*;

    fn look() -> StorageLook {
        StorageLook { space: Ok(Space { free_bytes: 7, size_bytes: 10 }), written: Ok(()), set_aside: Ok(0) }
    }

    #[test]
    fn a_disk_that_hangs_is_told_from_a_slow_one_and_nobody_waits_for_it_twice() {
        let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms));
        let seen = |looking_ms| Seen { look: ago(9_000).map(|at| (at, look())), looking_since: ago(looking_ms) };
        assert!(seen(50).left_of(GLANCE) <= GLANCE - Duration::from_millis(50));
        assert_eq!(seen(500).sight().unanswered, None, "slow");
        let sight = seen(12_000).sight();
        assert!(sight.unanswered.is_some_and(|time| time >= Duration::from_secs(12)), "{sight:?}");
        assert!(sight.last.is_some_and(|(age, _)| age >= Duration::from_secs(9)), "the last look stays");
        assert_eq!(seen(12_000).left_of(ANSWER_TIME), Duration::ZERO);
        assert!(Seen::default().left_of(GLANCE) == ANSWER_TIME, "the first look is awaited");
    }
}
