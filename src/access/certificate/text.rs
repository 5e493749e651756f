//! The text of patterns and names: separators, escapes (RFC 4514 §2.4), and wildcards.

use super::error::PatternError;

/// Characters that separate the parts of a name in some form of writing: unescaped in a value, they are ambiguous.
const SEPARATORS: &[char] = &[',', '+', '=', ';', '"', '<', '>', '\\'];

/// A piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This character.
    Char(char),
    /// `?`: one character.
    One,
    /// `*`: any characters, also none.
    Any,
}

/// The parts of an entry: it is split at commas without a backslash before them.
pub(super) fn parts(entry: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    let at_comma = move |c: char| {
        let splits = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    };
    entry.split(at_comma).map(str::trim)
}

/// The tokens of a value.
pub(super) fn tokens(part: &str, value: &str, separators: &[char]) -> Result<Vec<Token>, PatternError> {
    let mut tokens = Vec::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '\\' => Token::Char(escaped(&mut rest).ok_or_else(|| PatternError::Escape(part.to_owned()))?),
            '*' => Token::Any,
            '?' => Token::One,
            c if separators.contains(&c) => return Err(PatternError::Separator(part.to_owned(), c)),
            c => Token::Char(c),
        });
    }
    if tokens.is_empty() { Err(PatternError::NoValue(part.to_owned())) } else { Ok(tokens) }
}

/// The tokens of an attribute's value.
pub(super) fn attribute(part: &str, value: &str) -> Result<Vec<Token>, PatternError> {
    tokens(part, value, SEPARATORS)
}

/// The value of a name, in which `*` and `?` are characters.
pub(super) fn literal(part: &str, value: &str) -> Result<String, PatternError> {
    let as_char = |token| match token {
        Token::Char(c) => c,
        Token::One => '?',
        Token::Any => '*',
    };
    Ok(tokens(part, value, &[])?.into_iter().map(as_char).collect())
}

/// The character after a backslash: itself if it is not a letter or digit, or a pair of hexadecimal digits for an ASCII character.
fn escaped(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let first = rest.next()?;
    if !first.is_alphanumeric() {
        return Some(first);
    }
    let code = first.to_digit(16)? * 16 + rest.next()?.to_digit(16)?;
    char::from_u32(code).filter(char::is_ascii)
}

/// Whether `pattern` is all of `text`. Wildcards do not stand for characters that are `barred`.
///
/// One step back to the latest `*` is enough, also with barred characters: a longer run of an earlier `*` would have to pass over one of
/// those the latest cannot stand for.
pub(super) fn glob(pattern: &[Token], text: &[char], barred: impl Fn(char) -> bool) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut latest: Option<(usize, usize)> = None; // the token after the latest `*`, and the end of what that stands for
    loop {
        let matches_here = match (pattern.get(at), text.get(seen)) {
            (Some(Token::Any), _) => {
                at += 1;
                latest = Some((at, seen));
                continue;
            }
            (None, None) => return true,
            (Some(Token::Char(wanted)), Some(c)) => wanted == c,
            (Some(Token::One), Some(c)) => !barred(*c),
            (_, None) | (None, _) => false,
        };
        if matches_here {
            (at, seen) = (at + 1, seen + 1);
            continue;
        }
        let Some((after, end)) = latest else { return false };
        match text.get(end) {
            Some(c) if !barred(*c) => {
                latest = Some((after, end + 1));
                (at, seen) = (after, end + 1);
            }
            Some(_) | None => return false,
        }
    }
}
