//! `tidegate top`: a live view of the node, a frame a second. On a terminal it takes keys; elsewhere, or with `--json`, it is a text each
//! second.

mod draw;
mod view;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::ask_error::AskError;
use super::client::Client;
use super::reach::Reach;
use super::{Exit, look, output};
use crate::admin::wire::line;
use view::{Doing, Look, PAST_SECONDS, View};

/// Interval of the frames.
const PERIOD: Duration = Duration::from_secs(1);
/// The longest delay of a key's effect.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// `tidegate top`
#[derive(Debug, Args)]
#[command(after_help = "Keys: q quits, up and down select an association, a aborts it, s sorts by the next column.")]
pub(super) struct TopArgs {
    #[command(flatten)]
    reach: Reach,
    /// Print one line of JSON per second instead of a view
    #[arg(long)]
    json: bool,
    /// Stop after N frames
    #[arg(long, value_name = "N")]
    frames: Option<u64>,
}

pub(super) fn run(args: TopArgs) -> Exit {
    let client = match args.reach.client() {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let shown = if args.json || !io::stdout().is_terminal() {
        print(&client, args.json, args.frames)
    } else {
        watch(&client, args.frames)
    };
    shown.unwrap_or_else(|error| {
        output::complain(&error.to_string());
        Exit::from(&error)
    })
}

/// Prints a text each second until its reader is gone.
fn print(client: &Client, json: bool, frames: Option<u64>) -> Result<Exit, AskError> {
    let mut shown = 0;
    loop {
        let look = Look::at(client)?;
        let text = if json {
            String::from_utf8_lossy(&line(&look).map_err(io::Error::from)?).into_owned()
        } else {
            look::status_text(&look.status, output::width()) + "\n"
        };
        if let Err(exit) = output::print_next(&text) {
            return Ok(exit);
        }
        shown += 1;
        if frames.is_some_and(|frames| shown >= frames) {
            return Ok(Exit::Done);
        }
        thread::sleep(PERIOD);
    }
}

/// Runs the view until a key ends it. Another thread asks the node, so keys work while it does not answer.
fn watch(client: &Client, frames: Option<u64>) -> Result<Exit, AskError> {
    let first = Look::at(client)?;
    let past = client.history(PAST_SECONDS)?;
    let mut view = View::new(past, first);
    let looks = looking(client.clone());
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &mut view, client, &looks, frames);
    ratatui::restore();
    shown.map(|()| Exit::Done)
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    view: &mut View,
    client: &Client,
    looks: &Receiver<Result<Look, AskError>>,
    frames: Option<u64>,
) -> Result<(), AskError> {
    let mut shown = 0;
    loop {
        terminal.draw(|frame| draw::draw(frame, view))?;
        let drawn = Instant::now();
        while drawn.elapsed() < PERIOD {
            if event::poll(KEY_WAIT)?
                && let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                match view.press(key) {
                    Doing::Leave => return Ok(()),
                    Doing::Abort(id) => view.note(match client.abort(id) {
                        Ok(()) => format!("association {id} is being aborted"),
                        Err(error) => error.to_string(),
                    }),
                    Doing::Nothing => {}
                }
                break;
            }
            match looks.recv_timeout(Duration::ZERO) {
                Ok(Ok(look)) => {
                    view.take(look);
                    shown += 1;
                    break;
                }
                Ok(Err(error)) => view.note(error.to_string()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        if frames.is_some_and(|frames| shown >= frames) {
            return Ok(());
        }
    }
}

/// Asks the node once a second until the receiver is gone.
fn looking(client: Client) -> Receiver<Result<Look, AskError>> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        loop {
            thread::sleep(PERIOD);
            if let Err(TrySendError::Disconnected(_)) = sender.try_send(Look::at(&client)) {
                return;
            }
        }
    });
    receiver
}
