//! Any text as a configuration file, behind it any variables: settings, or an error that says something. What is printed of a valid
//! configuration reads back as the same.
//!
//! The configuration belongs to the binary, which is no library: its sources are compiled in here, with the few types of other
//! rooms that they name.
#![no_main]
#![allow(dead_code, unused_imports, reason = "the binary uses the rest")]

#[path = "../../src/config/mod.rs"]
mod config;

#[path = "../../src/flight/directory.rs"]
mod directory;
#[path = "../../src/admin/operators.rs"]
mod operators;
#[path = "../../src/own_directory.rs"]
mod own_directory;
#[path = "../../src/admin/settings.rs"]
mod settings;
#[path = "../../src/admin/socket_path.rs"]
mod socket_path;
#[path = "../../src/audit/target.rs"]
mod target;

mod admin {
    pub(crate) use crate::operators::{OperatorName, dns_names};
    pub(crate) use crate::settings::{AdminSettings, Door};
    pub(crate) use crate::socket_path::{MAX_BYTES as SOCKET_PATH_BYTES, SocketPath};
}

mod flight {
    pub(crate) use crate::directory::RecordPath;
}

mod audit {
    pub(crate) use crate::target::Target;
}

use std::path::Path;

use config::{Environment, Flags, Loaded, from_text};
use libfuzzer_sys::fuzz_target;

/// Variables, a line each.
fn environment(lines: &str) -> Environment {
    let variables = lines.lines().filter_map(|line| line.split_once('='));
    Environment::of(variables.map(|(name, value)| (name.into(), value.into())))
}

fn load(text: &str, variables: &str) -> Option<Loaded> {
    match from_text(None, Some((Path::new("t.toml"), text)), environment(variables), &Flags::default()) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            assert!(!error.to_string().trim().is_empty());
            None
        }
    }
}

fuzz_target!(|text: &str| {
    // Files that are named are read: not those that never end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let (text, variables) = text.split_once('\0').unwrap_or((text, ""));
    let Some(loaded) = load(text, variables) else { return };
    let printed = toml::to_string(&loaded.raw).expect("what was read can be printed");
    let again = load(&printed, "").expect("what is printed is valid");
    assert_eq!(loaded.raw, again.raw);
});
