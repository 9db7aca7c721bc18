//! What can go wrong while a policy is written.

use std::io;
use std::path::{Path, PathBuf};

use vla_base::tensor::DType;

/// Why a bundle or a checkpoint cannot be written.
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
        "{}: expected a file of a GR00T checkpoint, found none; name the folder of a GR00T checkpoint (N1.6 or N1.7), with \
         config.json, safetensors, processor_config.json and statistics.json{advice}",
        path.display()
    )]
    NoCheckpoint {
        /// A file that every checkpoint has.
        path: PathBuf,
        /// What to name instead, where it is known.
        advice: String,
    },
    /// The folder has no processor.
    #[error(
        "{}: expected the processor's file there or in processor/, found neither{advice}; copy processor_config.json, \
         statistics.json and embodiment_id.json from the training run",
        path.display()
    )]
    NoProcessor {
        /// The file that is missing.
        path: PathBuf,
        /// What is there instead.
        advice: String,
    },
    /// The folder is a checkpoint that LeRobot wrote.
    #[error(
        "{}: expected a checkpoint of NVIDIA's trainer (config.json with model_type Gr00tN1d6 or Gr00tN1d7, safetensors, \
         processor_config.json, statistics.json), found a LeRobot checkpoint (config.json has type '{kind}' and no model_type) \
         with the network of {network}; {advice}",
        dir.display()
    )]
    LeRobot {
        /// The folder.
        dir: PathBuf,
        /// LeRobot's name of the policy.
        kind: String,
        /// Which network that is.
        network: String,
        /// The way to a checkpoint that can be exported.
        advice: String,
    },
    /// Pointers of git-lfs in place of the files.
    #[error(
        "{}: a git-lfs pointer in place of the file; run `git lfs pull` in the cloned folder",
        files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    Pointers {
        /// Each of them.
        files: Vec<PathBuf>,
    },
    /// The folder is a LoRA adapter in place of a checkpoint.
    #[error(
        "{}: expected a checkpoint, found a LoRA adapter (adapter_config.json{}); run vla-trt export --checkpoint {} --lora {}",
        dir.display(),
        base.as_ref().map(|base| format!(", of the base '{base}'")).unwrap_or_default(),
        base.as_deref().unwrap_or("BASE"),
        dir.display()
    )]
    AdapterAsCheckpoint {
        /// The folder.
        dir: PathBuf,
        /// The base that the adapter names.
        base: Option<String>,
    },
    /// The folder is no LoRA adapter of PEFT.
    #[error(
        "--lora {}: expected a LoRA adapter that PEFT saved (adapter_config.json and adapter_model.safetensors), found no {file}",
        dir.display()
    )]
    NoAdapter {
        /// The folder.
        dir: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// The adapter does not fit the checkpoint.
    #[error("{}: the LoRA adapter cannot be merged into this checkpoint:\n  {}", path.display(), problems.join("\n  "))]
    Adapter {
        /// The adapter's weights.
        path: PathBuf,
        /// One line each, with the tensor's name.
        problems: Vec<String>,
    },
    /// The checkpoint holds LoRA weights beside those of its base.
    #[error(
        "{}: expected merged weights, found {count} LoRA weights, such as `{name}`; merge them (PEFT: merge_and_unload) \
         and save the checkpoint again, or save the adapter by itself and name it with --lora",
        path.display()
    )]
    Unmerged {
        /// The checkpoint.
        path: PathBuf,
        /// One of them.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// Files have another content than expected.
    #[error("the files are not those that --expect-sha256 names:\n  {}", problems.join("\n  "))]
    Content {
        /// One line each, with the file.
        problems: Vec<String>,
    },
    /// The weights are those of another release than the configuration's.
    #[error(
        "{}: expected the weights of {expected} (config.json's model_type), found those of {found}; name the config.json that was saved \
         with them (model_type {model_type})",
        path.display()
    )]
    Family {
        /// The checkpoint.
        path: PathBuf,
        /// The configuration's release.
        expected: &'static str,
        /// The weights' release.
        found: &'static str,
        /// `model_type` of that release.
        model_type: &'static str,
    },
    /// A weight is missing.
    #[error("weight `{name}`: expected in {origin}, found none; name a complete GR00T checkpoint")]
    MissingWeight {
        /// Name of the weight.
        name: String,
        /// Where it was looked for.
        origin: String,
    },
    /// A weight has another shape than the configured sizes.
    #[error(
        "weight `{name}`: expected shape {expected}, found {found}; name the checkpoint whose config.json has these sizes"
    )]
    WeightShape {
        /// Name of the weight.
        name: String,
        /// Shape that the sizes ask for.
        expected: String,
        /// Shape in the file.
        found: String,
    },
    /// A weight is stored in an element type that is not a floating-point number.
    #[error("weight `{name}`: expected f32, f16 or bf16 elements, found {found}; export an unquantised checkpoint")]
    WeightType {
        /// Name of the weight.
        name: String,
        /// Element type in the file.
        found: String,
    },
    /// A weight has an element that is no number.
    #[error(
        "weight `{name}` of {origin}: expected finite numbers, found {found} at {at:?} ({count} such elements); download \
         the checkpoint again, or export one from before its training diverged"
    )]
    NotFinite {
        /// Name of the weight.
        name: String,
        /// Where it is from.
        origin: String,
        /// Indices of the first such element.
        at: Vec<usize>,
        /// Its value.
        found: f32,
        /// Number of such elements.
        count: usize,
    },
    /// An element of a weight is outside the range of the export's type.
    #[error(
        "weight `{name}`: expected at most 65504 for fp16, found {found} at {at:?}; add --dtype-of {stage}=fp32 (or bf16)"
    )]
    Overflow {
        /// Name of the weight.
        name: String,
        /// Indices of the first such element.
        at: Vec<usize>,
        /// Its value.
        found: f32,
        /// The stage that holds the weight.
        stage: String,
    },
    /// An operator was applied to values that do not fit it.
    #[error("{operator} at `{scope}`: expected {expected}, found {found}")]
    Graph {
        /// ONNX operator.
        operator: &'static str,
        /// Where in the network.
        scope: String,
        /// The operator's requirement.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// The list of operations of a stage cannot be written.
    #[error("stage `{stage}`: its network has no list of fused operations: {reason}; report it")]
    Operations {
        /// The stage.
        stage: String,
        /// What no operation expresses, or what is wrong with the list.
        reason: String,
    },
    /// A name is used twice in one graph.
    #[error("value `{name}` of the graph: expected {expected}, found another value of this name: {found}")]
    DuplicateName {
        /// The name.
        name: String,
        /// The new value.
        expected: String,
        /// The value of this name.
        found: String,
    },
    /// An initializer has another number of bytes than its shape and type.
    #[error("initializer `{name}`: expected {expected} bytes, found {found}")]
    InitializerSize {
        /// Name of the initializer.
        name: String,
        /// Bytes of its shape and type.
        expected: u64,
        /// Bytes written.
        found: u64,
    },
    /// A weight cannot be converted to this type.
    #[error("weight `{name}`: {from} elements cannot be written as {to}; choose f32, f16 or bf16")]
    Conversion {
        /// Name of the weight.
        name: String,
        /// Element type in the source.
        from: DType,
        /// Element type asked for.
        to: DType,
    },
    /// A configuration value that this exporter does not support.
    #[error("{file}: `{key}`: expected {expected}, found {found}")]
    Config {
        /// File or structure.
        file: String,
        /// Path of the key.
        key: String,
        /// Supported values.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// A safetensors file cannot be parsed.
    #[error("{}: expected a safetensors file, found: {source}; copy or download it again", path.display())]
    SafeTensors {
        /// File.
        path: PathBuf,
        /// The parser's reason.
        source: safetensors::SafeTensorError,
    },
    /// A safetensors file has another size than its header describes.
    #[error("{}: expected {expected} bytes by its header, found {found}; copy or download it again", path.display())]
    Truncated {
        /// File.
        path: PathBuf,
        /// Bytes that the header describes.
        expected: usize,
        /// Bytes of the file.
        found: usize,
    },
    /// Files of the weights are missing.
    #[error(
        "{}: {} of {total} safetensors files are missing: {}; name the folder of a complete, unpacked GR00T checkpoint",
        dir.display(), missing.len(), missing.join(", ")
    )]
    MissingShards {
        /// Checkpoint folder.
        dir: PathBuf,
        /// The missing files.
        missing: Vec<String>,
        /// Files that the index names.
        total: usize,
    },
    /// Files of the weights are missing, and a download of them has not ended.
    #[error(
        "{}: {} of {total} safetensors files are missing: {}; a download was not finished ({}): run it again, such as \
         `hf download` with the same folder",
        dir.display(), missing.len(), missing.join(", "),
        unfinished.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    Unfinished {
        /// Checkpoint folder.
        dir: PathBuf,
        /// The missing files.
        missing: Vec<String>,
        /// Files that the index names.
        total: usize,
        /// What the download left.
        unfinished: Vec<PathBuf>,
    },
    /// A configuration file is well-formed, but its values are not supported.
    #[error("{} cannot be used:\n  {}", path.display(), problems.join("\n  "))]
    Invalid {
        /// File.
        path: PathBuf,
        /// One line each, with the key's path.
        problems: Vec<String>,
    },
    /// The checkpoint's weights do not fit the configured sizes.
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
    /// The checkpoint has no such embodiment.
    #[error("embodiment `{tag}`: {reason}")]
    Embodiment {
        /// Tag.
        tag: String,
        /// What was expected, what was found.
        reason: String,
    },
    /// Options that cannot be combined or do not fit the checkpoint.
    #[error("these options of the export cannot be used:\n  {}", problems.join("\n  "))]
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
    /// A JSON file cannot be parsed.
    #[error("{}: {source}", path.display())]
    Json {
        /// File.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// A network for the measurement of activation ranges cannot be read.
    #[error("{}: expected a network that --absmax-from wrote, {reason}; run the export again", path.display())]
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
    /// An output file cannot be created or moved into place.
    #[error(transparent)]
    Output(#[from] vla_base::sys::fs::Error),
    /// The output folder contains other files.
    #[error("{}: expected a new or empty folder, or {kind} (with {mark} in it), found other files; name another folder", path.display())]
    OccupiedFolder {
        /// Folder.
        path: PathBuf,
        /// The expected kind of folder.
        kind: &'static str,
        /// The file that marks this kind.
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
