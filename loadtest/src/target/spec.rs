//! A receiver as a TOML file describes it: how it is started, when it is ready, how it is stopped, what its success means.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{self, Path};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use serde::Deserialize;

use super::error::TargetError;
use super::port::free_port;
use crate::limit::Mode;

/// How to run one receiver. `{port}`, `{dir}` (where it shall store) and `{work}` (for its configuration and log) stand for what the
/// harness picks, in `command`, `environment`, `write` and `files`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receiver {
    /// As the tables show it.
    pub(crate) name: String,
    /// Program and arguments; no shell stands between.
    pub(crate) command: Vec<String>,
    /// Prints the version on its first line.
    #[serde(default)]
    pub(crate) version_command: Vec<String>,
    /// The state of an instance when this receiver answers success, in words.
    pub(crate) durability: String,
    #[serde(default = "default_ae")]
    pub(crate) called_ae: String,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// Files made below `{work}` before the start, by name.
    #[serde(default)]
    pub(crate) write: BTreeMap<String, String>,
    /// Directory of plain Part-10 files; leave it out when the receiver stores otherwise, and nothing is verified.
    #[serde(default)]
    pub(crate) files: Option<String>,
    /// It listens for TLS; its certificate is not looked at.
    #[serde(default)]
    pub(crate) tls: bool,
    /// A bound that others are held against.
    #[serde(skip)]
    pub(crate) is_limit: bool,
    #[serde(default)]
    pub(crate) stop: StopSignal,
    /// Time to take its first association.
    #[serde(default = "thirty")]
    pub(crate) ready_timeout_s: u64,
    /// Time to end after `stop`; then it is killed.
    #[serde(default = "thirty")]
    pub(crate) stop_timeout_s: u64,
}

/// The signal that asks a receiver to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum StopSignal {
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    #[serde(rename = "SIGINT")]
    Interrupt,
    #[serde(rename = "SIGKILL")]
    Kill,
}

fn default_ae() -> String {
    "ANY-SCP".to_owned()
}

fn thirty() -> u64 {
    30
}

impl Receiver {
    /// Reads a description.
    ///
    /// # Errors
    /// When the file cannot be read, or something in it is unknown, missing or of the wrong kind: the line and what is expected.
    pub(crate) fn read(path: &Path) -> Result<Self, TargetError> {
        let text = fs::read_to_string(path).map_err(|source| TargetError::Read { path: path.to_owned(), source })?;
        let wrong = |problem: String| TargetError::Spec { path: path.to_owned(), problem };
        let receiver: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if receiver.command.is_empty() {
            return Err(wrong("command is empty: name the program and its arguments".to_owned()));
        }
        let mut told = receiver.command.iter().chain(receiver.environment.values()).chain(receiver.write.values());
        if !told.any(|text| text.contains("{port}")) {
            return Err(wrong("{port} occurs nowhere: the receiver would not listen where it is asked".to_owned()));
        }
        if let Some(name) = receiver.write.keys().find(|name| name.contains('/')) {
            return Err(wrong(format!("write.{name:?}: a file's name, without a directory, is expected")));
        }
        Ok(receiver)
    }

    /// The first line that `version_command` prints; empty without one.
    pub(crate) fn version(&self) -> String {
        let Some((program, arguments)) = self.version_command.split_first() else {
            return String::new();
        };
        let said = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let said = said.ok().filter(|said| said.status.success()).map(|said| said.stdout).unwrap_or_default();
        let line = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned();
        version_in(&line).unwrap_or(line)
    }

