//! Tiny checkpoints with tensors that NVIDIA's own code computed (`oracle/` and `oracle_n1d7/` of the shared folder), through
//! export and `infer`, both through files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use vla_base::tensor::{DType, Data, Dim, HostTensor};
use vla_export::bundle;
use vla_export::bundle::{Camera, Features, Request};
use vla_export::checkpoint::Checkpoint;
use vla_export::{Layout, Options, RopeFrequencies, View, VisionAttention, vendor};
use vla_offline::infer;
use vla_offline::infer::Inputs;
use vla_policy::PolicySpec;

use crate::vendor::Vendor;

pub type Arrays = BTreeMap<String, HostTensor>;

/// A release's reference.
#[derive(Clone, Copy)]
pub struct Reference {
    /// Its folder in the shared one.
    folder: &'static str,
    /// The backbone's configuration, in the unpacked checkpoint's folder.
    backbone: &'static str,
}

/// GR00T N1.6.
pub const N1D6: Reference = Reference { folder: "oracle", backbone: "eagle_dims.json" };
/// GR00T N1.7.
pub const N1D7: Reference = Reference { folder: "oracle_n1d7", backbone: "backbone.json" };

/// The folder of N1.6's reference tensors, or `None` after saying so.
pub fn reference_data() -> Option<PathBuf> {
    N1D6.data()
}

impl Reference {
    /// The folder of the reference tensors, or `None` after saying so.
    pub fn data(self) -> Option<PathBuf> {
        reference_folder(self.folder)
    }
}

fn reference_folder(name: &str) -> Option<PathBuf> {
    let folder = crate::shared().join(name);
    if folder.join("tiny").is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no reference tensors at {}; set VLA_TRT_SHARED to the folder that holds it", folder.display());
    None
}

fn reference_and_runtime(reference: Reference) -> Option<PathBuf> {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return None;
    }
    reference.data()
}

/// The tiny checkpoint with its shards unpacked.
pub fn unpack(tiny: &Path, to: &Path) {
    for entry in fs::read_dir(tiny.join("ckpt")).expect("checkpoint") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if let Some(plain) = name.strip_suffix(".gz") {
            let mut source = flate2::read::GzDecoder::new(File::open(&path).expect("shard"));
            std::io::copy(&mut source, &mut File::create(to.join(plain)).expect("scratch")).expect("gunzip");
        } else if path.is_file() {
            fs::copy(&path, to.join(name)).expect("copy");
        }
    }
}

fn png(path: &Path) -> HostTensor {
    let file = std::io::BufReader::new(File::open(path).expect("image"));
    let mut reader = png::Decoder::new(file).read_info().expect("png");
    let mut rgb = vec![0; reader.output_buffer_size().expect("size")];
    let info = reader.next_frame(&mut rgb).expect("frame");
    HostTensor::from_u8(&[info.height as usize, info.width as usize, 3], rgb).expect("rgb")
}

/// One observation with the reference tensors.
pub struct Observation {
    dir: PathBuf,
    pub cameras: Vec<String>,
    instruction: String,
    /// Frames of each camera.
    pub times: usize,
    /// Whether files of frames are numbered by time.
    numbered: bool,
    pub tensors: Arrays,
    pub meta: Value,
}

impl Observation {
    pub fn load(dir: PathBuf) -> Self {
        let meta: Value = serde_json::from_slice(&fs::read(dir.join("meta.json")).expect("meta")).expect("json");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let bytes = fs::read(dir.join("tensors.safetensors")).expect("tensors");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensors = file.iter().map(|(name, view)| (name.to_owned(), tensor(&view))).collect();
        Self {
            cameras: meta["cameras"].as_array().expect("cameras").iter().map(text).collect(),
            instruction: text(&meta["instruction"]),
            tensors,
            times: meta["video_delta_indices"].as_array().map_or(1, Vec::len),
            numbered: meta["video_delta_indices"].is_array(),
            dir,
            meta,
        }
    }

    /// The newest frame of a camera.
    pub fn image(&self, kind: &str, camera: &str) -> HostTensor {
        self.frame(kind, camera, self.times - 1)
    }

    /// The frame of a camera at one of the times, the oldest first.
    pub fn frame(&self, kind: &str, camera: &str, time: usize) -> HostTensor {
        let number = if self.numbered { format!("_{time}") } else { String::new() };
        png(&self.dir.join(format!("{kind}_{camera}{number}.png")))
    }

