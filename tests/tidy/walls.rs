//! The walls between the rooms that Cargo cannot hold: what each must never name.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(room: &str, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(room)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(path.to_str().unwrap(), out);
        } else if path.extension().is_some_and(|ending| ending == "rs")
            || path.file_name().is_some_and(|name| name == "Cargo.toml")
        {
            out.push(path);
        }
    }
}

/// Asserts that no source or manifest of `room` says any of `words`.
fn never_says(room: &str, words: &[&str]) {
    never_says_but(room, words, |_| false);
}

/// The same of all files that are not exempt.
fn never_says_but(room: &str, words: &[&str], is_exempt: impl Fn(&Path) -> bool) {
    let mut files = Vec::new();
    sources(room, &mut files);
    files.retain(|file| !is_exempt(file));
    assert!(!files.is_empty(), "{room} is empty");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for word in words {
            assert!(!text.contains(word), "{} says {word}", file.display());
        }
    }
}

#[test]
fn protocol_knows_no_actors_sockets_files_or_clocks() {
    let words = ["actix", "tokio", "std::fs", "std::net", "std::time", "jemalloc"];
    never_says("src/protocol", &words);
}

#[test]
fn reencode_knows_no_actors_sockets_files_clocks_and_nothing_else_of_ours() {
    let is_exempt =
        |path: &Path| path.components().any(|part| ["tests", "examples"].iter().any(|room| part.as_os_str() == *room));
    let words =
        ["actix", "tokio", "std::fs", "std::net", "std::time", "jemalloc", "tidegate-protocol", "tidegate-storage"];
    never_says_but("src/reencode", &words, is_exempt);
}

#[test]
fn access_knows_no_actors_sockets_files_or_clocks() {
    let words = ["actix", "tokio", "std::fs", "std::time", "tidegate-protocol", "tidegate-storage", "jemalloc"];
    never_says("src/access", &words);
}

/// What no crate over a database knows, nor the one below them.
const NOT_OF_A_DATABASE: [&str; 8] = [
    "actix",
    "tokio",
    "std::net",
    "tidegate-access",
    "tidegate-memory",
    "tidegate-protocol",
    "tidegate-storage",
    "jemalloc",
];

#[test]
fn the_catalogue_knows_no_actors_sockets_or_leases_and_nothing_else_of_ours() {
    never_says("src/catalogue", &[&NOT_OF_A_DATABASE[..], &["tidegate-commitment"]].concat());
}

/// Nor the catalogue, nor the protocol that asks.
#[test]
fn the_record_of_commitment_requests_knows_no_actors_sockets_or_leases_and_nothing_else_of_ours() {
    never_says("src/commitment", &[&NOT_OF_A_DATABASE[..], &["tidegate-catalogue"]].concat());
}

#[test]
fn a_database_knows_nothing_else_of_ours() {
    never_says("src/database", &[&NOT_OF_A_DATABASE[..], &["tidegate-catalogue", "tidegate-commitment"]].concat());
}

#[test]
fn storage_knows_no_actors_sockets_or_leases() {
    let words = ["actix", "tokio", "std::net", "tidegate-memory", "tidegate-protocol", "jemalloc"];
    never_says("src/storage", &words);
}

/// Everything else there goes through `storage::fs::Handle`, which a test can put a simulated disk behind.
#[test]
fn storage_names_the_operating_system_in_one_room() {
    let words = ["rustix", "libc::", "std::os::unix::fs", "std::fs::read", "std::fs::write", "OpenOptions"];
    let mut files = Vec::new();
    sources("src/storage", &mut files);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage");
    let is_exempt = |path: &Path| {
        let path = path.strip_prefix(&root).unwrap();
        let in_tests = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches");
        in_tests || path.ends_with("tests.rs") || path.starts_with("fs/linux") || path.ends_with("Cargo.toml")
    };
    for file in files.iter().filter(|file| !is_exempt(file)) {
        let text = fs::read_to_string(file).unwrap();
        for word in words {
            let is_errno = word == "rustix" && file.ends_with("fs/mod.rs"); // re-exports the error numbers
            assert!(is_errno || !text.contains(word), "{} says {word}", file.display());
        }
    }
}

#[test]
fn memory_knows_nothing_else_of_ours() {
    let words = ["actix", "tokio", "tidegate-protocol", "tidegate-storage", "tidegate-actors"];
    never_says("src/memory", &words);
}

#[test]
fn actors_touch_no_files_and_read_no_configuration() {
    // JSON is written for other systems; nothing of a person is read.
    let words = [
        "std::fs",
        "File::",
        "OpenOptions",
        "Deserialize",
        "toml.workspace",
        "config.workspace",
        "clap",
        "jemalloc_ctl",
    ];
    // A test may damage what the program must not touch.
    never_says_but("actors", &words, |file| file.ends_with("tests.rs"));
}

/// An answer to an operator waits for no disk of the storage: `storage` looks at it on a thread of its own. The socket's files are in a runtime
/// directory, those of `process` in `/proc`.
#[test]
fn the_surfaces_for_operators_look_at_the_storage_in_one_place() {
    let mut files = Vec::new();
    sources("src/admin", &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(text.contains("look_at_storage"), name == "storage.rs", "{name}");
        let touches_files = text.contains("std::fs") || text.contains("tokio::fs");
        let may = ["socket.rs", "socket_path.rs", "process.rs"].contains(&name);
        assert!(may || !touches_files, "{name} touches files");
    }
}

/// The one way in serves any source.
#[test]
fn ingest_knows_no_socket_no_pdu_and_no_association() {
    let words = ["tokio::net", "std::net", "socket2", "crate::transport", "crate::association", "StoreRequest"];
    never_says("actors/ingest", &words);
}

#[test]
fn the_load_test_knows_only_the_wire() {
    let words = ["tidegate-actors", "tidegate-storage", "tidegate-memory", "tidegate_actors"];
    never_says("loadtest", &words);
}

/// No hook, no shell: nothing a peer sends can become a command.
#[test]
fn nothing_starts_a_process() {
    for room in [
        "src/protocol",
        "src/storage/commit",
        "src/storage/head",
        "src/catalogue/catch_up",
        "src/catalogue/reader",
        "src/database",
        "src/memory",
        "src/admin",
        "src/cli",
        "src/config",
        "actors",
    ] {
        never_says(room, &["process::Command", "Command::new(\"", "execv", "posix_spawn"]);
    }
}

#[test]
fn unsafe_code_is_in_memory_only() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"deny\""));
    for room in [
        "src/protocol",
        "src/reencode",
        "src/storage",
        "src/catalogue",
        "src/commitment",
        "src/database",
        "src/admin",
        "src/cli",
        "src/config",
        "actors",
        "loadtest",
    ] {
        never_says(room, &["unsafe_code", "unsafe {", "#[unsafe("]);
    }
}
