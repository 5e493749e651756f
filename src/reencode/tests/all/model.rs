//! The dataset that must come out, made from the whole dataset at once.

use dicom_core::Tag;

use super::dataset::{Encoding, Item, LISTED, Node};

/// Of a dataset in one encoding, the one in another.
pub(crate) fn expected(nodes: &[Node], from: Encoding, to: Encoding) -> Vec<Node> {
    if from == to {
        return nodes.to_vec();
    }
    of_nodes(nodes, from, to, None, None)
}

/// `around`: the pixel representation of what is around; `root`: the element of the dataset itself that these are in.
fn of_nodes(nodes: &[Node], from: Encoding, to: Encoding, around: Option<bool>, root: Option<Tag>) -> Vec<Node> {
    let mut is_signed = around;
    let mut result = Vec::new();
    for node in nodes.iter().filter(|node| node.tag().1 != 0) {
        let at = root.unwrap_or(node.tag());
        match node {
            Node::Value { tag, vr, value } => {
                if *tag == Tag(0x0028, 0x0103) && value.len() == 2 {
                    is_signed = Some(value == &[1, 0]);
                }
                let vr = match from {
                    Encoding::ImplicitLe => dictionary(*tag, is_signed, at),
                    _ => *vr,
                };
                result.push(Node::Value { tag: *tag, vr, value: value.clone() });
            }
            Node::Sequence { tag, vr, is_defined: _, items } => {
                let is_unknown = vr == b"UN" && from != Encoding::ImplicitLe;
                let items: Vec<Item> = match is_unknown {
                    true => items.clone(),
                    false => items
                        .iter()
                        .map(|item| Item {
                            is_defined: item.is_defined && item.nodes.is_empty(),
                            nodes: of_nodes(&item.nodes, from, to, is_signed, Some(at)),
                        })
                        .collect(),
                };
                let vr = if is_unknown { *b"UN" } else { *b"SQ" };
                // An empty one keeps its length, where it had one.
                let had_length = match node {
                    Node::Sequence { is_defined, .. } => {
                        *is_defined && !(tag.group() % 2 == 1 && from == Encoding::ImplicitLe) && !is_unknown
                    }
                    Node::Value { .. } => false,
                };
                let is_private_in_implicit = tag.group() % 2 == 1 && to == Encoding::ImplicitLe;
                let is_defined = had_length && items.is_empty() && !is_private_in_implicit;
                result.push(Node::Sequence { tag: *tag, vr, is_defined, items });
            }
        }
    }
    result
}

fn dictionary(tag: Tag, is_signed: Option<bool>, root: Tag) -> [u8; 2] {
    let row = LISTED.iter().find(|row| row.tag == tag).unwrap();
    match (row.dictionary, is_signed) {
        ("xs", Some(true)) => *b"SS",
        ("xs", None) if root < Tag(0x0028, 0x0103) => *b"UN",
        ("xs", _) => *b"US",
        (vr, _) => vr.as_bytes().try_into().unwrap(),
    }
}
