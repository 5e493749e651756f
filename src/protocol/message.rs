//! The DIMSE message under way (PS3.7 §6.3): a command set in one or more PDVs, then perhaps a dataset.

use bytes::{Bytes, BytesMut};

use crate::command::{Operation, Request, command_field};
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
    /// The dataset of a C-STORE-RQ, passed on as it comes.
    Dataset {
        context_id: u8,
    },
    /// The dataset of any other request. It is dropped; the request is handled at its end.
    Unwanted(Operation),
}

/// The element that the end of a command set or of a dataset completes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Completed {
    /// The command set of a C-STORE-RQ.
    StoreRequest(Request),
    /// The dataset of a C-STORE-RQ.
    Dataset,
    /// Any other request, together with its dataset if it had one.
    OtherRequest(Operation),
}

impl Message {
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
            Self::Dataset { context_id } => (false, *context_id, usize::MAX),
            Self::Unwanted(operation) => (false, operation.context_id, usize::MAX),
        };
        if header.is_command != awaits_command || header.context_id != context_id {
            return Err(Violation::UnexpectedPdv);
        }
        if header.value_length() > room {
            return Err(Violation::CommandSetLength { allowed: max_command_set });
        }
        Ok(())
    }

    /// Takes the next bytes of the current PDV; returns them if they belong to a dataset to be stored.
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

    /// Ends a command set or a dataset at its last fragment; `None` while more of the message follows that must be dropped first.
    pub(crate) fn end(&mut self) -> Result<Option<Completed>, Violation> {
        Ok(match std::mem::take(self) {
            Self::None => None,
            Self::Command { context_id, bytes } => {
                let request = Request::parse(context_id, &bytes)?;
                self.requested(request)
            }
            Self::Dataset { .. } => Some(Completed::Dataset),
            Self::Unwanted(operation) => Some(Completed::OtherRequest(operation)),
        })
    }

    fn requested(&mut self, request: Request) -> Option<Completed> {
        if request.operation.command_field == command_field::C_STORE_RQ {
            if request.has_data_set {
                *self = Self::Dataset { context_id: request.operation.context_id };
            }
            return Some(Completed::StoreRequest(request));
        }
        if request.has_data_set {
            *self = Self::Unwanted(request.operation);
            return None;
        }
        Some(Completed::OtherRequest(request.operation))
    }
}
