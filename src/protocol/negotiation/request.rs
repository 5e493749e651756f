//! Reads an A-ASSOCIATE-RQ (PS3.8 §9.3.2).
//!
//! Items of unrecognized types are ignored (PS3.8 §9.3.1), and so is what cannot be read of a presentation context or of the user
//! information: the association does without it. Only a request whose items run past its end is malformed.

use dicom_ul::pdu::{AssociationRQ, PresentationContextProposed};

use super::item;
use super::items::{Items, RequestFault, split, text, trimmed, user_variable};
use crate::framing::PDU_HEADER;
use crate::syntaxes::unpadded;

const CALLED_AE_TITLE: usize = 4;
const CALLING_AE_TITLE: usize = 20;
const AE_TITLE_BYTES: usize = 16;
/// The AE titles of a request, without padding. Strings of a peer: escape them before printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AeTitles {
    /// Calling AE title.
    pub calling: String,
    /// Called AE title.
    pub called: String,
    /// Whether text behind a NUL was left out of one.
    pub are_cut: bool,
}

impl AeTitles {
    /// Reads the titles from their place in a whole PDU, as far as it has them, whatever follows them. Text behind a NUL is left
    /// out unless `keep_all`: C programs end a string there.
    pub(crate) fn read(pdu: &[u8], keep_all: bool) -> Self {
        let mut are_cut = false;
        let mut title = |at: usize| {
            let field = pdu.get(PDU_HEADER + at..).unwrap_or_default();
            let field = &field[..field.len().min(AE_TITLE_BYTES)];
            let is_text = |byte: &u8| !matches!(byte, 0 | b' ');
            let begin = field.iter().position(is_text).unwrap_or(0);
            let end = field.iter().skip(begin).position(|byte| *byte == 0).map_or(field.len(), |at| begin + at);
            let is_cut = !keep_all && field[end..].iter().any(is_text);
            are_cut |= is_cut;
            let title = text(if is_cut { &field[begin..end] } else { field });
            unpadded(title.trim()).to_owned()
        };
        let (called, calling) = (title(CALLED_AE_TITLE), title(CALLING_AE_TITLE));
        Self { calling, called, are_cut }
    }
}

/// Reads a whole PDU.
pub(crate) fn read_request(pdu: &[u8], titles: &AeTitles) -> Result<AssociationRQ, RequestFault> {
    let (fixed, items) = split(pdu)?;
    let mut request = AssociationRQ {
        protocol_version: u16::from_be_bytes([fixed[0], fixed[1]]),
        calling_ae_title: titles.calling.clone(),
        called_ae_title: titles.called.clone(),
        application_context_name: String::new(),
        presentation_contexts: Vec::new(),
        user_variables: Vec::new(),
    };
    for item in Items(items) {
        match item.map_err(|overrun| overrun.in_pdu(pdu))? {
            (item::APPLICATION_CONTEXT, value) => request.application_context_name = text(value),
            (item::PRESENTATION_CONTEXT, value) => request.presentation_contexts.extend(presentation_context(value)),
            (item::USER_INFORMATION, value) => {
                request.user_variables = Items(value).map_while(Result::ok).filter_map(user_variable).collect();
            }
            _ => {}
        }
    }
    Ok(request)
}

/// PS3.8 §9.3.2.2. A context without an abstract syntax has an empty one, which is not supported. Without an ID it cannot be answered.
fn presentation_context(value: &[u8]) -> Option<PresentationContextProposed> {
    let (&[id, _, _, _], sub_items) = value.split_first_chunk()?;
    let mut context = PresentationContextProposed { id, abstract_syntax: String::new(), transfer_syntaxes: Vec::new() };
    for (item_type, value) in Items(sub_items).map_while(Result::ok) {
        match item_type {
            item::ABSTRACT_SYNTAX => context.abstract_syntax = trimmed(value),
            item::TRANSFER_SYNTAX => context.transfer_syntaxes.push(trimmed(value)),
            _ => {}
        }
    }
    Some(context)
}

#[cfg(test)]
mod tests {
    use dicom_ul::pdu::{Pdu, RequestorRoles, UserIdentity, UserIdentityType, UserVariableItem, read_pdu, write_pdu};
    use proptest::prelude::*;

    use super::super::items::FIXED_BYTES;
    use super::*;

