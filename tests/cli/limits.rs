//! Limits of the process (setrlimit(2)): what a node says, and does, that starts under them.

use rustix::process::Signal;

use crate::process::{Running, run_to_end};

#[test]
fn too_few_open_files_are_one_clear_line_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    let start = "ulimit -n 40; exec \"$0\" --storage data --listen 127.0.0.1:0 --admin off";
    command.args(["-c", start, env!("CARGO_BIN_EXE_tidegate")]).current_dir(directory.path());
    let (code, stdout, stderr) = run_to_end(&mut command);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
    assert!(stderr.contains("open file limit is 40") && stderr.contains("LimitNOFILE"), "{stderr}");
    assert!(!directory.path().join("data").exists(), "nothing was started");
}

#[test]
fn a_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    let start = "ulimit -Sn 50; ulimit -Hn 4000; exec \"$0\" --storage data --listen 127.0.0.1:0";
    command.args(["-c", start, env!("CARGO_BIN_EXE_tidegate")]).current_dir(directory.path());
    let node = Running::start(command);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).collect::<Vec<_>>(), ["4000", "4000", "files"]);
}

#[test]
fn too_small_a_file_size_limit_is_one_clear_line_and_a_larger_one_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let limited = |blocks: u32, rest: &str| {
        let mut command = std::process::Command::new("bash");
        let start = format!("ulimit -f {blocks}; exec \"$0\" {rest}");
        command.args(["-c", &start, env!("CARGO_BIN_EXE_tidegate")]).current_dir(directory.path());
        command
    };
    let run = "--storage data --listen 127.0.0.1:0 --admin off";
    let (code, stdout, stderr) = run_to_end(&mut limited(100, run));
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
    assert!(stderr.contains("file size limit is 100.0 KiB") && stderr.contains("LimitFSIZE"), "{stderr}");
    assert!(!directory.path().join("data").exists(), "nothing was started");
    let (code, _, stderr) = run_to_end(&mut limited(4096, "check-config"));
    assert_eq!(code, 0);
    assert!(stderr.contains("warning: file size limit is 4.0 MiB"), "{stderr}");
    // Below a segment of the commit log; a write beyond the limit would end the process with SIGXFSZ.
    let mut node = Running::start(limited(4096, run));
    node.wait_for_log("file size limit is set");
    node.signal(Signal::XFSZ);
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, Some(0));
}

#[test]
fn too_few_threads_are_one_clear_line_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let node = directory.path().join("tidegate");
    std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &node).unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let mut command = std::process::Command::new("bash");
    let start = "ulimit -u 30; exec \"$0\" --storage data --listen 127.0.0.1:0 --admin off";
    command.args(["-c", start]).arg(&node).current_dir(directory.path());
    // The limit is none for the superuser.
    if rustix::process::geteuid().is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 4398);
    }
    let (code, stdout, stderr) = run_to_end(&mut command);
    // The allocator may say on a line of its own that it has no thread.
    let complaints = stderr.lines().filter(|line| line.starts_with("tidegate: ")).count();
    assert_eq!((code, stdout.as_str(), complaints), (1, "", 1), "{stderr}");
    assert!(stderr.contains("more threads") && stderr.contains("TasksMax"), "{stderr}");
    assert!(!directory.path().join("data").exists(), "nothing was started");
}

/// The system sends SIGXCPU at the soft limit and SIGKILL at the hard one: no node survives it, so it is told beforehand.
#[test]
fn a_limit_of_cpu_time_is_warned_of_before_it_kills() {
    let directory = tempfile::tempdir().unwrap();
    let limited = |rest: &str| {
        let mut command = std::process::Command::new("bash");
        let start = format!("ulimit -St 1800; ulimit -Ht 3600; exec \"$0\" {rest}");
        command.args(["-c", &start, env!("CARGO_BIN_EXE_tidegate")]).current_dir(directory.path());
        command
    };
    let (code, _, stderr) = run_to_end(&mut limited("check-config"));
    assert_eq!(code, 0);
    assert!(stderr.contains("warning: CPU time limit is 3600 s") && stderr.contains("LimitCPU="), "{stderr}");
    let mut node = Running::start(limited("--storage data --listen 127.0.0.1:0 --admin off"));
    node.wait_for_log("CPU time limit is set");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max cpu time")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).collect::<Vec<_>>(), ["3600", "3600", "seconds"]);
}
