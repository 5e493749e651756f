//! Mistakes in TOML: the line, the parser's finding, and the remedy as far as the line tells it.

use toml::de::Error;

use super::removed::may_be_secret;

/// The number of the line at `offset` of `text`, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// Each line with a mistake: its number, and what is wrong with it. The parser's later findings in one line follow from the first.
pub(super) fn mistakes(text: &str, errors: &[Error]) -> Vec<(usize, String)> {
    let mut mistakes: Vec<(usize, String)> = Vec::new();
    for error in errors {
        let number = line_of(text, error.span().map_or(0, |span| span.start));
        if mistakes.iter().any(|(known, _)| *known == number) {
            continue;
        }
        let line = text.lines().nth(number - 1).unwrap_or_default().trim();
        let finding = error.message().replace('\n', "; ");
        let mistake = remedy(line, &finding).map_or_else(|| finding.clone(), |remedy| format!("{remedy} ({finding})"));
        mistakes.push((number, mistake));
    }
    mistakes.sort_unstable();
    mistakes
}

/// What to write in place of `line`.
fn remedy(line: &str, finding: &str) -> Option<String> {
    if line.contains(['“', '”', '„', '‘', '’', '«', '»']) {
        return Some("these are not the quotes of TOML; write \"…\"".to_owned());
    }
    if let Some(header) = line.strip_prefix('[') {
        return remedy_of_header(header, finding);
    }
    if line.starts_with("//") || line.starts_with(';') {
        return Some("a comment begins with #".to_owned());
    }
    let Some((key, value)) = line.split_once('=') else {
        return match line.split_once([':', ' ']) {
            Some((key, value)) => {
                Some(format!("write {} = {}", key.trim(), quoted(key, value.trim_start_matches(':'))))
            }
            None => Some(format!("write {line} = and its value")),
        };
    };
    let (key, value) = (key.trim(), value.trim());
    if finding.starts_with("duplicate key") {
        return Some(format!("{key} has a value already; keep one of the lines"));
    }
    if key.contains(char::is_whitespace) {
        return Some("a key is one word, with _ between its parts".to_owned());
    }
    match value.chars().next() {
        None => Some(format!("write the value, as in {key} = \"…\", or delete the line to have the default")),
        Some('"') if finding.contains("escape") => {
            Some("a backslash has a meaning within \"…\"; write '…' to keep it as it is".to_owned())
        }
        Some('"' | '\'') if finding.contains("string") => Some("the closing quote is missing".to_owned()),
        Some('"' | '\'') => Some("after the value nothing may follow but a comment, which begins with #".to_owned()),
        Some('[') => Some(format!("write {key} = [\"…\", \"…\"]: quoted texts with commas between them")),
        Some(_) => Some(format!("write {key} = {}", quoted(key, value))),
    }
}

/// What to write in place of a section's header, after its first bracket.
fn remedy_of_header(header: &str, finding: &str) -> Option<String> {
    let name = header.trim_matches(['[', ']', ' ']);
    if name == "peer" {
        return Some("each peer begins with a line [[peer]] of its own, with two brackets".to_owned());
    }
    if name == "destination" {
        return Some("each destination begins with a line [[destination]] of its own, with two brackets".to_owned());
    }
    if name == "access" {
        return Some("each access rule begins with a line [[access]] of its own, with two brackets".to_owned());
    }
    if finding.starts_with("duplicate key") {
        return Some(format!("[{name}] is there twice; put its keys below one of them"));
    }
    Some(format!("write [{name}]"))
}

/// The value as text: the rest of a line up to a comment. What may be a secret is not repeated.
fn quoted(key: &str, value: &str) -> String {
    let value = value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    match value.to_lowercase().as_str() {
        "true" | "yes" | "on" => return "true".to_owned(),
        "false" | "no" => return "false".to_owned(),
        _ => {}
    }
    if may_be_secret(key.trim()) { "\"…\"".to_owned() } else { format!("\"{value}\"") }
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    #[test]
    fn each_mistake_has_its_line_and_its_remedy() {
        for (text, number, remedy) in [
            ("[node]\nae_title = TIDEGATE # ours", 2, "write ae_title = \"TIDEGATE\""),
            ("[node]\nlisten = 0.0.0.0:11112", 2, "write listen = \"0.0.0.0:11112\""),
            ("[memory]\nbudget = 512 MiB", 2, "write budget = \"512 MiB\""),
            ("[writers]\nhandoff_timeout = 30s", 2, "write handoff_timeout = \"30s\""),
            ("[storage]\nroot = /var/lib", 2, "write root = \"/var/lib\""),
            ("[node]\nrequire_called_ae_title = True", 2, "write require_called_ae_title = true"),
            ("[node]\nrequire_called_ae_title = no", 2, "write require_called_ae_title = false"),
            ("[node]\nae_title \"X\"", 2, "write ae_title = \"X\""),
            ("[node]\nae_title: \"X\"", 2, "write ae_title = \"X\""),
            ("[node]\nae_title", 2, "write ae_title = and its value"),
            ("[node]\nae_title =", 2, "write the value, as in ae_title = \"…\""),
            ("[node]\nae title = 'X'", 2, "a key is one word"),
            ("[node]\nae_title = “X”", 2, "not the quotes of TOML"),
            ("[node]\nae_title = ‘X’", 2, "not the quotes of TOML"),
            ("[node]\nae_title = \"X\n", 2, "the closing quote is missing"),
            ("[node]\nae_title = 'X' // ours", 2, "which begins with #"),
            ("[storage]\nroot = \"C:\\data\"", 2, "a backslash"),
            ("[[access]]\ncalling = ['a' 'b']", 2, "write calling = [\"…\", \"…\"]"),
            ("[node]\nproxy_protocol_from = [10.0.0.0/8]", 2, "quoted texts with commas"),
            ("[access]\nname = 'a'\n[access]\naction = 'deny'", 3, "a line [[access]] of its own, with two brackets"),
            ("[access]\nname = 'a'\n[[access]]\naction = 'deny'", 3, "with two brackets"),
            ("[[access]\nname = 'a'", 1, "with two brackets"),
            ("[node\nae_title = 'X'", 1, "write [node]"),
            ("[node]\n[log]\n[node]", 3, "[node] is there twice"),
            ("[node]\nae_title = 'X'\nae_title = 'Y'", 3, "ae_title has a value already"),
            ("// ours\n[node]", 1, "a comment begins with #"),
        ] {
            let (_, errors) = DeTable::parse_recoverable(text);
            let found = mistakes(text, &errors);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].0 == number && found[0].1.contains(remedy), "{text}: {found:?}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_no_secret() {
        let text = "[node]\nae_title = TIDEGATE\n[admin]\ntoken = 0123456789abcdef\n[memory]\nbudget = 1 GiB\n";
        let (_, errors) = DeTable::parse_recoverable(text);
        let found = mistakes(text, &errors);
        assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 4, 6], "{found:?}");
        assert!(!format!("{found:?}").contains("0123456789abcdef"), "{found:?}");
    }
}
