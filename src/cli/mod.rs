//! The command line: its grammar, and the dispatch of the commands.

mod access;
mod ask_error;
mod associations;
mod attempt;
mod catalogue;
mod client;
mod commitments;
mod configuration;
mod conformance;
mod drain;
mod ended;
mod events;
mod exit;
mod host;
mod inspect;
mod log_queue;
mod log_text;
mod logging;
mod look;
mod manual;
mod mem;
mod outbox;
mod outgoing;
mod output;
mod port;
mod reach;
mod recover;
mod recovery;
mod reload;
mod root;
mod run;
#[cfg(test)]
mod sample;
mod service_manager;
mod signals;
mod source;
mod start_up;
mod table;
#[cfg(test)]
mod table_tests;
mod text;
mod top;
mod verify;

use clap::{Args, CommandFactory, Parser, Subcommand};

use configuration::{FileArgs, with_config};

use crate::config::{self, Flags};

pub(crate) use exit::Exit;
pub(crate) use log_queue::LogQueue;
pub(crate) use logging::{ALWAYS_LOGGED, LogLevel};

/// A DICOM storage node (C-STORE SCP): it stores each received instance as a durable Part 10 file
#[derive(Debug, Parser)]
#[command(name = "tidegate", version = VERSION, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

/// The version, and the commit from which a release was built.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("TIDEGATE_BUILT_FROM"));

const AFTER_HELP: &str = "\
Without a command, tidegate runs the node. A configuration file is optional.

The first source that sets a key wins:
  1. a flag                       --listen 127.0.0.1:11112
  2. an environment variable      TIDEGATE__NODE__LISTEN=127.0.0.1:11112
  3. the file given by --config   [node] listen = \"127.0.0.1:11112\"
  4. the built-in default         see `tidegate print-config --default`

A running node reloads its configuration on SIGHUP, and writes a flight record on SIGUSR1.

Exit codes: 0 stopped on request, or the command succeeded; 1 failed to start or to run, not ready, damage found; 2 usage \
or configuration error; 3 gave up: parts of the node died or hung more often than [supervision] allows (see the log); \
4 no node answered the command; 5 a destination did not say what it has.

