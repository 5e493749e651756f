//! The instances of one association, study after study. They follow from the seed and the association's number alone, and their UIDs from
//! the number of the run.

use crate::catalogue::{Catalogue, Kind, Studies};
use crate::dataset::InstanceUids;
use crate::random::Random;
use crate::uid::{UidKind, uid};

/// One instance, named by numbers from which its UIDs follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) template: u32,
    /// Each counted from the association's first.
    pub(crate) number: u32,
    pub(crate) study: u32,
    pub(crate) series: u32,
}

impl Instance {
    /// Its UIDs when association number `association` sends it in the run numbered `run`.
    pub(crate) fn uids(&self, run: u64, association: u32) -> InstanceUids {
        let of = |kind, index: u32| uid(run, association as usize, kind, u64::from(index));
        InstanceUids {
            sop_instance: of(UidKind::Instance, self.number),
            study: of(UidKind::Study, self.study),
            series: of(UidKind::Series, self.series),
        }
    }
}

/// An endless row of instances.
#[derive(Debug)]
pub(crate) struct Itinerary<'a> {
    /// The kinds that it sends.
    kinds: Vec<&'a Kind>,
    random: Random,
    /// The instance that comes next.
    next: Instance,
    /// Those after it in its study, the last first, each with its template and whether a series begins with it.
    rest: Vec<(u32, bool)>,
}

impl<'a> Itinerary<'a> {
    /// Of the kinds with these places in the catalogue.
    pub(crate) fn new(catalogue: &'a Catalogue, kinds: &[usize], seed: u64, association: u32) -> Self {
        let kinds = kinds.iter().filter_map(|&kind| catalogue.kinds.get(kind)).collect();
        let next = Instance { template: 0, number: 0, study: 0, series: 0 };
        let mut itinerary =
            Self { kinds, random: Random::stream(seed, u64::from(association)), next, rest: Vec::new() };
        itinerary.next.template = itinerary.begin_study();
        itinerary
    }

    /// The instance that comes next, which stays so until [`Itinerary::advance`].
    pub(crate) fn peek(&self) -> Instance {
        self.next
    }

    /// Goes on to the instance after it.
    pub(crate) fn advance(&mut self) {
        self.next.number = self.next.number.wrapping_add(1);
        if let Some((template, begins_series)) = self.rest.pop() {
            self.next.template = template;
            self.next.series = self.next.series.wrapping_add(u32::from(begins_series));
        } else {
            self.next.study = self.next.study.wrapping_add(1);
            self.next.series = self.next.series.wrapping_add(1);
            self.next.template = self.begin_study();
        }
    }

    /// Makes up a study and returns the template of its first instance.
    fn begin_study(&mut self) -> u32 {
        let mut templates = Vec::new();
        let Some(kind) = self.draw_kind() else {
            return 0;
        };
        match &kind.studies {
            Studies::Generated { templates: variants, series, instances } => {
                for _ in 0..self.random.between(series.low, series.high) {
                    let variant = self.random.between(0, variants.len().saturating_sub(1) as u64) as usize;
                    let template = variants.get(variant).copied().unwrap_or_default() as u32;
                    let count = self.random.between(instances.low, instances.high);
                    templates.extend((0..count).map(|index| (template, index == 0)));
                }
            }
            Studies::Given(studies) => {
                let study = self.random.between(0, studies.len().saturating_sub(1) as u64) as usize;
                let mut last = None;
                // A series counts as begun whenever it changes, so the instances of one follow each other.
                let mut sorted = studies.get(study).cloned().unwrap_or_default();
                sorted.sort_by_key(|(series, _)| *series);
                for (series, template) in sorted {
                    templates.push((template as u32, last != Some(series)));
                    last = Some(series);
                }
            }
        }
        templates.reverse();
        let first = templates.pop().map_or(0, |(template, _)| template);
        self.rest = templates;
        first
    }