    /// A Tidegate of its own, `settings` given as configuration keys (`writers.count`).
    pub(crate) fn tidegate(program: &Path, settings: &BTreeMap<String, String>) -> Self {
        let mut environment: BTreeMap<_, _> =
            settings.iter().map(|(key, value)| (variable(key), value.clone())).collect();
        environment.entry("TIDEGATE__LOG__LEVEL".to_owned()).or_insert_with(|| "warn".to_owned());
        // Its default port is one, and receivers are measured beside each other.
        environment.entry("TIDEGATE__ADMIN__LISTEN".to_owned()).or_insert_with(|| "off".to_owned());
        let arguments = ["run", "--listen", "127.0.0.1:{port}", "--storage", "{dir}"].map(str::to_owned);
        // A path is as of this directory; the node is started in another one.
        let is_path = program.components().count() > 1;
        let program = path::absolute(program).ok().filter(|_| is_path).unwrap_or_else(|| program.to_owned());
        let power_safe = settings.get("storage.durability").is_none_or(|value| value == "fsync");
        Self {
            name: "Tidegate".to_owned(),
            command: [program.display().to_string()].into_iter().chain(arguments).collect(),
            version_command: vec![program.display().to_string(), "--version".to_owned()],
            durability: if power_safe { "file and directory synced" } else { "written, not synced" }.to_owned(),
            called_ae: "TIDEGATE".to_owned(),
            environment,
            write: BTreeMap::new(),
            files: Some("{dir}".to_owned()),
            tls: false,
            is_limit: false,
            stop: StopSignal::Term,
            ready_timeout_s: 30,
            stop_timeout_s: 40,
        }
    }

    /// Asks the node whether it takes its settings (`check-config`), which costs no time of a measurement.
    ///
    /// # Errors
    /// When it does not, or cannot be started.
    pub(crate) fn check_settings(&self) -> Result<(), TargetError> {
        self.ask("check-config").map(drop)
    }

