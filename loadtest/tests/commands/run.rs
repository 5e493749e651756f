//! `run` as a process, against the limit and against raw bytes: its result, its exit codes, its explanations.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, Length, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_ul::pdu::{self as ul, Pdu};
use serde_json::Value;

fn loadtest() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"))
}

/// The limit in a mode that acknowledges everything and keeps nothing.
struct Sink {
    process: Child,
    address: String,
}

impl Sink {
    fn start() -> Self {
        Self::with(&["--mode", "discard"])
    }

    fn with(flags: &[&str]) -> Self {
        let mut process =
            loadtest().args(["limit", "--listen", "127.0.0.1:0"]).args(flags).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().rsplit_once(' ').unwrap().1.to_owned() }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn scenario(directory: &Path, load: &str) -> String {
    let path = directory.join("scenario.toml");
    let text = format!(
        "name = \"test\"\n[load]\n{load}\n[associations]\ncount = 2\nlifetime = \"run\"\n\
         [[mix]]\nmodality = \"CT\"\nsize = \"100 KiB\"\ninstances = 5\n[[mix]]\nmodality = \"SR\"\n"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(address: &str, scenario: &str, flags: &[&str]) -> Output {
    loadtest().args(["run", "--scenario", scenario, "--target", address]).args(flags).output().unwrap()
}

#[test]
fn the_result_on_stdout_in_the_file_and_in_the_report_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let (json, html) = (directory.path().join("r.json"), directory.path().join("r.html"));
    let csv = directory.path().join("r.csv");
    let sink = Sink::start();
    let scenario = scenario(directory.path(), "instances = 60");
    let flags = ["--json", "--seed", "9", "--result", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let flags = [&flags[..], &["--csv", csv.to_str().unwrap()]].concat();
    let output = run(&sink.address, &scenario, &flags);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result, serde_json::from_slice::<Value>(&fs::read(&json).unwrap()).unwrap());
    assert_eq!((&result["schema"], &result["seed"], &result["scenario"]), (&1.into(), &9.into(), &"test".into()));
    assert_eq!((&result["totals"]["acknowledged"], &result["latency"]["count"]), (&60.into(), &60.into()));
    assert_eq!(result["modalities"].as_array().unwrap().len(), 2);
    assert!(fs::read_to_string(&html).unwrap().contains("<svg"));
    assert_eq!(fs::read_to_string(&csv).unwrap().lines().count(), 1 + result["series"].as_array().unwrap().len());
    assert!(result["noise"]["steal"].as_f64().is_some(), "{result}");
    // A run is compared with its own result.
    let sink = Sink::start();
    let output = run(&sink.address, &scenario, &["--baseline", json.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // Without a terminal each second is a line on stderr.
    assert!(text(&output.stderr).contains("associations"), "{}", text(&output.stderr));
}

#[test]
fn a_broken_objective_is_exit_code_1_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let scenario = scenario(directory.path(), "instances = 20");
    for (objective, code) in [("failures=0", 0), ("rate=1000000000/s", 1), ("rss=1GiB", 1)] {
        let sink = Sink::start();
        let output = run(&sink.address, &scenario, &["--objective", objective, "--json"]);
        assert_eq!(output.status.code(), Some(code), "{objective}: {}", text(&output.stderr));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["objectives"][0]["text"], objective);
        assert_eq!(result["objectives"][0]["met"], code == 0);
    }
}

#[test]
fn a_receiver_that_keeps_nothing_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let scenario = scenario(directory.path(), "instances = 20");
    for verify in [["--verify", empty.to_str().unwrap()], ["--verify-hook", "true"]] {
        let sink = Sink::start();
        let output = run(&sink.address, &scenario, &[&verify[..], &["--json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["verification"]["lost"].as_array().unwrap().len(), 20);
    }
}

#[test]
fn what_cannot_run_is_exit_code_2_and_explained() {
    let directory = tempfile::tempdir().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let good = scenario(directory.path(), "instances = 1");
    let bad = directory.path().join("bad.toml");
    fs::write(&bad, "name = \"bad\"\n[load]\nduration_s = 1\n\n[[mix]]\nmodality = \"CT\"\nwieght = 2\n").unwrap();
    for (scenario, flags, expected) in [
        (good.as_str(), &[][..], "no association with 127.0.0.1:"),
        (bad.to_str().unwrap(), &[], "bad.toml:7: wieght: unknown field `wieght`"),
        ("no-such-scenario", &[], "hospital-day"),
        ("knee", &["--duration", "5"], "has no effect on a load in steps"),
        (good.as_str(), &["--tls-ca", "/nonexistent/ca.pem"], "/nonexistent/ca.pem"),
        (good.as_str(), &["--objective", "p99=fast"], "write it as 250ms"),
        ("tls", &[], "--tls-ca FILE"),
    ] {
        let output = run(&gone, scenario, flags);
        assert_eq!(output.status.code(), Some(2), "{expected}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{expected} in {}", text(&output.stderr));
    }
}

/// Answers one connection with these bytes when it has asked for an association.
fn answer_with(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 64];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(&bytes).unwrap();
        // Until the generator is gone, so that it reads all of it.
        drain(stream);
    });
    address
}

fn drain(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

#[test]
fn whatever_a_peer_answers_is_told_for_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let scenario = scenario(directory.path(), "instances = 1");
    let written = |pdu: &Pdu| {
        let mut bytes = Vec::new();
        ul::write_pdu(&mut bytes, pdu).unwrap();
        bytes
    };
    let rejection = Pdu::AssociationRJ(ul::AssociationRJ {
        result: ul::AssociationRJResult::Transient,
        source: ul::AssociationRJSource::ServiceProviderPresentation(
            ul::AssociationRJServiceProviderPresentationReason::LocalLimitExceeded,
        ),
    });
    let refusal = Pdu::AssociationAC(ul::AssociationAC {
        protocol_version: 1,
        calling_ae_title: "LOADTEST".into(),
        called_ae_title: "TIDEGATE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![ul::PresentationContextResult {
            id: 1,
            reason: ul::PresentationContextResultReason::AbstractSyntaxNotSupported,
            transfer_syntax: "1.2.840.10008.1.2".into(),
        }],
        user_variables: Vec::new(),
    });
    for (bytes, expected) in [
        (
            written(&rejection),
            "association rejected: local limit exceeded, rejected transiently by the service provider (presentation) \
             (result 2, source 3, reason 2; PS3.8 §9.3.4)",
        ),
        (written(&refusal), "no presentation context accepted: abstract syntax not supported (result 3)"),
        (
            b"\x07\0\0\0\0\x04\0\0\x02\x01".to_vec(),
            "aborted by the peer: by the service provider, unrecognized PDU (source 2, reason 1",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "the peer's answer is no C-STORE-RSP"),
        (b"\x06\0\0\0\0\x04\0\0\0\0".to_vec(), "PDU of type 0x06 while waiting for A-ASSOCIATE-AC"),
    ] {
        let output = run(&answer_with(bytes), &scenario, &[]);
        assert_eq!(output.status.code(), Some(2), "{expected}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{expected} in {}", text(&output.stderr));
    }
}

