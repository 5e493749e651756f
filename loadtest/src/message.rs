//! A whole C-STORE message encoded once and patched per instance: what an association sends is one small head of its own and
//! a large rest that every association shares.

use std::io::IoSlice;
use std::sync::Arc;

use crate::dataset::{Dataset, InstanceUids};
use crate::dimse::StoreRequest;
use crate::pdu::{self, PDATA_OVERHEAD};
use crate::uid::UidBytes;

/// Slices handed to one write.
const SLICES: usize = 8;

/// The bytes of one message, framed for a peer: `head`, `tail`, `period` `repeats` times, `end`.
#[derive(Debug)]
pub(crate) struct Framed {
    head: Vec<u8>,
    tail: Vec<u8>,
    period: Vec<u8>,
    repeats: u64,
    end: Vec<u8>,
    message_id: Vec<usize>,
    sop_instance: Vec<usize>,
    study: Vec<usize>,
    series: Vec<usize>,
}

impl Framed {
    /// A C-STORE-RQ and its dataset as P-DATA-TF PDUs of one PDV each, with at most `fragment_bytes` of the message inside, on
    /// presentation context `context`.
    pub(crate) fn dicom(dataset: &Dataset, context: u8, fragment_bytes: usize) -> Self {
        let request = StoreRequest::new(&dataset.sop_class);
        let mut framer = Framer::new(context, fragment_bytes, request.bytes.len() + dataset.start.len());
        let command = framer.pdata(&request.bytes, 0b01, true);
        let data = framer.pdata(&dataset.start, 0b00, dataset.end.is_empty());
        let mut sop_instance = command.positions(request.sop_instance_at, size_of::<UidBytes>());
        sop_instance.extend(data.positions(dataset.places.sop_instance, size_of::<UidBytes>()));
        let message_id = command.positions(request.message_id_at, 2);
        // Fragments begin anew with each repetition, so that its PDUs can be sent as often as they are asked for.
        let framed = |part: &[u8], last| {
            let mut framer = Framer::new(context, fragment_bytes, part.len());
            framer.pdata(part, 0b00, last);
            framer.bytes
        };
        let rest = (framed(&dataset.period, false), framed(&dataset.end, true));
        Self::new(framer.bytes, rest, &data, message_id, sop_instance, dataset)
    }

    fn new(
        mut bytes: Vec<u8>,
        (period, end): (Vec<u8>, Vec<u8>),
        data: &Placed,
        message_id: Vec<usize>,
        sop_instance: Vec<usize>,
        dataset: &Dataset,
    ) -> Self {
        let study = data.positions(dataset.places.study, size_of::<UidBytes>());
        let series = data.positions(dataset.places.series, size_of::<UidBytes>());
        let last = [&message_id, &sop_instance, &study, &series].into_iter().flatten().max();
        let split = last.map_or(0, |last| last + 1);
        // The big allocation stays where it is, and the small head moves out of it.
        let head: Vec<u8> = bytes.drain(..split).collect();
        Self { head, tail: bytes, period, repeats: dataset.repeats, end, message_id, sop_instance, study, series }
    }
}

/// One association's message: a head of its own over what all share.
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
    pub(crate) fn patch(&mut self, message_id: u16, uids: &InstanceUids) {
        let framed = Arc::clone(&self.framed);
        self.write(&framed.message_id, &message_id.to_le_bytes());
        self.write(&framed.sop_instance, &uids.sop_instance);
        self.write(&framed.study, &uids.study);
        self.write(&framed.series, &uids.series);
    }

    /// Writes `value` at `positions`, from its start again when there are more positions than bytes.
    fn write(&mut self, positions: &[usize], value: &[u8]) {
        for (&position, &byte) in positions.iter().zip(value.iter().cycle()) {
            if let Some(place) = self.head.get_mut(position) {
                *place = byte;
            }
        }
    }

    /// Bytes of the whole message on the wire.
    pub(crate) fn len(&self) -> u64 {
        let Framed { tail, period, repeats, end, .. } = &*self.framed;
        (self.head.len() + tail.len() + end.len()) as u64 + period.len() as u64 * repeats
    }

    /// The bytes to be written next after the first `position`: a few slices for one system call, the unused ones empty.
    pub(crate) fn slices(&self, mut position: u64) -> [IoSlice<'_>; SLICES] {
        std::array::from_fn(|_| {
            let slice = self.from(position);
            position += slice.len() as u64;
            IoSlice::new(slice)
        })
    }

    /// The rest of the part that byte number `position` is in; empty behind the end.
    fn from(&self, position: u64) -> &[u8] {
        let Framed { tail, period, repeats, end, .. } = &*self.framed;
        let mut at = position;
        let rest_of = |part: &'_ [u8], at: u64| usize::try_from(at).ok().filter(|&at| at < part.len());
        for part in [&self.head, tail] {
            if let Some(at) = rest_of(part, at) {
                return part.get(at..).unwrap_or_default();
            }
            at -= part.len() as u64;
        }
        let repeated = period.len() as u64 * repeats;
        if at < repeated {
            return period.get((at % period.len() as u64) as usize..).unwrap_or_default();
        }
        rest_of(end, at - repeated).and_then(|at| end.get(at..)).unwrap_or_default()
    }
}

struct Framer {
    bytes: Vec<u8>,
    context: u8,
    fragment_bytes: usize,
}

