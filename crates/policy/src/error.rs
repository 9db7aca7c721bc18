//! Errors of loading and running a policy.

use std::path::PathBuf;

use super::processor::Processor;
use super::spec::{PolicySpec, SpecError};
use super::{decode, encode, observation, processor};

/// Loading or running a policy failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle's description.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The vendor's processor files.
    #[error(transparent)]
    Processor(#[from] processor::ProcessorError),
    /// The inference pipeline.
    #[error("{0}")]
    Engine(#[from] vla_engines::Error),
    /// Image, instruction or state could not be encoded.
    #[error(transparent)]
    Encode(#[from] encode::EncodeError),
    /// The predicted actions could not be decoded.
    #[error(transparent)]
    Decode(#[from] decode::DecodeError),
    /// Networks that the bundle does not contain are missing.
    #[error("networks that are not part of this policy are missing:\n  {}", missing.join("\n  "))]
    Supplied {
        /// One line each: stage, file, description and source.
        missing: Vec<String>,
    },
    /// A file of the bundle cannot be read.
    #[error("a file of the policy cannot be read: {0}")]
    Fingerprint(#[from] super::fingerprint::FingerprintError),
    /// Files changed while they were loaded, so that the fingerprint in the chunks would be wrong.
    #[error(
        "files of the policy changed while it was loaded: {}; load it again when they are complete (on a node: \
         ~/reload)",
        files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    ChangedWhileLoading {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// policy.yaml and the processor's files contradict each other.
    #[error("policy.yaml and the processor's files contradict each other:\n  {}", problems.join("\n  "))]
    Disagree {
        /// One line each.
        problems: Vec<String>,
    },
    /// The meaning of delta actions is missing, or given for a key without them.
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
        /// The reason.
        reason: String,
    },
    /// A thread that encodes frames cannot be started.
    #[error("a thread that encodes camera frames cannot be started: {source}; set encode.threads to 1")]
    Threads {
        /// The system's error.
        source: std::io::Error,
    },
    /// Another number of frames than views.
    #[error("expected {expected} frames, one for each time of each camera, found {found}")]
    Cameras {
        /// Frames that the policy reads of its cameras.
        expected: usize,
        /// Frames of the observation.
        found: usize,
    },
    /// The joint state cannot be used.
    #[error("joint state: {0}")]
    Joints(#[from] observation::Error),
    /// A pose cannot be used.
    #[error("pose '{input}': {reason}")]
    Pose {
        /// Name of the input.
        input: String,
        /// The reason.
        reason: String,
    },
    /// An observation with another number of states than the policy takes.
    #[error(
        "the policy takes the state of {expected} times (state_history in policy.yaml), found {found} in the observation"
    )]
    StateHistory {
        /// Times of the policy.
        expected: usize,
        /// Times of the observation.
        found: usize,
    },
    /// A state key without a fitting source.
    #[error(
        "state key '{key}' has {width} values; expected as many joints in state.{key}.joints, or a pose of that width in \
         state.{key}.pose; found {found}"
    )]
    StateKey {
        /// The key.
        key: String,
        /// Its width.
        width: usize,
        /// The sources found.
        found: String,
    },
    /// An action key whose columns have no names.
    #[error("action key '{key}': expected action.{key}.joints with {width} names, found {found}")]
    ActionKey {
        /// The key.
        key: String,
        /// Its decoded width.
        width: usize,
        /// Number of names found.
        found: String,
    },
    /// The embedding table cannot be used.
    #[error("token embedding {}: {reason}", file.display())]
    Embedding {
        /// Its file.
        file: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The instruction has more tokens than the engines accept.
    #[error("the instruction has {found} tokens including the prompt, expected at most {max}; shorten the instruction")]
    InstructionTooLong {
        /// `instruction.max_tokens`.
        max: usize,
        /// Tokens found.
        found: usize,
    },
    /// A step count without constants.
    #[error("denoise.steps: expected one of the exported counts {exported:?}, found {found}")]
    Steps {
        /// Count requested.
        found: u32,
        /// Exported counts.
        exported: Vec<u32>,
    },
    /// A stage reads a tensor that encode does not make for this policy.
    #[error("a stage reads the tensor '{name}', which does not exist or needs `instruction.embedding` in policy.yaml")]
    HostTensor {
        /// The tensor.
        name: String,
    },
    /// A host tensor has another shape than the stage's input.
    #[error("tensor '{name}': the stage expects {expected}, the policy's files give {found}")]
    HostShape {
        /// The tensor.
        name: String,
        /// The stage's shape.
        expected: String,
        /// The shape of the host tensor.
        found: String,
    },
    /// A camera whose images no stage input, or more than one, reads.
    #[error(
        "camera '{camera}': expected one stage input that reads its images, `pixels` [views, 3, height, width] or \
         `pixels.{camera}` [1, 3, height, width] with a fixed height and width; found {inputs}"
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
    /// The rows that a chunk is to continue cannot be used.
    #[error("action prefix: {0}")]
    Prefix(String),
    /// No stage closes the denoising loop.
    #[error(
        "no stage has an output that feeds 'actions'; add `feeds: actions` to the output of the denoising step in policy.yaml"
    )]
    NoLoop,
    /// This build has no TensorRT.
    #[error(
        "this build has no TensorRT (engine.kind: tensorrt); set engine.kind: onnx, or build with TensorRT ({})",
        with_tensorrt(option_env!("VLA_TRT_BUILT_BY"))
    )]
    NoTensorrt,
    /// This build cannot run lists of operations on a GPU.
    #[error(
        "this build has no CUDA engines (engine.kind: cuda); set engine.kind: onnx, or build with them ({})",
        with_cuda(option_env!("VLA_TRT_BUILT_BY"))
    )]
    NoCuda,
    /// A bug in this program.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl Error {
    /// Whether every later inference fails until the policy is loaded again.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_sticky())
    }

    /// Whether every later load fails, whatever files and live parameters change.
    pub fn needs_restart(&self) -> bool {
        matches!(self, Self::NoTensorrt | Self::NoCuda)
    }

    /// Whether the engines were refused, or failed, for lack of memory.
    pub fn does_not_fit(&self) -> bool {
        matches!(self, Self::Engine(error) if error.does_not_fit())
    }
}

