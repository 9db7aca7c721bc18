//! The tiny checkpoint with tensors that NVIDIA's own code computed (`oracle/` of the shared folder), through export and
//! `infer`, both through files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use vla_base::tensor::{DType, Dim, HostTensor};
use vla_export::bundle;
use vla_export::bundle::{Camera, Features, Request};
use vla_export::checkpoint::Checkpoint;
use vla_export::{Layout, Options, RopeFrequencies, View, VisionAttention, vendor};
use vla_offline::infer;
use vla_offline::infer::Inputs;
use vla_policy::PolicySpec;

use crate::vendor::Vendor;

pub type Arrays = BTreeMap<String, HostTensor>;

/// The folder of the reference tensors, or `None` after saying so.
pub fn reference_data() -> Option<PathBuf> {
    let folder = crate::shared().join("oracle");
    if folder.join("tiny").is_dir() {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED: no reference tensors at {}; set VLA_TRT_SHARED to the folder that holds oracle/",
        folder.display()
    );
    None
}

fn reference_and_runtime() -> Option<PathBuf> {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return None;
    }
    reference_data()
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
            dir,
            meta,
        }
    }

    pub fn image(&self, kind: &str, camera: &str) -> HostTensor {
        png(&self.dir.join(format!("{kind}_{camera}.png")))
    }

    /// The arrays that `vla-trt infer` takes, through a file.
    fn arrays(&self, scratch: &Path) -> Arrays {
        let path = scratch.join("inputs.npz");
        let mut writer = vla_npz::Writer::create(&path).expect("a file");
        for camera in &self.cameras {
            writer.add(&format!("image.{camera}"), &self.image("raw", camera)).expect("written");
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
}

impl Bench {
    pub fn new() -> Option<Self> {
        let reference = reference_and_runtime()?;
        let scratch = tempfile::tempdir().expect("scratch");
        let checkpoint = scratch.path().join("checkpoint");
        fs::create_dir(&checkpoint).expect("a folder");
        unpack(&reference.join("tiny"), &checkpoint);
        let manifest = fs::read(reference.join("tiny/manifest.json")).expect("manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("json");
        Some(Self { tag: manifest["embodiment_tag"].as_str().expect("tag").to_owned(), reference, scratch })
    }

    pub fn observation(&self, index: usize) -> Observation {
        Observation::load(self.reference.join(format!("tiny/obs{index}")))
    }

    /// Exports for the sizes of the observation's frames and runs it.
    pub fn infer(&self, observation: &Observation, export: Export) -> Arrays {
        let checkpoint = self.scratch.path().join("checkpoint");
        let camera = |name: &String| {
            let dims = observation.image("raw", name).dims().to_vec();
            Camera { name: name.clone(), width: dims[1], height: dims[0] }
        };
        let request = Request {
            tokenizer: self.reference.join("tokenizer"),
            backbone: Some(checkpoint.join("eagle_dims.json")),
            checkpoint,
            lora: None,
            expected: Vec::new(),
            embodiment: self.tag.clone(),
            cameras: observation.cameras.iter().map(camera).collect(),
            blank_views: Vec::new(),
            name: "reference".to_owned(),
            about: Some("The reference's tiny checkpoint.".to_owned()),
            layout: export.layout,
            letterbox: Default::default(),
            deltas: BTreeMap::new(),
            step_s: 0.02,
            steps: vec![4],
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
        let model = checkpoint.model(&dir.join("eagle_dims.json")).expect("sizes");
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
