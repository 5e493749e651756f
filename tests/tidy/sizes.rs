//! How long a file and a function may be.

use std::fs;
use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 450;
const MAX_FUNCTION_LINES: usize = 70;

fn sources(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

/// Each function's first line, counted from 0, and how many it has. As `rustfmt` leaves it, a function ends at the first brace that
/// stands as far to the right as its beginning; one without a body, with its semicolon.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let is_qualifier = |word: &str| word.starts_with("pub") || ["async", "const", "unsafe"].contains(&word);
    let begins = |line: &str| {
        line.split_once("fn ")
            .is_some_and(|(before, _)| before.split(' ').all(|word| word.is_empty() || is_qualifier(word)))
    };
    let starts = (0..lines.len()).filter(|at| begins(lines[*at]));
    let length = |start: usize| {
        let indent = &lines[start][..lines[start].len() - lines[start].trim_start().len()];
        let mut has_body = false;
        let ends = |line: &&str| {
            has_body |= line.ends_with('{');
            let at_indent = line.strip_prefix(indent).is_some_and(|line| line == "}");
            at_indent || !has_body && line.ends_with([';', '}'])
        };
        lines[start..].iter().position(ends).map_or(lines.len() - start, |end| end + 1)
    };
    starts.map(|start| (start, length(start))).collect()
}

#[test]
fn no_file_and_no_function_is_longer_than_its_bar() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "actors", "loadtest", "tests", "fuzz"].iter().for_each(|room| sources(&root.join(room), &mut files));
    let (mut count, mut long) = (0, Vec::new());
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let (lines, file) = (text.lines().collect::<Vec<_>>(), file.strip_prefix(root).unwrap().display());
        if lines.len() > MAX_FILE_LINES {
            long.push(format!("{file}: {} lines", lines.len()));
        }
        let functions = functions(&lines);
        count += functions.len();
        let too_long = functions.iter().filter(|(_, length)| *length > MAX_FUNCTION_LINES);
        long.extend(too_long.map(|(start, length)| format!("{file}:{}: a function of {length} lines", start + 1)));
    }
    assert!(files.len() > 250 && count > 1500, "{} files, {count} functions", files.len());
    assert!(long.is_empty(), "more than {MAX_FILE_LINES} lines a file, {MAX_FUNCTION_LINES} a function: {long:#?}");
}

#[test]
fn functions_are_measured_with_and_without_a_body() {
    let lines = [
        "trait A {",
        "    fn a();",
        "    fn b(",
        "        c: u8,",
        "    ) -> u8;",
        "    fn d() {",
        "        {",
        "        }",
        "    }",
        "}",
        "pub(crate) async fn e() {}",
    ];
    assert_eq!(functions(&lines), [(1, 1), (2, 3), (5, 4), (10, 1)]);
}
