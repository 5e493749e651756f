//! The scenarios that come with the program; their names can stand where a file's can.

const SHIPPED: [(&str, &str); 11] = [
    ("bad-peers", include_str!("../../scenarios/bad-peers.toml")),
    ("cr-dx", include_str!("../../scenarios/cr-dx.toml")),
    ("ct", include_str!("../../scenarios/ct.toml")),
    ("hospital-day", include_str!("../../scenarios/hospital-day.toml")),
    ("knee", include_str!("../../scenarios/knee.toml")),
    ("mammo-dbt", include_str!("../../scenarios/mammo-dbt.toml")),
    ("mr", include_str!("../../scenarios/mr.toml")),
    ("sr-tiny", include_str!("../../scenarios/sr-tiny.toml")),
    ("tls", include_str!("../../scenarios/tls.toml")),
    ("us-multiframe", include_str!("../../scenarios/us-multiframe.toml")),
    ("whole-slide", include_str!("../../scenarios/whole-slide.toml")),
];

/// The text of the scenario `name`.
pub(super) fn text(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(shipped, _)| *shipped == name).map(|(_, text)| *text)
}

/// All their names.
pub(super) fn names() -> Vec<&'static str> {
    SHIPPED.iter().map(|(name, _)| *name).collect()
}
