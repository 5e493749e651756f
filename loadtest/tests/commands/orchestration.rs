//! The commands that start receivers themselves, on receivers that are known to be good or bad. With `TIDEGATE_BIN` naming a node, on that
//! as well.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// The receiver itself: a process that the tests below start.
#[test]
#[ignore = "no test: the fake receiver, started by the others"]
fn serve_as_fake_receiver() {
    if env::var_os("FAKE_LISTEN").is_some() {
        crate::fake::serve();
    }
}

/// Describes a fake receiver with a fault, and says where.
fn describe(directory: &Path, name: &str, fault: &str) -> PathBuf {
    let path = directory.join(format!("{name}.toml"));
    let text = format!(
        "name = \"{name}\"\ndurability = \"for a test\"\nfiles = \"{{dir}}\"\nstop = \"SIGTERM\"\n\
         command = [{:?}, \"--exact\", \"orchestration::serve_as_fake_receiver\", \"--ignored\", \"--nocapture\"]\n\
         [environment]\nFAKE_LISTEN = \"127.0.0.1:{{port}}\"\nFAKE_DIR = \"{{dir}}\"\nFAKE_FAULT = \"{fault}\"\n",
        env::current_exe().unwrap()
    );
    fs::write(&path, text).unwrap();
    path
}

/// A command of the harness on small instances, with `workdir` below `directory`.
fn command(directory: &Path, name: &str, arguments: &[&str]) -> Command {
    let scenario = directory.join("small.toml");
    fs::write(&scenario, SCENARIO).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"));
    command.args([name, "--scenario"]).arg(&scenario).arg("--workdir").arg(directory.join("workdir")).args(arguments);
    command
}

/// Runs a command of the harness to its end.
fn loadtest(directory: &Path, name: &str, arguments: &[&str]) -> (Output, String) {
    let output = command(directory, name, arguments).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

const SCENARIO: &str = include_str!("../../scenarios/sr-tiny.toml");

#[test]
fn compare_tells_the_receiver_that_loses_from_the_one_that_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let (good, bad) = (describe(directory.path(), "good", ""), describe(directory.path(), "bad", "lose"));
    let page = directory.path().join("page.html");
    let (targets, html) = ([good.to_str().unwrap(), bad.to_str().unwrap()], page.to_str().unwrap());
    let arguments =
        ["--receiver", targets[0], targets[1], "--rounds", "2", "--duration", "0.3", "--html", html, "--markdown"];
    let (output, text) = loadtest(directory.path(), "compare", &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let row =
        |name: &str| text.lines().find(|line| line.starts_with(&format!("| {name}"))).unwrap_or_default().to_owned();
    assert!(row("good").contains("all whole") && row("good").contains("for a test"), "{text}");
    assert!(row("bad").contains(" lost") && !row("bad").contains("| 0 lost"), "{text}");
    assert!(fs::read_to_string(page).unwrap().contains("Receivers compared"));
    let left = fs::read_dir(directory.path().join("workdir")).unwrap().count();
    assert_eq!(left, 0, "what was stored is removed");
}

#[test]
fn a_receiver_is_held_against_the_limit_load_by_load() {
    let directory = tempfile::tempdir().unwrap();
    let good = describe(directory.path(), "good", "");
    let arguments = ["--receiver", good.to_str().unwrap(), "--limit", "none,log", "--rounds", "1", "--markdown"];
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"))
        .args(["compare", "--scenario", "tiny,large", "--size", "3 MiB", "--scale", "0.001", "--workdir"])
        .arg(directory.path().join("workdir"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("### tiny\n") && text.contains("### large\n"), "{text}");
    for name in ["| good", "| limit: none", "| limit: log"] {
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert!(rows.len() == 2 && rows.iter().all(|row| row.contains("all whole")), "{text}");
    }
    assert!(text.contains("of limit") && text.contains("| 1.00 |"), "{text}");
}

/// Three rounds of a receiver with itself, and diff of results of the same receiver made in turns.
#[test]
fn a_receiver_against_itself_has_a_verdict_and_is_not_worse() {
    let directory = tempfile::tempdir().unwrap();
    let (one, same) = (describe(directory.path(), "one", ""), describe(directory.path(), "same", ""));
    let targets = [one.to_str().unwrap(), same.to_str().unwrap()];
    let arguments = ["--receiver", targets[0], targets[1], "--rounds", "3", "--duration", "0.3"];
    let (output, text) = loadtest(directory.path(), "compare", &arguments);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("same against one: ") && !text.contains("Cannot be told"), "{text}");
    let (output, text) =
        loadtest(directory.path(), "compare", &[&arguments[..4], &["2", "--duration", "0.3"]].concat());
    assert!(output.status.success() && text.contains("same against one: Cannot be told: 2 and 2 runs"), "{text}");
}

#[test]
fn crash_passes_a_receiver_that_keeps_its_word_and_fails_those_that_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let crash = |name: &str, fault: &str| {
        let receiver = describe(directory.path(), name, fault);
        let arguments = ["--receiver", receiver.to_str().unwrap(), "--rounds", "2", "--longest", "0.2"];
        let (output, text) = loadtest(directory.path(), "crash", &arguments);
        let workdir = directory.path().join("workdir/crash");
        let kept = workdir.exists();
        let _ = fs::remove_dir_all(workdir);
        (output.status.code(), text, kept)
    };
    let (code, text, kept) = crash("good", "");
    assert!(code == Some(0) && text.contains("Passed: good killed 2 times") && !kept, "{text}");
    for fault in ["lose", "cut"] {
        let (code, text, kept) = crash(fault, fault);
        assert!(code == Some(1) && text.contains(&format!("Failed: {fault} lost or broke")) && kept, "{text}");
    }
}