impl Framer {
    fn new(context: u8, fragment_bytes: usize, payload_bytes: usize) -> Self {
        let fragment_bytes = fragment_bytes.max(1);
        let headers = (payload_bytes / fragment_bytes + 2) * PDATA_OVERHEAD;
        Self { bytes: Vec::with_capacity(payload_bytes + headers), context, fragment_bytes }
    }

    /// Appends `payload`; `ends` says whether a command set or dataset ends with it.
    fn pdata(&mut self, payload: &[u8], control: u8, ends: bool) -> Placed {
        let start = self.bytes.len();
        let mut fragments = payload.chunks(self.fragment_bytes).peekable();
        while let Some(fragment) = fragments.next() {
            let last = if ends && fragments.peek().is_none() { 0b10 } else { 0 };
            pdu::pdata_header(&mut self.bytes, self.context, fragment.len(), control | last);
            self.bytes.extend_from_slice(fragment);
        }
        Placed { start, fragment_bytes: self.fragment_bytes }
    }
}

/// Where a payload came to stand among the headers of its fragments.
struct Placed {
    start: usize,
    fragment_bytes: usize,
}

impl Placed {
    fn position(&self, offset: usize) -> usize {
        let headers = (offset / self.fragment_bytes + 1) * PDATA_OVERHEAD;
        self.start + headers + offset
    }

    fn positions(&self, offset: usize, count: usize) -> Vec<usize> {
        (offset..offset + count).map(|offset| self.position(offset)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Encoding, ct_image};
    use crate::pdu::{pdvs, read_pdu};

    const UIDS: InstanceUids = InstanceUids { sop_instance: [b'1'; 44], study: [b'2'; 44], series: [b'3'; 44] };

    fn expected(dataset: &Dataset) -> Vec<u8> {
        let mut bytes = dataset.patched_start(&UIDS);
        dataset.rest().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// Everything that is written, taken in steps of at most `step` bytes.
    fn wire(message: &Message, step: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < message.len() {
            let offered: Vec<u8> = message.slices(bytes.len() as u64).iter().flat_map(|slice| slice.to_vec()).collect();
            assert!(!offered.is_empty());
            bytes.extend(offered.into_iter().take(step));
        }
        assert!(message.slices(message.len()).iter().all(|slice| slice.is_empty()));
        bytes
    }

    /// The command set and the dataset that a receiver puts together, and the longest PDU body it saw.
    fn reassemble(wire: &[u8]) -> (Vec<u8>, Vec<u8>, usize) {
        let (mut command, mut data, mut longest) = (Vec::new(), Vec::new(), 0);
        let (mut reader, mut body, mut ended) = (wire, Vec::new(), Vec::new());
        while !reader.is_empty() {
            assert_eq!(read_pdu(&mut reader, &mut body, u32::MAX).unwrap(), 0x04);
            longest = longest.max(body.len());
            for (control, fragment) in pdvs(&body) {
                let message = if control & 1 == 1 { &mut command } else { &mut data };
                message.extend_from_slice(fragment);
                ended.extend((control & 2 == 2).then_some(reader.len()));
            }
        }
        assert_eq!((ended.len(), ended.last()), (2, Some(&0)), "command and dataset each end once");
        (command, data, longest)
    }

    #[test]
    fn whatever_the_fragment_size_a_receiver_sees_the_patched_message() {
        let dataset = ct_image(20_000, Encoding::Explicit, 1);
        for fragment_bytes in [2, 10, 378, 4096, 1 << 20] {
            let mut message = Message::new(Arc::new(Framed::dicom(&dataset, 3, fragment_bytes)));
            message.patch(0x0201, &UIDS);
            let (command, data, longest) = reassemble(&wire(&message, usize::MAX));
            assert!(longest <= fragment_bytes + pdu::PDV_OVERHEAD);
            assert!(data == expected(&dataset), "fragments of {fragment_bytes}");
            let request = StoreRequest::new(&dataset.sop_class);
            assert_eq!(command[request.message_id_at..][..2], [0x01, 0x02]);
            assert_eq!(command[request.sop_instance_at..][..44], [b'1'; 44]);
        }
    }

    #[test]
    fn a_dataset_that_repeats_itself_arrives_whole_however_the_socket_takes_it() {
        let dataset = ct_image((20 << 20) + 1000, Encoding::Explicit, 1);
        assert!(dataset.repeats > 1);
        for (fragment_bytes, step) in [(131_066, usize::MAX), (1 << 20, 700_001)] {
            let mut message = Message::new(Arc::new(Framed::dicom(&dataset, 1, fragment_bytes)));
            message.patch(1, &UIDS);
            let (_, data, _) = reassemble(&wire(&message, step));
            assert!(data == expected(&dataset), "fragments of {fragment_bytes}");
        }
    }

    #[test]
    fn two_associations_share_the_tail_and_not_the_head() {
        let framed = Arc::new(Framed::dicom(&ct_image(20_000, Encoding::Explicit, 1), 1, 4096));
        let (mut one, two) = (Message::new(Arc::clone(&framed)), Message::new(framed));
        one.patch(1, &UIDS);
        assert_ne!(one.head, two.head);
        assert!(std::ptr::eq(one.framed.tail.as_slice(), two.framed.tail.as_slice()));
    }
}