    /// `[H, W, 3]`, or `[times, H, W, 3]`.
    fn frames(&self, camera: &str) -> HostTensor {
        let newest = self.image("raw", camera);
        if self.times == 1 {
            return newest;
        }
        let bytes = (0..self.times).flat_map(|time| match self.frame("raw", camera, time).data() {
            Data::U8(bytes) => bytes.clone(),
            other => panic!("{other:?}"),
        });
        HostTensor::from_u8(&[&[self.times], newest.dims()].concat(), bytes.collect()).expect("whole")
    }

    /// The embodiment, where it is the observation's.
    fn tag(&self) -> Option<&str> {
        self.meta["embodiment_tag"].as_str()
    }

    /// The arrays that `vla-trt infer` takes, through a file.
    fn arrays(&self, scratch: &Path) -> Arrays {
        let path = scratch.join("inputs.npz");
        let mut writer = vla_npz::Writer::create(&path).expect("a file");
        for camera in &self.cameras {
            writer.add(&format!("image.{camera}"), &self.frames(camera)).expect("written");
        }
        for (name, tensor) in self.tensors.iter().filter(|(name, _)| name.starts_with("state_raw.") || *name == "noise")
        {
            writer.add(name, tensor).expect("written");
        }
        let text = self.instruction.clone().into_bytes();
        writer.add("instruction", &HostTensor::from_u8(&[text.len()], text).expect("whole")).expect("written");
        writer.finish().expect("written");
        vla_npz::read(&path).expect("read")
    }
}

