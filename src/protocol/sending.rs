//! The messages that this side invokes: the one being sent, and those that await a response.

use crate::command::{CommandError, Invocation, Response};
use crate::framing::{FRAGMENT_HEADER_BYTES, PDV_HEADER, data_header, most_fragment_bytes, write_command, write_data};

/// Bytes of a fragment at most, whatever the peer takes.
const MOST_FRAGMENT: usize = 128 * 1024;
/// Bytes of a fragment at most that the caller sends itself: a PDU of 1 MiB.
const MOST_OWN_FRAGMENT: usize = (1 << 20) - PDV_HEADER;

/// Bytes of responses that may wait for the end of a message under way before no more requests are to be read. The request that exceeds
/// them adds one response.
const MOST_DEFERRED: usize = 64 * 1024;

/// Why a message cannot be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CannotSend {
    /// There is no association, or it is being released.
    #[error("association is not established")]
    NotEstablished,
    /// The presentation context was not accepted.
    #[error("presentation context was not accepted")]
    ContextNotAccepted,
    /// The request is not for the role that was negotiated (PS3.7 §D.3.3.4).
    #[error("role was not accepted")]
    RoleNotAccepted,
    /// A message is being sent: its dataset has no end yet.
    #[error("another message is being sent")]
    MessageUnderWay,
    /// As many requests await their responses as the peer allows (PS3.7 §D.3.3.3).
    #[error("peer allows no further outstanding operation")]
    WindowFull,
}

#[derive(Debug)]
struct Outstanding {
    context_id: u8,
    message_id: u16,
    command_field: u16,
}

/// A dataset that is being sent.
#[derive(Debug)]
struct UnderWay {
    context_id: u8,
    /// What does not fill a fragment yet: the last fragment must be known for it when it is written.
    held: Vec<u8>,
}

/// The sending half of an association.
#[derive(Debug)]
pub(crate) struct Sending {
    /// Largest P-DATA-TF PDU that the peer accepts; 0: any length.
    pub(crate) peer_max_pdu_length: u32,
    /// Operations that may be outstanding; at least 1.
    pub(crate) window: u16,
    under_way: Option<UnderWay>,
    /// PDUs that wait for the end of the message under way: fragments of messages do not interleave (PS3.8 §E.1).
    deferred: Vec<u8>,
    outstanding: Vec<Outstanding>,
    last_message_id: u16,
}

impl Sending {
    pub(crate) fn new() -> Self {
        Self {
            peer_max_pdu_length: 0,
            window: 1,
            under_way: None,
            deferred: Vec::new(),
            outstanding: Vec::new(),
            last_message_id: 0,
        }
    }

    /// Whether a request could be made now.
    pub(crate) fn check(&self) -> Result<(), CannotSend> {
        if self.under_way.is_some() {
            return Err(CannotSend::MessageUnderWay);
        }
        if self.outstanding.len() >= usize::from(self.window.max(1)) {
            return Err(CannotSend::WindowFull);
        }
        Ok(())
    }

    /// Writes the command of a request that [`Self::check`] has let in. Returns its Message ID.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>, context_id: u8, invocation: &Invocation<'_>) -> u16 {
        let message_id = self.free_message_id();
        let command_field = invocation.command_field();
        self.outstanding.push(Outstanding { context_id, message_id, command_field });
        write_command(out, context_id, &invocation.encode(message_id), self.peer_max_pdu_length);
        if invocation.has_data_set() {
            self.under_way = Some(UnderWay { context_id, held: Vec::new() });
        }
        message_id
    }

    /// From 1 on; none that is outstanding, of which there are fewer than IDs.
    fn free_message_id(&mut self) -> u16 {
        loop {
            self.last_message_id = self.last_message_id.checked_add(1).unwrap_or(1);
            if !self.outstanding.iter().any(|one| one.message_id == self.last_message_id) {
                return self.last_message_id;
            }
        }
    }

    /// Appends the next bytes of the dataset under way. Nothing happens if there is none.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, mut bytes: &[u8]) {
        let most = most_fragment_bytes(self.peer_max_pdu_length).min(MOST_FRAGMENT);
        let Some(UnderWay { context_id, held }) = &mut self.under_way else { return };
        if !held.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(most - held.len()));
            held.extend_from_slice(now);
            bytes = rest;
            if bytes.is_empty() {
                return;
            }
            write_data(out, *context_id, held, false);
            held.clear();
        }
        // A whole fragment is held back as well: it may turn out to be the last.
        while bytes.len() > most {
            let (now, rest) = bytes.split_at(most);
            write_data(out, *context_id, now, false);
            bytes = rest;
        }
        held.extend_from_slice(bytes);
    }

    /// Ends the dataset under way. Nothing happens if there is none.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(UnderWay { context_id, held }) = self.under_way.take() {
            write_data(out, context_id, &held, true);
            out.append(&mut self.deferred);
        }
    }

    /// Bytes of a fragment at most that the caller sends itself: an even number.
    pub(crate) fn most_own_fragment(&self) -> usize {
        most_fragment_bytes(self.peer_max_pdu_length).min(MOST_OWN_FRAGMENT)
    }

    /// The headers of the next fragment of the dataset under way, which the caller sends itself. `None`: no dataset is under way, or a part of
    /// it is held here.
    pub(crate) fn own_fragment(
        &mut self,
        out: &mut Vec<u8>,
        bytes: usize,
        is_last: bool,
    ) -> Option<[u8; FRAGMENT_HEADER_BYTES]> {
        let under_way = self.under_way.as_ref().filter(|under_way| under_way.held.is_empty())?;
        let header = data_header(under_way.context_id, bytes, is_last);
        if is_last {
            self.under_way = None;
            out.append(&mut self.deferred);
        }
        Some(header)
    }

    /// Writes a response, behind the message under way if there is one.
    pub(crate) fn respond(&mut self, out: &mut Vec<u8>, context_id: u8, command: &[u8]) {
        let out = if self.under_way.is_some() { &mut self.deferred } else { out };
        write_command(out, context_id, command, self.peer_max_pdu_length);
    }

    /// Whether so many responses wait for the end of the message under way that no more requests are to be read.
    pub(crate) fn is_congested(&self) -> bool {
        self.deferred.len() > MOST_DEFERRED
    }

    /// The message under way is void, and what waits for its end.
    pub(crate) fn drop_message(&mut self) {
        self.under_way = None;
        self.deferred = Vec::new();
    }

    /// Matches a response with its request, which is no longer outstanding unless further responses follow.
    pub(crate) fn responded(&mut self, response: &Response) -> Result<(), CommandError> {
        let is_its = |one: &Outstanding| {
            (one.context_id, one.message_id, one.command_field)
                == (response.context_id, response.message_id, response.request)
        };
        let at = self.outstanding.iter().position(is_its).ok_or(CommandError::UnexpectedResponse)?;
        if !response.is_pending() {
            self.outstanding.swap_remove(at);
        }
        Ok(())
    }

    /// Requests that await a response.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether a message is being sent.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }
}
