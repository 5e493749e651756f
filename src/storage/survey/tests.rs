//! Answers for files that stand in odd places.

use std::fs::{create_dir, write};
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::Store;
use crate::digest::Digest;
use crate::support::settings;

#[test]
fn a_file_is_answered_for_where_it_is_and_never_through_a_link() {
    let root = tempfile::tempdir_in(".").unwrap();
    let (store, _) = Store::open(settings(root.path())).unwrap();
    let content = vec![7; 100_000];
    create_dir(root.path().join("study")).unwrap();
    write(root.path().join("study/1.dcm"), &content).unwrap();
    symlink("1.dcm", root.path().join("study/link.dcm")).unwrap();
    symlink("study", root.path().join("elsewhere")).unwrap();
    let survey = store.survey().unwrap();
    for path in [
        "study",
        "study/2.dcm",
        "study/link.dcm",
        "elsewhere/1.dcm",
        "../study/1.dcm",
        "/etc/passwd",
        "",
        "study/1.dcm/x",
    ] {
        assert!(survey.stored(Path::new(path)).unwrap().is_none(), "{path}");
    }
    let path = Path::new("study/1.dcm");
    let file = survey.stored(path).unwrap().unwrap();
    assert_eq!(file.bytes(), 100_000);
    file.sync().unwrap();
    survey.sync_names(path).unwrap();
    for step in [1, 4096, 100_000, 1 << 20] {
        let (mut reading, mut buffer) = (survey.stored(path).unwrap().unwrap().reading(), vec![0; step]);
        let end = loop {
            if let Some(end) = reading.step(&mut buffer).unwrap() {
                break end;
            }
        };
        assert_eq!(end, (100_000, Digest::of([content.as_slice()])), "{step}");
    }
}
