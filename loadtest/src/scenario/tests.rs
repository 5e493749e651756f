use bytesize::ByteSize;

use super::*;

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(text, "test.toml", Path::new("/there"))
}

fn complaint(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// A good scenario with one line more in its `[load]` and in its `[[mix]]`.
fn with(load: &str, mix: &str) -> String {
    format!("name = \"t\"\n[load]\nduration_s = 1\n{load}\n[[mix]]\nmodality = \"CT\"\n{mix}\n")
}

#[test]
fn every_shipped_scenario_stands_under_its_own_name_with_a_description() {
    for name in shipped::names() {
        let scenario = Scenario::load(name).unwrap();
        assert_eq!(scenario.name, name);
        assert!(!scenario.description.is_empty(), "{name}");
    }
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")).unwrap();
    let files = files.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "toml"));
    assert_eq!(files.count(), shipped::names().len(), "every file in scenarios/ is shipped");
}

#[test]
fn a_file_is_read_before_a_shipped_name_and_its_paths_begin_at_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.toml");
    fs::write(&path, "name = \"mine\"\n[load]\ninstances = 3\n[[mix]]\nfiles = \"images\"\n").unwrap();
    let scenario = Scenario::load(path.to_str().unwrap()).unwrap();
    let Source::Files { directory: images, limit, keep_patient: false } = &scenario.mix[0].source else {
        panic!("{scenario:?}")
    };
    assert_eq!((images, *limit), (&directory.path().join("images"), ByteSize::gib(1)));
    let error = Scenario::load("no-such").unwrap_err().to_string();
    assert!(error.contains("no-such") && error.contains("hospital-day"), "{error}");
}

