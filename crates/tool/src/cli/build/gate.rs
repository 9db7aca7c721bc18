//! The accuracy gate behind a build: every engine against its network on a bag, and for one that is too far off the next
//! precision that is close enough.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::ProgressBar;

use super::Work;
use crate::cli::Outcome;
use crate::cli::settings::settings;
use crate::cli::verify::{bar, show};
use vla_base::sys::fs::move_to;
use vla_engines::provenance;
use vla_engines::provenance::Provenance;
use vla_engines::{Precision, Stage};
use vla_export::staging::Staging;
use vla_offline::replay::BagSource;
use vla_offline::verify;
use vla_offline::verify::candidate::Engines;
use vla_offline::verify::{ActionReport, Networks, Options, ReferenceRun, StageReport, Trial};
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;

/// One stage with the engine that is tried for it.
struct Tried {
    /// With the file and precision of the engine that is tried.
    stage: Stage,
    /// Where the policy's engine is.
    place: PathBuf,
    report: StageReport,
}

/// The engines of a policy beside what the bag made of its networks.
struct Gate<'w> {
    work: &'w Work<'w>,
    settings: &'w Settings,
    captured: ReferenceRun,
    bar: ProgressBar,
    trials: Vec<Trial>,
}

/// Runs the gate over every stage of the policy. Engines that fail are built again in the next precision until all limits
/// hold; verdicts go into their records.
pub(super) fn run(work: &Work<'_>, spec: &PolicySpec, bag_file: &Path) -> anyhow::Result<Outcome> {
    let settings = settings(spec, work.args.params.as_deref(), &work.args.param)?;
    let scratch = Staging::scratch(&std::env::temp_dir().join("vla_trt_build"))?;
    let options = Options {
        bag: BagSource { bag: bag_file.to_owned(), clock: work.args.clock },
        observations: usize::from(work.args.observations),
        stages: None,
        inner: 0,
        scratch: scratch.dir().to_owned(),
    };
    let bar = bar();
    let mut networks = Networks::of(spec, settings.engine.threads);
    let mut shown = |progress| show(&bar, progress);
    let captured = verify::capture(spec, &settings, &options, &mut networks, &Default::default(), &mut shown)?;
    let mut gate = Gate { work, settings: &settings, captured, bar, trials: Vec::new() };
    let mut tried = Vec::new();
    for stage in spec.engine_stages() {
        tried.push(gate.settle(&stage)?);
    }
    let actions = gate.whole_chain(&mut tried)?;
    gate.bar.finish_and_clear();
    gate.finish(spec, tried, actions)
}

