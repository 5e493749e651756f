//! Random datasets between all pairs of syntaxes, in random pieces.

use dicom_core::Tag;
use proptest::collection::vec;
use proptest::prelude::*;

use super::dataset::{Encoding, LISTED, Node, dataset, write};
use super::model::expected;
use super::support::{BIG_ENDIAN, DEFLATED, IMPLICIT, SYNTAXES, Seen, deflate, inflate, reencode_in, seen};

/// dicom-rs reads the items of UN in the encoding of the dataset.
fn has_unknown_sequence(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Value { .. } => false,
        Node::Sequence { vr, items, .. } => vr == b"UN" || items.iter().any(|item| has_unknown_sequence(&item.nodes)),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_result_is_that_of_the_model(
        nodes in dataset(),
        from in 0..SYNTAXES.len(),
        to in 0..SYNTAXES.len(),
        pieces in vec(1usize..40, 0..8),
    ) {
        let (from, to) = (SYNTAXES[from], SYNTAXES[to]);
        let plain = write(&nodes, Encoding::of(from));
        let given = if from == DEFLATED { deflate(&plain) } else { plain };
        let written = reencode_in(&pieces, from, to, &given).unwrap();
        let wanted = write(&expected(&nodes, Encoding::of(from), Encoding::of(to)), Encoding::of(to));
        prop_assert_eq!(&if to == DEFLATED { inflate(&written) } else { written.clone() }, &wanted);
        if !has_unknown_sequence(&nodes) {
            // dicom-rs takes UN of a known element for big endian, which PS3.5 §6.2.2 says it never is.
            let is_unknown = (from, to) == (IMPLICIT, BIG_ENDIAN);
            let may_be_unknown = |tag: Tag| LISTED.iter().any(|row| row.tag == tag && row.dictionary == "xs");
            let is_comparable = |seen: &Seen| !(is_unknown && may_be_unknown(seen.1));
            let seen = |syntax, bytes| seen(syntax, bytes).into_iter().filter(is_comparable).collect::<Vec<_>>();
            prop_assert_eq!(seen(from, &given), seen(to, &written));
        }
    }

    #[test]
    fn what_is_cut_is_refused(nodes in dataset(), from in 0..SYNTAXES.len(), to in 0..SYNTAXES.len(), at in any::<prop::sample::Index>()) {
        let (from, to) = (SYNTAXES[from], SYNTAXES[to]);
        let plain = write(&nodes, Encoding::of(from));
        prop_assume!(!plain.is_empty());
        // Between two elements of the dataset itself, the cut is not to be seen.
        let mut ends: Vec<usize> = vec![0];
        for node in &nodes {
            ends.push(ends.last().unwrap() + write(std::slice::from_ref(node), Encoding::of(from)).len());
        }
        let at = at.index(plain.len());
        let cut = &plain[..at];
        let given = if from == DEFLATED { deflate(cut) } else { cut.to_vec() };
        prop_assert_eq!(reencode_in(&[], from, to, &given).is_ok(), ends.contains(&at));
    }
}
