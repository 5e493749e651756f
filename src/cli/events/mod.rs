//! `tidegate events`: the sinks, and the events that they are owed, asked of the running node, and without one of its catalogue.

mod tail;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use tests::widest;

use clap::{Args, Subcommand};

use super::Exit;
use super::catalogue::source;
use super::outbox::so_far;
use super::output::{self, show};
use super::reach::Reach;
use super::source::refuse;
use super::table::Table;
use super::text::{cut, safe};
use crate::admin::sinks::look::{self, OwedSearch};
use crate::admin::sinks::model::{EventOrder, EventsChanged, MAX_LIMIT, OwedEvents, Sinks};

/// Columns of a name, an address and of what failed.
const NAME_COLUMNS: usize = 12;
const PEER_COLUMNS: usize = 60;
const WHY_COLUMNS: usize = 200;

/// `tidegate events`
#[derive(Debug, Args)]
#[command(after_help = "\
A sink is told of events, such as that a study is complete, and each is owed to it until it has taken it. What fails is tried again, and \
after `retry_for` it is dead: it is kept, and an operator decides.

Times are UTC. If no node runs, the catalogue is read as it was left; changes need the node. Exit codes: 0 found or done, 1 there is none \
or the catalogue cannot be read, 2 usage or configuration error, 4 no node answered.

  tidegate events                            the sinks
  tidegate events show --sink ris --dead     what it did not take, and why
  tidegate events tail                       events as they come about
  tidegate events tail --json                the same as sinks get them, one line each
  tidegate events retry --sink ris           try everything again now, also at a sink that wanted no more
  tidegate events drop --sink ris --dead")]
pub(super) struct EventsArgs {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: Option<EventsCommand>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// List the sinks, with what they are owed
    List,
    /// Show events that are owed
    Show {
        /// Only to this sink
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
        /// Only dead ones
        #[arg(long)]
        dead: bool,
        /// Most events
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LIMIT)))]
        limit: u32,
    },
    /// Print the last events, and those that come about until it is interrupted
    Tail(tail::TailArgs),
    /// Try events again now; a sink that wanted no events any more is sent them again
    Retry(ChoiceArgs),
    /// Forget events: they are not owed any more
    Drop(ChoiceArgs),
}

#[derive(Debug, Args)]
struct ChoiceArgs {
    /// Name of the sink
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// Only this event
    #[arg(long, value_name = "NUMBER")]
    event: Option<i64>,
    /// Only dead ones
    #[arg(long)]
    dead: bool,
    /// All of them
    #[arg(long)]
    all: bool,
}

pub(super) fn events(args: EventsArgs) -> Exit {
    let EventsArgs { reach, command, json } = args;
    let done = match command {
        None | Some(EventsCommand::List) => list(reach, json),
        Some(EventsCommand::Show { sink, dead, limit }) => {
            show_owed(reach, &OwedSearch { sink, dead, after: 0, limit: Some(limit) }, json)
        }
        Some(EventsCommand::Tail(args)) => tail::tail(reach, args, json),
        Some(EventsCommand::Retry(choice)) => order(reach, "retry", choice, json),
        Some(EventsCommand::Drop(choice)) => order(reach, "drop", choice, json),
    };
    done.unwrap_or_else(|exit| exit)
}

fn list(reach: Reach, json: bool) -> Result<Exit, Exit> {
    let mut source = source::of(reach)?;
    let found = source.ask(|node| node.sinks(), look::sinks)?;
    let has_node = source.node().is_some();
    if found.sinks.is_empty() && !json {
        output::complain("there is no sink: add a table [[sink]] to the configuration");
        return Ok(Exit::Failed);
    }
    Ok(show(json, &found, |found: &Sinks, width| sinks(found, has_node, width)))
}

fn sinks(found: &Sinks, has_node: bool, width: usize) -> String {
    let mut table = Table::new(["SINK", "WAITING", "DEAD", "PUBLISHED"]).left(1);
    for sink in &found.sinks {
        table.row([
            cut(&safe(&sink.name), NAME_COLUMNS),
            sink.waiting.to_string(),
            sink.dead.to_string(),
            sink.published.to_string(),
        ]);
        let is_configured = !has_node || sink.peer.is_some();
        // What has been taken since mends a failure.
        let last_error = sink.last_error.as_ref().filter(|_| sink.last_error_at > sink.last_success);
        let parts = [
            (!is_configured).then(|| "NOT CONFIGURED: it keeps what it is owed".to_owned()),
            sink.peer.as_ref().map(|peer| cut(&safe(peer), PEER_COLUMNS)),
            sink.phase.clone(),
            sink.gone.as_ref().map(|at| format!("wants no events since {at}: tidegate events retry sends them again")),
            sink.next_attempt.as_ref().filter(|_| is_configured).map(|at| format!("next attempt at {at}")),
            sink.waiting_since.as_ref().map(|at| format!("waiting since {at}")),
            last_error.map(|why| {
                let at = sink.last_error_at.as_deref().unwrap_or_default();
                format!("last failure at {at}: {}", cut(&safe(why), WHY_COLUMNS))
            }),
        ];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        table.line(if text.is_empty() { "nothing waits".to_owned() } else { text });
    }
    table.render(width)
}

fn show_owed(reach: Reach, search: &OwedSearch, json: bool) -> Result<Exit, Exit> {
    let found = source::of(reach)?.ask(|node| node.owed_events(search.clone()), |reader| look::owed(reader, search))?;
    if found.events.is_empty() && !json {
        output::complain("nothing is owed");
        return Ok(Exit::Failed);
    }
    let printed = show(json, &found, owed);
    Ok(if found.events.is_empty() { Exit::Failed } else { printed })
}

fn owed(found: &OwedEvents, width: usize) -> String {
    let mut table = Table::new(["EVENT", "SINK", "TYPE", "STATE", "ATTEMPTS", "TIME"]).left(4);
    for event in &found.events {
        table.row([
            event.event.to_string(),
            cut(&safe(&event.sink), NAME_COLUMNS),
            event.kind.clone(),
            if event.is_dead { "dead" } else { "waiting" }.to_owned(),
            event.attempts.to_string(),
            // Without the fraction of the second.
            format!("{}Z", event.time.split(['.', 'Z']).next().unwrap_or_default()),
        ]);
        let why = event
            .last_error
            .as_ref()
            .map_or_else(String::new, |why| format!(" last failure: {}", cut(&safe(why), WHY_COLUMNS)));
        let next = event.next_attempt.as_ref().filter(|_| event.attempts > 0);
        let next = next.map_or_else(String::new, |at| format!(" next attempt at {at}"));
        table.line(format!("{}{next}{why}", safe(&event.subject)));
    }
    table.render(width)
}

fn order(reach: Reach, action: &str, choice: ChoiceArgs, json: bool) -> Result<Exit, Exit> {
    let ChoiceArgs { sink, event, dead, all } = choice;
    let order = EventOrder { action: action.to_owned(), event, dead, all };
    let changed = reach.client()?.order_events(sink, order).map_err(|error| refuse(&error))?;
    Ok(show(json, &changed, |changed: &EventsChanged, _| {
        format!("{}: {} events changed{}\n", safe(&changed.sink), changed.changed, so_far(changed.is_done))
    }))
}
