use std::io;
use std::path::{Path, PathBuf};

use vla_base::tensor::{DType, display_dims};
use vla_engines::provenance::Provenance;

/// Why a policy cannot run on recorded data, or its output cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading a bag.
    #[error(transparent)]
    Bag(#[from] vla_bags::Error),
    /// Writing one.
    #[error(transparent)]
    Output(#[from] vla_recorder::Error),
    /// Reading a data set.
    #[error(transparent)]
    Dataset(#[from] vla_datasets::Error),
    /// Keys of a policy that are not made of joints, where a data set needs numbers.
    #[error(
        "{}: expected keys of joints, found others; a data set is written of joints only: name them in state.<key>.joints and \
         action.<key>.joints", keys.join(", ")
    )]
    NoJoints {
        /// The keys.
        keys: Vec<String>,
    },
    /// A frame that cannot be decoded.
    #[error("camera '{camera}': {source}")]
    CameraFrame {
        /// The camera.
        camera: String,
        /// What is wrong with the message.
        source: vla_messages::Error,
    },
    /// Two state keys give one joint different positions.
    #[error(
        "joint '{joint}': expected the same position in all state keys that name it, found {first} and {second} in row {row} of the \
         data set; give the keys joints of different names in the parameters"
    )]
    SharedJoint {
        /// The joint.
        joint: String,
        /// Row of the episode.
        row: usize,
        /// Its position by one key, in rad or m.
        first: f64,
        /// By another.
        second: f64,
    },
    /// The bag lacks topics that the policy reads.
    #[error("{}:\n  {}", bag.display(), problems.join("\n  "))]
    Topics {
        /// The bag.
        bag: PathBuf,
        /// One line for each missing topic, and one with the topics of the bag.
        problems: Vec<String>,
    },
    /// Header stamps and log times are of two clocks, and none of them is chosen.
    #[error(
        "{}: expected header stamps and log times of one clock, found two clocks:\n  {}\n{}--clock header replays on the header \
         stamps, --clock log on the log times; choose one",
        bag.display(), inputs.join("\n  "),
        simulated.as_ref().map(|topic| format!("The bag has {topic}, as simulators publish it. ")).unwrap_or_default()
    )]
    TwoClocks {
        /// The bag.
        bag: PathBuf,
        /// Each input whose stamps are not of the log's clock, with one stamp and its log time.
        inputs: Vec<String>,
        /// The topic with a simulator's time.
        simulated: Option<String>,
    },
    /// Header stamps give no time.
    #[error("{}: --clock header: expected header stamps of one clock in every input, but {reason}; choose --clock log", bag.display())]
    HeaderClock {
        /// The bag.
        bag: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// A message of the golden bag.
    #[error("golden bag {}: {source}", file.display())]
    Golden {
        /// The bag.
        file: PathBuf,
        /// What is wrong with the message.
        source: vla_messages::Error,
    },
    /// The bag was read to its end and gave no observation that the policy can run on.
    #[error(
        "{}: expected observations that the policy can run on, found none{}; record every input topic, and set topics, \
         joints, inputs.*.max_age_ms and inputs.max_skew_ms in the parameters as the bag has them, and the instruction \
         where the bag has none",
        bag.display(), reasons.iter().map(|reason| format!("\n  {reason}")).collect::<String>()
    )]
    NoObservation {
        /// The bag.
        bag: PathBuf,
        /// What was wrong with the first ones.
        reasons: Vec<String>,
    },
    /// The recording lacks actions to compare predictions with.
    #[error("{}: {reason}", recording.display())]
    RecordedActions {
        /// The recording.
        recording: PathBuf,
        /// What was expected and found, and what to do.
        reason: String,
    },
    /// The recording was read to its end and has no action for any predicted row.
    #[error(
        "{}: expected recorded actions at the due times of the predicted rows, found none; the recording must go on after an \
         observation",
        recording.display()
    )]
    NothingRecorded {
        /// The recording.
        recording: PathBuf,
    },
    /// Two policies do not run on the same observations, or predict other columns.
    #[error("the policies cannot be compared: expected the same {what}, found {first} and {second}")]
    NotComparable {
        /// What differs.
        what: &'static str,
        /// Of the first policy.
        first: String,
        /// Of the second policy.
        second: String,
    },
    /// More rows of a chunk are to be used than it has.
    #[error("--stride: expected 1 to {rows} rows of a chunk that are used before the next inference, found {stride}")]
    Stride {
        /// The rows asked for.
        stride: usize,
        /// Rows of a chunk.
        rows: usize,
    },
    /// An inference that was to be measured gave no chunk.
    #[error("the policy gave no chunk: {0}")]
    Refused(String),

    /// Writing a file.
    #[error(transparent)]
    Write(#[from] vla_base::sys::fs::Error),
    /// Networks that are quantised.
    #[error(transparent)]
    Quantize(#[from] vla_quantize::Error),
    /// Scales of so few observations are those of these alone.
    #[error(
        "{}: expected at least {expected} observations to calibrate on, found {found}; use a longer recording or a larger \
         --observations, or look with `vla-trt replay` at why the policy could not run on the others", recording.display()
    )]
    TooFewObservations {
        /// The recording.
        recording: PathBuf,
        /// Fewest observations.
        expected: usize,
        /// Observations that the policy could run on.
        found: usize,
    },
    /// Recorded inputs of stages.
    #[error("--calib-data {0}")]
    Samples(#[from] vla_builder::calibration::Error),
    /// Fewer bytes than the policy takes with every product quantised that can be.
    #[error(
        "--bytes: expected at least {:.2} MiB for the weights of all products, found {:.2} MiB; what cannot be quantised is named by \
         a run without --bytes", *found as f64 / 1_048_576.0, *expected as f64 / 1_048_576.0
    )]
    TooFewBytes {
        /// The bytes asked for.
        expected: u64,
        /// Fewest bytes that can be had.
        found: u64,
    },
    /// A file that is no plan of a quantisation.
    #[error("{}: expected a quantization.json of this version, {reason}; quantise the policy anew", file.display())]
    NoPlan {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A network that is quantised already.
    #[error(
        "stage '{stage}': expected a floating network, found QuantizeLinear and DequantizeLinear in {}; quantise the policy that it was made \
         from", file.display()
    )]
    Quantized {
        /// The stage.
        stage: String,
        /// Its network.
        file: PathBuf,
    },
    /// A stage's network that is not there.
    #[error("stage '{stage}': expected its network {}, found no file; copy it there with its weight files, or leave it out (--stages)", file.display())]
    NoNetwork {
        /// The stage.
        stage: String,
        /// Where the bundle has it.
        file: PathBuf,
    },
    /// A precision that could not be set in policy.yaml.
    #[error(
        "{}: stage '{stage}': expected a precision that can be set to {expected}, found {found} after it; write each key of a stage on a line of \
         its own", file.display()
    )]
    Description {
        /// policy.yaml.
        file: PathBuf,
        /// The stage.
        stage: String,
        /// The new precision.
        expected: String,
        /// What it still says.
        found: String,
    },
    /// A quantisation of another policy.
    #[error(
        "--plan: expected the quantisation of the policy {expected}, found that of {found}; quantise this policy anew (--bag or \
         --dataset)"
    )]
    OtherPolicy {
        /// Fingerprint of the policy.
        expected: String,
        /// Fingerprint in the plan.
        found: String,
    },
    /// A network that does not lie in the bundle's folder, where a new bundle is to have it.
    #[error("{}: expected a file inside the policy's folder {}; copy it there", file.display(), bundle.display())]
    OutsideBundle {
        /// The file.
        file: PathBuf,
        /// The folder.
        bundle: PathBuf,
    },
    /// The policy's description, encoding or decoding.
    #[error(transparent)]
    Policy(#[from] vla_policy::Error),
    /// Joints of the actions.
    #[error(transparent)]
    Joints(#[from] vla_policy::observation::Error),
    /// Loading or running a stage.
    #[error("{0}")]
    Engine(#[from] vla_engines::Error),
    /// Reading a network, or writing it with more outputs.
    #[error(transparent)]
    Onnx(#[from] vla_engines::onnx::Error),
    /// The description of a network that was exported for the measurement of activation ranges.
    #[error(transparent)]
    Export(#[from] vla_export::Error),
    /// An engine's record.
    #[error(transparent)]
    Provenance(#[from] vla_engines::provenance::Error),
    /// The engine has no record.
    #[error(
        "{}: expected the record {} to write the verdict into, found none; build or adopt the engine",
        engine.display(),
        Provenance::path(engine).display()
    )]
    NoRecord {
        /// The engine.
        engine: PathBuf,
    },
    /// A stage name that a policy or candidate does not have.
    #[error("no stage '{stage}' in {owner}; its stages are {stages}")]
    Stage {
        /// The name.
        stage: String,
        /// The policy or candidate.
        owner: String,
        /// Its stages.
        stages: String,
    },
    /// Files of the candidate are missing.
    #[error("engines or networks are missing:\n  {}", missing.join("\n  "))]
    Missing {
        /// One line each: the stage, the file, what to do.
        missing: Vec<String>,
    },
    /// The candidate's stage differs from the reference's.
    #[error(
        "stage '{stage}' of the candidate is not the one of the policy: {problem}; compare exports of one checkpoint"
    )]
    Unlike {
        /// The stage.
        stage: String,
        /// The difference.
        problem: String,
    },
    /// A tensor of the candidate has another size.
    #[error(
        "stage '{stage}', tensor '{tensor}': expected as many elements as {}, found {}; compare exports of one checkpoint",
        display_dims(expected),
        display_dims(found)
    )]
    Shape {
        /// The stage.
        stage: String,
        /// The tensor.
        tensor: String,
        /// Dimensions of the reference's.
        expected: Vec<usize>,
        /// Dimensions of the candidate's.
        found: Vec<usize>,
    },
    /// A recorded tensor cannot be converted to the network's type.
    #[error("stage '{stage}', input '{tensor}': expected {expected}, found {found}; export the policy again")]
    Type {
        /// The stage.
        stage: String,
        /// The network's own name of the tensor.
        tensor: String,
        /// The network's type.
        expected: DType,
        /// The recorded type.
        found: DType,
    },
    /// A network put out another number of maxima than its description has.
    #[error("stage '{stage}': expected {expected} maxima, found {found}; export it again")]
    Maxima {
        /// The stage.
        stage: String,
        /// Tensors in the description.
        expected: usize,
        /// Maxima of the run.
        found: usize,
    },
    /// This build has no TensorRT.
    #[error(
        "this build has no TensorRT, so it cannot load engines; build with the feature `tensorrt`, or give --engine-kind onnx \
         --candidate POLICY to compare another export"
    )]
    NoTensorrt,

    /// This build cannot run lists of operations on a GPU.
    #[error(
        "this build has no CUDA engines, so it cannot run lists of operations; build with the feature `cuda`, or give --engine-kind \
         onnx --candidate POLICY to compare another export"
    )]
    NoCuda,

    /// This build writes no files for Rerun.
    #[error(
        "--rerun: expected a build with the feature `rerun`, found one without it; build the tool with it: cargo build --release -p \
         vla-trt --features rerun"
    )]
    NoRerun,
    /// A file for Rerun cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Rerun {
        /// The file.
        path: PathBuf,
        /// What the encoder or the system says.
        reason: String,
    },

    /// A file of arrays.
    #[error(transparent)]
    Npz(#[from] vla_npz::Error),
    /// An array cannot be used.
    #[error("array '{name}': {reason}")]
    Array {
        /// Its name.
        name: String,
        /// What was expected and found.
        reason: String,
    },
    /// The arrays do not fit the policy.
    #[error("the arrays do not fit the policy:\n  {}", problems.join("\n  "))]
    Arrays {
        /// One line each, with the array's name.
        problems: Vec<String>,
    },
    /// A file in the scratch folder, or a bag that is hashed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A defect of this program.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// The error of a stage name that is not among `stages` of `owner`.
    pub(crate) fn no_stage<'s>(stage: &str, owner: String, stages: impl IntoIterator<Item = &'s str>) -> Self {
        let stages = stages.into_iter().collect::<Vec<_>>().join(", ");
        Self::Stage { stage: stage.to_owned(), owner, stages }
    }

    /// Whether a stage does not fit into the memory that it may use.
    pub fn does_not_fit(&self) -> bool {
        match self {
            Self::Engine(error) => error.does_not_fit(),
            Self::Policy(error) => error.does_not_fit(),
            _ => false,
        }
    }

    /// Whether the bag was read to its end and the policy gave nothing.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::NoObservation { .. } | Self::NothingRecorded { .. } | Self::Refused(_))
    }
}
