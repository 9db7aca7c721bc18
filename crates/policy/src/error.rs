//! What can be wrong with a policy or one of its inferences.

use std::path::PathBuf;

use super::processor::Processor;
use super::spec::{PolicySpec, SpecError};
use super::{decode, encode, processor};
use vla_engines as engine;

/// Loading or running a policy failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle's description.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The vendor's processor files.
    #[error(transparent)]
    Processor(#[from] processor::ProcessorError),
    /// Loading or running the engines.
    #[error("{0}")]
    Engine(#[from] engine::Error),
    /// Image, instruction or state could not be encoded.
    #[error(transparent)]
    Encode(#[from] encode::EncodeError),
    /// The predicted actions could not be decoded.
    #[error(transparent)]
    Decode(#[from] decode::DecodeError),
    /// Networks that the policy does not bring are not there.
    #[error("networks that this policy does not bring are missing:\n  {}", missing.join("\n  "))]
    Supplied {
        /// One line each: the stage, the file, what it is and where it comes from.
        missing: Vec<String>,
    },
    /// A file of the bundle cannot be read.
    #[error("a file of the policy cannot be read: {0}")]
    Fingerprint(#[from] super::fingerprint::FingerprintError),
    /// The policy would run with another fingerprint than its chunks carry.
    #[error(
        "files of the policy were written while it was loaded: {}; load it again when the copy is complete (the node: \
         ~/reload)",
        files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    ChangedWhileLoading {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// policy.yaml and the processor's files contradict each other.
    #[error("policy.yaml and the processor's files disagree:\n  {}", problems.join("\n  "))]
    Disagree {
        /// One line each.
        problems: Vec<String>,
    },
    /// Nothing says what deltas of the actions are, or it is said of others.
    #[error("the policy's actions cannot be used:\n  {}", problems.join("\n  "))]
    Deltas {
        /// One line each.
        problems: Vec<String>,
    },
    /// A frame cannot be used.
    #[error("camera '{camera}': {reason}")]
    Camera {
        /// The camera.
        camera: String,
        /// What is wrong.
        reason: String,
    },
    /// Another number of frames than views.
    #[error("expected one frame of each of {expected} cameras, found {found}")]
    Cameras {
        /// Views of the policy.
        expected: usize,
        /// Frames of the observation.
        found: usize,
    },
    /// The joint state cannot be used.
    #[error("joint state: {0}")]
    Joints(String),
    /// A pose cannot be used.
    #[error("pose '{input}': {reason}")]
    Pose {
        /// Name of the input.
        input: String,
        /// What is wrong.
        reason: String,
    },
    /// A state key that nothing fits.
    #[error(
        "state key '{key}' has {width} values; expected state.{key}.joints with as many, or a pose of that width in \
         state.{key}.pose, found {found}"
    )]
    StateKey {
        /// The key.
        key: String,
        /// Its width.
        width: usize,
        /// What was given.
        found: String,
    },
    /// An action key whose columns have no names.
    #[error("action key '{key}': expected action.{key}.joints with {width} names, found {found}")]
    ActionKey {
        /// The key.
        key: String,
        /// Its decoded width.
        width: usize,
        /// How many were given.
        found: String,
    },
    /// The embedding table cannot be used.
    #[error("token embedding {}: {reason}", file.display())]
    Embedding {
        /// Its file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More text than the engines take.
    #[error(
        "the instruction needs {found} tokens with the prompt around it, the policy takes at most {max}; shorten it"
    )]
    InstructionTooLong {
        /// `instruction.max_tokens`.
        max: usize,
        /// Tokens found.
        found: usize,
    },
    /// A step count without constants.
    #[error("denoise.steps: {found} was not exported; this policy has {exported:?}")]
    Steps {
        /// Wanted.
        found: u32,
        /// Available.
        exported: Vec<u32>,
    },
    /// A stage reads a tensor that encode does not make for this policy.
    #[error("a stage reads '{name}', which needs `instruction.embedding` in policy.yaml or does not exist")]
    HostTensor {
        /// The tensor.
        name: String,
    },
    /// A host tensor does not have the shape that a stage wants.
    #[error("tensor '{name}': the stage wants {expected}, the policy's files make {found}")]
    HostShape {
        /// The tensor.
        name: String,
        /// Wanted.
        expected: String,
        /// Made.
        found: String,
    },
    /// A camera's images go nowhere, or to two places.
    #[error(
        "camera '{camera}': expected one stage input that takes its images, `pixels` [views, 3, height, width] or \
         `pixels.{camera}` [1, 3, height, width], height and width being numbers; found {inputs}"
    )]
    NoPixels {
        /// The camera.
        camera: String,
        /// Inputs found.
        inputs: usize,
    },
    /// Initial actions of another size.
    #[error("noise: expected {expected} values (horizon times dims of policy.yaml), found {found}")]
    Noise {
        /// Values of the action tensor.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The rows that a chunk is to begin with cannot be used.
    #[error("guide: {0}")]
    Guide(String),
    /// No stage closes the denoising loop.
    #[error("no stage has an output that feeds 'actions': add `feeds: actions` to the step's output in policy.yaml")]
    NoLoop,
    /// This build has no TensorRT.
    #[error(
        "engine.kind: tensorrt is not part of this build; start with engine.kind: onnx, or build with TensorRT ({})",
        with_tensorrt(option_env!("VLA_TRT_BUILT_BY"))
    )]
    NoTensorrt,
    /// A bug of ours.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl Error {
    /// Whether every later inference fails too until the policy is loaded again.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_sticky())
    }

    /// Whether every later load fails too, whatever files and live parameters become meanwhile.
    pub fn needs_restart(&self) -> bool {
        matches!(self, Self::NoTensorrt)
    }

    /// Whether the engines were refused, or failed, for want of memory.
    pub fn does_not_fit(&self) -> bool {
        matches!(self, Self::Engine(error) if error.does_not_fit())
    }
}

