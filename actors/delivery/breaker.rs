//! The breaker of a destination: while the destination as a whole fails, one probe at a time asks whether it is back.
//!
//! ```text
//! closed ── failures in a row ─▶ open ── wait ─▶ probing ── a success ─▶ closed
//!                                  ▲───── a failure ──┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;

/// The cost of another probe, by which its wait is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection came about, or no association: a probe costs the destination nothing. So a destination that is back after a day is
    /// found within 15 s, the time to connect included.
    Unreachable,
    /// The destination answers, and refuses or fails.
    Failing,
    /// The destination answers a C-ECHO, and loses each instance that it is sent. The next may be another matter, and must not wait for these.
    Losing,
}

const UNREACHABLE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_millis(6500), factor: 2 };
const FAILING: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300), factor: 2 };
const LOSING: Backoff = Backoff { first: Duration::from_millis(800), longest: Duration::from_secs(30), factor: 2 };
/// Instances that a destination may lose one after another before that takes longer and longer.
const LOSSES: u32 = 10;

/// Failures of instances and associations in a row, without a success, that open the breaker. One may be the fault of the instance.
const IN_A_ROW: u32 = 3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// In a row, while it is closed.
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    why: String,
    failures: u32,
    probe_at: Instant,
    is_probing: bool,
}

/// What may be begun at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Associations, as many as the settings allow.
    Open,
    /// One association with one instance.
    Probe,
    /// Nothing before this.
    Closed(Instant),
    /// Nothing before the probe under way has ended.
    Probing,
}

impl Breaker {
    /// What may be begun.
    pub(super) fn gate(&self, now: Instant) -> Gate {
        match &self.open {
            None => Gate::Open,
            Some(open) if open.is_probing => Gate::Probing,
            Some(open) if open.probe_at <= now => Gate::Probe,
            Some(open) => Gate::Closed(open.probe_at),
        }
    }

    /// A probe begins.
    pub(super) fn begin_probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = true;
        }
    }

    /// A probe has ended without an outcome, since there was nothing to send. The next may begin.
    pub(super) fn end_probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = false;
        }
    }

    /// The destination has failed as a whole. True: it is down from now on.
    pub(super) fn broke(&mut self, failure: Failure, why: String, now: Instant) -> bool {
        let (since, failures) = self.open.as_ref().map_or((now, 1), |open| (open.since, open.failures + 1));
        let is_new = self.open.is_none();
        let wait = match failure {
            Failure::Unreachable => UNREACHABLE.after(failures),
            Failure::Failing => FAILING.after(failures),
            Failure::Losing => LOSING.after(failures.saturating_sub(LOSSES)),
        };
        let probe_at = now + wait;
        self.open = Some(Open { since, why, failures, probe_at, is_probing: false });
        is_new
    }

    /// An instance or an association has failed, by no fault of its own that is known. True: the destination is down from now on.
    pub(super) fn stumbled(&mut self, failure: Failure, why: String, now: Instant) -> bool {
        self.failures += 1;
        (self.open.is_some() || self.failures >= IN_A_ROW) && self.broke(failure, why, now)
    }

    /// Whether anything has failed since the last success.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.failures > 0 || self.open.is_some()
    }

    /// The destination has taken or judged an instance. The time for which it was down, if it was.
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<Duration> {
        self.failures = 0;
        self.open.take().map(|open| now.saturating_duration_since(open.since))
    }

    /// An operator knows better, or the settings have changed: the next probe is due.
    pub(super) fn hasten(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            (open.probe_at, open.failures) = (now, 0);
        }
    }

    /// Since when the destination is down, why, and when the next probe is due.
    pub(super) fn down(&self) -> Option<(Instant, &str, Instant)> {
        self.open.as_ref().map(|open| (open.since, open.why.as_str(), open.probe_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why() -> String {
        "connection refused".to_owned()
    }

    #[test]
    fn an_unreachable_destination_is_probed_again_and_again_and_found_soon_after_a_day() {
        let (mut breaker, began) = (Breaker::default(), Instant::now());
        assert_eq!(breaker.gate(began), Gate::Open);
        let mut now = began;
        let (mut is_new, mut probes) = (true, 0);
        while now < began + Duration::from_secs(86_400) {
            assert_eq!(breaker.broke(Failure::Unreachable, why(), now), is_new);
            is_new = false;
            let Gate::Closed(at) = breaker.gate(now) else { panic!("{:?}", breaker.gate(now)) };
            assert!(at - now <= Duration::from_secs(8), "{:?}", at - now);
            assert_eq!(breaker.gate(at), Gate::Probe);
            breaker.begin_probe();
            assert_eq!(breaker.gate(at), Gate::Probing, "one at a time");
            now = at;
            probes += 1;
        }
        assert!(probes < 20_000, "{probes}");
        assert_eq!(breaker.down().map(|(since, why, _)| (since, why.to_owned())), Some((began, why())));
        assert_eq!(breaker.succeeded(now), Some(now - began));
        assert_eq!(breaker.gate(now), Gate::Open);
    }

    #[test]
    fn a_failing_destination_has_longer_and_longer_pauses_up_to_minutes() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let waits: Vec<u64> = (0..12)
            .map(|_| {
                breaker.broke(Failure::Failing, why(), now);
                (breaker.down().unwrap().2 - now).as_secs()
            })
            .collect();
        assert!(waits[0] <= 1 && waits[11] >= 240 && waits[11] <= 360, "{waits:?}");
        breaker.hasten(now);
        assert_eq!(breaker.gate(now), Gate::Probe);
        breaker.begin_probe();
        breaker.end_probe();
        assert_eq!(breaker.gate(now), Gate::Probe, "a probe without an instance says nothing");
    }

    #[test]
    fn a_stumble_or_two_are_no_failure_of_the_destination() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            assert!(!breaker.stumbled(Failure::Failing, why(), now) && !breaker.stumbled(Failure::Failing, why(), now));
            assert_eq!(breaker.gate(now), Gate::Open);
            assert_eq!(breaker.succeeded(now), None);
        }
        assert!(
            !breaker.stumbled(Failure::Failing, why(), now)
                && !breaker.stumbled(Failure::Failing, why(), now)
                && breaker.stumbled(Failure::Failing, why(), now)
        );
        assert!(matches!(breaker.gate(now), Gate::Closed(_)));
        breaker.begin_probe();
        assert!(!breaker.stumbled(Failure::Failing, why(), now), "it is known to be down");
        assert!(matches!(breaker.gate(now), Gate::Closed(_)), "the probe has failed");
    }

    #[test]
    fn a_destination_that_loses_instances_is_asked_every_second_for_a_while() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let waits: Vec<u64> = (0..20)
            .map(|_| {
                breaker.broke(Failure::Losing, why(), now);
                (breaker.down().unwrap().2 - now).as_millis() as u64
            })
            .collect();
        assert!(waits[..10].iter().all(|wait| *wait <= 1000), "{waits:?}");
        assert!(waits[19] >= 24_000 && waits[19] <= 36_000, "{waits:?}");
    }
}
