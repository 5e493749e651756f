//! An event as it is published: CloudEvents 1.0, JSON, structured mode.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
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
pub fn event_id(generation: Generation, event: i64) -> String {
    format!("{generation}-{event}")
}

/// An event in the form of CloudEvents 1.0 (JSON format §3).
#[derive(Clone, Debug, Serialize)]
pub struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    subject: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    data: Cow<'a, RawValue>,
}

impl<'a> CloudEvent<'a> {
    /// An event. `data` is a JSON object, `time` is of RFC 3339.
    pub fn new(
        (id, source): (&'a str, &'a str),
        (kind, subject, time): (&'a str, &'a str, &'a str),
        data: &'a str,
    ) -> Self {
        // SQLite has made it, so that it is JSON.
        let data = serde_json::from_str(data).map_or(Cow::Borrowed(RawValue::NULL), Cow::Borrowed);
        let (specversion, datacontenttype) = ("1.0", "application/json");
        Self { specversion, id, source, r#type: kind, subject, time, datacontenttype, data }
    }

    /// With what is known of the patient.
    fn of_patient(self, patient: &StudyValues) -> Self {
        let StudyValues {
            patient_id, patient_name, patient_birth_date, accession_number, study_date, description, ..
        } = patient;
        let known = [
            ("patient_id", patient_id),
            ("patient_name", patient_name),
            ("patient_birth_date", patient_birth_date),
            ("accession_number", accession_number),
            ("study_date", study_date),
            ("study_description", description),
        ];
        let Ok(mut data) = serde_json::from_str::<Map<String, Value>>(self.data.get()) else { return self };
        data.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into()))));
        serde_json::value::to_raw_value(&data).map_or(self.clone(), |data| Self { data: Cow::Owned(data), ..self })
    }

    /// The JSON text, on one line.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // strings as keys do not fail
    }
}

impl EventOut {
    /// What is published of an event that is owed.
    pub(crate) fn of(owed: &OwedEvent, generation: Generation, source: &str, has_patient: bool) -> Self {
        let id = event_id(generation, owed.event);
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(owed.at_ms).unwrap_or(0));
        let time = humantime::format_rfc3339_millis(at).to_string();
        let facts = (owed.kind.name(), owed.subject.as_str(), time.as_str());
        let event = CloudEvent::new((&id, source), facts, &owed.data);
        let body = if has_patient && !owed.study.uid.is_empty() { event.of_patient(&owed.study) } else { event }.text();
        Self { id, kind: owed.kind, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_patient_only_where_that_was_asked_for() {
        let facts = ("study.complete", "1.2.3", "2023-11-14T22:13:20.123Z");
        let event = CloudEvent::new(("1-2", "/tidegate/A"), facts, r#"{"study":"1.2.3"}"#);
        let patient = StudyValues { patient_name: Some("Doe^\"J\"\n".to_owned()), ..StudyValues::default() };
        let head = r#"{"specversion":"1.0","id":"1-2","source":"/tidegate/A","type":"study.complete","subject":"1.2.3","time":"2023-11-14T22:13:20.123Z","datacontenttype":"application/json","data":"#;
        assert_eq!(event.text(), format!("{head}{}", r#"{"study":"1.2.3"}}"#));
        let data = r#"{"patient_name":"Doe^\"J\"\n","study":"1.2.3"}}"#;
        assert_eq!(event.of_patient(&patient).text(), format!("{head}{data}"));
    }
}
