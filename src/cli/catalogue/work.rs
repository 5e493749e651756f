//! Work on the whole catalogue: by the running node, or without one under the lock of the storage root.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidegate_actors::WorkState;
use tidegate_actors::catalogue::offline;
use tidegate_catalogue::catch_up::Progress;

use crate::admin::catalogue::model::WorkProgress;
use crate::admin::catalogue::state::CatalogueWork;
use crate::cli::ask_error::AskError;
use crate::cli::client::Client;
use crate::cli::reach::Reach;
use crate::cli::source::refuse;
use crate::cli::text::count;
use crate::cli::{Exit, output};

/// Between two looks at the work of a node.
const LOOK: Duration = Duration::from_millis(200);
/// A node whose catalogue cannot be written may need so long to begin.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Does the work, and waits for its end; or the exit code, after the error is printed.
pub(super) fn done(reach: Reach, work: CatalogueWork) -> Result<WorkProgress, Exit> {
    let settings = reach.is_of_a_root().then(|| reach.settings()).transpose()?;
    let client = reach.client()?;
    match (client.start_catalogue(work), settings) {
        (Ok(asked), _) => by_node(&client, work, asked.number),
        (Err(AskError::NoNode(_)), Some(settings)) => without_node(settings, work),
        (Err(error), _) => Err(refuse(&error)),
    }
}

/// Looks until the node has done the work with that number.
fn by_node(client: &Client, work: CatalogueWork, number: u64) -> Result<WorkProgress, Exit> {
    let mut seen: Option<WorkProgress> = None;
    let (line, began) = (ProgressLine::new(), Instant::now());
    loop {
        let state = client.catalogue().map_err(|error| refuse(&error))?;
        let last_check = state.last_check.filter(|check| work == CatalogueWork::Check && check.number >= number);
        if let Some(done) = last_check {
            return Ok(done);
        }
        if let (Some(remedy), Some(reason)) = (&state.remedy, &state.reason) {
            output::complain(&format!("the catalogue is unavailable: {reason}; {remedy}"));
            return Err(Exit::Failed);
        }
        let is_idle = state.work.as_ref().is_none_or(|work| !work.is_running);
        let has_come = |of: &WorkProgress| of.number >= number && work != CatalogueWork::Check;
        match (state.work, seen.take()) {
            // Another has begun since: the last look at it was near its end.
            (Some(other), Some(ours)) if other.number != ours.number && has_come(&ours) => {
                return Ok(WorkProgress { is_running: false, ..ours });
            }
            (Some(ours), _) if has_come(&ours) && !ours.is_running => return Ok(ours),
            (Some(ours), _) if ours.number >= number => seen = Some(ours),
            (_, earlier) => seen = earlier,
        }
        match (&seen, state.reason) {
            (Some(ours), _) => line.tell(ours.files, ours.files_per_s),
            // The node tries again and again to write it, and does the work when it can.
            (None, Some(reason)) if is_idle && began.elapsed() > LONGEST_WAIT => {
                output::complain(&format!(
                    "the catalogue is behind: {reason}; it is compared with the disk when that is mended"
                ));
                return Err(Exit::Failed);
            }
            (None, _) => {}
        }
        sleep(LOOK);
    }
}

fn without_node(settings: tidegate_actors::NodeSettings, work: CatalogueWork) -> Result<WorkProgress, Exit> {
    let failed = |why: &str| {
        output::complain(why);
        Exit::Failed
    };
    let root = settings.storage.root.clone();
    let Some(catalogue) = settings.catalogue else {
        return Err(failed("the catalogue is off: set [catalogue] path = \"auto\""));
    };
    if !root.join(".tidegate").exists() {
        return Err(failed(&format!("{}: no node has ever stored here", root.display())));
    }
    if work == CatalogueWork::Check && !catalogue.path.exists() {
        let path = catalogue.path.display();
        return Err(failed(&format!("there is no catalogue {path}: `tidegate catalogue rebuild` makes it")));
    }
    output::complain(&format!("no node is running: working on {}", catalogue.path.display()));
    let mut state = WorkState {
        number: 0,
        work: work.request().work(),
        is_running: false,
        began: SystemTime::now(),
        took: Duration::ZERO,
        progress: Progress::default(),
        named: Vec::new(),
        problems: Vec::new(),
    };
    let (line, began, live) = (ProgressLine::new(), Instant::now(), Arc::new(settings.live));
    let outcome = offline::work(settings.storage, &catalogue, &live, work.request(), |progress| {
        (state.took, state.progress) = (began.elapsed(), *progress);
        line.tell(progress.files, state.files_per_s() as u64);
    });
    drop(line);
    let outcome = outcome.map_err(|error| failed(&output::one_line(&error)))?;
    (state.took, state.progress, state.named) = (began.elapsed(), outcome.progress, outcome.named);
    state.problems = outcome.problems.iter().map(ToString::to_string).collect();
    Ok(state.into())
}

/// A line on stderr, if that is a terminal, that is wiped at the end.
pub(super) struct ProgressLine(ProgressBar);

impl ProgressLine {
    pub(super) fn new() -> Self {
        let is_seen = io::stderr().is_terminal();
        let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}, {elapsed} elapsed") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn tell(&self, files: u64, files_per_s: u64) {
        self.say(format!("{} ({files_per_s}/s)", count(files, "file")));
    }

    pub(super) fn say(&self, text: String) {
        self.0.set_message(text);
    }

    /// Prints a line above it.
    pub(super) fn print(&self, line: &str) -> Result<(), Exit> {
        self.0.suspend(|| output::print_next(line))
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
