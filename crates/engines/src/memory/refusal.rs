//! Why the engines do not fit, as a report: who holds what, what is missing, what would fit.

use std::fmt;

use super::plan::Plan;
use super::{Advice, Figure, Growth, mib};

/// Which bound breaks, in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The operator's budget.
    Budget {
        /// Held and still to come at the worst moment, margin included.
        needed: u64,
        /// The budget (less the reserve, where the budget stands for a whole machine).
        allowed: u64,
    },
    /// The machine's memory (host, or the one pool of an integrated GPU).
    Machine {
        /// Still to come at the worst moment, margin included.
        needed: u64,
        /// Free now, the reserve not yet taken off.
        free: u64,
    },
    /// The memory of a GPU that has its own.
    Device {
        /// Still to come at the worst moment, margin included.
        needed: u64,
        /// Free now.
        free: u64,
    },
    /// The runtime asked for memory and got none.
    Runtime {
        /// What was being done.
        action: String,
        /// The runtime's own words.
        reason: String,
    },
}

/// The engines do not fit. Printed as a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The stage that was to be loaded next; `None`: all are loaded.
    pub stage: Option<String>,
    /// Which bound breaks.
    pub cause: Cause,
    /// What each stage takes, and what is loaded.
    pub plan: Plan,
    /// What would fit.
    pub advice: Advice,
}

impl Refusal {
    /// Bytes that are missing; 0 when a runtime ran out and did not say by how much.
    pub fn missing(&self) -> u64 {
        self.advice.missing
    }

    /// One line, for diagnostics and for the first line of the report.
    pub fn summary(&self) -> String {
        let what = match &self.stage {
            Some(stage) => format!("not enough memory to load stage '{stage}'"),
            None => "not enough memory to run the loaded engines".to_owned(),
        };
        // Rounded up: what is missing is never nothing.
        let missing = (mib(self.missing()) * 10.0).ceil() / 10.0;
        match &self.cause {
            Cause::Budget { needed, allowed } => format!(
                "{what}: {:.1} MiB needed, {:.1} MiB allowed by memory.budget_mib, {missing:.1} MiB missing",
                mib(*needed),
                mib(*allowed)
            ),
            Cause::Machine { needed, free } => {
                let reserve = mib(self.advice.reserve);
                let cached = self.advice.page_cache.map_or_else(String::new, |bytes| {
                    format!(" by the GPU driver's count, without {:.1} MiB of page cache,", mib(bytes))
                });
                format!(
                    "{what}: {:.1} MiB still to come, {:.1} MiB free{cached} of which memory.reserve_mib keeps {reserve:.1} \
                     MiB, {missing:.1} MiB missing",
                    mib(*needed),
                    mib(*free)
                )
            }
            Cause::Device { needed, free } => format!(
                "{what}: {:.1} MiB still to come on the GPU, {:.1} MiB free there, {missing:.1} MiB missing",
                mib(*needed),
                mib(*free)
            ),
            Cause::Runtime { action, reason } => format!("{what}: {action}: {reason}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        write!(f, "{}", self.plan)?;
        write!(f, "{}", self.advice)
    }
}

const HEADINGS: [&str; 8] = ["file", "weights", "host copy", "activation", "in/out", "loading", "kept", "measured"];

/// The table: a row a stage in load order, then what counts once for all of them. Figures in MiB, `~`: estimated.
impl fmt::Display for Plan {
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

impl Plan {
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

/// What is held before, during and after each load, and what is still to come; as [`Plan::timeline`] shows it.
pub struct Timeline<'p>(&'p Plan);

impl Plan {
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
