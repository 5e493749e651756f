//! A whole C-STORE message encoded once and patched per instance: what an association sends is one small head of its own and
//! one large tail that every association shares.

use std::ops::Range;
use std::sync::Arc;

use crate::dataset::{CT_IMAGE_STORAGE, Dataset};
use crate::dimse::StoreRequest;
use crate::pdu::{self, PDATA_OVERHEAD};
use crate::uid::UidBytes;

/// The bytes of one message, framed for a peer.
#[derive(Debug)]
pub(crate) struct Framed {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Where the dataset's bytes stand in head and tail together; no span crosses from one to the other.
    dataset: Vec<Range<usize>>,
    message_id: Vec<usize>,
    sop_instance: Vec<usize>,
    study: Vec<usize>,
    series: Vec<usize>,
}

impl Framed {
    /// A C-STORE-RQ and its dataset as P-DATA-TF PDUs of one PDV each, with at most `fragment_bytes` of the message inside.
    pub(crate) fn dicom(dataset: &Dataset, fragment_bytes: usize) -> Self {
        let request = StoreRequest::new(CT_IMAGE_STORAGE);
        let mut framer = Framer::new(fragment_bytes, request.bytes.len() + dataset.bytes.len());
        let command = framer.pdata(&request.bytes, 0b01);
        let data = framer.pdata(&dataset.bytes, 0b00);
        let mut sop_instance = command.positions(request.sop_instance_at, size_of::<UidBytes>());
        sop_instance.extend(data.positions(dataset.sop_instance_at, size_of::<UidBytes>()));
        let message_id = command.positions(request.message_id_at, 2);
        Self::new(framer.bytes, &data, message_id, sop_instance, dataset)
    }

    /// The dataset as one frame of the raw sink: a big endian 64-bit length, then the bytes.
    pub(crate) fn raw(dataset: &Dataset) -> Self {
        let length = dataset.bytes.len();
        let mut bytes = Vec::with_capacity(length + 8);
        bytes.extend_from_slice(&(length as u64).to_be_bytes());
        bytes.extend_from_slice(&dataset.bytes);
        let data = Placed { start: 0, fragment_bytes: length.max(1), header_bytes: 8, length };
        let sop_instance = data.positions(dataset.sop_instance_at, size_of::<UidBytes>());
        Self::new(bytes, &data, Vec::new(), sop_instance, dataset)
    }

    fn new(
        mut bytes: Vec<u8>,
        data: &Placed,
        message_id: Vec<usize>,
        sop_instance: Vec<usize>,
        dataset: &Dataset,
    ) -> Self {
        let study = data.positions(dataset.study_at, size_of::<UidBytes>());
        let series = data.positions(dataset.series_at, size_of::<UidBytes>());
        let last = [&message_id, &sop_instance, &study, &series].into_iter().flatten().max();
        let split = last.map_or(0, |last| last + 1);
        let mut spans = Vec::new();
        for span in data.spans() {
            if span.start < split && split < span.end {
                spans.push(span.start..split);
                spans.push(split..span.end);
            } else {
                spans.push(span);
            }
        }
        // The big allocation stays where it is, and the small head moves out of it.
        let head: Vec<u8> = bytes.drain(..split).collect();
        Self { head, tail: bytes, dataset: spans, message_id, sop_instance, study, series }
    }
}

/// What differs between two instances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InstanceIds {
    pub(crate) message_id: u16,
    pub(crate) sop_instance: UidBytes,
    pub(crate) study: UidBytes,
    pub(crate) series: UidBytes,
}

/// One association's message: a head of its own over the shared tail.
#[derive(Debug)]
pub(crate) struct Message {
    framed: Arc<Framed>,
    head: Vec<u8>,
}

impl Message {
    pub(crate) fn new(framed: Arc<Framed>) -> Self {
        let head = framed.head.clone();
        Self { framed, head }
    }

    /// Turns the message into that of another instance.
    pub(crate) fn patch(&mut self, ids: &InstanceIds) {
        let framed = Arc::clone(&self.framed);
        self.write(&framed.message_id, &ids.message_id.to_le_bytes());
        self.write(&framed.sop_instance, &ids.sop_instance);
        self.write(&framed.study, &ids.study);
        self.write(&framed.series, &ids.series);
    }

    /// Writes `value` at `positions`, from its start again when there are more positions than bytes.
    fn write(&mut self, positions: &[usize], value: &[u8]) {
        for (&position, &byte) in positions.iter().zip(value.iter().cycle()) {
            if let Some(place) = self.head.get_mut(position) {
                *place = byte;
            }
        }
    }

    /// What goes to the peer, in order.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.head, &self.framed.tail]
    }

    /// The dataset alone, in order.
    pub(crate) fn dataset(&self) -> impl Iterator<Item = &[u8]> {
        let split = self.head.len();
        self.framed.dataset.iter().filter_map(move |span| match span.start.checked_sub(split) {
            None => self.head.get(span.clone()),
            Some(start) => self.framed.tail.get(start..span.end - split),
        })
    }
}

struct Framer {
    bytes: Vec<u8>,
    fragment_bytes: usize,
}

