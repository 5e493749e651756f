//! The processes and directories that the program would leave behind if a signal ended it.
//!
//! A receiver runs in a process group of its own, so that a terminal's Ctrl-C does not reach it. Destructors do not run when a signal ends
//! a program. So a thread waits for the signals, kills the receivers, removes their directories, and lets the signal do what it would have
//! done.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, signal_name};

/// A process that was killed may finish a system call, and make one more file.
const REMOVALS: usize = 50;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(20);

static LEFT: Mutex<Left> = Mutex::new(Left { groups: Vec::new(), directories: Vec::new() });

/// The process groups and directories of this program at present.
pub(crate) struct Left {
    groups: Vec<u32>,
    directories: Vec<PathBuf>,
}

impl Left {
    pub(crate) fn add_group(&mut self, leader: u32) {
        self.groups.push(leader);
    }

    pub(crate) fn forget_group(&mut self, leader: u32) {
        self.groups.retain(|group| *group != leader);
    }

    pub(crate) fn add_directory(&mut self, path: &Path) {
        self.directories.push(path.to_owned());
    }

    pub(crate) fn forget_directory(&mut self, path: &Path) {
        self.directories.retain(|directory| directory != path);
    }
}

/// Locks the list. A receiver is started, and a directory made, under the lock: no signal comes between that and its entry.
pub(crate) fn left() -> MutexGuard<'static, Left> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread that removes what is listed when SIGINT, SIGTERM or SIGHUP ends the program.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn remove_on_signal() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // The lock is kept until the end: no further receiver starts.
            let left = left();
            remove(&left);
            let name = signal_name(signal).unwrap_or("a signal");
            eprintln!("{name}: ended; the receivers that were started are stopped and their directories removed");
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

fn remove(left: &Left) {
    for group in left.groups.iter().filter_map(|leader| Pid::from_raw(i32::try_from(*leader).ok()?)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    for directory in &left.directories {
        for _ in 0..REMOVALS {
            if fs::remove_dir_all(directory).is_ok() || !directory.exists() {
                break;
            }
            thread::sleep(BETWEEN_REMOVALS);
        }
    }
}
