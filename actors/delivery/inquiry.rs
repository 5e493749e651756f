//! A question to a destination: which instances it has, by C-FIND (PS3.4 annex C). It is asked by a command, beside the node or without one, over the
//! same kind of connection as deliveries.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::Invocation;
use tidegate_protocol::query::{Match, NotADataset, Query};
use tidegate_protocol::requestor::{ContextRefused, Event, Proposal, ProposedContext, Role};
use tidegate_protocol::syntaxes::{IMPLICIT_VR_LITTLE_ENDIAN, STUDY_ROOT_FIND};
use tokio::time::Instant;

use crate::fixed;
use crate::network::calling::{Call, CallAddress, CallError, CallStream};
use crate::node::settings::DicomDestination;

/// Time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// The largest PDU that the peer may send: a match has a few hundred bytes.
const MAX_PDU: u32 = 16 * 1024;
/// Longest identifier of a match, in bytes. Four UIDs are asked for.
const MAX_MATCH_BYTES: usize = 64 * 1024;
/// Time for the whole answer to a question, whose matches may come one by one.
const LONGEST_ANSWER: Duration = Duration::from_secs(3600);

/// An association for questions.
#[derive(Debug)]
pub struct Inquiry {
    call: Call,
    context: u8,
}

/// Why a destination gives no answers. The association is over.
#[derive(Debug, thiserror::Error)]
pub enum NotAnswered {
    /// The association failed, or did not come about.
    #[error("{0}")]
    Call(String),
    /// Destinations over TLS are not configured.
    #[error("destinations over TLS are not configured")]
    NoTls,
    /// The presentation context was refused.
    #[error("it does not accept C-FIND of the Study Root model: {0}")]
    Refused(ContextRefused),
    /// A match cannot be read.
    #[error(transparent)]
    Match(#[from] NotADataset),
    /// A match is longer than any that was asked for.
    #[error("a match is longer than {MAX_MATCH_BYTES} bytes")]
    MatchLength,
    /// There are more matches than there can be.
    #[error("its answer has no end: more than {0} matches")]
    Endless(u64),
}

impl From<CallError> for NotAnswered {
    fn from(error: CallError) -> Self {
        Self::Call(error.to_string())
    }
}

/// The status of a final response other than success, with its Error Comment: this question is not answered, and the next one may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Status (0000,0900).
    pub status: u16,
    /// Error Comment (0000,0902); empty if there is none.
    pub comment: String,
}

impl Inquiry {
    /// Associates with the destination.
    ///
    /// # Errors
    /// See [`NotAnswered`].
    pub async fn open(peer: &DicomDestination, tls: Option<Arc<rustls::ClientConfig>>) -> Result<Self, NotAnswered> {
        if peer.is_tls && tls.is_none() {
            return Err(NotAnswered::NoTls);
        }
        let address = CallAddress { host: peer.host.clone(), port: peer.port };
        let stream =
            CallStream::connect(&address, tls.filter(|_| peer.is_tls), Instant::now() + CONNECT_TIMEOUT).await?;
        let proposal = Proposal {
            calling_ae_title: peer.calling.clone(),
            called_ae_title: peer.called.clone(),
            contexts: vec![ProposedContext {
                abstract_syntax: STUDY_ROOT_FIND.into(),
                transfer_syntaxes: vec![IMPLICIT_VR_LITTLE_ENDIAN.into()],
                role: Role::Scu,
            }],
            max_pdu_length: MAX_PDU,
            max_command_set: fixed::MAX_COMMAND_SET_BYTES,
            async_operations: 1,
        };
        let mut call = Call::new(stream, proposal)?;
        let acceptance = call.establish(Instant::now() + fixed::answer_timeout()).await?;
        let answer = acceptance.contexts.into_iter().next();
        match answer.map(|answer| (answer.id, answer.outcome)) {
            Some((context, Ok(_))) => Ok(Self { call, context }),
            refused => {
                call.release().await;
                let why = refused.and_then(|(_, outcome)| outcome.err()).unwrap_or(ContextRefused::NotAnswered);
                Err(NotAnswered::Refused(why))
            }
        }
    }

    /// Asks, and gives each match to `take` as it comes. More than `most` of them are not awaited.
    ///
    /// # Errors
    /// See [`NotAnswered`]: the connection is to be dropped. A failure of this question alone is in the value.
    pub async fn ask(
        &mut self,
        query: Query<'_>,
        most: u64,
        mut take: impl FnMut(Match),
    ) -> Result<Result<(), Failed>, NotAnswered> {
        let begun = self.call.requestor.begin(self.context, &Invocation::Find { sop_class: STUDY_ROOT_FIND });
        begun.map_err(|error| NotAnswered::Call(error.to_string()))?;
        self.call.requestor.push_dataset(&query.encode());
        self.call.requestor.end_dataset();
        self.call.flush().await?;
        let last = Instant::now() + LONGEST_ANSWER;
        for _ in 0..=most {
            match self.next(last, &mut take).await {
                Ok(None) => {}
                Ok(Some(ended)) => return Ok(ended),
                Err(error) => {
                    self.call.abort().await;
                    return Err(error);
                }
            }
        }
        self.call.abort().await;
        Err(NotAnswered::Endless(most))
    }

    /// The next response, a match in most cases; `Some`: the last one.
    async fn next(
        &mut self,
        last: Instant,
        take: &mut impl FnMut(Match),
    ) -> Result<Option<Result<(), Failed>>, NotAnswered> {
        let deadline = last.min(Instant::now() + fixed::answer_timeout());
        let (mut identifier, mut responded) = (Vec::new(), None);
        loop {
            match self.call.event(deadline, "response to C-FIND").await? {
                Event::Responded(response) if response.is_pending() && response.has_data_set => {
                    responded = Some(None);
                }
                Event::Responded(response) if response.is_pending() => return Err(NotADataset.into()),
                Event::Responded(response) => {
                    let ended = match response.status {
                        0 => Ok(()),
                        status => Err(Failed { status, comment: response.comment.as_str().to_owned() }),
                    };
                    // Against PS3.7 §9.3.2.2, a final response may have a dataset.
                    if !response.has_data_set {
                        return Ok(Some(ended));
                    }
                    responded = Some(Some(ended));
                }
                Event::Fragment(fragment) => {
                    if identifier.len() + fragment.len() > MAX_MATCH_BYTES {
                        return Err(NotAnswered::MatchLength);
                    }
                    identifier.extend_from_slice(&fragment);
                }
                Event::DatasetComplete => match responded.take() {
                    Some(None) => {
                        take(Match::read(&identifier)?);
                        return Ok(None);
                    }
                    Some(ended) => return Ok(ended),
                    None => {}
                },
                Event::OperationRefused(_) => {}
                other => return Err(CallError::of(other).into()),
            }
        }
    }

    /// Releases the association.
    pub async fn close(mut self) {
        self.call.release().await;
    }
}
