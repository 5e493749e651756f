//! The receiver under test: started and stopped when that is asked for, and looked at while it is under load.

mod error;
mod launch;
mod port;
mod process;
mod spec;
mod tidegate;

use std::path::Path;

pub(crate) use error::TargetError;
pub(crate) use launch::{Aim, Running};
pub(crate) use spec::Receiver;

use crate::result::Sampler;

/// The sampler of the target: Tidegate by its storage root, any other receiver on this host by its process.
///
/// # Errors
/// When there is no such process, or no Tidegate answers.
pub(crate) fn sampler(pid: Option<u32>, tidegate_root: Option<&Path>) -> Result<Option<Box<dyn Sampler>>, TargetError> {
    Ok(match (tidegate_root, pid) {
        (Some(root), _) => Some(Box::new(tidegate::TidegateSampler::new(root)?)),
        (None, Some(pid)) => Some(Box::new(process::ProcessSampler::new(pid)?)),
        (None, None) => None,
    })
}
