//! Whether a study is complete, by what, and what of it seems missing.

use crate::admin::catalogue::model::{Completion, StudyDetail};
use crate::cli::text::second;

/// Empty of a study that is not followed.
pub(super) fn state(found: &StudyDetail) -> String {
    let study = &found.study;
    let (state, completed) = (study.completeness.as_str(), study.completed.as_deref().map(second));
    match (state, completed, &found.completion) {
        ("unknown", _, _) => String::new(),
        (state, None, _) => state.to_owned(),
        (state, Some(at), None) => format!("{state}; complete at {at}"),
        (state, Some(at), Some(completion)) => {
            let Completion { basis, expected, missing } = completion;
            let by = match basis.as_str() {
                "told" => "its datasets",
                "asked" => "its source",
                basis => basis,
            };
            let what = match (missing, expected) {
                (0, None) => String::new(),
                (0, Some(expected)) => format!("; {expected} expected"),
                (missing, None) => format!("; {missing} MISSING"),
                (missing, Some(expected)) => format!("; {missing} of {expected} MISSING"),
            };
            format!("{state} by {by} at {at}{what}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::catalogue::model::Study;

    fn shown(completeness: &str, completion: Option<(&str, Option<u64>, u64)>) -> String {
        let completion =
            completion.map(|(basis, expected, missing)| Completion { basis: basis.to_owned(), expected, missing });
        let completed = (completeness != "open").then(|| "2026-11-30T10:00:00.123Z".to_owned());
        let study = Study { completeness: completeness.to_owned(), completed, ..Study::default() };
        state(&StudyDetail { study, completion, ..StudyDetail::default() })
    }

    #[test]
    fn a_study_that_lacks_something_does_not_look_like_a_whole_one() {
        let at = "at 2026-11-30 10:00:00";
        assert_eq!(shown("complete", Some(("quiet", None, 0))), format!("complete by quiet {at}"));
        assert_eq!(
            shown("complete", Some(("quiet", Some(120), 3))),
            format!("complete by quiet {at}; 3 of 120 MISSING")
        );
        assert_eq!(shown("complete", Some(("quiet", None, 2))), format!("complete by quiet {at}; 2 MISSING"));
        assert_eq!(shown("complete", Some(("told", Some(7), 0))), format!("complete by its datasets {at}; 7 expected"));
        assert_eq!(
            shown("complete", Some(("asked", Some(9), 1))),
            format!("complete by its source {at}; 1 of 9 MISSING")
        );
        assert_eq!(shown("reopened", None), format!("reopened; complete {at}"));
        assert_eq!((shown("open", None).as_str(), shown("unknown", None).as_str()), ("open", ""));
    }
}
