//! The table of conditions in docs/observe.md, applied to recorded statistics lines: the table alone names each right.
//!
//! tests/conditions/record.py has made the records with a real node.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The records, and the row that each is of.
const RECORDED: [(&str, &str); 11] = [
    ("disk-hung", "disk hung"),
    ("cpu-starved", "CPU starved"),
    ("refusing", "refusing"),
    ("memory-pressure", "memory pressure"),
    ("budget-exhausted", "budget exhausted"),
    ("slow-senders", "slow senders"),
    ("slow-disk", "slow disk"),
    ("slow-disk-large-instances", "slow disk"),
    ("too-few-writers", "too few writers"),
    ("leak", "leak"),
    ("idle", "idle"),
];

/// The fields of a line.
type Line = BTreeMap<String, String>;

/// A row: any of the alternatives, of which each has conditions that all hold.
struct Row {
    condition: String,
    alternatives: Vec<Vec<Clause>>,
}

/// What is said of a field.
#[derive(Debug, PartialEq)]
enum Clause {
    Absent(String),
    OneOf(String, Vec<String>),
    Compared(String, Comparison, Value),
}

#[derive(Debug, PartialEq)]
enum Comparison {
    Is,
    Above,
    OrMore,
    OrLess,
}

/// A number, and the field that is multiplied by it.
#[derive(Debug, PartialEq)]
struct Value(f64, Option<String>);

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
        let alternatives = cells[1].split("<br>or ").map(|all| all.split(" and ").map(Clause::parse).collect());
        Self { condition: cells[0].clone(), alternatives: alternatives.collect() }
    }

    fn applies(&self, line: &Line) -> bool {
        self.alternatives.iter().any(|all| all.iter().all(|clause| clause.holds(line)))
    }
}

impl Clause {
    /// A field, `is`, and what it is: `absent`, `5`, `above 5`, `0.5 × other or more`, or one of several words.
    fn parse(text: &str) -> Self {
        let (field, what) = text.split_once(" is ").unwrap_or_else(|| panic!("`{text}` is no condition"));
        let field = field.trim_matches('`').to_owned();
        if what == "absent" {
            return Self::Absent(field);
        }
        if what.starts_with('`') && what.contains(" or `") {
            return Self::OneOf(field, what.split('`').skip(1).step_by(2).map(str::to_owned).collect());
        }
        let (comparison, value) = if let Some(value) = what.strip_prefix("above ") {
            (Comparison::Above, value)
        } else if let Some(value) = what.strip_suffix(" or more") {
            (Comparison::OrMore, value)
        } else if let Some(value) = what.strip_suffix(" or less") {
            (Comparison::OrLess, value)
        } else {
            (Comparison::Is, what)
        };
        Self::Compared(field, comparison, Value::parse(value))
    }

    fn fields(&self) -> Vec<&str> {
        match self {
            Self::Absent(field) | Self::OneOf(field, _) => vec![field],
            Self::Compared(field, _, Value(_, other)) => [field].into_iter().chain(other).map(String::as_str).collect(),
        }
    }

    fn holds(&self, line: &Line) -> bool {
        match self {
            Self::Absent(field) => !line.contains_key(field),
            Self::OneOf(field, words) => line.get(field).is_some_and(|word| words.contains(word)),
            Self::Compared(field, comparison, Value(factor, other)) => {
                let left = number(line, field);
                let right = factor * other.as_deref().map_or(1.0, |other| number(line, other));
                match comparison {
                    Comparison::Is => left == right,
                    Comparison::Above => left > right,
                    Comparison::OrMore => left >= right,
                    Comparison::OrLess => left <= right,
                }
            }
        }
    }
}

