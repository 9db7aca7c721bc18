//! A checkpoint through export and `infer`, from raw images to decoded actions, against what NVIDIA's own code computed
//! (`shared/oracle`). Prints the tables of docs/fidelity.md.
//!
//! Skipped, aloud, where the oracle or ONNX Runtime is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use vla_trt::export::bundle::{self, Camera, Request};
use vla_trt::export::checkpoint::Checkpoint;
use vla_trt::export::{Layout, Options, RopeFrequencies, View, VisionAttention, backbone_dit, split, vendor};
use vla_trt::infer::{self, Inputs, npz};
use vla_trt::policy::PolicySpec;
use vla_trt::tensor::{DType, Data, Dim, HostTensor};

#[path = "support/vendor.rs"]
mod vendor_files;
use vendor_files::Vendor;

type Arrays = BTreeMap<String, HostTensor>;

/// Largest norm of a difference over the norm of the reference, single precision.
const RELATIVE: f64 = 1e-4;
/// Largest difference of a decoded action, rad or m.
const DECODED: f64 = 1e-4;
/// Largest difference of a normalised state.
const STATE: f64 = 1e-6;
const OBSERVATIONS: usize = 4;

fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("VLA_TRT_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    if !shared.join("oracle/tiny").is_dir() {
        eprintln!("SKIPPED: no oracle at {}; set VLA_TRT_SHARED to the folder that holds it", shared.display());
        return None;
    }
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return None;
    }
    Some(shared.join("oracle"))
}

/// The tiny checkpoint with its shards unpacked.
fn unpack(tiny: &Path, to: &Path) {
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

/// One observation of the oracle.
struct Observation {
    dir: PathBuf,
    cameras: Vec<String>,
    instruction: String,
    tensors: Arrays,
}

impl Observation {
    fn load(dir: PathBuf) -> Self {
        let meta: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.join("meta.json")).expect("meta")).expect("json");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let bytes = fs::read(dir.join("tensors.safetensors")).expect("tensors");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensors = file.iter().map(|(name, view)| (name.to_owned(), tensor(&view))).collect();
        Self {
            cameras: meta["cameras"].as_array().expect("cameras").iter().map(text).collect(),
            instruction: text(&meta["instruction"]),
            tensors,
            dir,
        }
    }

    fn image(&self, kind: &str, camera: &str) -> HostTensor {
        png(&self.dir.join(format!("{kind}_{camera}.png")))
    }

    /// The arrays that `vla-trt infer` takes, through a file.
    fn arrays(&self, scratch: &Path) -> Arrays {
        let path = scratch.join("inputs.npz");
        let mut writer = npz::Writer::create(&path).expect("a file");
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
        npz::read(&path).expect("read")
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
struct Export {
    layout: Layout,
    dtype: DType,
    rope: RopeFrequencies,
}

struct Bench {
    oracle: PathBuf,
    scratch: tempfile::TempDir,
    tag: String,
}

impl Bench {
    fn new() -> Option<Self> {
        let oracle = shared()?;
        let scratch = tempfile::tempdir().expect("scratch");
        let checkpoint = scratch.path().join("checkpoint");
        fs::create_dir(&checkpoint).expect("a folder");
        unpack(&oracle.join("tiny"), &checkpoint);
        let manifest = fs::read(oracle.join("tiny/manifest.json")).expect("manifest");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("json");
        Some(Self { tag: manifest["embodiment_tag"].as_str().expect("tag").to_owned(), oracle, scratch })
    }

    fn observation(&self, index: usize) -> Observation {
        Observation::load(self.oracle.join(format!("tiny/obs{index}")))
    }

    /// Exports for the sizes of the observation's frames and runs it.
    fn infer(&self, observation: &Observation, export: Export) -> Arrays {
        let checkpoint = self.scratch.path().join("checkpoint");
        let camera = |name: &String| {
            let dims = observation.image("raw", name).dims().to_vec();
            Camera { name: name.clone(), width: dims[1], height: dims[0] }
        };
        let request = Request {
            tokenizer: self.oracle.join("tokenizer"),
            backbone: Some(checkpoint.join("eagle_dims.json")),
            checkpoint,
            embodiment: self.tag.clone(),
            cameras: observation.cameras.iter().map(camera).collect(),
            name: "oracle".to_owned(),
            about: "The oracle's tiny checkpoint.".to_owned(),
            layout: export.layout,
            step_s: 0.02,
            steps: vec![4],
            max_text: 256,
            usual_text: None,
            dtype: export.dtype,
            dtype_of: BTreeMap::new(),
            precision: None,
            // The vendor layout takes the rotation from the networks that are supplied.
            rope: if export.layout.backbone { export.rope } else { RopeFrequencies::default() },
            attention: VisionAttention::PerImage,
            blocks_per_engine: None,
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
        let mut writer = npz::Writer::create(&dump).expect("a file");
        infer::run(&mut policy, &inputs, &mut |name, tensor| writer.add(name, tensor)).expect("runs");
        writer.finish().expect("written");
        npz::read(&dump).expect("read")
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
                let view = |camera: &String| View { camera: camera.clone(), width: *width, height: *height };
                described.cameras.iter().map(view).collect()
            }
            other => panic!("{other:?}"),
        };
        let options = Options {
            dtype: export.dtype,
            dtype_of: BTreeMap::new(),
            rope: export.rope,
            attention: VisionAttention::PerImage,
            steps: vec![4],
            embodiment: 0,
            text: [1, 64, 256],
            blocks_per_engine: None,
            debug_outputs: false,
        };
        let edge = export.dtype;
        Vendor { weights: &checkpoint, model: &model, options: &options, views: &views, edge }.write_all(out);
    }
}

