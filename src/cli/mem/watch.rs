//! `mem watch`: a live view of one node, a frame a second.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tidegate_memory::MemorySnapshot;
use tokio::time::{MissedTickBehavior, interval};

use super::top::{largest, oldest_ms};
use crate::admin::wire::line;
use crate::cli::ask_error::AskError;
use crate::cli::client::Client;
use crate::cli::signals::Signals;
use crate::cli::text::{age, count, cut, safe, size};
use crate::cli::{Exit, output};

/// Interval of the frames.
const PERIOD: Duration = Duration::from_secs(1);
/// The size of a frame if no terminal reports one.
const PLAIN: Extent = Extent { columns: 100, lines: 30 };
/// Enters the alternate screen without a cursor, and leaves it: the earlier content of the terminal returns.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Initial capacity of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    columns: usize,
    lines: usize,
}

/// Shows frames until a signal, the end of stdout, or `frames` of them.
pub(super) fn run(client: &Client, frames: Option<u64>, json: bool) -> Exit {
    let ended = actix_rt::System::new().block_on(show(client, frames, json));
    match ended {
        Ok(exit) => exit,
        Err(error) => {
            output::complain(&error.to_string());
            Exit::from(&error)
        }
    }
}

/// The terminal, restored by the drop.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        write_out(ENTER).map(|()| Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write_out(LEAVE);
    }
}

