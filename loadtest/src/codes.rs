//! The numbers in a peer's answers, in the words of the standard.

/// The meaning of a C-STORE status, given as four hexadecimal digits (PS3.4 §B.2.3, PS3.7 annex C).
pub(crate) fn status(status: &str) -> &'static str {
    match status {
        "0000" => "success",
        "0105" => "no such attribute",
        "0106" => "invalid attribute value",
        "0110" => "processing failure",
        "0111" => "duplicate SOP instance",
        "0112" => "no such SOP instance",
        "0117" => "invalid SOP instance",
        "0122" => "SOP class not supported",
        "0124" => "not authorised",
        "0210" => "duplicate invocation",
        "0211" => "unrecognised operation",
        "0212" => "mistyped argument",
        "0213" => "resource limitation",
        "B000" => "warning: coercion of data elements",
        "B006" => "warning: elements discarded",
        "B007" => "warning: dataset does not match SOP class",
        _ if status.starts_with("A7") => "out of resources",
        _ if status.starts_with("A9") => "dataset does not match SOP class",
        _ if status.starts_with('C') => "cannot understand",
        _ => "a status of the receiver's own",
    }
}

/// An A-ASSOCIATE-RJ (PS3.8 §9.3.4), with its numbers: the words are the standard's, the numbers are in every peer's log.
pub(crate) fn rejection(result: u8, source: u8, reason: u8) -> String {
    let lasts = match result {
        1 => "permanently",
        2 => "transiently",
        _ => "with a result unknown to the standard",
    };
    let by = match source {
        1 => "the service user",
        2 => "the service provider (ACSE)",
        3 => "the service provider (presentation)",
        _ => "an unknown source",
    };
    let why = match (source, reason) {
        (1 | 2, 1) => "no reason given",
        (1, 2) => "application context name not supported",
        (1, 3) => "calling AE title not recognized",
        (1, 7) => "called AE title not recognized",
        (2, 2) => "protocol version not supported",
        (3, 1) => "temporary congestion",
        (3, 2) => "local limit exceeded",
        _ => "a reason unknown to the standard",
    };
    format!("{why}, rejected {lasts} by {by} (result {result}, source {source}, reason {reason}; PS3.8 §9.3.4)")
}

/// An A-ABORT (PS3.8 §9.3.8), with its numbers.
pub(crate) fn abort(source: u8, reason: u8) -> String {
    let why = match (source, reason) {
        // The reason is not significant then.
        (0, _) => "by the service user",
        (2, 0) => "by the service provider, no reason given",
        (2, 1) => "by the service provider, unrecognized PDU",
        (2, 2) => "by the service provider, unexpected PDU",
        (2, 4) => "by the service provider, unrecognized PDU parameter",
        (2, 5) => "by the service provider, unexpected PDU parameter",
        (2, 6) => "by the service provider, invalid PDU parameter value",
        _ => "for a reason unknown to the standard",
    };
    format!("{why} (source {source}, reason {reason}; PS3.8 §9.3.8)")
}

/// The results of refused presentation contexts (PS3.8 §9.3.3.2), each once, with its number.
pub(crate) fn contexts(results: &[u8]) -> String {
    let words = |result| match result {
        1 => "user rejection",
        2 => "no reason given",
        3 => "abstract syntax not supported",
        4 => "transfer syntaxes not supported",
        _ => "a result unknown to the standard",
    };
    let mut seen = results.to_vec();
    seen.sort_unstable();
    seen.dedup();
    let each: Vec<String> = seen.into_iter().map(|result| format!("{} (result {result})", words(result))).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_aborts_and_refused_contexts_are_told_in_words_with_their_numbers() {
        for (source, reason, words) in [
            (1, 1, "no reason given, rejected permanently by the service user"),
            (1, 3, "calling AE title not recognized"),
            (1, 7, "called AE title not recognized"),
            (2, 2, "protocol version not supported, rejected permanently by the service provider (ACSE)"),
            (3, 2, "local limit exceeded, rejected permanently by the service provider (presentation)"),
            (3, 9, "a reason unknown to the standard"),
        ] {
            let said = rejection(1, source, reason);
            let numbers = format!("(result 1, source {source}, reason {reason}; PS3.8 §9.3.4)");
            assert!(said.starts_with(words) && said.ends_with(&numbers), "{said}");
        }
        assert_eq!(abort(2, 1), "by the service provider, unrecognized PDU (source 2, reason 1; PS3.8 §9.3.8)");
        assert_eq!(
            contexts(&[4, 3, 3]),
            "abstract syntax not supported (result 3), transfer syntaxes not supported (result 4)"
        );
    }
}
