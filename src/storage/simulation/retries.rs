//! Retries of an instance whose first commit failed halfway.

use std::sync::Arc;

use super::plan::{Plan, Subject};
use crate::fs::sim::{Call, Faults, Nature, Random, SimFile, Simulation, Volume};
use crate::fs::{Errno, FilesystemKind};
use crate::instance::{Instance, Payload};
use crate::settings::{Duplicates, Durability};
use crate::store::Store;

#[test]
fn a_sync_that_follows_a_failed_one_does_not_prove_the_name_of_a_spool_file() {
    let mut random = Random::new(1);
    let nature = Nature { kind: FilesystemKind::Fuse, ..Nature::default() };
    let machine = Arc::new(parking_lot::Mutex::new(Volume::new(nature, random.fork())));
    let simulation = Simulation::enter(Arc::clone(&machine), random.fork(), false);
    simulation.spawn("main", move || {
        let mut settings = Plan::of(&mut random).settings;
        (settings.durability, settings.duplicates) = (Durability::Fsync, Duplicates::Refuse);
        let (store, _) = Store::<SimFile>::open_on(settings.clone()).unwrap();
        let mut subject = Subject::new(1, &settings);
        let version = subject.add_version(&mut random);
        let whole = &subject.versions[version];
        let spool = store.spool((whole.len() - subject.datasets[version].len()) as u64).unwrap();
        spool.write(0, &[whole.clone().into()]).unwrap();
        let (arrived, head) = subject.arrived(version, &settings);
        let instance = Instance::new(arrived, head, Payload::Spooled(Arc::new(spool)));

        machine.lock().faults = Faults { script: vec![(Call::Sync, Errno::IO)], ..Faults::default() };
        for attempt in 0..2 {
            let answer = store.commit(&[&instance], &|| ()).pop().unwrap();
            assert!(answer.is_err(), "attempt {attempt}: {answer:?}");
        }
    });
    simulation.run().unwrap();
}
