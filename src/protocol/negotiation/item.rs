//! Types of the items of an A-ASSOCIATE-RQ and A-ASSOCIATE-AC (PS3.8 §9.3.2 and §9.3.3, PS3.7 §D.3.3).

pub(crate) const APPLICATION_CONTEXT: u8 = 0x10;
pub(crate) const PRESENTATION_CONTEXT: u8 = 0x20;
/// Of an A-ASSOCIATE-AC.
pub(crate) const PRESENTATION_CONTEXT_RESULT: u8 = 0x21;
pub(crate) const ABSTRACT_SYNTAX: u8 = 0x30;
pub(crate) const TRANSFER_SYNTAX: u8 = 0x40;
pub(crate) const USER_INFORMATION: u8 = 0x50;
pub(crate) const MAXIMUM_LENGTH: u8 = 0x51;
pub(crate) const IMPLEMENTATION_CLASS_UID: u8 = 0x52;
pub(crate) const ASYNC_OPERATIONS_WINDOW: u8 = 0x53;
pub(crate) const ROLE_SELECTION: u8 = 0x54;
pub(crate) const IMPLEMENTATION_VERSION_NAME: u8 = 0x55;
pub(crate) const SOP_CLASS_EXTENDED: u8 = 0x56;
pub(crate) const USER_IDENTITY: u8 = 0x58;
pub(crate) const USER_IDENTITY_RESPONSE: u8 = 0x59;
