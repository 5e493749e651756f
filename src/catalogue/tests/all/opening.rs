//! Who may open a catalogue, and what becomes of one of an earlier version.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use rustix::fs::{CWD, Mode, mkfifoat};
use tidegate_catalogue::{Catalogue, Error, Reader, Remedy, Search};

use super::support::{Fixture, directory, path_in, record};

#[test]
fn a_catalogue_has_one_writer_and_names_its_root_to_another() {
    let mut fixture = Fixture::new();
    let path = fixture.path();
    let [first, second] = ["/srv/first", "/srv/second"].map(Path::new);
    fixture.catalogue.claim(first, 1, false).unwrap();
    let error = Catalogue::open(&path, true).unwrap_err();
    assert!(matches!(&error, Error::InUse { root: Some(root), .. } if root == first), "{error}");
    assert!(error.remedy() == Remedy::Operator && error.to_string().contains("/srv/first"), "{error}");
    assert_eq!(fixture.reader().totals().unwrap().studies, 0, "readers need no lock");
    drop(fixture.catalogue);
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    let error = catalogue.claim(second, 2, false).unwrap_err();
    assert!(matches!(&error, Error::OtherRoot { root: Some(root), .. } if root == first), "{error}");
    catalogue.claim(second, 1, false).unwrap();
    let error = Catalogue::open(&path, true).unwrap_err();
    assert!(error.to_string().contains("/srv/second"), "a root that was moved: {error}");
    // What another program put there is no name, and no reason to do without a catalogue.
    drop(catalogue);
    fs::write(format!("{}-lock", path.display()), [0xFF; 10_000]).unwrap();
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    catalogue.claim(second, 1, false).unwrap();
    assert_eq!(fs::read_to_string(format!("{}-lock", path.display())).unwrap(), "/srv/second\n");
}

/// What can stand in the place of a file; the other is outside.
const OBSTACLES: [fn(&Path, &Path); 4] = [
    |at, _| fs::create_dir(at).unwrap(),
    |at, _| mkfifoat(CWD, at, Mode::RUSR | Mode::WUSR).unwrap(),
    |at, other| symlink(other, at).unwrap(),
    |at, other| symlink(other.with_extension("gone"), at).unwrap(),
];

#[test]
fn what_stands_in_the_place_of_a_file_is_named_and_harms_no_catalogue() {
    for ending in ["", "-wal", "-shm", "-lock"] {
        for (number, place) in OBSTACLES.iter().enumerate() {
            let directory = directory();
            let path = path_in(&directory);
            drop(Catalogue::open(&path, true).unwrap());
            let [at, kept] = [ending, ".kept"].map(|ending| PathBuf::from(format!("{}{ending}", path.display())));
            let other = directory.path().join("other");
            fs::write(&other, "of another program").unwrap();
            fs::set_permissions(&other, Permissions::from_mode(0o644)).unwrap();
            if at.exists() {
                fs::rename(&at, &kept).unwrap();
            }
            place(&at, &other);
            let error = Catalogue::open(&path, true).unwrap_err();
            assert_eq!(error.remedy(), Remedy::Operator, "{error}: nothing is set aside, and it is tried again");
            // What is no link in the place of the catalogue is not the node's, which may set it aside.
            let is_foreign = ending.is_empty() && number < 2;
            let told = if is_foreign { "is not a catalogue" } else { " stands at " };
            let is_named = error.to_string().contains(told) && error.to_string().contains(&at.display().to_string());
            assert!(is_named && error.advice().contains("catalogue.path"), "{error}: {}", error.advice());
            if ending != "-lock" {
                assert_eq!(Reader::open(&path).unwrap_err().to_string(), error.to_string());
            }
            assert_eq!(fs::read_to_string(&other).unwrap(), "of another program");
            assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o644);
            if at.symlink_metadata().unwrap().is_dir() { fs::remove_dir(&at) } else { fs::remove_file(&at) }.unwrap();
            if kept.exists() {
                fs::rename(&kept, &at).unwrap();
            }
            drop(Catalogue::open(&path, true).unwrap());
        }
    }
}

/// Version 2 kept letters as they came, and commas.
const OF_VERSION_2: &str = concat!(
    include_str!("../../migration-2.sql"),
    "INSERT INTO study_name VALUES ('mu\u{308}ller, jürgen', 1), ('jürgen', 1);"
);

/// As former versions left it.
#[test]
fn a_catalogue_of_a_former_version_is_brought_up_to_date() {
    for (version, made) in [(1, ""), (2, OF_VERSION_2)] {
        brought_up_to_date(version, made);
    }
}

fn brought_up_to_date(version: i64, made: &str) {
    let directory = directory();
    let path = path_in(&directory);
    let db = Connection::open(&path).unwrap();
    db.execute_batch(concat!(include_str!("../../schema.sql"), include_str!("../../views.sql"))).unwrap();
    db.execute_batch(&format!(
        "PRAGMA application_id = 1413956417; PRAGMA user_version = {version};
         INSERT INTO study (uid, patient_id, patient_name, study_date, first_ms, last_ms)
         VALUES ('1.2.1', 'P1', 'Mu\u{308}ller, Jürgen', '20261129', 1, 1), ('1.2.2', NULL, NULL, NULL, 2, 2);
         {made}"
    ))
    .unwrap();
    drop(db);
    assert!(matches!(Reader::open(&path), Err(Error::Older { found, .. }) if found == version));
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    assert_eq!(catalogue.check().unwrap(), []);
    let of_text = |text: &str| Search { text: Some(text.to_owned()), ..Search::default() };
    for text in ["JÜRG", "Müller, Jürgen", "mu\u{308}ller^j"] {
        let page = Reader::open(&path).unwrap().studies(&of_text(text), None, 10).unwrap();
        assert_eq!(page.studies.len(), 1, "{text}");
    }
    let search = of_text("JÜRG");
    catalogue.enter(&[record(1, 1, 1)]).unwrap();
    let page = Reader::open(&path).unwrap().studies(&search, None, 10).unwrap();
    assert!(page.studies.is_empty(), "the name was replaced");
    drop(catalogue);
    // Without patients, no part of a name is left.
    drop(Catalogue::open(&path, false).unwrap());
    let names: i64 =
        Connection::open(&path).unwrap().query_row("SELECT count(*) FROM study_name", [], |row| row.get(0)).unwrap();
    assert_eq!(names, 0);
}

/// A reader that looks while a node makes the file sees none of it, or all.
#[test]
fn a_file_that_is_being_made_is_empty_until_it_is_whole() {
    let directory = directory();
    for number in 0..30 {
        let path = directory.path().join(format!("{number}.db"));
        let made = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                while !made.load(Ordering::Relaxed) {
                    let Err(error) = Reader::open(&path) else { continue };
                    let is_missing = matches!(error, Error::Io { .. });
                    assert!(is_missing || matches!(error, Error::Older { found: 0, .. }), "{error}");
                }
            });
            drop(Catalogue::open(&path, true).unwrap());
            made.store(true, Ordering::Relaxed);
            reading.join().unwrap();
        });
    }
}