    fn draw_kind(&mut self) -> Option<&'a Kind> {
        let weight: u64 = self.kinds.iter().map(|kind| kind.weight).sum();
        let mut drawn = self.random.between(1, weight.max(1));
        self.kinds.iter().copied().find(|kind| {
            let found = drawn <= kind.weight;
            drawn = drawn.saturating_sub(kind.weight);
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;
    use crate::scenario::Scenario;

    fn catalogue() -> Catalogue {
        let text = "name = \"t\"\n[load]\ninstances = 1\n\
                    [[mix]]\nmodality = \"CT\"\nrows = 4\ncolumns = 4\nweight = 3\nseries = \"2..4\"\ninstances = \"3..5\"\n\
                    [[mix]]\nmodality = \"SR\"\n";
        Catalogue::new(&Scenario::parse(text, "t", Path::new("")).unwrap(), 1).unwrap()
    }

    fn sent(catalogue: &Catalogue, seed: u64, association: u32, count: usize) -> Vec<Instance> {
        let mut itinerary = Itinerary::new(catalogue, &[0, 1], seed, association);
        let mut sent = Vec::new();
        for _ in 0..count {
            sent.push(itinerary.peek());
            itinerary.advance();
        }
        sent
    }

    #[test]
    fn studies_have_the_series_and_instances_and_the_shares_that_were_asked_for() {
        let catalogue = catalogue();
        let sent = sent(&catalogue, 1, 0, 20_000);
        // Of each study its series, and of each series its instances. The last study may be cut short.
        let last = sent.last().unwrap().study;
        let mut studies: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for instance in sent.iter().filter(|instance| instance.study != last) {
            *studies.entry(instance.study).or_default().entry(instance.series).or_default() += 1;
            kinds.insert(instance.study, catalogue.templates[instance.template as usize].kind);
        }
        let of_kind = |kind| studies.iter().filter(move |(study, _)| kinds[study] == kind).map(|(_, series)| series);
        let of_ct: Vec<_> = of_kind.clone()(0).collect();
        let lengths: BTreeSet<_> = of_ct.iter().map(|series| series.len()).collect();
        assert_eq!(lengths, BTreeSet::from([2, 3, 4]));
        let lengths: BTreeSet<_> = of_ct.iter().flat_map(|series| series.values().copied()).collect();
        assert_eq!(lengths, BTreeSet::from([3, 4, 5]));
        let share = of_ct.len() as f64 / studies.len() as f64;
        assert!((0.72..0.78).contains(&share), "{share}");
        assert!(of_kind(1).all(|series| series.values().copied().eq([1])));
    }

    #[test]
    fn no_two_instances_share_a_uid_and_no_series_belongs_to_two_studies() {
        let catalogue = catalogue();
        let sent = sent(&catalogue, 1, 0, 1000);
        assert!(sent.iter().enumerate().all(|(index, instance)| instance.number as usize == index));
        let mut studies = BTreeMap::new();
        for instance in &sent {
            assert_eq!(*studies.entry(instance.series).or_insert(instance.study), instance.study);
        }
    }

    #[test]
    fn the_seed_and_the_association_decide_what_is_sent() {
        let catalogue = catalogue();
        assert_eq!(sent(&catalogue, 1, 0, 100), sent(&catalogue, 1, 0, 100));
        assert_ne!(sent(&catalogue, 1, 0, 100), sent(&catalogue, 1, 1, 100));
        assert_ne!(sent(&catalogue, 1, 0, 100), sent(&catalogue, 2, 0, 100));
    }

    #[test]
    fn given_studies_are_sent_series_by_series() {
        let mut catalogue = catalogue();
        catalogue.kinds.truncate(1);
        catalogue.kinds[0].studies = Studies::Given(vec![vec![(1, 0), (0, 1), (1, 1)]]);
        let sent: Vec<_> =
            sent(&catalogue, 1, 0, 6).iter().map(|each| (each.study, each.series, each.template)).collect();
        assert_eq!(sent, [(0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 2, 1), (1, 3, 0), (1, 3, 1)]);
    }
}
