//! From a value to its place on an axis, and the ticks of the axis.

use crate::figures;

/// How an axis runs, and what its figures are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// From zero; seconds.
    Seconds,
    /// From zero; counts and rates.
    Number,
    /// From zero; bytes.
    Bytes,
    /// Logarithmic; milliseconds.
    Milliseconds,
    /// Shares of all answers, each further nine as wide as the one before.
    Percentile,
}

/// The range that is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Scale {
    /// An axis that holds all `values`.
    pub(crate) fn over(self, values: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| value.is_finite() && (self != Self::Milliseconds || *value > 0.0)) {
            (low, high) = (low.min(value), high.max(value));
        }
        let (low, high) = match self {
            Self::Seconds => (0.0, high.max(1.0)),
            Self::Number | Self::Bytes => {
                let high = high.max(1.0);
                let step = self.step(high);
                (0.0, (high / step).ceil() * step)
            }
            Self::Milliseconds if low > high => (1.0, 10.0),
            Self::Milliseconds => (decade_below(low), decade_above(high).max(decade_below(low) * 10.0)),
            Self::Percentile => (0.0, high.clamp(0.99, 0.99999)),
        };
        Axis { scale: self, low, high }
    }

    fn step(self, high: f64) -> f64 {
        let rough = high / 4.0;
        match self {
            Self::Bytes => {
                let unit = 1024_f64.powf(rough.max(1.0).log(1024.0).floor());
                let steps = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
                unit * steps.into_iter().find(|step| step * unit >= rough).unwrap_or(1024.0)
            }
            Self::Seconds => {
                let steps =
                    [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];
                steps.into_iter().find(|step| *step >= rough * 0.8).unwrap_or_else(|| 3600.0 * (rough / 3600.0).ceil())
            }
            _ => {
                let unit = 10_f64.powf(rough.log10().floor());
                unit * [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * unit >= rough * 0.999).unwrap_or(10.0)
            }
        }
    }
}

/// Bounds of a logarithmic axis at 1, 2 or 5 of a decade.
fn decade_below(value: f64) -> f64 {
    let unit = 10_f64.powf(value.log10().floor());
    unit * [5.0, 2.0].into_iter().find(|step| step * unit <= value).unwrap_or(1.0)
}

fn decade_above(value: f64) -> f64 {
    let unit = 10_f64.powf(value.log10().floor());
    unit * [1.0, 2.0, 5.0].into_iter().find(|step| step * unit >= value).unwrap_or(10.0)
}

impl Axis {
    /// Where `value` stands: 0 at the low end, 1 at the high one; held within.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let warp = |value: f64| match self.scale {
            Scale::Milliseconds => value.max(self.low).ln(),
            // A nine more is a step further.
            Scale::Percentile => -(1.0 - value.min(self.high)).log10(),
            _ => value,
        };
        let (low, high) = (warp(self.low), warp(self.high));
        if high > low { ((warp(value) - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Values that are named at the axis.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Milliseconds => self.log_ticks(),
            Scale::Percentile => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
                .into_iter()
                .filter(|share| *share <= self.high)
                .map(|share| (share, format!("{}", (share * 1e7).round() / 1e5)))
                .collect(),
            scale => {
                let step = scale.step(self.high);
                let steps = (self.high / step * 1.0001).floor() as u32;
                (0..=steps).map(|index| f64::from(index) * step).map(|value| (value, self.name(value))).collect()
            }
        }
    }

    /// Decades; with few of them, their twos and fives as well.
    fn log_ticks(&self) -> Vec<(f64, String)> {
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = if decades > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        (first..=last)
            .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
            .filter(|value| *value >= self.low * 0.999 && *value <= self.high * 1.001)
            .map(|value| (value, self.name(value)))
            .collect()
    }

    /// A value in the axis's words.
    pub(crate) fn name(&self, value: f64) -> String {
        match self.scale {
            // The unit is that of the whole axis.
            Scale::Seconds if self.high > 3.0 * 3600.0 => format!("{} h", (value / 36.0).round() / 100.0),
            Scale::Seconds if self.high > 600.0 => format!("{} min", (value / 0.6).round() / 100.0),
            Scale::Seconds => format!("{} s", (value * 100.0).round() / 100.0),
            Scale::Number if value == value.round() => figures::count(value as u64),
            Scale::Number => figures::rate(value),
            Scale::Bytes => short(&figures::bytes(value)),
            Scale::Milliseconds if value >= 1000.0 => format!("{} s", value / 1000.0),
            Scale::Milliseconds => format!("{} ms", (value * 1000.0).round() / 1000.0),
            Scale::Percentile => format!("p{}", (value * 1e7).round() / 1e5),
        }
    }
}

/// Without zeros behind the point.
fn short(figure: &str) -> String {
    let (number, unit) = figure.split_once(' ').unwrap_or((figure, ""));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_every_value() {
        assert_eq!(names(Scale::Number.over([3.0, 180.0].into_iter())), ["0", "50", "100", "150", "200"]);
        let bytes = names(Scale::Bytes.over([150.0 * 1024.0 * 1024.0].into_iter()));
        assert_eq!(bytes, ["0 B", "64 MiB", "128 MiB", "192 MiB"]);
        assert_eq!(
            names(Scale::Milliseconds.over([0.8, 90.0].into_iter())),
            ["0.5 ms", "1 ms", "2 ms", "5 ms", "10 ms", "20 ms", "50 ms", "100 ms"]
        );
        assert_eq!(names(Scale::Seconds.over([90.2].into_iter())), ["0 s", "30 s", "60 s", "90 s"]);
        assert_eq!(names(Scale::Seconds.over([4000.0].into_iter())), ["0 min", "20 min", "40 min", "60 min"]);
        assert_eq!(names(Scale::Percentile.over([0.9995].into_iter())), ["0", "50", "90", "99", "99.9"]);
    }

    #[test]
    fn places_rise_from_nought_to_one() {
        for (scale, values) in [
            (Scale::Number, [0.0, 5.0, 10.0]),
            (Scale::Milliseconds, [1.0, 10.0, 100.0]),
            (Scale::Percentile, [0.0, 0.9, 0.99]),
        ] {
            let axis = scale.over(values.into_iter());
            let places = values.map(|value| axis.place(value));
            assert!(places[0].abs() < 1e-9 && (places[2] - 1.0).abs() < 1e-9, "{scale:?} {places:?}");
            assert!((places[1] - 0.5).abs() < 1e-9, "{scale:?} {places:?}");
        }
        assert_eq!(Scale::Number.over([f64::NAN].into_iter()).place(f64::INFINITY), 1.0);
    }
}