/// Command that builds this program with TensorRT. `built_by` is set by cmake/cargo_build.sh.in.
fn with_tensorrt(built_by: Option<&str>) -> &'static str {
    match built_by {
        Some("colcon") => "colcon build --cmake-args -DVLA_TRT_TENSORRT=ON",
        _ => "cargo build --features tensorrt",
    }
}

/// Command that builds this program with the engine kind cuda.
fn with_cuda(built_by: Option<&str>) -> &'static str {
    match built_by {
        Some("colcon") => "colcon build --cmake-args -DVLA_TRT_CUDA=ON",
        _ => "cargo build --features cuda",
    }
}

/// Compares policy.yaml with the processor's files.
pub(super) fn agree(spec: &PolicySpec, processor: &Processor) -> Result<(), Error> {
    let mut problems = Vec::new();
    let mut compare = |what: &str, yaml: String, files: String| {
        if yaml != files {
            problems.push(format!("{what}: {yaml} in policy.yaml, {files} in the processor's files"));
        }
    };
    let keys = |keys: &mut dyn Iterator<Item = (&String, usize)>| {
        keys.map(|(key, width)| format!("{key}: {width}")).collect::<Vec<_>>().join(", ")
    };
    let described = |described: &[(String, usize)]| keys(&mut described.iter().map(|(key, width)| (key, *width)));
    compare("cameras", spec.cameras.join(", "), processor.cameras.join(", "));
    compare("state", described(&spec.state), keys(&mut processor.state.iter().map(|key| (&key.name, key.width))));
    compare("video_history", format!("{:?}", spec.video_history), format!("{:?}", processor.video_deltas));
    compare("state_history", format!("{:?}", spec.state_history), format!("{:?}", processor.state_deltas));
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
        assert!(text.contains("engine.kind: onnx") && text.contains("TensorRT ("), "{text}");
        assert!(Error::NoTensorrt.needs_restart() && !Error::NoLoop.needs_restart());
    }

    #[test]
    fn a_build_without_cuda_says_how_to_build_it_with_what_built_this_one() {
        assert!(with_cuda(Some("colcon")).contains("-DVLA_TRT_CUDA=ON"));
        assert!(with_cuda(None).contains("--features cuda"));
        let text = Error::NoCuda.to_string();
        assert!(text.contains("engine.kind: onnx") && text.contains("engine.kind: cuda"), "{text}");
        assert!(Error::NoCuda.needs_restart());
    }
}
