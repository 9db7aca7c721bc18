//! Statistics of one key: only the kinds that scale its values are read and judged, each column by itself.
//!
//! A range whose ends are exchanged, a negative spread or a value that is not finite would turn a joint round or give
//! values without meaning, so it is refused although the vendor's code computes with it.

use super::super::on_use::Number;
use super::super::raw::RawValues;
use super::Checker;

/// What to do about a table that cannot be used.
const ADVICE: &str = "compute the statistics of the data set again";

/// A kind's values, row by row.
type Table = Vec<Vec<Number>>;

/// The statistics of a key.
pub(super) struct KeyStatistics<'s> {
    /// Path of the key in the file.
    pub at: &'s str,
    /// Values of the key.
    pub width: usize,
    /// The kind that gives the width, as the vendor's code takes it.
    of: &'static str,
    values: Values,
}

enum Values {
    /// One table for all rows.
    Key(RawValues<Vec<Number>>),
    /// One for each of this many action rows.
    Rows(RawValues<Vec<Vec<Number>>>, usize),
}

impl Values {
    /// The values of a kind as they are in the file; `None` where it is absent or null.
    fn table(&self, kind: &str) -> Option<Result<Table, String>> {
        match self {
            Self::Key(values) => {
                values.get(kind)?.read_as::<Option<Vec<Number>>>().map(|row| row.map(|row| vec![row])).transpose()
            }
            Self::Rows(values, _) => values.get(kind)?.read_as::<Option<Table>>().transpose(),
        }
    }
}

/// The kinds that are the ends of a range.
fn ends(percentiles: bool) -> [&'static str; 2] {
    if percentiles { ["q01", "q99"] } else { ["min", "max"] }
}

impl<'s> KeyStatistics<'s> {
    /// Path of one value of a flat table.
    fn place(&self, kind: &str, index: usize) -> String {
        let column = index % self.width.max(1);
        match self.values {
            Values::Rows(..) => format!("{}.{kind}[{}][{column}]", self.at, index / self.width.max(1)),
            Values::Key(_) => format!("{}.{kind}[{column}]", self.at),
        }
    }

    fn rows(&self) -> Option<usize> {
        match self.values {
            Values::Rows(_, rows) => Some(rows),
            Values::Key(_) => None,
        }
    }

    /// A table for each of `rows` action rows.
    pub(crate) fn of_rows(at: &'s str, values: RawValues<Vec<Vec<Number>>>, rows: usize, width: usize) -> Self {
        Self { at, width, of: "min", values: Values::Rows(values, rows) }
    }
}

impl Checker {
    /// The statistics of a key, one table for all rows; they give its width. `None` where no kind can.
    pub(super) fn of_key<'s>(
        &mut self,
        at: &'s str,
        values: RawValues<Vec<Number>>,
        percentiles: bool,
    ) -> Option<KeyStatistics<'s>> {
        let values = Values::Key(values);
        let [least, most] = ends(percentiles);
        let width = [least, most, "min", "max", "mean", "std"].into_iter().find_map(|kind| {
            let table = values.table(kind)?.ok()?;
            Some((kind, table.first()?.len()))
        });
        let Some((of, width)) = width else {
            let problem = values.table(least).and_then(Result::err);
            self.problems.push(problem.map_or_else(
                || format!("{at}.{least}: missing, and no other statistic gives the key's width"),
                |problem| format!("{at}.{least}: {problem} of this list"),
            ));
            return None;
        };
        self.check(width > 0, || format!("{at}: expected at least one value, found none"));
        Some(KeyStatistics { at, width, of, values })
    }

    /// The two ends of a key's range, row-major.
    pub(super) fn range(&mut self, found: &KeyStatistics<'_>, percentiles: bool) -> (Vec<f64>, Vec<f64>) {
        let [least, most] = ends(percentiles);
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
        let table = match found.values.table(kind) {
            Some(Ok(table)) => table,
            Some(Err(problem)) => {
                self.problems.push(format!("{at}.{kind}: {problem} of this list"));
                return None;
            }
            None => {
                let why = if kind.starts_with('q') { ", and use_percentiles is true" } else { "" };
                self.problems.push(format!("{at}.{kind}: missing{why}"));
                return None;
            }
        };
        self.check(found.rows().is_none_or(|rows| rows == table.len()), || {
            let (rows, found) = (found.rows().unwrap_or_default(), table.len());
            format!("{at}.{kind}: expected {rows} rows (one for each of the action's delta_indices), found {found}")
        });
        if let Some(row) = table.iter().find(|row| row.len() != width) {
            self.problems.push(match found.rows() {
                Some(_) => format!("{at}.{kind}: expected rows of {width} values, found one of {}", row.len()),
                None => format!("{at}.{kind}: expected {width} values as in {}, found {}", found.of, row.len()),
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
        let rows = found.rows().unwrap_or(1);
        for column in 0..found.width {
            self.problems.extend((0..rows).find_map(|row| problem(row * found.width + column)));
        }
    }
}