#[test]
fn soak_finds_the_receiver_that_leaks() {
    let directory = tempfile::tempdir().unwrap();
    let soak = |name: &str, fault: &str, tolerance: &str| {
        let receiver = describe(directory.path(), name, fault);
        let arguments = ["--receiver", receiver.to_str().unwrap(), "--duration", "4s", "--load", "400ms"];
        let more = ["--pause", "200ms", "--tolerance", tolerance];
        let (output, text) = loadtest(directory.path(), "soak", &[&arguments[..], &more].concat());
        (output.status.code(), text)
    };
    let (code, text) = soak("leaking", "leak", "1 MiB");
    assert!(code == Some(1) && text.contains("Leak: what leaking holds grows"), "{text}");
    // Seconds cannot rule out a small leak; that more than this would have been seen, they can.
    let (code, text) = soak("steady", "", "900 GiB");
    assert!(code == Some(0) && text.contains("All acknowledged instances were found whole. No leak"), "{text}");
    // One that leaks nothing and drops one in a hundred.
    let (code, text) = soak("dropping", "drop-100", "900 GiB");
    assert!(code == Some(1) && text.contains("acknowledged instances") && text.contains(" lost"), "{text}");
}

#[test]
fn tune_recommends_the_setting_that_is_faster() {
    let directory = tempfile::tempdir().unwrap();
    // A node in name: its command line is a node's, and behind it stands the fake.
    let node = directory.path().join("node");
    let script = format!(
        "#!/bin/sh\n[ $1 = check-config ] && exit 0\n\
         [ $1 = print-config ] && {{ printf '[writers]\\ncount = %s\\n' $TIDEGATE__WRITERS__COUNT; exit 0; }}\nFAKE_LISTEN=$3 FAKE_DIR=$5 exec {:?} --exact orchestration::serve_as_fake_receiver --ignored --nocapture\n",
        env::current_exe().unwrap()
    );
    fs::write(&node, script).unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o700)).unwrap();
    let tune = |settings: &[&str]| {
        let arguments = ["--node", node.to_str().unwrap(), "--duration", "500ms", "--rounds", "3", "--budget", "1m"];
        let (output, text) = loadtest(directory.path(), "tune", &[&arguments[..], settings].concat());
        assert!(output.status.success(), "{output:?}");
        text
    };
    // Two writers answer after 200 ms, eight at once.
    let text = tune(&["--set", "writers.count=2", "--try", "writers.count=2,8"]);
    assert!(text.contains("writers.count: [8]") && text.contains("[writers]\ncount = 8\n"), "{text}");
    let rows = text.lines().filter(|line| line.starts_with("as configured (2)") || line.starts_with("2 ")).count();
    assert_eq!(rows, 1, "what is configured is measured once: {text}");
    assert!(text.contains("Without syncs") && text.contains("open load"), "{text}");
    // The search keeps the configured values if nothing is better.
    let text = tune(&["--set", "writers.count=8", "--try", "writers.count=2"]);
    assert!(text.contains("writers.count: leave as configured"), "{text}");
}

