use super::*;
use crate::random::Random;

fn axis(key: &str, values: &[&str]) -> Axis {
    Axis { key: key.into(), values: values.iter().map(|value| (*value).into()).collect() }
}

/// A host on which few writers want a deep mailbox, and more than four gain nothing; with noise, and a clock that runs with each run.
struct Host {
    random: Random,
    noise: f64,
    left_s: f64,
    beside_s: f64,
    drift: f64,
    order: Vec<(usize, String)>,
}

impl Host {
    fn new(seed: u64, noise: f64, left_s: f64) -> Self {
        Self { random: Random::new(seed), noise, left_s, beside_s: 0.5, drift: 0.0, order: Vec::new() }
    }

    fn rate(settings: &Settings) -> f64 {
        let number = |key: &str, otherwise: f64| settings.get(key).map_or(otherwise, |value| value.parse().unwrap());
        let (writers, mailbox) = (number("writers", 16.0), number("mailbox", 1.0));
        25.0 * writers.min(4.0) * if mailbox < 8.0 && writers < 8.0 { 0.5 } else { 1.0 }
    }
}

impl Bench for Host {
    type Error = String;

    fn measure(&mut self, settings: &Settings, round: usize, length_s: f64) -> Result<Figures, String> {
        self.left_s -= length_s + self.beside_s;
        self.order.push((round, trial_words(settings)));
        let mut normal = || (0..12).map(|_| self.random.unit()).sum::<f64>() - 6.0;
        self.drift = 0.9 * self.drift + 0.3 * self.noise * normal();
        let own = self.noise * normal();
        let per_s = Self::rate(settings) * (self.drift + own).exp();
        let number = |key: &str| settings.get(key).map_or(1.0, |value| value.parse().unwrap());
        Ok(Figures { per_s, p99_ms: number("mailbox"), peak_rss_bytes: 10.0 * number("writers"), ..Figures::default() })
    }

    fn left_s(&self) -> f64 {
        self.left_s
    }

    fn beside_s(&self) -> f64 {
        self.beside_s
    }
}

fn trial_words(settings: &Settings) -> String {
    super::super::trial::words(settings)
}

const RULES: Rules =
    Rules { goal: Goal::Instances, rounds: 4, length_s: 5.0, max_rss_bytes: f64::INFINITY, max_p99_ms: f64::INFINITY };

fn stages() -> Vec<Vec<Axis>> {
    vec![
        vec![axis("writers", &["1", "2", "4", "8"]), axis("mailbox", &["1", "8", "64"])],
        vec![axis("pdu", &["16", "128"])],
    ]
}

fn find(host: &mut Host, rules: &Rules) -> Search {
    search(&stages(), &Settings::new(), &Settings::new(), rules, host).unwrap()
}

#[test]
fn what_is_configured_stays_when_nothing_is_better() {
    let search = find(&mut Host::new(1, 0.005, 5000.0), &RULES);
    assert_eq!(search.stages.iter().map(|stage| &stage.answer).collect::<Vec<_>>(), [&Answer::AsConfigured; 2]);
    assert!(search.best.is_empty() && search.best_figures().unwrap().per_s > 90.0);
}

#[test]
fn keys_that_act_on_each_other_are_found_together() {
    // Configured are two writers with a mailbox of one: neither key alone reaches the best.
    let fixed = Settings::from([("writers".into(), "2".into()), ("mailbox".into(), "1".into())]);
    for (max_rss_bytes, expected) in [(f64::INFINITY, ("4", "8")), (25.0, ("2", "8"))] {
        let rules = Rules { max_rss_bytes, ..RULES };
        let search = search(&stages(), &fixed, &Settings::new(), &rules, &mut Host::new(1, 0.005, 5000.0)).unwrap();
        let found = (search.best["writers"].as_str(), search.best["mailbox"].as_str());
        assert_eq!(found, expected, "{:?}", search.stages[0].answer);
    }
}

#[test]
fn every_answer_is_within_5_percent_of_the_best_or_it_cannot_be_told() {
    let fixed = Settings::from([("writers".into(), "1".into())]);
    let (mut told, mut open) = (0, 0);
    for noise in [0.01, 0.05, 0.2] {
        for seed in 0..20 {
            let search =
                search(&stages(), &fixed, &Settings::new(), &RULES, &mut Host::new(seed, noise, 3000.0)).unwrap();
            match search.stages[0].answer {
                Answer::Take(_) => {
                    told += 1;
                    assert!(Host::rate(&search.best) >= 0.95 * 100.0, "{:?}", search.best);
                }
                Answer::CannotTell(_) => open += 1,
                ref other => panic!("{other:?}"),
            }
        }
    }
    assert!(told >= 20 && open >= 10, "{told} told, {open} open");
}

