//! The use of the machine by others during a run: time that its hypervisor took away, and time of processes that are neither the generator
//! nor the receiver. A figure from a busy machine is in doubt, however many digits it has.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::figures::rate;

/// Stolen time from here on is not small, as a part of all CPU time.
const MUCH_STEAL: f64 = 0.02;
/// The same of other processes.
const MUCH_FOREIGN: f64 = 0.10;

/// The use of all CPUs by others, as parts of their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Noise {
    /// By the hypervisor, for other machines.
    pub(crate) steal: f64,
    /// By other processes and by the kernel for itself; `None` where a receiver on this machine was not measured.
    pub(crate) foreign: Option<f64>,
}

impl Noise {
    /// Why figures of the run are in doubt; `None` on a quiet machine.
    pub(crate) fn doubt(&self) -> Option<String> {
        let percent = |share: f64| rate(100.0 * share);
        let steal = (self.steal > MUCH_STEAL).then(|| format!("{} % stolen by the hypervisor", percent(self.steal)));
        let foreign = self.foreign.filter(|foreign| *foreign > MUCH_FOREIGN);
        let foreign = foreign.map(|foreign| format!("{} % used by other processes", percent(foreign)));
        let said: Vec<String> = steal.into_iter().chain(foreign).collect();
        (!said.is_empty())
            .then(|| format!("in doubt, for the machine was not quiet: of its CPU time {}", said.join(", ")))
    }

    /// In figures.
    pub(crate) fn words(&self) -> String {
        let foreign = self.foreign.map_or("unknown".to_owned(), |foreign| format!("{} %", rate(100.0 * foreign)));
        format!("{} % stolen, {foreign} by other processes, of all CPU time", rate(100.0 * self.steal))
    }

    /// The worst of several runs.
    pub(crate) fn worst<'a>(runs: impl Iterator<Item = Option<&'a Self>>) -> Option<Self> {
        runs.flatten().copied().reduce(|one, other| Self {
            steal: one.steal.max(other.steal),
            foreign: one
                .foreign
                .zip(other.foreign)
                .map(|(one, other)| one.max(other))
                .or(one.foreign)
                .or(other.foreign),
        })
    }
}

/// CPU time of the whole machine so far, in ticks of the kernel's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Machine {
    /// Of processes; interrupts, which a load over loopback causes itself, are not in it.
    busy: u64,
    steal: u64,
    all: u64,
}

impl Machine {
    /// From `/proc/stat`; `None` where there is none.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|ticks| ticks.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guests are in user and nice already.
        let &[user, nice, system, _, _, _, _, steal, ..] = ticks.as_slice() else {
            return None;
        };
        Some(Self { busy: user + nice + system, steal, all: ticks.iter().take(8).sum() })
    }

    /// The use by others from `self` to `later`, when generator and receiver used so many seconds; `None`: the receiver's are not known.
    pub(crate) fn noise(&self, later: &Self, generator_s: f64, receiver_s: Option<f64>) -> Noise {
        let tick_s = 1.0 / rustix::param::clock_ticks_per_second().max(1) as f64;
        let between = |figure: fn(&Self) -> u64| figure(later).saturating_sub(figure(self)) as f64 * tick_s;
        let all_s = between(|machine| machine.all).max(tick_s);
        let foreign_s = |receiver_s: f64| (between(|machine| machine.busy) - generator_s - receiver_s).max(0.0);
        Noise {
            steal: between(|machine| machine.steal) / all_s,
            foreign: receiver_s.map(|receiver_s| foreign_s(receiver_s) / all_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neither_generator_nor_receiver_used_is_others() {
        let before = Machine::parse("cpu  100 0 100 1000 50 7 9 10 0 0\ncpu0 1 1 1\n").unwrap();
        let after = Machine::parse("cpu  500 50 350 1400 70 17 39 60 0 0\n").unwrap();
        let tick_s = 1.0 / rustix::param::clock_ticks_per_second() as f64;
        // 700 ticks of 1210 were busy, 50 stolen.
        let noise = before.noise(&after, 200.0 * tick_s, Some(300.0 * tick_s));
        assert!((noise.steal - 50.0 / 1210.0).abs() < 1e-9, "{noise:?}");
        assert!((noise.foreign.unwrap() - 200.0 / 1210.0).abs() < 1e-9, "{noise:?}");
        assert_eq!(before.noise(&after, 0.0, None).foreign, None);
        assert_eq!(Machine::parse("intr 5\n"), None);
    }

    #[test]
    fn doubt_is_stated_when_it_is_not_small_and_not_before() {
        assert_eq!(Noise { steal: 0.01, foreign: Some(0.05) }.doubt(), None);
        assert_eq!(Noise { steal: 0.01, foreign: None }.doubt(), None);
        let doubt = Noise { steal: 0.125, foreign: Some(0.3) }.doubt().unwrap();
        assert!(doubt.contains("12.5 % stolen") && doubt.contains("30.0 % used by other processes"), "{doubt}");
        let worst =
            Noise::worst([None, Some(&Noise { steal: 0.1, foreign: None }), Some(&Noise::default())].into_iter());
        assert_eq!(worst, Some(Noise { steal: 0.1, foreign: None }));
    }
}
