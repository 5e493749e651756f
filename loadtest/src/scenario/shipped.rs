//! The scenarios that come with the program; their names can stand where a file's can.

const SHIPPED: [(&str, &str); 21] = [
    ("bad-peers", include_str!("../../scenarios/bad-peers.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("cr-dx", include_str!("../../scenarios/cr-dx.toml")),
    ("ct", include_str!("../../scenarios/ct.toml")),
    ("ct1", include_str!("../../scenarios/ct1.toml")),
    ("ct512", include_str!("../../scenarios/ct512.toml")),
    ("ct64", include_str!("../../scenarios/ct64.toml")),
    ("ct8", include_str!("../../scenarios/ct8.toml")),
    ("giant", include_str!("../../scenarios/giant.toml")),
    ("hospital-day", include_str!("../../scenarios/hospital-day.toml")),
    ("idle", include_str!("../../scenarios/idle.toml")),
    ("knee", include_str!("../../scenarios/knee.toml")),
    ("large", include_str!("../../scenarios/large.toml")),
    ("mammo-dbt", include_str!("../../scenarios/mammo-dbt.toml")),
    ("mr", include_str!("../../scenarios/mr.toml")),
    ("site", include_str!("../../scenarios/site.toml")),
    ("sr-tiny", include_str!("../../scenarios/sr-tiny.toml")),
    ("tiny", include_str!("../../scenarios/tiny.toml")),
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
