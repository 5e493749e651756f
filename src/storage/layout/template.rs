//! Parses a template into components, and refuses everything that could fail later.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, TagRange, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::error::LayoutError;
use super::limits::{CUT_MARK_BYTES, MAX_COMPONENTS, MAX_NAME_BYTES, MAX_TEMPLATE_BYTES, RESERVED_BYTES};

/// Least bytes of a cut value, before the mark and the hash.
const MIN_VALUE_BYTES: usize = CUT_MARK_BYTES + 1;

const MAX_ALTERNATIVE_BYTES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) pieces: Vec<Piece>,
    /// Room of each field once encoded, in bytes.
    pub(super) max_value_bytes: usize,
    /// Literal names of other layouts in the same place, which no value may spell; see [`mod@super::separate`].
    pub(super) apart_from: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Field(Field),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) tag: Tag,
    pub(super) functions: Vec<Function>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Function {
    First(usize),
    Hash(usize),
    Or(String),
}

impl Component {
    /// Whether two instances cannot have the same name here: the whole SOP Instance UID is its one
    /// field.
    pub(super) fn is_unique_to_instance(&self) -> bool {
        let mut fields = self.fields();
        let only = fields.next().filter(|_| fields.next().is_none());
        only.is_some_and(|field| field.is_whole_sop_instance_uid())
    }

    /// Whether one of its fields is anything but a UID or the modality, be it as a hash, which can be guessed.
    pub(super) fn is_about_a_patient(&self) -> bool {
        let is_uid =
            |tag| StandardDataDictionary.by_tag(tag).is_some_and(|entry| entry.vr() == VirtualVr::Exact(VR::UI));
        self.tags().any(|tag| tag != tags::MODALITY && !is_uid(tag))
    }

    /// Whether a value in `name` is text where a UID belongs. Some senders write a name there.
    pub(super) fn has_text_for_a_uid(&self, name: &str) -> bool {
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
        let literals = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(letters(text)),
            Piece::Field(_) => None,
        });
        let has_only_uids = self.fields().all(|field| field.tag != tags::MODALITY && field.functions.is_empty());
        has_only_uids && letters(name) > literals.sum::<usize>()
    }

    /// Whether the literal text at both ends of `name` is that of this component. The first character of a name may be escaped.
    pub(super) fn could_name(&self, name: &str) -> bool {
        let literal = |piece: Option<&Piece>| match piece {
            Some(Piece::Literal(text)) => text.clone(),
            Some(Piece::Field(_)) | None => String::new(),
        };
        (name.starts_with('%') || name.starts_with(&literal(self.pieces.first())))
            && name.ends_with(&literal(self.pieces.last()))
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = Tag> {
        self.fields().map(|field| field.tag)
    }

    fn fields(&self) -> impl Iterator<Item = &Field> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field(field) => Some(field),
            Piece::Literal(_) => None,
        })
    }
}

impl Field {
    pub(super) fn is_whole_sop_instance_uid(&self) -> bool {
        self.tag == tags::SOP_INSTANCE_UID && self.functions.is_empty()
    }
}

/// Columns are byte offsets plus one: nothing but ASCII comes through, so they count characters.
pub(super) fn parse(template: &str) -> Result<Vec<Component>, LayoutError> {
    if template.is_empty() {
        return Err(LayoutError::Empty);
    }
    if template.len() > MAX_TEMPLATE_BYTES {
        return Err(LayoutError::TooLong { length: template.len() });
    }
    let mut column = 1;
    let mut components = Vec::new();
    for text in template.split('/') {
        components.push(component(text, column)?);
        column += text.len() + 1;
    }
    if components.len() > MAX_COMPONENTS {
        return Err(LayoutError::TooManyComponents { count: components.len() });
    }
    Ok(components)
}

