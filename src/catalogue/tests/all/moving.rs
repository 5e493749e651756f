//! Files that people move within the root.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_catalogue::catch_up::{CatchUp, Depth};
use tidegate_catalogue::{
    DeliveryNote, DeliveryState, EventKind, FILE_IS_GONE, InstanceProgress, Outcome, Record, State,
};

use super::completing::following;
use super::delivering::{DELIVERED, record_to};
use super::support::{Fixture, Model};

const HOUR_NS: i64 = 3_600_000_000_000;

/// A node that delivers to `a` and `b`, and announces each instance, with files that it has just received.
fn received(count: u32) -> (Fixture, Model, Vec<Record>) {
    let mut fixture = Fixture::following(following(&[EventKind::InstanceStored]));
    let received_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 + 1;
    let record = |number| Record { received_ms, ..record_to(1, 1, number, &["a", "b"]) };
    let records: Vec<_> = (1..=count).map(record).collect();
    let model = Model::default();
    model.pass_time(HOUR_NS);
    records.iter().for_each(|record| model.store(record));
    model.pass_time(HOUR_NS);
    fixture.catalogue.enter(&records).unwrap();
    fixture.settle("a", &DELIVERED);
    (fixture, model, records)
}

fn catch_up(fixture: &mut Fixture, model: &Model) {
    model.pass_time(HOUR_NS);
    let mut catch_up = CatchUp::new(model.clone(), Depth::Changed);
    while catch_up.step(&mut fixture.catalogue, 99).unwrap() {}
    assert_eq!(fixture.catalogue.check().unwrap(), []);
    let mut check = CatchUp::check(model.clone(), i64::MAX);
    while check.step(&mut fixture.catalogue, 99).unwrap() {}
    assert_eq!(check.progress().differences(), 0);
}

fn announced(fixture: &Fixture) -> usize {
    fixture.reader().events(0, Some(EventKind::InstanceStored), 100).unwrap().events.len()
}

fn waiting(fixture: &Fixture, destination: &str) -> Vec<PathBuf> {
    let mut reader = fixture.reader();
    let id = reader.destination(destination).unwrap().unwrap().id;
    reader.waiting(id, None, 100).unwrap().into_iter().map(|owed| owed.path).collect()
}

fn files(fixture: &Fixture, record: &Record) -> Vec<(PathBuf, State)> {
    let files = fixture.reader().instances(&record.sop_instance_uid, 9).unwrap();
    files.into_iter().map(|file| (file.path, file.state)).collect()
}

/// The directories are compared in the order of their names: the new place comes before the old one, or behind it.
#[test]
fn a_moved_file_owes_what_it_owed_and_is_not_announced_again() {
    for place in ["0.kept/by hand.dcm", "kept/by hand.dcm", "1.2.1/1.2.1.1/other name.dcm"] {
        let (mut fixture, model, records) = received(2);
        assert_eq!(announced(&fixture), 2);
        let place = Path::new(place);
        model.put(place, model.remove(&records[0].path).unwrap());
        catch_up(&mut fixture, &model);
        assert_eq!(announced(&fixture), 2, "{place:?}");
        assert_eq!(files(&fixture, &records[0]), [(place.to_owned(), State::Present)]);
        assert_eq!(waiting(&fixture, "a"), [] as [PathBuf; 0]);
        assert_eq!(waiting(&fixture, "b"), [place, &records[1].path]);
        // And back.
        model.put(&records[0].path, model.remove(place).unwrap());
        catch_up(&mut fixture, &model);
        assert_eq!((announced(&fixture), waiting(&fixture, "a").len(), waiting(&fixture, "b").len()), (2, 0, 2));
        assert_eq!(files(&fixture, &records[0]), [(records[0].path.clone(), State::Present)]);
    }
}

#[test]
fn a_file_that_is_found_long_after_it_was_lost_waits_again() {
    let (mut fixture, model, records) = received(1);
    let file = model.remove(&records[0].path).unwrap();
    catch_up(&mut fixture, &model);
    assert_eq!(files(&fixture, &records[0]), [(records[0].path.clone(), State::Gone)]);
    let place = Path::new("restored/x.dcm");
    model.put(place, file);
    catch_up(&mut fixture, &model);
    assert_eq!((announced(&fixture), waiting(&fixture, "a").len()), (1, 0));
    assert_eq!(waiting(&fixture, "b"), [place]);
    let ways = &fixture.reader().instances(&records[0].sop_instance_uid, 9).unwrap()[0].deliveries;
    assert!(matches!(ways[0].progress, InstanceProgress::Delivered { .. }));
    assert!(matches!(ways[1].progress, InstanceProgress::Owed { state: DeliveryState::Waiting, .. }));
}

/// Whoever sends it has read its former place.
#[test]
fn a_file_that_is_moved_before_it_is_sent_is_not_given_up() {
    let (mut fixture, model, records) = received(1);
    let mut reader = fixture.reader();
    let (generation, id) = (reader.generation().unwrap(), reader.destination("b").unwrap().unwrap().id);
    let owed = reader.waiting(id, None, 9).unwrap().remove(0);
    let place = Path::new("kept/by hand.dcm");
    model.put(place, model.remove(&records[0].path).unwrap());
    catch_up(&mut fixture, &model);
    let looked_for = |fixture: &mut Fixture, path: &Path| {
        let outcome = Outcome::NoFile { path: path.to_owned(), why: FILE_IS_GONE.to_owned() };
        fixture.catalogue.note_deliveries(&[DeliveryNote { generation, key: owed.key, outcome, at_ms: 5 }]).unwrap()
    };
    assert_eq!(looked_for(&mut fixture, &owed.path), 0);
    assert_eq!(waiting(&fixture, "b"), [place]);
    assert_eq!(looked_for(&mut fixture, place), 1);
    assert_eq!(waiting(&fixture, "b"), [] as [PathBuf; 0]);
}

/// A copy is a further file, and other content is news.
#[test]
fn what_was_copied_or_changed_or_has_no_digest_is_no_move() {
    let (mut fixture, model, records) = received(3);
    let copy = model.0.borrow().files[&records[0].path].clone();
    model.put(Path::new("copies/x.dcm"), copy);
    let mut changed = model.remove(&records[1].path).unwrap();
    changed.record.as_mut().unwrap().digest = Some(77);
    model.put(Path::new("copies/y.dcm"), changed);
    let mut unknown = model.remove(&records[2].path).unwrap();
    unknown.has_digest = false;
    model.put(Path::new("copies/z.dcm"), unknown);
    catch_up(&mut fixture, &model);
    assert_eq!(announced(&fixture), 6);
    assert_eq!(waiting(&fixture, "a").len(), 3);
    assert_eq!(files(&fixture, &records[0]).len(), 2);
    let of_changed = files(&fixture, &records[1]);
    assert_eq!(of_changed, [("copies/y.dcm".into(), State::Present), (records[1].path.clone(), State::Gone)]);
}
