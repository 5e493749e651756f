//! A scenario: the datasets, their number and pace, and the associations. It is read from TOML, and every value is valid once it is built.

mod accept;
mod check;
mod checked;
mod mix;
mod place;
mod raw;
mod senders;
mod shipped;
#[cfg(test)]
mod tests;
mod trace;

use std::fs;
use std::path::Path;

pub(crate) use checked::{BadPeer, Load, Pace, Scenario, Sender, Source, TlsSettings};
use place::Problems;
pub(crate) use place::ScenarioError;
pub(crate) use raw::{Arrival, BadPeerKind, Lifetime, Range};
pub(crate) use trace::Visit;

impl Scenario {
    /// Reads the file `name`, or the shipped scenario of that name.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the file, the line and the way out.
    pub(crate) fn load(name: &str) -> Result<Self, ScenarioError> {
        let path = Path::new(name);
        match fs::read_to_string(path) {
            Ok(text) => {
                let directory = path.parent().unwrap_or(Path::new(""));
                Self::parse(&text, name, directory)
            }
            Err(source) => match shipped::text(name) {
                Some(text) => Self::parse(text, name, Path::new("")),
                None => Err(ScenarioError::Unreadable { name: name.to_owned(), source, shipped: shipped::names() }),
            },
        }
    }

    /// Gives every generated instance that has pixels so many bytes of them, before they are encoded.
    ///
    /// # Errors
    /// When there are no such instances, or no image has this size; in words.
    pub(crate) fn set_size(&mut self, bytes: u64) -> Result<(), String> {
        let mut changed = false;
        for study in &mut self.mix {
            let Source::Generated { shapes, encoding, .. } = &mut study.source else {
                continue;
            };
            let Some(base) = shapes.first() else {
                continue;
            };
            *shapes = vec![mix::sized(base, bytes, *encoding)?];
            changed = true;
        }
        if changed { Ok(()) } else { Err("nothing in this scenario has pixels whose size could be changed".to_owned()) }
    }

    /// Sends one's own files with the patients' own names and everything else in them.
    pub(crate) fn keep_patients(&mut self) {
        for study in &mut self.mix {
            if let Source::Files { keep_patient, .. } = &mut study.source {
                *keep_patient = true;
            }
        }
    }

    /// Checks the TOML `text` of `origin`; relative paths in it begin at `directory`.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub(crate) fn parse(text: &str, origin: &str, directory: &Path) -> Result<Self, ScenarioError> {
        let mut problems = Problems::new(text, origin);
        let raw = accept::read(text, origin, &mut problems)?;
        check::check(raw, problems, directory)
    }
}
