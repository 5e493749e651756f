//! A field of a log line as text: `name=value`, and `name="value"` where a reader could not tell where the value ends.

use std::fmt::{self, Debug, Write};

/// Writes `name=value`. A value with a blank, a quote, a bracket or an equals sign, and an empty one, is quoted as Rust's `Debug` does it. A
/// text that is quoted already (`Debug` of a string) stays.
pub(crate) fn write_field(out: &mut dyn Write, name: &str, value: &dyn Debug) -> fmt::Result {
    let text = format!("{value:?}");
    let is_string = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let is_plain = !text.is_empty() && !text.contains([' ', '"', '=', '\n', '\r', '\t']);
    if is_string || is_plain { write!(out, "{name}={text}") } else { write!(out, "{name}={text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_ends_where_a_reader_thinks_it_does() {
        let field = |value: &dyn Debug| {
            let mut out = String::new();
            write_field(&mut out, "f", value).unwrap();
            out
        };
        assert_eq!(field(&7), "f=7");
        assert_eq!(field(&"CT1"), "f=\"CT1\"");
        assert_eq!(field(&"a\" b=\"c"), "f=\"a\\\" b=\\\"c\"");
        assert_eq!(field(&format_args!("127.0.0.1:104")), "f=127.0.0.1:104");
        assert_eq!(field(&format_args!("no space left")), "f=\"no space left\"");
        assert_eq!(field(&format_args!("a\nb=c")), "f=\"a\\nb=c\"");
        assert_eq!(field(&format_args!("")), "f=\"\"");
    }
}
