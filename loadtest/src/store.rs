//! The closed-loop generator: every association sends an instance, waits for its answer, and sends the next.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use thiserror::Error;

use crate::acked::{self, AckedLog};
use crate::association::{Association, AssociationError};
use crate::commit::FILES_PER_SERIES;
use crate::dataset::{Dataset, InstanceUids};
use crate::generate::{Encoding, MAX_NATIVE_BYTES, ct_image};
use crate::message::{Framed, Message};
use crate::pdu::{AssociateRequest, PresentationContext};
use crate::raw::{self, RawConnection};
use crate::report::{Report, Tally};
use crate::tls::{TlsClient, TlsError};
use crate::uid::{UidKind, uid};
use crate::usage::Usage;
use crate::wire::Wire;

/// The one presentation context of these associations.
const CONTEXT_ID: u8 = 1;

/// What the generator sends and to whom.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// Where the receiver listens
    #[arg(long, value_name = "HOST:PORT")]
    target: String,
    /// AE title of the receiver
    #[arg(long, default_value = "TIDEGATE", value_name = "AET")]
    called_ae: String,
    /// AE title of the generator
    #[arg(long, default_value = "LOADTEST", value_name = "AET")]
    calling_ae: String,
    /// Associations open at a time, each on a thread of its own
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    associations: u32,
    /// Instances to send in all
    #[arg(long, default_value_t = 1000)]
    instances: u64,
    /// Pixel data of one instance; 512 KiB is one 512 × 512 CT slice
    #[arg(long, default_value = "512 KiB")]
    size: ByteSize,
    /// Maximum PDU length that the generator offers; what it sends keeps to the receiver's
    #[arg(long, default_value = "128 KiB")]
    max_pdu: ByteSize,
    /// Transfer syntax proposed and sent
    #[arg(long, value_enum, default_value = "explicit")]
    transfer_syntax: NativeSyntax,
    /// UIDs and pixels follow from the seed alone: a second run with the same seed is a resend of the same instances
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Longest wait for any one answer, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    timeout_s: u64,
    /// Append SOP Instance UID and SHA-256 of the dataset of each acknowledged instance to this file
    #[arg(long, value_name = "FILE")]
    acked: Option<PathBuf>,
    /// Speak TLS, with whoever answers: for a measurement
    #[arg(long)]
    tls: bool,
    /// Send the same datasets to the limit, without DICOM
    #[arg(long)]
    raw: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// How the dataset is encoded (PS3.5 §A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NativeSyntax {
    /// Explicit VR Little Endian
    Explicit,
    /// Implicit VR Little Endian
    Implicit,
}

impl From<NativeSyntax> for Encoding {
    fn from(syntax: NativeSyntax) -> Self {
        match syntax {
            NativeSyntax::Explicit => Self::Explicit,
            NativeSyntax::Implicit => Self::Implicit,
        }
    }
}

