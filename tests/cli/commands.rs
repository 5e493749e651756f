//! The command line and the configuration of the whole process: what it prints, where, and how it exits.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use dicom_dictionary_std::uids;
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Running, output, run_to_end, tidegate};

fn http(address: SocketAddr, request_line: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request_line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn help_teaches() {
    let (code, stdout, stderr) = output(&["--help"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for taught in [
        "run",
        "check-config",
        "print-config",
        "--config",
        "--listen",
        "--ae-title",
        "--storage",
        "--admin",
        "TIDEGATE__NODE__LISTEN",
        "echoscu -v",
        "storescu -v",
        "Exit codes",
    ] {
        assert!(stdout.contains(taught), "{taught} is not in the help");
    }
}

#[test]
fn version_is_the_package_version() {
    let expected = format!("tidegate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(output(&["--version"]), (0, expected, String::new()));
}

#[test]
fn a_wrong_command_line_exits_2() {
    for arguments in [&["--listne", "x"][..], &["frobnicate"], &["run", "--port", "1"], &["run", "--listen"]] {
        let (code, stdout, stderr) = output(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(stderr.contains("Usage") || stderr.contains("--help"), "{stderr}");
    }
}

#[test]
fn check_config_accepts_the_defaults_and_shows_the_sums() {
    assert_eq!(output(&["check-config"]).0, 0);
    let directory = tempfile::tempdir().unwrap();
    let mut command = tidegate(directory.path(), &["check-config"]);
    let (code, stdout, stderr) = run_to_end(command.env("TIDEGATE__MEMORY__BUDGET", "512 MiB"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("configuration is valid\n"), "{stdout}");
    for sum in ["512 MiB", "floor leases 18 MiB", "512 associations of 32 KiB", "494 MiB", "open files: 3744"] {
        assert!(stdout.contains(sum), "{sum} is not in {stdout}");
    }
}

#[test]
fn every_configuration_error_is_told_at_once_and_exits_2() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[node]\nae_title = 'SEVENTEEN_LETTERS'\nlisten_on = 'x'\n[writers]\ncount = 0\n";
    std::fs::write(directory.path().join("t.toml"), text).unwrap();
    for command in ["check-config", "print-config", "run"] {
        let mut command = tidegate(directory.path(), &[command, "--config", "t.toml"]);
        command.env("TIDEGATE__MEMORY__BUDGET", "plenty").env("TIDEGATE__STORGE__ROOT", "x");
        let (code, stdout, stderr) = run_to_end(&mut command);
        assert_eq!((code, stdout.as_str()), (2, ""));
        for expected in [
            "node.ae_title = \"SEVENTEEN_LETTERS\" (t.toml:2): must be 1 to 16 characters",
            "node.listen_on = \"x\" (t.toml:3): unknown key; did you mean node.listen?",
            "writers.count = 0 (t.toml:5): must be 1 to 256",
            "memory.budget = \"plenty\" (environment variable TIDEGATE__MEMORY__BUDGET): must be \"auto\", a size",
            "(environment variable TIDEGATE__STORGE__ROOT): unknown key; did you mean storage.root?",
        ] {
            assert!(stderr.contains(expected), "{expected} is not in {stderr}");
        }
        assert_eq!(stderr.lines().count(), 6, "{stderr}");
    }
}

#[test]
fn a_wrong_flag_is_told_as_that_flag() {
    let (code, _, stderr) = output(&["--listen", "11112", "--admin", "yes"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("node.listen = \"11112\" (flag --listen): must be \"off\" or an IP address"), "{stderr}");
    assert!(stderr.contains("admin.listen = \"yes\" (flag --admin): must be \"off\" or"), "{stderr}");
}

#[test]
fn a_missing_file_is_told_by_name() {
    let (code, _, stderr) = output(&["check-config", "--config", "nowhere.toml"]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("tidegate: cannot read the configuration file nowhere.toml: "), "{stderr}");
}

#[test]
fn the_template_is_printed_as_it_stands_and_is_valid() {
    let (code, stdout, _) = output(&["print-config", "--default"]);
    assert_eq!(code, 0);
    assert_eq!(stdout, std::fs::read_to_string("conf/tidegate.toml").unwrap());

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("t.toml"), stdout).unwrap();
    let command = &mut tidegate(directory.path(), &["print-config", "--config", "t.toml"]);
    assert_eq!(run_to_end(command), output(&["print-config"]));
}

#[test]
fn the_printed_configuration_gives_the_same_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tidegate(directory.path(), &["print-config"]);
    command.env("TIDEGATE__NODE__AE_TITLE", "FROM_ENV").env("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "4");
    let (code, printed, _) = run_to_end(&mut command);
    assert_eq!(code, 0);
    assert!(printed.contains("ae_title = \"FROM_ENV\"") && printed.contains("max_per_address = 4"));

    std::fs::write(directory.path().join("t.toml"), &printed).unwrap();
    let command = &mut tidegate(directory.path(), &["print-config", "--config", "t.toml"]);
    assert_eq!(run_to_end(command), (0, printed, String::new()));
}

#[test]
fn a_secret_is_not_printed() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "0123456789abcdef").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = tidegate(directory.path(), &["print-config"]);
    let (code, _, stderr) = run_to_end(command.env("TIDEGATE__ADMIN__TOKEN_FILE", "token"));
    assert!(code != 0 && stderr.contains("token has mode 0644") && stderr.contains("chmod 600 token"), "{stderr}");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = tidegate(directory.path(), &["print-config"]);
    let (code, printed, stderr) = run_to_end(command.env("TIDEGATE__ADMIN__TOKEN_FILE", "token"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(printed.contains("token_file = \"token\"") && !printed.contains("0123456789abcdef"), "{printed}");

    let mut command = tidegate(directory.path(), &["print-config"]);
    let (code, printed, stderr) = run_to_end(command.env("TIDEGATE__ADMIN__TOKEN", "0123456789abcdef"));
    assert_eq!((code, printed.as_str()), (2, ""));
    assert!(stderr.contains("admin.token = (masked)") && !stderr.contains("0123456789abcdef"), "{stderr}");
}

#[test]
fn a_closed_stdout_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = tidegate(directory.path(), &["print-config", "--default"]);
    let ended = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
}

#[test]
fn the_start_up_lines_say_where_everything_is() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--ae-title", "MY AE", "--storage", "in/here"];
    let mut command = tidegate(directory.path(), &arguments);
    command.env("TIDEGATE__MEMORY__BUDGET", "512 MiB");
    let node = Running::start(command);

    let address = node.address_after("AE title MY AE, listening on ");
    assert_ne!(address.port(), 0);
    TcpStream::connect(address).unwrap();
    let root = directory.path().canonicalize().unwrap().join("in/here");
    assert!(root.is_dir());
    let port = address.port();
    let expected = [
        format!("tidegate {}: AE title MY AE, listening on 127.0.0.1:{port}", env!("CARGO_PKG_VERSION")),
        format!(
            "storage: {} (durability fsync, duplicates keep-both, layout \
             {{StudyInstanceUID}}/{{SeriesInstanceUID}}/{{SOPInstanceUID}}.dcm); removed 0 unfinished files, \
             restored 0 from the commit log",
            root.display()
        ),
        "memory budget: 512 MiB (spool threshold 8 MiB)".to_owned(),
        format!("try: echoscu -v -aec 'MY AE' 127.0.0.1 {port}"),
        format!("     storescu -v -aec 'MY AE' 127.0.0.1 {port} image.dcm"),
    ];
    assert_eq!(node.lines, expected);
}

#[test]
fn flags_win_over_the_environment_and_it_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[node]\nae_title = 'FILE'\nlisten = '127.0.0.1:0'\n[storage]\nroot = 'file'\n";
    std::fs::write(directory.path().join("t.toml"), text).unwrap();
    let mut command = tidegate(directory.path(), &["run", "--config", "t.toml", "--ae-title", "FLAG"]);
    command.env("TIDEGATE__NODE__AE_TITLE", "ENV").env("TIDEGATE__STORAGE__ROOT", "env");

    let node = Running::start(command);

    assert!(node.lines[0].contains("AE title FLAG, listening on 127.0.0.1:"), "{:?}", node.lines);
    assert!(directory.path().join("env").is_dir());
    assert!(!directory.path().join("file").exists());
}

#[test]
fn both_stop_signals_end_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir().unwrap();
        let node = Running::start(tidegate(directory.path(), &["--listen", "127.0.0.1:0"]));
        node.signal(signal);
        let (code, stdout, stderr) = node.end();
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
        assert!(stderr.contains("stopped"), "{stderr}");
    }
}

