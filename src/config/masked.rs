//! Secrets. Invariant: they appear in no log line, no error message and no answer of the admin surface.

use super::Raw;

/// Keys whose values are secret.
pub(super) const SECRETS: [&str; 1] = ["admin.token"];
/// The text shown instead of a secret.
pub(super) const MASK: &str = "(masked)";

/// The configuration with its secrets masked. An empty secret stays visibly empty.
pub(crate) fn masked(raw: &Raw) -> Raw {
    let mut raw = raw.clone();
    let secrets = [&mut raw.admin.token];
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        *secret = MASK.to_owned();
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_masked_and_what_is_not_set_is_seen_not_to_be() {
        assert_eq!(masked(&Raw::default()), Raw::default());
        let mut value = toml::Value::try_from(Raw::default()).unwrap();
        for key in SECRETS {
            let (section, name) = key.split_once('.').unwrap();
            value[section][name] = "0123456789abcdef".into();
        }
        let printed = toml::to_string(&masked(&value.try_into().unwrap())).unwrap();
        assert!(!printed.contains("0123456789abcdef"), "{printed}");
        assert_eq!(printed.matches(MASK).count(), SECRETS.len());
    }

    #[test]
    fn every_secret_is_a_key() {
        let defaults = super::super::raw::defaults();
        assert!(SECRETS.iter().all(|key| defaults.contains_key(*key)));
    }
}
