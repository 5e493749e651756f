//! `tidegate drain` and `tidegate resume`: a node leaves its load balancer, and comes back.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::Exit;
use super::ask_error::AskError;
use super::client::Client;
use super::look::{LookArgs, look};
use super::output::show;
use super::text::count;
use crate::admin::model::{Drain, SERVING, Status};

/// Pause between two looks at the open associations.
const LOOK: Duration = Duration::from_millis(500);

/// `tidegate drain`
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Wait until no association is open, so that the node can be stopped: for as long as that takes, or for the time of --timeout. Exits
    /// with 1 if some are open then
    #[arg(long)]
    wait: bool,
}

pub(super) fn drain(args: DrainArgs) -> Exit {
    let DrainArgs { look: LookArgs { reach, json }, wait } = args;
    let patience = reach.asked_timeout();
    look(reach, |client| {
        let mut drain = client.drain()?;
        if wait {
            wait_until_idle(client, &mut drain, patience)?;
        }
        let printed = show(json, &drain, |drain, _| drained_text(drain));
        Ok(if wait && (drain.associations > 0 || !drain.draining) { Exit::Failed } else { printed })
    })
}

pub(super) fn resume(args: LookArgs) -> Exit {
    look(args.reach, |client| {
        Ok(show(args.json, &client.resume()?, |_, _| "new associations are accepted\n".to_owned()))
    })
}

/// Looks until no association is open, the drain is ended, or `patience` is over.
fn wait_until_idle(client: &Client, drain: &mut Drain, patience: Option<Duration>) -> Result<(), AskError> {
    let began = Instant::now();
    while drain.draining && drain.associations > 0 && patience.is_none_or(|patience| began.elapsed() < patience) {
        thread::sleep(LOOK);
        let Status { phase, associations, .. } = client.status()?;
        *drain = Drain { draining: phase != SERVING, associations };
    }
    Ok(())
}

fn drained_text(drain: &Drain) -> String {
    match drain.associations {
        _ if !drain.draining => "the drain was ended meanwhile: new associations are accepted\n".to_owned(),
        0 => "drained: no association is open, the node can be stopped\n".to_owned(),
        _ => format!("draining: new associations are rejected, {}\n", still_open(drain)),
    }
}

fn still_open(drain: &Drain) -> String {
    let verb = if drain.associations == 1 { "is" } else { "are" };
    format!("{} {verb} still open", count(drain.associations, "association"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_says_whether_the_node_can_be_stopped() {
        let text = |associations| drained_text(&Drain { draining: true, associations });
        assert_eq!(text(0), "drained: no association is open, the node can be stopped\n");
        assert_eq!(text(1), "draining: new associations are rejected, 1 association is still open\n");
        assert_eq!(text(2), "draining: new associations are rejected, 2 associations are still open\n");
    }
}