#[test]
fn no_key_is_left_out_while_there_is_time() {
    // Fourteen and three trials, four rounds, 5.5 s each: 374 s. With less the runs get shorter, then the values fewer.
    for (left_s, values_left_out) in [(374.0, false), (110.0, false), (60.0, true)] {
        let mut host = Host::new(1, 0.01, left_s);
        let search = find(&mut host, &RULES);
        assert_eq!(search.stages.len(), 2, "{left_s}: {:?}", search.left_out);
        assert_eq!(!search.left_out.is_empty(), values_left_out, "{left_s}");
        assert!(host.left_s > -6.0, "{left_s}: {}", host.left_s);
    }
    let search = find(&mut Host::new(1, 0.01, 4.0), &RULES);
    let left_out: Vec<_> = search.left_out.iter().map(|left| (left.keys.len(), left.combinations.len())).collect();
    assert!(search.stages.is_empty() && left_out == [(2, 12), (1, 2)], "{:?}", search.left_out);
}

#[test]
fn short_of_time_the_first_key_keeps_its_values_and_what_was_left_out_is_told_with_its_time() {
    let mailbox_first: Vec<Vec<Axis>> = vec![
        vec![axis("mailbox", &["1", "8", "64"]), axis("writers", &["1", "2", "4", "8"])],
        vec![axis("pdu", &["16", "128"])],
    ];
    // Three values and what is configured, three rounds of 1.5 s: 18 s.
    let mut host = Host::new(1, 0.01, 19.0);
    let search = search(&mailbox_first, &Settings::new(), &Settings::new(), &RULES, &mut host).unwrap();
    let stage = &search.stages[0];
    assert_eq!((stage.keys.as_slice(), stage.trials.len()), (&["mailbox".to_owned()][..], 4), "{stage:?}");
    let [first, second] = &search.left_out[..] else { panic!("{:?}", search.left_out) };
    // All combinations with a number of writers; four rounds of a run of 5.5 s for each.
    assert_eq!((first.combinations.len(), first.takes_s), (12, 12.0 * 4.0 * 5.5));
    assert_eq!((second.keys.as_slice(), second.combinations.len()), (&["pdu".to_owned()][..], 2));
}

#[test]
fn what_is_configured_is_measured_once() {
    let defaults = Settings::from([("writers".into(), "8".into()), ("mailbox".into(), "64".into())]);
    let mut host = Host::new(1, 0.005, 5000.0);
    let search = search(&stages(), &Settings::new(), &defaults, &RULES, &mut host).unwrap();
    let values: Vec<_> = search.stages[0].trials.iter().map(|trial| trial.values.join(" ")).collect();
    assert!(values.len() == 12 && !values.contains(&"8 64".to_owned()), "{values:?}");
    let sizes = [axis("size", &["16 KiB", "128 KiB"])];
    let default = Settings::from([("size".into(), "131072 B".into())]);
    assert_eq!(combinations(&sizes, &Settings::new(), &default).len(), 2);
    // A value that a stage has taken, or the command line set, is the configured one for the next stage.
    assert_eq!(combinations(&sizes, &Settings::from([("size".into(), "16 KiB".into())]), &default).len(), 2);
}

#[test]
fn runs_of_all_trials_alternate_and_the_open_ones_get_the_time_that_is_left() {
    let mut host = Host::new(3, 0.03, 2000.0);
    let search = find(&mut host, &RULES);
    let first: Vec<usize> = host.order.iter().take(26).map(|(round, _)| *round).collect();
    assert_eq!((first[..13].to_vec(), first[13..].to_vec()), (vec![0; 13], vec![1; 13]));
    assert_eq!(host.order[12].1, host.order[13].1, "back as it came");
    assert!(search.stages[0].trials.iter().any(|trial| trial.runs.len() > 4), "{:?}", search.stages[0].answer);
}

#[test]
fn what_breaks_a_bound_or_fails_is_out_and_a_bound_that_nothing_keeps_is_said() {
    let rules = Rules { max_p99_ms: 0.5, ..RULES };
    let search = find(&mut Host::new(1, 0.005, 5000.0), &rules);
    assert_eq!(search.stages[0].p99_bound_ms, Some(1.25));
    struct Failing(Host);
    impl Bench for Failing {
        type Error = String;
        fn measure(&mut self, settings: &Settings, round: usize, length_s: f64) -> Result<Figures, String> {
            Ok(Figures { failed: 1.0, ..self.0.measure(settings, round, length_s)? })
        }
        fn left_s(&self) -> f64 {
            self.0.left_s
        }
        fn beside_s(&self) -> f64 {
            self.0.beside_s
        }
    }
    let mut failing = Failing(Host::new(1, 0.005, 5000.0));
    let search = super::search(&stages(), &Settings::new(), &Settings::new(), &RULES, &mut failing).unwrap();
    assert!(search.stages.iter().all(|stage| stage.answer == Answer::NoneKept));
}
