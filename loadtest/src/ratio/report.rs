//! The table of one load.

use std::fmt::Write;

use serde::Serialize;

use super::Figures;
use super::contender::Contender;
use crate::render::{Table, bytes, ms, rate};
use crate::statistics::median;

/// What all came to under one load, round by round.
#[derive(Debug, Serialize)]
pub(crate) struct Workload {
    load: String,
    contenders: Vec<(String, Vec<Figures>)>,
    /// Those that are limits.
    limits: Vec<usize>,
}

impl Workload {
    pub(crate) fn new(workload: super::Workload, contenders: &[Contender]) -> Self {
        let is_limit = |at: &usize| matches!(contenders.get(*at), Some(Contender::Limit(_)));
        Self {
            load: format!("{workload:?}").to_lowercase(),
            contenders: contenders.iter().map(|contender| (contender.name(), Vec::new())).collect(),
            limits: (0..contenders.len()).filter(is_limit).collect(),
        }
    }

    pub(crate) fn add(&mut self, contender: usize, figures: Figures) {
        if let Some((_, rounds)) = self.contenders.get_mut(contender) {
            rounds.push(figures);
        }
    }

    /// The limit that is fastest here.
    fn best_limit(&self) -> Option<&[Figures]> {
        let rounds = self.limits.iter().filter_map(|limit| Some(self.contenders.get(*limit)?.1.as_slice()));
        rounds.max_by(|one, other| of(one, |f| f.per_s).total_cmp(&of(other, |f| f.per_s)))
    }

    pub(crate) fn text(&self, markdown: bool) -> String {
        let head =
            ["", "per s", "of limit", "per s, synced", "p99", "of limit", "CPU-s/GB", "of limit", "peak RSS", "idle"];
        let mut table = Table::new(&head);
        let limit = self.best_limit().unwrap_or_default();
        for (name, rounds) in self.contenders.iter().filter(|(_, rounds)| !rounds.is_empty()) {
            let ratio = |figure: fn(&Figures) -> f64| {
                let ratios: Vec<f64> =
                    rounds.iter().zip(limit).map(|(one, limit)| figure(one) / figure(limit)).collect();
                median(&ratios)
                    .filter(|ratio| ratio.is_finite())
                    .map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
            };
            let shown = |figure: fn(&Figures) -> f64, show: fn(f64) -> String| match of(rounds, figure) {
                value if value > 0.0 => show(value),
                _ => "–".to_owned(),
            };
            table.row([
                name.clone(),
                shown(|f| f.per_s, rate),
                ratio(|f| f.per_s),
                shown(|f| f.synced_per_s, rate),
                shown(|f| f.p99_ms, ms),
                ratio(|f| f.p99_ms),
                shown(|f| f.cpu_s_per_gb, rate),
                ratio(|f| f.cpu_s_per_gb),
                shown(|f| f.peak_rss_bytes, bytes),
                shown(|f| f.idle_bytes, bytes),
            ]);
        }
        let mut text = String::new();
        let rounds = self.contenders.iter().map(|(_, rounds)| rounds.len()).max().unwrap_or(0);
        let _ = writeln!(text, "{}{}, medians of {rounds} rounds\n", if markdown { "### " } else { "" }, self.load);
        let _ = writeln!(text, "{}", if markdown { table.markdown() } else { table.text() });
        text
    }
}

fn of(rounds: &[Figures], figure: fn(&Figures) -> f64) -> f64 {
    median(&rounds.iter().map(figure).collect::<Vec<_>>()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::Mode;

    #[test]
    fn each_is_held_against_the_fastest_limit_round_by_round() {
        let limits = [Mode::PerFile, Mode::Log].map(Contender::Limit);
        let mut workload = Workload::new(super::super::Workload::Tiny, &limits);
        for (slow, fast) in [(50.0, 100.0), (10.0, 20.0), (30.0, 40.0)] {
            workload.add(0, Figures { per_s: slow, ..Figures::default() });
            workload.add(1, Figures { per_s: fast, ..Figures::default() });
        }
        let text = workload.text(true);
        assert!(text.starts_with("### tiny, medians of 3 rounds"), "{text}");
        let row = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(row("PerFile").contains("| 0.50 |") && row("Log").contains("| 1.00 |"), "{text}");
    }
}
