//! Status codes of C-STORE (PS3.4 §B.2.3), of N-ACTION and of DIMSE in general (PS3.7 Annex C), and the Error Comment that goes with them.

use std::fmt;

/// The status of a response. Each variant stands for one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 0000: stored durably (or echoed).
    Success,
    /// 0110: processing failure.
    ProcessingFailure,
    /// 0111: duplicate SOP instance.
    DuplicateSopInstance,
    /// 0117: the SOP Instance UID breaks the rules for UIDs.
    InvalidSopInstance,
    /// 0122: the SOP class is not the context's, or not one that can be stored.
    SopClassNotSupported,
    /// 0211: the requested DIMSE operation is not supported.
    UnrecognizedOperation,
    /// A700: out of resources; the peer may retry later.
    OutOfResources,
    /// A900: the dataset is not what the command says it is.
    DataSetMismatch,
    /// C000: the dataset cannot be understood.
    CannotUnderstand,
}

impl Status {
    /// Every status this node answers with, in ascending order of its code.
    pub const ALL: [Status; 9] = [
        Self::Success,
        Self::ProcessingFailure,
        Self::DuplicateSopInstance,
        Self::InvalidSopInstance,
        Self::SopClassNotSupported,
        Self::UnrecognizedOperation,
        Self::OutOfResources,
        Self::DataSetMismatch,
        Self::CannotUnderstand,
    ];

    /// The value of element (0000,0900).
    pub fn code(self) -> u16 {
        match self {
            Self::Success => 0x0000,
            Self::ProcessingFailure => 0x0110,
            Self::DuplicateSopInstance => 0x0111,
            Self::InvalidSopInstance => 0x0117,
            Self::SopClassNotSupported => 0x0122,
            Self::UnrecognizedOperation => 0x0211,
            Self::OutOfResources => 0xA700,
            Self::DataSetMismatch => 0xA900,
            Self::CannotUnderstand => 0xC000,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.code())
    }
}

/// The status of an N-ACTION-RSP (PS3.7 §10.1.4.1.10 and annex C). Each variant stands for one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionStatus {
    /// 0000: the request is recorded durably; a report follows.
    Success,
    /// 0110: processing failure.
    ProcessingFailure,
    /// 0112: the Requested SOP Instance UID is not the well-known one.
    NoSuchSopInstance,
    /// 0115: the action information is not what the SOP class asks for.
    InvalidArgument,
    /// 0118: the Requested SOP Class UID is not the context's.
    NoSuchSopClass,
    /// 0119: the Requested SOP Instance UID is not one of the class.
    ClassInstanceConflict,
    /// 0120: the action information lacks an element.
    MissingAttribute,
    /// 0123: the Action Type ID is not 1.
    NoSuchAction,
    /// 0124: the peer may not ask for it.
    NotAuthorized,
    /// 0131: the Transaction UID is in use (PS3.3 §C.14.1.1 has the code).
    DuplicateTransactionUid,
    /// 0213: more references, or more requests, than this node takes.
    ResourceLimitation,
}

impl ActionStatus {
    /// Every status this node answers an N-ACTION with, in ascending order of its code.
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::ProcessingFailure,
        Self::NoSuchSopInstance,
        Self::InvalidArgument,
        Self::NoSuchSopClass,
        Self::ClassInstanceConflict,
        Self::MissingAttribute,
        Self::NoSuchAction,
        Self::NotAuthorized,
        Self::DuplicateTransactionUid,
        Self::ResourceLimitation,
    ];

    /// The value of element (0000,0900).
    pub fn code(self) -> u16 {
        match self {
            Self::Success => 0x0000,
            Self::ProcessingFailure => 0x0110,
            Self::NoSuchSopInstance => 0x0112,
            Self::InvalidArgument => 0x0115,
            Self::NoSuchSopClass => 0x0118,
            Self::ClassInstanceConflict => 0x0119,
            Self::MissingAttribute => 0x0120,
            Self::NoSuchAction => 0x0123,
            Self::NotAuthorized => 0x0124,
            Self::DuplicateTransactionUid => 0x0131,
            Self::ResourceLimitation => 0x0213,
        }
    }
}

