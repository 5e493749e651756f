//! A receiver that the harness runs itself.

use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::error::TargetError;
use super::port::free_port;
use super::process::ProcessSampler;
use super::spec::{Receiver, StopSignal};
use super::tidegate::TidegateSampler;
use crate::association::Association;
use crate::left_behind::left;
use crate::pdu::{AssociateRequest, PresentationContext};
use crate::result::{Sampler, TargetKind, TargetSample, Usage};
use crate::scenario::TlsSettings;
use crate::tls::TlsClient;
use crate::wire::Wire;

/// The abstract syntax that is proposed to see whether it takes associations; every storage receiver knows it.
const CT_IMAGE_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.2";
const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
/// Between two looks whether it is ready, or has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Lines of its output that are shown when it fails.
const LAST_LINES: usize = 12;

/// Whom a load is put on.
pub(crate) struct Aim {
    pub(crate) address: String,
    pub(crate) called_ae: Option<String>,
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) sampler: Option<Box<dyn Sampler>>,
}

/// A running receiver with its whole process group. Dropped, it is killed: no run leaves anything behind.
#[derive(Debug)]
pub(crate) struct Running {
    receiver: Receiver,
    child: Child,
    port: u16,
    directory: PathBuf,
    work: PathBuf,
}

impl Running {
    /// Starts `receiver` on a free port with `directory` to store in, and waits until it has accepted and released an association.
    ///
    /// # Errors
    /// When it cannot be started, ends by itself, or takes none in time.
    pub(crate) fn start(receiver: &Receiver, directory: &Path, work: &Path) -> Result<Self, TargetError> {
        let prepare = |path: &Path| {
            let failed = |source| TargetError::Prepare { directory: path.to_owned(), source };
            fs::create_dir_all(path).and_then(|()| path.canonicalize()).map_err(failed)
        };
        let (directory, work) = (prepare(directory)?, prepare(work)?);
        let failed = |source| TargetError::Prepare { directory: work.clone(), source };
        let port = free_port().map_err(failed)?;
        let fill = |text: &String| fill(text, port, &directory, &work);
        for (name, text) in &receiver.write {
            fs::write(work.join(name), fill(text)).map_err(failed)?;
        }
        let output = File::options().create(true).append(true).open(work.join("output.log")).map_err(failed)?;
        let command: Vec<String> = receiver.command.iter().map(fill).collect();
        let (program, arguments) = command.split_first().unwrap_or((&receiver.name, &[]));
        let mut left = left();
        let child = Command::new(program)
            .args(arguments)
            .envs(receiver.environment.iter().map(|(name, value)| (name, fill(value))))
            .current_dir(&work)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            .spawn()
            .map_err(|source| TargetError::Start { name: receiver.name.clone(), program: program.clone(), source })?;
        left.add_group(child.id());
        drop(left);
        let mut running =
            Self { receiver: receiver.clone(), child, port, directory: directory.clone(), work: work.clone() };
        running.wait_ready()?;
        Ok(running)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How it is spoken to over TLS, if it is.
    fn tls(&self) -> Option<TlsSettings> {
        self.receiver.tls.then(|| TlsSettings { insecure: true, ..TlsSettings::default() })
    }

    /// It, as a load aims at it.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn aim(&self) -> Result<Aim, TargetError> {
        let called_ae = Some(self.receiver.called_ae.clone());
        Ok(Aim { address: self.address(), called_ae, tls: self.tls(), sampler: Some(self.sampler()?) })
    }

    /// Where its plain Part-10 files are, if it has such.
    pub(crate) fn files(&self) -> Option<PathBuf> {
        let files = self.receiver.files.as_ref()?;
        Some(PathBuf::from(fill(files, self.port, &self.directory, &self.work)))
    }