/// A launcher that blocks signals for itself passes its mask on (sigprocmask(2)).
#[test]
fn signals_that_a_launcher_has_blocked_reach_it() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("env");
        command.args(["--block-signal=TERM,INT,HUP,USR1", env!("CARGO_BIN_EXE_tidegate"), "--listen", "127.0.0.1:0"]);
        let mut node = Running::start({
            command.current_dir(directory.path());
            command
        });
        node.signal(Signal::HUP);
        node.wait_for_log("configuration reloaded");
        node.signal(signal);
        let (code, _, stderr) = node.end();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("stopped"), "{stderr}");
    }
}

/// The end of the dataset never comes: the node waits for it until the grace period is over.
#[test]
fn a_second_signal_ends_it_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Running::start(tidegate(directory.path(), &["--listen", "127.0.0.1:0"]));
    let mut association = dicom_ul::ClientAssociationOptions::new()
        .with_presentation_context(uids::CT_IMAGE_STORAGE, vec![uids::IMPLICIT_VR_LITTLE_ENDIAN])
        .establish(node.address_after("listening on "))
        .unwrap();
    let presentation_context_id = association.presentation_contexts()[0].id;
    let mut send = |value_type, is_last, data| {
        let value = PDataValue { presentation_context_id, value_type, is_last, data };
        association.send(&Pdu::PData { data: vec![value] }).unwrap();
    };
    let command = c_store_rq(uids::CT_IMAGE_STORAGE, "1.2.3.4");
    send(PDataValueType::Command, true, command);
    let pixel_data = vec![0xE0, 0x7F, 0x10, 0x00, 0xFE, 0xFF, 0xFF, 0x7F];
    send(PDataValueType::Data, false, pixel_data);
    // More than sockets hold: once it is sent, the node is in the middle of the dataset.
    for _ in 0..32 * 16 {
        send(PDataValueType::Data, false, vec![0; 64 * 1024]);
    }

    node.signal(Signal::TERM);
    node.wait_for_log("stopping");
    node.signal(Signal::INT);

    assert_eq!(node.end().0, Some(130));
}

