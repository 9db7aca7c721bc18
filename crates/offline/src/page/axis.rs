//! Axes of charts: their range and the numbers along them.

/// Share of the range that is left free at both ends of [`Axis::around`].
const MARGIN: f64 = 0.06;
/// Least range of an axis, relative to its values and absolute.
const LEAST: f64 = 1e-6;

/// The axis of a chart.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Axis {
    /// What it shows, for example `position`.
    pub label: String,
    /// Unit, for example `rad`; empty without one.
    pub unit: String,
    /// Value at its beginning.
    pub low: f64,
    /// Value at its end; above `low`.
    pub high: f64,
}

impl Axis {
    /// From the least to the greatest finite value. 0 to 1 without any.
    pub fn of(label: &str, unit: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = range(values).unwrap_or((0.0, 1.0));
        Self { label: label.to_owned(), unit: unit.to_owned(), low, high }.wide_enough()
    }

    /// The same with a margin at both ends.
    pub fn around(label: &str, unit: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let axis = Self::of(label, unit, values);
        let margin = (axis.high - axis.low) * MARGIN;
        Self { low: axis.low - margin, high: axis.high + margin, ..axis }
    }

    /// From zero to the greatest finite value and a margin: for amounts.
    pub fn up_to(label: &str, unit: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let (_, high) = range(values).unwrap_or_default();
        let high = if high > 0.0 { high * (1.0 + MARGIN) } else { 1.0 };
        Self { label: label.to_owned(), unit: unit.to_owned(), low: 0.0, high }.wide_enough()
    }

    /// Where a value lies: 0 at the beginning, 1 at the end.
    pub fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Label and unit.
    pub fn title(&self) -> String {
        if self.unit.is_empty() { self.label.clone() } else { format!("{}, {}", self.label, self.unit) }
    }

    /// Round numbers inside the range, about `count` of them, each with its text.
    pub fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let raw = (self.high - self.low) / count.max(1) as f64;
        if !raw.is_finite() || raw <= 0.0 {
            return Vec::new();
        }
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().rfind(|step| *step <= raw * 1.4);
        let step = step.unwrap_or(power);
        let (first, last) = ((self.low / step).ceil(), (self.high / step * (1.0 + 1e-12)).floor());
        let decimals = (-step.log10() - 1e-9).ceil().max(0.0);
        let count = (last - first).clamp(-1.0, 2.0 * count as f64 + 2.0) as i64;
        (0..=count).map(|index| (first + index as f64) * step).map(|value| (value, figure(value, decimals))).collect()
    }

    /// A range in which values can be told apart.
    fn wide_enough(mut self) -> Self {
        let least = LEAST * self.low.abs().max(self.high.abs()).max(1.0);
        if self.high - self.low < least {
            (self.low, self.high) = (self.low - least / 2.0, self.high + least / 2.0);
        }
        self
    }
}

fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.into_iter().filter(|value| value.is_finite());
    finite.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

fn figure(value: f64, decimals: f64) -> String {
    // No minus zero.
    let value = value + 0.0;
    if decimals > 6.0 || value.abs() >= 1e7 { format!("{value:.1e}") } else { format!("{value:.*}", decimals as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, high: f64, count: usize) -> Vec<String> {
        Axis { low, high, ..Axis::default() }.ticks(count).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_numbers_inside_the_range() {
        assert_eq!(texts(0.0, 4.0, 4), ["0", "1", "2", "3", "4"]);
        assert_eq!(texts(-0.031, 0.052, 4), ["-0.02", "0.00", "0.02", "0.04"]);
        assert_eq!(texts(-0.02, 0.02, 4), ["-0.02", "-0.01", "0.00", "0.01", "0.02"]);
        assert_eq!(texts(0.0, 3600.0, 6), ["0", "500", "1000", "1500", "2000", "2500", "3000", "3500"]);
        assert_eq!(texts(0.0, 2.5e8, 2), ["0", "1.0e8", "2.0e8"]);
        assert_eq!(texts(1.0, 1.0, 4), Vec::<String>::new());
        assert_eq!(texts(0.0, f64::INFINITY, 4), Vec::<String>::new());
    }

    #[test]
    fn a_range_ignores_what_is_not_finite_and_is_never_empty() {
        let axis = Axis::of("p", "rad", [f64::NAN, 2.0, f64::INFINITY, 1.0]);
        assert_eq!((axis.low, axis.high, axis.share(1.5)), (1.0, 2.0, 0.5));
        let still = Axis::of("p", "rad", [3.0, 3.0]);
        assert!(still.high > still.low && still.share(3.0).is_finite());
        let none = Axis::up_to("p", "", []);
        assert_eq!((none.low, none.high, none.title()), (0.0, 1.0, "p".to_owned()));
        assert!(Axis::around("p", "rad", [1.0, 2.0]).low < 1.0);
        assert_eq!(Axis::of("p", "rad", []).title(), "p, rad");
    }
}
