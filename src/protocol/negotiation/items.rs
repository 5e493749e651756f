//! The items of an A-ASSOCIATE-RQ and A-ASSOCIATE-AC, which have the same structure (PS3.8 §9.3.2 and §9.3.3).

use dicom_ul::pdu::{RequestorRoles, UserIdentity, UserIdentityType, UserVariableItem};

use super::item;
use crate::framing::PDU_HEADER;

/// Bytes of the fixed fields between the header and the items.
pub(crate) const FIXED_BYTES: usize = 68;
/// Type, a reserved byte and the length of an item or sub-item.
const ITEM_HEADER: usize = 4;

/// Why an A-ASSOCIATE-RQ or A-ASSOCIATE-AC cannot be decoded. Offsets are from the first byte of its PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestFault {
    /// The PDU ends before its items begin.
    #[error("its fixed fields end at byte {bytes} of {}", PDU_HEADER + FIXED_BYTES)]
    FixedFields {
        /// Bytes of the PDU.
        bytes: usize,
    },
    /// An item runs past the end of the PDU.
    #[error("item {item_type:#04x} at byte {offset} takes {bytes} bytes, {left} are left")]
    Item {
        /// Its type.
        item_type: u8,
        /// Where it begins.
        offset: usize,
        /// Its length, header included.
        bytes: usize,
        /// Bytes of the PDU from there on.
        left: usize,
    },
}

/// The fixed fields and the items of a whole PDU.
pub(crate) fn split(pdu: &[u8]) -> Result<(&[u8], &[u8]), RequestFault> {
    let parts = pdu.get(PDU_HEADER..).and_then(|rest| rest.split_at_checked(FIXED_BYTES));
    parts.ok_or(RequestFault::FixedFields { bytes: pdu.len() })
}

/// An item that runs past the end of its field.
pub(crate) struct Overrun {
    item_type: u8,
    /// Its length, header included.
    bytes: usize,
    /// Bytes of the field from its begin on.
    left: usize,
}

impl Overrun {
    /// The fault of a whole PDU whose items end with it.
    pub(crate) fn in_pdu(self, pdu: &[u8]) -> RequestFault {
        let Self { item_type, bytes, left } = self;
        RequestFault::Item { item_type, offset: pdu.len() - left, bytes, left }
    }
}

/// The items of a field, by type and value; an error for one that runs past the end, which is the last. Zeros at the end are padding.
pub(crate) struct Items<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Result<(u8, &'a [u8]), Overrun>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = std::mem::take(&mut self.0);
        if field.iter().all(|byte| *byte == 0) {
            return None;
        }
        let value_bytes = match field {
            [_, _, l1, l0, ..] => usize::from(u16::from_be_bytes([*l1, *l0])),
            _ => 0,
        };
        let bytes = ITEM_HEADER + value_bytes;
        let Some((item, rest)) = field.split_at_checked(bytes) else {
            return Some(Err(Overrun { item_type: field[0], bytes, left: field.len() }));
        };
        self.0 = rest;
        Some(Ok((item[0], &item[ITEM_HEADER..])))
    }
}

/// PS3.7 §D.3.3, PS3.8 §D.1.
pub(crate) fn user_variable((item_type, value): (u8, &[u8])) -> Option<UserVariableItem> {
    Some(match item_type {
        item::MAXIMUM_LENGTH => UserVariableItem::MaxLength(u32::from_be_bytes(*value.first_chunk()?)),
        item::IMPLEMENTATION_CLASS_UID => UserVariableItem::ImplementationClassUID(trimmed(value)),
        item::IMPLEMENTATION_VERSION_NAME => UserVariableItem::ImplementationVersionName(trimmed(value)),
        item::ROLE_SELECTION => {
            let (uid, roles) = field(value)?;
            let &[scu, scp] = roles.first_chunk()?;
            UserVariableItem::ScuScpRoleSelectionSubItem(trimmed(uid), RequestorRoles { scu: scu != 0, scp: scp != 0 })
        }
        item::SOP_CLASS_EXTENDED => {
            let (uid, information) = field(value)?;
            UserVariableItem::SopClassExtendedNegotiationSubItem(trimmed(uid), information.to_vec())
        }
        item::USER_IDENTITY => {
            let (&[identity_type, response_requested], fields) = value.split_first_chunk()?;
            let identity_type = match identity_type {
                1 => UserIdentityType::Username,
                2 => UserIdentityType::UsernamePassword,
                3 => UserIdentityType::KerberosServiceTicket,
                4 => UserIdentityType::SamlAssertion,
                5 => UserIdentityType::Jwt,
                _ => return None,
            };
            let (primary, rest) = field(fields)?;
            let (secondary, _) = field(rest)?;
            let identity =
                UserIdentity::new(response_requested == 1, identity_type, primary.to_vec(), secondary.to_vec());
            UserVariableItem::UserIdentityItem(identity)
        }
        other => UserVariableItem::Unknown(other, value.to_vec()),
    })
}

/// A field behind its length of two bytes, and the bytes behind it.
fn field(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = value.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

pub(crate) fn trimmed(value: &[u8]) -> String {
    text(value).trim().to_owned()
}

/// Bytes of ISO 8859-1, of which the default repertoire is a part.
pub(crate) fn text(value: &[u8]) -> String {
    value.iter().map(|byte| char::from(*byte)).collect()
}
