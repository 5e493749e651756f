//! One that takes part: started, loaded by another process of this program, watched, and ended.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::workload::{Load, Workload};
use super::{Figures, RatioError, Tls, visits};
use crate::commit::Mode;
use crate::drive::DriveError;
use crate::result::{Sampler, Usage};
use crate::target::{ProcessSampler, Receiver, Running};
use crate::tls::TlsClient;
use crate::workdir::Workdir;

/// Between two looks at the memory of a receiver.
const LOOK: Duration = Duration::from_millis(20);
/// Wait for any one answer: one of several GiB takes its time.
const TIMEOUT_S: &str = "300";

/// A receiver, or the limit in one of its modes.
#[derive(Debug)]
pub(crate) enum Contender {
    Receiver(Box<Receiver>),
    Limit(Mode),
}

impl Contender {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Receiver(receiver) => receiver.name.clone(),
            Self::Limit(mode) => format!("limit: {mode:?}"),
        }
    }

    /// The limit knows neither associations nor rests.
    pub(crate) fn takes(&self, workload: Workload) -> bool {
        matches!(self, Self::Receiver(_)) || workload.load(1.0).is_some()
    }

    pub(crate) fn measure(
        &self,
        workload: Workload,
        scale: f64,
        tls: Option<&Tls>,
        workdir: &Workdir,
    ) -> Result<Figures, RatioError> {
        match (self, workload.load(scale)) {
            (Self::Receiver(receiver), load) => {
                let running = Running::start(receiver, &workdir.storage(), &workdir.work())?;
                let address = tls.map_or_else(|| running.address(), Tls::address);
                let client = tls.map(|_| TlsClient::trusting(&address)).transpose()?;
                let figures = match (load, workload) {
                    (Some(load), _) => {
                        let mut watched = ProcessSampler::new(running.pid())?;
                        let send = sender(&address, load, tls, &["--called-ae", &receiver.called_ae]);
                        self.sent(send, load, Some(&mut watched), workdir)?
                    }
                    (None, Workload::Idle) => {
                        visits::idle(running.pid(), &address, client.as_ref(), &receiver.called_ae)
                            .map_err(|error| RatioError::Visit(self.name(), error))?
                    }
                    (None, _) => visits::churn(&address, client.as_ref(), &receiver.called_ae)
                        .map_err(|error| RatioError::Visit(self.name(), error))?,
                };
                running.stop()?;
                Ok(figures)
            }
            (Self::Limit(mode), Some(load)) => {
                let mut limit = Limit::start(*mode, load, tls, workdir)?;
                let send = sender(&limit.address, load, tls, &["--raw"]);
                let figures = self.sent(send, load, None, workdir)?;
                let usage = limit.usage().map_err(RatioError::Myself)?;
                Ok(figures.with_usage(usage, load))
            }
            (Self::Limit(_), None) => Ok(Figures::default()),
        }
    }

    /// Has `send` do its work, and looks at the receiver meanwhile.
    fn sent(
        &self,
        mut send: Command,
        load: Load,
        mut watched: Option<&mut ProcessSampler>,
        workdir: &Workdir,
    ) -> Result<Figures, RatioError> {
        let mut sending = send.stdout(Stdio::piped()).spawn().map_err(RatioError::Myself)?;
        while sending.try_wait().map_err(RatioError::Myself)?.is_none() {
            if let Some(watched) = &mut watched {
                let _ = watched.sample();
            }
            thread::sleep(LOOK);
        }
        let usage = watched.and_then(|watched| watched.sample().and_then(|_| watched.usage()));
        let begun = Instant::now();
        let disk = File::open(workdir.storage()).map_err(DriveError::file(&workdir.storage()))?;
        rustix::fs::syncfs(disk).map_err(|error| RatioError::Myself(error.into()))?;
        let sync_s = begun.elapsed().as_secs_f64();
        let said = output(&mut sending).map_err(RatioError::Myself)?;
        let figure = |key: &str| said.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        if figure("stored") != load.instances as f64 {
            return Err(RatioError::NotStored(self.name()));
        }
        let elapsed_s = figure("elapsed_s");
        let figures = Figures {
            per_s: figure("per_s"),
            synced_per_s: load.instances as f64 / (elapsed_s + sync_s),
            p99_ms: figure("latency_p99_ms"),
            ..Figures::default()
        };
        Ok(usage.map_or(figures, |usage| figures.with_usage(usage, load)))
    }
}

impl Figures {
    fn with_usage(self, usage: Usage, load: Load) -> Self {
        let gb = (load.instances * load.bytes) as f64 / 1e9;
        Self { cpu_s_per_gb: usage.cpu_s() / gb, peak_rss_bytes: usage.peak_rss_bytes as f64, ..self }
    }
}

fn myself() -> Command {
    Command::new(env::current_exe().unwrap_or_else(|_| "tidegate-loadtest".into()))
}

fn sender(address: &str, load: Load, tls: Option<&Tls>, more: &[&str]) -> Command {
    let mut command = myself();
    command
        .args(["store", "--json", "--timeout-s", TIMEOUT_S, "--target", address])
        .args(["--instances", &load.instances.to_string(), "--associations", &load.associations.to_string()])
        .args(["--size", &format!("{} B", load.bytes)])
        .args(tls.map(|_| "--tls"))
        .args(more);
    command
}

/// The last line of what a process has printed.
fn output(process: &mut Child) -> io::Result<Value> {
    let mut text = String::new();
    if let Some(stdout) = &mut process.stdout {
        stdout.read_to_string(&mut text)?;
    }
    process.wait()?;
    serde_json::from_str(text.lines().last().unwrap_or_default()).map_err(io::Error::other)
}

/// A running limit; killed when dropped.
struct Limit {
    process: Child,
    address: String,
}

impl Limit {
    fn start(mode: Mode, load: Load, tls: Option<&Tls>, workdir: &Workdir) -> Result<Self, RatioError> {
        let storage = workdir.storage();
        fs::create_dir_all(&storage).map_err(DriveError::file(&storage))?;
        let mode = clap::ValueEnum::to_possible_value(&mode).map(|value| value.get_name().to_owned());
        let process = myself()
            .args(["limit", "--listen", "127.0.0.1:0", "--json", "--mode", &mode.unwrap_or_default()])
            .args(["--connections", &load.associations.to_string(), "--dir"])
            .arg(&storage)
            .args(tls.iter().flat_map(|tls| [Path::new("--tls"), &tls.certificate, &tls.key]))
            .stdout(Stdio::piped())
            .spawn()
            .map_err(RatioError::Myself)?;
        let mut limit = Self { process, address: String::new() };
        let line = limit.line().map_err(RatioError::Myself)?;
        limit.address = line.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(limit)
    }

    /// The first line that it prints; not a byte more, because its report comes behind it.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while let Some(stdout) = &mut self.process.stdout
            && stdout.read(&mut byte)? > 0
            && byte != *b"\n"
        {
            line.extend_from_slice(&byte);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// What it has used, which it says when its last connection has ended.
    fn usage(&mut self) -> io::Result<Usage> {
        let said = output(&mut self.process)?;
        let figure = |key: &str| said.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        Ok(Usage {
            user_s: figure("cpu_user_s"),
            system_s: figure("cpu_system_s"),
            peak_rss_bytes: figure("peak_rss_bytes") as u64,
        })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
