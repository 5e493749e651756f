//! Characters of a peer's strings that act on a terminal, or hide or reorder text. Log, audit messages, flight records and the output of
//! commands and of the HTTP API show none of them.

use std::borrow::Cow;

/// Whether `c` is a control character (C0, DEL, C1), changes the direction of text, has no width, or ends a line for some readers.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
}

/// `\uXXXX`, or two of them above U+FFFF: an escape by which JSON stays the same JSON.
pub(crate) fn json_escape(c: char, out: &mut String) {
    out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
}

/// `text` without what a terminal acts upon or hides: controls but for tab and line feed, and characters that change the direction of the
/// text or have no width. Each becomes `\uXXXX`, by which JSON stays the same JSON. Peers choose many of the strings that are shown.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| is_unprintable(c) && !matches!(c, '\n' | '\t');
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_harmful(c) {
            false => out.push(c),
            true => json_escape(c, &mut out),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_or_hides_is_unprintable_and_names_are_not() {
        for c in
            "\0\n\r\t\u{1b}\u{7f}\u{85}\u{9b}\u{200e}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{ffff}\u{e0041}".chars()
        {
            assert!(is_unprintable(c), "{c:?}");
        }
        for c in "aZ ~äя王\u{301}\u{fffd}".chars() {
            assert!(!is_unprintable(c), "{c:?}");
        }
    }

    #[test]
    fn no_string_of_a_peer_acts_upon_the_terminal() {
        let said = "a\tb\n\u{1b}]0;x\u{7}\u{9b}2J\r\u{202e}\u{2028}\u{200f}\u{feff}\u{e0041}\u{7f}\0 Ä\"\\'é漢";
        let shown = harmless(said);
        let harmless_ones = "a\tb\n\\u001b]0;x\\u0007\\u009b2J\\u000d\\u202e\\u2028\\u200f\\ufeff\\udb40\\udc41\\u007f\\u0000 Ä\"\\'é漢";
        assert_eq!(shown, harmless_ones);
        let json = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<String>(&harmless(&json)).unwrap(), said, "JSON stays the same");
        assert!(matches!(harmless("plain"), Cow::Borrowed(_)));
    }
}
