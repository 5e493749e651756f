//! `tidegate associations --ended`: the associations that ended in the last hour, as a table.

use std::time::{SystemTime, UNIX_EPOCH};

use super::look::TITLE_COLUMNS;
use super::table::Table;
use super::text::{age, cut, safe, size};
use crate::admin::ended::EndedAssociation;

/// The time, in milliseconds since the epoch.
pub(super) fn unix_ms_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn ended_text(now_unix_ms: u64, all: &[EndedAssociation], width: usize) -> String {
    if all.is_empty() {
        return "no association has ended in the last hour\n".to_owned();
    }
    let mut table = Table::new(["CALLING AE", "ID", "AGO", "NEW", "IDENTICAL", "REFUSED", "RECEIVED"]);
    for ended in all {
        table.row([
            cut(&safe(ended.calling_ae_title.trim()), TITLE_COLUMNS),
            ended.id.to_string(),
            age(now_unix_ms.saturating_sub(ended.at_unix_ms)),
            ended.new.to_string(),
            ended.identical.to_string(),
            ended.refused.to_string(),
            size(ended.bytes),
        ]);
        table.line(end(ended));
        studies(ended).into_iter().for_each(|studies| table.line(studies));
    }
    table.render(width)
}

/// How it ended, whence it came and whom it called, by which rule, and what it did to stored instances.
fn end(ended: &EndedAssociation) -> String {
    let called = cut(&safe(ended.called_ae_title.trim()), TITLE_COLUMNS);
    let mut text = format!("{} after {}, from {} to {called}", ended.end, age(ended.duration_ms), ended.peer);
    if let Some(rule) = &ended.rule {
        text.push_str(&format!(", rule {}", safe(rule)));
    }
    for (instances, what) in [(ended.replaced, "replaced"), (ended.kept_both, "kept beside another")] {
        if instances > 0 {
            text.push_str(&format!(", {instances} {what}"));
        }
    }
    text
}

/// Its studies; `None`: it stored nothing.
fn studies(ended: &EndedAssociation) -> Option<String> {
    match (&ended.first_study, ended.studies) {
        (Some(uid), 0 | 1) => Some(format!("study {}", safe(uid))),
        (Some(uid), more) => Some(format!("study {} and {} more", safe(uid), more - 1)),
        (None, 0) => None,
        (None, studies) => Some(format!("{studies} studies")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::COLUMNS;

    #[test]
    fn an_ended_association_has_its_id_its_outcomes_and_its_studies() {
        let ended = |studies, first_study: Option<&str>| EndedAssociation {
            at_unix_ms: 1_000_000,
            id: 7,
            peer: "10.0.0.7:50112".to_owned(),
            calling_ae_title: "CT\u{1b}1".to_owned(),
            called_ae_title: "GATEWAY".to_owned(),
            rule: Some("ct".to_owned()),
            studies,
            first_study: first_study.map(str::to_owned),
            new: 40,
            identical: 2,
            replaced: 0,
            kept_both: 1,
            refused: 3,
            bytes: 24 << 20,
            duration_ms: 4_200,
            end: "released".to_owned(),
        };
        let expected = "\
CALLING AE  ID    AGO  NEW  IDENTICAL  REFUSED  RECEIVED
CT\\u{1b}1    7  1m 5s   40          2        3  24.0 MiB
  released after 4.2s, from 10.0.0.7:50112 to GATEWAY, rule ct, 1 kept beside
  another
  study 1.2.3 and 1 more
";
        let text = |ended| ended_text(1_065_000, &[ended], COLUMNS);
        assert_eq!(text(ended(2, Some("1.2.3"))), expected);
        assert!(text(ended(1, Some("1.2.3"))).ends_with("\n  study 1.2.3\n"));
        assert!(text(ended(0, None)).ends_with("  another\n"));
        assert_eq!(ended_text(0, &[], COLUMNS), "no association has ended in the last hour\n");
    }
}
