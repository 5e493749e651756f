//! Properties for any bytes: the cuts of a stream do not change its meaning, and no input does harm.

use std::sync::Arc;

use super::peer::*;
use crate::{Association, Event, State};
use bytes::BytesMut;
use dicom_ul::pdu::{PDataValue, Pdu};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
enum Sent {
    Store(u8, Vec<u8>),
    StoreWithoutDataset,
    Echo,
    Find(Option<Vec<u8>>),
}

/// The events for the caller, which the cuts must not change.
#[derive(Debug, PartialEq, Eq)]
enum Observed {
    Store { context_id: u8, message_id: u16, has_data_set: bool },
    Data(Vec<u8>),
    DatasetComplete,
    Echoed,
    Refused(u16),
}

/// How a stream is cut: all lists are used round and round.
#[derive(Clone, Debug)]
struct Cuts {
    pdv_bytes: Vec<usize>,
    pdvs_per_pdu: Vec<usize>,
    tcp_bytes: Vec<usize>,
}

fn messages() -> impl Strategy<Value = Vec<Sent>> {
    let dataset = || prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..3000)];
    let message = prop_oneof![
        4 => (prop_oneof![Just(1), Just(7)], dataset()).prop_map(|(id, data)| Sent::Store(id, data)),
        1 => Just(Sent::StoreWithoutDataset),
        1 => Just(Sent::Echo),
        1 => proptest::option::of(dataset()).prop_map(Sent::Find),
    ];
    vec(message, 0..6)
}

fn cuts() -> impl Strategy<Value = Cuts> {
    let tcp = prop_oneof![1..8_usize, 1..3000_usize];
    (
        prop_oneof![Just(vec![1]), Just(vec![100_000]), vec(prop_oneof![0..4_usize, 1..500_usize], 1..8)],
        vec(1..20_usize, 1..5),
        prop_oneof![Just(vec![1]), Just(vec![usize::MAX]), vec(tcp, 1..8)],
    )
        .prop_filter("empty PDVs alone never end", |(pdvs, ..)| pdvs.iter().any(|n| *n > 0))
        .prop_map(|(pdv_bytes, pdvs_per_pdu, tcp_bytes)| Cuts { pdv_bytes, pdvs_per_pdu, tcp_bytes })
}

/// Cuts `whole` into pieces of the given sizes, the last of them marked; at least one.
fn pieces<'a>(mut whole: &'a [u8], sizes: &mut impl Iterator<Item = usize>) -> Vec<(&'a [u8], bool)> {
    let mut pieces = vec![];
    loop {
        let (piece, rest) = whole.split_at(sizes.next().unwrap().min(whole.len()));
        whole = rest;
        pieces.push((piece, rest.is_empty()));
        if rest.is_empty() {
            return pieces;
        }
    }
}

fn pdvs(messages: &[Sent], cuts: &Cuts) -> Vec<PDataValue> {
    let mut sizes = cuts.pdv_bytes.iter().copied().cycle();
    let mut pdvs = vec![];
    for (number, message) in messages.iter().enumerate() {
        let (context_id, field, dataset) = match message {
            Sent::Store(context_id, dataset) => (*context_id, C_STORE, Some(dataset)),
            Sent::StoreWithoutDataset => (1, C_STORE, None),
            Sent::Echo => (3, C_ECHO, None),
            Sent::Find(dataset) => (1, C_FIND, dataset.as_ref()),
        };
        let command = command(field, number as u16, dataset.is_some());
        for (piece, is_last) in pieces(&command, &mut sizes) {
            pdvs.push(command_pdv(context_id, is_last, piece));
        }
        for (piece, is_last) in dataset.iter().flat_map(|dataset| pieces(dataset, &mut sizes)) {
            pdvs.push(data_pdv(context_id, is_last, piece));
        }
    }
    pdvs
}

fn stream(messages: &[Sent], cuts: &Cuts) -> Vec<u8> {
    let mut pdvs = pdvs(messages, cuts).into_iter().peekable();
    let mut groups = cuts.pdvs_per_pdu.iter().cycle();
    let mut bytes = vec![];
    while pdvs.peek().is_some() {
        let group = pdvs.by_ref().take(*groups.next().unwrap()).collect();
        bytes.extend(p_data(group));
    }
    bytes
}

fn expected(messages: &[Sent]) -> (Vec<Observed>, Vec<u16>) {
    let (mut observed, mut answered) = (vec![], vec![]);
    for (number, message) in messages.iter().enumerate() {
        let message_id = number as u16;
        match message {
            Sent::Store(context_id, dataset) => {
                observed.push(Observed::Store { context_id: *context_id, message_id, has_data_set: true });
                if !dataset.is_empty() {
                    observed.push(Observed::Data(dataset.clone()));
                }
                observed.push(Observed::DatasetComplete);
            }
            Sent::StoreWithoutDataset => {
                observed.push(Observed::Store { context_id: 1, message_id, has_data_set: false })
            }
            Sent::Echo => {
                observed.push(Observed::Echoed);
                answered.push(message_id);
            }
            Sent::Find(_) => {
                observed.push(Observed::Refused(C_FIND));
                answered.push(message_id);
            }
        }
    }
    (observed, answered)
}

