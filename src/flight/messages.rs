//! The last lines of the log, kept in memory for a flight record.

use std::collections::VecDeque;
use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::log_value::write_field;
use crate::unprintable::is_unprintable;

/// Lines kept.
const KEPT: usize = 200;
/// Bytes kept of a line.
const LINE_BYTES: usize = 1024;

/// Bytes of a truncated line: an ellipsis follows.
const CUT_LINE_BYTES: usize = LINE_BYTES + '…'.len_utf8();

/// The last lines, the oldest first; empty ones where there were fewer. Clones share them. Their memory is allocated once, because a node
/// that is short of memory logs more than before.
/// is short of memory logs more than before.
#[derive(Clone, Debug)]
pub(crate) struct Messages(Arc<Mutex<VecDeque<String>>>);

impl Default for Messages {
    fn default() -> Self {
        let lines = (0..KEPT).map(|_| String::with_capacity(CUT_LINE_BYTES)).collect();
        Self(Arc::new(Mutex::new(lines)))
    }
}

impl Messages {
    /// The lines kept now.
    pub(super) fn list(&self) -> Vec<String> {
        self.0.lock().iter().filter(|line| !line.is_empty()).cloned().collect()
    }

    fn add(&self, fill: impl FnOnce(&mut String)) {
        let mut lines = self.0.lock();
        let mut line = lines.pop_front().unwrap_or_default();
        line.clear();
        fill(&mut line);
        if line.len() > LINE_BYTES {
            let end = (0..=LINE_BYTES).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
            line.truncate(end);
            line.push('…');
            line.shrink_to(CUT_LINE_BYTES);
        }
        lines.push_back(line);
    }
}

/// Keeps lines of level info and above.
#[derive(Debug)]
pub(crate) struct MessagesLayer(pub(crate) Messages);

impl<S: Subscriber> Layer<S> for MessagesLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return;
        }
        self.0.add(|line| {
            let at = humantime::format_rfc3339_millis(SystemTime::now());
            let _ = write!(line, "{at} {} {}:", metadata.level(), metadata.target());
            event.record(&mut Line(line));
            if line.contains(is_unprintable) {
                *line = line.chars().map(|c| if is_unprintable(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
            }
        });
    }
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.0.len() > LINE_BYTES {
            return;
        }
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => {
                self.0.push(' ');
                write_field(self.0, name, value)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_with_their_fields_and_not_more() {
        let messages = Messages::default();
        let subscriber = tracing_subscriber::registry().with(MessagesLayer(messages.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..KEPT + 5 {
                tracing::warn!(number, text = "a b", "something");
            }
            tracing::debug!("not kept");
            tracing::error!(long = "ä".repeat(LINE_BYTES), "much");
        });
        let lines = messages.list();
        assert_eq!(lines.len(), KEPT);
        assert!(lines[KEPT - 2].ends_with(&format!(" something number={} text=\"a b\"", KEPT + 4)), "{lines:?}");
        assert!(lines[KEPT - 1].contains(" ERROR ") && lines[KEPT - 1].len() <= LINE_BYTES + 4);
    }
}