impl Value {
    /// `5`, a field, or `5 × ` a field.
    fn parse(text: &str) -> Self {
        let (factor, field) = match text.split_once(" × ") {
            Some((factor, field)) => (factor, Some(field)),
            None if text.starts_with('`') => ("1", Some(text)),
            None => (text, None),
        };
        let factor = factor.parse().unwrap_or_else(|_| panic!("`{text}` is no number"));
        Self(factor, field.map(|field| field.trim_matches('`').to_owned()))
    }
}

/// The number that a field has; an absent one counts as 0.
fn number(line: &Line, field: &str) -> f64 {
    line.get(field).map_or(0.0, |text| text.parse().unwrap())
}

fn rows() -> Vec<Row> {
    table(&read("docs/observe.md"), "## Diagnosis").iter().map(|cells| Row::parse(cells)).collect()
}

fn fields(line: &str) -> Line {
    let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
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
    let mut expected: Vec<_> = RECORDED.iter().map(|(_, condition)| *condition).collect();
    expected.dedup();
    assert_eq!(named, expected, "each row has a record");
    for (name, condition) in RECORDED {
        for line in recorded(name) {
            let line_fields = fields(&line);
            let found = rows.iter().find(|row| row.applies(&line_fields)).map(|row| row.condition.as_str());
            assert_eq!(found, Some(condition), "{name}: {line}");
        }
    }
}

#[test]
fn a_row_that_is_not_understood_is_an_error() {
    let row = |text: &str| Row::parse(&["row".to_owned(), text.to_owned()]);
    let understood =
        row("`a` is 2 × `b` or more and `c` is absent<br>or `d` is `X`, `Y` or `Z`<br>or `a` is above `b`");
    let line = |text| fields(text);
    for (text, applies) in [
        ("a=4 b=2 d=W", true),
        ("a=4 b=2 c=1 d=Y", true),
        ("a=1 b=2 d=W", false),
        ("a=3 b=2 c=1", true),
        ("a=2 b=2 c=1", false),
    ] {
        assert_eq!(understood.applies(&line(text)), applies, "{text}");
    }
    for text in ["`a` > 5", "`a` is large", "`a` is 5 or more or so", "`a` is 5, `b` is 6"] {
        assert!(std::panic::catch_unwind(|| row(text)).is_err(), "{text}");
    }
}

/// Lines of a node with work that nothing holds up: no row of the table is about them. The second has little of it, and each takes its time.
#[test]
fn healthy_work_is_none_of_the_conditions() {
    let little = [("instances", 12.0), ("instance_bytes", 7e5), ("writers_busy_mean", 0.1), ("service_mean_ms", 60.0)];
    let little =
        [&little[..], &[("writers_allowed", 4.0), ("commit_p50_ms", 120.0), ("response_p50_ms", 125.0)]].concat();
    for others in [Vec::new(), little] {
        let line = healthy(&others);
        let found = rows().into_iter().find(|row| row.applies(&line));
        assert!(found.is_none(), "{others:?}: {}", found.unwrap().condition);
    }
}

/// A line of healthy work, with these fields in place of its own.
fn healthy(others: &[(&str, f64)]) -> Line {
    let mut line = fields(&recorded("idle")[0]);
    let busy = [
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
    ];
    line.extend(busy.iter().chain(others).map(|(field, value)| ((*field).to_owned(), value.to_string())));
    line
}

#[test]
fn every_field_of_the_line_is_documented_and_every_documented_one_is_there() {
    let document = read("docs/observe.md");
    let section = document.split("## The statistics line").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|line| line.split(" | ").next().unwrap().split('`').skip(1).step_by(2));
    let documented: BTreeSet<_> = names.map(str::to_owned).collect();
    let said: BTreeSet<_> =
        RECORDED.iter().flat_map(|(name, _)| recorded(name)).flat_map(|line| fields(&line).into_keys()).collect();
    assert_eq!(said, documented);
    for clause in self::rows().iter().flat_map(|row| &row.alternatives).flatten() {
        for field in clause.fields() {
            assert!(documented.contains(field), "the table of conditions asks for {field}");
        }
    }
}
