//! The presentation contexts of a request that were refused, for the log.

use std::fmt;

use crate::registry::with_name;

/// Most refused contexts of a request that are kept by name. The rest is counted.
const MOST_NAMED: usize = 8;
/// Most transfer syntaxes of each that are kept.
const MOST_OFFERED: usize = 4;
/// Bytes of the text up to which a further context is named.
const TEXT_BYTES: usize = 600;

/// The reason why a presentation context was refused (PS3.8 §9.3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextRefusal {
    /// Its SOP class is not one that this node stores.
    AbstractSyntax,
    /// None of its transfer syntaxes is accepted.
    TransferSyntaxes,
    /// The access rules deny its SOP class to the peer.
    AccessRule,
    /// Its ID is not an odd number.
    InvalidId,
}

impl ContextRefusal {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::AbstractSyntax, Self::TransferSyntaxes, Self::AccessRule, Self::InvalidId];

    /// Name in metrics and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::AbstractSyntax => "abstract_syntax",
            Self::TransferSyntaxes => "transfer_syntaxes",
            Self::AccessRule => "access_rule",
            Self::InvalidId => "invalid_id",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::AbstractSyntax => "not a sop class that this node stores",
            Self::TransferSyntaxes => "no transfer syntax that this node accepts",
            Self::AccessRule => "denied by the access rules",
            Self::InvalidId => "its context id is not an odd number",
        }
    }
}

/// The refused contexts of a request. Its `Display` names the first of them in at most [`TEXT_BYTES`], or one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedContexts {
    named: Vec<(String, Vec<String>, ContextRefusal)>,
    counts: [u16; ContextRefusal::ALL.len()],
}

impl RefusedContexts {
    pub(super) fn add(&mut self, abstract_syntax: &str, offered: &[String], reason: ContextRefusal) {
        self.counts[reason as usize] += 1;
        if self.named.len() < MOST_NAMED {
            let printable = |c: char| if c.is_ascii_graphic() { c } else { '?' };
            let cut = |uid: &str| uid.trim_matches(['\0', ' ']).chars().take(64).map(printable).collect::<String>();
            let offered = offered.iter().take(MOST_OFFERED).map(|uid| cut(uid)).collect();
            self.named.push((cut(abstract_syntax), offered, reason));
        }
    }

    /// How many were refused for this reason.
    pub fn count(&self, reason: ContextRefusal) -> usize {
        usize::from(self.counts[reason as usize])
    }

    /// How many were refused.
    pub fn total(&self) -> usize {
        self.counts.iter().map(|count| usize::from(*count)).sum()
    }

    /// The reason of the first.
    pub fn first(&self) -> Option<ContextRefusal> {
        self.named.first().map(|(_, _, reason)| *reason)
    }
}

impl fmt::Display for RefusedContexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut named, mut bytes) = (0, 0);
        for (abstract_syntax, offered, reason) in &self.named {
            let mut text = format!("{}: {}", with_name(abstract_syntax), reason.text());
            if *reason == ContextRefusal::TransferSyntaxes {
                let offered: Vec<_> = offered.iter().map(|uid| with_name(uid)).collect();
                text += &format!(" (offered: {})", offered.join(", "));
            }
            bytes += text.len() + 2;
            if named > 0 && bytes > TEXT_BYTES {
                break;
            }
            write!(f, "{}{text}", if named == 0 { "" } else { "; " })?;
            named += 1;
        }
        match self.total() - named {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
