//! Runs a policy on many observations with one stage loaded at a time.

use super::{Error, Progress};
use crate::recorded::Observation;
use vla_base::tensor::TensorSpec;
use vla_engines::onnx_runtime::Onnx;
use vla_engines::{Admission, Inference as _, Pipeline, Stage, StageOutput};
use vla_export::onnx::absmax::OUTPUT;
use vla_policy::PolicySpec;

/// Given a stage's name and the maxima of one of its runs.
type Take<'t> = &'t mut dyn FnMut(&str, &[f32]) -> Result<(), Error>;

/// Runs every stage on every observation; `take` is given the maxima of a stage each time that it ran. `host`: what the
/// host offers. The repeated stages run together.
pub fn run(
    spec: &PolicySpec,
    threads: usize,
    host: Vec<TensorSpec>,
    mut observations: Vec<Observation>,
    progress: &mut dyn FnMut(Progress),
    take: Take<'_>,
) -> Result<(), Error> {
    let stages: Vec<Stage> = spec.stages.clone();
    let mut offered = host;
    let mut behind = 0;
    for group in stages.chunk_by(|a, b| a.repeat && b.repeat) {
        behind += group.len();
        let ahead = &stages[behind..];
        let read_ahead = |name: &str| ahead.iter().any(|stage| stage.inputs.iter().any(|input| input.name == name));
        let (name, total) = (group.first().map(|stage| stage.name.clone()).unwrap_or_default(), observations.len());
        let mut say = |done| progress(Progress::Stage { stage: name.clone(), done, total });
        say(0);
        let device = Onnx::new(threads)?.without_prepacking();
        let mut pipeline = Pipeline::load(device, group, None, &offered, Admission::default(), &mut |_| {})?;
        for (done, observation) in (1..).zip(&mut observations) {
            pipeline.prepare(&observation.symbols, observation.steps)?;
            for input in pipeline.host_inputs() {
                if let Some(tensor) = observation.tensors.get(&input.name) {
                    pipeline.write(&input.name, tensor)?;
                }
            }
            let mut refused = Ok(());
            pipeline.inspect(&mut |made: StageOutput<'_>| {
                if let (Some(stage), Some(maxima)) = (made.name.strip_prefix(OUTPUT), made.tensor.as_f32()) {
                    if refused.is_ok() {
                        refused = take(stage, maxima);
                    }
                } else if read_ahead(made.name) {
                    observation.tensors.insert(made.name.to_owned(), made.tensor);
                }
            })?;
            refused?;
            observation.tensors.retain(|name, _| read_ahead(name));
            say(done);
        }
        let made = group.iter().flat_map(|stage| &stage.outputs).filter_map(|output| pipeline.tensor(&output.name));
        offered.extend(made.cloned());
    }
    Ok(())
}
