//! The DIMSE message under way (PS3.7 §6.3): a command set in one or more PDVs, then perhaps a dataset.

use bytes::{Bytes, BytesMut};

use crate::command::Command;
use crate::event::Violation;
use crate::framing::PdvHeader;

/// The progress of the message. Fragments of messages do not interleave (PS3.8 §E.1), so there is at most one.
#[derive(Debug, Default)]
pub(crate) enum Message {
    #[default]
    None,
    Command {
        context_id: u8,
        bytes: Vec<u8>,
    },
    /// A dataset that is passed on as it comes.
    Dataset {
        context_id: u8,
        /// It is an instance to be stored.
        is_instance: bool,
    },
    /// A dataset that is dropped; its command is handled at its end.
    Unwanted(Command),
}

/// The element that the last fragment of a command set or of a dataset completes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Completed {
    /// A command set. If a dataset follows, [`Message::pass_dataset`] or [`Message::drop_dataset`] is to be called now.
    Command(Command),
    /// A dataset that was passed on.
    Dataset,
    /// A dataset that was dropped, of this command.
    Dropped(Command),
}

impl Message {
    /// The dataset that follows is passed on.
    pub(crate) fn pass_dataset(&mut self, context_id: u8, is_instance: bool) {
        *self = Self::Dataset { context_id, is_instance };
    }

    /// The dataset that follows `command` is dropped.
    pub(crate) fn drop_dataset(&mut self, command: Command) {
        *self = Self::Unwanted(command);
    }

    /// Fits a PDV into the message, told from its header alone.
    pub(crate) fn begin_pdv(&mut self, header: PdvHeader, max_command_set: u32) -> Result<(), Violation> {
        if matches!(self, Self::None) && header.is_command {
            *self = Self::Command { context_id: header.context_id, bytes: Vec::new() };
        }
        let (awaits_command, context_id, room) = match self {
            Self::None => return Err(Violation::UnexpectedPdv),
            Self::Command { context_id, bytes } => {
                (true, *context_id, (max_command_set as usize).saturating_sub(bytes.len()))
            }
            Self::Dataset { context_id, .. } => (false, *context_id, usize::MAX),
            Self::Unwanted(command) => (false, command.context_id(), usize::MAX),
        };
        if header.is_command != awaits_command || header.context_id != context_id {
            return Err(Violation::UnexpectedPdv);
        }
        if header.value_length() > room {
            return Err(Violation::CommandSetLength { allowed: max_command_set });
        }
        Ok(())
    }

    /// Takes the next bytes of the current PDV; returns them if they belong to a dataset that is passed on.
    pub(crate) fn take(&mut self, fragment: BytesMut) -> Option<Bytes> {
        match self {
            Self::Command { bytes, .. } => {
                bytes.extend_from_slice(&fragment);
                None
            }
            Self::Dataset { .. } => Some(fragment.freeze()),
            Self::None | Self::Unwanted(_) => None,
        }
    }

    /// Ends a command set or a dataset at its last fragment.
    pub(crate) fn end(&mut self) -> Result<Option<Completed>, Violation> {
        Ok(match std::mem::take(self) {
            Self::None => None,
            Self::Command { context_id, bytes } => Some(Completed::Command(Command::parse(context_id, &bytes)?)),
            Self::Dataset { .. } => Some(Completed::Dataset),
            Self::Unwanted(command) => Some(Completed::Dropped(command)),
        })
    }
}
