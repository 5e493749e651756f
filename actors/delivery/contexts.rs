//! Presentation contexts: what is proposed for the next instances, and the way of each in what the peer has accepted.
//!
//! Each pair of SOP class and stored transfer syntax has a context of its own, so that the peer cannot choose another syntax while it takes this one. For
//! a class with instances in a native transfer syntax there is one context more, with the other native ones: what a peer takes only in these is
//! written anew.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_catalogue::Owed;
use tidegate_protocol::requestor::{Acceptance, ContextRefused, MOST_CONTEXTS, ProposedContext, Role};

/// The native transfer syntaxes (PS3.5 §A.1, §A.2, §A.3, §A.5), the ones that are written anew most willingly first.
const NATIVES: [&str; 4] =
    ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"];
/// Pairs that are remembered from one association to the next, so that studies of several modalities need no association each.
const MAX_REMEMBERED: usize = 48;

type Syntax = Arc<str>;

/// What an instance is, as far as contexts are concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) class: Arc<str>,
    pub(super) syntax: Syntax,
}

impl Pair {
    pub(super) fn of(owed: &Owed) -> Self {
        Self { class: owed.sop_class_uid.clone(), syntax: owed.transfer_syntax_uid.clone() }
    }
}

/// Pairs that were sent of late, the latest first.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<Pair>);

impl Pairs {
    /// The pairs to be proposed: those of the next instances, and then those remembered.
    pub(super) fn propose<'a>(&mut self, next: impl Iterator<Item = &'a Owed>) -> Vec<ProposedContext> {
        let mut pairs: Vec<Pair> = Vec::new();
        for owed in next {
            let is_last = pairs
                .last()
                .is_some_and(|pair| pair.class == owed.sop_class_uid && pair.syntax == owed.transfer_syntax_uid);
            if !is_last && pairs.len() < MOST_CONTEXTS {
                let pair = Pair::of(owed);
                if !pairs.contains(&pair) {
                    pairs.push(pair);
                }
            }
        }
        for pair in self.0.drain(..) {
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        let contexts = contexts_of(&pairs);
        pairs.truncate(MAX_REMEMBERED);
        self.0 = pairs;
        contexts
    }
}

/// The contexts of pairs, as far as they fit.
fn contexts_of(pairs: &[Pair]) -> Vec<ProposedContext> {
    let mut contexts: Vec<ProposedContext> = Vec::new();
    let context = |class: &Arc<str>, transfer_syntaxes| ProposedContext {
        abstract_syntax: class.clone(),
        transfer_syntaxes,
        role: Role::Scu,
    };
    let mut with_others: Vec<&Arc<str>> = Vec::new();
    for pair in pairs {
        let has_others = is_native(&pair.syntax) && !with_others.contains(&&pair.class);
        if contexts.len() + 1 + usize::from(has_others) > MOST_CONTEXTS {
            break;
        }
        contexts.push(context(&pair.class, vec![pair.syntax.clone()]));
        if has_others {
            with_others.push(&pair.class);
            let stored = |native: &str| pairs.iter().any(|other| other.class == pair.class && &*other.syntax == native);
            let others: Vec<Syntax> = NATIVES.into_iter().filter(|native| !stored(native)).map(Syntax::from).collect();
            if !others.is_empty() {
                contexts.push(context(&pair.class, others));
            }
        }
    }
    contexts
}

fn is_native(syntax: &str) -> bool {
    NATIVES.contains(&syntax)
}

/// The way of an instance on an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As it is stored.
    Stored {
        /// Presentation context ID.
        context: u8,
    },
    /// Written anew.
    Reencoded {
        /// Presentation context ID.
        context: u8,
        /// In this transfer syntax.
        syntax: Syntax,
    },
    /// The peer takes it in no way.
    Refused(ContextRefused),
    /// It was not proposed.
    NotProposed,
}

/// What a peer has accepted.
#[derive(Debug)]
pub(super) struct Accepted(HashMap<Pair, Way>);

impl Accepted {
    /// `proposed`: as it was proposed, and in that order.
    pub(super) fn new(proposed: &[ProposedContext], acceptance: &Acceptance) -> Self {
        let answers = || proposed.iter().zip(&acceptance.contexts);
        let single = |context: &ProposedContext| match &context.transfer_syntaxes[..] {
            [syntax] => Some(Pair { class: context.abstract_syntax.clone(), syntax: syntax.clone() }),
            _ => None,
        };
        let way = |pair: &Pair, refused: ContextRefused| {
            let natives =
                answers().filter(|(context, _)| is_native(&pair.syntax) && context.abstract_syntax == pair.class);
            let mut accepted = natives.filter_map(|(_, answer)| {
                let accepted = answer.outcome.as_ref().ok().filter(|accepted| accepted.is_scu)?;
                let syntax = accepted.transfer_syntax.clone();
                is_native(&syntax).then_some(Way::Reencoded { context: answer.id, syntax })
            });
            accepted.next().unwrap_or(Way::Refused(refused))
        };
        let ways = answers().filter_map(|(context, answer)| {
            let pair = single(context)?;
            let way = match &answer.outcome {
                Ok(accepted) if accepted.is_scu => Way::Stored { context: answer.id },
                Ok(_) => Way::Refused(ContextRefused::NoReason),
                Err(refused) => way(&pair, *refused),
            };
            Some((pair, way))
        });
        Self(ways.collect())
    }

    /// The way of an instance.
    pub(super) fn way(&self, owed: &Owed) -> Way {
        self.0.get(&Pair::of(owed)).cloned().unwrap_or(Way::NotProposed)
    }

    /// What is refused in every way, for the log.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&Pair, ContextRefused)> {
        self.0.iter().filter_map(|(pair, way)| match way {
            Way::Refused(refused) => Some((pair, *refused)),
            Way::Stored { .. } | Way::Reencoded { .. } | Way::NotProposed => None,
        })
    }
}
