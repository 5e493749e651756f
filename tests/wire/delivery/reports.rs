//! How a destination commits: it takes a request, and reports.

use std::io::Write;
use std::sync::Arc;

use dicom_ul::pdu::{AssociationRQ, PresentationContextProposed, RequestorRoles, UserVariableItem};
use tidegate_protocol::commitment::{Encoding, EventInformation, Reference, Terms};

use super::scp::{Behaviour, Commit, Reply, Seen, value};
use crate::commitment::modality::{self, PUSH_INSTANCE, PUSH_MODEL};
use crate::wire::{CT, EXPLICIT, Wire, command, p_data};

/// The request of a destination that reports.
pub(crate) fn reporting(calling: &str, roles: RequestorRoles) -> AssociationRQ {
    let mut request = crate::wire::request();
    request.calling_ae_title = calling.into();
    request.presentation_contexts = vec![PresentationContextProposed {
        id: REPORTS,
        abstract_syntax: PUSH_MODEL.into(),
        transfer_syntaxes: vec![EXPLICIT.into()],
    }];
    request.user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(PUSH_MODEL.into(), roles));
    request
}

/// The context of [`reporting`].
pub(crate) const REPORTS: u8 = 1;

/// An N-EVENT-REPORT-RQ.
pub(crate) fn event_report(context: u8, transaction: &str, references: &[(String, Option<u16>)]) -> Vec<u8> {
    event_report_of(CT, context, transaction, references)
}

/// The same about instances of that SOP class.
pub(crate) fn event_report_of(
    sop_class: &str,
    context: u8,
    transaction: &str,
    references: &[(String, Option<u16>)],
) -> Vec<u8> {
    let has_failed = references.iter().any(|(_, reason)| reason.is_some());
    let command = command(&[
        (0x0002, PUSH_MODEL.as_bytes()),
        (0x0100, &0x0100_u16.to_le_bytes()),
        (0x0110, &77_u16.to_le_bytes()),
        (0x0800, &[0, 0]),
        (0x1000, PUSH_INSTANCE.as_bytes()),
        (0x1002, &(if has_failed { 2_u16 } else { 1 }).to_le_bytes()),
    ]);
    let mut information = Vec::new();
    let terms = Terms { transaction_uid: transaction, retrieve_ae_title: Some("ARCHIVE") };
    let mut writer = EventInformation::begin(&mut information, Encoding::Explicit, &terms);
    for (uid, reason) in references {
        let reference = Reference { sop_class, sop_instance: uid };
        if let Some(reason) = reason {
            writer.failed(&mut information, reference, *reason).unwrap();
        }
    }
    for (uid, _) in references.iter().filter(|(_, reason)| reason.is_none()) {
        writer.committed(&mut information, Reference { sop_class, sop_instance: uid });
    }
    writer.end(&mut information);
    let mut out = p_data(context, 3, &command);
    for fragment in information.chunks(16_000) {
        let is_last = fragment.as_ptr_range().end == information.as_ptr_range().end;
        out.extend(p_data(context, if is_last { 2 } else { 0 }, fragment));
    }
    out
}

/// A request for commitment: it is answered, and reported as the behaviour says.
pub(super) fn commit(
    wire: &mut Wire,
    seen: &Arc<Seen>,
    behaviour: &Behaviour,
    context: u8,
    (command_set, dataset): (&[u8], &[u8]),
) -> Option<Reply> {
    let asked = modality::read(dataset);
    let before = {
        let mut all = seen.asked.lock();
        all.push((asked.transaction.clone(), asked.committed.clone()));
        all.len() - 1
    };
    let does = (behaviour.commit)(before, &asked.committed);
    let status = match does {
        Commit::Close => return Some(Reply::Close),
        Commit::Hang => return Some(Reply::Status(0)),
        Commit::Status(status) => status,
        _ => 0,
    };
    let response = command(&[
        (0x0002, PUSH_MODEL.as_bytes()),
        (0x0100, &0x8130_u16.to_le_bytes()),
        (0x0120, &value(command_set, 0x0110)),
        (0x0800, &[1, 1]),
        (0x0900, &status.to_le_bytes()),
        (0x1000, PUSH_INSTANCE.as_bytes()),
    ]);
    wire.0.write_all(&p_data(context, 3, &response)).ok()?;
    let judged: Vec<_> = asked.committed.iter().map(|uid| (uid.clone(), (behaviour.judge)(uid, before))).collect();
    match does {
        Commit::Here => wire.0.write_all(&event_report(context, &asked.transaction, &judged)).ok()?,
        Commit::All => {
            let asked = seen.asked.lock().clone();
            let reports = asked.iter().map(|(transaction, uids)| {
                let judged: Vec<_> = uids.iter().map(|uid| (uid.clone(), (behaviour.judge)(uid, before))).collect();
                event_report(context, transaction, &judged)
            });
            wire.0.write_all(&reports.collect::<Vec<_>>().concat()).ok()?;
        }
        Commit::There(address) => {
            let seen = seen.clone();
            std::thread::spawn(move || {
                let roles = RequestorRoles { scu: false, scp: true };
                let (mut wire, _) = Wire::associate(address, reporting("ARCHIVE", roles));
                wire.send(&event_report(REPORTS, &asked.transaction, &judged));
                let response = wire.response();
                assert_eq!((response.command_field, response.message_id), (0x8100, 77));
                seen.reported.lock().push(response.status);
                wire.release();
            });
        }
        _ => {}
    }
    Some(Reply::Status(0))
}
