//! `tidegate commitments`: the requests of storage commitment, asked of the running node, and without one of their file.

mod source;
#[cfg(test)]
mod tests;
mod text;

#[cfg(test)]
pub(super) use tests::widest;

use std::time::Duration;

use clap::{Args, Subcommand};

use self::source::Source;
use super::Exit;
use super::ask_error::AskError;
use super::output::{self, show};
use super::reach::Reach;
use crate::admin::commitment::look;
use crate::admin::commitment::model::Commitments;
use crate::admin::commitment::search::{CommitmentSearch, DEFAULT_LIMIT, MAX_LIMIT};

/// A report that is retried has its outcome by then, unless the peer is slow.
const OUTCOME_PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// `tidegate commitments`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
A request names the instances that a modality would like to delete; its report says which of them are stored. A pending one is reported as \
soon as its modality can be reached, and given up after commitment.retry_for. The column COMMITTED has the instances that are stored.

Times are UTC. If no node runs, the requests are read as they were left; a retry needs the node. Exit codes: 0 found, 1 there is none or \
the requests cannot be read, 2 usage or configuration error, 4 no node answered.

  tidegate commitments                      the last 50
  tidegate commitments --given-up           those whose report was given up
  tidegate commitments --calling CT1        those of a modality
  tidegate commitments show 1764444801234   one request, with what is not committed and why
  tidegate commitments retry 1764444801234  report it now, whatever became of it before")]
pub(super) struct CommitmentsArgs {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: Option<CommitmentsCommand>,
    /// Only those whose report has not been taken yet
    #[arg(long, conflicts_with = "given_up")]
    pending: bool,
    /// Only those whose report was given up
    #[arg(long, visible_alias = "failed")]
    given_up: bool,
    /// Only those of this AE title
    #[arg(long, value_name = "AET")]
    calling: Option<String>,
    /// Most requests, the newest first
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum CommitmentsCommand {
    /// Show a request and its instances
    Show {
        /// Number of the request
        #[arg(value_name = "ID")]
        id: i64,
    },
    /// Report a request now, and for commitment.retry_for again
    Retry {
        /// Number of the request
        #[arg(value_name = "ID")]
        id: i64,
    },
}

pub(super) fn commitments(args: CommitmentsArgs) -> Exit {
    let CommitmentsArgs { reach, command, pending, given_up, calling, limit, json } = args;
    let done = match command {
        None => {
            let state = if pending { Some("pending") } else { given_up.then_some(text::GIVEN_UP) };
            let state = state.map(str::to_owned);
            list(reach, CommitmentSearch { state, calling, ..CommitmentSearch::default() }, limit, json)
        }
        Some(CommitmentsCommand::Show { id }) => one(reach, id, json),
        Some(CommitmentsCommand::Retry { id }) => retry(reach, id, json),
    };
    done.unwrap_or_else(|exit| exit)
}

fn list(reach: Reach, search: CommitmentSearch, limit: u32, json: bool) -> Result<Exit, Exit> {
    let none = match search.state.as_deref() {
        Some("pending") => "no report waits",
        Some(_) => "no report was given up",
        None => "there is no such request",
    };
    let found = pages(&mut Source::of(reach)?, search, limit)?;
    if found.commitments.is_empty() && !json {
        output::complain(none);
        return Ok(Exit::Failed);
    }
    let printed = show(json, &found, text::commitments);
    if found.next.is_some() && !json {
        output::complain(&format!("these are the newest {limit}: --limit shows more"));
    }
    Ok(if found.commitments.is_empty() { Exit::Failed } else { printed })
}

/// So many requests, page by page.
fn pages(source: &mut Source, mut search: CommitmentSearch, limit: u32) -> Result<Commitments, Exit> {
    let mut all = Vec::new();
    loop {
        let have = u32::try_from(all.len()).unwrap_or(u32::MAX);
        search.limit = Some(limit.saturating_sub(have).clamp(1, MAX_LIMIT));
        let page = source.ask(|node| node.commitments(search.clone()), |reader| look::page(reader, &search))?;
        all.extend(page.commitments);
        search.after = page.next;
        if all.len() >= limit as usize || page.next.is_none() {
            return Ok(Commitments { commitments: all, next: page.next });
        }
    }
}

fn one(reach: Reach, id: i64, json: bool) -> Result<Exit, Exit> {
    let found = Source::of(reach)?.ask(|node| node.commitment(id), |reader| look::one(reader, id))?;
    Ok(match found {
        Some(found) => show(json, &found, text::commitment),
        None => unknown(id),
    })
}

fn retry(reach: Reach, id: i64, json: bool) -> Result<Exit, Exit> {
    let client = reach.client()?;
    let failed = |error: AskError| source::refuse(&error);
    let mut found = client.retry_commitment(id).map_err(failed)?;
    for pause in OUTCOME_PAUSES {
        if found.as_ref().is_none_or(|found| found.commitment.ended.is_some() || found.commitment.attempts > 0) {
            break;
        }
        std::thread::sleep(pause);
        found = client.commitment(id).map_err(failed)?;
    }
    Ok(match found {
        Some(found) => show(json, &found, text::commitment),
        None => unknown(id),
    })
}

fn unknown(id: i64) -> Exit {
    output::complain(&format!("there is no request {id}: `tidegate commitments` lists them"));
    Exit::Failed
}