    /// The node's values of these configuration keys (`print-config`); a key that it does not print is left out.
    ///
    /// # Errors
    /// As [`Receiver::check_settings`].
    pub(crate) fn effective_settings<'k>(
        &self,
        keys: impl Iterator<Item = &'k str>,
    ) -> Result<BTreeMap<String, String>, TargetError> {
        let printed: toml::Table = toml::from_str(&self.ask("print-config")?).unwrap_or_default();
        let value = |key: &str| {
            let (section, name) = key.split_once('.')?;
            let value = printed.get(section)?.get(name)?;
            Some((key.to_owned(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        };
        Ok(keys.filter_map(value).collect())
    }

    /// The output of the program for one of its commands, with the settings.
    fn ask(&self, command: &str) -> Result<String, TargetError> {
        let program = self.command.first().unwrap_or(&self.name).clone();
        let started = Command::new(&program).arg(command).envs(&self.environment).stdin(Stdio::null()).output();
        match started {
            Err(source) => Err(TargetError::Start { name: self.name.clone(), program, source }),
            Ok(said) if said.status.success() => Ok(String::from_utf8_lossy(&said.stdout).into_owned()),
            Ok(said) => {
                let output = String::from_utf8_lossy(&said.stderr).trim_end().to_owned();
                Err(TargetError::Settings { program, output })
            }
        }
    }

    /// This program as the limit.
    ///
    /// # Errors
    /// When this program's own file is not known.
    pub(crate) fn limit(mode: Mode) -> Result<Self, TargetError> {
        let name = mode.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let program = env::current_exe().map_err(TargetError::Program)?.display().to_string();
        let arguments = ["limit", "--listen", "127.0.0.1:{port}", "--dir", "{dir}", "--mode", &name];
        Ok(Self {
            name: format!("limit: {name}"),
            command: [program.as_str()].into_iter().chain(arguments).map(str::to_owned).collect(),
            version_command: vec![program, "--version".to_owned()],
            durability: mode.durability().to_owned(),
            called_ae: "LIMIT".to_owned(),
            environment: BTreeMap::new(),
            write: BTreeMap::new(),
            files: (mode != Mode::Discard).then(|| "{dir}".to_owned()),
            tls: false,
            is_limit: true,
            stop: StopSignal::Term,
            ready_timeout_s: 30,
            stop_timeout_s: 30,
        })
    }

    /// The same node or limit, which listens for TLS with these PEM files.
    ///
    /// # Errors
    /// When there is no port for the node's plain listener.
    pub(crate) fn over_tls(mut self, certificate: &Path, key: &Path) -> Result<Self, TargetError> {
        let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
        if self.is_limit {
            self.command.extend(["--tls".to_owned(), certificate, key]);
        } else {
            let plain = format!("127.0.0.1:{}", free_port().map_err(TargetError::Program)?);
            let address = "127.0.0.1:{port}".to_owned();
            self.command.iter_mut().filter(|word| **word == address).for_each(|word| word.clone_from(&plain));
            for (name, value) in [("tls.listen", address), ("tls.certificate", certificate), ("tls.key", key)] {
                self.environment.insert(variable(name), value);
            }
        }
        self.tls = true;
        Ok(self)
    }
}

/// The first word of `line` that begins with a digit, once a `v` is taken away: what programs print around it differs much.
fn version_in(line: &str) -> Option<String> {
    let words = line.split_ascii_whitespace().map(|word| word.trim_start_matches('v').trim_end_matches([',', ';']));
    words.filter(|word| word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned).next()
}

/// The environment variable of a configuration key.
fn variable(key: &str) -> String {
    format!("TIDEGATE__{}", key.to_uppercase().replace('.', "__"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(text: &str) -> Result<Receiver, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("receiver.toml");
        fs::write(&path, text).unwrap();
        Receiver::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn every_description_that_ships_is_read_and_says_its_durability() {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("targets");
        let mut names = Vec::new();
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|extension| extension == "toml") {
                let receiver = Receiver::read(&path).unwrap();
                assert!(receiver.durability.len() > 10, "{receiver:?}");
                names.push(receiver.name);
            }
        }
        assert!(names.len() >= 5, "{names:?}");
    }

    #[test]
    fn the_description_in_the_documentation_is_one() {
        let page = include_str!("../../targets/README.md");
        let example = page.split("```").nth(1).and_then(|block| block.strip_prefix("toml\n")).unwrap();
        assert_eq!(read(example).unwrap().name, "My PACS");
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let good = "name = \"a\"\ncommand = [\"x\", \"{port}\"]\ndurability = \"none\"\n";
        assert_eq!(read(good).unwrap().stop, StopSignal::Term);
        for (text, said) in [
            (format!("{good}stopp = \"SIGTERM\"\n"), "stopp"),
            (format!("{good}stop = \"TERM\"\n"), "SIGINT"),
            (good.replace("{port}", "104"), "{port} occurs nowhere"),
            (good.replace("durability = \"none\"\n", ""), "durability"),
            (format!("{good}[write]\n\"../x\" = \"\"\n"), "without a directory"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(said), "{said} in {error}");
        }
    }

    #[test]
    fn the_version_is_found_in_what_programs_print_around_it() {
        for (line, version) in [
            ("tidegate 0.1.0", Some("0.1.0")),
            ("$dcmtk: storescp v3.6.7 2022-04-22 $", Some("3.6.7")),
            ("Orthanc 1.10.1+dfsg", Some("1.10.1+dfsg")),
            ("no digits here", None),
        ] {
            assert_eq!(version_in(line).as_deref(), version, "{line}");
        }
        let receiver = Receiver::tidegate(Path::new("/nowhere/tidegate"), &BTreeMap::new());
        assert_eq!(receiver.version(), "");
    }

    #[test]
    fn settings_of_a_tidegate_become_its_environment() {
        let settings = BTreeMap::from([("writers.mailbox_capacity".to_owned(), "8".to_owned())]);
        let receiver = Receiver::tidegate(Path::new("/bin/tidegate"), &settings);
        assert_eq!(receiver.environment.get("TIDEGATE__WRITERS__MAILBOX_CAPACITY").map(String::as_str), Some("8"));
        let node = |program: &str| Receiver::tidegate(Path::new(program), &settings).command[0].clone();
        assert_eq!(node("tidegate"), "tidegate", "looked for in PATH");
        assert!(node("target/release/tidegate").starts_with('/'), "it is started in another directory");
    }
}
