//! The widest tables of sinks and events.

use super::{owed, sinks, tail};
use crate::admin::sinks::model::{OwedEventLine, OwedEvents, PastEventLine, Sink, Sinks};

/// All tables of this command, of values as wide as they come.
pub(in crate::cli) fn widest(width: usize) -> String {
    let why = "the answer was status 500, of a server that has a long name for what it cannot do ".repeat(3);
    let time = "2026-11-30T05:00:00.123Z".to_owned();
    let sink = Sink {
        name: "w".repeat(32),
        peer: Some(format!("https://{}.hospital.example:8443", "receiver".repeat(6))),
        phase: Some("publishing".to_owned()),
        gone: Some(time.clone()),
        waiting: 9_999_999,
        dead: 9_999_999,
        published: 999_999_999,
        next_attempt: Some(time.clone()),
        waiting_since: Some(time.clone()),
        last_error: Some(why.clone()),
        last_error_at: Some(time.clone()),
        last_success: None,
    };
    let past = PastEventLine {
        event: 9_999_999,
        id: "7a1c0f3e5b2d9846-9999999".to_owned(),
        kind: "commitment.reported".to_owned(),
        subject: format!("1.2.840.113619.{}", "9".repeat(49)),
        time: time.clone(),
        data: r#"{"study":"1.2","series":999,"instances":999999,"bytes":999999999999,"digest":"8c","completions":999,"modalities":["CT","SR"],"sources":["CT1"]}"#.to_owned(),
        owed: 1,
    };
    let event = OwedEventLine {
        event: 9_999_999,
        sink: "w".repeat(32),
        kind: "instance.stored".to_owned(),
        subject: format!("1.2.840.113619.{}", "9".repeat(49)),
        time: time.clone(),
        is_dead: false,
        attempts: 9_999,
        next_attempt: Some(time),
        last_error: Some(why),
    };
    let owed = owed(&OwedEvents { events: vec![event], next: None }, width);
    sinks(&Sinks { sinks: vec![sink] }, true, width) + &owed + &tail::text(&past, width)
}
