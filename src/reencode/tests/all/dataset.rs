//! Random datasets, and a writer for them that shares no code with the crate.

use dicom_core::Tag;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    ImplicitLe,
    ExplicitLe,
    ExplicitBe,
}

impl Encoding {
    pub(crate) fn of(syntax: &str) -> Self {
        match syntax {
            super::support::IMPLICIT => Self::ImplicitLe,
            super::support::BIG_ENDIAN => Self::ExplicitBe,
            _ => Self::ExplicitLe,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// A value, in little endian.
    Value { tag: Tag, vr: [u8; 2], value: Vec<u8> },
    /// Items; `vr`: SQ, or UN of undefined length.
    Sequence { tag: Tag, vr: [u8; 2], is_defined: bool, items: Vec<Item> },
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) is_defined: bool,
    pub(crate) nodes: Vec<Node>,
}

impl Node {
    pub(crate) fn tag(&self) -> Tag {
        match self {
            Self::Value { tag, .. } | Self::Sequence { tag, .. } => *tag,
        }
    }
}

/// An element that datasets have: the VRs that a writer may give it, and the dictionary's.
pub(crate) struct Listed {
    pub(crate) tag: Tag,
    pub(crate) vrs: &'static [&'static [u8; 2]],
    pub(crate) dictionary: &'static str,
}

macro_rules! listed {
    ($(($group:literal, $element:literal) $($vr:literal)|+ => $dictionary:literal;)*) => {
        &[$(Listed { tag: Tag($group, $element), vrs: &[$($vr),+], dictionary: $dictionary }),*]
    };
}

/// Chosen by hand from PS3.6, one of each VR at least. `xs`: US or SS. Ascending.
pub(crate) const LISTED: &[Listed] = listed! {
    (0x0008, 0x0000) b"UL" => "";
    (0x0008, 0x0018) b"UI" => "UI";
    (0x0008, 0x0060) b"CS" => "CS";
    (0x0008, 0x0119) b"UC" => "UC";
    (0x0008, 0x0120) b"UR" => "UR";
    (0x0009, 0x0010) b"LO" => "LO";
    (0x0009, 0x1001) b"US" | b"FD" | b"UN" | b"OB" | b"OW" | b"LT" | b"UT" | b"OV" => "UN";
    (0x0010, 0x0010) b"PN" | b"LO" => "PN";
    (0x0018, 0x6018) b"UL" => "UL";
    (0x0018, 0x6020) b"SL" => "SL";
    (0x0018, 0x602C) b"FD" => "FD";
    (0x0018, 0x6031) b"AE" | b"AS" | b"DT" => "CS";
    (0x0018, 0x9219) b"SS" => "SS";
    (0x0018, 0x9810) b"US" | b"SS" => "xs";
    (0x0028, 0x0009) b"AT" => "AT";
    (0x0028, 0x0010) b"US" => "US";
    (0x0028, 0x0103) b"US" => "US";
    (0x0028, 0x0106) b"US" | b"SS" => "xs";
    (0x0028, 0x1101) b"US" | b"SS" => "xs";
    (0x0028, 0x1201) b"OW" | b"UN" => "OW";
    (0x0028, 0x3006) b"US" | b"OW" => "OW";
    (0x0028, 0x7FE4) b"UN" | b"SQ" => "UN";
    (0x0040, 0xA30A) b"DS" | b"IS" => "DS";
    (0x0042, 0x0011) b"OB" => "OB";
    (0x0066, 0x0016) b"OF" => "OF";
    (0x0066, 0x0022) b"OD" => "OD";
    (0x0066, 0x0040) b"OL" => "OL";
    (0x0070, 0x0022) b"FL" => "FL";
    (0x0072, 0x0082) b"SV" => "SV";
    (0x0072, 0x0083) b"UV" => "UV";
    (0x5400, 0x1010) b"OB" | b"OW" => "OW";
    (0x6000, 0x3000) b"OB" | b"OW" => "OW";
    (0x6001, 0x0000) b"UL" => "";
    (0x6001, 0x3000) b"OB" | b"OW" | b"UN" => "UN";
    (0x6002, 0x3000) b"OB" | b"OW" => "OW";
    (0x7FE0, 0x0001) b"OV" => "OV";
    (0x7FE0, 0x0010) b"OB" | b"OW" => "OW";
};

/// Sequences: two of the dictionary, and a private one.
const SEQUENCES: [Tag; 3] = [Tag(0x0008, 0x1140), Tag(0x0009, 0x1002), Tag(0x0040, 0xA730)];