impl Framer {
    fn new(fragment_bytes: usize, payload_bytes: usize) -> Self {
        let fragment_bytes = fragment_bytes.max(1);
        let headers = (payload_bytes / fragment_bytes + 2) * PDATA_OVERHEAD;
        Self { bytes: Vec::with_capacity(payload_bytes + headers), fragment_bytes }
    }

    fn pdata(&mut self, payload: &[u8], control: u8) -> Placed {
        let start = self.bytes.len();
        let mut fragments = payload.chunks(self.fragment_bytes).peekable();
        while let Some(fragment) = fragments.next() {
            let last = if fragments.peek().is_none() { 0b10 } else { 0 };
            pdu::pdata_header(&mut self.bytes, fragment.len(), control | last);
            self.bytes.extend_from_slice(fragment);
        }
        let fragment_bytes = self.fragment_bytes;
        Placed { start, fragment_bytes, header_bytes: PDATA_OVERHEAD, length: payload.len() }
    }
}

/// Where a payload came to stand among the headers of its fragments.
struct Placed {
    start: usize,
    fragment_bytes: usize,
    header_bytes: usize,
    length: usize,
}

impl Placed {
    fn position(&self, offset: usize) -> usize {
        let headers = (offset / self.fragment_bytes + 1) * self.header_bytes;
        self.start + headers + offset
    }

    fn positions(&self, offset: usize, count: usize) -> Vec<usize> {
        (offset..offset + count).map(|offset| self.position(offset)).collect()
    }

    fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.length).step_by(self.fragment_bytes).map(|offset| {
            let start = self.position(offset);
            start..start + self.fragment_bytes.min(self.length - offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::TransferSyntax;
    use crate::pdu::{pdvs, read_pdu};
    use crate::uid::{UidKind, uid};

    const IDS: InstanceIds =
        InstanceIds { message_id: 0x0201, sop_instance: [b'1'; 44], study: [b'2'; 44], series: [b'3'; 44] };

    fn patched_dataset() -> (Dataset, Vec<u8>) {
        let dataset = Dataset::ct_image(20_000, TransferSyntax::Explicit, 1);
        let mut bytes = dataset.bytes.clone();
        bytes[dataset.sop_instance_at..][..44].fill(b'1');
        bytes[dataset.study_at..][..44].fill(b'2');
        bytes[dataset.series_at..][..44].fill(b'3');
        (dataset, bytes)
    }

    /// The command set and the dataset that a receiver puts together, and the longest PDU body it saw.
    fn reassemble(wire: &[u8]) -> (Vec<u8>, Vec<u8>, usize) {
        let (mut command, mut data, mut longest) = (Vec::new(), Vec::new(), 0);
        let (mut reader, mut body) = (wire, Vec::new());
        while !reader.is_empty() {
            assert_eq!(read_pdu(&mut reader, &mut body, u32::MAX).unwrap(), 0x04);
            longest = longest.max(body.len());
            for (control, fragment) in pdvs(&body) {
                let message = if control & 1 == 1 { &mut command } else { &mut data };
                message.extend_from_slice(fragment);
            }
        }
        (command, data, longest)
    }

    #[test]
    fn whatever_the_fragment_size_a_receiver_sees_the_patched_message() {
        let (dataset, expected) = patched_dataset();
        for fragment_bytes in [2, 10, 378, 4096, 1 << 20] {
            let mut message = Message::new(Arc::new(Framed::dicom(&dataset, fragment_bytes)));
            message.patch(&IDS);
            let (command, data, longest) = reassemble(&message.parts().concat());
            assert!(longest <= fragment_bytes + pdu::PDV_OVERHEAD);
            assert!(data == expected, "fragments of {fragment_bytes}");
            let request = StoreRequest::new(CT_IMAGE_STORAGE);
            assert_eq!(command[request.message_id_at..][..2], [0x01, 0x02]);
            assert_eq!(command[request.sop_instance_at..][..44], [b'1'; 44]);
            assert!(message.dataset().collect::<Vec<_>>().concat() == expected);
        }
    }

    #[test]
    fn a_raw_frame_is_the_length_and_the_patched_dataset() {
        let (dataset, expected) = patched_dataset();
        let mut message = Message::new(Arc::new(Framed::raw(&dataset)));
        message.patch(&IDS);
        let wire = message.parts().concat();
        assert_eq!(wire[..8], (expected.len() as u64).to_be_bytes());
        assert!(wire[8..] == expected);
        assert!(message.dataset().collect::<Vec<_>>().concat() == expected);
    }

    #[test]
    fn two_associations_share_the_tail_and_not_the_head() {
        let (dataset, _) = patched_dataset();
        let framed = Arc::new(Framed::dicom(&dataset, 4096));
        let (mut one, two) = (Message::new(Arc::clone(&framed)), Message::new(framed));
        one.patch(&InstanceIds { sop_instance: uid(1, 1, UidKind::Instance, 1), ..IDS });
        assert_ne!(one.parts()[0], two.parts()[0]);
        assert!(std::ptr::eq(one.parts()[1], two.parts()[1]));
    }
}