#[test]
fn the_examples_of_the_reference_stand_and_it_names_every_shipped_scenario() {
    let reference = include_str!("../../scenarios/README.md");
    let examples: Vec<_> = reference.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 4);
    for example in examples {
        parse(example).unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
    for name in shipped::names() {
        assert!(reference.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_there_is() {
    let complaint = complaint(&with("", "wieght = 3"));
    assert!(complaint.starts_with("test.toml:7: wieght: unknown field `wieght`, expected one of "), "{complaint}");
    assert!(complaint.ends_with("; did you mean `weight`?"), "{complaint}");
}

#[test]
fn a_name_that_is_not_known_is_answered_with_the_one_that_was_probably_meant() {
    for (load, mix, meant) in [
        ("modle = \"open\"", "", Some("model")),
        ("model = \"opne\"", "", Some("open")),
        ("model = \"steps\"\nrates = [1]", "", Some("rates_per_s")),
        ("", "transfer_syntax = \"explict\"", Some("explicit")),
        ("colour = 3", "", None),
        ("", "q = 3", None),
    ] {
        let complaint = complaint(&with(load, mix));
        let asked = complaint.split("; did you mean `").nth(1).and_then(|rest| rest.split('`').next());
        assert_eq!(asked, meant, "{complaint}");
    }
}

#[test]
fn values_of_the_wrong_type_say_what_is_expected() {
    for (load, mix, line, expected) in [
        ("", "instances = \"many\"", 7, "a whole number like 8 or a range like \"3..6\""),
        ("", "instances = \"9..6\"", 7, "a whole number like 8 or a range"),
        ("", "size = \"big\"", 7, "a size like \"8 MiB\" or a range"),
        ("", "transfer_syntax = \"gif\"", 7, "expected one of `explicit`"),
        ("model = \"fast\"", "", 4, "expected one of `closed`, `open`, `steps`, `ramp`, `trace`"),
    ] {
        let complaint = complaint(&with(load, mix));
        assert!(complaint.starts_with(&format!("test.toml:{line}: ")) && complaint.contains(expected), "{complaint}");
    }
}

#[test]
fn every_wrong_value_is_told_with_its_line_its_key_and_the_way_out() {
    for (load, mix, expected) in [
        ("", "weight = 0", "test.toml:7: mix.0.weight: 0 is never sent: leave the [[mix]] out"),
        ("", "frames = 3", "test.toml:7: mix.0.frames: CT has one frame: remove it"),
        ("", "transfer_syntax = \"jpeg-baseline\"", "test.toml:7: mix.0.transfer_syntax: JPEG baseline is for 8 bits"),
        ("", "files = \"x\"", "test.toml:7: mix.0.files: either a modality or files"),
        ("", "rows = 2\nsize = \"1 MiB\"", "test.toml:8: mix.0.size: rows and columns say it already"),
        ("", "size = \"10 GiB\"", "test.toml:7: mix.0.size: a frame can have no more than 65535 rows"),
        ("", "instances = 0", "test.toml:7: mix.0.instances: must be from 1"),
        ("instances = 0", "", "test.toml:4: load.instances: must be 1 or more"),
        ("[[bad_peers]]\ncount = 1", "", "bad_peers.0.kind: kind is missing"),
        ("[[senders]]\ncount = 1", "", "senders.0.name: name is missing"),
        (
            "rate_per_s = 5",
            "",
            "test.toml:4: load.rate_per_s: has no effect with this model, only with open: remove it",
        ),
        ("model = \"open\"", "", "load: this model needs rate_per_s: add it"),
        ("model = \"open\"\nrate_per_s = -1", "", "test.toml:5: load.rate_per_s: must be more than 0"),
        ("model = \"steps\"", "", "load: steps without rates: add rates_per_s"),
        ("[associations]\ncount = 0", "", "test.toml:5: associations.count: must be from 1 to 10000"),
        ("[associations]\ncalling_ae = \"A_TITLE_LONGER_THAN_16\"", "", "an AE title has 1 to 16"),
        ("[tls]\nkey = \"k\"", "", "tls: a client has a certificate and a key"),
        ("[[bad_peers]]\nkind = \"http\"\ncount = 5000", "", "bad_peers.0.count: must be from 1 to 1000"),
        ("[[senders]]\nname = \"s\"\nmix = [\"XA\"]", "", "senders.0.mix: there is no [[mix]] of the name \"XA\""),
        ("[[senders]]\nname = \"s\"\nrate_per_s = 0", "", "senders.0.rate_per_s: must be more than 0"),
        ("[[senders]]\nname = \"s\"\narrival = \"even\"", "", "senders.0.arrival: has no effect here"),
        ("model = \"trace\"", "", "load: this model needs trace"),
        ("trace = \"x.log\"", "", "load.trace: has no effect with this model, only with trace"),
    ] {
        let complaint = complaint(&with(load, mix));
        assert!(complaint.contains(expected), "{expected}\nin {complaint}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_what_is_missing_too() {
    let complaint = complaint("name = \"t\"\n[associations]\ncount = 0\n[[mix]]\nweight = 0\n");
    for expected in ["associations.count", "mix.0.weight", "mix.0: nothing to send", "load: the load never ends"] {
        assert!(complaint.contains(expected), "{expected} in {complaint}");
    }
    let complaint = self::complaint("[[mix]]\nmodality = \"CT\"\n");
    assert!(complaint.contains("name is missing: add it"), "{complaint}");
}

#[test]
fn what_follows_from_an_entry_that_is_not_understood_is_not_told_beside_it() {
    for (load, mix, told) in [
        ("model = \"opne\"\nrate_per_s = 5", "", 1),
        ("instances = \"many\"", "", 1),
        ("", "modalty = \"CT\"\nweight = \"2\"", 2),
        ("[[senders]]\nname = \"s\"\nmix = [\"CT\"]", "modality = \"XX\"", 1),
        ("[associations]\ncount = -1\nlifetime = \"forever\"", "size = 5", 3),
    ] {
        let text = with(load, mix);
        let text = if mix.contains("XX") { text.replace("modality = \"CT\"\n", "") } else { text };
        let complaint = complaint(&text);
        assert_eq!(complaint.matches("test.toml:").count(), told, "{complaint}");
    }
}

#[test]
fn a_range_of_sizes_becomes_shapes_from_the_least_to_the_most() {
    let scenario =
        parse("name = \"t\"\n[load]\nduration_s = 1\n[[mix]]\nmodality = \"DX\"\nsize = \"8 MB..30 MB\"\n").unwrap();
    let Source::Generated { shapes, .. } = &scenario.mix[0].source else { panic!("{scenario:?}") };
    let sizes: Vec<_> = shapes.iter().map(|shape| shape.native_bytes() / 1_000_000).collect();
    assert_eq!(sizes.len(), 4);
    assert!((7..=8).contains(&sizes[0]) && (29..=30).contains(&sizes[3]), "{sizes:?}");
}

#[test]
fn a_ramp_becomes_steps_from_its_first_rate_to_its_last() {
    let text = "name = \"t\"\n[load]\nmodel = \"ramp\"\nfrom_per_s = 10\nto_per_s = 50\nsteps = 5\n[[mix]]\nmodality = \"SR\"\n";
    let Pace::Steps { rates_per_s, step_s, .. } = parse(text).unwrap().load.pace else { panic!() };
    assert_eq!((rates_per_s, step_s), (vec![10.0, 20.0, 30.0, 40.0, 50.0], 10.0));
}
