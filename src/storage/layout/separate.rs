//! Keeps the layouts of one root apart: whatever values peers send, no path of one layout is a path of another, nor leads through a file
//! of another.
//!
//! Two layouts are apart if in some component, which both have, their names always differ. Case does not count, since some filesystems
//! ignore it. Names differ
//! - if both are literal text, and not the same;
//! - if one is literal text and the other has a field: a value that spells the literal is then escaped;
//! - if both have fields, and the literal text in front of the first field, or behind the last, is incompatible.

use super::Layout;
use super::component::is_reserved;
use super::template::{Component, Piece};

/// Two layouts that could give two instances one path, by their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// The first.
    pub first: usize,
    /// The other.
    pub second: usize,
}

/// The same layouts, each of which escapes values that spell a literal component of another. Equal layouts are one place and stay so.
///
/// # Errors
/// [`Meeting`] names two layouts that no escape keeps apart.
pub fn separate(layouts: &[Layout]) -> Result<Vec<Layout>, Meeting> {
    let mut separated = layouts.to_vec();
    for second in 0..layouts.len() {
        for first in 0..second {
            if layouts[first].is_same_place(&layouts[second]) {
                continue;
            }
            let at = position(&layouts[first], &layouts[second]).ok_or(Meeting { first, second })?;
            let (a, b) = (&layouts[first].components[at], &layouts[second].components[at]);
            keep_from(&mut separated[first].components[at], b);
            keep_from(&mut separated[second].components[at], a);
        }
    }
    Ok(separated)
}

impl Layout {
    /// Whether both give each instance the same path.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let pieces =
            |layout: &Self| layout.components.iter().map(|component| component.pieces.clone()).collect::<Vec<_>>();
        pieces(self) == pieces(other)
    }
}

/// The first component in which the names of two layouts always differ, or can be made to.
fn position(a: &Layout, b: &Layout) -> Option<usize> {
    a.components.iter().zip(&b.components).position(|(a, b)| match (literal(a), literal(b)) {
        (Some(a), Some(b)) => !a.eq_ignore_ascii_case(b),
        // A device name is escaped wherever it stands, so an escape does not keep a value from it.
        (Some(literal), None) | (None, Some(literal)) => !is_reserved(literal),
        (None, None) => {
            let backwards = |component| edge(component, true).chars().rev().collect::<String>();
            differ(edge(a, false), edge(b, false)) || differ(&backwards(a), &backwards(b))
        }
    })
}

/// Adds `other` to what the names of `component` are escaped for, if that is literal text.
fn keep_from(component: &mut Component, other: &Component) {
    if let (None, Some(literal)) = (literal(component), literal(other))
        && !component.apart_from.iter().any(|known| known.eq_ignore_ascii_case(literal))
    {
        component.apart_from.push(literal.to_owned());
    }
}

/// The text of a component without a field.
fn literal(component: &Component) -> Option<&str> {
    match component.pieces.as_slice() {
        [Piece::Literal(text)] => Some(text),
        _ => None,
    }
}

/// The literal text in front of the first field, or behind the last.
fn edge(component: &Component, last: bool) -> &str {
    let piece = if last { component.pieces.last() } else { component.pieces.first() };
    match piece {
        Some(Piece::Literal(text)) => text,
        _ => "",
    }
}

/// Whether no text can begin with both.
fn differ(a: &str, b: &str) -> bool {
    a.bytes().zip(b.bytes()).any(|(a, b)| !a.eq_ignore_ascii_case(&b))
}
