//! Mistakes in the configuration, and conditions of the host that it does not fit: what is told, where, and in which form.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Running, run_to_end, tidegate};

fn check(directory: &Path, text: &str) -> (i32, String) {
    fs::write(directory.join("t.toml"), text).unwrap();
    let (code, stdout, stderr) = run_to_end(&mut tidegate(directory, &["check-config", "--config", "t.toml"]));
    assert_eq!(stdout.is_empty(), code != 0, "{stdout}");
    (code, stderr)
}

#[test]
fn a_fault_in_a_rule_names_the_rule_its_key_the_value_and_the_line_and_stands_beside_all_others() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[writers]\ncount = 0\n\
                [[access]]\nname = \"all\"\naction = \"allow\"\n\
                [[access]]\nname = \"ct\"\naction = \"alow\"\ncalling = [\"CT1\", \"SEVENTEEN_LETTERS\"]\nform = [\"10.0.0.0/8\"]\n\
                [[access]]\nname = \"never\"\naction = \"deny\"\ncalling = [\"MR\"]\n";
    let (code, stderr) = check(directory.path(), text);
    assert_eq!((code, stderr.lines().count()), (2, 6), "{stderr}");
    for expected in [
        "[[access]] 2 (\"ct\"): action = \"alow\" (t.toml:8): must be \"allow\" or \"deny\"",
        "[[access]] 2 (\"ct\"): calling = [\"CT1\", \"SEVENTEEN_LETTERS\"] (t.toml:9): \"SEVENTEEN_LETTERS\" can never match",
        "[[access]] 2 (\"ct\"): form = [\"10.0.0.0/8\"] (t.toml:10): unknown key of a rule; did you mean from?",
        "[[access]] 3 (\"never\") (t.toml:11): can never decide, because rule 1 (\"all\") before it has no criteria",
        "writers.count = 0 (t.toml:2): must be 1 to 256",
    ] {
        assert!(stderr.contains(expected), "{expected} is not in {stderr}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_with_each_line_and_its_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[node]\nae_title = TIDEGATE\nlisten = “0.0.0.0:104”\n[memory]\nbudget = 512 MiB\n";
    let (code, stderr) = check(directory.path(), text);
    assert_eq!((code, stderr.lines().count()), (2, 4), "{stderr}");
    for expected in [
        "t.toml:2: ",
        "write ae_title = \"TIDEGATE\"",
        "t.toml:3: ",
        "not the quotes of TOML",
        "t.toml:5: ",
        "\"512 MiB\"",
    ] {
        assert!(stderr.contains(expected), "{expected} is not in {stderr}");
    }
    let (code, stderr) = check(directory.path(), "[access]\nname = 'a'\n[access]\nname = 'b'\n");
    assert!(code == 2 && stderr.contains("a line [[access]] of its own, with two brackets"), "{stderr}");
}

/// A collector parses every line that a node writes, from the first on.
#[test]
fn with_a_json_log_a_node_that_does_not_start_tells_it_in_json_too() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("[node]\nlisten = '{}'\n", taken.local_addr().unwrap());
    let json = "[log]\nformat = 'json'\n";
    for (text, variable, code, causes) in [
        (format!("{json}[writers]\ncount = 0\nbatch = 0\n"), None, 2, &["writers.batch", "writers.count"][..]),
        (format!("{json}[node]\nae_title = X\n"), None, 2, &["write ae_title = \"X\""]),
        ("[writers]\ncount = 0\n".to_owned(), Some("json"), 2, &["writers.count"]),
        ("[writers]\ncount = \n".to_owned(), Some("json"), 2, &["write the value"]),
        (format!("{json}{taken}"), None, 1, &["cannot listen on"]),
    ] {
        fs::write(directory.path().join("t.toml"), &text).unwrap();
        let mut command = tidegate(directory.path(), &["--config", "t.toml", "--admin", "off"]);
        if let Some(format) = variable {
            command.env("TIDEGATE__LOG__FORMAT", format);
        }
        let (found, stdout, stderr) = run_to_end(&mut command);
        assert_eq!((found, stdout.as_str()), (code, ""), "{text}: {stderr}");
        let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> = lines.iter().filter(|line| line["message"] == "node not started").collect();
        assert_eq!(told.len(), causes.len(), "{stderr}");
        for (line, cause) in told.iter().zip(causes) {
            assert!(line["level"] == "ERROR" && line["timestamp"].is_string(), "{line}");
            assert!(line["cause"].as_str().unwrap().contains(cause), "{line}");
        }
    }
    let mut command = tidegate(directory.path(), &["--config", "nowhere.toml"]);
    let (code, _, stderr) = run_to_end(command.env("TIDEGATE__LOG__FORMAT", "json"));
    let line: Value = serde_json::from_str(&stderr).unwrap();
    assert!(code == 2 && line["cause"].as_str().unwrap().contains("nowhere.toml"), "{line}");
    // A flag or a variable of text wins over a file of JSON, and text stays text.
    let mut command = tidegate(directory.path(), &["--config", "t.toml", "--listen", "nonsense"]);
    let (_, _, stderr) = run_to_end(command.env("TIDEGATE__LOG__FORMAT", "text"));
    assert!(stderr.starts_with("tidegate: configuration is not valid\n"), "{stderr}");
}