/// A command set in implicit VR little endian (PS3.7 §9.3.1.1), without its optional elements.
fn c_store_rq(sop_class_uid: &str, sop_instance_uid: &str) -> Vec<u8> {
    let mut elements = Vec::new();
    let mut element = |number: u16, value: &[u8]| {
        let padding = value.len() % 2;
        elements.extend([0, 0]);
        elements.extend(number.to_le_bytes());
        elements.extend(((value.len() + padding) as u32).to_le_bytes());
        elements.extend(value);
        elements.extend(vec![0; padding]);
    };
    element(0x0002, sop_class_uid.as_bytes());
    element(0x0100, &1_u16.to_le_bytes());
    element(0x0110, &1_u16.to_le_bytes());
    element(0x0700, &0_u16.to_le_bytes());
    element(0x0800, &1_u16.to_le_bytes());
    element(0x1000, sop_instance_uid.as_bytes());
    let mut command = vec![0, 0, 0, 0, 4, 0, 0, 0];
    command.extend((elements.len() as u32).to_le_bytes());
    command.extend(elements);
    command
}

#[test]
fn the_log_is_json_when_asked_and_warns_without_durability() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tidegate(directory.path(), &["--listen", "127.0.0.1:0"]);
    command.env("TIDEGATE__LOG__FORMAT", "json").env("TIDEGATE__STORAGE__DURABILITY", "none");
    command.env("TIDEGATE__ADMIN__LISTEN", "off").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let until_started: Vec<_> = lines.by_ref().take_while(|line| !line.contains("\"node started\"")).collect();
    let warned = |line: &String| line.contains("\"WARN\"") && line.contains("\"durability\":\"none\"");
    assert!(until_started.iter().any(warned), "{until_started:?}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let rest: Vec<_> = lines.collect();
    assert!(until_started.iter().chain(&rest).all(|line| line.starts_with('{') && line.ends_with('}')), "{rest:?}");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "the start-up lines are for people");
}

