//! The memory plan as text: a table of the stages, and the loads one after the other.

use std::fmt;

use super::plan::MemoryPlan;
use super::{Figure, Growth, mib};

const HEADINGS: [&str; 8] = ["file", "weights", "host copy", "activation", "in/out", "loading", "kept", "measured"];

/// The table: one row per stage in load order, then the memory shared by all stages. Figures in MiB, `~`: estimated.
impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.stages.iter().map(|stage| stage.stage.len()).max().unwrap_or(0).max("all engines".len());
        write!(f, "  {:width$}", "MiB")?;
        for heading in HEADINGS {
            write!(f, " {heading:>10}")?;
        }
        writeln!(f, "  state")?;
        for (place, stage) in self.stages.iter().enumerate() {
            write!(f, "  {:width$}", stage.stage)?;
            let mut kept = stage.weights;
            kept += stage.host_copy;
            let figures =
                [stage.file, stage.weights, stage.host_copy, stage.activation, stage.io, stage.transient, kept];
            for figure in figures {
                write!(f, " {figure:>10}")?;
            }
            match self.measured.get(place) {
                Some(growth) => writeln!(f, " {:>10.1}  loaded", mib(growth.kept()))?,
                None if place == self.measured.len() && place > 0 => writeln!(f, " {:>10}  next", "-")?,
                None => writeln!(f, " {:>10}  to come", "-")?,
            }
        }
        self.write_sums(f, width)
    }
}

impl MemoryPlan {
    fn write_sums(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let mut sums = [Figure::default(); 7];
        for stage in &self.stages {
            let figures = [stage.file, stage.weights, stage.host_copy, stage.activation, stage.io, stage.transient];
            for (sum, figure) in sums.iter_mut().zip(figures) {
                *sum += figure;
            }
            sums[6] += stage.weights;
            sums[6] += stage.host_copy;
        }
        // These two are not sums: the arena is shared, and one file is read at a time.
        sums[3].bytes = self.activation();
        sums[5].bytes = self.stages.iter().map(|stage| stage.transient.bytes).max().unwrap_or(0);
        write!(f, "  {:width$}", "all engines")?;
        for sum in sums {
            write!(f, " {sum:>10}")?;
        }
        let measured = self.measured.iter().copied().map(Growth::kept).fold(0, u64::saturating_add);
        if self.measured.is_empty() {
            writeln!(f, " {:>10}", "-")?;
        } else {
            writeln!(f, " {:>10.1}", mib(measured))?;
        }
        let peak = self.peak_from(0).total;
        let steps = self.steps();
        let worst = steps.iter().position(|step| step.peak.total() == peak).and_then(|place| self.stages.get(place));
        let moment = worst.map_or_else(|| "running".to_owned(), |stage| format!("loading {}", stage.stage));
        writeln!(
            f,
            "  worst moment: {moment}, {:.1} MiB; margin {:.1} MiB; smallest budget {:.1} MiB",
            mib(peak),
            mib(self.margin()),
            mib(self.smallest_budget())
        )
    }
}

/// Memory before, during and after each load, and memory still to be allocated, from [`MemoryPlan::timeline`].
pub struct Timeline<'p>(&'p MemoryPlan);

impl MemoryPlan {
    /// The loads one after the other, for people.
    pub fn timeline(&self) -> Timeline<'_> {
        Timeline(self)
    }
}

impl fmt::Display for Timeline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(plan) = self;
        let width = plan.stages.iter().map(|stage| stage.stage.len() + 5).max().unwrap_or(0).max("run them".len());
        let steps = plan.steps();
        write!(f, "  {:width$} {:>10} {:>10} {:>10} {:>14}", "MiB", "before", "peak", "after", "still to come")?;
        for (place, (stage, step)) in plan.stages.iter().zip(&steps).enumerate() {
            let to_come = plan.peak_from(place + 1).total.saturating_sub(step.after.total());
            let [before, peak, after, to_come] =
                [step.before.total(), step.peak.total(), step.after.total(), to_come].map(mib);
            let name = format!("load {}", stage.stage);
            write!(f, "\n  {name:width$} {before:>10.1} {peak:>10.1} {after:>10.1} {to_come:>14.1}")?;
        }
        let before = mib(steps.last().map_or(0, |step| step.after.total()));
        let running = mib(plan.running().total());
        write!(f, "\n  {:width$} {before:>10.1} {running:>10.1} {running:>10.1} {:>14.1}", "run them", 0.0)
    }
}