#[test]
fn a_directory_of_ones_own_files_is_sent_under_fresh_uids() {
    let directory = tempfile::tempdir().unwrap();
    let images = directory.path().join("images");
    fs::create_dir(&images).unwrap();
    // A file of another implementation.
    let mut object = InMemDicomObject::new_empty();
    for (tag, value) in [
        (tags::SOP_CLASS_UID, "1.2.840.10008.5.1.4.1.1.7"),
        (tags::SOP_INSTANCE_UID, "1.2.3.4"),
        (tags::STUDY_INSTANCE_UID, "1.2.3.5"),
        (tags::SERIES_INSTANCE_UID, "1.2.3.6"),
    ] {
        object.put_str(tag, VR::UI, value);
    }
    let meta = FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
    object.with_meta(meta).unwrap().write_to_file(images.join("one.dcm")).unwrap();
    let path = directory.path().join("mine.toml");
    fs::write(&path, "name = \"mine\"\n[load]\ninstances = 6\n[associations]\ncount = 1\nlifetime = \"run\"\n[[mix]]\nfiles = \"images\"\n").unwrap();
    let root = directory.path().join("root");
    let limit = Sink::with(&["--mode", "none", "--dir", root.to_str().unwrap()]);
    let output = run(&limit.address, path.to_str().unwrap(), &["--verify", root.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["verification"]["whole"], 6);
    let mut uids = uids_below(&root);
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), 6);
    assert!(uids.iter().all(|uid| uid.starts_with("2.25.")), "{uids:?}");
}

