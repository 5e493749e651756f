//! The layout: a template that turns elements of an instance into a relative path.
//!
//! Invariant: a peer's string becomes part of a path here and nowhere else. `template` reads the grammar,
//! `component` encodes values so that they can neither leave the root nor collide, `separate` keeps the paths of two layouts apart.
//!
//! ```text
//! template  = component *("/" component)          at most 12
//! component = 1*(literal / field)
//! literal   = 1*(A-Z a-z 0-9 . _ - space)         a component neither begins nor ends with "." or space
//! field     = "{" element *("|" function) "}"
//! element   = keyword                             of a text element of the standard, as in {PatientID}
//!           / GGGG "," EEEE                       hexadecimal, as in {0010,0020}
//! function  = "first:" N                          the first N characters
//!           / "hash:" N                           the first N hexadecimal digits of the SHA-256
//!           / "or:" text                          this text, when the element is absent or empty
//! ```
//!
//! Functions apply from left to right. A value still missing at the end is `_`.

mod component;
mod error;
mod limits;
mod separate;
mod template;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::head::Head;
use crate::meta::FileMeta;
pub use error::LayoutError;
pub use separate::{Meeting, separate};
use template::Component;

/// Three UIDs and what joins them, which is what most layouts come to.
const USUAL_PATH_BYTES: usize = 3 * 64 + 8;

/// Digits of the number of a copy.
const MAX_NUMBER_DIGITS: usize = 10;

/// A checked template: no two SOP Instances have the same path, and no path leaves the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    template: String,
    components: Vec<Component>,
    /// Which component holds the whole SOP Instance UID, and so the number of a copy.
    numbered: usize,
    wanted: Arc<[Tag]>,
}

impl Layout {
    /// The template of a store whose settings have none.
    pub const DEFAULT: &str = limits::DEFAULT;

    /// Reads a template; the grammar stands at the top of this module.
    ///
    /// Refused is also one that could map two instances to one path: some component must hold the
    /// whole SOP Instance UID as its only field.
    pub fn parse(template: &str) -> Result<Self, LayoutError> {
        let components = template::parse(template)?;
        let numbered = components.iter().rposition(Component::is_unique_to_instance).ok_or(LayoutError::NotUnique)?;
        let mut wanted = vec![tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID];
        wanted.extend(components.iter().flat_map(Component::tags));
        wanted.sort_unstable();
        wanted.dedup();
        Ok(Self { template: template.to_owned(), components, numbered, wanted: wanted.into() })
    }

    /// The template as it was written.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// A path of this layout, or the beginning of one, as it may go into a log: names made of anything but UIDs, modality and
    /// literal text, and those with text where a UID belongs, become `…`: they may be a patient's. Absolute paths are the operator's own.
    pub fn loggable(&self, path: &Path) -> PathBuf {
        if path.is_absolute() {
            return path.to_owned();
        }
        let names = path.iter().enumerate();
        names
            .map(|(at, name)| match self.components.get(at) {
                Some(component)
                    if component.is_about_a_patient()
                        || name.to_str().is_none_or(|name| component.has_text_for_a_uid(name)) =>
                {
                    OsStr::new("…")
                }
                _ => name,
            })
            .collect()
    }

    /// The elements to look for in a dataset's head, ascending: those of the template, and the SOP
    /// Class and Instance UIDs, which are held against the command set.
    pub fn wanted(&self) -> Arc<[Tag]> {
        Arc::clone(&self.wanted)
    }

    /// Where an instance belongs, relative to the root: one component of 1..=255 bytes for each of
    /// the template's, none of which begins with a period.
    ///
    /// SOP Class and Instance UIDs are those of `meta`, everything else comes from `head`. `copy`
    /// from 2 on puts `~2` and so on behind the SOP Instance UID; 0 and 1 are the plain name.
    pub fn path(&self, meta: &FileMeta, head: &Head, copy: u32) -> PathBuf {
        let value_of = |tag: Tag| match tag {
            tags::SOP_CLASS_UID => Some(meta.sop_class_uid.as_str().as_bytes()),
            tags::SOP_INSTANCE_UID => Some(meta.sop_instance_uid.as_str().as_bytes()),
            tag => head.value(tag).filter(|value| !value.is_empty()),
        };
        let mut path = String::with_capacity(USUAL_PATH_BYTES);
        for (at, component) in self.components.iter().enumerate() {
            if at > 0 {
                path.push('/');
            }
            let copy = (at == self.numbered && copy > 1).then_some(copy);
            component::push_name(&mut path, component, value_of, copy);
        }
        path.into()
    }

    /// Whether some instance might have this path, relative to the root, as far as its literal text tells.
    pub(crate) fn could_make(&self, path: &Path) -> bool {
        let names: Vec<_> = path.iter().map(OsStr::to_str).collect();
        names.len() == self.components.len()
            && self
                .components
                .iter()
                .zip(names)
                .all(|(component, name)| name.is_some_and(|name| component.could_name(name)))
    }

    /// Which copy of the instance belongs at `path`, relative to the root: 1 for the plain name. `None` when it belongs
    /// elsewhere.
    pub(crate) fn copy_at(&self, meta: &FileMeta, head: &Head, path: &Path) -> Option<u32> {
        if self.path(meta, head, 1) == path {
            return Some(1);
        }
        let name = path.components().nth(self.numbered)?.as_os_str().to_str()?;
        // A mark may also stand in front of a hash, and digits of the template behind the number: all is tried that could be one.
        let mut numbers = name.match_indices('~').flat_map(|(at, _)| {
            let digits = name[at + 1..].bytes().take_while(u8::is_ascii_digit).count().min(MAX_NUMBER_DIGITS);
            (1..=digits).filter_map(move |length| name[at + 1..at + 1 + length].parse::<u32>().ok())
        });
        numbers.find(|copy| *copy > 1 && self.path(meta, head, *copy) == path)
    }
}