#[test]
fn a_reserve_beyond_the_disk_is_told_with_both_values_and_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let (code, stderr) = check(directory.path(), "[storage]\nmin_free = '900 TiB'\n");
    assert_eq!(code, 0, "it may be meant for another machine: {stderr}");
    let root = directory.path().canonicalize().unwrap();
    for part in ["warning: storage.min_free = 900.0 TiB", root.to_str().unwrap(), " has, ", "lower storage.min_free"] {
        assert!(stderr.contains(part), "{part} is not in {stderr}");
    }
    assert_eq!(check(directory.path(), "[storage]\nmin_free = '1 MiB'\n"), (0, String::new()));
    let mut command = tidegate(directory.path(), &["--listen", "127.0.0.1:0"]);
    command.env("TIDEGATE__STORAGE__MIN_FREE", "900 TiB");
    let node = Running::start(command);
    node.signal(Signal::TERM);
    let (_, _, stderr) = node.end();
    let line = stderr.lines().find(|line| line.contains("storage.min_free is more than the disk has")).unwrap();
    assert!(line.contains("ERROR") && line.contains("900.0 TiB") && line.contains("disk="), "{line}");
}

/// A relative root is one of the directory of the start: a command of another directory looks elsewhere, and must say where.
#[test]
fn a_relative_root_of_the_configuration_is_told_in_full() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(directory.path().join("t.toml"), "[storage]\nroot = './data'\n").unwrap();
    let full = elsewhere.canonicalize().unwrap().join("data");
    for command in ["verify", "recover", "status"] {
        let (code, _, stderr) = run_to_end(&mut tidegate(&elsewhere, &[command, "--config", "../t.toml"]));
        if command != "recover" {
            assert_ne!(code, 0);
        }
        assert!(code == 0 || stderr.contains(full.to_str().unwrap()), "{command}: {stderr}");
    }
}

#[test]
fn a_root_in_use_is_told_with_its_process_and_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--admin", "off"];
    let node = Running::start(tidegate(directory.path(), &arguments));
    let (code, _, stderr) = run_to_end(&mut tidegate(directory.path(), &arguments));
    let complaint = stderr.lines().find(|line| line.starts_with("tidegate: ")).unwrap();
    let holder = format!("is in use by process {}: stop that node first, or set storage.root", node.child.id());
    assert!(code == 1 && complaint.contains(&holder), "{stderr}");
    let (_, _, stderr) = run_to_end(&mut tidegate(directory.path(), &["recover", "--clean"]));
    assert!(stderr.contains(&holder), "{stderr}");
}

#[test]
fn variables_named_like_flags_are_refused_with_the_name_that_is_meant() {
    for (variable, meant) in [
        ("TIDEGATE_AE_TITLE", "TIDEGATE__NODE__AE_TITLE"),
        ("TIDEGATE_LISTEN", "TIDEGATE__NODE__LISTEN"),
        ("TIDEGATE_STORAGE", "TIDEGATE__STORAGE__ROOT"),
        ("TIDEGATE_ADMIN", "TIDEGATE__ADMIN__LISTEN"),
        ("TIDEGATE_CONFIG", "--config"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (code, _, stderr) = run_to_end(tidegate(directory.path(), &["check-config"]).env(variable, "x"));
        assert_eq!(code, 2, "{variable}");
        assert!(stderr.contains(variable) && stderr.contains(meant), "{stderr}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_named_as_it_was_written_and_stands_beside_all_other_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let latin_1 = std::ffi::OsStr::from_bytes(b"K\xf6ln");
    for name in ["TIDEGATE__NODE__AE_TITLE", "tidegate__node__ae_title"] {
        let mut command = tidegate(directory.path(), &["check-config"]);
        // A variable that is not the node's may be anything.
        command.env(name, latin_1).env("TIDEGATE__WRITERS__COUNT", "0").env("TIDEGATE_PORT", latin_1);
        let (code, _, stderr) = run_to_end(&mut command);
        assert_eq!((code, stderr.lines().count()), (2, 3), "{stderr}");
        let expected = format!("node.ae_title = \"K\u{fffd}ln\" (environment variable {name}): is not UTF-8");
        assert!(stderr.contains(&expected) && stderr.contains("writers.count = \"0\""), "{stderr}");
    }
    // Its key decides whether a command can do without it, and a flag wins.
    for (arguments, is_told) in [(&["status"][..], true), (&["status", "--storage", "data"], false)] {
        let mut command = tidegate(directory.path(), arguments);
        let (_, _, stderr) = run_to_end(command.env("TIDEGATE__STORAGE__ROOT", latin_1));
        assert_eq!(stderr.contains("environment variable TIDEGATE__STORAGE__ROOT"), is_told, "{stderr}");
    }
}
