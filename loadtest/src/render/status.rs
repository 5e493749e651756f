//! What the statuses of a C-STORE response mean (PS3.4 §B.2.3, PS3.7 annex C).

/// The meaning of a status given as four hexadecimal digits.
pub(crate) fn meaning(status: &str) -> &'static str {
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
