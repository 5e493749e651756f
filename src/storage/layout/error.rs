//! The errors of a template.

use dicom_core::Tag;

use super::limits;

/// An error of a template. Columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The template is empty.
    #[error("the layout is empty; the default is {:?}", limits::DEFAULT)]
    Empty,
    /// More text than any layout needs.
    #[error("the layout has {length} bytes; at most {} are allowed", limits::MAX_TEMPLATE_BYTES)]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// So many components that the paths could exceed what the system allows.
    #[error("the layout has {count} components; at most {} are allowed", limits::MAX_COMPONENTS)]
    TooManyComponents {
        /// How many.
        count: usize,
    },
    /// A slash at the beginning or end, or two in a row.
    #[error("column {column}: empty component; the layout is relative, with single slashes between components")]
    EmptyComponent {
        /// Where.
        column: usize,
    },
    /// A character that a literal cannot hold.
    #[error("column {column}: {found:?} is not allowed; literal text may hold A-Z a-z 0-9 . _ - and space")]
    Literal {
        /// Where.
        column: usize,
        /// The character.
        found: char,
    },
    /// A component that begins or ends with a literal period or space.
    #[error("column {column}: a component neither begins nor ends with a period or space")]
    Edge {
        /// Where.
        column: usize,
    },
    /// An opening brace without a closing one in the same component.
    #[error("column {column}: no closing brace; a field is written {{StudyDate}} or {{GGGG,EEEE}}")]
    Unclosed {
        /// Where the brace stands.
        column: usize,
    },
    /// Neither a keyword of the standard nor a tag.
    #[error(
        "column {column}: unknown element {name:?}; use a DICOM keyword such as StudyDate, or GGGG,EEEE in hexadecimal"
    )]
    UnknownElement {
        /// Where.
        column: usize,
        /// The unknown name.
        name: String,
    },
    /// An element that cannot be part of a path.
    #[error("column {column}: element {tag} {why}; use a text element of the dataset in front of its pixel data")]
    UnsuitableElement {
        /// Where.
        column: usize,
        /// The element.
        tag: Tag,
        /// The reason, as the predicate of the sentence.
        why: &'static str,
    },
    /// An unknown function.
    #[error("column {column}: unknown function {name:?}; there are first:N, hash:N and or:TEXT")]
    UnknownFunction {
        /// Where.
        column: usize,
        /// The unknown name.
        name: String,
    },
    /// A function whose argument is missing or out of range.
    #[error("column {column}: {function} takes {allowed}, not {found:?}")]
    Argument {
        /// Where.
        column: usize,
        /// The function.
        function: &'static str,
        /// The arguments that it takes.
        allowed: &'static str,
        /// The argument found.
        found: String,
    },
    /// Literals and fields of one component that might not fit into the 255 bytes of a file name.
    #[error(
        "column {column}: the component may exceed 255 bytes; at most three fields and little literal text fit into one"
    )]
    ComponentTooLong {
        /// Where the component starts.
        column: usize,
    },
    /// Two instances could get the same path.
    #[error(
        "two instances could share a path; one component must hold the whole {{SOPInstanceUID}}, without functions, as its only field"
    )]
    NotUnique,
}
