//! `policy.yaml`: written by hand rather than by a serializer, so that people find comments in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::Error;
use super::layout::{ExportedStage, InputSource};
use vla_base::tensor::{DType, TensorSpec, display_dims};
use vla_policy::fingerprint;
use vla_policy::processor::DeltaRows;

/// Name of the description inside a bundle.
pub(crate) const POLICY_YAML: &str = "policy.yaml";

/// What a bundle is, beside its stages. File names are relative to the bundle.
pub(crate) struct Description<'a> {
    /// Comment at the top, one line.
    pub about: &'a str,
    /// Fingerprint of the merged LoRA adapter.
    pub merged: Option<&'a str>,
    /// The weights are random.
    pub random_weights: bool,
    /// Name of the policy.
    pub name: &'a str,
    /// Cameras in view order.
    pub cameras: &'a [&'a str],
    /// Cameras among them whose frames may be black.
    pub blank_views: &'a [String],
    /// Frames of each camera, in control steps relative to the newest.
    pub video_history: &'a [i64],
    /// State keys and widths, in model order.
    pub state: &'a [(&'a str, usize)],
    /// Action keys and widths, in model order.
    pub action_keys: &'a [(&'a str, usize)],
    /// What a row of each action key with `rep: DELTA` is.
    pub deltas: &'a BTreeMap<String, DeltaRows>,
    /// Seconds between rows.
    pub step_s: f64,
    /// Rows of the model's chunk.
    pub horizon: usize,
    /// Rows of it that are used.
    pub rows: usize,
    /// Columns of the model's chunk.
    pub dims: usize,
    /// Tokenizer file.
    pub tokenizer: &'a str,
    /// Prompt template file.
    pub template: &'a str,
    /// Most text tokens of a prompt.
    pub max_tokens: usize,
    /// Embedding file and tensor, where rows are gathered on the host.
    pub embedding: Option<(&'a str, &'a str)>,
    /// Processor configuration file.
    pub config: &'a str,
    /// Statistics file.
    pub statistics: &'a str,
    /// Embodiment tag and row.
    pub embodiment: (&'a str, usize),
    /// Whether frames are padded to squares.
    pub letterbox: bool,
    /// Exported step counts.
    pub steps: &'a [u32],
    /// Step count unless a parameter says otherwise.
    pub default_steps: u32,
    /// Precision of every engine; default: each stage's element type.
    pub precision: Option<&'a str>,
}

