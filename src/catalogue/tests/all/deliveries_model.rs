//! Any history of arrivals, losses, outcomes, operators' changes and crashes: the queues are those of a model, and all sums agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tidegate_catalogue::{
    Catalogue, Change, ChangeProgress, Choice, DeliveryNote, DeliveryState, Origin, Outcome, Reader, Record,
};

use super::support::{directory, path_in, record};

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Few, so that most acts meet another.
const INSTANCES: u32 = 8;

#[derive(Clone, Debug)]
enum Act {
    /// An instance comes, for a set of destinations.
    Enter { at: u32, content: u8, to: u8 },
    /// Its file is gone, or was released.
    End { at: u32, is_released: bool },
    /// The first of a page is settled. `late`: with a key of a page that was read some acts ago.
    Settle { destination: usize, at: usize, how: How, is_late: bool },
    /// An operator.
    Change { destination: usize, change: Change, study: Option<u32>, is_dead: bool },
    /// The process dies: pages that were read are of the former one.
    Reopen,
    /// The catalogue is made anew from the files: all is owed again.
    Rebuild,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Deliver,
    Retry {
        counts: bool,
    },
    Die,
    /// The destination has it, and is to commit it.
    Send,
    /// Its commitment is asked for.
    Ask,
    Commit,
}

fn act() -> impl Strategy<Value = Act> {
    let how = prop_oneof![
        Just(How::Deliver),
        any::<bool>().prop_map(|counts| How::Retry { counts }),
        Just(How::Die),
        Just(How::Send),
        Just(How::Ask),
        Just(How::Commit)
    ];
    let change = prop_oneof![Just(Change::Add), Just(Change::Retry), Just(Change::Drop)];
    let enter = (0..INSTANCES, 0_u8..2, 0_u8..8).prop_map(|(at, content, to)| Act::Enter { at, content, to });
    let settle = (0..NAMES.len(), 0_usize..4, how, any::<bool>());
    let changed = (0..NAMES.len(), change, proptest::option::of(0_u32..3), any::<bool>());
    prop_oneof![
        8 => enter,
        2 => (0..INSTANCES, any::<bool>()).prop_map(|(at, is_released)| Act::End { at, is_released }),
        8 => settle.prop_map(|(destination, at, how, is_late)| Act::Settle { destination, at, how, is_late }),
        2 => changed.prop_map(|(destination, change, study, is_dead)| Act::Change { destination, change, study, is_dead }),
        1 => Just(Act::Reopen),
        1 => Just(Act::Rebuild),
    ]
}

fn instance(at: u32, content: u8, to: u8) -> Record {
    let destinations = (0..3).filter(|bit| to >> bit & 1 == 1).map(|bit| NAMES[bit].to_owned()).collect();
    let origin = Origin {
        calling_ae_title: "CT1".to_owned(),
        address: "10.1.2.3".to_owned(),
        destinations,
        ..Origin::default()
    };
    Record {
        digest: Some(u128::from(content) + 1),
        bytes: 1000 + u64::from(content),
        origin: Some(Arc::new(origin)),
        ..record(at % 3, at % 2, at)
    }
}

/// What the model knows of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    Owed(DeliveryState, u32),
    /// Dead, since the file is gone.
    Lost,
    Had,
    Dropped,
}

#[derive(Default)]
struct Model {
    /// What is there, or was: content, and whether it is there.
    files: BTreeMap<u32, (u8, u8, bool)>,
    duties: BTreeMap<(u32, usize), Duty>,
}

impl Model {
    fn enter(&mut self, at: u32, content: u8, to: u8) {
        let known = self.files.get(&at).copied();
        self.files.insert(at, (content, to, true));
        let is_same = known.is_some_and(|(known, ..)| known == content);
        for destination in 0..NAMES.len() {
            let is_named = to >> destination & 1 == 1;
            let duty = self.duties.get(&(at, destination)).copied();
            let waits = Duty::Owed(DeliveryState::Waiting, 0);
            let next = match duty {
                Some(Duty::Owed(..) | Duty::Lost) if known.is_some() && !is_same => Some(waits),
                Some(Duty::Had | Duty::Dropped) if !is_same => is_named.then_some(waits),
                Some(Duty::Lost) => Some(waits),
                None => is_named.then_some(waits),
                duty => duty,
            };
            match next {
                Some(duty) => drop(self.duties.insert((at, destination), duty)),
                None => drop(self.duties.remove(&(at, destination))),
            }
        }
    }

    fn end(&mut self, at: u32, is_released: bool) {
        let Some((_, _, is_there)) = self.files.get_mut(&at) else { return };
        if !std::mem::replace(is_there, false) {
            return;
        }
        for destination in 0..NAMES.len() {
            let duty = self.duties.get(&(at, destination)).copied();
            match duty {
                Some(Duty::Owed(..) | Duty::Lost) if is_released => drop(self.duties.remove(&(at, destination))),
                Some(Duty::Owed(DeliveryState::Waiting | DeliveryState::Retrying, _)) => {
                    self.duties.insert((at, destination), Duty::Lost);
                }
                _ => {}
            }
        }
    }

