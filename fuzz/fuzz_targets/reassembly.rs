//! The bytes of an established association, against dicom-ul's reader and dicom-object's command sets of the same bytes: both must
//! accept or refuse the same PDUs, and find the same messages in them, byte by byte.
//!
//! dicom-ul's reader knows PDUs but no association, so what may come when is modelled here, over what it reads. Where the two differ
//! on purpose:
//!
//! | bytes | dicom-ul | here | because |
//! |---|---|---|---|
//! | a PDU that is yet to end | nothing | its PDVs as they come | a dataset is not held; so only whole PDUs are compared |
//! | A-RELEASE-RQ, A-ABORT longer than 4 bytes | taken | violation | their length is fixed (PS3.8 §9.3.6, §9.3.8) |
//! | A-ABORT with a source or reason that is not defined | refused or taken | taken | an abort ends the association whatever it says |
//! | a PDV that does not fit, behind some that do | refuses the whole PDU | takes those | they came first |
//! | a command set that is not as dicom-object would write it | taken or refused | taken or refused | elements out of order, twice, of odd length: PS3.7 does not say |
#![no_main]

mod peer;

use std::mem::take;

use dicom_core::Tag;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::IMPLICIT_VR_LITTLE_ENDIAN;
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu, read_pdu};
use libfuzzer_sys::fuzz_target;
use peer::{MAX_COMMAND_SET, MAX_PDU_LENGTH, drive, established};
use tidegate_protocol::Event;

/// A message, or a part of one, as either of the two understood it.
#[derive(Debug, PartialEq, Eq)]
enum Understood {
    Store { context_id: u8, message_id: u16, sop_instance_uid: Vec<u8>, has_data_set: bool },
    Fragment(Vec<u8>),
    DatasetComplete,
    Echo,
    Refused(u16),
}

/// The end of the association, or its state behind the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It has not ended.
    Open,
    Released,
    Aborted,
    Violated,
    /// The rest is not comparable.
    Unknown,
}

/// A command set that is as dicom-object would write it.
struct Command {
    field: Option<u16>,
    message_id: Option<u16>,
    data_set_type: Option<u16>,
    sop_instance_uid: Vec<u8>,
}

impl Command {
    fn read(bytes: &[u8]) -> Option<Self> {
        // dicom-object sets aside as much memory as an element announces, or an item of a sequence.
        if !is_bounded(bytes) {
            return None;
        }
        let syntax = IMPLICIT_VR_LITTLE_ENDIAN.erased();
        let command = InMemDicomObject::read_dataset_with_ts(bytes, &syntax).ok()?;
        let mut written = Vec::new();
        command.write_dataset_with_ts(&mut written, &syntax).ok()?;
        let is_plain = command.iter().all(|element| element.header().tag.group() == 0 && element.items().is_none());
        if written != bytes || !is_plain {
            return None;
        }
        let number = |element| match command.get(Tag(0, element))?.to_multi_int::<u16>().ok()?[..] {
            [number] => Some(number),
            _ => None,
        };
        let value = |element| Some(command.get(Tag(0, element))?.to_bytes().ok()?.into_owned());
        let sop_instance_uid = value(0x1001).or_else(|| value(0x1000)).unwrap_or_default();
        // dicom-object decodes a UID that is not ASCII to other bytes than those that arrived.
        sop_instance_uid.is_ascii().then(|| Self {
            field: number(0x0100),
            message_id: number(0x0110),
            data_set_type: number(0x0800),
            sop_instance_uid,
        })
    }
}

/// Whether no element reaches beyond the end, has an odd length, which is read as one more, or is of a group that has sequences.
fn is_bounded(mut rest: &[u8]) -> bool {
    while let Some((header, tail)) = rest.split_at_checked(8) {
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let is_plain = header[..2] == [0, 0] && length % 2 == 0;
        let Some((_, tail)) = tail.split_at_checked(length as usize).filter(|_| is_plain) else { return false };
        rest = tail;
    }
    rest.is_empty()
}

/// The association as PS3.7 and PS3.8 have it, over PDVs that dicom-ul has read.
#[derive(Default)]
struct Model {
    understood: Vec<Understood>,
    command: Option<(u8, Vec<u8>)>,
    /// The context of the dataset under way, and what is answered at its end if it is no C-STORE's.
    dataset: Option<(u8, Option<Understood>)>,
}

impl Model {
    fn pdv(&mut self, pdv: PDataValue) -> Result<(), Ending> {
        let PDataValue { presentation_context_id: id, value_type, is_last, data } = pdv;
        if ![1, 3, 5].contains(&id) {
            return Err(Ending::Violated);
        }
        match (value_type, self.dataset.take()) {
            (PDataValueType::Command, None) => {
                let (context_id, mut bytes) = self.command.take().unwrap_or((id, Vec::new()));
                bytes.extend(data);
                if context_id != id || bytes.len() > MAX_COMMAND_SET as usize {
                    return Err(Ending::Violated);
                }
                match is_last {
                    true => self.command(id, &bytes),
                    false => {
                        self.command = Some((id, bytes));
                        Ok(())
                    }
                }
            }
            (PDataValueType::Data, Some((context_id, unwanted))) if context_id == id => {
                if unwanted.is_none() && !data.is_empty() {
                    self.understood.push(Understood::Fragment(data));
                }
                match (is_last, unwanted) {
                    (true, Some(answer)) => self.understood.push(answer),
                    (true, None) => self.understood.push(Understood::DatasetComplete),
                    (false, unwanted) => self.dataset = Some((id, unwanted)),
                }
                Ok(())
            }
            _ => Err(Ending::Violated),
        }
    }

