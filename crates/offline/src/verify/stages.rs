//! Runs one stage of the candidate on the reference's inputs and compares the outputs.

use std::collections::{BTreeMap, BTreeSet};

use super::candidate::INNER;
use super::capture::{ReferenceRun, StageRun};
use super::report::StageReport;
use super::{Candidate, Progress};
use crate::Error;
use vla_base::tensor::{DType, HostTensor, TensorSpec};
use vla_engines::provenance::{Figures, TensorFigures};
use vla_engines::{Inference, Output, Stage, StageOutput};

/// The worst figures of each output, by the pipeline's name.
type Worst = BTreeMap<String, Figures>;

/// Loads one stage of the candidate alone and runs it on every recorded input. Memory: this stage, and one observation.
///
/// # Errors
/// [`Error`] naming the stage, tensor or file.
pub fn stage(
    captured: &ReferenceRun,
    name: &str,
    candidate: &mut dyn Candidate,
    progress: &mut dyn FnMut(Progress),
) -> Result<StageReport, Error> {
    let reference = captured.stage(name)?;
    let described = find(candidate.stages(), name, || candidate.name())?;
    let inner = captured.inner(name);
    let folder = captured.scratch().join("candidate").join(name);
    let described = if inner.is_empty() { described.clone() } else { candidate.showing(described, inner, &folder)? };
    let alone = alone(&described, reference, captured.specs())?;
    let host = offered(&alone, captured.specs());
    let total = captured.runs(reference).len();
    let mut say = |done| progress(Progress::Candidate { stage: name.to_owned(), done, total });
    say(0);
    let mut pipeline = candidate.load(std::slice::from_ref(&alone), &host)?;
    let mut worst = Worst::new();
    for (done, run) in (1..).zip(captured.runs(reference)) {
        compare(captured, name, run, &mut *pipeline, &mut worst)?;
        say(done);
    }
    let least = captured.limits().least_cosine(reference);
    // In the order of the description, not of the names.
    let figures = |output: &Output| {
        let inner = output.name.strip_prefix(INNER);
        Some(TensorFigures {
            tensor: inner.unwrap_or(&output.name).to_owned(),
            figures: *worst.get(&output.name)?,
            least_cosine: inner.is_none().then_some(least),
        })
    };
    let (inner, outputs): (Vec<_>, Vec<_>) =
        alone.outputs.iter().filter_map(figures).partition(|tensor| tensor.least_cosine.is_none());
    Ok(StageReport { stage: name.to_owned(), precision: described.precision.clone(), runs: total, outputs, inner })
}

