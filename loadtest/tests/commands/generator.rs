//! The generator as a process, against the limit and against a receiver built on another implementation.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_ul::association::server::ServerAssociationOptions;
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};

fn loadtest() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"))
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn the_limit_stores_exactly_the_datasets_that_were_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    limit_stores_what_is_acknowledged(directory.path(), &[], &[]);
}

#[test]
fn and_so_it_does_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let [certificate, key] = ["c.pem", "k.pem"].map(|name| directory.path().join(name).display().to_string());
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&certificate, issued.cert.pem()).unwrap();
    fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    limit_stores_what_is_acknowledged(directory.path(), &["--tls", &certificate, &key], &["--tls"]);
}

fn limit_stores_what_is_acknowledged(directory: &Path, more_of_limit: &[&str], more_of_store: &[&str]) {
    let (root, acked) = (directory.join("root"), directory.join("acked"));
    let mut sink = loadtest()
        .args(["limit", "--listen", "127.0.0.1:0", "--connections", "3", "--dir"])
        .arg(&root)
        .args(more_of_limit)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(sink.stdout.take().unwrap()).lines();
    let address = lines.next().unwrap().unwrap().rsplit_once(' ').unwrap().1.to_owned();

    let sent = loadtest()
        .args(["store", "--raw", "--target", &address, "--associations", "3", "--instances", "205"])
        .args(["--size", "2 KiB", "--acked"])
        .arg(&acked)
        .args(more_of_store)
        .output()
        .unwrap();
    assert!(sent.status.success(), "{sent:?}");
    assert!(sink.wait().unwrap().success());
    assert!(lines.next().unwrap().unwrap().starts_with("205 files"));

    // The record and the files name the same datasets, by their UIDs and their bytes.
    let record = fs::read_to_string(&acked).unwrap();
    let mut recorded: Vec<_> = record.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    recorded.sort_unstable();
    let files = files_below(&root);
    let mut stored: Vec<_> = files.iter().map(|path| sop_instance(fs::read(path).unwrap())).collect();
    stored.sort_unstable();
    assert_eq!(stored, recorded);
    stored.dedup();
    assert_eq!(stored.len(), 205);
}

/// The SOP Instance UID of an explicit VR dataset.
fn sop_instance(dataset: Vec<u8>) -> String {
    let file = part10(dataset, uids::EXPLICIT_VR_LITTLE_ENDIAN, "1.2.3");
    let object = dicom_object::from_reader(&file[..]).unwrap();
    object.element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned()
}

fn part10(dataset: Vec<u8>, transfer_syntax: &str, sop_instance: &str) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(transfer_syntax)
        .media_storage_sop_class_uid(uids::CT_IMAGE_STORAGE)
        .media_storage_sop_instance_uid(sop_instance)
        .build()
        .unwrap();
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    meta.write(&mut file).unwrap();
    file.extend_from_slice(&dataset);
    file
}

