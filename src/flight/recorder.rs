//! The thread that writes flight records. It waits for alarms only: it uses neither the storage nor a lock that a dataset waits for.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tidegate_actors::Observer;
use tidegate_actors::gauges::alarm::Alarm;

use super::directory::{RecordDirectory, RecordPath};
use super::messages::Messages;
use super::record::Record;

/// An automatic alarm this soon after a record adds little to it: a disk that hangs raises one for each writer.
const PAUSE: Duration = Duration::from_secs(60);
/// The longest single wait for an alarm.
const WAIT: Duration = Duration::from_secs(3600);

/// Starts the thread, for the node of `observer` with this storage root. False: the directory cannot be used, or the thread cannot be
/// started; the node then serves without flight records.
pub(crate) fn start(path: &RecordPath, root: &Path, messages: Messages, observer: Observer) -> bool {
    let directory = match path.open(root) {
        Ok(directory) => directory,
        Err(error) => {
            let path = match path {
                RecordPath::At(path) => path.display().to_string(),
                RecordPath::Auto => "auto".to_owned(),
            };
            tracing::warn!(path, %error, "flight records disabled: set log.flight_records to a directory of the node's user");
            return false;
        }
    };
    tracing::info!(path = %directory.path().display(), "flight records enabled");
    let recorder = Recorder { directory, messages, observer, last: None };
    // Its stack is allocated before memory is short.
    let started = thread::Builder::new().name("flight-record".to_owned()).spawn(move || recorder.run());
    if let Err(error) = &started {
        tracing::warn!(%error, "flight records disabled: cannot start their thread");
    }
    started.is_ok()
}

struct Recorder {
    directory: RecordDirectory,
    messages: Messages,
    observer: Observer,
    last: Option<Instant>,
}

impl Recorder {
    fn run(mut self) {
        loop {
            if let Some(alarm) = self.observer.wait_for_alarm(WAIT) {
                self.heard(&alarm);
                self.observer.alarm_handled();
            }
        }
    }

    fn heard(&mut self, alarm: &Alarm) {
        if comes_of_itself(alarm) && self.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        let written = Record::of(alarm, &self.observer, self.messages.list())
            .map_err(io::Error::other)
            .and_then(|record| self.directory.write(&name(alarm), |file| write(&record, file)));
        self.last = Some(Instant::now());
        match written {
            Ok((path, bytes)) => {
                tracing::warn!(path = %path.display(), bytes, reason = %alarm, "flight record written");
            }
            Err(error) => tracing::error!(%error, reason = %alarm, "cannot write the flight record"),
        }
    }
}

fn comes_of_itself(alarm: &Alarm) -> bool {
    match alarm {
        Alarm::Pressure | Alarm::Hang { .. } => true,
        Alarm::GaveUp { .. } | Alarm::Asked => false,
    }
}

/// Names sort by time.
fn name(alarm: &Alarm) -> String {
    let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string().replace([':', '.'], "");
    format!("{at}-{}-{}", std::process::id(), alarm.name())
}

fn write(record: &Record, file: &mut BufWriter<std::fs::File>) -> io::Result<()> {
    serde_json::to_writer(&mut *file, record)?;
    file.write_all(b"\n")
}
