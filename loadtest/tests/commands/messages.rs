//! The command line answers a mistake with what is wrong and the way out.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest")).args(arguments).output().unwrap()
}

/// The complaint of a command that must exit with 2.
fn complaint(arguments: &[&str]) -> String {
    let output = loadtest(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    said
}

#[test]
fn a_flag_of_another_command_is_answered_with_the_commands_that_have_it() {
    for (arguments, expected) in [
        (&["run", "--set", "a.b=1"][..], "--set belongs to compare, crash, soak, tune"),
        (&["run", "--set", "a.b=1"], "TIDEGATE__WRITERS__COUNT=4"),
        (&["run", "--node", "tidegate"], "run measures a receiver that already runs"),
        (&["tune", "--target", "127.0.0.1:104"], "--target belongs to run, soak"),
        (&["crash", "--verify", "/tmp"], "--verify belongs to run, soak"),
        (&["verify"], "run --verify DIR"),
        (&["verify", "/tmp"], "run --verify DIR"),
        (&["measure"], "compare, crash, diff, limit, run, soak, tune"),
    ] {
        let said = complaint(arguments);
        assert!(said.contains(expected), "{expected} in {said}");
    }
}

#[test]
fn a_time_that_is_nothing_is_refused_where_something_must_happen_in_it() {
    for arguments in [
        &["run", "--duration", "0"][..],
        &["run", "--duration", "0s"],
        &["tune", "--duration", "0"],
        &["tune", "--budget", "0"],
        &["tune", "--max-p99", "0"],
        &["soak", "--duration", "0"],
        &["soak", "--load", "0"],
        &["compare", "--duration", "0ms"],
    ] {
        let said = complaint(arguments);
        assert!(said.contains("must be more than 0"), "{arguments:?}: {said}");
    }
    let said = complaint(&["run", "--scenario", "ct", "--target", "127.0.0.1:1", "--instances", "0"]);
    assert!(said.contains("--instances"), "{said}");
}

#[test]
fn a_target_without_a_port_is_told_before_anything_is_made() {
    for (target, expected) in [
        ("127.0.0.1", "no port: HOST:PORT is expected, as in 127.0.0.1:11112"),
        ("pacs.example", "no port"),
        ("pacs.example:", "no port"),
        ("[::1]", "no port"),
        ("::1", "[::1]:11112"),
        ("127.0.0.1:0", "\"0\" is no port"),
        ("127.0.0.1:99999", "\"99999\" is no port"),
        ("pacs.example:dicom", "\"dicom\" is no port"),
        (":11112", "no host"),
        ("", "no host"),
    ] {
        for command in [&["run", "--scenario", "ct"][..], &["soak", "--duration", "1s", "--pid", "1"]] {
            let said = complaint(&[command, &["--target", target]].concat());
            assert!(said.contains(expected), "{target}: {expected} in {said}");
        }
    }
}

#[test]
fn everything_that_is_wrong_with_a_scenario_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wrong.toml");
    let text = "nmae = \"wrong\"\n[load]\nmodel = \"fast\"\nduration_s = \"long\"\n[associations]\ncount = 0\n\
                [[mix]]\nmodality = \"CT\"\nwieght = 2\n[[mix]]\nmodality = \"XX\"\nweight = 0\n";
    fs::write(&path, text).unwrap();
    let said = complaint(&["run", "--dry-run", "--scenario", path.to_str().unwrap()]);
    for expected in [
        "wrong.toml:1: nmae: unknown field `nmae`",
        "name is missing: add it",
        "wrong.toml:3: model: ",
        "wrong.toml:4: duration_s: ",
        "wrong.toml:6: associations.count: must be from 1",
        "wrong.toml:9: wieght: unknown field",
        "wrong.toml:11: modality: ",
        "wrong.toml:12: mix.1.weight: 0 is never sent",
    ] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    fs::write(&path, "name = \"wrong\n").unwrap();
    let said = complaint(&["run", "--dry-run", "--scenario", path.to_str().unwrap()]);
    assert_eq!(said.matches("wrong.toml:").count(), 1, "{said}");
}

/// A file with these attributes, as another implementation writes it.
fn dicom_file(path: &Path, sop_class: &str, syntax: &str, has_uids: bool, has_pixels: bool) {
    let mut object = InMemDicomObject::new_empty();
    object.put_str(tags::SOP_CLASS_UID, VR::UI, sop_class);
    object.put_str(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4");
    object.put_str(tags::PATIENT_NAME, VR::PN, "Somebody");
    if has_uids {
        object.put_str(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.5");
        object.put_str(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.6");
    }
    if has_pixels {
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::from(vec![7_u8; 64])));
    }
    object.with_meta(FileMetaTableBuilder::new().transfer_syntax(syntax)).unwrap().write_to_file(path).unwrap();
}

#[test]
fn files_of_ones_own_that_cannot_be_sent_are_named_and_counted_by_kind() {
    let directory = tempfile::tempdir().unwrap();
    let images = directory.path().join("images");
    fs::create_dir(&images).unwrap();
    let (image, explicit) = ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.1");
    let put = |name: &str, class, syntax, has_uids, has_pixels| {
        dicom_file(&images.join(name), class, syntax, has_uids, has_pixels);
    };
    fs::write(images.join("readme.txt"), "for people").unwrap();
    fs::write(images.join("empty.dcm"), "").unwrap();
    put("DICOMDIR", "1.2.840.10008.1.3.10", explicit, true, false);
    put("no-uids.dcm", image, explicit, false, true);
    put("big-endian.dcm", image, "1.2.840.10008.1.2.2", true, true);
    put("cut.dcm", image, explicit, true, true);
    let whole = fs::read(images.join("cut.dcm")).unwrap();
    fs::write(images.join("cut.dcm"), &whole[..whole.len() - 9]).unwrap();
    let scenario = directory.path().join("mine.toml");
    fs::write(&scenario, "name = \"mine\"\n[load]\ninstances = 2\n[[mix]]\nfiles = \"images\"\n").unwrap();
    let dry_run = ["run", "--dry-run", "--scenario", scenario.to_str().unwrap()];
    let counted = "6 others are passed over: 1 big endian or deflated, 1 cut off or malformed, 1 media directories, \
                   2 not DICOM, 1 without one of the three UIDs";
    let said = complaint(&dry_run);
    assert!(said.contains("no usable DICOM file under") && said.contains(counted), "{said}");
    put("image.dcm", image, explicit, true, true);
    put("report.dcm", "1.2.840.10008.5.1.4.1.1.88.11", explicit, true, false);
    for keep in [&[][..], &["--keep-patient"]] {
        let output = loadtest(&[&dry_run[..], keep].concat());
        let (told, named) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success() && told.contains("images: 2 files of 1 patients, "), "{told}");
        assert!(told.contains("; 1 of them have no pixel data") && told.contains(counted), "{told}");
        for (name, why) in [
            ("DICOMDIR", "a media directory (DICOMDIR)"),
            ("no-uids.dcm", "no SOP Instance UID, Study Instance UID or Series Instance UID"),
            ("big-endian.dcm", "big endian or deflated"),
            ("cut.dcm", "cut off or malformed"),
        ] {
            let line = named.lines().find(|line| line.contains(name)).unwrap_or_default();
            assert!(line.starts_with("passed over: ") && line.contains(why), "{name}: {named}");
        }
    }
}