/// How to build this program with TensorRT, by what built it (cmake/cargo_build.sh.in says so).
fn with_tensorrt(built_by: Option<&str>) -> &'static str {
    match built_by {
        Some("colcon") => "colcon build --cmake-args -DVLA_TRT_TENSORRT=ON",
        _ => "cargo build --features tensorrt",
    }
}

/// Compares what both descriptions say.
pub(super) fn agree(spec: &PolicySpec, processor: &Processor) -> Result<(), Error> {
    let mut problems = Vec::new();
    let mut compare = |what: &str, yaml: String, files: String| {
        if yaml != files {
            problems.push(format!("{what}: policy.yaml says {yaml}, the processor says {files}"));
        }
    };
    let keys = |keys: &mut dyn Iterator<Item = (&String, usize)>| {
        keys.map(|(key, width)| format!("{key}: {width}")).collect::<Vec<_>>().join(", ")
    };
    let described = |described: &[(String, usize)]| keys(&mut described.iter().map(|(key, width)| (key, *width)));
    compare("cameras", spec.cameras.join(", "), processor.cameras.join(", "));
    compare("state", described(&spec.state), keys(&mut processor.state.iter().map(|key| (&key.name, key.width))));
    let action = keys(&mut processor.action.iter().map(|key| (&key.name, key.decoded_width())));
    compare("action.keys", described(&spec.action.keys), action);
    compare("action.rows", spec.action.rows.to_string(), processor.rows().to_string());
    compare("action.dims", spec.action.dims.to_string(), processor.max_action_dim.to_string());
    if problems.is_empty() { Ok(()) } else { Err(Error::Disagree { problems }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_tensorrt_says_how_to_build_it_with_what_built_this_one() {
        assert!(with_tensorrt(Some("colcon")).contains("-DVLA_TRT_TENSORRT=ON"));
        assert!(with_tensorrt(None).contains("--features tensorrt"));
        let text = Error::NoTensorrt.to_string();
        assert!(text.contains("engine.kind: onnx") && text.contains("build with TensorRT ("), "{text}");
        assert!(Error::NoTensorrt.needs_restart() && !Error::NoLoop.needs_restart());
    }
}