    fn command(&mut self, context_id: u8, bytes: &[u8]) -> Result<(), Ending> {
        let Command { field, message_id, data_set_type, sop_instance_uid } =
            Command::read(bytes).ok_or(Ending::Unknown)?;
        let (Some(field), Some(data_set_type)) = (field, data_set_type) else { return Err(Ending::Violated) };
        if field & 0x8000 != 0 || (message_id.is_none() && field != 0x0FFF) {
            return Err(Ending::Violated);
        }
        let has_data_set = data_set_type != 0x0101;
        let answer = match field {
            0x0001 => {
                let message_id = message_id.unwrap_or(0);
                self.understood.push(Understood::Store { context_id, message_id, sop_instance_uid, has_data_set });
                self.dataset = has_data_set.then_some((context_id, None));
                return Ok(());
            }
            0x0FFF if has_data_set => return Err(Ending::Unknown), // a C-CANCEL has no dataset
            0x0FFF => return Ok(()),
            0x0030 => Understood::Echo,
            field => Understood::Refused(field),
        };
        match has_data_set {
            true => self.dataset = Some((context_id, Some(answer))),
            false => self.understood.push(answer),
        }
        Ok(())
    }
}

/// Reads the bytes with dicom-ul: the messages, the ending, and the number of bytes read.
fn by_dicom_ul(bytes: &[u8]) -> (Vec<Understood>, Ending, usize) {
    let mut model = Model::default();
    let mut rest = bytes;
    let ending = loop {
        let header = rest;
        match read_pdu(&mut rest, MAX_PDU_LENGTH, true) {
            Ok(Some(Pdu::PData { data })) => {
                if let Err(ending) = data.into_iter().try_for_each(|pdv| model.pdv(pdv)) {
                    break ending;
                }
            }
            Ok(Some(Pdu::ReleaseRQ)) if header[2..6] == [0, 0, 0, 4] => break Ending::Released,
            Ok(Some(Pdu::AbortRQ { .. })) if header[2..6] == [0, 0, 0, 4] => break Ending::Aborted,
            Err(_) if header[0] == 7 && header[2..6] == [0, 0, 0, 4] => break Ending::Aborted,
            Ok(Some(_)) => break Ending::Violated,
            // Those of its PDVs that came before may be understood.
            Err(_) => return (joined(model.understood), Ending::Violated, bytes.len()),
            Ok(None) => return (joined(model.understood), Ending::Open, bytes.len() - header.len()),
        }
    };
    (joined(model.understood), ending, bytes.len() - rest.len())
}

/// The same from this node's events.
fn by_us(events: &[Event]) -> (Vec<Understood>, Ending) {
    let mut understood = Vec::new();
    for event in events {
        understood.push(match event {
            Event::StoreRequested(request) => Understood::Store {
                context_id: request.operation.context_id,
                message_id: request.operation.message_id,
                sop_instance_uid: request.affected_sop_instance_uid().to_vec(),
                has_data_set: request.has_data_set,
            },
            Event::Fragment(bytes) => Understood::Fragment(bytes.to_vec()),
            Event::DatasetComplete => Understood::DatasetComplete,
            Event::Echoed => Understood::Echo,
            Event::OperationRefused(field) => Understood::Refused(*field),
            Event::ReleaseRequested => return (understood, Ending::Released),
            Event::PeerAborted(_) => return (understood, Ending::Aborted),
            Event::Violated(_) => return (understood, Ending::Violated),
            other => panic!("{other:?} in an association"),
        });
    }
    (understood, Ending::Open)
}

/// Fragments of one dataset as one.
fn joined(understood: Vec<Understood>) -> Vec<Understood> {
    let mut joined: Vec<Understood> = Vec::new();
    for mut next in understood {
        match (joined.last_mut(), &mut next) {
            (Some(Understood::Fragment(whole)), Understood::Fragment(more)) => whole.extend(take(more)),
            _ => joined.push(next),
        }
    }
    joined
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = drive(&mut established(), bytes, bytes.len());
    // A peer that sends more after its A-ABORT gets answers that depend on when it reads them, so only events are compared.
    assert_eq!(whole.events, drive(&mut established(), bytes, usize::from(piece)).events);
    let (theirs, their_ending, length) = by_dicom_ul(bytes);
    let whole = if length == bytes.len() { whole } else { drive(&mut established(), &bytes[..length], length) };
    let (ours, our_ending) = by_us(&whole.events);
    if their_ending == Ending::Unknown {
        return assert!(ours.len() >= theirs.len() && ours[..theirs.len()] == theirs[..]);
    }
    assert_eq!(our_ending, their_ending, "{ours:?} {theirs:?}");
    match our_ending {
        // dicom-ul gives nothing of a PDU of which it refuses a part.
        Ending::Violated => assert!(begins_with(&ours, &theirs), "{ours:?} {theirs:?}"),
        _ => assert_eq!(ours, theirs),
    }
});

/// Whether the one begins as the other: the last fragment may be longer.
fn begins_with(ours: &[Understood], theirs: &[Understood]) -> bool {
    let Some((last, before)) = theirs.split_last() else { return true };
    let Some(at_last) = ours.get(before.len()) else { return false };
    let agrees = match (at_last, last) {
        (Understood::Fragment(ours), Understood::Fragment(theirs)) => ours.starts_with(theirs),
        (ours, theirs) => ours == theirs,
    };
    ours[..before.len()] == *before && agrees
}
