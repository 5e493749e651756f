//! Any history of deliveries, deletions, moves, replacements, clock jumps and crashes: after a catch-up, the catalogue says what the disk has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tidegate_catalogue::catch_up::{CatchUp, Depth};
use tidegate_catalogue::{Catalogue, Record};

use super::catching_up::{differences, run};
use super::support::{Model, ModelFile, directory, path_in, record};

#[derive(Clone, Debug)]
enum Act {
    /// An instance is stored; its event is queued, or lost.
    Deliver {
        at: u32,
        version: u32,
        is_lost: bool,
    },
    /// The writer enters what is queued.
    Enter,
    /// The queue overflows.
    LoseEvents,
    Delete {
        at: u32,
    },
    Move {
        at: u32,
        to: u8,
    },
    DeleteStudy {
        study: u32,
    },
    PutForeign {
        to: u8,
    },
    /// Attributes are lost, as by a copy.
    LoseDigest {
        at: u32,
    },
    PassTime {
        ms: i64,
    },
    /// The catch-up that is under way, or a new one, makes some steps.
    CatchUp {
        steps: u8,
        reads: bool,
    },
    /// The process dies, with queue and catch-up.
    Crash,
}

/// Few instances, so that most acts meet another.
const INSTANCES: u32 = 12;

fn act() -> impl Strategy<Value = Act> {
    let at = 0..INSTANCES;
    prop_oneof![
        6 => (at.clone(), 0_u32..3, any::<bool>()).prop_map(|(at, version, is_lost)| Act::Deliver { at, version, is_lost }),
        3 => Just(Act::Enter),
        1 => Just(Act::LoseEvents),
        2 => at.clone().prop_map(|at| Act::Delete { at }),
        2 => (at.clone(), 0_u8..3).prop_map(|(at, to)| Act::Move { at, to }),
        1 => (0_u32..3).prop_map(|study| Act::DeleteStudy { study }),
        1 => (0_u8..3).prop_map(|to| Act::PutForeign { to }),
        1 => at.prop_map(|at| Act::LoseDigest { at }),
        3 => prop_oneof![Just(0_i64), Just(1), Just(5000), Just(-86_400_000), 0_i64..4000].prop_map(|ms| Act::PassTime { ms }),
        3 => (1_u8..4, any::<bool>()).prop_map(|(steps, reads)| Act::CatchUp { steps, reads }),
        1 => Just(Act::Crash),
    ]
}

fn instance(at: u32, version: u32, now_ns: i64) -> Record {
    Record {
        digest: Some(u128::from(at * 10 + version + 1)),
        // Versions differ in length now and then.
        bytes: 1000 + u64::from(version / 2),
        received_ms: now_ns / 1_000_000,
        ..record(at % 3, at % 2, at)
    }
}

/// A place that an operator moves files to: within the layout, under another instance's name, or elsewhere.
fn place(to: u8) -> PathBuf {
    match to {
        0 => record(1, 1, 1).path,
        1 => "elsewhere/by hand".into(),
        _ => "1.2.0/note.dcm".into(),
    }
}

struct World {
    path: PathBuf,
    model: Model,
    catalogue: Option<Catalogue>,
    catch_up: Option<CatchUp<Model>>,
    queue: Vec<Record>,
}

impl World {
    fn catalogue(&mut self) -> &mut Catalogue {
        self.catalogue.as_mut().unwrap()
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Deliver { at, version, is_lost } => {
                let record = instance(at, version, self.model.0.borrow().now_ns);
                self.model.store(&record);
                if !is_lost {
                    self.queue.push(record);
                }
            }
            Act::Enter => {
                let queue = std::mem::take(&mut self.queue);
                self.catalogue().enter(&queue).unwrap();
            }
            Act::LoseEvents => {
                let missed = std::mem::take(&mut self.queue).len() as u64;
                self.catalogue().note_gap("queue full", missed, 1).unwrap();
            }
            Act::Delete { at } => drop(self.model.remove(&instance(at, 0, 0).path)),
            Act::Move { at, to } => {
                if let Some(file) = self.model.remove(&instance(at, 0, 0).path) {
                    self.model.put(&place(to), file);
                }
            }
            Act::DeleteStudy { study } => self.model.remove_directory(Path::new(&format!("1.2.{study}"))),
            Act::PutForeign { to } => {
                let modified_ns = self.model.0.borrow().now_ns;
                self.model.put(&place(to), ModelFile { record: None, has_digest: false, modified_ns });
            }
            Act::LoseDigest { at } => {
                let path = instance(at, 0, 0).path;
                if let Some(mut file) = self.model.remove(&path) {
                    file.has_digest = false;
                    file.modified_ns = self.model.0.borrow().now_ns;
                    self.model.put(&path, file);
                }
            }
            Act::PassTime { ms } => self.model.pass_time(ms * 1_000_000),
            Act::CatchUp { steps, reads } => {
                let depth = if reads { Depth::Read } else { Depth::Changed };
                let model = self.model.clone();
                let mut catch_up = self.catch_up.take().unwrap_or_else(|| CatchUp::new(model, depth));
                let has_more = (0..steps).all(|_| catch_up.step(self.catalogue(), 1).unwrap());
                self.catch_up = has_more.then_some(catch_up);
            }
            Act::Crash => {
                self.queue.clear();
                self.catch_up = None;
                self.catalogue = None;
                self.catalogue = Some(Catalogue::open(&self.path, true).unwrap());
            }
        }
    }

    /// The instances that are there, by the disk and by the catalogue.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        let state = self.model.0.borrow();
        let on_disk: BTreeMap<_, _> =
            state.files.iter().filter_map(|(path, file)| Some((path.clone(), file.record.as_ref()?.bytes))).collect();
        drop(state);
        let mut reader = tidegate_catalogue::Reader::open(&self.path).unwrap();
        prop_assert_eq!(reader.totals().unwrap().instances, on_disk.len() as u64);
        for (path, bytes) in on_disk {
            let digest = {
                let state = self.model.0.borrow();
                let file = &state.files[&path];
                file.record.as_ref().unwrap().digest.filter(|_| file.has_digest)
            };
            let known = reader.file(&path).unwrap();
            let known = known.filter(|known| known.state == tidegate_catalogue::State::Present);
            prop_assert_eq!(known.map(|known| known.bytes), Some(bytes), "{}", path.display());
            if digest.is_some() {
                prop_assert_eq!(known.and_then(|known| known.digest), digest, "{}", path.display());
            }
        }
        Ok(())
    }
}

/// As many as `TIDEGATE_HISTORIES` says.
fn histories() -> u32 {
    std::env::var("TIDEGATE_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: histories(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_catch_up_the_catalogue_says_what_the_disk_has(acts in proptest::collection::vec(act(), 1..60)) {
        let directory = directory();
        let path = path_in(&directory);
        let catalogue = Some(Catalogue::open(&path, true).unwrap());
        let mut world = World { path, model: Model::default(), catalogue, catch_up: None, queue: Vec::new() };
        world.model.pass_time(1_000_000_000_000);
        for act in &acts {
            world.act(act);
        }
        let queue = std::mem::take(&mut world.queue);
        world.catalogue().enter(&queue).unwrap();
        let model = world.model.clone();
        run(world.catalogue(), &model, Depth::Changed);
        world.compare()?;
        prop_assert_eq!(differences(world.catalogue(), &model), 0);
        prop_assert_eq!(world.catalogue().check().unwrap(), []);
    }
}
