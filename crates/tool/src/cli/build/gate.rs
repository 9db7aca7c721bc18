//! The accuracy gate after a build: compares every engine with its network on a bag, and replaces an engine that exceeds its
//! limits by one in the next precision.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::ProgressBar;

use super::Work;
use crate::cli::Outcome;
use crate::cli::settings::{bag_or_dataset, settings_for};
use crate::cli::verify::{bar, show};
use vla_base::sys::fs::move_to;
use vla_engines::onnx::Network;
use vla_engines::provenance;
use vla_engines::provenance::Provenance;
use vla_engines::{Precision, Stage};
use vla_export::staging::Staging;
use vla_offline::verify;
use vla_offline::verify::candidate::Engines;
use vla_offline::verify::{ActionReport, Networks, Options, ReferenceRun, StageReport, Trial};
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;

/// A stage with its candidate engine.
struct Tried {
    /// The stage, with file and precision of the candidate.
    stage: Stage,
    /// Path of the policy's engine.
    place: PathBuf,
    report: StageReport,
}

/// The candidate engines of a policy, and the networks' results on the bag.
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
    let source = bag_or_dataset(bag_file, work.args.clock);
    let settings = settings_for(spec, &source, work.args.params.as_deref(), &work.args.param)?;
    let scratch = Staging::scratch(&std::env::temp_dir().join("vla_trt_build"))?;
    let options = Options {
        source,
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
    /// The first engine of a stage within its limits; otherwise the last candidate.
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

    /// The next candidate of the same stage; `None` after single precision, and for a network that says by itself what it
    /// computes in integers.
    fn safer(&mut self, tried: &Tried) -> anyhow::Result<Option<Tried>> {
        if is_quantized(&tried.stage) {
            return Ok(None);
        }
        let precision: Precision = tried.stage.precision.parse().map_err(anyhow::Error::msg)?;
        let Some(next) = precision.safer() else { return Ok(None) };
        let at = Stage { file: tried.place.clone(), ..tried.stage.clone() };
        self.attempt(&at, next).map(Some)
    }

    /// Builds the candidate of a stage if it does not exist, and compares it. A candidate whose precision differs from the
    /// policy's engine is built beside it.
    fn attempt(&mut self, stage: &Stage, precision: Precision) -> anyhow::Result<Tried> {
        self.work.stop.check()?;
        let place = stage.file.clone();
        let in_place = Provenance::read(&place).ok().flatten().is_some_and(|it| it.precision == precision.to_string());
        let file = if in_place { place.clone() } else { trial_file(&place, precision) };
        let candidate = Stage { file, precision: precision.to_string(), ..stage.clone() };
        // An earlier verdict does not prevent a new comparison.
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

    /// Compares the actions of all engines together. While they exceed the limit, the stage with the largest deviation gets
    /// its next precision.
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
            let other = |tried: &&mut Tried| {
                tried.stage.precision != Precision::FP32.to_string() && !is_quantized(&tried.stage)
            };
            let coarse = tried.iter_mut().filter(other);
            let Some(worst) = coarse.max_by(|a, b| distance(a).total_cmp(&distance(b))) else { return Ok(actions) };
            let Some(next) = self.safer(worst)? else { return Ok(actions) };
            *worst = next;
        }
    }

    /// Moves the chosen engines to their final paths, writes the verdicts and prints the result.
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

/// Whether the network says by itself what it computes in integers, so that the precision says nothing about that.
fn is_quantized(stage: &Stage) -> bool {
    Network::open(&stage.onnx).is_ok_and(|network| network.is_quantized())
}

/// Path of a candidate engine.
fn trial_file(place: &Path, precision: Precision) -> PathBuf {
    place.with_extension(format!("trial-{precision}.engine"))
}

/// Moves an engine with its record, unless it is there already.
fn put(file: &Path, place: &Path) -> anyhow::Result<()> {
    if file == place {
        return Ok(());
    }
    // The record last: an engine with another engine's record is refused.
    for (from, to) in [(file.to_owned(), place.to_owned()), (Provenance::path(file), Provenance::path(place))] {
        move_to(&from, &to).with_context(|| format!("moving {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Removes candidates that were not chosen.
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