/// Why an association or the whole run could not go on.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    #[error("--size is {0}: more than one dataset's pixel data can hold")]
    SizeTooLarge(ByteSize),
    #[error("--max-pdu is {0}: more than a PDU length can say")]
    MaxPduTooLarge(ByteSize),
    #[error("cannot connect to {target}")]
    Connect { target: String, source: io::Error },
    #[error(transparent)]
    Association(#[from] AssociationError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("connection to the limit failed")]
    Raw(#[source] io::Error),
    #[error("cannot write the record of acknowledged instances")]
    Acked(#[source] io::Error),
    #[error("an association's thread ended by a panic")]
    Panicked,
}

/// Sends everything and prints the result; `true` when every instance was stored.
///
/// # Errors
/// When the run cannot start. What fails on the way is counted, said on stderr, and makes the result `false`.
pub(crate) fn run(args: &StoreArgs) -> Result<bool, StoreError> {
    let generator = Generator::new(args)?;
    let associations = args.associations as usize;
    let ready = Barrier::new(associations + 1);
    let (started, before, outcomes) = thread::scope(|scope| {
        let ready = &ready;
        let generator = &generator;
        let threads: Vec<_> = (0..associations)
            .map(|number| scope.spawn(move || generator.association(number, associations, ready)))
            .collect();
        ready.wait();
        let (started, before) = (Instant::now(), Usage::now());
        let outcomes: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        (started, before, outcomes)
    });
    let mut tally = Tally::default();
    let mut ended = started;
    for outcome in outcomes {
        let outcome = outcome.map_err(|_| StoreError::Panicked)?;
        ended = ended.max(outcome.ended);
        tally.merge(outcome.tally);
    }
    let usage = Usage::now().since(before);
    let report = Report { unit: "instances", tally, elapsed: ended - started, usage };
    print!("{}", if args.json { report.json() } else { report.text() });
    Ok(report.tally.failed() == 0 && report.tally.stored == args.instances)
}

/// What all associations share.
struct Generator<'a> {
    args: &'a StoreArgs,
    dataset: Dataset,
    /// The message as framed for each fragment size that a peer has asked for: one, in practice.
    framed: Mutex<BTreeMap<usize, Arc<Framed>>>,
    acked: Option<AckedLog>,
    max_pdu_length_bytes: u32,
    tls: Option<TlsClient>,
}

/// What one association did.
struct Outcome {
    tally: Tally,
    /// When its last answer came.
    ended: Instant,
}

impl<'a> Generator<'a> {
    fn new(args: &'a StoreArgs) -> Result<Self, StoreError> {
        if args.size.as_u64() > MAX_NATIVE_BYTES {
            return Err(StoreError::SizeTooLarge(args.size));
        }
        let max_pdu_length_bytes =
            u32::try_from(args.max_pdu.as_u64()).map_err(|_| StoreError::MaxPduTooLarge(args.max_pdu))?;
        Ok(Self {
            args,
            dataset: ct_image(args.size.as_u64(), args.transfer_syntax.into(), args.seed),
            framed: Mutex::default(),
            acked: args.acked.as_deref().map(AckedLog::append_to).transpose().map_err(StoreError::Acked)?,
            max_pdu_length_bytes,
            tls: args.tls.then(|| TlsClient::trusting(&args.target)).transpose()?,
        })
    }

    /// Runs association `number` of `associations` from its connection to its release.
    fn association(&self, number: usize, associations: usize, ready: &Barrier) -> Outcome {
        let (number_u64, associations) = (number as u64, associations as u64);
        let share = self.args.instances / associations + u64::from(number_u64 < self.args.instances % associations);
        let mut tally = Tally::default();
        let session = self.connect();
        ready.wait();
        let result = session.and_then(|session| self.send(session, number, share, &mut tally));
        if let Err(error) = &result {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("association {number}: {error}{cause}");
        }
        tally.unsent = share.saturating_sub(tally.stored + tally.unanswered + tally.refused.values().sum::<u64>());
        Outcome { tally, ended: result.unwrap_or_else(|_| Instant::now()) }
    }

    fn connect(&self) -> Result<Session, StoreError> {
        let target = &self.args.target;
        let timeout = Duration::from_secs(self.args.timeout_s);
        let stream =
            TcpStream::connect(target).map_err(|source| StoreError::Connect { target: target.clone(), source })?;
        if self.args.raw {
            return RawConnection::new(stream, self.tls.as_ref(), timeout).map(Session::Raw).map_err(StoreError::Raw);
        }
        let request = AssociateRequest {
            called_ae: &self.args.called_ae,
            calling_ae: &self.args.calling_ae,
            contexts: &[PresentationContext {
                id: CONTEXT_ID,
                abstract_syntax: self.dataset.sop_class.clone(),
                transfer_syntax: self.dataset.transfer_syntax.clone(),
            }],
            max_pdu_length_bytes: self.max_pdu_length_bytes,
            window: 1,
        };
        let wire = match &self.tls {
            Some(tls) => tls.wire(stream),
            None => Wire::plain(stream),
        }
        .map_err(AssociationError::from)?;
        Ok(Session::Dicom(Association::request(wire, &request, timeout)?))
    }

    /// Sends `share` instances and says when the last was answered.
    fn send(&self, mut session: Session, number: usize, share: u64, tally: &mut Tally) -> Result<Instant, StoreError> {
        let mut message = Message::new(self.framed(&session));
        tally.latencies.reserve(usize::try_from(share).unwrap_or(0).min(1 << 20));
        let mut ended = Instant::now();
        for index in 0..share {
            // Zero is as good an ID as any, and some peers trip over it.
            let message_id = u16::try_from(index % 0xFFFF + 1).unwrap_or(1);
            let uids = self.uids(number, index);
            message.patch(message_id, &uids);
            let begun = Instant::now();
            let status = session.store(&message, message_id).inspect_err(|_| tally.unanswered += 1)?;
            ended = Instant::now();
            tally.latencies.push(ended - begun);
            if status == 0 {
                tally.stored += 1;
                tally.stored_bytes += self.dataset.len();
                self.record(&uids)?;
            } else {
                *tally.refused.entry(status).or_default() += 1;
            }
        }
        session.release()?;
        Ok(ended)
    }

    fn uids(&self, number: usize, index: u64) -> InstanceUids {
        let seed = self.args.seed;
        InstanceUids {
            sop_instance: uid(seed, number, UidKind::Instance, index),
            study: uid(seed, number, UidKind::Study, 0),
            series: uid(seed, number, UidKind::Series, index / FILES_PER_SERIES),
        }
    }

    fn record(&self, uids: &InstanceUids) -> Result<(), StoreError> {
        let Some(acked) = &self.acked else {
            return Ok(());
        };
        let start = self.dataset.patched_start(uids);
        let digest = acked::digest(std::iter::once(&start[..]).chain(self.dataset.rest()));
        acked.record(&uids.sop_instance, &digest).map_err(StoreError::Acked)
    }

    fn framed(&self, session: &Session) -> Arc<Framed> {
        let (key, frame): (usize, fn(&Dataset, usize) -> Framed) = match session {
            Session::Dicom(association) => {
                (association.fragment_bytes(), |dataset, bytes| Framed::dicom(dataset, CONTEXT_ID, bytes))
            }
            Session::Raw(_) => (0, |dataset, _| Framed::raw(dataset)),
        };
        let mut framed = self.framed.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(framed.entry(key).or_insert_with(|| Arc::new(frame(&self.dataset, key))))
    }
}

/// The connection of one closed loop.
enum Session {
    Dicom(Association),
    Raw(RawConnection),
}

impl Session {
    /// Sends a message and waits for its status; zero is success, also of the limit.
    fn store(&mut self, message: &Message, message_id: u16) -> Result<u16, StoreError> {
        match self {
            Self::Dicom(association) => {
                let response = association.store(message, message_id)?;
                if response.status != 0 {
                    let comment = &response.comment;
                    eprintln!("message {message_id}: status {:04X} {comment}", response.status);
                }
                Ok(response.status)
            }
            Self::Raw(connection) => match connection.send(message).map_err(StoreError::Raw)? {
                raw::STORED => Ok(0),
                failure => Ok(u16::from(failure)),
            },
        }
    }

    fn release(self) -> Result<(), StoreError> {
        match self {
            Self::Dicom(association) => Ok(association.release()?),
            Self::Raw(_) => Ok(()),
        }
    }
}