fn value() -> impl Strategy<Value = Node> {
    let row = (0..LISTED.len(), any::<prop::sample::Index>());
    (row, 0usize..5, any::<[u8; 32]>()).prop_map(|((row, vr), units, random)| {
        let row = &LISTED[row];
        let vr = **vr.get(row.vrs);
        let vr = if &vr == b"SQ" { *b"UN" } else { vr };
        let value = match &vr {
            // The value of the group length is not looked at.
            b"UL" if row.tag.element() == 0 => random[..4].to_vec(),
            b"US" if row.tag == Tag(0x0028, 0x0103) => vec![random[0] & 1, 0],
            b"UN" | b"OB" | b"OW" | b"US" | b"SS" | b"AT" | b"FL" | b"OF" | b"OL" | b"SL" | b"UL" | b"OV" | b"SV"
            | b"UV" | b"FD" | b"OD" => random[..units * 8].to_vec(),
            b"DS" | b"IS" => b"12".repeat(units),
            _ => b"1.".repeat(units),
        };
        Node::Value { tag: row.tag, vr, value }
    })
}

fn sorted(mut nodes: Vec<Node>) -> Vec<Node> {
    nodes.sort_by_key(Node::tag);
    nodes.dedup_by_key(|node| node.tag());
    nodes
}

/// A dataset whose sequences are nested at most four deep.
pub(crate) fn dataset() -> impl Strategy<Value = Vec<Node>> {
    let node = value().prop_recursive(4, 40, 6, |node| {
        let item =
            (any::<bool>(), vec(node, 0..6)).prop_map(|(is_defined, nodes)| Item { is_defined, nodes: sorted(nodes) });
        let sequence = (0..SEQUENCES.len(), any::<(bool, bool)>(), vec(item, 0..3));
        sequence.prop_map(|(tag, (is_defined, is_unknown), items)| {
            let tag = SEQUENCES[tag];
            let is_unknown = is_unknown && tag.group() % 2 == 1;
            Node::Sequence { tag, vr: if is_unknown { *b"UN" } else { *b"SQ" }, is_defined, items }
        })
    });
    vec(node, 0..12).prop_map(sorted)
}

/// Writes a dataset.
pub(crate) fn write(nodes: &[Node], encoding: Encoding) -> Vec<u8> {
    nodes.iter().flat_map(|node| write_node(node, encoding)).collect()
}

fn write_node(node: &Node, encoding: Encoding) -> Vec<u8> {
    match node {
        Node::Value { tag, vr, value } => {
            let mut bytes = header(*tag, Some(vr), value.len() as u32, encoding);
            match encoding {
                Encoding::ExplicitBe => bytes.extend(swapped(vr, value)),
                _ => bytes.extend(value),
            }
            bytes
        }
        Node::Sequence { tag, vr, is_defined, items } => {
            // UN holds implicit VR little endian, and its length is undefined.
            let is_unknown = vr == b"UN" && encoding != Encoding::ImplicitLe;
            let inside = if is_unknown { Encoding::ImplicitLe } else { encoding };
            // In implicit VR, only an undefined length makes a sequence of a private element.
            let is_private = tag.group() % 2 == 1 && encoding == Encoding::ImplicitLe;
            let is_defined = *is_defined && !is_unknown && !is_private;
            let content: Vec<u8> = items.iter().flat_map(|item| write_item(item, inside)).collect();
            let length = if is_defined { content.len() as u32 } else { u32::MAX };
            let mut bytes = header(*tag, Some(vr), length, encoding);
            bytes.extend(content);
            if !is_defined {
                bytes.extend(header(Tag(0xFFFE, 0xE0DD), None, 0, inside));
            }
            bytes
        }
    }
}

fn write_item(item: &Item, encoding: Encoding) -> Vec<u8> {
    let content = write(&item.nodes, encoding);
    let length = if item.is_defined { content.len() as u32 } else { u32::MAX };
    let mut bytes = header(Tag(0xFFFE, 0xE000), None, length, encoding);
    bytes.extend(content);
    if !item.is_defined {
        bytes.extend(header(Tag(0xFFFE, 0xE00D), None, 0, encoding));
    }
    bytes
}

/// A header; `vr` is of no meaning in implicit VR.
pub(crate) fn header(tag: Tag, vr: Option<&[u8; 2]>, length: u32, encoding: Encoding) -> Vec<u8> {
    let is_big = encoding == Encoding::ExplicitBe;
    let short = |number: u16| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
    let long = |number: u32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut bytes = [short(tag.0), short(tag.1)].concat();
    let Some(vr) = vr.filter(|_| encoding != Encoding::ImplicitLe) else {
        bytes.extend(long(length));
        return bytes;
    };
    bytes.extend(vr);
    match vr {
        b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV" => {
            bytes.extend([0, 0]);
            bytes.extend(long(length));
        }
        _ => bytes.extend(short(length.try_into().unwrap())),
    }
    bytes
}

fn swapped(vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let unit = match vr {
        b"US" | b"SS" | b"OW" | b"AT" => 2,
        b"UL" | b"SL" | b"OL" | b"FL" | b"OF" => 4,
        b"UV" | b"SV" | b"OV" | b"FD" | b"OD" => 8,
        _ => 1,
    };
    value.chunks(unit).flat_map(|unit| unit.iter().rev().copied()).collect()
}
