//! Keys of earlier versions. A configuration that still has one is refused with the reason and the remedy.

/// The key, and the remedy.
pub(super) const REMOVED: [(&str, &str); 7] = [
    (
        "admin.token",
        "no longer a key, because it put the token into files and environments that others read: write the token into a file \
         that only the node's user can read, and set admin.token_file to its path",
    ),
    (
        "associations.max_command_set",
        "no longer a key: the limit is always 4 KiB, eight times what a storage sender needs; delete it",
    ),
    (
        "associations.max_contexts",
        "no longer a key: a request can have 128 presentation contexts at most, and all of them may be accepted; delete it",
    ),
    (
        "associations.min_rate_window",
        "no longer a key: min_rate is always averaged over 1m; delete it, and where lines stall for longer set \
         associations.min_rate = \"0 B\", so that idle_timeout alone applies",
    ),
    ("associations.send_timeout", "no longer a key: a peer always has 30s to accept a response; delete it"),
    ("audit.queue", "no longer a key: 1024 messages may always wait for the sink; delete it"),
    (
        "supervision.max_hung_threads",
        "no longer a key: the node always stops when more than 8 threads hang at one time; delete it",
    ),
];

/// `storage.commit = "shared"`, likewise.
pub(super) const COMMIT_SHARED: &str = "no longer a strategy: the log is faster for small instances, and per file is as fast for \
                                        large ones; set it to \"adaptive\", or delete it";

/// Whether a value given under `key`, which does not exist, is probably a secret: that of a former key, or of a misspelt one.
pub(super) fn may_be_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or_default().to_lowercase();
    strsim::normalized_damerau_levenshtein("token", &name) > 0.6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::defaults;

    #[test]
    fn no_removed_key_is_a_key_and_the_limits_told_are_those_in_force() {
        use tidegate_actors::fixed;
        let told = |key: &str| REMOVED.iter().find(|(removed, _)| *removed == key).unwrap().1;
        assert!(REMOVED.iter().all(|(key, _)| !defaults().contains_key(*key)));
        let size = crate::config::size_text(fixed::MAX_COMMAND_SET_BYTES.into());
        for (key, limit) in [
            ("associations.max_command_set", size),
            ("associations.min_rate_window", crate::config::period_text(fixed::min_rate_window())),
            ("associations.send_timeout", crate::config::period_text(fixed::send_timeout())),
            ("audit.queue", fixed::AUDIT_QUEUE.to_string()),
            ("supervision.max_hung_threads", fixed::max_hung_threads().to_string()),
        ] {
            assert!(told(key).contains(&format!(" {limit}")), "{key}: {limit}");
        }
    }
}
