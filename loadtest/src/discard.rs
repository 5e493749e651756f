//! A DICOM receiver that keeps nothing and accepts everything: the limit of the generator itself, over the same wire as any other.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustix::net::{RecvFlags, recv};

use crate::dimse;
use crate::pdu;
use crate::report::Tally;

/// The most bytes of an association request: 128 presentation contexts of many transfer syntaxes.
const MAX_REQUEST_BYTES: u32 = 256 * 1024;
/// The most bytes of a command set.
const MAX_COMMAND_BYTES: usize = 64 * 1024;
/// Thrown away at a time.
const DISCARDED_BYTES: usize = 1 << 20;
/// The longest P-DATA-TF that is asked for.
const MAX_PDU_BYTES: u32 = 1 << 20;

/// Serves one association to its end.
///
/// # Errors
/// Those of the connection, and `InvalidData` for what is no PDU of a requestor.
pub(crate) fn serve(mut stream: TcpStream) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut body = Vec::new();
    let kind = pdu::read_pdu(&mut stream, &mut body, MAX_REQUEST_BYTES)?;
    if kind != 0x01 {
        return Err(no_pdu(kind));
    }
    stream.write_all(&pdu::accept(&body, MAX_PDU_BYTES))?;
    let mut nowhere = vec![0; DISCARDED_BYTES];
    let (mut command, mut dataset_bytes) = (Vec::new(), 0);
    loop {
        let mut header = [0; 6];
        stream.read_exact(&mut header)?;
        let [kind, _, a, b, c, d] = header;
        let mut left = u64::from(u32::from_be_bytes([a, b, c, d]));
        match kind {
            0x04 => {}
            0x05 => {
                stream.write_all(&pdu::release_reply())?;
                return Ok(tally);
            }
            0x07 => return Ok(tally),
            _ => return Err(no_pdu(kind)),
        }
        while left > 0 {
            let mut header = [0; 6];
            stream.read_exact(&mut header)?;
            let [a, b, c, d, context, control] = header;
            let fragment = u64::from(u32::from_be_bytes([a, b, c, d])).saturating_sub(2);
            left = left.checked_sub(fragment + 6).ok_or_else(|| no_pdu(kind))?;
            if control & 0b01 != 0 {
                let start = command.len();
                let end = start + usize::try_from(fragment).unwrap_or(usize::MAX).min(MAX_COMMAND_BYTES + 1);
                if end > MAX_COMMAND_BYTES {
                    return Err(no_pdu(kind));
                }
                command.resize(end, 0);
                stream.read_exact(command.get_mut(start..).unwrap_or_default())?;
                continue;
            }
            discard(&stream, fragment, &mut nowhere)?;
            dataset_bytes += fragment;
            if control & 0b10 != 0 {
                let response = dimse::success(&command).ok_or_else(|| no_pdu(kind))?;
                command.clear();
                let mut answer = Vec::with_capacity(response.len() + pdu::PDATA_OVERHEAD);
                pdu::pdata_header(&mut answer, context, response.len(), 0b11);
                answer.extend_from_slice(&response);
                stream.write_all(&answer)?;
                tally.stored += 1;
                tally.stored_bytes += std::mem::take(&mut dataset_bytes);
            }
        }
    }
}

/// Takes so many bytes off the socket; the kernel need not copy what nobody looks at.
fn discard(stream: &TcpStream, mut left: u64, nowhere: &mut [u8]) -> io::Result<()> {
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(nowhere.len());
        let Some(part) = nowhere.get_mut(..part) else {
            return Ok(());
        };
        match recv(stream, part, RecvFlags::TRUNC) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, count)) => left -= count as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn no_pdu(kind: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("PDU of type {kind:#04x} is none that a requestor sends here"))
}