    fn settle(&mut self, at: u32, destination: usize, how: How) {
        let Some(Duty::Owed(state, attempts)) = self.duties.get(&(at, destination)).copied() else { unreachable!() };
        let duty = match how {
            How::Deliver | How::Commit => Duty::Had,
            How::Send => Duty::Owed(DeliveryState::Sent, attempts),
            How::Ask => Duty::Owed(state, attempts),
            How::Retry { .. } if !self.files[&at].2 => Duty::Lost,
            How::Retry { counts } => Duty::Owed(DeliveryState::Retrying, attempts + u32::from(counts)),
            How::Die => Duty::Owed(DeliveryState::Dead, attempts + 1),
        };
        self.duties.insert((at, destination), duty);
    }

    fn change(&mut self, destination: usize, change: Change, study: Option<u32>, is_dead: bool) {
        for (at, (_, _, is_there)) in &self.files {
            if study.is_some_and(|study| at % 3 != study) {
                continue;
            }
            let duty = self.duties.get(&(*at, destination)).copied();
            let waits = Duty::Owed(DeliveryState::Waiting, 0);
            let next = match (change, duty) {
                (Change::Add, None | Some(Duty::Dropped)) if *is_there => Some(waits),
                (Change::Add, Some(Duty::Had)) if *is_there && study.is_some() => Some(waits),
                (Change::Retry, Some(Duty::Owed(DeliveryState::Dead, _))) if *is_there => Some(waits),
                (Change::Retry, Some(Duty::Owed(DeliveryState::Retrying, _))) if !is_dead => Some(waits),
                (Change::Drop, Some(Duty::Owed(DeliveryState::Dead, _) | Duty::Lost)) => Some(Duty::Dropped),
                (Change::Drop, Some(Duty::Owed(..))) if !is_dead => Some(Duty::Dropped),
                (_, duty) => duty,
            };
            if let Some(duty) = next {
                self.duties.insert((*at, destination), duty);
            }
        }
    }

    fn rebuild(&mut self) {
        self.files.retain(|_, (.., is_there)| *is_there);
        self.duties.clear();
        for (at, (content, to, _)) in std::mem::take(&mut self.files) {
            self.enter(at, content, to);
        }
    }
}

struct World {
    path: PathBuf,
    catalogue: Option<Catalogue>,
    model: Model,
    /// Notes that could be given, with what they were read of.
    pages: Vec<(u32, usize, DeliveryNote, Duty, u8)>,
}

impl World {
    fn catalogue(&mut self) -> &mut Catalogue {
        self.catalogue.as_mut().unwrap()
    }

    /// The number of the instance in the model.
    fn number(uid: &str) -> u32 {
        uid.rsplit('.').next().unwrap().parse().unwrap()
    }

    /// What may be sent to a destination now.
    fn read(&mut self, destination: usize) {
        let mut reader = Reader::open(&self.path).unwrap();
        let generation = reader.generation().unwrap();
        let Some(row) = reader.destination(NAMES[destination]).unwrap() else { return };
        let mut owed = reader.waiting(row.id, None, 100).unwrap();
        owed.extend(reader.due(row.id, i64::MAX, 100).unwrap());
        owed.extend(reader.sent(row.id, i64::MAX, 100).unwrap());
        for owed in owed {
            let at = Self::number(&owed.sop_instance_uid.to_string());
            let note = DeliveryNote {
                generation,
                key: owed.key,
                outcome: Outcome::Delivered { status: 0, why: None },
                at_ms: 1,
            };
            let (duty, content) = (self.model.duties[&(at, destination)], self.model.files[&at].0);
            self.pages.push((at, destination, note, duty, content));
        }
    }

