//! How a release is made, and what `deny.toml` excepts.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_exception_has_a_reason() {
    let policy: Table = read("deny.toml").parse().unwrap();
    let entries = |section: &str, key: &str| policy[section][key].as_array().unwrap().clone();
    let mut exceptions = 0;
    for entry in [entries("advisories", "ignore"), entries("bans", "skip"), entries("bans", "deny")].concat() {
        let reason = entry.get("reason").and_then(Value::as_str).unwrap_or_default();
        assert!(!reason.is_empty(), "{entry}: no reason");
        exceptions += 1;
    }
    assert!(exceptions > 10, "{exceptions}");
}

#[test]
fn everything_that_is_released_is_built_by_one_script() {
    for path in ["conf/debian/build", "conf/container/Containerfile"] {
        let text = read(path);
        assert!(text.contains("conf/release/build") && text.contains("conf/release/bom"), "{path}");
        assert!(!text.contains("cargo build --release"), "{path}");
    }
    assert!(read("conf/release/build").contains("cargo auditable build --release --locked"));
    assert!(read(".ci/release").contains("/conf/debian/build\""));
    assert!(read(".github/workflows/release.yml").contains("- run: .ci/release"));
}

/// The tables of docs/security.md: each property names a script of `.ci`, or a test that is there.
#[test]
fn every_property_of_the_supply_chain_is_checked() {
    let document = read("docs/security.md");
    let section = document.split("\n## Supply chain").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 8, "{}", rows.len());
    for row in rows {
        let named = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let quoted: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        match quoted.iter().find(|name| name.starts_with("tests/")) {
            Some(file) => {
                let test = quoted.last().unwrap();
                assert!(read(file).contains(&format!("fn {test}()")), "{test} in {row}");
            }
            None => {
                assert!(named.starts_with("the same") || quoted.iter().any(|name| name.starts_with(".ci/")), "{row}");
            }
        }
    }
}