/// Norm of the difference over the norm of the reference, and the largest difference.
fn difference(found: &HostTensor, expected: &HostTensor) -> (f64, f64) {
    assert_eq!(found.dims(), expected.dims(), "dimensions");
    let (found, expected) = (found.as_f32().expect("f32"), expected.as_f32().expect("f32"));
    let (mut square, mut norm, mut largest) = (0.0, 0.0, 0.0_f64);
    for (found, expected) in found.iter().zip(expected) {
        let apart = (f64::from(*found) - f64::from(*expected)).abs();
        assert!(!apart.is_nan(), "a value is no number");
        (square, norm) = (square + apart * apart, norm + f64::from(*expected).powi(2));
        largest = largest.max(apart);
    }
    (if square == 0.0 { 0.0 } else { (square / norm).sqrt() }, largest)
}

/// The worst of each tensor over observations and steps: name with `stepI` for every step -> figures.
#[derive(Default)]
struct Table {
    rows: BTreeMap<String, [Option<f64>; OBSERVATIONS]>,
    beyond: Vec<String>,
}

impl Table {
    fn add(&mut self, name: &str, observation: usize, figure: f64, limit: f64) {
        let digit = |c: char| c.is_ascii_digit();
        let row = match name.strip_prefix("step").map(|rest| rest.trim_start_matches(digit)) {
            Some(rest) => format!("stepI{rest}"),
            None => name.to_owned(),
        };
        let worst = &mut self.rows.entry(row).or_default()[observation];
        *worst = Some(worst.unwrap_or_default().max(figure));
        if figure > limit {
            self.beyond.push(format!("obs{observation} {name}: {figure:.2e}, limit {limit:.0e}"));
        }
    }

    fn print(&self, title: &str) {
        eprintln!("\n{title}\n\n| tensor | obs0 | obs1 | obs2 | obs3 |\n|---|---|---|---|---|");
        for (name, figures) in &self.rows {
            let cells = figures.map(|figure| match figure {
                None => "-".to_owned(),
                Some(0.0) => "exact".to_owned(),
                Some(figure) => format!("{figure:.1e}"),
            });
            eprintln!("| {name} | {} |", cells.join(" | "));
        }
    }

    fn check(&self) {
        assert!(self.beyond.is_empty(), "{}", self.beyond.join("\n"));
    }
}