fn observed(events: Vec<Event>) -> Vec<Observed> {
    let hear = |event| match event {
        Event::StoreRequested(request) => Observed::Store {
            context_id: request.operation.context_id,
            message_id: request.operation.message_id,
            has_data_set: request.has_data_set,
        },
        Event::Fragment(data) => Observed::Data(data.to_vec()),
        Event::DatasetComplete => Observed::DatasetComplete,
        Event::Echoed => Observed::Echoed,
        Event::OperationRefused(field) => Observed::Refused(field),
        other => panic!("{other:?}"),
    };
    joined(events).into_iter().map(hear).collect()
}

/// Feeds `bytes` as a caller would who grants everything asked, and checks what has to hold whatever they are. Returns the
/// events and everything sent. Datasets come by way of the input, or past it.
fn drive(
    association: &mut Association,
    mut bytes: &[u8],
    tcp_bytes: &[usize],
    past_the_input: bool,
) -> (Vec<Event>, Vec<u8>) {
    let (mut events, mut sent) = (vec![], vec![]);
    let mut input = BytesMut::new();
    let mut sizes = tcp_bytes.iter().cycle();
    while !bytes.is_empty() {
        let left = if past_the_input { association.dataset_left() } else { 0 };
        let most = (*sizes.next().unwrap()).min(bytes.len());
        let (read, rest) = bytes.split_at(if left > 0 { most.min(left) } else { most });
        bytes = rest;
        if left > 0 {
            assert!(input.is_empty());
            association.pass_dataset(read.len());
            events.push(Event::Fragment(read.to_vec().into()));
        } else {
            input.extend_from_slice(read);
        }
        while let Some(event) = association.poll(&mut input) {
            match &event {
                Event::AssociateRequested(_) => association.accept(),
                Event::ReleaseRequested => association.answer_release(),
                Event::Fragment(fragment) => assert!(!fragment.is_empty()),
                _ => {}
            }
            events.push(event);
            sent.extend(association.take_output());
        }
        assert!(input.len() < association.needed());
        assert!(association.needed() <= policy().max_request_length as usize + 6);
        let answers = association.take_output(); // of Sta13: one A-ABORT, however much was wrong
        assert!(answers.len() <= 10);
        sent.extend(answers);
    }
    (events, sent)
}

/// Events after which an association tells nothing more, but that the peer has aborted too.
fn ends(event: &Event) -> bool {
    matches!(event, Event::Violated(_) | Event::PeerAborted(_) | Event::NotDicom(_) | Event::Rejected(_))
}

fn check_harmless(association: &mut Association, bytes: &[u8], tcp_bytes: &[usize]) {
    let (events, sent) = drive(association, bytes, tcp_bytes, tcp_bytes[0] % 2 == 1);
    decode(&sent);
    let data: usize = events.iter().map(|event| if let Event::Fragment(data) = event { data.len() } else { 0 }).sum();
    assert!(data <= bytes.len());
    let after: Vec<_> = events.iter().skip_while(|event| !ends(event)).skip(1).collect();
    assert!(matches!(after[..], [] | [Event::PeerAborted(_)]), "{after:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_fragmentation_of_the_same_messages_means_the_same(messages in messages(), cuts in cuts()) {
        let bytes = stream(&messages, &cuts);
        let (expected_observed, expected_answered) = expected(&messages);
        for past_the_input in [false, true] {
            let (events, sent) = drive(&mut established(), &bytes, &cuts.tcp_bytes, past_the_input);
            prop_assert_eq!(&observed(events), &expected_observed);
            let answered: Vec<_> = responses(&sent)
                .iter()
                .map(|(_, response)| u16::from_le_bytes(response[&0x0120][..].try_into().unwrap()))
                .collect();
            prop_assert_eq!(&answered, &expected_answered);
        }
    }

    #[test]
    fn random_bytes_do_no_harm(
        bytes in vec(any::<u8>(), 0..400),
        tcp_bytes in vec(1..100_usize, 1..4),
    ) {
        for state in [State::Sta1, State::Sta2, State::Sta3, State::Sta6, State::Sta8, State::Sta13] {
            check_harmless(&mut association_in(state, 20), &bytes, &tcp_bytes);
        }
    }

    /// Random PDUs: each type often, lengths that mostly fit.
    #[test]
    fn random_pdus_do_no_harm(
        pdus in vec((0..9_u8, vec(0..9_u8, 0..40), any::<Index>()), 0..20),
        tcp_bytes in vec(1..100_usize, 1..4),
    ) {
        let mut bytes = associate_bytes();
        for (pdu_type, body, lie) in pdus {
            let length = if lie.index(8) == 0 { lie.index(60) } else { body.len() } as u32;
            bytes.extend([pdu_type, 0]);
            bytes.extend(length.to_be_bytes());
            bytes.extend(body);
        }
        check_harmless(&mut Association::new(Arc::new(policy())), &bytes, &tcp_bytes);
    }

    #[test]
    fn mutated_streams_do_no_harm(
        messages in messages(),
        cuts in cuts(),
        mutations in vec((any::<Index>(), any::<u8>()), 1..6),
        cut_out in proptest::option::of((any::<Index>(), 1..50_usize)),
    ) {
        let mut bytes = associate_bytes();
        bytes.extend(stream(&messages, &cuts));
        bytes.extend(encode(&Pdu::ReleaseRQ));
        for (at, value) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some((at, length)) = cut_out {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        check_harmless(&mut Association::new(Arc::new(policy())), &bytes, &cuts.tcp_bytes);
    }
}
