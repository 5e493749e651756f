//! `tidegate events tail`: what `/api/events/stream` tells, for a terminal and for scripts.

use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use crate::admin::sinks::look::{self, PastSearch};
use crate::admin::sinks::model::{MAX_LIMIT, PastEventLine, PastEvents};
use crate::cli::ask_error::AskError;
use crate::cli::catalogue::source;
use crate::cli::client::Client;
use crate::cli::reach::Reach;
use crate::cli::source::refuse;
use crate::cli::table::wrapped;
use crate::cli::text::safe;
use crate::cli::{Exit, output};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// The `source` of events if no node was asked: their catalogue does not know it.
const NO_SOURCE: &str = "/tidegate";

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Those behind this one, by its id or its number
    #[arg(long, value_name = "ID", conflicts_with = "last")]
    after: Option<String>,
    /// So many of the last ones first
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_LIMIT)))]
    last: u32,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// End after those that there are
    #[arg(long)]
    no_follow: bool,
}

pub(super) fn tail(reach: Reach, args: TailArgs, json: bool) -> Result<Exit, Exit> {
    let after = args.after.unwrap_or_else(|| format!("-{}", args.last));
    let mut search = PastSearch { after: Some(after), r#type: args.kind, limit: Some(MAX_LIMIT) };
    search.check().map_err(|error| {
        output::complain(&error.to_string());
        Exit::Misused
    })?;
    let mut source = source::of(reach)?;
    let mut page = source.ask(|node| node.past_events(search.clone()), |reader| look::past(reader, &search))?;
    loop {
        if let Some(gap) = page.gap() {
            output::complain(&gap);
        }
        print(&page, json)?;
        search.after = Some(page.last);
        match (page.has_more, args.no_follow) {
            (true, _) => {}
            (false, true) => return Ok(Exit::Done),
            (false, false) => sleep(INTERVAL),
        }
        page = if args.no_follow {
            source.ask(|node| node.past_events(search.clone()), |reader| look::past(reader, &search))?
        } else {
            next(source.client(), &search)?
        };
    }
}

/// The next page, of a node that may be started again meanwhile.
fn next(node: &Client, search: &PastSearch) -> Result<PastEvents, Exit> {
    let mut was_away = false;
    loop {
        match node.past_events(search.clone()) {
            Ok(page) => {
                if was_away {
                    output::complain("the node answers again");
                }
                return Ok(page);
            }
            Err(error @ (AskError::OtherVersion { .. } | AskError::NotUnderstood(_))) => return Err(refuse(&error)),
            Err(error) => {
                if !std::mem::replace(&mut was_away, true) {
                    output::complain(&format!("{error}; waiting for it"));
                }
                sleep(INTERVAL);
            }
        }
    }
}

fn print(page: &PastEvents, json: bool) -> Result<(), Exit> {
    let source = page.source.as_deref().unwrap_or(NO_SOURCE);
    page.events.iter().try_for_each(|event| {
        let text = if json { event.cloud_event(source) + "\n" } else { text(event, output::width()) };
        output::print_next(&text)
    })
}

/// An event for people: its data but for what identifies it.
pub(super) fn text(event: &PastEventLine, width: usize) -> String {
    let data = serde_json::from_str::<Map<String, Value>>(&event.data).unwrap_or_default();
    let facts = data.iter().filter(|(name, _)| !matches!(name.as_str(), "study" | "digest" | "xxh128"));
    let facts = facts.map(|(name, value)| match value {
        Value::String(text) => format!("{name} {}", safe(text)),
        value => format!("{name} {}", safe(&value.to_string())),
    });
    // A UID stands alone: a person copies it.
    let facts = format!("{} {}", safe(&event.subject), facts.collect::<Vec<_>>().join(", "));
    format!("{} {} {}\n{}", event.time, event.kind, event.id, wrapped("  ", &facts, width))
}
