//! The fields of a log line in the text format.

use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::log_value::write_field;

/// Writes the message as it is, and the fields behind it as [`write_field`] does.
#[derive(Debug)]
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> std::fmt::Result {
        let mut line = Line { writer, is_empty: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    is_empty: bool,
    result: std::fmt::Result,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_err() {
            return;
        }
        let between = if std::mem::take(&mut self.is_empty) { "" } else { " " };
        self.result = self.writer.write_str(between).and_then(|()| match field.name() {
            "message" => write!(self.writer, "{value:?}"),
            name => write_field(&mut self.writer, name, value),
        });
    }
}