impl Description<'_> {
    /// Names of the files that the bundle consists of, weights files of the networks aside.
    fn files(&self, stages: &[ExportedStage]) -> Vec<String> {
        let named = [self.tokenizer, self.template, self.config, self.statistics];
        let named = named.into_iter().chain(self.embedding.map(|(file, _)| file));
        let mut files: Vec<String> = named.map(str::to_owned).collect();
        for stage in stages {
            if stage.supplied.is_none() {
                files.push(model_file(stage));
            }
            files.extend(stage.inputs.iter().filter_map(|(_, source)| match source {
                InputSource::Constants(file) => Some((*file).to_owned()),
                _ => None,
            }));
        }
        files
    }

    /// Writes `policy.yaml` into `dir`, where all other files are already; returns the fingerprint over those.
    pub(crate) fn write(&self, stages: &[ExportedStage], dir: &Path) -> Result<String, Error> {
        let files = self.files(stages);
        let hash = fingerprint(dir, &files.iter().map(String::as_str).collect::<Vec<_>>())
            .map_err(|error| Error::Io { path: error.path, source: error.source })?;
        let path = dir.join(POLICY_YAML);
        fs::write(&path, self.text(stages, &hash)).map_err(Error::io(&path))?;
        Ok(hash)
    }

    /// What is unusual about the views.
    fn views(&self) -> String {
        let mut text = String::new();
        if !self.blank_views.is_empty() {
            let names: Vec<String> = self.blank_views.iter().map(|camera| scalar(camera)).collect();
            text += &format!(
                "# Views that were black in a part of the training data.\nblank_views: [{}]\n",
                names.join(", ")
            );
        }
        if self.video_history != [0] {
            let steps: Vec<String> = self.video_history.iter().map(i64::to_string).collect();
            text += &format!(
                "# Frames of each camera, in control steps before the newest.\nvideo_history: [{}]\n",
                steps.join(", ")
            );
        }
        text
    }

    fn text(&self, stages: &[ExportedStage], hash: &str) -> String {
        let named = |keys: &[(&str, usize)]| {
            keys.iter().map(|(key, width)| format!("{}: {width}", scalar(key))).collect::<Vec<_>>().join(", ")
        };
        let cameras: Vec<String> = self.cameras.iter().map(|camera| scalar(camera)).collect();
        let steps: Vec<String> = self.steps.iter().map(u32::to_string).collect();
        let mut text = format!(
            "# {about}\n\
             # Written by vla_trt {version}.\n\
             {merged}\
             format: 1\n\
             name: {name}\n\
             # Over every file named below.\n\
             fingerprint: {hash}\n\
             {random}\
             # Order of the views.\n\
             cameras: [{cameras}]\n\
             {views}\
             # Key: width, in model order.\n\
             state: {{{state}}}\n\
             # Row i of a chunk is due (i + 1) * step_s after the observation; the model predicts `horizon` rows.\n\
             action: {{step_s: {step_s}, horizon: {horizon}, rows: {rows}, dims: {dims}, keys: {{{keys}}}{deltas}}}\n\
             instruction:\n  \
               tokenizer: {tokenizer}\n  \
               template: {template}\n  \
               # Most text tokens of a whole prompt; image tokens come on top.\n  \
               max_tokens: {max_tokens}\n\
             {embedding}\
             # `letterbox`: frames are padded to squares with black; it precedes the key in {config}.\n\
             processor: {{config: {config}, statistics: {statistics}, embodiment: {tag}, embodiment_id: {row}, \
               letterbox: {letterbox}}}\n\
             # Step counts that have constants.\n\
             denoise: {{steps: [{steps}], default: {default_steps}}}\n\
             # In run order. Letters are sizes known at run time: T text tokens, S all tokens.\n\
             stages:\n",
            about = self.about,
            version = env!("CARGO_PKG_VERSION"),
            merged = self
                .merged
                .map(|adapter| format!(
                    "# With a LoRA adapter merged: {adapter}, over adapter_config.json and adapter_model.safetensors.\n"
                ))
                .unwrap_or_default(),
            name = scalar(self.name),
            random = if self.random_weights {
                "# Not trained: for tests and measurements.\nrandom_weights: true\n"
            } else {
                ""
            },
            cameras = cameras.join(", "),
            views = self.views(),
            state = named(self.state),
            step_s = self.step_s,
            horizon = self.horizon,
            rows = self.rows,
            dims = self.dims,
            keys = named(self.action_keys),
            deltas = self.deltas(),
            tokenizer = self.tokenizer,
            template = self.template,
            max_tokens = self.max_tokens,
            embedding = self
                .embedding
                .map(|(file, tensor)| format!("  embedding: {{file: {file}, tensor: {tensor}}}\n"))
                .unwrap_or_default(),
            config = self.config,
            statistics = self.statistics,
            tag = scalar(self.embodiment.0),
            row = self.embodiment.1,
            letterbox = self.letterbox,
            steps = steps.join(", "),
            default_steps = self.default_steps,
        );
        for stage in stages {
            text.push_str(&self.stage(stage));
        }
        text
    }

    /// `cumulative`: row i is the state plus rows 0 to i; `from_state`: the state plus row i.
    fn deltas(&self) -> String {
        let keys: Vec<String> = self.deltas.iter().map(|(key, rows)| format!("{}: {rows}", scalar(key))).collect();
        if keys.is_empty() { String::new() } else { format!(", deltas: {{{}}}", keys.join(", ")) }
    }

    fn stage(&self, stage: &ExportedStage) -> String {
        let mut lines = vec![format!("  - name: {}", stage.name), format!("    onnx: {}", model_file(stage))];
        if let Some(what) = &stage.supplied {
            lines.insert(0, format!("  # Yours: put the file here, or name it with engines.{}.path.", stage.name));
            lines.push(format!("    supplied: {}", scalar(what)));
        }
        lines.push(format!("    precision: {}", self.precision.unwrap_or(precision(stage.dtype))));
        if stage.repeat {
            lines.push("    repeat: denoise".to_owned());
        }
        lines.push("    inputs:".to_owned());
        for (spec, source) in &stage.inputs {
            let entry = match source {
                InputSource::Stage if stage.supplied.is_none() => "{}".to_owned(),
                InputSource::Host | InputSource::Stage => described(spec, ""),
                InputSource::Constants(file) => described(spec, &format!(", constants: {file}")),
            };
            lines.push(format!("      {}: {entry}", scalar(&spec.name)));
        }
        lines.push("    outputs:".to_owned());
        for (spec, feeds) in &stage.outputs {
            let feeds = feeds.as_ref().map(|input| format!(", feeds: {}", scalar(input))).unwrap_or_default();
            lines.push(format!("      {}: {}", scalar(&spec.name), described(spec, &feeds)));
        }
        if !stage.rename.is_empty() {
            let names: Vec<String> = stage
                .rename
                .iter()
                .map(|(network, policy)| format!("{}: {}", scalar(network), scalar(policy)))
                .collect();
            lines.push("    # The network's names of them.".to_owned());
            lines.push(format!("    rename: {{{}}}", names.join(", ")));
        }
        if !stage.profile.is_empty() {
            let ranges: Vec<String> = stage.profile.iter().map(|(name, range)| format!("{name}: {range:?}")).collect();
            lines.push(format!("    profile: {{{}}}", ranges.join(", ")));
        }
        let mut text = String::new();
        for line in lines {
            // Writing to a String cannot fail.
            writeln!(text, "{line}").unwrap_or_default();
        }
        text
    }
}

