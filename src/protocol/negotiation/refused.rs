//! The presentation contexts of a request that were refused, for the log.

use std::fmt;

use crate::registry::with_name;
use crate::syntaxes::STORAGE_COMMITMENT;

/// Most abstract syntaxes of refused contexts of a request that are kept by name. The rest is counted.
const MOST_NAMED: usize = 32;
/// Most transfer syntaxes of each that are kept.
const MOST_OFFERED: usize = 4;
/// Bytes of the text up to which a further abstract syntax is named.
const TEXT_BYTES: usize = 1000;

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

/// The refused contexts of a request. Its `Display` names their abstract syntaxes in at most [`TEXT_BYTES`], or one: each once, though many
/// senders propose a context for each transfer syntax.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedContexts {
    named: Vec<Named>,
    counts: [u16; ContextRefusal::ALL.len()],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    abstract_syntax: String,
    offered: Vec<String>,
    reason: ContextRefusal,
    contexts: usize,
}

impl Named {
    /// Why it was refused. Storage commitment is among the services of this node, and is refused as an abstract syntax where it is off.
    fn reason(&self) -> &'static str {
        match self.reason {
            ContextRefusal::AbstractSyntax if self.abstract_syntax == STORAGE_COMMITMENT => "storage commitment is off",
            reason => reason.text(),
        }
    }

    /// What the text adds to the name.
    fn detail(&self) -> String {
        if self.reason != ContextRefusal::TransferSyntaxes {
            return String::new();
        }
        let offered: Vec<_> = self.offered.iter().map(|uid| with_name(uid)).collect();
        format!(" (offered: {})", offered.join(", "))
    }
}

impl RefusedContexts {
    pub(super) fn add(&mut self, abstract_syntax: &str, offered: &[String], reason: ContextRefusal) {
        self.counts[reason as usize] += 1;
        let printable = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        let cut = |uid: &str| uid.trim_matches(['\0', ' ']).chars().take(64).map(printable).collect::<String>();
        let abstract_syntax = cut(abstract_syntax);
        let is_same = |named: &&mut Named| named.reason == reason && named.abstract_syntax == abstract_syntax;
        if let Some(named) = self.named.iter_mut().find(is_same) {
            named.contexts += 1;
            for uid in offered.iter().map(|uid| cut(uid)) {
                if named.offered.len() < MOST_OFFERED && !named.offered.contains(&uid) {
                    named.offered.push(uid);
                }
            }
        } else if self.named.len() < MOST_NAMED {
            let offered = offered.iter().take(MOST_OFFERED).map(|uid| cut(uid)).collect();
            self.named.push(Named { abstract_syntax, offered, reason, contexts: 1 });
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
        self.named.first().map(|named| named.reason)
    }
}

impl fmt::Display for RefusedContexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = 0;
        // The reason stands once, behind all that it holds for.
        let mut groups: Vec<(String, &'static str, String)> = Vec::new();
        let mut bytes = 0;
        for named in &self.named {
            let (name, detail) = (with_name(&named.abstract_syntax), named.detail());
            let reason = named.reason();
            let joins = groups.last().is_some_and(|(_, last, _)| *last == reason) && detail.is_empty();
            bytes += name.len() + 2 + if joins { 0 } else { reason.len() + 2 + detail.len() };
            if told > 0 && bytes > TEXT_BYTES {
                break;
            }
            told += named.contexts;
            match groups.last_mut().filter(|_| joins) {
                Some((names, _, _)) => *names += &format!(", {name}"),
                None => groups.push((name, reason, detail)),
            }
        }
        let text = |(names, reason, detail): &(String, &'static str, String)| format!("{names}: {reason}{detail}");
        f.write_str(&groups.iter().map(text).collect::<Vec<_>>().join("; "))?;
        match self.total() - told {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
