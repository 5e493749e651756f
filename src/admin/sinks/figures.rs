//! The metrics of completeness and events. Without the catalogue they have no samples.

use std::fmt;
use std::time::SystemTime;

use tidegate_actors::{Observer, SinkPhase, SourceFigures};
use tidegate_catalogue::SinkRow;

use crate::admin::page::{Page, SECONDS};
use crate::admin::time::unix_ms;

pub(in crate::admin) fn figures(observer: &Observer, page: &mut Page<'_>) -> fmt::Result {
    let completed = observer.completed();
    let values = completed.map(|done| [(["study"], done.studies), (["series"], done.series)]);
    let help = "Times a study or series was complete";
    page.counters("completions", help, None, &["of"], values.into_iter().flatten())?;
    let latest = completed.map(|done| done.latest_ms as f64 / 1000.0);
    let help = "By how much the completion was late that was most, since the start";
    page.gauge_if("completion_latest", help, SECONDS, latest)?;
    let sources = observer.sources();
    let mut counters = |name: &str, help: &str, value: &dyn Fn(&SourceFigures) -> u64| {
        let values = sources.iter().map(|(source, figures)| ([source.as_str()], value(figures)));
        page.counters(name, help, None, &["source"], values)
    };
    counters("source_asked", "Questions to the source how many instances it has of a study", &|source| source.asked)?;
    counters("source_answered", "Questions that the source has answered", &|source| source.answered)?;
    counters("source_failed", "Questions that the source has not answered, or not in time", &|source| source.failed)?;
    let rows = observer.event_queues();
    let now_ms = unix_ms(SystemTime::now()).cast_signed();
    let mut gauges = |name: &str, help: &str, unit, value: &dyn Fn(&SinkRow) -> i64| {
        let values = rows.iter().map(|row| ([row.name.as_str()], u64::try_from(value(row)).unwrap_or(0)));
        page.gauges_of(name, help, unit, &["sink"], values)
    };
    gauges("events_waiting", "Events owed to the sink", None, &|row| row.waiting)?;
    gauges("events_dead", "Events owed to the sink that were given up", None, &|row| row.dead)?;
    gauges("events_published", "Events that the sink has had, as the catalogue counts them", None, &|row| {
        row.published
    })?;
    let help = "How long the event waits that has waited longest for the sink; 0 without one";
    gauges("events_oldest", help, SECONDS, &|row| row.since_ms.map_or(0, |since_ms| (now_ms - since_ms) / 1000))?;
    let states = observer.event_sinks();
    let phases = states.iter().flat_map(|state| {
        let value = |phase: SinkPhase| ([state.name.as_str(), phase.name()], u64::from(state.phase == phase));
        SinkPhase::ALL.map(value)
    });
    page.gauges_of("sink_phase", "1 for what the sink is doing", None, &["sink", "phase"], phases)
}