    fn settle(&mut self, destination: usize, pick: usize, how: How, is_late: bool) {
        if !is_late {
            self.pages.clear();
        }
        self.read(destination);
        let of: Vec<_> = self.pages.iter().filter(|(_, of, ..)| *of == destination).cloned().collect();
        let Some((at, _, mut note, duty, content)) = of.get(pick).or(of.last()).cloned() else { return };
        if matches!(how, How::Ask | How::Commit) && !matches!(duty, Duty::Owed(DeliveryState::Sent, _)) {
            return;
        }
        note.outcome = match how {
            How::Deliver => note.outcome,
            How::Send => Outcome::Sent { due_ms: 5, status: 0, why: None },
            How::Ask => Outcome::Asked { transaction: 3, due_ms: 9 },
            How::Commit => Outcome::Committed,
            How::Retry { counts } => {
                Outcome::Retry { due_ms: 5, counts, status: None, why: "connection lost".to_owned() }
            }
            How::Die => Outcome::Dead { status: Some(0xC000), why: "refused".to_owned() },
        };
        let noted = self.catalogue().note_deliveries(&[note]).unwrap();
        // A note counts if the delivery is as it was when it was read.
        let is_current = self.model.duties.get(&(at, destination)) == Some(&duty)
            && self.model.files.get(&at).is_some_and(|(now, ..)| *now == content)
            && matches!(duty, Duty::Owed(..));
        assert!(is_current || noted == 0, "a note about what is no more was entered");
        assert!(noted == 1 || !is_current, "a note was lost");
        if noted == 1 {
            self.model.settle(at, destination, how);
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Enter { at, content, to } => {
                self.catalogue().enter(&[instance(at, content, to)]).unwrap();
                self.model.enter(at, content, to);
            }
            Act::End { at, is_released } => {
                let path = [instance(at, 0, 0).path];
                let catalogue = self.catalogue();
                if is_released { catalogue.mark_released(&path, 9) } else { catalogue.mark_gone(&path, 9) }.unwrap();
                self.model.end(at, is_released);
            }
            Act::Settle { destination, at, how, is_late } => self.settle(destination, at, how, is_late),
            Act::Change { destination, change, study, is_dead } => {
                let study_uid = study.map(|study| format!("1.2.{study}"));
                let choice = Choice { study_uid, is_dead, ..Choice::default() };
                let mut progress = ChangeProgress::default();
                while !progress.is_done {
                    let catalogue = self.catalogue();
                    catalogue.change_deliveries(NAMES[destination], change, &choice, &mut progress, 7).unwrap();
                }
                self.model.change(destination, change, study, is_dead);
            }
            Act::Reopen => {
                self.catalogue = None;
                self.catalogue = Some(Catalogue::open(&self.path, true).unwrap());
            }
            Act::Rebuild => {
                self.catalogue = None;
                for ending in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{ending}", self.path.display()));
                }
                self.model.rebuild();
                // They are of another catalogue.
                self.pages.iter_mut().for_each(|(.., content)| *content = u8::MAX);
                let files = self.model.files.iter();
                let records: Vec<_> = files.map(|(at, (content, to, _))| instance(*at, *content, *to)).collect();
                self.catalogue = Some(Catalogue::open(&self.path, true).unwrap());
                self.catalogue().enter(&records).unwrap();
            }
        }
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.catalogue().check().unwrap(), []);
        let mut reader = Reader::open(&self.path).unwrap();
        for (destination, name) in NAMES.iter().enumerate() {
            let Some(row) = reader.destination(name).unwrap() else {
                let owes = self.model.duties.keys().any(|(_, of)| *of == destination);
                prop_assert!(!owes);
                continue;
            };
            let of_state = |wanted: DeliveryState| -> BTreeSet<u32> {
                let duties = self.model.duties.iter().filter(|((_, of), _)| *of == destination);
                let is_in = |duty: &Duty| match duty {
                    Duty::Owed(state, _) => *state == wanted,
                    Duty::Lost => wanted == DeliveryState::Dead,
                    Duty::Had | Duty::Dropped => false,
                };
                duties.filter(|(_, duty)| is_in(duty)).map(|((at, _), _)| *at).collect()
            };
            let numbers = |owed: Vec<tidegate_catalogue::Owed>| -> BTreeSet<u32> {
                owed.iter().map(|owed| Self::number(&owed.sop_instance_uid.to_string())).collect()
            };
            prop_assert_eq!(numbers(reader.waiting(row.id, None, 100).unwrap()), of_state(DeliveryState::Waiting));
            prop_assert_eq!(numbers(reader.due(row.id, i64::MAX, 100).unwrap()), of_state(DeliveryState::Retrying));
            prop_assert_eq!(numbers(reader.sent(row.id, i64::MAX, 100).unwrap()), of_state(DeliveryState::Sent));
            prop_assert_eq!(row.sums.sent, of_state(DeliveryState::Sent).len() as i64);
            prop_assert_eq!(row.sums.dead, of_state(DeliveryState::Dead).len() as i64);
            let had = self.model.duties.iter().filter(|((_, of), duty)| *of == destination && **duty == Duty::Had);
            prop_assert_eq!(row.sums.delivered, had.count() as i64);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queues_are_those_of_the_model(acts in proptest::collection::vec(act(), 1..50)) {
        let directory = directory();
        let path = path_in(&directory);
        let catalogue = Some(Catalogue::open(&path, true).unwrap());
        let mut world = World { path, catalogue, model: Model::default(), pages: Vec::new() };
        for act in &acts {
            world.act(act);
            world.compare()?;
        }
    }
}
