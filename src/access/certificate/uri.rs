//! URIs in one form (RFC 3986 §6.2). Programs differ in which of its steps they take, so the form serves for doubts only: it makes two URIs
//! equal that some program takes for the same.

/// Stand for `*` and `?` of a pattern in the text of a URI, which is ASCII otherwise.
pub(super) const ANY: char = '\u{E000}';
pub(super) const ONE: char = '\u{E001}';

/// The URI in lower case, decoded, without user information, port, dot segments, empty segments, and dots and slashes at its ends. `None`:
/// it is no URI that all programs read in the same way.
pub(super) fn normalised(uri: &str) -> Option<String> {
    let uri = decoded(uri)?.to_lowercase();
    let (scheme, rest) = uri.split_once(':')?;
    let is_wildcard = |c: char| c == ANY || c == ONE;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic() || is_wildcard(c))
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c) || is_wildcard(c));
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c) || is_wildcard(c);
    if !is_scheme || rest.is_empty() || !rest.chars().all(is_plain) {
        return None;
    }
    let Some(rest) = rest.strip_prefix("//") else { return Some(format!("{scheme}:{rest}")) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit() || is_wildcard(c)) => host,
        Some((_, end)) if end.ends_with(']') => host,
        Some(_) => return None,
        None => host,
    };
    let (path, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    Some(format!("{scheme}://{}/{}{query}", host.trim_end_matches('.'), without_dots(path)))
}

/// Whether a path of the URI has segments that stand for others.
pub(super) fn has_dots(uri: &str) -> bool {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn without_dots(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

/// Without percent-encoding, also if it is encoded more than once. `None`: a percent sign that begins no escape, or text that is no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    while text.contains('%') {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first == b'%' {
                let pair = after.get(..2).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit))?;
                bytes.push(u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?);
                rest = &after[2..];
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        text = String::from_utf8(bytes).ok()?;
    }
    Some(text)
}
