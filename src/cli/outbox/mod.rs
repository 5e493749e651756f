//! `tidegate outbox`: what is owed to destinations, asked of the running node, and without one of its catalogue.

#[cfg(test)]
mod tests;
mod text;

#[cfg(test)]
pub(super) use tests::widest;
pub(super) use text::so_far;

use clap::{Args, Subcommand};

use super::Exit;
use super::catalogue::source::{self, Source};
use super::catalogue::warn_of_node;
use super::output::{self, show};
use super::reach::Reach;
use super::source::refuse;
use crate::admin::outbox::look;
use crate::admin::outbox::model::Outbox;
use crate::admin::outbox::search::{DEFAULT_LIMIT, MAX_LIMIT, OutboxOrder, OutboxSearch};

/// `tidegate outbox`
#[derive(Debug, Args)]
#[command(after_help = "\
Each instance that is received for a destination is owed to it until the destination has it. What it refuses is tried again, and after \
`attempts` or `retry_for` it is dead: it is kept, and an operator decides.

Times are UTC. If no node runs, the catalogue is read as it was left; changes need the node. Exit codes: 0 found or done, 1 there is none \
or the catalogue cannot be read, 2 usage or configuration error, 4 no node answered.

  tidegate outbox                                          the destinations
  tidegate outbox show --destination archive --state dead  what it did not take, and why
  tidegate outbox retry --destination archive --dead       try that again
  tidegate outbox drop --destination archive --before 2026-11-01
  tidegate outbox add --destination archive --study 1.2.3  deliver a study to one more destination, or again
  tidegate outbox pause --destination archive")]
pub(super) struct OutboxArgs {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: Option<OutboxCommand>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum OutboxCommand {
    /// List the destinations, with what they are owed
    List,
    /// Show deliveries that are owed
    Show {
        /// Only to this destination
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = ["waiting", "retrying", "sent", "dead"])]
        state: Option<String>,
        /// Only of this Study Instance UID
        #[arg(long, value_name = "UID")]
        study: Option<String>,
        /// Most deliveries
        #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Try failed deliveries again now
    Retry(ChoiceArgs),
    /// Forget deliveries: they are not owed any more
    Drop(ChoiceArgs),
    /// Deliver stored instances to a destination that has not had them; with --study or --instance, also again
    Add(ChoiceArgs),
    /// Begin nothing new, also after a restart
    Pause(DestinationArgs),
    /// End a pause
    Resume(DestinationArgs),
}

#[derive(Debug, Args)]
struct DestinationArgs {
    /// Name of the destination
    #[arg(long, value_name = "NAME")]
    destination: String,
}

#[derive(Debug, Args)]
struct ChoiceArgs {
    #[command(flatten)]
    of: DestinationArgs,
    /// Only those of this Study Instance UID
    #[arg(long, value_name = "UID")]
    study: Option<String>,
    /// Only those of this SOP Instance UID
    #[arg(long, value_name = "UID")]
    instance: Option<String>,
    /// Only those of instances received since: how long ago (2h), a day or a time (2026-11-29T10:00:00Z)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those of instances received before
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// Only dead ones
    #[arg(long)]
    dead: bool,
    /// All of them
    #[arg(long)]
    all: bool,
}

pub(super) fn outbox(args: OutboxArgs) -> Exit {
    let OutboxArgs { reach, command, json } = args;
    let done = match command {
        None | Some(OutboxCommand::List) => list(reach, json),
        Some(OutboxCommand::Show { destination, state, study, limit }) => {
            show_deliveries(reach, OutboxSearch { destination, state, study, ..OutboxSearch::default() }, limit, json)
        }
        Some(OutboxCommand::Retry(choice)) => order(reach, choice.order("retry"), json),
        Some(OutboxCommand::Drop(choice)) => order(reach, choice.order("drop"), json),
        Some(OutboxCommand::Add(choice)) => order(reach, choice.order("add"), json),
        Some(OutboxCommand::Pause(of)) => order(reach, of.order("pause"), json),
        Some(OutboxCommand::Resume(of)) => order(reach, of.order("resume"), json),
    };
    done.unwrap_or_else(|exit| exit)
}

impl DestinationArgs {
    fn order(self, action: &str) -> (String, OutboxOrder) {
        let action = action.to_owned();
        let order =
            OutboxOrder { action, study: None, instance: None, since: None, before: None, dead: false, all: false };
        (self.destination, order)
    }
}

impl ChoiceArgs {
    fn order(self, action: &str) -> (String, OutboxOrder) {
        let Self { of, study, instance, since, before, dead, all } = self;
        let (destination, order) = of.order(action);
        (destination, OutboxOrder { study, instance, since, before, dead, all, ..order })
    }
}

fn list(reach: Reach, json: bool) -> Result<Exit, Exit> {
    let mut source = source::of(reach)?;
    let found = source.ask(|node| node.destinations(), look::destinations)?;
    warn_of_node(&source);
    if found.destinations.is_empty() && !json {
        output::complain("there is no destination: add a table [[destination]] to the configuration");
        return Ok(Exit::Failed);
    }
    Ok(show(json, &found, text::destinations))
}

fn show_deliveries(reach: Reach, search: OutboxSearch, limit: u32, json: bool) -> Result<Exit, Exit> {
    let mut source = source::of(reach)?;
    let found = pages(&mut source, search, limit)?;
    warn_of_node(&source);
    if found.deliveries.is_empty() && !json {
        output::complain("nothing is owed");
        return Ok(Exit::Failed);
    }
    let printed = show(json, &found, text::deliveries);
    if found.next.is_some() && !json {
        output::complain(&format!("these are the first {limit}: --limit shows more"));
    }
    Ok(if found.deliveries.is_empty() { Exit::Failed } else { printed })
}

/// So many deliveries, page by page.
fn pages(source: &mut Source, mut search: OutboxSearch, limit: u32) -> Result<Outbox, Exit> {
    let mut all = Vec::new();
    loop {
        let have = u32::try_from(all.len()).unwrap_or(u32::MAX);
        search.limit = Some(limit.saturating_sub(have).clamp(1, MAX_LIMIT));
        let asked = search.read().map_err(|error| {
            output::complain(&error.to_string());
            Exit::Failed
        })?;
        let page = source.ask(|node| node.outbox(search.clone()), |reader| look::page(reader, &asked))?;
        all.extend(page.deliveries);
        search.after.clone_from(&page.next);
        if all.len() >= limit as usize || page.next.is_none() {
            return Ok(Outbox { deliveries: all, next: page.next });
        }
    }
}

fn order(reach: Reach, (destination, order): (String, OutboxOrder), json: bool) -> Result<Exit, Exit> {
    let is_pause = ["pause", "resume"].contains(&order.action.as_str());
    let action = order.action.clone();
    let changed = reach.client()?.order_deliveries(destination, order).map_err(|error| refuse(&error))?;
    if is_pause && !json {
        return Ok(output::print(&format!("{}: {action}d\n", changed.destination)));
    }
    Ok(show(json, &changed, text::changed))
}
