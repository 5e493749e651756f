//! The receive path alone: P-DATA-TF PDUs in memory → slices of the dataset.
//!
//! `slices` starts with the whole message in one buffer; `reads` has it copied in first, read by read, as the kernel would.
// Criterion's macros make public items, and a benchmark whose set-up fails may say so by a panic.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dicom_ul::pdu::{AssociationRQ, Pdu, PresentationContextProposed, UserVariableItem, write_pdu};
use tidegate_protocol::{Association, Event, Policy};

const DATASET_BYTES: usize = 512 * 1024;
const READ_BYTES: usize = 256 * 1024;
const PDU_LENGTHS: [usize; 3] = [16 * 1024, 128 * 1024, 1024 * 1024];

fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    group.throughput(Throughput::Bytes(DATASET_BYTES as u64));
    for pdu_length in PDU_LENGTHS {
        let message = message(pdu_length);
        let mut association = association();
        group.bench_function(BenchmarkId::new("slices", pdu_length), |bencher| {
            bencher.iter_batched_ref(
                || BytesMut::from(&message[..]),
                |input| assert_eq!(take_dataset(&mut association, input), DATASET_BYTES),
                BatchSize::LargeInput,
            );
        });
        let mut input = BytesMut::new();
        group.bench_function(BenchmarkId::new("reads", pdu_length), |bencher| {
            bencher.iter(|| {
                let mut received = 0;
                for read in message.chunks(READ_BYTES) {
                    input.reserve(READ_BYTES);
                    input.put_slice(read);
                    received += take_dataset(&mut association, &mut input);
                }
                assert_eq!(received, DATASET_BYTES);
            });
        });
    }
    group.finish();
}

/// Takes what `input` holds of one C-STORE-RQ; returns how many bytes of the dataset that was.
fn take_dataset(association: &mut Association, input: &mut BytesMut) -> usize {
    let mut received = 0;
    while let Some(event) = association.poll(input) {
        match event {
            Event::Fragment(fragment) => received += black_box(fragment).len(),
            Event::StoreRequested(_) | Event::DatasetComplete => drop(black_box(event)),
            other => panic!("{other:?}"),
        }
    }
    received
}

/// An established association.
fn association() -> Association {
    let mut association = Association::new(Arc::new(Policy {
        ae_title: "TIDEGATE".into(),
        require_called_ae_title: false,
        max_pdu_length: 1024 * 1024,
        max_request_length: 256 * 1024,
        max_command_set: 4096,
        async_operations: 1,
        strict: false,
        accept_unknown_sop_classes: true,
        accept_unknown_transfer_syntaxes: true,
        storage_commitment: false,
        transfer_syntax_preference: vec![],
    }));
    let request = Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "BENCH".into(),
        called_ae_title: "TIDEGATE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![PresentationContextProposed {
            id: 1,
            abstract_syntax: "1.2.840.10008.5.1.4.1.1.2".into(),
            transfer_syntaxes: vec!["1.2.840.10008.1.2.1".into()],
        }],
        user_variables: vec![UserVariableItem::MaxLength(0)],
    });
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &request).expect("a well-formed request");
    let mut input = BytesMut::from(&bytes[..]);
    let event = association.poll(&mut input);
    assert!(matches!(event, Some(Event::AssociateRequested(_))), "{event:?}");
    association.accept();
    association
}

/// A C-STORE-RQ with its dataset, in PDUs of one PDV and at most `pdu_length` bytes each.
fn message(pdu_length: usize) -> Vec<u8> {
    let mut command = Vec::new();
    let mut element = |element: u16, value: &[u8]| {
        command.put_u16_le(0);
        command.put_u16_le(element);
        command.put_u32_le(value.len() as u32);
        command.put_slice(value);
    };
    element(0x0002, b"1.2.840.10008.5.1.4.1.1.2\0");
    element(0x0100, &[1, 0]);
    element(0x0110, &[1, 0]);
    element(0x0800, &[0, 0]);
    element(0x1000, b"1.2.3.4.5.6.7.8.9\0");
    let mut out = Vec::new();
    pdv(&mut out, 3, &command);
    let dataset = vec![0x5A; DATASET_BYTES];
    let fragments = dataset.chunks(pdu_length - 6);
    let last = fragments.len() - 1;
    for (index, fragment) in fragments.enumerate() {
        pdv(&mut out, if index == last { 2 } else { 0 }, fragment);
    }
    out
}

fn pdv(out: &mut Vec<u8>, control: u8, fragment: &[u8]) {
    out.put_slice(&[4, 0]);
    out.put_u32(fragment.len() as u32 + 6);
    out.put_u32(fragment.len() as u32 + 2);
    out.put_slice(&[1, control]);
    out.put_slice(fragment);
}

criterion_group!(benches, receive);
criterion_main!(benches);
