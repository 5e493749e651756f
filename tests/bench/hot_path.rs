//! The hot path by stage, without a network and without a clock, for tests/bench/instructions: `hot_path STAGE TIMES`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a program that cannot go on has failed")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use dicom_ul::pdu::{AssociationRQ, Pdu, PresentationContextProposed, UserVariableItem, write_pdu};
use tidegate_protocol::{Association, Event, Policy};
use tidegate_storage::head::{HeadLimits, HeadScan};
use tidegate_storage::layout::Layout;
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;
use tidegate_storage::{
    CommitStrategy, Duplicates, Durability, FileAccess, FileBuilder, Instance, Payload, Settings, Store,
};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const PDU_BYTES: usize = 128 * 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, stage, times] = &arguments[..] else { panic!("hot_path pdu|head|commit|log TIMES") };
    let times: u32 = times.parse().unwrap();
    match stage.as_str() {
        "pdu" => pdu(times),
        "head" => head(times),
        "commit" => commit(times, Durability::None),
        "log" => commit(times, Durability::Fsync),
        other => panic!("no stage {other}"),
    }
}

/// A C-STORE of 512 KiB in PDUs of 128 KiB, cut into slices.
fn pdu(times: u32) {
    let mut association = association();
    let mut command = Vec::new();
    for (element, value) in [
        (0x0002, &b"1.2.840.10008.5.1.4.1.1.2\0"[..]),
        (0x0100, &[1, 0]),
        (0x0110, &[1, 0]),
        (0x0800, &[0, 0]),
        (0x1000, b"1.2.3.4.5.6.7.8.9\0"),
    ] {
        command.put_u16_le(0);
        command.put_u16_le(element);
        command.put_u32_le(value.len() as u32);
        command.put_slice(value);
    }
    let mut message = Vec::new();
    pdv(&mut message, 3, &command);
    let dataset = dataset("1.2.3", 512 * 1024);
    for (index, fragment) in dataset.chunks(PDU_BYTES - 6).enumerate() {
        pdv(&mut message, if (index + 1) * (PDU_BYTES - 6) >= dataset.len() { 2 } else { 0 }, fragment);
    }
    let message = Bytes::from(message);
    for _ in 0..times {
        let mut input = BytesMut::from(message.clone());
        while let Some(event) = association.poll(&mut input) {
            assert!(!matches!(event, Event::Violated(_)));
            drop(black_box(event));
        }
    }
}

fn head(times: u32) {
    let (dataset, wanted) = (dataset("1.2.3", 1024), layout().wanted());
    for _ in 0..times {
        let mut scan = HeadScan::new(EXPLICIT, wanted.clone(), HeadLimits::default());
        let _ = scan.feed(black_box(&dataset));
        black_box(scan.finish().unwrap());
    }
}

/// Instances of 10 KiB, eight at a time.
fn commit(times: u32, durability: Durability) {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Settings {
        root: directory.path().join("root"),
        layout: layout(),
        durability,
        commit: CommitStrategy::Log,
        duplicates: Duplicates::Replace,
        min_free_bytes: 0,
        access: FileAccess::default(),
        requires_mark: false,
    })
    .unwrap();
    for batch in 0..times.div_ceil(8) {
        let batch: Vec<Instance> = (0..8).map(|at| instance(&format!("1.2.{batch}.{at}"))).collect();
        let results = store.commit(&batch.iter().collect::<Vec<_>>(), &|| ());
        assert!(results.iter().all(Result::is_ok));
    }
}

fn instance(uid: &str) -> Instance {
    let dataset = dataset(uid, 10 * 1024);
    let mut scan = HeadScan::new(EXPLICIT, layout().wanted(), HeadLimits::default());
    let _ = scan.feed(&dataset);
    let meta = FileMeta {
        sop_class_uid: Uid::parse(CT.as_bytes()).unwrap(),
        sop_instance_uid: Uid::parse(uid.as_bytes()).unwrap(),
        transfer_syntax_uid: EXPLICIT.to_owned(),
        source_ae_title: "COUNT".to_owned(),
        sending_ae_title: "COUNT".to_owned(),
        receiving_ae_title: "TIDEGATE".to_owned(),
    };
    let mut builder = FileBuilder::new(meta);
    builder.update(&dataset);
    Instance::new(builder, scan.finish().unwrap(), Payload::Memory(vec![dataset.into()]))
}

fn layout() -> Layout {
    Layout::parse(Layout::DEFAULT).unwrap()
}

fn dataset(uid: &str, pixel_bytes: usize) -> Vec<u8> {
    let mut dataset = Vec::with_capacity(pixel_bytes + 256);
    for (group, element, value) in
        [(8_u16, 0x16_u16, CT), (8, 0x18, uid), (0x20, 0x0d, "1.2.3"), (0x20, 0x0e, "1.2.3.4")]
    {
        dataset.put_u16_le(group);
        dataset.put_u16_le(element);
        dataset.put_slice(b"UI");
        dataset.put_u16_le((value.len() + value.len() % 2) as u16);
        dataset.put_slice(value.as_bytes());
        dataset.resize(dataset.len() + value.len() % 2, 0);
    }
    dataset.put_slice(b"\xe0\x7f\x10\x00OW\0\0");
    dataset.put_u32_le(pixel_bytes as u32);
    dataset.resize(dataset.len() + pixel_bytes, 0x5A);
    dataset
}

fn association() -> Association {
    let mut association = Association::new(Arc::new(Policy {
        ae_title: "TIDEGATE".into(),
        require_called_ae_title: false,
        max_pdu_length: PDU_BYTES as u32,
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
        calling_ae_title: "COUNT".into(),
        called_ae_title: "TIDEGATE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![PresentationContextProposed {
            id: 1,
            abstract_syntax: CT.into(),
            transfer_syntaxes: vec![EXPLICIT.into()],
        }],
        user_variables: vec![UserVariableItem::MaxLength(0)],
    });
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &request).unwrap();
    let event = association.poll(&mut BytesMut::from(&bytes[..]));
    assert!(matches!(event, Some(Event::AssociateRequested(_))), "{event:?}");
    association.accept();
    association
}

fn pdv(out: &mut Vec<u8>, control: u8, fragment: &[u8]) {
    out.put_slice(&[4, 0]);
    out.put_u32(fragment.len() as u32 + 6);
    out.put_u32(fragment.len() as u32 + 2);
    out.put_slice(&[1, control]);
    out.put_slice(fragment);
}
