//! Holds `conf/tidegate.toml` to the code: same keys, same defaults, same bounds.

use std::collections::{BTreeMap, BTreeSet};

use super::compose::compose;
use super::keys::{AccessRule, KEYS, Raw, defaults, needs_restart};
use super::sources::{Given, GivenValue};
use super::{ConfigError, TEMPLATE};

/// The comment above each key; keys that stand together share one.
fn comments() -> BTreeMap<String, String> {
    let mut comments = BTreeMap::new();
    let (mut section, mut comment) = (String::new(), String::new());
    for line in TEMPLATE.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((name, _)) = line.split_once(" = ") {
            comments.insert(format!("{section}.{name}"), comment.clone());
        } else {
            comment.clear();
        }
    }
    comments
}

#[test]
fn template_equals_the_built_in_defaults() {
    assert_eq!(toml::from_str::<Raw>(TEMPLATE).unwrap(), Raw::default());
}

#[test]
fn template_shows_every_key_and_explains_it() {
    let comments = comments();
    let explained: BTreeSet<&String> = comments.keys().collect();
    assert_eq!(explained, defaults().keys().collect::<BTreeSet<_>>());
    for (key, comment) in &comments {
        assert!(comment.len() > 60, "{key} is not explained: {comment:?}");
    }
    let sections: toml::Table = toml::from_str(TEMPLATE).unwrap();
    let written: usize = sections.values().map(|section| section.as_table().unwrap().len()).sum(); // no [[access]]
    assert_eq!(written, defaults().len(), "a key of the mirror is missing from the template");
}

/// Sets every number, size and duration far out of bounds and compares what the refusals allow with the comments.
#[test]
fn template_states_the_bounds_that_are_checked() {
    let beyond = |default: &toml::Value| match default {
        toml::Value::Integer(_) => Some(toml::Value::from(-1)),
        toml::Value::String(text) if text.ends_with('B') => Some("9000000 TiB".into()),
        toml::Value::String(text) if text == "unlimited" => Some(toml::Value::from(0)),
        toml::Value::String(text) if humantime::parse_duration(text).is_ok() => Some("9years".into()),
        _ => None,
    };
    let given: Given = defaults()
        .iter()
        .filter_map(|(key, default)| Some((key.clone(), beyond(default)?)))
        .map(|(key, value)| {
            (key, GivenValue { value, origin: "test".to_owned(), is_text: false, tables: Vec::new(), fault: None })
        })
        .collect();
    let (raw, mut problems) = super::read::read(&given);
    assert_eq!(problems, []);
    compose(&raw, None, &given, &mut problems);

    let comments = comments();
    assert_eq!(problems.len(), given.len(), "a value has no bound: {}", ConfigError::Invalid(problems));
    for problem in problems {
        let bounds = problem.complaint.trim_start_matches("must be ");
        // Behind the words that are allowed, too.
        let bounds = bounds.rsplit_once("\" or ").map_or(bounds, |(_, bounds)| bounds);
        assert!(comments[&problem.key].contains(bounds), "the comment on {} does not say {bounds:?}", problem.key);
    }
}

#[test]
fn template_states_what_an_association_holds() {
    let floor = super::size_text(tidegate_actors::FLOOR_LEASE_BYTES);
    for key in ["associations.max", "memory.budget"] {
        assert!(comments()[key].contains(&floor), "the comment on {key} does not say {floor}");
    }
}

#[test]
fn template_lists_the_keys_in_the_order_of_the_table() {
    let (mut section, mut listed) = ("", Vec::new());
    for line in TEMPLATE.lines().filter(|line| !line.starts_with('#')) {
        match (line.strip_prefix('[').and_then(|line| line.strip_suffix(']')), line.split_once(" = ")) {
            (Some(name), _) => section = name,
            (None, Some((name, _))) => listed.push(format!("{section}.{name}")),
            (None, None) => {}
        }
    }
    assert_eq!(listed, KEYS.iter().map(|key| key.path).collect::<Vec<_>>());
}

/// The example at the end has every key of a rule.
#[test]
fn template_shows_every_key_of_a_rule() {
    let example = TEMPLATE.split_once("#   [[access]]\n").unwrap().1;
    let example: String = example.lines().map(|line| format!("{}\n", line.trim_start_matches("#   "))).collect();
    let AccessRule {
        calling,
        called,
        from,
        certificate,
        sop_class,
        max_associations,
        layout,
        duplicates,
        durability,
        commitment,
        deliver_to,
        ..
    } = toml::from_str(&example).unwrap();
    assert!([calling, called, from, certificate, sop_class].iter().all(|criterion| !criterion.is_empty()));
    assert!(max_associations.is_some() && commitment.is_some() && deliver_to.is_some());
    assert!([layout, duplicates, durability].iter().all(Option::is_some));
}

/// The functions that the comment on `storage.layout` shows.
#[test]
fn template_shows_layouts_that_are_allowed() {
    let comment = &comments()["storage.layout"];
    for field in ["{StudyInstanceUID|hash:2}", "{StudyDate|first:4}", "{PatientID|or:unknown}"] {
        assert!(comment.contains(field), "{field} is not shown");
        tidegate_storage::layout::Layout::parse(&format!("{field}/{{SOPInstanceUID}}")).unwrap();
    }
}

#[test]
fn template_names_every_key_that_needs_a_restart() {
    let text = TEMPLATE.lines().take_while(|line| line.starts_with('#')).map(|line| line.trim_start_matches("# "));
    let text = text.collect::<Vec<_>>().join(" ");
    let list = text.split("which need a restart: ").nth(1).and_then(|rest| rest.split(". ").next()).unwrap();
    let keys = KEYS.iter().map(|key| key.path).filter(|path| needs_restart(path));
    assert_eq!(list.split(", ").collect::<Vec<_>>(), keys.collect::<Vec<_>>());
}
