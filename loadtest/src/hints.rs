//! Ways out of a command line that is not understood, beside clap's own message.

use std::env;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

/// The hint to an error of the command line, if there is one.
pub(crate) fn hint<C: CommandFactory>(error: &clap::Error) -> Option<String> {
    let program = C::command();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let names = names(&program, |_| true);
            let is_verify = text(error, ContextKind::InvalidSubcommand) == Some("verify");
            let verify = "instances are verified behind the load that sent them: run --verify DIR";
            Some(if is_verify {
                format!("{verify}; the commands are {names}")
            } else {
                format!("the commands are {names}")
            })
        }
        ErrorKind::UnknownArgument => {
            let flag = text(error, ContextKind::InvalidArg)?.strip_prefix("--")?;
            let others =
                names(&program, |command| command.get_arguments().any(|argument| argument.get_long() == Some(flag)));
            let command = env::args().nth(1).unwrap_or_default();
            (!others.is_empty()).then(|| format!("--{flag} belongs to {others}{}", difference(&command, &others)))
        }
        _ => None,
    }
}

/// The difference between a command and those that have a flag, where one starts its receiver and the others do not.
fn difference(command: &str, others: &str) -> &'static str {
    let starts = |name: &str| matches!(name, "tune" | "crash" | "compare");
    match command {
        "run" if others.split(", ").any(starts) => {
            "; run measures a receiver that already runs: start it yourself with its settings (a tidegate takes them from its \
             environment, too: TIDEGATE__WRITERS__COUNT=4), and give its --target"
        }
        command if starts(command) && others.split(", ").any(|other| other == "run") => {
            "; this command starts its receiver itself"
        }
        _ => "",
    }
}

/// The commands that are `wanted`, in the order of the alphabet.
fn names(program: &Command, wanted: impl Fn(&Command) -> bool) -> String {
    let mut names: Vec<&str> =
        program.get_subcommands().filter(|command| wanted(command)).map(Command::get_name).collect();
    names.sort_unstable();
    names.join(", ")
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}
