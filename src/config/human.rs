//! Human-readable values: sizes, durations, and limits that may be "unlimited". Invariant: a printed value reads back as the same value.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// A number of bytes: `"512 MiB"`, or a plain integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub(crate) struct Size(pub(crate) u64);

/// A number of bytes, or `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub(crate) struct SizeOrUnlimited(pub(crate) Option<u64>);

/// A duration: `"30s"`, `"10m"`, `"250ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub(crate) struct Period(pub(crate) Duration);

/// A duration, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub(crate) struct PeriodOrOff(pub(crate) Option<Duration>);

/// A number, or `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub(crate) struct Limit(pub(crate) Option<i64>);

/// One of these values, or `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar", bound = "T: MayBeAuto")]
pub(crate) enum OrAuto<T> {
    Auto,
    Given(T),
}

/// A number of bytes, or `"auto"`.
pub(crate) type SizeOrAuto = OrAuto<Size>;
/// A duration, `"off"`, or `"auto"`.
pub(crate) type PeriodOrAuto = OrAuto<PeriodOrOff>;
/// A number, `"unlimited"`, or `"auto"`.
pub(crate) type LimitOrAuto = OrAuto<Limit>;

/// A value in whose place `"auto"` may stand.
pub(crate) trait MayBeAuto: TryFrom<Scalar> + Into<Scalar> + Copy {
    /// What is allowed then, for people.
    const ALLOWED: &str;
}

impl MayBeAuto for Size {
    const ALLOWED: &str = r#"must be "auto", a size such as "512 MiB" or "64 KiB", or a whole number of bytes"#;
}

impl MayBeAuto for PeriodOrOff {
    const ALLOWED: &str = r#"must be "auto", "off" or a duration with its unit, such as "30s", "10m" or "250ms""#;
}

impl MayBeAuto for Limit {
    const ALLOWED: &str = r#"must be "auto", "unlimited" or a whole number"#;
}

/// The form of such a value in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a quoted string or a whole number")]
pub(crate) enum Scalar {
    Integer(i64),
    Text(String),
}

const A_SIZE: &str = r#"must be a size such as "512 MiB" or "64 KiB", or a whole number of bytes"#;
const A_SIZE_OR_UNLIMITED: &str =
    r#"must be "unlimited", a size such as "512 MiB" or "64 KiB", or a whole number of bytes"#;
const A_PERIOD: &str = r#"must be a duration with its unit, such as "30s", "10m" or "250ms""#;
const A_PERIOD_OR_OFF: &str = r#"must be "off" or a duration with its unit, such as "30s", "10m" or "250ms""#;
const A_LIMIT: &str = r#"must be "unlimited" or a whole number"#;

impl TryFrom<Scalar> for Size {
    type Error = &'static str;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        match scalar {
            Scalar::Integer(bytes) => bytes.try_into().map(Self).map_err(|_| A_SIZE),
            Scalar::Text(text) => {
                let size: ByteSize = text.trim().parse().map_err(|_| A_SIZE)?;
                Ok(Self(size.as_u64()))
            }
        }
    }
}

impl From<Size> for Scalar {
    fn from(size: Size) -> Self {
        Self::Text(size_text(size.0))
    }
}

impl TryFrom<Scalar> for Period {
    type Error = &'static str;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        match scalar {
            Scalar::Text(text) => humantime::parse_duration(text.trim()).map(Self).map_err(|_| A_PERIOD),
            Scalar::Integer(_) => Err(A_PERIOD),
        }
    }
}

impl From<Period> for Scalar {
    fn from(period: Period) -> Self {
        Self::Text(period_text(period.0))
    }
}

impl TryFrom<Scalar> for SizeOrUnlimited {
    type Error = &'static str;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        match scalar {
            Scalar::Text(text) if text.trim() == "unlimited" => Ok(Self(None)),
            scalar => Size::try_from(scalar).map(|Size(bytes)| Self(Some(bytes))).map_err(|_| A_SIZE_OR_UNLIMITED),
        }
    }
}

impl From<SizeOrUnlimited> for Scalar {
    fn from(SizeOrUnlimited(bytes): SizeOrUnlimited) -> Self {
        Self::Text(bytes.map_or_else(|| "unlimited".to_owned(), size_text))
    }
}

impl TryFrom<Scalar> for PeriodOrOff {
    type Error = &'static str;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        match scalar {
            Scalar::Text(text) if text.trim() == "off" => Ok(Self(None)),
            scalar => Period::try_from(scalar).map(|Period(period)| Self(Some(period))).map_err(|_| A_PERIOD_OR_OFF),
        }
    }
}