fn tensor(view: &safetensors::tensor::TensorView<'_>) -> HostTensor {
    let (dims, data) = (view.shape(), view.data());
    let whole = match view.dtype() {
        Dtype::F32 => HostTensor::from_f32(dims, data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::I64 => HostTensor::from_i64(dims, data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
        Dtype::U8 => HostTensor::from_u8(dims, data.to_vec()),
        other => panic!("{other:?}"),
    };
    whole.expect("whole")
}

/// A kind of export of the tiny checkpoint.
#[derive(Clone, Copy)]
pub struct Export {
    pub layout: Layout,
    pub dtype: DType,
    pub rope: RopeFrequencies,
    pub attention: VisionAttention,
}

pub struct Bench {
    reference: PathBuf,
    scratch: tempfile::TempDir,
    tag: String,
    tokenizer: PathBuf,
    backbone: &'static str,
}

/// The tokenizer folder; files that it does not have are those of N1.6's.
fn tokenizer(reference: &Path, scratch: &Path) -> PathBuf {
    let whole = reference.join("tokenizer");
    if whole.join("vocab.json").is_file() {
        return whole;
    }
    let folder = scratch.join("tokenizer");
    fs::create_dir(&folder).expect("a folder");
    let others = reference.parent().expect("shared").join("oracle/tokenizer");
    for name in ["vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"] {
        let places = [reference.join("tokenizer").join(name), others.join(name)];
        if let Some(file) = places.iter().find(|file| file.is_file()) {
            fs::copy(file, folder.join(name)).expect("copied");
        }
    }
    folder
}

impl Bench {
    pub fn new() -> Option<Self> {
        Self::of(N1D6)
    }

    /// Of a release's reference.
    pub fn of(release: Reference) -> Option<Self> {
        let reference = reference_and_runtime(release)?;
        let scratch = tempfile::tempdir().expect("scratch");
        let checkpoint = scratch.path().join("checkpoint");
        fs::create_dir(&checkpoint).expect("a folder");
        unpack(&reference.join("tiny"), &checkpoint);
        let manifest = fs::read(reference.join("tiny/manifest.json")).expect("manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("json");
        let tag = manifest["embodiment_tag"].as_str().unwrap_or_default().to_owned();
        let separate = reference.join("tiny/backbone/config.json");
        if separate.is_file() {
            fs::copy(separate, checkpoint.join(release.backbone)).expect("copied");
        }
        let tokenizer = tokenizer(&reference, scratch.path());
        Some(Self { tag, reference, scratch, tokenizer, backbone: release.backbone })
    }

    /// Replaces keys of the checkpoint's config.json; null removes one.
    pub fn configure(&self, patch: &Value) {
        let path = self.scratch.path().join("checkpoint/config.json");
        let original = self.reference.join("tiny/ckpt/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(original).expect("config")).expect("json");
        let keys = config.as_object_mut().expect("an object");
        for (key, value) in patch.as_object().expect("an object") {
            match value {
                Value::Null => drop(keys.remove(key)),
                value => drop(keys.insert(key.clone(), value.clone())),
            }
        }
        fs::write(path, config.to_string()).expect("written");
    }

    /// A file of the reference.
    pub fn file(&self, name: &str) -> PathBuf {
        self.reference.join(name)
    }

    pub fn observation(&self, index: usize) -> Observation {
        Observation::load(self.reference.join(format!("tiny/obs{index}")))
    }

    /// Exports for the sizes of the observation's frames and runs it.
    pub fn infer(&self, observation: &Observation, export: Export) -> Arrays {
        let checkpoint = self.scratch.path().join("checkpoint");
        // A checkpoint's processor, or the one that letterboxes.
        let letterbox = observation.meta["letter_box_transform"] == true;
        let processor = if letterbox { "tiny/ckpt_letterbox" } else { "tiny/ckpt" };
        let processor = self.reference.join(processor).join("processor_config.json");
        fs::copy(processor, checkpoint.join("processor_config.json")).expect("copied");
        let camera = |name: &String| {
            let dims = observation.image("raw", name).dims().to_vec();
            Camera { name: name.clone(), width: dims[1], height: dims[0] }
        };
        let request = Request {
            tokenizer: self.tokenizer.clone(),
            backbone: Some(checkpoint.join(self.backbone)),
            checkpoint,
            lora: None,
            expected: Vec::new(),
            embodiment: observation.tag().unwrap_or(&self.tag).to_owned(),
            cameras: observation.cameras.iter().map(camera).collect(),
            blank_views: Vec::new(),
            name: "reference".to_owned(),
            about: Some("The reference's tiny checkpoint.".to_owned()),
            layout: export.layout,
            letterbox: Default::default(),
            deltas: BTreeMap::new(),
            step_s: 0.02,
            steps: vec![4, 8],
            max_text: 256,
            usual_text: None,
            dtype: export.dtype,
            dtype_of: BTreeMap::new(),
            precision: None,
            // The vendor layout takes the rotation from the networks that are supplied.
            features: Features::default(),
            rope: if export.layout.backbone { export.rope } else { RopeFrequencies::default() },
            attention: export.attention,
            blocks_per_engine: None,
            stacked_projections: false,
            debug_outputs: true,
        };
        let out = self.scratch.path().join("policy");
        bundle::write(&request, &out, &mut |_| {}).expect("exports");
        if export.layout.name == vendor::LAYOUT.name {
            self.supply(&export, &out);
        }
        let spec = PolicySpec::load(&out).expect("the bundle");
        let inputs = Inputs::new(observation.arrays(self.scratch.path()), &spec).expect("arrays that fit");
        let mut policy = infer::load(spec, 1, &mut |_| {}).expect("loads");
        let dump = self.scratch.path().join("dump.npz");
        let mut writer = vla_npz::Writer::create(&dump).expect("a file");
        infer::run(&mut policy, &inputs, &mut |name, tensor| Ok(writer.add(name, tensor)?)).expect("runs");
        writer.finish().expect("written");
        vla_npz::read(&dump).expect("read")
    }
}

impl Bench {
    /// Puts the six networks into the bundle as the vendor's exporter would make them.
    fn supply(&self, export: &Export, out: &Path) {
        let dir = self.scratch.path().join("checkpoint");
        let checkpoint = Checkpoint::open(&dir).expect("opens");
        let model = checkpoint.model(&dir.join(self.backbone)).expect("sizes");
        let described = PolicySpec::load(out).expect("the bundle");
        let views: Vec<View> = match described.stages[0].inputs[0].dims.as_deref() {
            Some([_, _, Dim::Fixed(height), Dim::Fixed(width)]) => {
                let view = |camera: &String| View { camera: camera.clone(), width: *width, height: *height, images: 1 };
                described.cameras.iter().map(view).collect()
            }
            other => panic!("{other:?}"),
        };
        let options = Options {
            dtype: export.dtype,
            dtype_of: BTreeMap::new(),
            rope: export.rope,
            attention: export.attention,
            steps: vec![4],
            embodiment: 0,
            text: [1, 64, 256],
            blocks_per_engine: None,
            stacked_projections: false,
            debug_outputs: false,
        };
        let edge = export.dtype;
        Vendor { weights: &checkpoint, model: &model, options: &options, views: &views, edge }.write_all(out);
    }
}
