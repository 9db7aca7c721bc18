//! What can go wrong while a policy is written.

use std::io;
use std::path::{Path, PathBuf};

use vla_base::tensor::DType;

/// An error of the export room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}; check that the folder exists, is writable and has space", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The folder is no checkpoint.
    #[error(
        "{} is not there; name the folder of a GR00T N1.6 checkpoint, with config.json, safetensors, processor_config.json \
         and statistics.json",
        path.display()
    )]
    NoCheckpoint {
        /// What every checkpoint has.
        path: PathBuf,
    },
    /// The folder is a checkpoint of another trainer.
    #[error(
        "{}: expected a checkpoint of NVIDIA's trainer (config.json with model_type Gr00tN1d6, safetensors, \
         processor_config.json, statistics.json), found {found}; export the folder that Isaac-GR00T's fine-tuning wrote",
        dir.display()
    )]
    NotACheckpoint {
        /// The folder.
        dir: PathBuf,
        /// What it is.
        found: String,
    },
    /// Files that stand for others.
    #[error(
        "{}: a git-lfs pointer, not the file itself: run `git lfs pull` in the folder that was cloned",
        files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    Pointers {
        /// Each of them.
        files: Vec<PathBuf>,
    },
    /// A weight is not there.
    #[error("weight `{name}` is missing from {origin}; is this a complete GR00T N1.6 checkpoint?")]
    MissingWeight {
        /// Name of the weight.
        name: String,
        /// Where it was looked for.
        origin: String,
    },
    /// A weight has another shape than the sizes in the configuration say.
    #[error("weight `{name}`: expected shape {expected}, found {found}; the sizes given do not fit this checkpoint")]
    WeightShape {
        /// Name of the weight.
        name: String,
        /// Shape that the sizes ask for.
        expected: String,
        /// Shape in the file.
        found: String,
    },
    /// A weight is stored in an element type that is not a floating-point number.
    #[error("weight `{name}`: expected f32, f16 or bf16 elements, found {found}")]
    WeightType {
        /// Name of the weight.
        name: String,
        /// Element type in the file.
        found: String,
    },
    /// An operator was applied to values that do not fit it.
    #[error("{operator} at `{scope}`: expected {expected}, found {found}")]
    Graph {
        /// ONNX operator.
        operator: &'static str,
        /// Where in the network.
        scope: String,
        /// What the operator takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// A name is used twice in one graph.
    #[error("the graph already has a value `{name}`: {found}; expected {expected}")]
    DuplicateName {
        /// The name.
        name: String,
        /// What is asked for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An initializer's bytes do not add up.
    #[error("initializer `{name}`: expected {expected} bytes, {found} were written")]
    InitializerSize {
        /// Name of the initializer.
        name: String,
        /// Bytes of its shape and type.
        expected: u64,
        /// Bytes written.
        found: u64,
    },
    /// A conversion that makes no sense for a weight.
    #[error("weight `{name}`: cannot write {from} elements as {to}; choose f32, f16 or bf16")]
    Conversion {
        /// Name of the weight.
        name: String,
        /// Element type in the source.
        from: DType,
        /// Element type asked for.
        to: DType,
    },
    /// A configuration value that this exporter does not serve.
    #[error("{file}: `{key}`: expected {expected}, found {found}")]
    Config {
        /// File or structure.
        file: String,
        /// Path of the key.
        key: String,
        /// What is served.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A safetensors file cannot be understood.
    #[error("{}: not a readable safetensors file: {source}; is the download complete?", path.display())]
    SafeTensors {
        /// File.
        path: PathBuf,
        /// The parser's reason.
        source: safetensors::SafeTensorError,
    },
    /// A safetensors file is shorter or longer than its header says.
    #[error("{}: expected {expected} bytes as its header says, found {found}; copy or download it again", path.display())]
    Truncated {
        /// File.
        path: PathBuf,
        /// Bytes that the header describes.
        expected: usize,
        /// Bytes of the file.
        found: usize,
    },
    /// Files of the weights are not there.
    #[error(
        "{}: missing of its safetensors files ({total}): {}; name the folder of a whole GR00T N1.6 checkpoint, unpacked",
        dir.display(), missing.join(", ")
    )]
    MissingShards {
        /// Checkpoint folder.
        dir: PathBuf,
        /// Files that are not there.
        missing: Vec<String>,
        /// Files that the index names.
        total: usize,
    },
    /// A configuration file is well-formed, but not one that this build serves.
    #[error("{} cannot be used:\n  {}", path.display(), problems.join("\n  "))]
    Invalid {
        /// File.
        path: PathBuf,
        /// One line each, with the key's path.
        problems: Vec<String>,
    },
    /// The checkpoint's weights are not those of a network of the configured sizes.
    #[error(
        "{}: the weights do not fit the configured sizes (config.json, --backbone-config):\n  {}",
        path.display(), problems.join("\n  ")
    )]
    Weights {
        /// Checkpoint folder.
        path: PathBuf,
        /// One line each, with the weight's name.
        problems: Vec<String>,
    },
    /// An embodiment that the checkpoint does not know.
    #[error("embodiment `{tag}`: {reason}")]
    Embodiment {
        /// Tag.
        tag: String,
        /// What was expected, what was found.
        reason: String,
    },
    /// Something asked for that cannot be done, every problem on a line.
    #[error("the export cannot be done as asked:\n  {}", problems.join("\n  "))]
    Request {
        /// One line each, with the option's name.
        problems: Vec<String>,
    },
    /// A robot's shape that no checkpoint can have.
    #[error("no checkpoint can be made for this robot:\n  {}", problems.join("\n  "))]
    Shape {
        /// One line each, with the option's name.
        problems: Vec<String>,
    },
    /// The checkpoint's processor cannot be used.
    #[error(transparent)]
    Processor(#[from] vla_policy::processor::ProcessorError),
    /// Tokenizer or image transform cannot be used.
    #[error(transparent)]
    Encode(#[from] vla_policy::encode::EncodeError),
    /// A JSON file cannot be understood.
    #[error("{}: {source}", path.display())]
    Json {
        /// File.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// A network that was written to be measured cannot be read.
    #[error("{}: expected a network written for --absmax-from: {reason}", path.display())]
    Measured {
        /// File.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer that was made does not load.
    #[error("tokenizer {}: {reason}", path.display())]
    Tokenizer {
        /// File.
        path: PathBuf,
        /// The library's reason.
        reason: String,
    },
    /// A file to write cannot be begun or put in place.
    #[error(transparent)]
    Output(#[from] vla_base::sys::fs::Error),
    /// The output folder holds something else.
    #[error("{} exists and is not {kind} (no {mark} in it); name an empty or new folder", path.display())]
    OccupiedFolder {
        /// Folder.
        path: PathBuf,
        /// What it should be.
        kind: &'static str,
        /// File that would say so.
        mark: &'static str,
    },
}

impl Error {
    /// Attaches the path to an I/O error: `.map_err(Error::io(&path))`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