impl Gate<'_> {
    /// The first engine of a stage that is close enough, or the last that there is to try.
    fn settle(&mut self, stage: &Stage) -> anyhow::Result<Tried> {
        let mut tried = self.attempt(stage, self.work.args.first(stage)?)?;
        while !tried.report.passed() {
            match self.safer(&tried)? {
                Some(next) => tried = next,
                None => break,
            }
        }
        Ok(tried)
    }

    /// The next engine of the same stage; `None` behind single precision.
    fn safer(&mut self, tried: &Tried) -> anyhow::Result<Option<Tried>> {
        let precision: Precision = tried.stage.precision.parse().map_err(anyhow::Error::msg)?;
        let Some(next) = precision.safer() else { return Ok(None) };
        let at = Stage { file: tried.place.clone(), ..tried.stage.clone() };
        self.attempt(&at, next).map(Some)
    }

    /// Builds the engine of a stage in a precision where it is not there, and compares it. One in another precision than
    /// the engine in place is built beside it.
    fn attempt(&mut self, stage: &Stage, precision: Precision) -> anyhow::Result<Tried> {
        self.work.stop.check()?;
        let place = stage.file.clone();
        let in_place = Provenance::read(&place).ok().flatten().is_some_and(|it| it.precision == precision.to_string());
        let file = if in_place { place.clone() } else { trial_file(&place, precision) };
        let candidate = Stage { file, precision: precision.to_string(), ..stage.clone() };
        // A verdict of before is no reason not to look again.
        let known = Stage { allow_inaccurate: true, ..candidate.clone() };
        if provenance::verify(&known, self.work.device).is_err() {
            self.bar.suspend(|| println!("{}: trying {precision}", stage.name));
            let mut request = self.work.args.stage(stage, precision);
            request.engine.clone_from(&candidate.file);
            self.work.one(request)?;
        }
        let mut engines = Engines::new(vec![candidate.clone()], self.settings);
        let bar = &self.bar;
        let report = verify::stage(&self.captured, &stage.name, &mut engines, &mut |progress| show(bar, progress))?;
        self.trials.push(report.trial(&precision.to_string()));
        Ok(Tried { stage: candidate, place, report })
    }

    /// Compares the actions of all engines together; while they are too far off, the stage that is furthest off gets its
    /// next precision.
    fn whole_chain(&mut self, tried: &mut [Tried]) -> anyhow::Result<ActionReport> {
        loop {
            self.work.stop.check()?;
            let stages = tried.iter().map(|tried| tried.stage.clone()).collect();
            let mut engines = Engines::new(stages, self.settings);
            let bar = &self.bar;
            let actions = verify::actions(&self.captured, &mut engines, &mut |progress| show(bar, progress))?;
            drop(engines);
            if actions.passed() {
                return Ok(actions);
            }
            let distance = |tried: &Tried| 1.0 - tried.report.worst().cosine.unwrap_or(f64::NEG_INFINITY);
            let coarse = tried.iter_mut().filter(|tried| tried.stage.precision != Precision::FP32.to_string());
            let Some(worst) = coarse.max_by(|a, b| distance(a).total_cmp(&distance(b))) else { return Ok(actions) };
            let Some(next) = self.safer(worst)? else { return Ok(actions) };
            *worst = next;
        }
    }

    /// Puts what was chosen in its place, writes the verdicts, and says what there is to say.
    fn finish(self, spec: &PolicySpec, tried: Vec<Tried>, actions: ActionReport) -> anyhow::Result<Outcome> {
        let (places, reports): (Vec<(Stage, PathBuf)>, Vec<StageReport>) =
            tried.into_iter().map(|tried| ((tried.stage, tried.place), tried.report)).unzip();
        let report = verify::report(&self.captured, reports, Some(actions), "tensorrt".to_owned());
        for (stage, place) in &places {
            put(&stage.file, place)?;
            if let Some(verification) = report.verification(&stage.name) {
                verify::record(place, &verification)?;
            }
        }
        print!("{report}\n{}", verify::propose(self.trials));
        let mut outcome = if report.passed { Outcome::Success } else { Outcome::Differs };
        for (described, (stage, place)) in spec.engine_stages().iter().zip(&places) {
            clear_trials(place)?;
            if described.precision != stage.precision {
                outcome = Outcome::Differs;
                println!(
                    "{}: set `precision: {}` for it in {} (it says {}); the engine is built",
                    stage.name,
                    stage.precision,
                    spec.dir.join(vla_policy::spec::POLICY_FILE).display(),
                    described.precision
                );
            }
        }
        Ok(outcome)
    }
}

/// Where an engine is built that may not stay.
fn trial_file(place: &Path, precision: Precision) -> PathBuf {
    place.with_extension(format!("trial-{precision}.engine"))
}

/// Moves an engine with its record, unless it is there already.
fn put(file: &Path, place: &Path) -> anyhow::Result<()> {
    if file == place {
        return Ok(());
    }
    // The record last: an engine under another's record is refused, not run.
    for (from, to) in [(file.to_owned(), place.to_owned()), (Provenance::path(file), Provenance::path(place))] {
        move_to(&from, &to).with_context(|| format!("moving {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Removes the engines that were tried and not chosen.
fn clear_trials(place: &Path) -> anyhow::Result<()> {
    for precision in [Precision::INT8_FP16, Precision::FP16, Precision::FP32] {
        let file = trial_file(place, precision);
        for file in [Provenance::path(&file), file] {
            if file.is_file() {
                fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
    }
    Ok(())
}