/// A file as a hospital has it: the patient is named at the top, in sequences of either length, and in a private element.
fn hospital_file(path: &Path, syntax: &str) {
    let item = |tag, vr, value: &str| InMemDicomObject::from_element_iter([DataElement::new(tag, vr, value)]);
    let mut object = InMemDicomObject::new_empty();
    for (tag, vr, value) in [
        (tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.7"),
        (tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4"),
        (tags::STUDY_DATE, VR::DA, "20260102"),
        (tags::ACCESSION_NUMBER, VR::SH, "SECRET1"),
        (tags::INSTITUTION_NAME, VR::LO, "SECRET2"),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, "SECRET^3"),
        (Tag(0x0009, 0x0010), VR::LO, "SECRET4"),
        (tags::PATIENT_NAME, VR::PN, "SECRET^5"),
        (tags::PATIENT_ID, VR::LO, "SECRET6"),
        (tags::PATIENT_BIRTH_DATE, VR::DA, "19700102"),
        (tags::PATIENT_SEX, VR::CS, "F"),
        (tags::PATIENT_ADDRESS, VR::LO, "SECRET7"),
        (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.5"),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.6"),
        (tags::REQUESTED_PROCEDURE_ID, VR::SH, "SECRET8"),
    ] {
        object.put(DataElement::new(tag, vr, value));
    }
    let request = item(tags::REQUESTED_PROCEDURE_ID, VR::SH, "SECRET9");
    let inner = DataElement::new(
        tags::CONTENT_SEQUENCE,
        VR::SQ,
        DataSetSequence::from(vec![item(tags::PERSON_NAME, VR::PN, "SECRET^10")]),
    );
    let outer = InMemDicomObject::from_element_iter([
        inner,
        DataElement::new(tags::TEXT_VALUE, VR::UT, "SECRET11"),
        DataElement::new(tags::CODE_MEANING, VR::LO, "stays here"),
    ]);
    object.put(DataElement::new(tags::REQUEST_ATTRIBUTES_SEQUENCE, VR::SQ, DataSetSequence::from(vec![request])));
    object.put(DataElement::new(tags::CONTENT_SEQUENCE, VR::SQ, DataSetSequence::new(vec![outer], Length::UNDEFINED)));
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::from(vec![7_u8; 64])));
    object.with_meta(FileMetaTableBuilder::new().transfer_syntax(syntax)).unwrap().write_to_file(path).unwrap();
}

#[test]
fn ones_own_files_are_sent_with_another_patient_unless_the_own_is_asked_for() {
    for (syntax, keep) in [("1.2.840.10008.1.2.1", false), ("1.2.840.10008.1.2", false), ("1.2.840.10008.1.2.1", true)]
    {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("images")).unwrap();
        hospital_file(&directory.path().join("images/one.dcm"), syntax);
        let path = directory.path().join("mine.toml");
        fs::write(&path, "name = \"mine\"\n[load]\ninstances = 2\n[[mix]]\nfiles = \"images\"\n").unwrap();
        let root = directory.path().join("root");
        let limit = Sink::with(&["--mode", "none", "--dir", root.to_str().unwrap()]);
        let mut flags = vec!["--verify", root.to_str().unwrap()];
        flags.extend(keep.then_some("--keep-patient"));
        let output = run(&limit.address, path.to_str().unwrap(), &flags);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for file in stored_below(&root) {
            let bytes = fs::read(&file).unwrap();
            assert_eq!(bytes.windows(6).any(|window| window == b"SECRET"), keep, "{syntax}");
            assert!(bytes.windows(10).any(|window| window == b"stays here"));
            let object = dicom_object::open_file(&file).unwrap();
            let value = |tag| object.element(tag).unwrap().to_str().unwrap().into_owned();
            let expected = if keep { ["SECRET^5", "SECRET6", "19700102"] } else { ["Load^Test", "LTF0000001", ""] };
            assert_eq!([value(tags::PATIENT_NAME), value(tags::PATIENT_ID), value(tags::PATIENT_BIRTH_DATE)], expected);
            assert_eq!([value(tags::PATIENT_SEX), value(tags::STUDY_DATE)], ["F", "20260102"]);
            assert_eq!(object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().len(), 64);
        }
    }
}