/// Loads `described`, a stage of the candidate with more outputs perhaps, alone, runs it on every recorded input of the stage
/// `name` and passes its outputs on. `progress` receives the runs behind it, and their number.
///
/// # Errors
/// [`Error`] naming the stage, tensor or file.
pub(crate) fn observe(
    captured: &ReferenceRun,
    name: &str,
    described: &Stage,
    candidate: &mut dyn Candidate,
    progress: &mut dyn FnMut(usize, usize),
    see: &mut dyn FnMut(&str, &HostTensor),
) -> Result<(), Error> {
    let reference = captured.stage(name)?;
    let alone = alone(described, reference, captured.specs())?;
    let host = offered(&alone, captured.specs());
    let total = captured.runs(reference).len();
    progress(0, total);
    let mut pipeline = candidate.load(std::slice::from_ref(&alone), &host)?;
    for (done, run) in (1..).zip(captured.runs(reference)) {
        write_run(captured, run, &mut *pipeline)?;
        pipeline.inspect(&mut |made: StageOutput<'_>| see(made.name, &made.tensor))?;
        progress(done, total);
    }
    Ok(())
}

/// Everything that a run of the stage was given.
fn write_run(captured: &ReferenceRun, run: StageRun, pipeline: &mut dyn Inference) -> Result<(), Error> {
    pipeline.prepare(captured.symbols(run.observation), 1)?;
    write_inputs(pipeline, &mut |input| Ok(captured.input(run, input)?.to_single().into_owned()))
}

/// Writes each input that the host gives a pipeline, once; `read` has them by name.
pub(super) fn write_inputs(
    pipeline: &mut dyn Inference,
    read: &mut dyn FnMut(&str) -> Result<HostTensor, Error>,
) -> Result<(), Error> {
    let inputs: BTreeSet<String> = pipeline.host_inputs().into_iter().map(|input| input.name).collect();
    for input in inputs {
        pipeline.write(&input, &read(&input)?)?;
    }
    Ok(())
}

/// One run beside the reference's, output by output.
fn compare(
    captured: &ReferenceRun,
    stage: &str,
    run: StageRun,
    pipeline: &mut dyn Inference,
    worst: &mut Worst,
) -> Result<(), Error> {
    write_run(captured, run, pipeline)?;
    let mut failed = Ok(());
    pipeline.inspect(&mut |made: StageOutput<'_>| {
        let compared = captured.output_of(run, made.name).and_then(|reference| {
            Figures::of(&made.tensor, &reference).ok_or_else(|| Error::Shape {
                stage: stage.to_owned(),
                tensor: made.name.to_owned(),
                expected: reference.dims().to_vec(),
                found: made.tensor.dims().to_vec(),
            })
        });
        match compared {
            Ok(figures) => {
                let held = worst.entry(made.name.to_owned()).or_insert(figures);
                *held = held.worse(figures);
            }
            Err(error) if failed.is_ok() => failed = Err(error),
            Err(_) => {}
        }
    })?;
    failed
}

/// A stage by its name.
pub(super) fn find<'s>(stages: &'s [Stage], name: &str, owner: impl Fn() -> String) -> Result<&'s Stage, Error> {
    stages
        .iter()
        .find(|stage| stage.name == name)
        .ok_or_else(|| Error::no_stage(name, owner(), stages.iter().map(|stage| stage.name.as_str())))
}

/// The stage with every input given and no loop, and those of its outputs that the reference has too.
fn alone(stage: &Stage, reference: &Stage, specs: &BTreeMap<String, TensorSpec>) -> Result<Stage, Error> {
    let unfit = |problem: String| Error::Unlike { stage: stage.name.clone(), problem };
    let mut alone = Stage { repeat: false, ..stage.clone() };
    for input in &mut alone.inputs {
        let known = specs.get(&input.name).ok_or_else(|| {
            unfit(format!("it reads '{}', which nothing in the reference makes or is given", input.name))
        })?;
        // What the host writes is converted; what the description does not say is as in the reference.
        (input.constants, input.dtype) = (None, None);
        input.dims.get_or_insert_with(|| known.dims.clone());
    }
    let missing: Vec<&str> = reference
        .outputs
        .iter()
        .filter(|output| alone.outputs.iter().all(|found| found.name != output.name))
        .map(|output| output.name.as_str())
        .collect();
    if missing.len() == reference.outputs.len() {
        return Err(unfit(format!("it makes none of the reference's outputs {}", missing.join(", "))));
    }
    let known = |output: &Output| reference.outputs.iter().any(|known| known.name == output.name);
    alone.outputs.retain(|output| known(output) || output.name.starts_with(INNER));
    for output in &mut alone.outputs {
        (output.feeds, output.dtype) = (None, None);
        if let (None, Some(known)) = (&output.dims, specs.get(&output.name)) {
            output.dims = Some(known.dims.clone());
        }
    }
    Ok(alone)
}

/// What the stage is offered: each input as it was recorded, floating ones in single precision.
fn offered(stage: &Stage, specs: &BTreeMap<String, TensorSpec>) -> Vec<TensorSpec> {
    let known = stage.inputs.iter().filter_map(|input| specs.get(&input.name));
    let single = |dtype: DType| if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    known.map(|spec| TensorSpec { dtype: single(spec.dtype), ..spec.clone() }).collect()
}