#[test]
fn settings_that_the_node_refuses_are_told_before_anything_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let node = directory.path().join("node");
    fs::write(&node, "#!/bin/sh\n[ -z $TIDEGATE__WRITERS__COUT ] || { echo unknown key >&2; exit 2; }\n").unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o700)).unwrap();
    let node = node.to_str().unwrap();
    for (command, arguments) in [
        ("tune", &["--try", "writers.cout=1,2"][..]),
        ("compare", &["--set", "writers.cout=1"]),
        ("crash", &["--set", "writers.cout=1"]),
        ("soak", &["--set", "writers.cout=1", "--duration", "1s"]),
    ] {
        let (output, _) = loadtest(directory.path(), command, &[&["--node", node], arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("refuses the settings") && said.contains("unknown key"), "{said}");
    }
}

#[test]
fn a_real_node_survives_being_killed_and_is_steady() {
    let Some(node) = env::var_os("TIDEGATE_BIN") else {
        return;
    };
    let node = node.to_str().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (output, text) = loadtest(directory.path(), "crash", &["--node", node, "--rounds", "2", "--longest", "0.5"]);
    assert!(output.status.success() && text.contains("Passed: Tidegate killed 2 times"), "{output:?}");
    let arguments = ["--node", node, "--duration", "4s", "--load", "400ms", "--pause", "300ms"];
    let (output, text) = loadtest(directory.path(), "soak", &[&arguments[..], &["--tolerance", "900 GiB"]].concat());
    assert!(output.status.success() && text.contains("leases at rest"), "{output:?}");
}

/// Processes whose command line names `directory`.
fn processes_of(directory: &Path) -> Vec<String> {
    let named = directory.to_str().unwrap();
    let command_line =
        |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok();
    fs::read_dir("/proc").unwrap().filter_map(command_line).filter(|line| line.contains(named)).collect()
}

/// Starts a command of the harness and waits until its receiver has stored something.
fn running(directory: &Path, name: &str, arguments: &[&str]) -> Child {
    let child = command(directory, name, arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let stored = || {
        let runs = fs::read_dir(directory.join("workdir")).ok()?;
        runs.flatten().find_map(|run| fs::read_dir(run.path().join("storage")).ok()?.next())
    };
    while stored().is_none() {
        thread::sleep(Duration::from_millis(20));
    }
    child
}

#[test]
fn a_command_that_a_signal_ends_leaves_no_receiver_and_no_directory() {
    let good = tempfile::tempdir().unwrap();
    let good = describe(good.path(), "good", "");
    let good = good.to_str().unwrap();
    let commands: [(&str, &[&str]); 3] = [
        ("compare", &["--receiver", good, "--rounds", "3", "--duration", "60"]),
        ("soak", &["--receiver", good, "--duration", "600"]),
        ("compare", &["--limit", "none", "--rounds", "3", "--duration", "60"]),
    ];
    for ((command, arguments), signal) in commands.into_iter().zip(["TERM", "INT", "HUP"]) {
        let directory = tempfile::tempdir().unwrap();
        let mut child = running(directory.path(), command, arguments);
        assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert!(status.code().is_none(), "{command}, SIG{signal}: {status}");
        let left: Vec<_> = fs::read_dir(directory.path().join("workdir")).unwrap().collect();
        assert!(left.is_empty(), "{command}, SIG{signal}: {left:?}");
        // A process that was killed is in /proc until its new parent has taken its status.
        while !processes_of(directory.path()).is_empty() {
            thread::sleep(Duration::from_millis(20));
        }
    }
}
