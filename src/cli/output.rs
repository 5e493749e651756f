//! The output of commands, on stdout and stderr. A closed pipe is no panic.

use std::error::Error;
use std::io::{self, ErrorKind, Write};

use rustix::termios::tcgetwinsize;
use serde::Serialize;

use super::Exit;
use super::table::COLUMNS;
use crate::unprintable::harmless;

/// Writes `text`, made [`harmless`], to stdout and flushes it. A reader that closed the pipe early (`| head`) has read enough.
pub(super) fn print(text: &str) -> Exit {
    print_next(text).err().unwrap_or(Exit::Done)
}

/// As [`print()`], for a command that goes on printing. An error is the exit code of the command: nobody reads any more, or stdout failed.
pub(super) fn print_next(text: &str) -> Result<(), Exit> {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(harmless(text).as_bytes()).and_then(|()| stdout.flush());
    printed.map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            return Exit::Done;
        }
        complain(&format!("cannot write to stdout: {error}"));
        Exit::Failed
    })
}

/// Writes `what` to stdout: as JSON, or as the text of `render`, which fits so many columns.
pub(super) fn show<T: Serialize>(json: bool, what: &T, render: impl FnOnce(&T, usize) -> String) -> Exit {
    if !json {
        return print(&render(what, width()));
    }
    match serde_json::to_string_pretty(what) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => {
            complain(&format!("cannot print the answer as JSON: {error}"));
            Exit::Failed
        }
    }
}

/// The columns of a text on stdout: those of the terminal. A pipe or a file has as many as the narrowest terminal.
pub(super) fn width() -> usize {
    let of_terminal = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    of_terminal.max(COLUMNS)
}

/// Writes `tidegate: {message}` to stderr.
pub(super) fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "tidegate: {}", harmless(message));
}

/// An error and its causes on one line. A cause that the line contains already is not repeated.
pub(super) fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Inner(&'static str);

    #[test]
    fn causes_follow_once_each() {
        assert_eq!(one_line(&Outer(Inner("address in use"))), "cannot listen: address in use");
        assert_eq!(one_line(&Outer(Inner("cannot"))), "cannot listen");
    }
}
