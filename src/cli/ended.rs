//! `tidegate associations --ended`: the associations that ended in the last hour, as a table.

use std::time::{SystemTime, UNIX_EPOCH};

use super::text::{Table, age, safe, size};
use crate::admin::ended::EndedAssociation;

/// The time, in milliseconds since the epoch.
pub(super) fn unix_ms_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn ended_text(now_unix_ms: u64, all: &[EndedAssociation]) -> String {
    if all.is_empty() {
        return "no association has ended in the last hour\n".to_owned();
    }
    let mut table = Table::new([
        "CALLING AE",
        "CALLED AE",
        "ENDED",
        "LASTED",
        "NEW",
        "IDENTICAL",
        "REPLACED",
        "KEPT BOTH",
        "REFUSED",
        "RECEIVED",
        "",
    ]);
    for ended in all {
        table.row([
            safe(ended.calling_ae_title.trim()),
            safe(ended.called_ae_title.trim()),
            format!("{} ago", age(now_unix_ms.saturating_sub(ended.at_unix_ms))),
            age(ended.duration_ms),
            ended.new.to_string(),
            ended.identical.to_string(),
            ended.replaced.to_string(),
            ended.kept_both.to_string(),
            ended.refused.to_string(),
            size(ended.bytes),
            remark(ended),
        ]);
    }
    table.render()
}

/// How it ended, whence it came, by which rule, and its studies.
fn remark(ended: &EndedAssociation) -> String {
    let mut remark = format!("{} from {}", ended.end, ended.peer);
    if let Some(rule) = &ended.rule {
        remark.push_str(&format!(", rule {}", safe(rule)));
    }
    match (&ended.first_study, ended.studies) {
        (Some(uid), 0 | 1) => remark.push_str(&format!(", study {}", safe(uid))),
        (Some(uid), more) => remark.push_str(&format!(", study {} and {} more", safe(uid), more - 1)),
        (None, 0) => {}
        (None, studies) => remark.push_str(&format!(", {studies} studies")),
    }
    remark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_association_is_one_line_with_its_outcomes_and_studies() {
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
CALLING AE  CALLED AE      ENDED  LASTED  NEW  IDENTICAL  REPLACED  KEPT BOTH  REFUSED  RECEIVED
CT\\u{1b}1     GATEWAY  1m 5s ago    4.2s   40          2         0          1        3  24.0 MiB  \
released from 10.0.0.7:50112, rule ct, study 1.2.3 and 1 more
";
        assert_eq!(ended_text(1_065_000, &[ended(2, Some("1.2.3"))]), expected);
        assert!(ended_text(0, &[ended(1, Some("1.2.3"))]).ends_with(", study 1.2.3\n"));
        assert!(ended_text(0, &[ended(0, None)]).ends_with(", rule ct\n"));
        assert_eq!(ended_text(0, &[]), "no association has ended in the last hour\n");
    }
}