/// Every tensor of the oracle that the dump has; those that it has not by name.
fn compare(table: &mut Table, index: usize, observation: &Observation, found: &Arrays, limit: f64) -> Vec<String> {
    for camera in &observation.cameras {
        let apart = match (found[&format!("proc.{camera}")].data(), observation.image("proc", camera).data()) {
            (Data::U8(found), Data::U8(expected)) if found.len() == expected.len() => {
                found.iter().zip(expected).filter(|(found, expected)| found != expected).count()
            }
            other => panic!("{camera}: {other:?}"),
        };
        table.add("proc.<camera> (differing bytes)", index, apart as f64, 0.0);
    }
    let mut absent = Vec::new();
    for (name, expected) in &observation.tensors {
        let Some(found) = found.get(name) else {
            absent.push(name.clone());
            continue;
        };
        if expected.as_f32().is_none() {
            table.add(name, index, if found == expected { 0.0 } else { f64::INFINITY }, 0.0);
            continue;
        }
        let (relative, largest) = difference(found, expected);
        if name.starts_with("action_decoded.") {
            table.add(&format!("{name} (largest, rad)"), index, largest, DECODED.max(limit));
        } else if name == "state_normalized" {
            table.add(&format!("{name} (largest)"), index, largest, STATE);
        } else {
            table.add(name, index, relative, limit);
        }
    }
    absent
}

/// Whether a tensor, named without its step, is no tensor of this layout: inside a network of the vendor's.
fn has_no_equivalent(layout: Layout, name: &str) -> bool {
    let inside = ["vit_embeddings", "vit_layer", "llm_layer", "block", "temb"];
    layout.name == vendor::LAYOUT.name && inside.iter().any(|start| name.starts_with(start))
}

/// Names of the oracle's tensors, without the step, that the dump lacks; but for those of other runs of the model.
fn without_an_equivalent(absent: &[String]) -> BTreeSet<&str> {
    let of_this_run = absent.iter().filter(|name| !name.contains("bf16"));
    of_this_run.map(|name| name.rsplit('.').next().unwrap_or_default()).collect()
}

/// The six networks of the last come from [`Bench::supply`].
const LAYOUTS: [Layout; 3] = [split::LAYOUT, backbone_dit::LAYOUT, vendor::LAYOUT];

#[test]
fn single_precision_gives_the_vendors_tensors_from_raw_images_to_decoded_actions() {
    let Some(bench) = Bench::new() else { return };
    for layout in LAYOUTS {
        let (mut exact, mut rounded) = (Table::default(), Table::default());
        for index in 0..OBSERVATIONS {
            let observation = bench.observation(index);
            let export = Export { layout, dtype: DType::F32, rope: RopeFrequencies::Exact };
            let found = bench.infer(&observation, export);
            let absent = compare(&mut exact, index, &observation, &found, RELATIVE);
            let missing: Vec<&str> =
                without_an_equivalent(&absent).into_iter().filter(|name| !has_no_equivalent(layout, name)).collect();
            assert!(missing.is_empty(), "{}: {missing:?} are not in the dump", layout.name);
            let found = bench.infer(&observation, Export { rope: RopeFrequencies::Bf16, ..export });
            for name in ["backbone_features", "action_pred"] {
                let (relative, _) = difference(&found[name], &observation.tensors[&format!("{name}_bf16invfreq")]);
                rounded.add(name, index, relative, RELATIVE);
            }
        }
        exact.print(&format!("FP32, {}, `--rope-inv-freq exact`", layout.name));
        rounded.print(&format!("FP32, {}, `--rope-inv-freq bf16`", layout.name));
        exact.check();
        rounded.check();
    }
}

/// ONNX Runtime's CPU provider computes most half-precision operators in single precision between casts: a GPU's FP16
/// is not this.
#[test]
fn half_precision_stays_within_its_limit() {
    const LIMIT: f64 = 2e-2;
    let Some(bench) = Bench::new() else { return };
    for layout in LAYOUTS {
        let mut table = Table::default();
        for index in 0..OBSERVATIONS {
            let observation = bench.observation(index);
            let export = Export { layout, dtype: DType::F16, rope: RopeFrequencies::Exact };
            let found = bench.infer(&observation, export);
            compare(&mut table, index, &observation, &found, LIMIT);
        }
        table.print(&format!("FP16, {}, `--rope-inv-freq exact`", layout.name));
        table.check();
    }
}
