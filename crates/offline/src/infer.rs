//! One inference on arrays: named arrays in, every named tensor out. What a checker of a policy needs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Error;
use vla_base::tensor::HostTensor;
use vla_engines::{Admission, EngineKind, Launch};
use vla_policy::observation::JointMap;
use vla_policy::trace::ArrayInputs;
use vla_policy::{EncodeDevice, LoadOptions, Policy, PolicySpec, Progress};

mod dataset;
pub mod inputs;
mod names;

pub use dataset::{Moment, arrays};
pub use inputs::Inputs;

/// Loads a policy that is given its state as arrays: no joint has a name.
///
/// # Errors
/// As [`Policy::load`].
pub fn load(spec: PolicySpec, threads: usize, progress: &mut dyn FnMut(Progress)) -> Result<Policy, Error> {
    load_with(spec, BTreeMap::new(), threads, progress)
}

/// Like [`load`], with networks that replace those of the bundle, by stage.
///
/// # Errors
/// As [`load`], and [`Error::Stage`] for a stage that the policy does not have.
pub fn load_with(
    spec: PolicySpec,
    stage_files: BTreeMap<String, PathBuf>,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Policy, Error> {
    let stages = spec.stage_names();
    if let Some(stage) = stage_files.keys().find(|stage| !stages.contains(stage)) {
        return Err(Error::no_stage(stage, "the policy".to_owned(), stages.iter().map(String::as_str)));
    }
    let options = LoadOptions { stage_files, threads, ..load_options(&spec) };
    Ok(vla_runtime::devices::load_policy(spec, options, progress)?)
}

/// Options of a policy that is given arrays: each value of a state or action key is named by its key and number, no view is
/// blank, and nothing is read from poses. ONNX Runtime, one thread.
pub fn load_options(spec: &PolicySpec) -> LoadOptions {
    let elements = |(key, width): &(String, usize)| {
        JointMap::identity(key.clone(), (0..*width).map(|index| format!("{key}[{index}]")).collect())
    };
    LoadOptions {
        engine: EngineKind::Onnx,
        load_order: None,
        stage_files: BTreeMap::new(),
        allow_unverified: Default::default(),
        allow_inaccurate: Default::default(),
        blank_views: Vec::new(),
        state: spec.state.iter().map(elements).collect(),
        poses: Vec::new(),
        action: spec.action.keys.iter().map(elements).collect(),
        columns: Default::default(),
        deltas: BTreeMap::new(),
        denoise_steps: spec.denoise.default,
        threads: 1,
        integer_kernels: false,
        encode_threads: 1,
        encode_device: EncodeDevice::Cpu,
        launch: Launch::Graph,
        release_host_copy: true,
        admission: Admission::default(),
    }
}

/// Runs `policy` on `inputs` and gives every tensor with its name to `put`: the inputs of the networks, the outputs of
/// every stage, `step<i>.` before those of a denoising step, and the decoded actions.
///
/// # Errors
/// As [`Policy::infer`], and the first that `put` returns.
pub fn run(
    policy: &mut Policy,
    inputs: &Inputs,
    put: &mut dyn FnMut(&str, &HostTensor) -> Result<(), Error>,
) -> Result<(), Error> {
    let steps = inputs.steps.unwrap_or(policy.spec().denoise.default);
    let mut naming = names::Naming::new(policy.output(), policy.family(), steps);
    let mut failed = None;
    let mut give = |name: &str, tensor: &HostTensor| {
        if failed.is_none() {
            failed = put(name, tensor).err();
        }
    };
    for (name, tensor) in &inputs.echoed {
        give(name, tensor);
    }
    let arrays = ArrayInputs {
        frames: inputs.frames()?,
        state: &inputs.state,
        instruction: &inputs.instruction,
        noise: inputs.noise.as_f32().unwrap_or_default(),
    };
    policy.trace(&arrays, steps, &mut |name, repetition, tensor| naming.name(name, repetition, tensor, &mut give))?;
    naming.finish(&mut give);
    failed.map_or(Ok(()), Err)
}