impl From<PeriodOrOff> for Scalar {
    fn from(PeriodOrOff(period): PeriodOrOff) -> Self {
        Self::Text(period.map_or_else(|| "off".to_owned(), period_text))
    }
}

impl TryFrom<Scalar> for Limit {
    type Error = &'static str;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        match scalar {
            Scalar::Integer(limit) => Ok(Self(Some(limit))),
            Scalar::Text(text) if text.trim() == "unlimited" => Ok(Self(None)),
            // From the environment numbers come as text.
            Scalar::Text(text) => text.trim().parse().map(|limit| Self(Some(limit))).map_err(|_| A_LIMIT),
        }
    }
}

impl From<Limit> for Scalar {
    fn from(Limit(limit): Limit) -> Self {
        limit.map_or_else(|| Self::Text("unlimited".to_owned()), Self::Integer)
    }
}

impl<T: MayBeAuto> TryFrom<Scalar> for OrAuto<T> {
    type Error = &'static str;

    fn try_from(scalar: Scalar) -> Result<Self, Self::Error> {
        match scalar {
            Scalar::Text(text) if text.trim() == "auto" => Ok(Self::Auto),
            scalar => T::try_from(scalar).map(Self::Given).map_err(|_| T::ALLOWED),
        }
    }
}

impl<T: MayBeAuto> From<OrAuto<T>> for Scalar {
    fn from(value: OrAuto<T>) -> Self {
        match value {
            OrAuto::Auto => Self::Text("auto".to_owned()),
            OrAuto::Given(given) => given.into(),
        }
    }
}

/// A number of bytes in the largest unit that is exact.
pub(crate) fn size_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 8] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    let exact = UNITS.iter().find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit));
    match exact {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// A duration with its unit.
pub(crate) fn period_text(period: Duration) -> String {
    humantime::format_duration(period).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_they_are_written() {
        for (bytes, text) in [
            (0, "0 B"),
            (1, "1 B"),
            (65_536, "64 KiB"),
            (1 << 29, "512 MiB"),
            (3 << 40, "3 TiB"),
            (1_500_000_000, "1500 MB"),
            (1_000_001, "1000001 B"),
            ((1 << 53) + 1, "9007199254740993 B"),
        ] {
            assert_eq!(size_text(bytes), text);
            assert_eq!(Size::try_from(Scalar::Text(text.to_owned())), Ok(Size(bytes)));
        }
        assert_eq!(Size::try_from(Scalar::Text("1.5GiB".to_owned())), Ok(Size(3 << 29)));
        assert_eq!(Size::try_from(Scalar::Integer(4096)), Ok(Size(4096)));
    }

    #[test]
    fn durations_need_their_unit() {
        for (text, millis) in [("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("1m 30s", 90_000)] {
            let period = Period(Duration::from_millis(millis));
            assert_eq!(Period::try_from(Scalar::Text(text.to_owned())), Ok(period));
            assert_eq!(period_text(period.0), text);
        }
        for scalar in [Scalar::Integer(30), Scalar::Text("30".to_owned()), Scalar::Text(String::new())] {
            assert_eq!(Period::try_from(scalar), Err(A_PERIOD));
        }
    }

    #[test]
    fn limits_and_intervals_can_be_lifted() {
        assert_eq!(Limit::try_from(Scalar::Text("unlimited".to_owned())), Ok(Limit(None)));
        assert_eq!(Limit::try_from(Scalar::Text("16".to_owned())), Ok(Limit(Some(16))));
        assert_eq!(Limit::try_from(Scalar::Text("none".to_owned())), Err(A_LIMIT));
        for (text, limit) in [("auto", LimitOrAuto::Auto), ("unlimited", LimitOrAuto::Given(Limit(None)))] {
            assert_eq!(LimitOrAuto::try_from(Scalar::Text(text.to_owned())), Ok(limit));
        }
        assert_eq!(LimitOrAuto::try_from(Scalar::Text("none".to_owned())), Err(Limit::ALLOWED));
        assert_eq!(PeriodOrOff::try_from(Scalar::Text("off".to_owned())), Ok(PeriodOrOff(None)));
        assert_eq!(PeriodOrOff::try_from(Scalar::Integer(0)), Err(A_PERIOD_OR_OFF));
        for (text, period) in [("auto", PeriodOrAuto::Auto), ("off", PeriodOrAuto::Given(PeriodOrOff(None)))] {
            assert_eq!(PeriodOrAuto::try_from(Scalar::Text(text.to_owned())), Ok(period));
        }
        assert_eq!(PeriodOrAuto::try_from(Scalar::Integer(0)), Err(PeriodOrOff::ALLOWED));
    }
}
