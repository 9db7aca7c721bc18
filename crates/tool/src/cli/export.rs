//! `vla-trt export`: a checkpoint to a policy bundle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;

use super::Outcome;
use super::bar::Bar;
use vla_base::tensor::DType;
use vla_export::bundle;
use vla_export::bundle::{Camera, Features, Letterbox, Merged, Request};
use vla_export::expected::Expected;
use vla_export::{RopeFrequencies, VisionAttention, backbone_dit, split, vendor};
use vla_policy::processor::DeltaRows;

/// Write a policy bundle from a GR00T checkpoint (N1.6, N1.7): ONNX networks, tokenizer and statistics; no PyTorch.
#[derive(clap::Args, Debug)]
pub(crate) struct ExportArguments {
    /// Checkpoint folder: config.json, safetensors, processor_config.json, statistics.json, embodiment_id.json.
    #[arg(long)]
    checkpoint: PathBuf,
    /// LoRA adapter that PEFT saved (adapter_config.json, adapter_model.safetensors): it is merged into the checkpoint's weights
    /// while these are written. Processor and statistics are the adapter's, where its folder has them.
    #[arg(long, value_name = "FOLDER")]
    lora: Option<PathBuf>,
    /// SHA-256 of each file of weights, which are compared first: FILE=SHA-256 for each, a file that sha256sum wrote, or the
    /// hash alone where there is one file. Other files of the folders may be named, too.
    #[arg(long, value_name = "[FILE=]SHA-256|FILE", value_delimiter = ',')]
    expect_sha256: Vec<Expected>,
    /// Tokenizer folder (tokenizer.json, or vocab.json, merges.txt and tokenizer_config.json), or a tokenizer.json.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Embodiment tag, as in processor_config.json.
    #[arg(long)]
    embodiment: String,
    /// One of the policy's cameras and the size of its frames, such as front=640x480; once for each.
    #[arg(long = "camera", value_name = "NAME=WxH", required = true)]
    cameras: Vec<Camera>,
    /// A camera whose frames were black in a part of the training data, so that a robot without it may run the policy
    /// (inputs.cameras.<name>.blank); once for each. A checkpoint does not contain it; ask the author of the data set.
    #[arg(long = "blank-view", value_name = "NAME")]
    blank_views: Vec<String>,
    /// Folder to write: new, empty, or an earlier policy bundle.
    #[arg(short, long)]
    out: PathBuf,
    /// Seconds between action rows, such as 0.02 for 50 Hz: the control period of the training data. A checkpoint does not
    /// contain it.
    #[arg(long, value_name = "SECONDS")]
    step_s: f64,
    /// What a row of a joint key with rep DELTA is, once for each such key: the change from the row before (cumulative), or from
    /// the observed state (from_state). A checkpoint does not contain it; ask the author of the data set.
    #[arg(long, value_name = "KEY=cumulative|from_state", value_parser = delta)]
    delta: Vec<(String, DeltaRows)>,
    /// Padding of frames to squares with black before they are resized: as processor_config.json says (letter_box_transform), or
    /// always, or never. NVIDIA's trainers before 2026-06-18 could pad always and still write false: then give always.
    #[arg(long, value_enum, default_value_t = LetterboxArgument::AsFile)]
    letterbox: LetterboxArgument,
    /// How the network is divided into stages. Default: split.
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// Write only these stages, for a bundle whose backbone and DiT networks you supply yourself (layout backbone-dit).
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Element type of weights and activations. The ONNX engine runs fp32 and fp16; bf16 is for builders.
    #[arg(long, value_enum, default_value_t = Precision::Fp32)]
    dtype: Precision,
    /// Another element type for one stage, such as vision=fp32.
    #[arg(long, value_name = "STAGE=TYPE", value_parser = stage_precision)]
    dtype_of: Vec<(String, Precision)>,
    /// The backbone's config.json (vision_config, text_config); default: one beside the tokenizer, else the release's sizes.
    #[arg(long, value_name = "FILE")]
    backbone_config: Option<PathBuf>,
    /// Rotary frequencies: rounded to bf16 as the vendor's runtime has them, or exact. For N1.7 those of the vision tower too.
    #[arg(long, value_enum, default_value_t = RopeInvFreq::Bf16)]
    rope_inv_freq: RopeInvFreq,
    /// What the head takes of the language model: its last layer's rows (before-norm, N1.7) or those rows behind the final norm
    /// (after-norm, N1.6). Default: what the release's code takes. For N1.7 checkpoints that were trained under transformers 5.
    #[arg(long, value_enum)]
    features: Option<FeaturesArgument>,
    /// What a patch attends to: its own image, as in the vendor's code, or all, as some forks of N1.6 train.
    #[arg(long, value_enum, default_value_t = Attention::PerImage)]
    vision_attention: Attention,
    /// Denoising step counts that the policy can run; the checkpoint's own is always among them.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    steps: Vec<u32>,
    /// Text tokens of a prompt at most, with those of the template.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_text_tokens: usize,
    /// Divide vision, language, fusion and step into consecutive stages of at most N blocks, for TensorRT versions that fail on large
    /// graphs (8 with TensorRT 8.6).
    #[arg(long, value_name = "N")]
    blocks_per_engine: Option<usize>,
    /// Compute query, key and value of each attention in one matrix product with stacked weights (also gate and up of each MLP):
    /// fewer and larger kernels. For comparing speed; results differ by rounding only.
    #[arg(long)]
    stacked_projections: bool,
    /// Also output inner tensors, for comparison with a reference.
    #[arg(long)]
    debug_outputs: bool,
    #[command(flatten)]
    absmax: super::absmax::Absmax,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Layout {
    /// vision, language, for N1.7 fusion, context, N times step. What does not change between denoising steps is computed once, in context.
    Split,
    /// backbone, for N1.7 fusion, state_encoder, N times action_encoder, dit, action_decoder. Backbone and DiT can be networks that you supply.
    BackboneDit,
    /// Only the stages between the six engines of the vendor's export of N1.6; you supply the engines.
    Vendor,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Only {
    /// All stages but backbone and dit.
    Head,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Precision {
    Fp32,
    Fp16,
    Bf16,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum LetterboxArgument {
    AsFile,
    Always,
    Never,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum RopeInvFreq {
    Bf16,
    Exact,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum FeaturesArgument {
    BeforeNorm,
    AfterNorm,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Attention {
    PerImage,
    CrossView,
}

impl From<Precision> for DType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Fp32 => Self::F32,
            Precision::Fp16 => Self::F16,
            Precision::Bf16 => Self::BF16,
        }
    }
}

fn stage_precision(text: &str) -> Result<(String, Precision), String> {
    let expected = || format!("expected STAGE=fp32, fp16 or bf16, found '{text}'");
    let (stage, precision) = text.split_once('=').ok_or_else(expected)?;
    let precision = Precision::from_str(precision, false).map_err(|error| format!("{}: {error}", expected()))?;
    Ok((stage.to_owned(), precision))
}

fn delta(text: &str) -> Result<(String, DeltaRows), String> {
    let (key, rows) =
        text.rsplit_once('=').ok_or_else(|| format!("expected KEY=cumulative or KEY=from_state, found '{text}'"))?;
    Ok((key.to_owned(), rows.parse()?))
}

impl ExportArguments {
    fn layout(&self) -> anyhow::Result<vla_export::Layout> {
        Ok(match (self.layout, self.only) {
            (None | Some(Layout::Split), None) => split::LAYOUT,
            (Some(Layout::BackboneDit), None) => backbone_dit::LAYOUT,
            (Some(Layout::Vendor), None) => vendor::LAYOUT,
            (None | Some(Layout::BackboneDit), Some(Only::Head)) => backbone_dit::HEAD,
            (Some(layout), Some(Only::Head)) => anyhow::bail!(
                "--only head: expected with --layout backbone-dit, found --layout {}; leave --layout out",
                layout.to_possible_value().unwrap_or_default().get_name()
            ),
        })
    }

    fn request(&self) -> anyhow::Result<Request> {
        for (index, (key, _)) in self.delta.iter().enumerate() {
            let twice = self.delta.iter().take(index).any(|(earlier, _)| earlier == key);
            anyhow::ensure!(!twice, "--delta {key}: expected once, found twice");
        }
        let name = self.out.file_name().map_or("policy".into(), |name| name.to_string_lossy().into_owned());
        Ok(Request {
            layout: self.layout()?,
            checkpoint: self.checkpoint.clone(),
            lora: self.lora.clone(),
            expected: self.expect_sha256.clone(),
            tokenizer: self.tokenizer.clone(),
            backbone: self.backbone_config.clone(),
            embodiment: self.embodiment.clone(),
            cameras: self.cameras.clone(),
            blank_views: self.blank_views.clone(),
            about: None,
            name,
            deltas: self.delta.iter().cloned().collect(),
            letterbox: match self.letterbox {
                LetterboxArgument::AsFile => Letterbox::AsFile,
                LetterboxArgument::Always => Letterbox::Always,
                LetterboxArgument::Never => Letterbox::Never,
            },
            step_s: self.step_s,
            steps: self.steps.clone(),
            max_text: self.max_text_tokens,
            usual_text: None,
            dtype: self.dtype.into(),
            dtype_of: self
                .dtype_of
                .iter()
                .map(|(stage, dtype)| (stage.clone(), (*dtype).into()))
                .collect::<BTreeMap<_, _>>(),
            precision: None,
            rope: match self.rope_inv_freq {
                RopeInvFreq::Bf16 => RopeFrequencies::Bf16,
                RopeInvFreq::Exact => RopeFrequencies::Exact,
            },
            features: match self.features {
                None => Features::AsReleased,
                Some(FeaturesArgument::BeforeNorm) => Features::BeforeNorm,
                Some(FeaturesArgument::AfterNorm) => Features::AfterNorm,
            },
            attention: match self.vision_attention {
                Attention::PerImage => VisionAttention::PerImage,
                Attention::CrossView => VisionAttention::CrossView,
            },
            blocks_per_engine: self.blocks_per_engine,
            stacked_projections: self.stacked_projections,
            debug_outputs: self.debug_outputs,
        })
    }
}

/// Writes the bundle; prints its path, contents and fingerprint.
pub(crate) fn run(args: &ExportArguments) -> anyhow::Result<Outcome> {
    let request = args.request()?;
    let not_exported = || format!("{} was not exported", args.checkpoint.display());
    // Checked before the measurement, which takes minutes.
    bundle::check_output(&args.out).with_context(not_exported)?;
    let measured = args.absmax.measure(&request, &args.out).with_context(not_exported)?;
    let mut bar = Bar::new();
    let summary = bundle::write(&request, &args.out, &mut |progress| bar.show(progress)).with_context(not_exported)?;
    drop(bar);
    for view in &summary.views {
        println!("camera {}: {}x{} pixels for the network", view.camera, view.width, view.height);
    }
    if summary.letterbox {
        println!("letterbox: frames are padded to squares with black before they are resized");
    }
    for (stage, bytes) in &summary.stages {
        println!("stage {stage}: {:.1} MB", *bytes as f64 / 1e6);
    }
    for [stage, file, what] in &summary.supplied {
        println!("stage {stage}: put {file} into the folder: {what}");
    }
    if let Some(merged) = &summary.merged {
        print_merged(args, merged);
    }
    if let Some(report) = measured {
        super::absmax::publish(&report, &request, &args.out)?;
    }
    println!("{} {}", args.out.display(), summary.fingerprint);
    Ok(Outcome::Success)
}

/// What was merged. Another name of the base is only noted: folders are renamed, and the shapes have been compared.
fn print_merged(args: &ExportArguments, merged: &Merged) {
    let adapter = args.lora.as_deref().unwrap_or(Path::new("")).display();
    println!(
        "LoRA adapter {adapter}: {} weights changed, {} replaced, {}",
        merged.changed, merged.replaced, merged.fingerprint
    );
    let from = if merged.own_processor { args.lora.as_ref().unwrap_or(&args.checkpoint) } else { &args.checkpoint };
    println!("processor and statistics: from {}", from.display());
    let name = |path: &Path| path.file_name().map(std::ffi::OsStr::to_owned);
    if let Some(base) = &merged.base
        && name(Path::new(base)) != name(&args.checkpoint)
    {
        println!(
            "note: the adapter was trained on '{base}', and was merged into {}; every shape fits, but only the same weights \
             give the policy that was trained",
            args.checkpoint.display()
        );
    }
}