#[test]
fn a_dry_run_says_what_would_be_sent_and_connects_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("images")).unwrap();
    hospital_file(&directory.path().join("images/one.dcm"), "1.2.840.10008.1.2.1");
    let path = directory.path().join("mine.toml");
    fs::write(
        &path,
        "name = \"mine\"\n[load]\ninstances = 2\n[[mix]]\nfiles = \"images\"\n[[mix]]\nmodality = \"CT\"\n",
    )
    .unwrap();
    for (flags, expected) in [
        (&[][..], "1 files of 1 patients, sent as Load^Test with IDs from LTF0000001"),
        (&["--keep-patient"], "sent with the patients' own names and IDs"),
    ] {
        let output = loadtest().args(["run", "--dry-run", "--scenario"]).arg(&path).args(flags).output().unwrap();
        let text = text(&output.stdout);
        assert!(output.status.success() && text.contains(expected), "{output:?}");
        assert!(text.contains("closed, 8 associations, 2 instances") && text.contains("Nothing was sent."), "{text}");
        assert!(text.contains("1.2.840.10008.5.1.4.1.1.2 ") && !text.contains("SECRET"), "{text}");
    }
}

#[test]
fn diff_notices_one_run_in_two_files_and_runs_that_stored_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let scenario = scenario(directory.path(), "instances = 4");
    let path = |name: &str| directory.path().join(name).display().to_string();
    for name in ["one.json", "other.json"] {
        assert!(run(&sink.address, &scenario, &["--result", &path(name)]).status.success());
    }
    fs::copy(path("one.json"), path("copy.json")).unwrap();
    let diff = |arguments: &[String]| loadtest().arg("diff").args(arguments).output().unwrap();
    let output = diff(&[path("one.json"), path("other.json")]);
    assert!(output.status.success() && text(&output.stdout).starts_with("Cannot be told: 1 and 1 runs"), "{output:?}");
    let files = [&["--base"][..], &["one.json", "other.json"], &["--new"], &["copy.json"]].concat();
    let sets: Vec<String> =
        files.iter().map(|word| if word.starts_with('-') { (*word).to_owned() } else { path(word) }).collect();
    for arguments in [&[path("one.json"), path("copy.json")][..], &[path("one.json"), path("one.json")], &sets] {
        let output = diff(arguments);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("hold the same run"), "{said}");
    }
    let mut empty: Value = serde_json::from_slice(&fs::read(path("other.json")).unwrap()).unwrap();
    empty["totals"]["acknowledged"] = 0.into();
    fs::write(path("empty.json"), empty.to_string()).unwrap();
    let output = diff(&[path("one.json"), path("empty.json")]);
    let said = text(&output.stdout);
    assert!(output.status.code() == Some(1) && said.starts_with("Worse: 1 of 1 new runs stored nothing"), "{said}");
    let mut again = empty.clone();
    again["run"] = 5.into();
    fs::write(path("again.json"), again.to_string()).unwrap();
    let output = diff(&[path("empty.json"), path("again.json")]);
    assert!(output.status.code() == Some(1) && text(&output.stdout).starts_with("Cannot be compared"), "{output:?}");
}

fn stored_below(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { stored_below(&path) } else { vec![path] }).collect()
}

/// The SOP Instance UIDs in the files below a directory.
fn uids_below(directory: &Path) -> Vec<String> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => uids_below(&path),
            false => {
                let object = dicom_object::open_file(&path).unwrap();
                vec![object.element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned()]
            }
        })
        .collect()
}
