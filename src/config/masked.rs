//! Values that are nobody's business: they are in no log line, no complaint and no answer of the admin surface.

use super::Raw;

/// Keys whose values are secret.
pub(super) const SECRETS: [&str; 1] = ["admin.token"];
/// What is shown instead.
pub(super) const MASK: &str = "(masked)";

/// The configuration in effect, section by section, its secrets masked.
pub(crate) fn masked(raw: &Raw) -> serde_json::Value {
    let mut value = serde_json::to_value(raw).unwrap_or_default();
    for key in SECRETS {
        let place = value.pointer_mut(&format!("/{}", key.replace('.', "/")));
        if let Some(secret) = place.filter(|secret| secret.as_str().is_none_or(|text| !text.is_empty())) {
            *secret = MASK.into();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_and_what_is_not_set_is_seen_not_to_be() {
        let mut raw = Raw::default();
        assert_eq!(masked(&raw)["admin"]["token"], "");
        raw.admin.token = "0123456789abcdef".to_owned();
        assert_eq!(masked(&raw)["admin"]["token"], MASK);
        assert_eq!(masked(&raw)["node"]["ae_title"], "TIDEGATE");
    }

    #[test]
    fn every_secret_is_a_key() {
        let defaults = super::super::raw::defaults();
        assert!(SECRETS.iter().all(|key| defaults.contains_key(*key)));
    }
}
