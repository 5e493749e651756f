//! An event as it is published: CloudEvents 1.0, JSON, structured mode.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use tidegate_catalogue::{EventKind, Generation, OwedEvent, StudyValues};

/// The type of the text (CloudEvents 1.0, JSON format).
pub(crate) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// An event on its way.
#[derive(Clone, Debug)]
pub(crate) struct EventOut {
    /// The same at each attempt, and of no other event.
    pub(crate) id: String,
    /// The type; brokers route by it.
    pub(crate) kind: EventKind,
    /// The JSON text.
    pub(crate) body: String,
}

/// Why an event was not published.
#[derive(Debug)]
pub(crate) enum PublishError {
    /// It is tried again.
    Retry {
        /// What failed.
        why: String,
        /// Not before that.
        after: Option<Duration>,
        /// The sink does not answer, or takes nothing at the moment: other events would fail, too.
        is_down: bool,
    },
    /// The sink wants no events any more.
    Gone {
        /// What it has answered.
        why: String,
    },
    /// The sink does not take this event, and never will.
    Refused {
        /// What it has answered.
        why: String,
    },
}

/// The id of an event: of its catalogue, and its number there. A catalogue that was made anew has other ids.
fn event_id(generation: Generation, event: i64) -> String {
    format!("{generation}-{event}")
}

/// The JSON text of an event, with the patient if there is one.
fn cloud_event(
    id: &str,
    source: &str,
    (kind, subject, at_ms, data): (EventKind, &str, i64, &str),
    patient: Option<&StudyValues>,
) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
    let mut text = String::with_capacity(data.len() + 320);
    text.push_str("{\"specversion\":\"1.0\",\"id\":");
    quote(&mut text, id);
    text.push_str(",\"source\":");
    quote(&mut text, source);
    text.push_str(",\"type\":");
    quote(&mut text, kind.name());
    text.push_str(",\"subject\":");
    quote(&mut text, subject);
    text.push_str(",\"time\":");
    quote(&mut text, &humantime::format_rfc3339_millis(at).to_string());
    text.push_str(",\"datacontenttype\":\"application/json\",\"data\":");
    match patient.and_then(|patient| data.strip_suffix('}').map(|open| (open, patient))) {
        Some((open, patient)) => {
            text.push_str(open);
            let StudyValues {
                patient_id,
                patient_name,
                patient_birth_date,
                accession_number,
                study_date,
                description,
                ..
            } = patient;
            for (name, value) in [
                ("patient_id", patient_id),
                ("patient_name", patient_name),
                ("patient_birth_date", patient_birth_date),
                ("accession_number", accession_number),
                ("study_date", study_date),
                ("study_description", description),
            ] {
                if let Some(value) = value {
                    let _ = write!(text, ",\"{name}\":"); // a string takes everything
                    quote(&mut text, value);
                }
            }
            text.push('}');
        }
        None => text.push_str(data),
    }
    text.push('}');
    text
}

/// A JSON string (RFC 8259 §7).
fn quote(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            character if character.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(character)); // a string takes everything
            }
            character => text.push(character),
        }
    }
    text.push('"');
}

impl EventOut {
    /// What is published of an event that is owed.
    pub(crate) fn of(owed: &OwedEvent, generation: Generation, source: &str, has_patient: bool) -> Self {
        let id = event_id(generation, owed.event);
        let facts = (owed.kind, owed.study.uid.as_str(), owed.at_ms, owed.data.as_str());
        let body = cloud_event(&id, source, facts, has_patient.then_some(&owed.study));
        Self { id, kind: owed.kind, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_patient_only_where_that_was_asked_for() {
        let facts = (EventKind::StudyComplete, "1.2.3", 1_700_000_000_123, r#"{"study":"1.2.3"}"#);
        let patient = StudyValues { patient_name: Some("Doe^\"J\"\n".to_owned()), ..StudyValues::default() };
        assert_eq!(
            cloud_event("1-2", "/tidegate/A", facts, Some(&patient)),
            r#"{"specversion":"1.0","id":"1-2","source":"/tidegate/A","type":"study.complete","subject":"1.2.3","time":"2023-11-14T22:13:20.123Z","datacontenttype":"application/json","data":{"study":"1.2.3","patient_name":"Doe^\"J\"\u000a"}}"#
                .replace("Doe^\"J\"", "Doe^\\\"J\\\"")
        );
        assert!(cloud_event("1-2", "/tidegate/A", facts, None).ends_with(r#""data":{"study":"1.2.3"}}"#));
    }
}
