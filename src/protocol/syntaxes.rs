//! The standard's SOP classes and transfer syntaxes (PS3.6 Annex A), from the DICOM dictionary's own tables.

use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::StandardSopClassDictionary;

/// Verification SOP Class (PS3.4 Annex A).
pub const VERIFICATION: &str = "1.2.840.10008.1.1";

/// Storage Commitment Push Model SOP Class (PS3.4 annex J).
pub const STORAGE_COMMITMENT: &str = "1.2.840.10008.1.20.1";

/// The well-known SOP instance of [`STORAGE_COMMITMENT`] (PS3.4 §J.3.5).
pub const STORAGE_COMMITMENT_INSTANCE: &str = "1.2.840.10008.1.20.1.1";

/// Study Root Query/Retrieve Information Model, FIND (PS3.4 §C.6.2.1).
pub const STUDY_ROOT_FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";

/// Implicit VR little endian (PS3.5 §A.1).
pub const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";

/// Explicit VR little endian (PS3.5 §A.2).
pub const EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";

/// DICOM application context name (PS3.7 §A.2.1).
pub const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";

/// The kind of an abstract syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbstractSyntax {
    /// A storage SOP class of the standard, current or retired (PS3.4 §B.5).
    Storage,
    /// The Verification SOP class.
    Verification,
    /// A SOP class of the standard that stores nothing over the network: query, worklist, print, storage commitment.
    OtherService,
    /// Private, or newer than this build's tables.
    Unknown,
}

impl AbstractSyntax {
    /// Classifies a UID.
    pub fn of(uid: &str) -> Self {
        match StandardSopClassDictionary.by_uid(uid) {
            _ if uid == VERIFICATION => Self::Verification,
            Some(entry) if is_storage_keyword(entry.alias) => Self::Storage,
            Some(_) => Self::OtherService,
            None => Self::Unknown,
        }
    }
}

/// The keywords of storage SOP classes say so; the two services whose keywords say it too are not stored over the network.
fn is_storage_keyword(keyword: &str) -> bool {
    keyword.contains("Storage")
        && !keyword.starts_with("StorageCommitment")
        && keyword != "MediaStorageDirectoryStorage"
}

/// Whether `uid` is a transfer syntax of the standard, of whatever age: they all stand, and stand alone, below this one arc of
/// DICOM's own UID root (PS3.6 table A-1).
pub fn is_standard_transfer_syntax(uid: &str) -> bool {
    uid.strip_prefix("1.2.840.10008.1.2").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether `text` can be a UID at all: digits and dots, at most 64 characters (PS3.5 §9.1). Components with leading zeros pass:
/// there are too many of them in the field.
pub fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Removes padding. UIDs are padded with NUL, AE titles with spaces; some peers confuse the two.
pub(crate) fn unpadded(text: &str) -> &str {
    text.trim_matches(['\0', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sop_classes_are_told_apart() {
        use AbstractSyntax::*;
        let cases = [
            ("1.2.840.10008.1.1", Verification),
            ("1.2.840.10008.5.1.4.1.1.2", Storage),
            ("1.2.840.10008.5.1.4.1.1.77.1.6", Storage),
            ("1.2.840.10008.5.1.4.1.1.6", Storage),        // retired ultrasound
            ("1.2.840.10008.5.1.4.38.1", Storage),         // hanging protocol
            ("1.2.840.10008.5.1.4.1.2.2.1", OtherService), // study root FIND
            ("1.2.840.10008.1.20.1", OtherService),        // storage commitment
            ("1.2.840.10008.1.3.10", OtherService),        // DICOMDIR
            ("1.2.276.0.7230010.3.1.0.1", Unknown),
        ];
        for (uid, kind) in cases {
            assert_eq!(AbstractSyntax::of(uid), kind, "{uid}");
        }
    }

    #[test]
    fn transfer_syntaxes_of_the_standard_are_known() {
        for uid in [
            "1.2.840.10008.1.2",
            "1.2.840.10008.1.2.1",
            "1.2.840.10008.1.2.1.99",
            "1.2.840.10008.1.2.2",
            "1.2.840.10008.1.2.4.50",
            "1.2.840.10008.1.2.4.90",
            "1.2.840.10008.1.2.4.201",
            "1.2.840.10008.1.2.5",
        ] {
            assert!(is_standard_transfer_syntax(uid), "{uid}");
        }
        assert!(is_uid("1.2.840.10008.1.2") && is_uid(&"1".repeat(64)));
        for not_uid in ["", "1.2\0", "1.2 ", "1.2/3", "１.2", &"1".repeat(65)] {
            assert!(!is_uid(not_uid), "{not_uid:?}");
        }
        assert!(!is_standard_transfer_syntax("1.2.840.113619.5.2"));
        assert!(!is_standard_transfer_syntax("1.2.840.10008.1.20"));
    }
}
