//! Statistics of one key: only the kinds that scale its values are judged, each column by itself.
//!
//! A range whose ends are exchanged, a negative spread or a value that is not finite would turn a joint round or give
//! values without meaning, so it is refused although the vendor's code computes with it.

use super::super::on_use::Number;
use super::super::raw::RawValues;
use super::Checker;

/// What to do about a table that cannot be used.
const ADVICE: &str = "compute the statistics of the data set again";

/// The statistics of a key: `[width]`, or `[rows, width]` of a relative action.
pub(super) struct KeyStatistics<'s> {
    /// Path of the key in the file.
    pub at: &'s str,
    /// Values of the key.
    pub width: usize,
    rows: Option<usize>,
    values: RawValues<Vec<Vec<Number>>>,
}

impl<'s> KeyStatistics<'s> {
    /// One table for all rows; it gives the key's width.
    pub(crate) fn of_key(at: &'s str, values: RawValues<Vec<Number>>) -> Self {
        let RawValues { min, max, mean, std, q01, q99 } = values;
        let width = min.len();
        let [min, max, mean, std] = [min, max, mean, std].map(|table| vec![table]);
        let [q01, q99] = [q01, q99].map(|table| table.map(|table| vec![table]));
        Self { at, width, rows: None, values: RawValues { min, max, mean, std, q01, q99 } }
    }

    /// A table for each of `rows` action rows.
    pub(crate) fn of_rows(at: &'s str, values: RawValues<Vec<Vec<Number>>>, rows: usize, width: usize) -> Self {
        Self { at, width, rows: Some(rows), values }
    }

    fn table(&self, kind: &str) -> Option<&[Vec<Number>]> {
        let RawValues { min, max, mean, std, q01, q99 } = &self.values;
        match kind {
            "min" => Some(min),
            "max" => Some(max),
            "mean" => Some(mean),
            "std" => Some(std),
            "q01" => q01.as_ref(),
            _ => q99.as_ref(),
        }
        .map(Vec::as_slice)
    }

    /// Path of one value of a flat table.
    fn place(&self, kind: &str, index: usize) -> String {
        let column = index % self.width.max(1);
        match self.rows {
            Some(_) => format!("{}.{kind}[{}][{column}]", self.at, index / self.width.max(1)),
            None => format!("{}.{kind}[{column}]", self.at),
        }
    }
}

impl Checker {
    /// The two ends of a key's range, row-major.
    pub(super) fn range(&mut self, found: &KeyStatistics<'_>, percentiles: bool) -> (Vec<f64>, Vec<f64>) {
        let [least, most] = if percentiles { ["q01", "q99"] } else { ["min", "max"] };
        let ends = self.numbers(found, least).zip(self.numbers(found, most));
        let (low, high) = ends.unwrap_or_default();
        self.each_column(found, |index| {
            let (low, high) = (*low.get(index)?, *high.get(index)?);
            (low > high).then(|| {
                let (place, most) = (found.place(least, index), found.place(most, index));
                format!("{place}: expected a range up to {most} = {high}, found {low}, which turns the value round; {ADVICE}")
            })
        });
        (low, high)
    }

    /// Mean and standard deviation of a key, row-major.
    pub(super) fn spread(&mut self, found: &KeyStatistics<'_>) -> (Vec<f64>, Vec<f64>) {
        let (mean, std) = self.numbers(found, "mean").zip(self.numbers(found, "std")).unwrap_or_default();
        self.each_column(found, |index| {
            let value = *std.get(index)?;
            (value < 0.0).then(|| format!("{}: expected 0 or more, found {value}; {ADVICE}", found.place("std", index)))
        });
        (mean, std)
    }

    /// One kind of a key's statistics, row-major: of the right size, every value finite.
    fn numbers(&mut self, found: &KeyStatistics<'_>, kind: &str) -> Option<Vec<f64>> {
        let before = self.problems.len();
        let (at, width) = (found.at, found.width);
        let Some(table) = found.table(kind) else {
            self.problems.push(format!("{at}.{kind}: missing, and use_percentiles is true"));
            return None;
        };
        self.check(found.rows.is_none_or(|rows| rows == table.len()), || {
            let (rows, found) = (found.rows.unwrap_or_default(), table.len());
            format!("{at}.{kind}: expected {rows} rows (one for each of the action's delta_indices), found {found}")
        });
        if let Some(row) = table.iter().find(|row| row.len() != width) {
            self.problems.push(match found.rows {
                Some(_) => format!("{at}.{kind}: expected rows of {width} values, found one of {}", row.len()),
                None => format!("{at}.{kind}: expected {width} values as in min, found {}", row.len()),
            });
        }
        if self.problems.len() > before {
            return None;
        }
        let flat: Vec<f64> = table.iter().flatten().map(|number| number.0).collect();
        self.each_column(found, |index| {
            let value = *flat.get(index)?;
            (!value.is_finite())
                .then(|| format!("{}: expected a finite number, found {value}; {ADVICE}", found.place(kind, index)))
        });
        (self.problems.len() == before).then_some(flat)
    }

    /// The first problem of each column; a wrong column is mostly wrong in every row.
    fn each_column(&mut self, found: &KeyStatistics<'_>, problem: impl Fn(usize) -> Option<String>) {
        let rows = found.rows.unwrap_or(1);
        for column in 0..found.width {
            self.problems.extend((0..rows).find_map(|row| problem(row * found.width + column)));
        }
    }
}
