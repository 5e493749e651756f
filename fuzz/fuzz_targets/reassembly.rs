//! The bytes of an established association, against dicom-ul's reader of the same bytes: both must find the same commands and
//! datasets, unless ours ends with a violation, and then up to there.
#![no_main]

mod peer;

use dicom_ul::pdu::{PDataValueType, Pdu, read_pdu};
use libfuzzer_sys::fuzz_target;
use peer::{MAX_PDU_LENGTH, drive, established};
use tidegate_protocol::Event;

/// The datasets that dicom-ul finds in whole P-DATA-TF PDUs: each with whether it is complete.
fn datasets_of_dicom_ul(mut bytes: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let mut datasets: Vec<(Vec<u8>, bool)> = Vec::new();
    while let Ok(Some(Pdu::PData { data })) = read_pdu(&mut bytes, MAX_PDU_LENGTH, true) {
        for value in data {
            if value.value_type == PDataValueType::Data {
                match datasets.last_mut() {
                    Some((dataset, complete)) if !*complete => {
                        dataset.extend(value.data);
                        *complete = value.is_last;
                    }
                    _ => datasets.push((value.data, value.is_last)),
                }
            }
        }
    }
    datasets
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = drive(&mut established(), bytes, bytes.len());
    // What is sent to a peer that goes on after its A-ABORT depends on when it takes its answers, so only events are compared.
    assert_eq!(whole.events, drive(&mut established(), bytes, usize::from(piece)).events);
    let only_stores = whole.events.iter().all(|event| {
        matches!(event, Event::StoreRequested(_) | Event::Fragment(_) | Event::DatasetComplete | Event::Echoed)
    });
    if !only_stores {
        return;
    }
    // No violation, and no dataset that was let pass by: the two must agree on every byte of every complete dataset.
    let mut ours = Vec::new();
    for event in whole.events {
        match event {
            Event::StoreRequested(request) if request.has_data_set => ours.push((Vec::new(), false)),
            Event::Fragment(fragment) => ours.last_mut().unwrap().0.extend_from_slice(&fragment),
            Event::DatasetComplete => ours.last_mut().unwrap().1 = true,
            _ => {}
        }
    }
    let theirs = datasets_of_dicom_ul(bytes);
    for (ours, theirs) in ours.iter().zip(&theirs).filter(|(ours, theirs)| ours.1 && theirs.1) {
        assert_eq!(ours, theirs);
    }
});
