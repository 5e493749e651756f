//! docs/log.md against every call that logs a line: event, level and fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// Names that fields of the schema have replaced.
const REPLACED: [&str; 6] = ["calling_ae", "called_ae", "sop_instance_uid", "id", "rejection", "refusal"];
/// Names of the parts of a JSON line itself, where a field of the name would stand a second time.
const RESERVED: [&str; 4] = ["timestamp", "level", "message", "target"];

/// A call of a macro that logs.
#[derive(Debug)]
struct Call {
    level: &'static str,
    event: String,
    fields: BTreeSet<String>,
    /// Whether a value is formatted by `Debug`: the name of an enum for people, or a text that is quoted twice in JSON.
    has_debug: bool,
    place: String,
}

fn sources(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["tests", "benches", "examples", "simulation"].contains(&name) {
            sources(&path, out);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            out.push(path);
        }
    }
}

/// The arguments of a call whose text begins behind its parenthesis.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut in_string, mut is_escaped) = (1, false, false);
    let (mut all, mut argument) = (Vec::new(), String::new());
    for c in text.chars() {
        if in_string {
            in_string = is_escaped || c != '"';
            is_escaped = c == '\\' && !is_escaped;
        } else {
            match c {
                '"' => in_string = true,
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 1 => {
                    all.push(std::mem::take(&mut argument));
                    continue;
                }
                _ => {}
            }
        }
        if depth == 0 {
            break;
        }
        argument.push(c);
    }
    all.push(argument);
    let trimmed = all.iter().map(|argument| argument.trim().to_owned());
    trimmed.filter(|argument| !argument.is_empty()).collect()
}

/// The text of a string literal, with its lines joined as the compiler joins them.
fn literal(argument: &str) -> Option<String> {
    let text = argument.strip_prefix('"')?.strip_suffix('"')?;
    let mut lines = text.split("\\\n");
    let first = lines.next()?.to_owned();
    Some(lines.fold(first, |text, line| text + line.trim_start()))
}

fn calls() -> Vec<Call> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "actors"].iter().for_each(|room| sources(&root.join(room), &mut files));
    let mut calls = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for level in LEVELS {
            let start = format!("{level}!(");
            for (at, _) in text.match_indices(&start) {
                let before = &text[..at];
                let line = &before[before.rfind('\n').map_or(0, |end| end + 1)..];
                if line.contains("//") || before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    continue;
                }
                let place = format!("{}: {level}!", file.strip_prefix(root).unwrap().display());
                let arguments = arguments(&text[at + start.len()..]);
                let (event, fields) = arguments.split_last().unwrap();
                let event = literal(event).unwrap_or_else(|| panic!("{place}: its event is no text: {event}"));
                assert!(!event.contains('{'), "{place}: an event is a constant, its values are fields: {event}");
                let fields: Vec<_> = fields.iter().filter(|field| !field.starts_with("target:")).collect();
                let has_debug = fields.iter().any(|field| field.starts_with('?') || field.contains("= ?"));
                let name = |field: &str| {
                    let name = field.trim_start_matches(['%', '?']);
                    name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned()
                };
                let fields = fields.iter().map(|field| name(field)).collect();
                calls.push(Call { level, event, fields, has_debug, place });
            }
        }
    }
    assert!(calls.len() > 100, "{} calls", calls.len());
    calls
}

/// The rows of docs/log.md: level (or levels) and fields of each event. `None`: the fields stand elsewhere.
fn documented() -> BTreeMap<String, (String, Option<BTreeSet<String>>)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/log.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.split(" | ").collect();
        let [event, level, fields, remedy] = &cells[..] else { continue };
        assert!(remedy.len() > 10, "no cause and no remedy: {line}");
        let event = event.trim_start_matches("| ").trim_matches('`').trim().to_owned();
        let elsewhere = fields.contains("](");
        let fields = fields.split(", ").map(|field| field.trim_matches('`').to_owned());
        let fields: BTreeSet<_> = fields.filter(|field| !field.is_empty()).collect();
        let row = (level.to_string(), (!elsewhere).then_some(fields));
        assert!(rows.insert(event, row).is_none(), "twice: {line}");
    }
    rows
}

#[test]
fn every_line_of_the_log_stands_in_the_table_with_its_level_and_fields() {
    let (calls, rows) = (calls(), documented());
    let mut complaints = BTreeSet::new();
    for Call { level, event, fields, place, .. } in &calls {
        let names: Vec<_> = fields.iter().map(|name| format!("`{name}`")).collect();
        let row = format!("| `{event}` | {level} | {} | cause, and what to do |", names.join(", "));
        let is_one = calls.iter().filter(|other| other.event == *event).count() == 1;
        match rows.get(event) {
            None => complaints.insert(format!("{place} has no row: {row}")),
            Some((of_row, _)) if !of_row.split(", ").any(|one| one == *level) => {
                complaints.insert(format!("{place} has another level: {row}"))
            }
            Some((_, Some(promised))) if !promised.is_subset(fields) || (is_one && promised != fields) => {
                complaints.insert(format!("{place} has other fields: {row}"))
            }
            Some(_) => true,
        };
    }
    let known: BTreeSet<_> = calls.iter().map(|call| call.event.as_str()).collect();
    complaints.extend(
        rows.keys()
            .filter(|event| !known.contains(event.as_str()))
            .map(|event| format!("no call logs this row: {event}")),
    );
    assert!(complaints.is_empty(), "docs/log.md:\n{}", Vec::from_iter(complaints).join("\n"));
}

#[test]
fn fields_have_the_names_of_the_schema_and_values_are_for_people_and_for_json() {
    let mut complaints = Vec::new();
    for Call { event, fields, has_debug, place, .. } in calls() {
        let mut complain = |what: &str| complaints.push(format!("{place} {event:?}: {what}"));
        REPLACED
            .iter()
            .filter(|name| fields.contains(**name))
            .for_each(|name| complain(&format!("a replaced name, {name}")));
        RESERVED
            .iter()
            .filter(|name| fields.contains(**name))
            .for_each(|name| complain(&format!("{name} twice in JSON")));
        // The statistics line stays as it was recorded in tests/conditions.
        if has_debug && event != "statistics" {
            complain("? in a field");
        }
        if fields.contains("calling") && !fields.contains("peer") {
            complain("titles without the peer");
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
