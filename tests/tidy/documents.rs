//! The documents and the files for deployment, compared with each other and with the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The rest of each line that begins with `start`.
fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(start)).collect()
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let (rules, pages) = (read("conf/prometheus/alerts.yml"), read("docs/operate.md"));
    let alerts = lines(&rules, "- alert: ");
    assert!(alerts.len() > 10);
    let described: Vec<&str> =
        lines(&pages, "### ").into_iter().filter(|title| title.starts_with("Tidegate")).collect();
    assert_eq!(alerts, described);
    assert_eq!(lines(&rules, "expr: ").len(), alerts.len() + lines(&rules, "- record: ").len());
    for field in ["severity: ", "summary: ", "runbook: "] {
        assert_eq!(lines(&rules, field).len(), alerts.len(), "{field}");
    }
    for (alert, url) in alerts.iter().zip(lines(&rules, "runbook_url: ")) {
        assert_eq!(url, format!("'https://tidegate.example.org/docs/operate.md#{}'", alert.to_lowercase()));
    }
}

/// The metrics that a text names, as a scrape has them.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let starts = ["tidegate_", "process_"].into_iter().flat_map(|start| text.match_indices(start));
    let names = starts.map(|(at, _)| text[at..].split(|c| !is_part(c)).next().unwrap());
    let of_histogram = |name| {
        ["_bucket", "_sum", "_count"].iter().fold(name, |name: &str, end| name.strip_suffix(end).unwrap_or(name))
    };
    names.map(of_histogram).filter(|name| *name != "tidegate_").collect()
}

#[test]
fn alerts_and_dashboard_name_metrics_that_there_are() {
    let documented = read("docs/observe.md");
    let documented = metrics(&documented);
    for path in [
        "conf/prometheus/alerts.yml",
        "conf/prometheus/alerts_test.yml",
        "conf/grafana/tidegate.json",
        "docs/operate.md",
    ] {
        let text = read(path);
        let unknown: Vec<_> = metrics(&text).difference(&documented).copied().collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut documents: Vec<PathBuf> = ["docs", "docs/decisions", ""]
        .iter()
        .flat_map(|directory| fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    documents.push(root().join("loadtest/README.md"));
    let mut links = 0;
    for document in documents.iter().filter(|path| path.extension().is_some_and(|ending| ending == "md")) {
        let text = fs::read_to_string(document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || link.contains("://") {
                continue;
            }
            assert!(document.parent().unwrap().join(path).exists(), "{}: {link}", document.display());
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}

/// Where a path in backticks begins that is looked for.
const ROOMS: [&str; 7] = ["src/", "actors/", "tests/", "loadtest/", "conf/", "docs/", ".ci/"];

#[test]
fn paths_that_the_documents_name_are_there() {
    let mut paths = 0;
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/security.md"] {
        let text = read(document);
        let prose: String = text.split("```").step_by(2).collect();
        for quoted in
            prose.split('`').skip(1).step_by(2).filter(|quoted| ROOMS.iter().any(|room| quoted.starts_with(room)))
        {
            // Arguments may follow a script; a pattern stands for the files of its directory.
            let path = quoted.split([' ', '*']).next().unwrap();
            assert!(root().join(path).exists(), "{document}: {quoted}");
            paths += 1;
        }
    }
    assert!(paths > 60, "{paths}");
}

/// The markers allowed in a comment above a shell block (`tests/commands/blocks.py`).
const RUN: [&str; 4] = ["run", "run beside a node", "run in ci", "run under systemd"];

#[test]
fn every_command_in_the_documents_is_run_or_is_not_for_a_reason() {
    let documents = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    // Commands of the load test and of benchmarks: `loadtest/tests` runs the former, and the others are measurements.
    let documents = documents.filter(|path| !path.ends_with("performance.md")).chain([root().join("README.md")]);
    let mut run = 0;
    for document in documents.filter(|path| path.extension().is_some_and(|ending| ending == "md")) {
        let text = fs::read_to_string(&document).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, pair) in (2..).zip(lines.windows(2)).filter(|(_, pair)| pair[1] == "```sh") {
            let comment = pair[0].strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")).unwrap_or_default();
            let is_told = RUN.contains(&comment) || comment.starts_with("not run: ");
            assert!(is_told, "{}:{number}: no comment says whether this is run", document.display());
            run += usize::from(RUN.contains(&comment));
        }
    }
    assert!(run > 30, "{run}");
}

#[test]
fn the_dashboard_is_one_that_grafana_can_lay_out() {
    let dashboard: Value = serde_json::from_str(&read("conf/grafana/tidegate.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_i64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} lies over another", panel["title"]);
            }
        }
        let is_row = panel["type"] == "row";
        assert!(is_row || !panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
    }
}

#[test]
fn the_packaged_configuration_is_valid_and_agrees_with_the_unit() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["check-config", "--config"]).arg(root().join("conf/debian/tidegate.toml"));
    assert!(command.env_clear().output().unwrap().status.success());
    let (configuration, unit) = (read("conf/debian/tidegate.toml"), read("conf/tidegate.service"));
    assert_eq!(lines(&configuration, "root = "), ["\"/var/lib/tidegate/data\""]);
    assert_eq!(lines(&unit, "StateDirectory="), ["tidegate"]);
    let package = format!("({}-1) unstable; urgency=medium", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines(&read("conf/debian/changelog"), "tidegate ").first(), Some(&package.as_str()));
    assert_eq!(lines(&unit, "ExecStart="), ["/usr/bin/tidegate run --config /etc/tidegate/tidegate.toml"]);
}

/// The failure classes of docs/security.md name tests and fuzz targets that there are: a file, then functions of it by their name or
/// its beginning and an ellipsis.
#[test]
fn every_test_that_the_security_document_names_is_there() {
    let document = read("docs/security.md");
    let table = document.split("## Failure classes").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 25, "{}", rows.len());
    let mut file = String::new();
    for row in rows {
        let named = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let quoted: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        assert!(!quoted.is_empty() || named == "the same", "{row}");
        for name in quoted {
            if named.contains(&format!("fuzz target `{name}`")) {
                assert!(root().join("fuzz/fuzz_targets").join(format!("{name}.rs")).exists(), "{row}");
                assert!(fs::read_dir(root().join("fuzz/corpus").join(name)).unwrap().count() > 2, "{row}");
            } else if name.contains('/') {
                let whole =
                    if name.starts_with("association/") { format!("src/protocol/{name}") } else { name.to_owned() };
                file = read(&whole);
            } else {
                let function = match name.strip_suffix('…') {
                    Some(beginning) => format!("fn {beginning}"),
                    None => format!("fn {name}()"),
                };
                assert!(file.contains(&function), "{name} in {row}");
            }
        }
    }
}
