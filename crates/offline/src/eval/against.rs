//! Two policies on the same observations: how far their predictions are apart.

use std::collections::BTreeMap;

use serde::Serialize;

use super::sums::Sums;
use super::{Episode, Errors, Layout, Moment, Observer, Outcome};
use crate::Error;
use crate::commands::timeline::difference;
use vla_base::time::Stamp;
use vla_runtime::parameters::Settings;

/// The predictions of a policy's run: 4 bytes a value.
#[derive(Clone, Debug, Default)]
pub struct Predictions {
    chunks: BTreeMap<(usize, Stamp), Box<[f32]>>,
}

impl Observer for Predictions {
    fn moment(&mut self, _layout: &Layout, moment: &Moment) -> Result<(), Error> {
        self.chunks.insert((moment.episode, moment.at), moment.predicted.as_slice().into());
        Ok(())
    }

    fn episode(&mut self, _layout: &Layout, _episode: &Episode) -> Result<(), Error> {
        Ok(())
    }
}

/// Compares the chunks of a second run with the predictions of the first.
pub struct Against {
    first: Predictions,
    sums: Option<Sums>,
    chunks: u64,
    only_second: u64,
}

impl Against {
    /// A comparison with these predictions.
    pub fn new(first: Predictions) -> Self {
        Self { first, sums: None, chunks: 0, only_second: 0 }
    }

    /// The result, for the outcomes of both runs.
    pub fn comparison(self, first: &Outcome, second: &Outcome) -> Comparison {
        let layout = &second.layout;
        let sums = self.sums.unwrap_or_else(|| Sums::new(layout.rows, layout.width()));
        let columns = layout.columns.iter().enumerate().map(|(index, column)| ColumnComparison {
            name: column.name.clone(),
            difference: sums.over(0..layout.rows, index..index + 1),
            ratio: ratio(
                first.figures.columns.get(index).and_then(|column| column.errors.robot),
                second.figures.columns.get(index).and_then(|column| column.errors.robot),
            ),
        });
        Comparison {
            chunks: self.chunks,
            only_first: self.first.chunks.len() as u64,
            only_second: self.only_second,
            difference: sums.over(0..layout.rows, 0..layout.width()),
            ratio: ratio(first.figures.overall.robot, second.figures.overall.robot),
            normalised_ratio: ratio(first.figures.overall.normalised, second.figures.overall.normalised),
            columns: columns.collect(),
        }
    }
}

impl Observer for Against {
    fn moment(&mut self, layout: &Layout, moment: &Moment) -> Result<(), Error> {
        let Some(first) = self.first.chunks.remove(&(moment.episode, moment.at)) else {
            self.only_second += 1;
            return Ok(());
        };
        self.chunks += 1;
        let width = layout.width().max(1);
        let sums = self.sums.get_or_insert_with(|| Sums::new(layout.rows, layout.width()));
        for (row, (second, first)) in moment.predicted.chunks_exact(width).zip(first.chunks_exact(width)).enumerate() {
            for (column, ((second, first), described)) in second.iter().zip(first).zip(&layout.columns).enumerate() {
                sums.add(row, column, difference(f64::from(*second), f64::from(*first), described.continuous));
            }
        }
        Ok(())
    }

    fn episode(&mut self, _layout: &Layout, _episode: &Episode) -> Result<(), Error> {
        Ok(())
    }
}

/// Differences between the predictions of two policies, and the ratio of their errors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Chunks of both.
    pub chunks: u64,
    /// Chunks of the first policy alone.
    pub only_first: u64,
    /// Chunks of the second policy alone.
    pub only_second: u64,
    /// Second minus first, over all rows that both predict, in the robot's units.
    pub difference: Option<Errors>,
    /// Errors of the second policy over those of the first, in the robot's units.
    pub ratio: Option<Ratio>,
    /// The same of the normalised errors.
    pub normalised_ratio: Option<Ratio>,
    /// Each column.
    pub columns: Vec<ColumnComparison>,
}

/// A column of both policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnComparison {
    /// Joint, or `<key>.x`, ...
    pub name: String,
    /// See [`Comparison::difference`].
    pub difference: Option<Errors>,
    /// See [`Comparison::ratio`].
    pub ratio: Option<Ratio>,
}

/// The second policy's error over the first's; `None` where the first has no error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Of the mean squared errors.
    pub mse: Option<f64>,
    /// Of the mean absolute errors.
    pub mae: Option<f64>,
}

fn ratio(first: Option<Errors>, second: Option<Errors>) -> Option<Ratio> {
    let (first, second) = first.zip(second)?;
    let over = |second: f64, first: f64| (first > 0.0).then(|| second / first);
    Some(Ratio { mse: over(second.mse, first.mse), mae: over(second.mae, first.mae) })
}

/// Whether two policies with their settings see the same observations and predict the same columns.
///
/// # Errors
/// [`Error::NotComparable`] with the first difference.
pub fn comparable(first: &Settings, second: &Settings) -> Result<(), Error> {
    let names = |settings: &Settings| settings.inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>();
    let columns = |settings: &Settings| {
        let joints = settings.action.iter().flat_map(|map| map.joints.iter().cloned());
        joints.chain(settings.column_keys.iter().cloned()).collect::<Vec<_>>()
    };
    let differ = |what: &'static str, first: String, second: String| Error::NotComparable { what, first, second };
    if names(first) != names(second) {
        return Err(differ("inputs", names(first).join(", "), names(second).join(", ")));
    }
    if let Some((one, other)) = first.inputs.iter().zip(&second.inputs).find(|(one, other)| one != other) {
        return Err(differ("inputs", format!("{one:?}"), format!("{other:?}")));
    }
    if columns(first) != columns(second) {
        return Err(differ("columns", columns(first).join(", "), columns(second).join(", ")));
    }
    if first.step != second.step {
        let seconds = |settings: &Settings| format!("{} s", settings.step.seconds());
        return Err(differ("times from row to row", seconds(first), seconds(second)));
    }
    Ok(())
}
