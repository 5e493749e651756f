//! The generator as a process, against the limit and against a receiver built on another implementation.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_ul::association::server::ServerAssociationOptions;
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use serde_json::Value;

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

/// The limit as a process, killed when it is dropped.
struct Limit {
    process: Child,
    address: String,
}

impl Limit {
    fn start(root: &Path, flags: &[&str]) -> Self {
        let mut process = loadtest()
            .args(["limit", "--listen", "127.0.0.1:0", "--dir"])
            .arg(root)
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().rsplit_once(' ').unwrap().1.to_owned() }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Writes a scenario of so many instances of a `[[mix]]` over so many associations, and says where.
fn scenario(directory: &Path, instances: u32, associations: u32, mix: &str) -> PathBuf {
    let path = directory.join("scenario.toml");
    let text = format!(
        "name = \"test\"\n[load]\ninstances = {instances}\n\
         [associations]\ncount = {associations}\nlifetime = \"run\"\ntimeout_s = 20\n{mix}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

/// Sends a scenario and looks below `root` for what was acknowledged.
fn run(scenario: &Path, address: &str, root: &Path, flags: &[&str]) -> (Output, Value) {
    let output = loadtest()
        .args(["run", "--json", "--target", address, "--scenario"])
        .arg(scenario)
        .arg("--verify")
        .arg(root)
        .args(flags)
        .output()
        .unwrap();
    let result = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output, result)
}

/// Instances that are less than a page, some pages, and more than what the limit holds in memory.
const SIZES: &str = "[[mix]]\nmodality = \"CT\"\nsize = \"1 KiB\"\ninstances = 50\nweight = 4\n\
                     [[mix]]\nmodality = \"CT\"\nsize = \"100 KiB\"\ninstances = 10\n\
                     [[mix]]\nmodality = \"CT\"\nsize = \"9 MiB\"\ninstances = 2\n";

#[test]
fn the_limit_has_what_it_acknowledged_in_every_mode_that_stores() {
    for mode in ["none", "per-file", "direct", "log"] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let limit = Limit::start(&root, &["--mode", mode]);
        let scenario = scenario(directory.path(), 400, 3, SIZES);
        let (output, result) = run(&scenario, &limit.address, &root, &[]);
        assert!(output.status.success(), "{mode}: {output:?}");
        assert_eq!(result["totals"]["acknowledged"], 400, "{mode}");
        let found = &result["verification"];
        assert_eq!((&found["whole"], &found["extra"]), (&400.into(), &Value::Array(Vec::new())), "{mode}");
        assert_eq!(fs::read_dir(root.join(".tmp")).unwrap().count(), 0, "{mode}");
    }
}

#[test]
fn the_log_of_the_limit_is_used_again_when_its_files_are_synced() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let limit = Limit::start(&root, &["--mode", "log"]);
    // Half as much again as both halves hold.
    let mix = "[[mix]]\nmodality = \"CT\"\nsize = \"56 KiB\"\ninstances = 100\n";
    let (output, result) = run(&scenario(directory.path(), 3400, 4, mix), &limit.address, &root, &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(result["verification"]["whole"], 3400);
}

#[test]
fn and_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let [certificate, key] = ["c.pem", "k.pem"].map(|name| directory.path().join(name).display().to_string());
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&certificate, issued.cert.pem()).unwrap();
    fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let root = directory.path().join("root");
    let limit = Limit::start(&root, &["--tls", &certificate, &key]);
    let scenario = scenario(directory.path(), 60, 2, SIZES);
    let (output, result) = run(&scenario, &limit.address, &root, &["--tls-insecure"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(result["verification"]["whole"], 60);
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
fn receive(stream: TcpStream, root: &Path, status: impl Fn(u16) -> u16) {
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

/// Sends twelve instances over one association to [`receive`], which comes after one that only looks whether the receiver is there.
fn store(directory: &Path, flags: &[&str], status: impl Fn(u16) -> u16 + Sync) -> (Output, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let root = directory.join("root");
    fs::create_dir(&root).unwrap();
    let mix = "[[mix]]\nmodality = \"CT\"\nsize = \"20 KiB\"\ntransfer_syntax = \"implicit\"\ninstances = 12";
    let scenario = scenario(directory, 12, 1, mix);
    thread::scope(|scope| {
        scope.spawn(|| (0..2).for_each(|_| receive(listener.accept().unwrap().0, &root, &status)));
        run(&scenario, &address, &root, flags)
    })
}

#[test]
fn what_another_implementation_acknowledges_is_found_and_what_it_loses_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let (output, result) = store(directory.path(), &[], |_| 0);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&result["totals"]["acknowledged"], &result["verification"]["whole"]), (&12.into(), &12.into()));
    assert_eq!(files_below(&directory.path().join("root")).len(), 12);

    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("root");
    let (output, result) = store(directory.path(), &[], |_| {
        // The file of the message before is gone when the next one comes.
        files_below(&elsewhere).first().map(fs::remove_file).transpose().unwrap();
        0
    });
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(result["verification"]["lost"].as_array().unwrap().len(), 11);
}

#[test]
fn refused_instances_are_counted_by_status_and_can_fail_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let status = |message_id| if message_id % 3 == 0 { 0xA700 } else { 0 };
    let (output, result) = store(directory.path(), &["--objective", "failures=0"], status);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&result["totals"]["acknowledged"], &result["totals"]["refused"]["A700"]), (&8.into(), &4.into()));
    assert_eq!(result["verification"]["whole"], 8);
}
