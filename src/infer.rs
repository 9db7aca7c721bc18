//! One inference on arrays: named arrays in, every named tensor out. What a checker of a policy needs.

use std::path::PathBuf;

use crate::engine::{Admission, EngineKind};
use crate::observation::JointMap;
use crate::policy::inspect::Arrays;
use crate::policy::{self, LoadOptions, Policy, PolicySpec, Progress};
use crate::tensor::HostTensor;

pub mod inputs;
mod names;
pub mod npy;
pub mod npz;

pub use inputs::Inputs;

/// Why arrays cannot be read, used or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of arrays cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// An array of the file cannot be read.
    #[error("array '{name}': {reason}")]
    Array {
        /// Its name.
        name: String,
        /// What was expected and found.
        reason: String,
    },
    /// The arrays are not what the policy takes.
    #[error("the arrays do not fit the policy:\n  {}", problems.join("\n  "))]
    Inputs {
        /// One line each, with the array's name.
        problems: Vec<String>,
    },
    /// The policy.
    #[error(transparent)]
    Policy(#[from] policy::Error),
}

impl Error {
    /// Whether the engines were refused, or failed, for want of memory.
    pub fn does_not_fit(&self) -> bool {
        matches!(self, Self::Policy(error) if error.does_not_fit())
    }
}

/// Loads a policy that is given its state as arrays: no joint has a name.
///
/// # Errors
/// As [`Policy::load`].
pub fn load(spec: PolicySpec, threads: usize, progress: &mut dyn FnMut(Progress)) -> Result<Policy, Error> {
    let elements = |(key, width): &(String, usize)| {
        JointMap::identity(key.clone(), (0..*width).map(|index| format!("{key}[{index}]")).collect())
    };
    let options = LoadOptions {
        engine: EngineKind::Onnx,
        load_order: None,
        stage_files: Default::default(),
        allow_unverified: Default::default(),
        state: spec.state.iter().map(elements).collect(),
        action: spec.action.keys.iter().map(elements).collect(),
        denoise_steps: spec.denoise.default,
        threads,
        admission: Admission::default(),
    };
    Ok(Policy::load(spec, options, progress)?)
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
    let mut naming = names::Naming::new(policy.output(), steps);
    let mut failed = None;
    let mut give = |name: &str, tensor: &HostTensor| {
        if failed.is_none() {
            failed = put(name, tensor).err();
        }
    };
    for (name, tensor) in &inputs.echoed {
        give(name, tensor);
    }
    let arrays = Arrays {
        frames: inputs.frames()?,
        state: &inputs.state,
        instruction: &inputs.instruction,
        noise: inputs.noise.as_f32().unwrap_or_default(),
    };
    policy.inspect(&arrays, steps, &mut |name, repetition, tensor| naming.name(name, repetition, tensor, &mut give))?;
    naming.finish(&mut give);
    failed.map_or(Ok(()), Err)
}