fn component(text: &str, start: usize) -> Result<Component, LayoutError> {
    if text.is_empty() {
        return Err(LayoutError::EmptyComponent { column: start });
    }
    if text.starts_with(['.', ' ']) {
        return Err(LayoutError::Edge { column: start });
    }
    if text.ends_with(['.', ' ']) {
        return Err(LayoutError::Edge { column: start + text.len() - 1 });
    }
    let (mut pieces, mut fields, mut literal_bytes) = (Vec::new(), 0, 0);
    let mut rest = text;
    while !rest.is_empty() {
        let column = start + text.len() - rest.len();
        if let Some(inside) = rest.strip_prefix('{') {
            let (inside, after) = inside.split_once('}').ok_or(LayoutError::Unclosed { column })?;
            pieces.push(Piece::Field(field(inside, column + 1)?));
            fields += 1;
            rest = after;
        } else {
            let (literal, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._- ".contains(c);
            if let Some((at, found)) = literal.char_indices().find(|(_, c)| !allowed(*c)) {
                return Err(LayoutError::Literal { column: column + at, found });
            }
            pieces.push(Piece::Literal(literal.to_owned()));
            literal_bytes += literal.len();
            rest = after;
        }
    }
    let room = MAX_NAME_BYTES.saturating_sub(RESERVED_BYTES + literal_bytes);
    if room < fields * MIN_VALUE_BYTES || (fields == 0 && room == 0) {
        return Err(LayoutError::ComponentTooLong { column: start });
    }
    Ok(Component { pieces, max_value_bytes: room / fields.max(1), apart_from: Vec::new() })
}

fn field(text: &str, start: usize) -> Result<Field, LayoutError> {
    let mut parts = text.split('|');
    let name = parts.next().unwrap_or_default();
    let tag = element(name, start)?;
    let mut column = start + name.len() + 1;
    let mut functions = Vec::new();
    for part in parts {
        functions.push(function(part, column)?);
        column += part.len() + 1;
    }
    Ok(Field { tag, functions })
}

fn element(name: &str, column: usize) -> Result<Tag, LayoutError> {
    let keyword = || match StandardDataDictionary.by_name(name)?.tag_range() {
        TagRange::Single(tag) => Some(tag),
        _ => None,
    };
    let tag =
        tag(name).or_else(keyword).ok_or_else(|| LayoutError::UnknownElement { column, name: name.to_owned() })?;
    let why = if tag.group() <= 0x0002 {
        "is not part of a dataset"
    } else if tag >= Tag(0x7FE0, 0x0000) {
        "is not in front of the pixel data"
    } else if !may_be_text(tag) {
        "is not text"
    } else {
        return Ok(tag);
    };
    Err(LayoutError::UnsuitableElement { column, tag, why })
}

fn tag(text: &str) -> Option<Tag> {
    let (group, element) = text.split_once(',')?;
    let four_digits = |part: &str| {
        let hex = part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
        u16::from_str_radix(part, 16).ok().filter(|_| hex)
    };
    Some(Tag(four_digits(group)?, four_digits(element)?))
}

/// Whether the standard says an element is text, or says nothing of it.
fn may_be_text(tag: Tag) -> bool {
    use VR::{AE, AS, CS, DA, DS, DT, IS, LO, LT, PN, SH, ST, TM, UC, UI, UR, UT};
    let Some(entry) = StandardDataDictionary.by_tag(tag) else {
        return true;
    };
    matches!(
        entry.vr(),
        VirtualVr::Exact(AE | AS | CS | DA | DS | DT | IS | LO | LT | PN | SH | ST | TM | UC | UI | UR | UT)
    )
}

fn function(text: &str, column: usize) -> Result<Function, LayoutError> {
    let (name, argument) = text.split_once(':').unwrap_or((text, ""));
    let refuse = |function, allowed| LayoutError::Argument { column, function, allowed, found: argument.to_owned() };
    let number = |max: usize| argument.parse().ok().filter(|n| (1..=max).contains(n));
    match name {
        "first" => number(255).map(Function::First).ok_or_else(|| refuse("first", "a number from 1 to 255")),
        "hash" => number(64).map(Function::Hash).ok_or_else(|| refuse("hash", "a number from 1 to 64")),
        "or" => {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if argument.is_empty() || argument.len() > MAX_ALTERNATIVE_BYTES || !argument.bytes().all(allowed) {
                return Err(refuse("or", "1 to 64 characters of A-Z a-z 0-9 . _ -"));
            }
            Ok(Function::Or(argument.to_owned()))
        }
        _ => Err(LayoutError::UnknownFunction { column, name: name.to_owned() }),
    }
}
