//! One association of the limit: PDUs come in, datasets go to the store, every C-STORE is answered with success.

use std::io::{self, BufReader, Read, Write};

use super::store::{Incoming, Store, Study};
use crate::dimse;
use crate::part10;
use crate::pdu;

/// The most bytes of an association request: 128 presentation contexts of many transfer syntaxes.
const MAX_REQUEST_BYTES: u32 = 256 * 1024;
/// The most bytes of a command set.
const MAX_COMMAND_BYTES: u64 = 64 * 1024;
/// The longest P-DATA-TF that is asked for.
const MAX_PDU_BYTES: u32 = 1 << 20;
/// Read ahead, so that headers and small instances take one read; what is longer is read to where it belongs.
const READ_AHEAD_BYTES: usize = 16 * 1024;

/// Serves one association to its end.
///
/// # Errors
/// Those of the connection and of the store, and `InvalidData` for what is no PDU of a requestor.
pub(super) fn serve(stream: impl Read + Write, store: &Store) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(READ_AHEAD_BYTES, stream);
    let mut request = Vec::new();
    let kind = pdu::read_pdu(&mut stream, &mut request, MAX_REQUEST_BYTES)?;
    if kind != 0x01 {
        return Err(unexpected(kind));
    }
    write(&mut stream, &pdu::accept(&request, MAX_PDU_BYTES))?;
    let mut receiver = Receiver { request, command: Vec::new(), incoming: None, study: store.study() };
    loop {
        let (kind, length) = header(&mut stream)?;
        match kind {
            0x04 => receiver.data(&mut stream, u64::from(length))?,
            0x05 => return write(&mut stream, &pdu::release_reply()),
            0x07 => return Ok(()),
            _ => return Err(unexpected(kind)),
        }
    }
}

/// The state of an association.
struct Receiver<'a> {
    /// The body of its A-ASSOCIATE-RQ, which names the transfer syntaxes.
    request: Vec<u8>,
    command: Vec<u8>,
    incoming: Option<Incoming<'a>>,
    study: Study<'a>,
}

impl Receiver<'_> {
    /// Takes a P-DATA-TF of `left` bytes apart.
    fn data<S: Read + Write>(&mut self, stream: &mut BufReader<S>, mut left: u64) -> io::Result<()> {
        while left > 0 {
            let mut pdv = [0; 6];
            stream.read_exact(&mut pdv)?;
            let [a, b, c, d, context, control] = pdv;
            let fragment = u64::from(u32::from_be_bytes([a, b, c, d])).saturating_sub(2);
            left = left.checked_sub(fragment + 6).ok_or_else(|| unexpected(0x04))?;
            if control & 0b01 != 0 {
                if self.command.len() as u64 + fragment > MAX_COMMAND_BYTES {
                    return Err(unexpected(0x04));
                }
                (&mut *stream).take(fragment).read_to_end(&mut self.command)?;
                continue;
            }
            let mut incoming = match self.incoming.take() {
                Some(incoming) => incoming,
                None => self.study.begin(&self.file_start(context)?)?,
            };
            incoming.read(stream, fragment)?;
            if control & 0b10 == 0 {
                self.incoming = Some(incoming);
                continue;
            }
            let response = dimse::success(&self.command).ok_or_else(|| unexpected(0x04))?;
            self.command.clear();
            let mut answer = Vec::with_capacity(response.len() + pdu::PDATA_OVERHEAD);
            pdu::pdata_header(&mut answer, context, response.len(), 0b11);
            answer.extend_from_slice(&response);
            self.study.store(incoming, || write(stream, &answer))?;
        }
        Ok(())
    }

    /// The bytes before the dataset in the file of the announced instance.
    fn file_start(&self, context: u8) -> io::Result<Vec<u8>> {
        let (sop_class, sop_instance) = dimse::affected(&self.command).ok_or_else(|| unexpected(0x04))?;
        let transfer_syntax = pdu::transfer_syntax(&self.request, context).ok_or_else(|| unexpected(0x04))?;
        Ok(part10::file_start(sop_class, sop_instance, transfer_syntax))
    }
}

/// The type and the length of the next PDU.
fn header(stream: &mut impl Read) -> io::Result<(u8, u32)> {
    let mut header = [0; 6];
    stream.read_exact(&mut header)?;
    let [kind, _, a, b, c, d] = header;
    Ok((kind, u32::from_be_bytes([a, b, c, d])))
}

fn write<S: Read + Write>(stream: &mut BufReader<S>, bytes: &[u8]) -> io::Result<()> {
    let stream = stream.get_mut();
    stream.write_all(bytes)?;
    stream.flush()
}

fn unexpected(kind: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("PDU of type {kind:#04x} is none that a requestor sends here"))
}

/// The line on stderr for an association that failed.
pub(super) fn said(error: &io::Error) -> String {
    format!("association failed: {error}")
}
