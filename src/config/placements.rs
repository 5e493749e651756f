//! The placements of the access rules: the layouts of two rules never meet, and no rule replaces what another one protects.

use std::sync::Arc;

use tidegate_access::Rule;
use tidegate_actors::Terms;
use tidegate_storage::layout::{Layout, separate};
use tidegate_storage::{Duplicates, Placement};

use super::checks::Checks;

/// Gives each rule that allows its final placement. `usual` is that of a rule which says nothing of it.
///
/// Rules with one layout share its files. There, an instance of one rule must not be replaced by a peer of another because the other rule
/// says so: `replace` holds only where all of them say it.
pub(super) fn settle(rules: &[Rule], terms: &mut [Terms], usual: &Placement, checks: &mut Checks<'_>) {
    let numbered = (1..).zip(rules.iter().zip(terms)).map(|(number, (rule, terms))| (number, rule, terms));
    let mut granted: Vec<(usize, &Rule, &mut Terms)> = numbered.filter(|(_, rule, _)| rule.allows).collect();
    let placements: Vec<Placement> =
        granted.iter().map(|(.., terms)| terms.placement.as_deref().unwrap_or(usual).clone()).collect();
    let mut layouts: Vec<Layout> = Vec::new();
    let mut layout_numbers = Vec::new();
    for placement in &placements {
        let known = layouts.iter().position(|layout| layout.is_same_place(&placement.layout));
        layout_numbers.push(known.unwrap_or(layouts.len()));
        if known.is_none() {
            layouts.push(placement.layout.clone());
        }
    }
    let separated = match separate(&layouts) {
        Ok(separated) => separated,
        Err(meeting) => {
            let first_with =
                |layout: usize| granted.iter().zip(&layout_numbers).find(|(_, of_rule)| **of_rule == layout);
            let Some((((of_one, ..), _), ((of_other, other, _), _))) =
                first_with(meeting.first).zip(first_with(meeting.second))
            else {
                return;
            };
            let complaint = format!(
                "could give two instances the same path as the layout of rule {of_other} ({:?}, {}), or lead through a file: begin one of \
                 them with a directory of literal text that the other does not have, such as \"ct/\"",
                other.name,
                layouts[meeting.second].template()
            );
            checks.refuse_rule(*of_one, Some("layout"), &complaint);
            return;
        }
    };
    for (at, (.., terms)) in granted.iter_mut().enumerate() {
        let here = placements.iter().zip(&layout_numbers).filter(|(_, layout)| **layout == layout_numbers[at]);
        let placement = Placement {
            layout: separated[layout_numbers[at]].clone(),
            duplicates: protective(placements[at].duplicates, here.map(|(placement, _)| placement.duplicates)),
            durability: placements[at].durability,
        };
        // Without one of its own, a rule needs no look at its placement for each instance.
        if terms.placement.is_some() || placement.layout != usual.layout || placement.duplicates != usual.duplicates {
            terms.placement = Some(Arc::new(placement));
        }
    }
}

/// The policy `own` of a rule, in a place where those of all rules are `here`.
fn protective(own: Duplicates, here: impl Iterator<Item = Duplicates>) -> Duplicates {
    if own != Duplicates::Replace {
        return own;
    }
    here.fold(own, |strictest, other| match (strictest, other) {
        (Duplicates::Refuse, _) | (_, Duplicates::Refuse) => Duplicates::Refuse,
        (Duplicates::KeepBoth, _) | (_, Duplicates::KeepBoth) => Duplicates::KeepBoth,
        (Duplicates::Replace, Duplicates::Replace) => Duplicates::Replace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_holds_only_where_every_rule_says_so() {
        use Duplicates::{KeepBoth, Refuse, Replace};
        for (own, here, expected) in [
            (Replace, [Replace, Replace], Replace),
            (Replace, [Replace, KeepBoth], KeepBoth),
            (Replace, [KeepBoth, Refuse], Refuse),
            (KeepBoth, [KeepBoth, Refuse], KeepBoth),
            (Refuse, [Refuse, Replace], Refuse),
        ] {
            assert_eq!(protective(own, here.into_iter()), expected, "{own} among {here:?}");
        }
    }
}