    /// The sampler of its figures: by its admin socket if it has one, otherwise by its processes.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn sampler(&self) -> Result<Box<dyn Sampler>, TargetError> {
        let inner: Box<dyn Sampler> = match TidegateSampler::new(&self.directory) {
            Ok(sampler) => Box::new(sampler),
            Err(_) => Box::new(ProcessSampler::new(self.child.id())?),
        };
        Ok(Box::new(Described {
            inner,
            name: self.receiver.name.clone(),
            durability: self.receiver.durability.clone(),
        }))
    }

    /// Kills the whole process group (SIGKILL) without waiting for its end. What the kernel holds is not lost by it: this is no power
    /// failure.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn kill(&self) -> Result<(), TargetError> {
        let failed = |source| TargetError::Stop { name: self.receiver.name.clone(), source };
        self.signal(StopSignal::Kill).map_err(failed)
    }

    /// Asks it to end, waits, and kills what is left of it.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn stop(mut self) -> Result<(), TargetError> {
        let patience = Duration::from_secs(self.receiver.stop_timeout_s);
        self.end(self.receiver.stop, patience)
    }

    fn end(&mut self, signal: StopSignal, patience: Duration) -> Result<(), TargetError> {
        let failed = |source| TargetError::Stop { name: self.receiver.name.clone(), source };
        self.signal(signal).map_err(failed)?;
        let deadline = Instant::now() + patience;
        while self.child.try_wait().map_err(failed)?.is_none() && Instant::now() < deadline {
            thread::sleep(LOOK_AGAIN);
        }
        self.signal(StopSignal::Kill).map_err(failed)?;
        self.child.wait().map_err(failed)?;
        Ok(())
    }

    /// To every process of the group; that none is left is no error.
    fn signal(&self, signal: StopSignal) -> io::Result<()> {
        let signal = match signal {
            StopSignal::Term => Signal::TERM,
            StopSignal::Interrupt => Signal::INT,
            StopSignal::Kill => Signal::KILL,
        };
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        match group.map(|group| kill_process_group(group, signal)) {
            Some(Err(errno)) if errno != rustix::io::Errno::SRCH => Err(errno.into()),
            _ => Ok(()),
        }
    }

    fn wait_ready(&mut self) -> Result<(), TargetError> {
        let name = self.receiver.name.clone();
        let seconds = self.receiver.ready_timeout_s;
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            if self.takes_an_association() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(TargetError::Ended { name, status: status.to_string(), output: self.last_lines() });
            }
            if Instant::now() > deadline {
                return Err(TargetError::NotReady { name, seconds, output: self.last_lines() });
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn takes_an_association(&self) -> bool {
        let context = PresentationContext {
            id: 1,
            abstract_syntax: CT_IMAGE_STORAGE.to_owned(),
            transfer_syntax: IMPLICIT_VR_LITTLE_ENDIAN.to_owned(),
        };
        let request = AssociateRequest {
            called_ae: &self.receiver.called_ae,
            calling_ae: "LOADTEST",
            contexts: &[context],
            max_pdu_length_bytes: 16_384,
            window: 1,
        };
        let Ok(socket) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let wire = match self.tls().map(|settings| TlsClient::new(&settings, &self.address())) {
            Some(Ok(tls)) => tls.wire(socket),
            Some(Err(_)) => return false,
            None => Wire::plain(socket),
        };
        let association = wire.map(|wire| Association::request(wire, &request, Duration::from_secs(2)));
        association.is_ok_and(|association| association.is_ok_and(|association| association.release().is_ok()))
    }

    fn last_lines(&self) -> String {
        let output = fs::read(self.work.join("output.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&output);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.signal(StopSignal::Kill);
        let _ = self.child.wait();
        left().forget_group(self.child.id());
    }
}

fn fill(text: &str, port: u16, directory: &Path, work: &Path) -> String {
    text.replace("{port}", &port.to_string())
        .replace("{dir}", &directory.display().to_string())
        .replace("{work}", &work.display().to_string())
}

/// A sampler with what its description says.
struct Described {
    inner: Box<dyn Sampler>,
    name: String,
    durability: String,
}

impl Sampler for Described {
    fn sample(&mut self) -> Option<TargetSample> {
        self.inner.sample()
    }

    fn usage(&self) -> Option<Usage> {
        self.inner.usage()
    }

    fn kind(&self) -> TargetKind {
        self.inner.kind()
    }

    fn name(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn durability(&self) -> Option<String> {
        Some(self.durability.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(script: &str) -> Receiver {
        let text = format!(
            "name = \"fake\"\ndurability = \"none at all\"\nready_timeout_s = 1\ncommand = [\"sh\", \"-c\", '''{script}''', \"{{port}}\"]"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn one_that_ends_is_told_with_its_last_words_and_one_that_hangs_with_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let start =
            |script| Running::start(&receiver(script), &directory.path().join("d"), &directory.path().join("w"));
        let error = start("echo no licence >&2; exit 3").unwrap_err().to_string();
        assert!(error.contains("no licence") && error.contains("exit status: 3"), "{error}");
        let error = start("echo still starting; sleep 60").unwrap_err().to_string();
        assert!(error.contains("within 1 s") && error.contains("still starting"), "{error}");
    }
}