    fn ours(pdu: &[u8]) -> Option<AssociationRQ> {
        read_request(pdu, &AeTitles::read(pdu, true)).ok()
    }

    /// `None`: `dicom-ul` does not write its titles.
    fn encode(request: AssociationRQ) -> Option<Vec<u8>> {
        let mut pdu = Vec::new();
        write_pdu(&mut pdu, &Pdu::AssociationRQ(request)).ok()?;
        Some(pdu)
    }

    /// As `dicom-ul` reads it, with the titles unpadded as they are used.
    fn theirs(pdu: &[u8]) -> Option<AssociationRQ> {
        match read_pdu(pdu, 1 << 20, true) {
            Ok(Some(Pdu::AssociationRQ(mut request))) => {
                request.calling_ae_title = unpadded(&request.calling_ae_title).to_owned();
                request.called_ae_title = unpadded(&request.called_ae_title).to_owned();
                Some(request)
            }
            _ => None,
        }
    }

    fn uid() -> impl Strategy<Value = String> {
        "[0-9.]{0,20}"
    }

    fn user_items() -> impl Strategy<Value = UserVariableItem> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20);
        prop_oneof![
            any::<u32>().prop_map(UserVariableItem::MaxLength),
            uid().prop_map(UserVariableItem::ImplementationClassUID),
            "[A-Z]{0,16}".prop_map(UserVariableItem::ImplementationVersionName),
            (uid(), any::<bool>(), any::<bool>()).prop_map(|(uid, scu, scp)| {
                UserVariableItem::ScuScpRoleSelectionSubItem(uid, RequestorRoles { scu, scp })
            }),
            (uid(), bytes()).prop_map(|(uid, data)| UserVariableItem::SopClassExtendedNegotiationSubItem(uid, data)),
            (any::<bool>(), bytes(), bytes()).prop_map(|(asks, name, passcode)| {
                let identity = UserIdentity::new(asks, UserIdentityType::UsernamePassword, name, passcode);
                UserVariableItem::UserIdentityItem(identity)
            }),
            (0x60_u8.., bytes()).prop_map(|(item_type, data)| UserVariableItem::Unknown(item_type, data)),
        ]
    }

    prop_compose! {
        fn requests()(
            contexts in prop::collection::vec((any::<u8>(), uid(), prop::collection::vec(uid(), 0..4)), 0..5),
            user_variables in prop::collection::vec(user_items(), 0..6),
            calling in "[A-Z][A-Z 0-9]{0,15}",
            called in "[A-Z][A-Z 0-9]{0,15}",
            protocol_version in any::<u16>(),
        ) -> AssociationRQ {
            let presentation_contexts = contexts
                .into_iter()
                .map(|(id, abstract_syntax, transfer_syntaxes)| {
                    PresentationContextProposed { id, abstract_syntax, transfer_syntaxes }
                })
                .collect();
            AssociationRQ {
                protocol_version,
                calling_ae_title: calling,
                called_ae_title: called,
                application_context_name: "1.2.840.10008.3.1.1.1".into(),
                presentation_contexts,
                user_variables,
            }
        }
    }

    proptest! {
        #[test]
        fn a_request_is_read_as_dicom_ul_reads_it(request in requests()) {
            let pdu = encode(request).unwrap();
            prop_assert!(theirs(&pdu).is_some());
            prop_assert_eq!(ours(&pdu), theirs(&pdu));
        }

        /// A damaged request that `dicom-ul` still reads, and would write so again, is read equally.
        #[test]
        fn a_damaged_request_is_read_as_dicom_ul_reads_it(
            request in requests(),
            damage in prop::collection::vec((6_usize..400, any::<u8>()), 1..4),
        ) {
            let mut pdu = encode(request).unwrap();
            let length = pdu.len();
            damage.iter().for_each(|(at, byte)| pdu[6 + at % (length - 6)] = *byte);
            if let Some(request) = theirs(&pdu)
                && encode(request.clone()).is_some_and(|again| again[74..] == pdu[74..])
            {
                prop_assert_eq!(ours(&pdu), Some(request));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(pdu in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ours(&pdu);
        }
    }

    fn item(item_type: u8, value: &[u8]) -> Vec<u8> {
        [&[item_type, 0][..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    fn request_of(items: &[Vec<u8>]) -> Vec<u8> {
        let mut fixed = vec![0, 1, 0, 0];
        fixed.extend(b"TIDEGATE        CT7\0\0\0\0\0\0\0\0\0\0\0\0\0");
        fixed.resize(FIXED_BYTES, 0);
        let value = [fixed, items.concat()].concat();
        [&[1, 0][..], &(value.len() as u32).to_be_bytes(), &value].concat()
    }

    #[test]
    fn what_is_unknown_or_incomplete_costs_nothing_else() {
        let syntaxes = [item(0x30, b"1.2.3"), item(0x40, b"1.2.840.10008.1.2\0")].concat();
        let context = |id: u8, sub_items: &[u8]| item(0x20, &[&[id, 0, 0, 0][..], sub_items].concat());
        let cut_sub_item = [&syntaxes[..], &[0x40, 0, 0xFF, 0xFF]].concat();
        let items = [
            item(0x77, b"abcd"),
            item(0x10, b"1.2.840.10008.3.1.1.1"),
            context(1, &syntaxes),
            context(3, &[item(0x45, b"xy"), syntaxes.clone()].concat()),
            context(5, &item(0x40, b"1.2.840.10008.1.2")),
            context(7, &item(0x30, b"1.2.3")),
            context(9, &cut_sub_item),
            item(0x20, &[11, 0]),
            item(0x50, &[item(0x99, b"x"), item(0x51, &[0, 1, 0, 0]), vec![0x52, 0, 0, 9, 1]].concat()),
            item(0x21, b"of an answer"),
            vec![0; 21],
        ];
        let request = ours(&request_of(&items)).unwrap();
        let contexts: Vec<_> =
            request.presentation_contexts.iter().map(|c| (c.id, c.transfer_syntaxes.len())).collect();
        assert_eq!(contexts, [(1, 1), (3, 1), (5, 1), (7, 0), (9, 1)]);
        assert_eq!(request.presentation_contexts[2].abstract_syntax, "");
        assert_eq!(
            request.user_variables,
            [UserVariableItem::Unknown(0x99, b"x".to_vec()), UserVariableItem::MaxLength(65_536)]
        );
        let nothing = ours(&request_of(&[])).unwrap();
        assert_eq!((nothing.application_context_name.as_str(), nothing.presentation_contexts.len()), ("", 0));
    }

    #[test]
    fn a_request_cut_short_is_malformed_and_names_its_peer() {
        let pdu = request_of(&[item(0x10, b"1.2.840.10008.3.1.1.1"), vec![0x50, 0, 1, 0x90]]);
        let titles = AeTitles::read(&pdu, false);
        assert_eq!((titles.calling.as_str(), titles.called.as_str(), titles.are_cut), ("CT7", "TIDEGATE", false));
        let refused = |pdu: &[u8]| read_request(pdu, &titles).unwrap_err();
        let fault = RequestFault::Item { item_type: 0x50, offset: 99, bytes: 404, left: 4 };
        assert_eq!(refused(&pdu), fault);
        assert_eq!(fault.to_string(), "item 0x50 at byte 99 takes 404 bytes, 4 are left");
        assert_eq!(refused(&pdu[..101]), RequestFault::Item { item_type: 0x50, offset: 99, bytes: 4, left: 2 });
        assert_eq!(refused(&pdu[..73]), RequestFault::FixedFields { bytes: 73 });
        let titles = |bytes: usize| AeTitles::read(&pdu[..bytes], false);
        assert_eq!(
            (titles(73).calling.as_str(), titles(28).calling.as_str(), titles(28).called.as_str()),
            ("CT7", "CT", "TIDEGATE")
        );
        assert_eq!(
            (titles(20).calling.as_str(), titles(14).called.as_str(), titles(6).called.as_str()),
            ("", "TIDE", "")
        );
    }

    #[test]
    fn text_behind_a_nul_is_no_part_of_a_title_unless_all_is_kept() {
        let mut pdu = request_of(&[]);
        pdu[26..42].copy_from_slice(b" CT7\0junk\0\0     ");
        let cut = AeTitles::read(&pdu, false);
        assert_eq!((cut.calling.as_str(), cut.are_cut), ("CT7", true));
        let whole = AeTitles::read(&pdu, true);
        assert_eq!((whole.calling.as_str(), whole.are_cut), ("CT7\0junk", false));
    }
}
