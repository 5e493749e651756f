//! Looks at the storage for all who ask. A look runs on a thread that may block, one at a time. A request waits for it within bounds and
//! gets the last look with its age, so a disk that hangs delays an answer once, and no scrape at all.

use std::time::{Duration, Instant};

use tidegate_actors::patience::within;
use tidegate_actors::{Observer, StorageLook};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// A look that takes longer than this means that the disk does not answer. A request that judges the disk waits for as long.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Time that a request waits if the disk is only part of its answer.
pub(super) const GLANCE: Duration = Duration::from_millis(200);

/// The looks at the storage, shared by all requests.
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

/// The state of the storage, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// The last look, and its age; `None`: the first is under way.
    pub(super) last: Option<(Duration, StorageLook)>,
    /// Time without an answer of the disk; `None`: it answers.
    pub(super) unanswered: Option<Duration>,
}

impl StorageWatch {
    /// The first look begins with the first request.
    pub(super) fn new(observer: Observer) -> Self {
        Self { observer, seen: watch::Sender::new(Seen::default()) }
    }

    /// The state of the storage, from a look that is at most `max_age` old, unless the disk takes longer than `patience` for one.
    pub(super) async fn look(&self, max_age: Duration, patience: Duration) -> Sight {
        let mut seen = self.seen.subscribe();
        let is_fresh = seen.borrow().look.as_ref().is_some_and(|(at, _)| at.elapsed() <= max_age);
        if !is_fresh {
            self.begin();
            // A later request waits only for the rest of the time.
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
    /// The rest of the time for which the look in progress is awaited. Without any look, there is no state to report.
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
        StorageLook {
            space: Ok(Space { free_bytes: 7, size_bytes: 10, inodes: None }),
            written: Ok(()),
            set_aside: Ok(0),
        }
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