#[test]
fn the_admin_surface_answers_live_and_nothing_it_does_not_know() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let node = Running::start(tidegate(directory.path(), &arguments));
    let admin = node.address_after("admin: http://");
    assert!(node.lines.contains(&format!("admin: http://{admin}/")), "{:?}", node.lines);

    let live = http(admin, "GET /live");
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
    assert!(live.ends_with("\r\n\r\n{\"status\":\"live\"}"), "{live}");
    for request_line in ["GET /live/x", "GET /nothing"] {
        let answer = http(admin, request_line);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{request_line}: {answer}");
    }

    node.signal(Signal::TERM);
    assert_eq!(node.end().0, Some(0));
}

#[test]
fn an_address_in_use_is_one_clear_line_and_exits_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for arguments in [&["--admin", "off", "--listen", &address][..], &["--listen", "127.0.0.1:0", "--admin", &address]]
    {
        let (code, stdout, stderr) = output(arguments);
        assert_eq!((code, stdout.as_str()), (1, ""));
        let complaints: Vec<&str> = stderr.lines().filter(|line| line.starts_with("tidegate: ")).collect();
        assert_eq!(complaints.len(), 1, "{stderr}");
        assert!(complaints[0].contains(&address), "{stderr}");
        assert!(complaints[0].to_lowercase().contains("in use"), "{stderr}");
        assert!(complaints[0].contains(&format!("process {} (", std::process::id())), "the holder is named: {stderr}");
    }
}

#[test]
fn a_root_without_a_mark_is_told_or_refused_as_configured() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--storage", "data"];
    let with_mark = || {
        let mut command = tidegate(directory.path(), &arguments);
        command.env("TIDEGATE__STORAGE__REQUIRE_MARK", "true").env("TIDEGATE__ADMIN__LISTEN", "off");
        command
    };
    let (code, _, stderr) = run_to_end(&mut with_mark());
    assert_eq!(code, 1);
    assert!(stderr.contains("storage.require_mark") && stderr.contains("mount its volume"), "{stderr}");
    assert!(!directory.path().join("data").exists(), "nothing is made on the empty mount point");
    let mut first = Running::start(tidegate(directory.path(), &arguments));
    first.wait_for_log("the storage root is new");
    drop(first);
    let again = Running::start(with_mark());
    again.signal(Signal::TERM);
    let (code, _, stderr) = again.end();
    assert_eq!(code, Some(0));
    assert!(!stderr.contains("the storage root is new"), "{stderr}");
}

#[test]
fn a_signal_to_reload_that_comes_before_the_configuration_is_read_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.toml");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut command =
        tidegate(directory.path(), &["--listen", "127.0.0.1:0", "--admin", "off", "--config", "tidegate.toml"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The node opens the pipe to read it, and waits.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    let signal = |signal| rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
    signal(Signal::HUP);
    signal(Signal::TERM);
    pipe.write_all(b"[node]\nae_title = \"LATE\"\n").unwrap();
    drop(pipe);
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(status.code(), Some(0), "{status:?}: {stderr}");
    assert!(stderr.contains("SIGTERM"), "{stderr}");
}

#[test]
fn a_root_that_cannot_be_made_is_one_clear_line_and_exits_1() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let command =
        &mut tidegate(directory.path(), &["--listen", "127.0.0.1:0", "--admin", "off", "--storage", "file/data"]);
    let (code, stdout, stderr) = run_to_end(command);
    assert_eq!((code, stdout.as_str()), (1, ""));
    let complaints: Vec<&str> = stderr.lines().filter(|line| line.starts_with("tidegate: ")).collect();
    assert_eq!(complaints.len(), 1, "{stderr}");
    assert!(complaints[0].contains("file/data"), "{stderr}");
}

#[test]
fn one_root_serves_one_node() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0"];
    let first = Running::start(tidegate(directory.path(), &arguments));
    let (code, stdout, stderr) = run_to_end(&mut tidegate(directory.path(), &arguments));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("data") && stderr.contains(&first.child.id().to_string()), "{stderr}");
}
