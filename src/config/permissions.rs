//! Mode and group of stored files: `[storage] file_mode`, `directory_mode` and `group`.

use tidegate_storage::FileAccess;

use super::checks::Checks;

/// The system's groups, by name.
const GROUPS: &str = "/etc/group";

/// Bits that a mode must have, and those that it may have.
struct Bounds {
    least: u32,
    most: u32,
    complaint: &'static str,
}

const FILES: Bounds = Bounds {
    least: 0o600,
    most: 0o664,
    complaint: "must be \"auto\" or an octal mode from \"0600\" to \"0664\": readable and writable by the node, not executable, not writable \
                by everybody",
};
const DIRECTORIES: Bounds = Bounds {
    least: 0o700,
    most: 0o2775,
    complaint: "must be \"auto\" or an octal mode from \"0700\" to \"2775\": open to the node, not writable by everybody",
};

/// Reads the three keys.
pub(super) fn file_access(
    file_mode: &str,
    directory_mode: &str,
    group: &str,
    checks: &mut Checks<'_>,
) -> Option<FileAccess> {
    let file_mode = mode("storage.file_mode", file_mode, &FILES, checks);
    let directory_mode = mode("storage.directory_mode", directory_mode, &DIRECTORIES, checks);
    let group = match group {
        "" => Some(None),
        name => {
            let number = group_number(name, &std::fs::read_to_string(GROUPS).unwrap_or_default());
            if number.is_none() {
                let complaint = format!("is no group of {GROUPS}: give a name from there, or a number");
                checks.refuse("storage.group", &complaint);
            }
            number.map(Some)
        }
    };
    Some(FileAccess { file_mode: file_mode?, directory_mode: directory_mode?, group: group? })
}

fn mode(key: &str, text: &str, bounds: &Bounds, checks: &mut Checks<'_>) -> Option<Option<u32>> {
    if text == "auto" {
        return Some(None);
    }
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| is_octal && mode & bounds.least == bounds.least && mode & !bounds.most == 0);
    if mode.is_none() {
        checks.refuse(key, bounds.complaint);
    }
    mode.map(Some)
}

/// The number of a group: itself, or that of its line in `groups` (group(5)).
fn group_number(name: &str, groups: &str) -> Option<u32> {
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        fields.nth(1).filter(|_| is_it)?.parse().ok()
    };
    name.parse().ok().or_else(|| groups.lines().find_map(of_line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_name_or_number() {
        let groups = "root:x:0:\nmovers:x:1003:ann,bob\nbroken\n";
        assert_eq!(group_number("movers", groups), Some(1003));
        assert_eq!(group_number("17", groups), Some(17));
        assert_eq!((group_number("mover", groups), group_number("broken", groups)), (None, None));
    }
}
