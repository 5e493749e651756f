//! The table of conditions in docs/observe.md, applied to recorded statistics lines: the table alone names each of the eight right.
//!
//! tests/conditions/record.py has made the records with a real node.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const CONDITIONS: [&str; 8] =
    ["disk-hung", "cpu-starved", "budget-exhausted", "slow-senders", "slow-disk", "too-few-writers", "leak", "idle"];

type Line = BTreeMap<String, f64>;

/// A row: any of the alternatives, of which each has conditions that all hold.
struct Row {
    condition: String,
    alternatives: Vec<Vec<Clause>>,
}

#[derive(Debug, PartialEq)]
enum Clause {
    Absent(String),
    /// A field, a comparison, a factor, and the field that is multiplied by it.
    Compared(String, String, f64, Option<String>),
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rows of the table below this heading, as their cells.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split(heading).nth(1).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

impl Row {
    fn parse(cells: &[String]) -> Self {
        let alternatives = cells[1].split(" or ").map(|all| {
            let parts: Vec<_> = all.split('`').collect();
            let clauses = parts[1..].chunks(2).map(|part| Clause::parse(part[0], part[1]));
            clauses.collect()
        });
        Self { condition: cells[0].to_lowercase().replace(' ', "-"), alternatives: alternatives.collect() }
    }

    fn applies(&self, line: &Line) -> bool {
        self.alternatives.iter().any(|all| all.iter().all(|clause| clause.holds(line)))
    }
}

impl Clause {
    /// `a > 5`, `a >= 0.5 × b`, or `a` with the words behind it.
    fn parse(quoted: &str, behind: &str) -> Self {
        let words: Vec<_> = quoted.split_whitespace().collect();
        match words[..] {
            [field] => {
                assert!(behind.starts_with(" is absent"), "`{quoted}`{behind}");
                Self::Absent(field.to_owned())
            }
            [field, comparison, number] => {
                Self::Compared(field.into(), comparison.into(), number.parse().unwrap(), None)
            }
            [field, comparison, factor, "×", other] => {
                Self::Compared(field.into(), comparison.into(), factor.parse().unwrap(), Some(other.into()))
            }
            _ => panic!("`{quoted}` is no condition"),
        }
    }

    fn fields(&self) -> Vec<&str> {
        match self {
            Self::Absent(field) => vec![field],
            Self::Compared(field, _, _, other) => [field].into_iter().chain(other).map(String::as_str).collect(),
        }
    }

    fn holds(&self, line: &Line) -> bool {
        let value = |field: &str| line.get(field).copied().unwrap_or(0.0);
        match self {
            Self::Absent(field) => !line.contains_key(field),
            Self::Compared(field, comparison, factor, other) => {
                let (left, right) = (value(field), factor * other.as_deref().map_or(1.0, value));
                match comparison.as_str() {
                    ">" => left > right,
                    ">=" => left >= right,
                    "<=" => left <= right,
                    "=" => left == right,
                    other => panic!("no comparison: {other}"),
                }
            }
        }
    }
}

fn rows() -> Vec<Row> {
    table(&read("docs/observe.md"), "## Diagnosis").iter().map(|cells| Row::parse(cells)).collect()
}

/// The fields of a line, and those with a number for a value.
fn fields(line: &str) -> (BTreeSet<String>, Line) {
    let pairs: Vec<_> = line.split_whitespace().filter_map(|word| word.split_once('=')).collect();
    let numbers = pairs.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.parse().ok()?)));
    (pairs.iter().map(|(name, _)| (*name).to_owned()).collect(), numbers.collect())
}

fn recorded(condition: &str) -> Vec<String> {
    let lines: Vec<_> = read(&format!("tests/conditions/{condition}.log")).lines().map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{condition}");
    lines
}

#[test]
fn each_recorded_condition_is_named_right_from_its_line_alone() {
    let rows = rows();
    let named: Vec<_> = rows.iter().map(|row| row.condition.as_str()).collect();
    assert_eq!(named, CONDITIONS);
    for condition in CONDITIONS {
        for line in recorded(condition) {
            let (_, numbers) = fields(&line);
            let found = rows.iter().find(|row| row.applies(&numbers)).map(|row| row.condition.as_str());
            assert_eq!(found, Some(condition), "{line}");
        }
    }
}

/// A line of a node with work that nothing holds up: no row of the table is about it.
#[test]
fn healthy_work_is_none_of_the_conditions() {
    let mut line = fields(&recorded("idle")[0]).1;
    for (field, value) in [
        ("associations", 8.0),
        ("instances", 2000.0),
        ("instance_bytes", 1e9),
        ("receive_p50_ms", 8.0),
        ("queue_wait_p50_ms", 0.2),
        ("commit_p50_ms", 9.0),
        ("response_p50_ms", 10.0),
        ("writers_busy_mean", 5.5),
        ("service_mean_ms", 9.0),
        ("leased_receiving_bytes", 4e6),
        ("cpu_ms", 4000.0),
        ("cpu_wait_ms", 900.0),
    ] {
        line.insert(field.to_owned(), value);
    }
    let found = rows().into_iter().find(|row| row.applies(&line));
    assert!(found.is_none(), "{}", found.unwrap().condition);
}

#[test]
fn every_field_of_the_line_is_documented_and_every_documented_one_is_there() {
    let document = read("docs/observe.md");
    let section = document.split("## The statistics line").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|line| line.split(" | ").next().unwrap().split('`').skip(1).step_by(2));
    let documented: BTreeSet<_> = names.map(str::to_owned).collect();
    let said: BTreeSet<_> =
        CONDITIONS.iter().flat_map(|condition| recorded(condition)).flat_map(|line| fields(&line).0).collect();
    assert_eq!(said, documented);
    for clause in self::rows().iter().flat_map(|row| &row.alternatives).flatten() {
        for field in clause.fields() {
            assert!(documented.contains(field), "the table of conditions asks for {field}");
        }
    }
}
