//! `[retention]`: which delivered files are deleted.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_actors::RetentionSettings;

use super::checks::Checks;
use super::human::{Period, Scalar, Size};
use super::keys::Raw;

const DELETE_AFTER: RangeInclusive<Duration> = Duration::from_secs(3600)..=Duration::from_secs(36_500 * 86_400);
const MAX_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 60;
const LOW_WATER: RangeInclusive<f64> = 0.1..=1.0;

pub(super) fn retention(raw: &Raw, checks: &mut Checks<'_>) -> RetentionSettings {
    let delete_after = delete_after(&raw.retention.delete_after).unwrap_or_else(|complaint| {
        checks.refuse("retention.delete_after", complaint);
        None
    });
    let max_bytes = max_bytes(&raw.retention.max_bytes).unwrap_or_else(|complaint| {
        checks.refuse("retention.max_bytes", complaint);
        None
    });
    let low_water = raw.retention.low_water;
    if !LOW_WATER.contains(&low_water) {
        checks.refuse("retention.low_water", "must be a part of retention.max_bytes, from 0.1 to 1.0");
    }
    let keys = [("retention.delete_after", delete_after.is_some()), ("retention.max_bytes", max_bytes.is_some())];
    if let Some((key, _)) = keys.into_iter().find(|(_, is_on)| *is_on)
        && raw.destination.is_empty()
    {
        let complaint = "deletes only what was delivered, and there is no destination: add a table [[destination]], or set it to \"off\"";
        checks.refuse(key, complaint);
    }
    RetentionSettings { delete_after, max_bytes, low_water }
}

fn delete_after(text: &str) -> Result<Option<Duration>, &'static str> {
    const ALLOWED: &str = "must be \"off\" or a duration with its unit from 1h to 36500days, such as \"30days\"";
    if text.trim() == "off" {
        return Ok(None);
    }
    let Period(period) = Period::try_from(Scalar::Text(text.to_owned())).map_err(|_| ALLOWED)?;
    if DELETE_AFTER.contains(&period) { Ok(Some(period)) } else { Err(ALLOWED) }
}

fn max_bytes(text: &str) -> Result<Option<u64>, &'static str> {
    const ALLOWED: &str = "must be \"off\" or a size from 1 MiB to 1 EiB, such as \"2 TiB\"";
    if text.trim() == "off" {
        return Ok(None);
    }
    let Size(bytes) = Size::try_from(Scalar::Text(text.to_owned())).map_err(|_| ALLOWED)?;
    if MAX_BYTES.contains(&bytes) { Ok(Some(bytes)) } else { Err(ALLOWED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_and_a_size_have_bounds_and_may_be_off() {
        assert_eq!((delete_after("off"), max_bytes("off")), (Ok(None), Ok(None)));
        assert_eq!(delete_after("30days"), Ok(Some(Duration::from_secs(30 * 86_400))));
        assert_eq!(max_bytes("2 TiB"), Ok(Some(2 << 40)));
        for text in ["", "1s", "never", "0"] {
            assert!(delete_after(text).is_err() && max_bytes(text).is_err(), "{text}");
        }
    }
}