Try it:
  tidegate --storage ./data
  echoscu -v -aec TIDEGATE 127.0.0.1 11112
  storescu -v -aec TIDEGATE 127.0.0.1 11112 image.dcm";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node until SIGTERM or SIGINT (the default command)
    Run(RunArgs),
    /// Validate the configuration and report all its errors at once
    CheckConfig(FileArgs),
    /// Print the effective configuration as a configuration file
    PrintConfig {
        /// Print the commented template instead: every key with its default, bounds and purpose
        #[arg(long, conflicts_with = "config")]
        default: bool,
        /// Print the reference of all keys instead, in Markdown
        #[arg(long, conflicts_with_all = ["config", "default"])]
        reference: bool,
        #[command(flatten)]
        file: FileArgs,
    },
    /// Explain which access rule applies to a peer, and why the rules before it do not match
    CheckAccess(access::CheckAccessArgs),
    /// Read a passcode from standard input and print its line for user_identity.file
    HashPasscode {
        /// User name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Show the state of a running node; exit with 1 if it is not ready, with 4 if no node answers
    Status(look::StatusArgs),
    /// List the associations of a running node: those that are open, or those that have ended; or abort one
    Associations(associations::AssociationsArgs),
    /// Have a running node accept no new associations, for a stop that interrupts nobody: open ones continue, /ready fails
    Drain(drain::DrainArgs),
    /// End a drain: the node accepts associations again
    Resume(look::LookArgs),
    /// List the writers of a running node, and the depth of their mailbox
    Writers(look::LookArgs),
    /// Live view of a running node: throughput, response times, memory by stage, associations
    Top(top::TopArgs),
    /// List the stored studies, the newest first: by patient, accession number, sender or time
    Studies(catalogue::StudiesArgs),
    /// Show a study: its series, whether numbers are missing, and who sent it
    Study(catalogue::StudyArgs),
    /// Show where an instance is stored, and who sent it
    Instance(catalogue::InstanceArgs),
    /// Show the state of the catalogue of stored instances, compare it with the files, or make it anew
    Catalogue(catalogue::CatalogueArgs),
    /// Compare what was received with the stored files and with what destinations have; exit with 1 if anything differs
    Reconcile(catalogue::ReconcileArgs),
    /// List the requests of modalities for storage commitment, show one, or have it reported now
    Commitments(commitments::CommitmentsArgs),
    /// List the destinations and what they are owed; show, retry, drop or add deliveries; pause a destination
    Outbox(outbox::OutboxArgs),
    /// List the sinks of events and what they are owed; show, retry or drop events; print them as they come about
    Events(events::EventsArgs),
    /// Inspect the memory of a running node: leases, holders, growth, heap profile
    Mem(mem::MemArgs),
    /// Verify every stored file, and report those that are damaged
    Verify(verify::VerifyArgs),
    /// Show what a crash left in a storage root; with --clean, clean it up
    Recover(recover::RecoverArgs),
    /// Print the DICOM Conformance Statement (PS3.2) of the effective configuration, in Markdown
    Conformance(FileArgs),
    /// Print a completion script for a shell
    Completions {
        /// Shell that the script is for
        shell: manual::CompletedShell,
    },
    /// Write the man pages into a directory
    Man(manual::ManArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Address on which to accept associations [node.listen]; port 0 picks a free port
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// AE title of this node [node.ae_title]
    #[arg(long, value_name = "AET")]
    ae_title: Option<String>,
    /// Directory in which received instances are stored [storage.root]
    #[arg(long, value_name = "DIR")]
    storage: Option<String>,
    /// Address of the admin HTTP surface, or "off" [admin.listen]; port 0 picks a free port
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<String>,
}

/// Parses the command line of this process and runs the command.
pub(crate) fn main() -> Exit {
    if let Err(error) = signals::unblock() {
        output::complain(&format!("cannot unblock signals: {error}"));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            // With stdout or stderr closed there is no way to report an error.
            let _ = error.print();
            return if wrong { Exit::Misused } else { Exit::Done };
        }
    };
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => {
            let flags =
                Flags { listen: args.listen, ae_title: args.ae_title, storage: args.storage, admin: args.admin };
            let file = args.file.config.clone();
            let again_flags = flags.clone();
            let again = move |started: &config::Raw| {
                config::reload(started, file.as_deref(), config::process_environment(), &again_flags)
            };
            match run::Process::prepare() {
                Ok(process) => configuration::start(args.file.config, flags, |loaded| run::run(process, loaded, again)),
                Err(error) => {
                    let format = config::log_format(None, &config::process_environment());
                    logging::not_started(format, &format!("cannot handle signals: {error}"));
                    Exit::Failed
                }
            }
        }
        Command::CheckConfig(file) => {
            with_config(file.config, Flags::default(), |loaded| inspect::check(&loaded.settings))
        }
        Command::PrintConfig { default: true, .. } => inspect::print_template(),
        Command::PrintConfig { reference: true, .. } => output::print(&config::reference()),
        Command::PrintConfig { file, .. } => {
            with_config(file.config, Flags::default(), |loaded| inspect::print(&loaded.raw))
        }
        Command::CheckAccess(args) => {
            let file = args.file.config.clone();
            with_config(file, Flags::default(), |loaded| access::check(&args, &loaded.settings))
        }
        Command::HashPasscode { name } => access::hash(&name),
        Command::Status(args) => look::status(args),
        Command::Associations(args) => associations::associations(args),
        Command::Drain(args) => drain::drain(args),
        Command::Resume(args) => drain::resume(args),
        Command::Writers(args) => look::writers(args),
        Command::Top(args) => top::run(args),
        Command::Studies(args) => catalogue::studies(args),
        Command::Study(args) => catalogue::study(args),
        Command::Instance(args) => catalogue::instance(args),
        Command::Catalogue(args) => catalogue::catalogue(args),
        Command::Reconcile(args) => catalogue::reconcile(args),
        Command::Commitments(args) => commitments::commitments(args),
        Command::Outbox(args) => outbox::outbox(args),
        Command::Events(args) => events::events(args),
        Command::Mem(args) => mem::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Recover(args) => recover::run(args),
        Command::Conformance(file) => {
            with_config(file.config, Flags::default(), |loaded| conformance::print(&loaded.settings))
        }
        Command::Completions { shell } => manual::completions(Cli::command(), shell),
        Command::Man(args) => manual::pages(Cli::command(), &args.directory),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The commands in the documents' shell blocks, without the shell's own syntax.
    fn documented() -> Vec<(String, String)> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut documents = vec![root.join("README.md")];
        documents.extend(std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
        let mut commands = Vec::new();
        for document in documents.iter().filter(|path| path.extension().is_some_and(|ending| ending == "md")) {
            let text = std::fs::read_to_string(document).unwrap();
            let mut inside = false;
            for line in text.lines() {
                if line.starts_with("```") {
                    inside = line == "```sh";
                } else if inside {
                    let ends = ["#", "|", ">", "&&"];
                    let line = ends.iter().fold(line, |line, end| line.split(&format!(" {end}")).next().unwrap_or(""));
                    let starts =
                        ["ionice -c3 ", "sudo ", "docker exec tidegate ", "cargo run --release -- ", "cargo run -- "];
                    // With a package named, it is an example's command.
                    let through_cargo =
                        line.starts_with("cargo run ") && line.contains(" -- ") && !line.contains(" -p ");
                    let line = starts.iter().fold(line, |line, start| line.strip_prefix(start).unwrap_or(line));
                    let line = if through_cargo { format!("tidegate {line}") } else { line.to_owned() };
                    if line.starts_with("tidegate ") {
                        commands.push((line.trim().to_owned(), document.display().to_string()));
                    }
                }
            }
        }
        commands
    }

    #[test]
    fn commands_in_the_documents_are_commands() {
        let documented = documented();
        assert!(documented.len() > 20, "{documented:?}");
        for (line, document) in documented {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{document}: {line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn run_flags_work_with_and_without_the_command() {
        for line in [
            vec!["tidegate", "--ae-title", "A", "--config", "f"],
            vec!["tidegate", "run", "--ae-title", "A", "--config", "f"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            let Command::Run(args) = cli.command.unwrap_or(Command::Run(cli.run)) else { panic!("not run") };
            assert_eq!(args.ae_title.as_deref(), Some("A"));
            assert_eq!(args.file.config, Some(PathBuf::from("f")));
        }
    }
}