impl fmt::Display for ActionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.code())
    }
}

/// The status of an N-EVENT-REPORT-RSP (PS3.7 §10.1.1.1.8 and annex C). Each variant stands for one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportStatus {
    /// 0000: what the report says is noted durably.
    Success,
    /// 0110: processing failure.
    ProcessingFailure,
    /// 0112: the Affected SOP Instance UID is not the well-known one.
    NoSuchSopInstance,
    /// 0113: the Event Type ID is neither 1 nor 2.
    NoSuchEventType,
    /// 0115: the event information cannot be read, or its transaction is none of this node.
    InvalidArgument,
    /// 0118: the Affected SOP Class UID is not the context's.
    NoSuchSopClass,
    /// 0213: more references, or more reports, than this node takes.
    ResourceLimitation,
}

impl ReportStatus {
    /// The value of element (0000,0900).
    pub fn code(self) -> u16 {
        match self {
            Self::Success => 0x0000,
            Self::ProcessingFailure => 0x0110,
            Self::NoSuchSopInstance => 0x0112,
            Self::NoSuchEventType => 0x0113,
            Self::InvalidArgument => 0x0115,
            Self::NoSuchSopClass => 0x0118,
            Self::ResourceLimitation => 0x0213,
        }
    }
}

impl fmt::Display for ReportStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.code())
    }
}

/// The value of element (0000,0902), VR LO. Invariant: at most 64 characters of the default repertoire, no backslash, no control characters,
/// whatever text it is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorComment(String);

impl ErrorComment {
    /// The longest Error Comment (PS3.5 §6.2, LO).
    pub const MAX_CHARS: usize = 64;

    /// Cleans `text`, and cuts it behind a word. A word longer than half of the comment is cut itself.
    pub fn new(text: impl fmt::Display) -> Self {
        let clean = |c: char| match c {
            '\\' => '/',
            ' '..='~' => c,
            _ => '?',
        };
        let text: String = text.to_string().chars().map(clean).collect(); // a character a byte
        let Some((most, rest)) = text.split_at_checked(Self::MAX_CHARS).filter(|(_, rest)| !rest.is_empty()) else {
            return Self(text);
        };
        let end = if rest.starts_with(' ') { most.len() } else { most.rfind(' ').unwrap_or(0) };
        let end = if end < Self::MAX_CHARS / 2 { most.len() } else { end };
        Self(most[..end].trim_end_matches([' ', ',', ':', ';', '(']).to_owned())
    }

    /// The text as it goes on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comment_is_always_a_legal_lo() {
        let comment = ErrorComment::new(format!("a\\b\u{1b}[31m\nü{}", "x".repeat(100)));
        assert!(comment.as_str().starts_with("a/b?[31m??x"));
        assert_eq!(comment.as_str().len(), 64);
    }

    #[test]
    fn an_error_comment_ends_with_a_whole_word() {
        let cut = |text: &str| ErrorComment::new(text).as_str().to_owned();
        let text = "dataset is of another SOP instance than the command (0000,1000) says, which is 1.2.3.4";
        assert_eq!(cut(text), "dataset is of another SOP instance than the command (0000,1000)");
        assert_eq!(cut(&format!("{} b c", "a".repeat(64))), "a".repeat(64), "it ends where a word does");
        assert_eq!(cut(&"a".repeat(64)), "a".repeat(64));
        assert_eq!(cut(&format!("short: {}", "a".repeat(64))).len(), 64, "a long word is cut itself");
        assert_eq!(cut("as it is"), "as it is");
    }

    #[test]
    fn codes_are_distinct() {
        let mut codes: Vec<_> = Status::ALL.iter().map(|s| s.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Status::ALL.len());
        assert!(codes.is_sorted());
        let codes: Vec<_> = ActionStatus::ALL.iter().map(|s| s.code()).collect();
        assert!(codes.is_sorted_by(|a, b| a < b));
    }
}
