//! What becomes of an instance by the status of its C-STORE-RSP: the one table of it (PS3.4 table B.2-1, GG.4-1; PS3.7 annex C).

/// What a status means for the delivery of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    /// The destination has it.
    Delivered,
    /// The destination has it, and remarks something.
    Warned,
    /// The destination cannot take it now, for reasons of its own: it is asked again, as long as `retry_for` allows.
    Later,
    /// The destination refuses this instance: an attempt of it, of which it has `attempts`.
    Refused,
}

/// Whether a final status says that the destination has the instance.
pub(super) fn is_delivered(status: u16) -> bool {
    matches!(verdict(status), Verdict::Delivered | Verdict::Warned)
}

/// The verdict of a final status.
pub(super) fn verdict(status: u16) -> Verdict {
    match status {
        0x0000 => Verdict::Delivered,
        // Duplicate SOP Instance (PS3.7 §C.5.7): it is there already.
        0x0111 => Verdict::Delivered,
        // Coercion (B000), elements discarded (B006), data set does not match SOP class (B007), and every other warning of the class.
        0xB000..=0xBFFF => Verdict::Warned,
        // Warnings of PS3.7 §C.4: in general, attribute list, attribute value out of range.
        0x0001 | 0x0107 | 0x0116 => Verdict::Warned,
        // Out of resources (A7xx).
        0xA700..=0xA7FF => Verdict::Later,
        // Processing failure (§C.5.20): as vague as it is, archives answer so while their database or disk is down.
        0x0110 => Verdict::Later,
        // Of the operation and not of the instance: not authorized, duplicate invocation, unrecognized operation, mistyped argument, resource
        // limitation (§C.5); and cancelled (§C.3), which nobody has asked for.
        0x0124 | 0x0210..=0x0213 | 0xFE00 => Verdict::Later,
        // Data set does not match SOP class (A9xx), cannot understand (Cxxx), SOP class not supported (0122), invalid SOP instance (0117), and
        // whatever else names an attribute or a class; also codes of no standard.
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_of_the_standard_has_its_verdict() {
        let table = [
            (Verdict::Delivered, &[0x0000, 0x0111][..]),
            (Verdict::Warned, &[0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007, 0xBFFF]),
            (Verdict::Later, &[0xA700, 0xA701, 0xA7FF, 0x0110, 0x0124, 0x0210, 0x0211, 0x0212, 0x0213, 0xFE00]),
            (
                Verdict::Refused,
                &[
                    0xA800, 0xA801, 0xA900, 0xA9FF, 0xC000, 0xC123, 0xCFFF, 0x0105, 0x0106, 0x0112, 0x0115, 0x0117,
                    0x0118, 0x0119, 0x0120, 0x0121, 0x0122, 0x0002, 0x1234, 0xFFFF,
                ],
            ),
        ];
        for (expected, statuses) in table {
            for status in statuses {
                assert_eq!(verdict(*status), expected, "{status:04X}");
            }
        }
    }
}