/// Takes one association over small PDUs and answers every instance with what `status` says of its number; those answered
/// with success are stored under `root`.
fn receive(listener: &TcpListener, root: &Path, status: impl Fn(u16) -> u16) {
    let (stream, _) = listener.accept().unwrap();
    let mut association = ServerAssociationOptions::new()
        .accept_any()
        .with_abstract_syntax(uids::CT_IMAGE_STORAGE)
        .with_transfer_syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN)
        .max_pdu_length(4096)
        .strict(true)
        .establish(stream)
        .unwrap();
    let (mut command, mut dataset) = (Vec::new(), Vec::new());
    loop {
        match association.receive().unwrap() {
            Pdu::PData { data } => {
                for pdv in data {
                    let is_data = pdv.value_type == PDataValueType::Data;
                    if is_data { &mut dataset } else { &mut command }.extend_from_slice(&pdv.data);
                    if is_data && pdv.is_last {
                        let answer = answer(&std::mem::take(&mut command), std::mem::take(&mut dataset), root, &status);
                        association.send(&answer).unwrap();
                    }
                }
            }
            Pdu::ReleaseRQ => return association.send(&Pdu::ReleaseRP).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn answer(command: &[u8], dataset: Vec<u8>, root: &Path, status: impl Fn(u16) -> u16) -> Pdu {
    let file = part10(command.to_vec(), uids::IMPLICIT_VR_LITTLE_ENDIAN, "1.2.3");
    let command: InMemDicomObject = dicom_object::from_reader(&file[..]).unwrap().into_inner();
    let message_id = command.element(tags::MESSAGE_ID).unwrap().to_int::<u16>().unwrap();
    let sop_instance = command.element(tags::AFFECTED_SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned();
    let status = status(message_id);
    if status == 0 {
        let file = part10(dataset, uids::IMPLICIT_VR_LITTLE_ENDIAN, &sop_instance);
        fs::write(root.join(&sop_instance), file).unwrap();
    }
    let mut data = Vec::new();
    for (element, value) in [(0x0100_u16, 0x8001), (0x0120, message_id), (0x0800, 0x0101), (0x0900, status)] {
        data.extend_from_slice(&[0, 0]);
        data.extend_from_slice(&element.to_le_bytes());
        data.extend_from_slice(&2_u32.to_le_bytes());
        data.extend_from_slice(&value.to_le_bytes());
    }
    Pdu::PData {
        data: vec![PDataValue { presentation_context_id: 1, value_type: PDataValueType::Command, is_last: true, data }],
    }
}

/// Runs the generator's one association against [`receive`] and returns its output and where its record is.
fn store(directory: &Path, status: impl Fn(u16) -> u16 + Send) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let root = directory.join("root");
    fs::create_dir(&root).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| receive(&listener, &root, status));
        loadtest()
            .args(["store", "--target", &address, "--associations", "1", "--instances", "12", "--json"])
            .args(["--size", "20 KiB", "--transfer-syntax", "implicit", "--acked"])
            .arg(directory.join("acked"))
            .output()
            .unwrap()
    })
}

fn verify(directory: &Path) -> Output {
    loadtest()
        .arg("verify")
        .arg("--acked")
        .arg(directory.join("acked"))
        .arg("--dir")
        .arg(directory.join("root"))
        .output()
        .unwrap()
}

#[test]
fn what_a_receiver_acknowledges_is_verified_and_what_it_loses_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let sent = store(directory.path(), |_| 0);
    assert!(sent.status.success(), "{sent:?}");
    let verified = verify(directory.path());
    assert!(verified.status.success(), "{verified:?}");
    assert!(String::from_utf8(verified.stdout).unwrap().contains("12 acknowledged: 12 whole"));

    let files = files_below(&directory.path().join("root"));
    fs::remove_file(&files[0]).unwrap();
    let whole = fs::read(&files[1]).unwrap();
    fs::write(&files[1], &whole[..whole.len() - 1]).unwrap();
    let verified = verify(directory.path());
    assert_eq!(verified.status.code(), Some(1));
    let text = String::from_utf8(verified.stdout).unwrap();
    assert!(text.contains("12 acknowledged: 10 whole, 1 lost, 1 corrupt; 11 files"), "{text}");
}

#[test]
fn refused_instances_are_counted_by_status_and_fail_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let sent = store(directory.path(), |message_id| if message_id % 3 == 0 { 0xA700 } else { 0 });
    assert_eq!(sent.status.code(), Some(1));
    let json = String::from_utf8(sent.stdout).unwrap();
    assert!(json.contains("\"stored\":8,") && json.contains("\"refused\":{\"A700\":4}"), "{json}");
    assert_eq!(fs::read_to_string(directory.path().join("acked")).unwrap().lines().count(), 8);
    assert!(verify(directory.path()).status.success());
}

#[test]
fn a_receiver_that_is_not_there_fails_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let sent = loadtest().args(["store", "--target", &address, "--instances", "5"]).output().unwrap();
    assert_eq!(sent.status.code(), Some(1));
    assert!(String::from_utf8(sent.stdout).unwrap().contains("failed: 5, unanswered: 0, never sent: 5"));
}