/// The name of `build`'s precision for an element type.
fn precision(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "fp16",
        DType::BF16 => "bf16",
        _ => "fp32",
    }
}

/// A text as a YAML scalar: plain where nothing in it could mean something else, else quoted (JSON's quotes are YAML's).
fn scalar(text: &str) -> String {
    const OTHER_MEANING: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let mut characters = text.chars();
    let plain = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && !OTHER_MEANING.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn described(spec: &TensorSpec, more: &str) -> String {
    format!("{{dtype: {}, dims: {}{more}}}", spec.dtype, display_dims(&spec.dims))
}

fn model_file(stage: &ExportedStage) -> String {
    stage.files.model.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    static NO_DELTAS: BTreeMap<String, DeltaRows> = BTreeMap::new();

    impl Description<'_> {
        /// Of a bundle without any part.
        fn of_nothing() -> Self {
            Description {
                about: "",
                merged: None,
                random_weights: false,
                name: "",
                cameras: &[],
                blank_views: &[],
                video_history: &[0],
                state: &[],
                action_keys: &[],
                deltas: &NO_DELTAS,
                step_s: 0.02,
                horizon: 0,
                rows: 0,
                dims: 0,
                tokenizer: "",
                template: "",
                max_tokens: 0,
                embedding: None,
                config: "",
                statistics: "",
                embodiment: ("", 0),
                letterbox: false,
                steps: &[],
                default_steps: 1,
                precision: None,
            }
        }
    }

    #[test]
    fn outputs_named_after_cameras_are_quoted_where_yaml_needs_it() {
        let camera = ["rows.cam: a", "rows.cam #1", "- x"];
        let spec = |name: &str| TensorSpec { name: name.to_owned(), dtype: DType::F32, dims: Vec::new() };
        let stage = ExportedStage {
            name: "vision".to_owned(),
            files: crate::onnx::graph::GraphFiles { model: "vision.onnx".into(), data: None },
            supplied: None,
            dtype: DType::F32,
            repeat: false,
            inputs: vec![(spec("pixels.cam: a"), InputSource::Host)],
            outputs: camera.iter().map(|name| (spec(name), Some("a: b".to_owned()))).collect(),
            rename: vec![("x: y".to_owned(), "rows.cam: a".to_owned())],
            profile: Vec::new(),
        };
        let text = Description::of_nothing().stage(&stage);
        let read: serde_yaml::Value = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        for name in camera {
            assert_eq!(read[0]["outputs"][name]["feeds"], "a: b", "{text}");
        }
        assert_eq!(read[0]["rename"]["x: y"], "rows.cam: a", "{text}");
    }

    #[test]
    fn names_that_yaml_would_read_as_something_else_are_quoted() {
        for plain in ["top", "left_wrist", "video.ego-view", "_1"] {
            assert_eq!(scalar(plain), plain);
        }
        for name in ["yes", "Null", "1", "a: b", "#", "", "caf\u{e9}", "tab\there", "\"", "-x", "{}"] {
            let text = format!("[{}]", scalar(name));
            assert_eq!(serde_yaml::from_str::<Vec<String>>(&text).expect("YAML"), [name], "{text}");
        }
    }
}
