//! Any bytes as an A-ASSOCIATE-RQ, against `dicom-ul`'s reader: what it reads, and would write so again, has the same titles and
//! presentation contexts here.
#![no_main]

mod peer;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::BytesMut;
use dicom_ul::pdu::{Pdu, read_pdu, write_pdu};
use libfuzzer_sys::fuzz_target;
use peer::policy;
use tidegate_protocol::{Association, Event, Policy};

const PDU_HEADER: usize = 6;
/// Bytes of the PDU up to its items.
const FIXED_BYTES: usize = PDU_HEADER + 68;

fuzz_target!(|data: &[u8]| {
    let pdu = [&[1, 0][..], &(data.len() as u32).to_be_bytes(), data].concat();
    // `dicom-ul` keeps text behind a NUL in a title, and so do we where the standard is held to.
    let mut association = Association::new(Arc::new(Policy { strict: true, ..(*policy()).clone() }));
    let event = association.poll(&mut BytesMut::from(&pdu[..]));
    if let Some(Event::AssociateRequested(_)) = &event {
        association.accept();
    }
    let answer = association.take_output();

    let Ok(Some(Pdu::AssociationRQ(theirs))) = read_pdu(&pdu[..], 1 << 20, true) else { return };
    let mut again = Vec::new();
    let is_canonical = write_pdu(&mut again, &Pdu::AssociationRQ(theirs.clone())).is_ok();
    if !is_canonical || again[FIXED_BYTES..] != pdu[FIXED_BYTES..] {
        return;
    }
    let titles = match &event {
        Some(Event::AssociateRequested(ours)) => {
            assert_eq!(ours.contexts_proposed, theirs.presentation_contexts.len());
            let Ok(Some(Pdu::AssociationAC(accepted))) = read_pdu(&answer[..], 1 << 20, true) else {
                panic!("an answer that cannot be read: {answer:?}")
            };
            let answered: Vec<u8> = accepted.presentation_contexts.iter().map(|context| context.id).collect();
            let proposed: BTreeSet<u8> = theirs.presentation_contexts.iter().map(|context| context.id).collect();
            assert_eq!(answered.len(), proposed.len(), "each context is answered once");
            assert_eq!(answered.into_iter().collect::<BTreeSet<_>>(), proposed);
            (ours.calling_ae_title.clone(), ours.called_ae_title.clone())
        }
        Some(Event::Rejected(_)) => {
            let titles = association.refused_titles().unwrap();
            (titles.calling.clone(), titles.called.clone())
        }
        other => panic!("{other:?}"),
    };
    let unpadded = |title: &str| title.trim_matches(['\0', ' ']).to_owned();
    assert_eq!(titles, (unpadded(&theirs.calling_ae_title), unpadded(&theirs.called_ae_title)));
});
