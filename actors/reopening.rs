//! When a database of the node that has failed is tried again: the catalogue, and the record of commitment requests.

use std::time::{Duration, Instant};

use tidegate_catalogue::{Error, Remedy};

/// The pauses of a database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    /// Before the first repetition of what failed; each further one takes twice as long.
    pub(crate) first: Duration,
    /// At most.
    pub(crate) longest: Duration,
    /// Least time between two files that are set aside. A disk that damages each of them must not fill the log.
    pub(crate) between_set_aside: Duration,
}

/// The failures of a database. Nothing is given up.
#[derive(Debug)]
pub(crate) struct Reopening {
    pauses: Pauses,
    at: Option<Instant>,
    pause: Duration,
    set_aside_at: Option<Instant>,
}

impl Reopening {
    pub(crate) fn new(pauses: Pauses) -> Self {
        Self { pauses, at: None, pause: pauses.first, set_aside_at: None }
    }

    /// When something may be tried again; `None`: nothing has failed.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.at
    }

    pub(crate) fn succeeded(&mut self) {
        (self.at, self.pause) = (None, self.pauses.first);
    }

    pub(crate) fn failed(&mut self, remedy: Remedy) {
        // A file that was deleted is made again at once.
        let is_at_once = remedy == Remedy::Reopen && self.at.is_none();
        self.wait(if is_at_once { Duration::ZERO } else { self.pause });
    }

    pub(crate) fn may_set_aside(&self) -> bool {
        self.set_aside_at.is_none_or(|at| at.elapsed() >= self.pauses.between_set_aside)
    }

    pub(crate) fn was_set_aside(&mut self) {
        self.set_aside_at = Some(Instant::now());
        self.wait(Duration::ZERO);
    }

    fn wait(&mut self, pause: Duration) {
        self.at = Some(Instant::now() + pause);
        self.pause = (self.pause * 2).min(self.pauses.longest);
    }
}

/// The remedy of an error. At a path that nobody has named, a file whose first page is damaged looks like another program's.
pub(crate) fn remedy_of(error: &Error, is_own: bool) -> Remedy {
    match error {
        Error::Foreign { .. } if is_own => Remedy::SetAside,
        error => error.remedy(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_a_success_begins_anew() {
        let [first, longest] = [10, 40].map(Duration::from_secs);
        let mut reopening = Reopening::new(Pauses { first, longest, between_set_aside: longest });
        let mut waits = |remedy| {
            reopening.failed(remedy);
            reopening.at().unwrap().saturating_duration_since(Instant::now()).as_secs_f64().round() as u64
        };
        assert_eq!([Remedy::Reopen, Remedy::Reopen, Remedy::Retry, Remedy::Operator].map(&mut waits), [0, 20, 40, 40]);
        reopening.succeeded();
        assert_eq!(reopening.at(), None);
        assert!(reopening.may_set_aside());
        reopening.was_set_aside();
        assert!(!reopening.may_set_aside() && reopening.at().is_some_and(|at| at <= Instant::now()));
    }
}