async fn show(client: &Client, frames: Option<u64>, json: bool) -> Result<Exit, AskError> {
    // From here on a signal ends the view through this loop, which restores the terminal.
    let mut signals = Signals::new()?;
    let on_terminal = !json && io::stdout().is_terminal();
    let mut screen = None;
    let mut clock = interval(PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = 0;
    while frames.is_none_or(|frames| shown < frames) {
        let next = async {
            clock.tick().await;
            let client = client.clone();
            let asked = tokio::task::spawn_blocking(move || client.memory()).await;
            asked.unwrap_or_else(|error| Err(io::Error::other(error).into()))
        };
        let Some(snapshot) = unless(next, signals.next_stop()).await else { break };
        let snapshot = snapshot?;
        if on_terminal && screen.is_none() {
            screen = Some(Screen::enter()?);
        }
        let text = if json {
            String::from_utf8_lossy(&line(&snapshot).map_err(io::Error::from)?).into_owned()
        } else if on_terminal {
            on_screen(&frame(&snapshot, extent()))
        } else {
            format!("{}\n", frame(&snapshot, PLAIN))
        };
        if write_out(&text).is_err() {
            break; // the reader has what it wanted
        }
        shown += 1;
    }
    Ok(Exit::Done)
}

/// The result of `future`, unless `signal` comes first.
async fn unless<T>(future: impl Future<Output = T>, signal: impl Future) -> Option<T> {
    tokio::select! {
        given = future => Some(given),
        _ = signal => None,
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn extent() -> Extent {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Extent { columns: usize::from(size.ws_col), lines: usize::from(size.ws_row) }
        }
        _ => PLAIN,
    }
}

/// The frame, drawn over the previous one without flicker: each line clears its rest, and the last one everything below it.
fn on_screen(frame: &str) -> String {
    format!("\x1b[H{}\x1b[J", frame.trim_end().replace('\n', "\x1b[K\r\n") + "\x1b[K")
}

/// One frame: the sums, a bar for each stage, and as many holders as fit.
fn frame(snapshot: &MemorySnapshot, extent: Extent) -> String {
    let Extent { columns, lines } = extent;
    let budget = snapshot.budget_bytes;
    let resident = snapshot.allocator.resident;
    let scale = budget.max(resident).max(snapshot.held_bytes);
    let bar = |bytes| bar(bytes, scale, columns.saturating_sub(60).clamp(10, 60));
    let mut out = vec![
        format!("tidegate memory    pressure {}    budget {}", snapshot.pressure.name(), size(budget)),
        String::new(),
        format!(
            "{:<12}{} {:>10}  highest {}",
            "held",
            bar(snapshot.held_bytes),
            size(snapshot.held_bytes),
            size(snapshot.highest_bytes)
        ),
        format!(
            "{:<12}{} {:>10}  allocated {}, unattributed {}",
            "resident",
            bar(resident),
            size(resident),
            size(snapshot.allocator.allocated),
            size(snapshot.unattributed_bytes)
        ),
        String::new(),
    ];
    for stage in &snapshot.stages {
        let leases = count(stage.leases, "lease");
        let oldest = if stage.leases == 0 { String::new() } else { format!(", oldest {}", age(stage.oldest_ms)) };
        out.push(format!("{:<12}{} {:>10}  {leases}{oldest}", stage.stage.name(), bar(stage.bytes), size(stage.bytes)));
    }
    let holders = largest(snapshot);
    out.push(String::new());
    out.push(format!("{:>10}  {:>6}  {:>8}  {}", "BYTES", "LEASES", "OLDEST", "HOLDER"));
    let room = lines.saturating_sub(out.len() + 1);
    for holder in holders.iter().take(room) {
        out.push(format!(
            "{:>10}  {:>6}  {:>8}  {}",
            size(holder.bytes),
            holder.leases.len(),
            age(oldest_ms(holder)),
            safe(&holder.label)
        ));
    }
    let mut text = String::new();
    for line in out.iter().take(lines) {
        text.push_str(cut(line, columns).trim_end());
        text.push('\n');
    }
    text
}

/// `bytes` of `scale` as a bar of `width` columns between its brackets.
fn bar(bytes: u64, scale: u64, width: usize) -> String {
    let share = u128::from(bytes) * width as u128;
    // A value above 0 is never shown as an empty bar.
    let filled = usize::try_from(share.div_ceil(u128::from(scale.max(1)))).unwrap_or(width).min(width);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mem::sample;

    #[test]
    fn a_frame_shows_bars_by_stage_and_the_largest_holders() {
        let expected = "\
tidegate memory    pressure pause_accept    budget 512.0 MiB

held        [#...................]   12.2 MiB  highest 40.0 MiB
resident    [##..................]   31.5 MiB  allocated 20.0 MiB, unattributed…

floor       [#...................]  128.0 KiB  2 leases, oldest 1h 2m
tls         [....................]        0 B  0 leases
negotiating [....................]        0 B  0 leases
receiving   [#...................]    8.0 MiB  1 lease, oldest 12s
queued      [#...................]    1.1 MiB  2 leases, oldest 3.0s
writing     [#...................]    3.0 MiB  2 leases, oldest 0.9s
spooling    [....................]        0 B  0 leases
catalogue   [....................]        0 B  0 leases
commitment  [....................]        0 B  0 leases
delivery    [....................]        0 B  0 leases
admin       [....................]        0 B  0 leases

     BYTES  LEASES    OLDEST  HOLDER
   8.1 MiB       2     1h 2m  \"CT1\" from 10.0.0.7:50112
   4.2 MiB       5    1m 40s  \"MR\\u{1b}[2J\" from 10.0.0.8:1
";
        assert_eq!(frame(&sample::snapshot(), Extent { columns: 80, lines: 24 }), expected);
    }

    #[test]
    fn a_frame_never_leaves_its_room() {
        for (columns, lines) in [(0, 0), (1, 1), (20, 5), (300, 16)] {
            let text = frame(&sample::snapshot(), Extent { columns, lines });
            assert!(text.lines().count() <= lines, "{lines} lines");
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns} columns");
        }
    }

    #[test]
    fn bars_are_full_at_the_scale_and_empty_only_at_nothing() {
        for (bytes, shown) in [(0, "[....]"), (1, "[#...]"), (50, "[##..]"), (100, "[####]"), (u64::MAX, "[####]")] {
            assert_eq!(bar(bytes, 100, 4), shown);
        }
        assert_eq!(bar(0, 0, 2), "[..]");
    }

    #[test]
    fn a_screen_is_overwritten_line_by_line() {
        assert_eq!(on_screen("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }
}
