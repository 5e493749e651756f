//! What retention passes over.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_catalogue::{Catalogue, DeliveryNote, Origin, Outcome, Reader, Record, Sweep};
use tidegate_memory::MemoryBudget;
use tidegate_storage::layout::Layout;
use tidegate_storage::{CommitStrategy, Duplicates, Durability, FileAccess, Settings, Store};

use super::{BUDGET, TestDisk, record};
use crate::catalogue::keeper::Keeper;
use crate::catalogue::retention::{Env, Retention};
use crate::catalogue::shared::Shared;
use crate::elements::Catalogued;
use crate::gauges::Gauges;
use crate::node::settings::{CatalogueSettings, RetentionSettings};

fn store(root: PathBuf) -> Store {
    let settings = Settings {
        root,
        layout: Layout::parse("{SOPInstanceUID}").unwrap(),
        durability: Durability::None,
        commit: CommitStrategy::Adaptive,
        duplicates: Duplicates::Replace,
        min_free_bytes: 0,
        access: FileAccess::default(),
        requires_mark: false,
    };
    Store::open(settings).unwrap().0
}

/// A process had noted that they are about to be removed, and was killed. Somebody holds one by now, and a request for commitment names the others.
#[test]
fn files_that_a_process_left_and_that_must_stay_hold_up_no_sweep() {
    let directory = tempfile::tempdir().unwrap();
    let (path, disk) = (directory.path().join("catalogue.sqlite"), TestDisk::default());
    let origin = Some(Arc::new(Origin { destinations: vec!["archive".to_owned()], ..Origin::default() }));
    let records: Vec<_> = (0..3).map(|number| Record { origin: origin.clone(), ..record(number) }).collect();
    records.iter().for_each(|record| disk.store(record.clone()));
    let mut file = Catalogue::open(&path, true).unwrap();
    file.enter(&records).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    let (id, generation) = (reader.destination("archive").unwrap().unwrap().id, reader.generation().unwrap());
    let note = |key| DeliveryNote { generation, key, outcome: Outcome::Delivered { status: 0, why: None }, at_ms: 1 };
    let notes: Vec<_> = reader.waiting(id, None, 9).unwrap().into_iter().map(|owed| note(owed.key)).collect();
    assert_eq!(file.note_deliveries(&notes).unwrap(), 3);
    let files = file.releasable(&mut Sweep::default(), i64::MAX, 9).unwrap();
    assert_eq!(file.begin_release(&files, 1).unwrap(), [true; 3]);
    drop((file, reader));

    let budget = MemoryBudget::new(BUDGET);
    let shared = Shared::new(CatalogueSettings { path, is_own: true, keeps_patients: true }, &budget);
    let root_id = Box::new(|| Ok((1, PathBuf::from("/srv/root"))));
    let open_disk = Box::new(move || Ok(disk.clone()));
    let mut keeper = Keeper::new(shared.clone(), budget, Box::new(|| true), root_id, open_disk);
    keeper.open();
    while !keeper.works.is_idle() {
        keeper.step(false);
    }
    let store = store(directory.path().join("root"));
    let held = store.begin_removal(&records[0].path).unwrap();
    assert!(held.is_some());
    let mut retention = Retention::new(Env {
        settings: Box::new(|| RetentionSettings { max_bytes: Some(1), low_water: 0.5, ..RetentionSettings::default() }),
        store,
        are_awaited: Box::new(|uids| Ok(vec![true; uids.len()])),
        gauges: Arc::new(Gauges::new(1, false, Catalogued::of(true))),
    });
    // What is left, the study, and the end of the sweep.
    (0..3).for_each(|_| retention.step(&mut keeper, false));
    assert_eq!(keeper.attempt(|file, _| file.releasing(9)).map(|files| files.len()), Some(0));
    assert!(shared.figures.seen.lock().is_retention_blocked, "the sweep has come to its end, and it is said");
}
