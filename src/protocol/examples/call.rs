//! Calls a peer, for tests with other implementations: a C-ECHO, a C-STORE of a dataset without file meta information, a request for storage
//! commitment, or the report of one. Writes a line for each event.
//!
//! ```sh
//! cargo run -p tidegate-protocol --example call -- 127.0.0.1:11112 PEER echo
//! cargo run -p tidegate-protocol --example call -- 127.0.0.1:11112 PEER store SOP_CLASS SOP_INSTANCE < dataset
//! cargo run -p tidegate-protocol --example call -- 127.0.0.1:11112 PEER commit < action-information
//! cargo run -p tidegate-protocol --example call -- 127.0.0.1:11112 PEER report SOP_CLASS SOP_INSTANCE…
//! ```
//!
//! Datasets are in explicit VR little endian. The last of the reported instances has failed, if there are several.

use std::error::Error;
use std::io::{Read, Write, stdin, stdout};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::BytesMut;
use tidegate_protocol::commitment::{Encoding, EventInformation, Reference, Terms};
use tidegate_protocol::requestor::{Event, Proposal, ProposedContext, Role};
use tidegate_protocol::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT, VERIFICATION};
use tidegate_protocol::{Invocation, Requestor};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [address, called, rest @ ..] = &words[..] else {
        return Err("ADDRESS and AE title of the peer, please".into());
    };
    let (context, invocation, dataset) = match rest {
        ["echo"] => (VERIFICATION, Invocation::Echo, Vec::new()),
        ["store", sop_class, sop_instance] => {
            (*sop_class, Invocation::Store { sop_class, sop_instance }, from_stdin()?)
        }
        ["commit"] => (STORAGE_COMMITMENT, Invocation::RequestCommitment, from_stdin()?),
        ["report", sop_class, instances @ ..] => {
            let event_type = if instances.len() > 1 { 2 } else { 1 };
            (STORAGE_COMMITMENT, Invocation::ReportCommitment { event_type }, event_information(sop_class, instances)?)
        }
        _ => return Err("echo, store, commit or report, please".into()),
    };
    let role = if matches!(invocation, Invocation::ReportCommitment { .. }) { Role::Scp } else { Role::Scu };
    call(address, called, (context, role), &invocation, &dataset)
}

fn from_stdin() -> std::io::Result<Vec<u8>> {
    let mut dataset = Vec::new();
    stdin().read_to_end(&mut dataset)?;
    Ok(dataset)
}

fn event_information(sop_class: &str, instances: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = Vec::new();
    let terms = Terms { transaction_uid: "2.25.1", retrieve_ae_title: Some("TIDEGATE") };
    let mut writer = EventInformation::begin(&mut out, Encoding::Explicit, &terms);
    let (committed, failed) = instances.split_at(instances.len().saturating_sub(1).max(1).min(instances.len()));
    for sop_instance in failed {
        writer.failed(&mut out, Reference { sop_class, sop_instance }, 0x0112)?;
    }
    for sop_instance in committed {
        writer.committed(&mut out, Reference { sop_class, sop_instance });
    }
    writer.end(&mut out);
    Ok(out)
}

fn call(
    address: &str,
    called: &str,
    (abstract_syntax, role): (&str, Role),
    invocation: &Invocation<'_>,
    dataset: &[u8],
) -> Result<(), Box<dyn Error>> {
    let syntaxes: Vec<Arc<str>> = vec![EXPLICIT_VR_LITTLE_ENDIAN.into()];
    let mut requestor = Requestor::new(Proposal {
        calling_ae_title: "TIDEGATE".to_owned(),
        called_ae_title: called.to_owned(),
        contexts: vec![ProposedContext { abstract_syntax: abstract_syntax.into(), transfer_syntaxes: syntaxes, role }],
        max_pdu_length: 16_384,
        max_command_set: 4096,
        async_operations: 1,
    })?;
    let mut peer = TcpStream::connect(address)?;
    let mut input = BytesMut::new();
    let mut buffer = [0; 16_384];
    loop {
        peer.write_all(&requestor.take_output())?;
        let Some(event) = requestor.poll(&mut input) else {
            match peer.read(&mut buffer)? {
                0 => return Ok(()),
                read => input.extend_from_slice(&buffer[..read]),
            }
            continue;
        };
        writeln!(stdout(), "{event:?}")?;
        match event {
            Event::Accepted(acceptance) if acceptance.contexts.iter().any(|context| context.outcome.is_ok()) => {
                requestor.begin(1, invocation)?;
                for piece in dataset.chunks(10_000) {
                    requestor.push_dataset(piece);
                    peer.write_all(&requestor.take_output())?;
                }
                requestor.end_dataset();
            }
            Event::Accepted(_) | Event::Responded(_) => requestor.release()?,
            Event::ReleaseRequested => requestor.answer_release(),
            Event::Violated(violation) => {
                peer.write_all(&requestor.take_output())?;
                return Err(violation.into());
            }
            Event::Rejected(_) | Event::Released | Event::PeerAborted(_) => return Ok(()),
            Event::Fragment(_) | Event::DatasetComplete | Event::OperationRefused(_) => {}
        }
    }
}
