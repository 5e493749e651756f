//! The known name that was probably meant by an unknown one.

/// Least likeness of a name that is offered.
const LEAST_LIKENESS: f64 = 0.6;

/// The name of `known` that is most like `name`, a dotted key or a word; `None`: none is like it.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_lowercase();
    let likeness = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase());
        // A right name in a wrong section comes before a wrong name in the right section.
        whole.max(strsim::normalized_damerau_levenshtein(&last(known), &last(name)))
    };
    let closest = known.map(|known| (likeness(known), known)).max_by(|(one, _), (other, _)| one.total_cmp(other));
    closest.filter(|(likeness, _)| *likeness > LEAST_LIKENESS).map(|(_, known)| known)
}
