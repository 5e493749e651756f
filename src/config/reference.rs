//! The configuration reference, `docs/configuration.md`: the commented template as a document, each key with its default and whether
//! it changes live. The template's comments are held to the code by tests, so this is too.

use std::fmt::Write;

use super::TEMPLATE;
use super::keys::needs_restart;

/// A key with its default.
struct Key<'a> {
    name: &'a str,
    default: &'a str,
}

/// Writes the reference, as Markdown.
pub(crate) fn reference() -> String {
    let mut out = String::from(
        "# Configuration reference\n\n\
         Made from `conf/tidegate.toml` by `tidegate print-config --reference`.\n\n",
    );
    let (mut section, mut comment, mut keys) = (String::new(), Vec::new(), Vec::new());
    for line in TEMPLATE.lines().chain([""]) {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.strip_prefix(' ').unwrap_or(text));
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            paragraph(&mut out, &comment);
            comment.clear();
            let _ = write!(out, "## {section}\n\n");
        } else if let Some((name, default)) = line.split_once(" = ") {
            keys.push(Key { name, default });
        } else {
            describe(&mut out, &section, &keys, &comment);
            keys.clear();
            comment.clear();
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// The keys that share a comment, or a comment of its own.
fn describe(out: &mut String, section: &str, keys: &[Key<'_>], comment: &[&str]) {
    for Key { name, default } in keys {
        let live = if needs_restart(&format!("{section}.{name}")) { "needs a restart" } else { "live" };
        let variable = format!("TIDEGATE__{section}__{name}").to_uppercase();
        let _ = writeln!(out, "### `{section}.{name}`\n\nDefault `{default}` · {live} · `{variable}`\n");
    }
    paragraph(out, comment);
}

/// The lines of a comment; indented ones are an example.
fn paragraph(out: &mut String, comment: &[&str]) {
    let mut in_example = false;
    for line in comment {
        let example = line.starts_with("  ");
        if example != in_example {
            out.push_str(if example { "\n```text\n" } else { "```\n\n" });
            in_example = example;
        }
        let line = if example { line.trim().to_owned() } else { line.replace('<', "\\<") };
        let _ = writeln!(out, "{line}");
    }
    if in_example {
        out.push_str("```\n");
    }
    if !comment.is_empty() {
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::keys::defaults;

    #[test]
    fn the_document_is_what_is_printed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let document = reference();
        if std::fs::read_to_string(&path).unwrap_or_default() != document {
            std::fs::write(&path, document).unwrap();
            panic!("{} was not up to date and has been written anew: look at it, and commit it", path.display());
        }
    }

    #[test]
    fn every_key_has_a_heading() {
        let reference = reference();
        for key in defaults().keys() {
            assert!(reference.contains(&format!("\n### `{key}`\n")), "{key}");
        }
        assert_eq!(reference.matches("\n### ").count(), defaults().len());
    }
}
