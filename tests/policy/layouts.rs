//! The layouts are one policy: the demo checkpoint through each of them, and with networks made elsewhere, gives the
//! same actions; networks that do not fit are refused in words.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use vla_base::tensor::{DType, HostTensor};
use vla_export::bundle;
use vla_export::bundle::{Camera, Features, Request};
use vla_export::checkpoint::Checkpoint;
use vla_export::family::{N1D6, N1D7};
use vla_export::synthetic_checkpoint;
use vla_export::synthetic_checkpoint::{Size, TOKENIZER};
use vla_export::{
    Family, Layout, Model, Options, RopeFrequencies, View, VisionAttention, backbone_dit, demo, split, vendor,
};
use vla_offline::infer;
use vla_offline::infer::Inputs;
use vla_policy::PolicySpec;
use vla_runtime::session::Session;

mod stages;
mod template;

use vendor_files::Vendor;
use vla_trt_tests::demo as demo_settings;
use vla_trt_tests::vendor as vendor_files;

type Arrays = BTreeMap<String, HostTensor>;
type Files = BTreeMap<String, PathBuf>;

/// Largest difference of a decoded action between two layouts in single precision, rad. They are a few radians.
const TOLERANCE: f32 = 2e-5;

fn runs() -> bool {
    let there = std::env::var_os("ORT_DYLIB_PATH").is_some();
    if !there {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
    }
    there
}

/// The demo checkpoint.
struct Bench {
    scratch: tempfile::TempDir,
    checkpoint: Checkpoint,
    model: Model,
}

impl Bench {
    fn new() -> Self {
        Self::of(&N1D6)
    }

    fn of(family: &'static Family) -> Self {
        let scratch = tempfile::tempdir().expect("scratch");
        let dir = scratch.path().join("checkpoint");
        fs::create_dir(&dir).expect("a folder");
        synthetic_checkpoint::fill_folder(family, Size::Demo, 7, &dir, u64::MAX, &mut |_| {}).expect("a checkpoint");
        let checkpoint = Checkpoint::open(&dir).expect("opens");
        let model = checkpoint.model(&dir.join(TOKENIZER).join("config.json")).expect("sizes");
        Self { scratch, checkpoint, model }
    }

    fn request(&self, layout: Layout) -> Request {
        let dir = self.scratch.path().join("checkpoint");
        Request { layout, precision: None, ..demo::bundle::request(self.model.family, &dir) }
    }

    fn export(&self, request: &Request) -> PolicySpec {
        let out = self.scratch.path().join(format!("policy-{}", request.layout.name));
        bundle::write(request, &out, &mut |_| {}).expect("exports");
        PolicySpec::load(&out).expect("a policy")
    }

    fn refusal(&self, request: &Request) -> String {
        let out = self.scratch.path().join("refused");
        bundle::write(request, &out, &mut |_| {}).expect_err("refused").to_string()
    }

    /// Networks as the vendor's exporter makes them, of this element type inside and at the edges.
    fn vendor(&self, dtype: DType, edge: DType, write: impl FnOnce(&Vendor<'_>)) {
        let options = Options { dtype, ..options() };
        let views: Vec<View> = demo::views();
        write(&Vendor { weights: &self.checkpoint, model: &self.model, options: &options, views: &views, edge });
    }
}

fn options() -> Options {
    Options {
        dtype: DType::F32,
        dtype_of: BTreeMap::new(),
        rope: Default::default(),
        attention: Default::default(),
        steps: vec![4],
        embodiment: 0,
        text: demo::TEXT,
        blocks_per_engine: None,
        stacked_projections: false,
        debug_outputs: false,
    }
}

fn arrays(spec: &PolicySpec) -> Inputs {
    let wave = |count: usize, phase: f32| (0..count).map(|i| (i as f32 * 0.37 + phase).sin()).collect::<Vec<f32>>();
    let mut arrays = Arrays::new();
    for (index, camera) in spec.cameras.iter().enumerate() {
        let bytes = (0..480 * 640 * 3).map(|i| (i * (3 + index) / 5 % 256) as u8).collect();
        arrays.insert(format!("image.{camera}"), HostTensor::from_u8(&[480, 640, 3], bytes).expect("whole"));
    }
    for (key, width) in &spec.state {
        let state = HostTensor::from_f32(&[1, *width], wave(*width, 0.5)).expect("whole");
        arrays.insert(format!("state_raw.{key}"), state);
    }
    let dims = [spec.action.horizon, spec.action.dims];
    arrays.insert("noise".into(), HostTensor::from_f32(&dims, wave(dims[0] * dims[1], 0.0)).expect("whole"));
    let text = b"Pick up the red cube".to_vec();
    arrays.insert("instruction".into(), HostTensor::from_u8(&[text.len()], text).expect("whole"));
    Inputs::new(arrays, spec).expect("arrays that fit")
}

/// Every tensor of one inference, or why there is none.
fn run(spec: &PolicySpec, files: Files) -> Result<Arrays, String> {
    let inputs = arrays(spec);
    let mut policy = infer::load_with(spec.clone(), files, 1, &mut |_| {}).map_err(|error| error.to_string())?;
    let mut out = Arrays::new();
    infer::run(&mut policy, &inputs, &mut |name, tensor| {
        out.insert(name.to_owned(), tensor.clone());
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    Ok(out)
}

fn f32s<'a>(arrays: &'a Arrays, name: &str) -> &'a [f32] {
    arrays.get(name).and_then(HostTensor::as_f32).unwrap_or_else(|| panic!("no f32 '{name}'"))
}

/// Largest difference of any decoded action.
fn apart(a: &Arrays, b: &Arrays) -> f32 {
    let keys: Vec<&String> = a.keys().filter(|name| name.starts_with("action_decoded.")).collect();
    assert_eq!(keys.len(), demo::KEYS.len());
    let pairs = keys.into_iter().flat_map(|key| f32s(a, key).iter().zip(f32s(b, key)));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn backbone_dit_gives_the_actions_of_split() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let request = |layout, attention, rope| Request { attention, rope, ..bench.request(layout) };
    let mut seen: Vec<Arrays> = Vec::new();
    for (attention, rope) in [
        (VisionAttention::CrossView, RopeFrequencies::Bf16),
        (VisionAttention::PerImage, RopeFrequencies::Exact),
        (VisionAttention::PerImage, RopeFrequencies::Bf16),
    ] {
        let split = run(&bench.export(&request(split::LAYOUT, attention, rope)), Files::new()).expect("runs");
        let spec = bench.export(&request(backbone_dit::LAYOUT, attention, rope));
        assert_eq!(spec.stage_names(), ["backbone", "state_encoder", "action_encoder", "dit", "action_decoder"]);
        assert!(spec.instruction.embedding.is_none(), "the token embedding is inside the backbone");
        let whole = run(&spec, Files::new()).expect("runs");
        let difference = apart(&split, &whole);
        eprintln!("backbone-dit against split, {attention:?}, {rope:?}: {difference:e} rad");
        assert!(difference < TOLERANCE, "{difference}");
        assert!(seen.iter().all(|other| apart(other, &whole) > TOLERANCE), "the switches do something");
        seen.extend([split, whole]);
    }
    let (Some(whole), Some(split)) = (seen.pop(), seen.pop()) else { panic!("two runs") };
    assert_eq!(whole["vl_embs"].dims(), split["vl_embs"].dims(), "no batch axis in a dump");
    for name in ["input_ids", "image_mask", "backbone_attention_mask", "embodiment_id"] {
        assert_eq!(whole[name], split[name], "{name}");
    }
}

#[test]
fn backbone_dit_gives_the_actions_of_split_where_layers_lie_between_backbone_and_head() {
    if !runs() {
        return;
    }
    let bench = Bench::of(&N1D7);
    let mut seen: Vec<Arrays> = Vec::new();
    for features in [Features::BeforeNorm, Features::AfterNorm] {
        let request = |layout| Request { features, ..bench.request(layout) };
        let spec = bench.export(&request(split::LAYOUT));
        assert_eq!(spec.stage_names(), split::LAYOUT.stages);
        let split = run(&spec, Files::new()).expect("runs");
        let spec = bench.export(&request(backbone_dit::LAYOUT));
        assert_eq!(spec.stage_names(), backbone_dit::LAYOUT.stages);
        let whole = run(&spec, Files::new()).expect("runs");
        let difference = apart(&split, &whole);
        eprintln!("backbone-dit against split, N1.7, {features:?}: {difference:e} rad");
        assert!(difference < TOLERANCE, "{difference}");
        assert_eq!(whole["vl_embs"].dims(), split["vl_embs"].dims(), "no batch axis in a dump");
        seen.push(whole);
    }
    // The layers between are exported for a backbone and a DiT that come from elsewhere too; that backbone decides what they read.
    let full = PolicySpec::load(&bench.scratch.path().join("policy-backbone-dit")).expect("a policy");
    let head = bench.export(&bench.request(backbone_dit::HEAD));
    let files = ["backbone", "dit"].map(|stage| (stage.to_owned(), full.dir.join(format!("{stage}.onnx"))));
    assert_eq!(apart(&seen[1], &run(&head, files.into()).expect("runs")), 0.0);
    // The demo's norm has weights of one, whose effect the head's own norm takes back: it shows in the rows between.
    let [before, after] = [0, 1].map(|index: usize| f32s(&seen[index], "backbone_features"));
    assert!(before.iter().zip(after).any(|(before, after)| (before - after).abs() > 0.1), "the switch does something");
}

#[test]
fn a_dit_with_the_vendors_types_stands_in_for_the_bundles_own() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let spec = bench.export(&bench.request(backbone_dit::LAYOUT));
    let own = run(&spec, Files::new()).expect("runs");
    let dit = bench.scratch.path().join("dit_model.onnx");
    bench.vendor(DType::F32, DType::F32, |vendor| vendor.dit(&dit));
    let foreign = run(&spec, Files::from([("dit".to_owned(), dit.clone())])).expect("INT64, BOOL and named axes fit");
    let difference = apart(&own, &foreign);
    assert!(difference < TOLERANCE, "{difference}");

    let error = run(&spec, Files::from([("dti".to_owned(), dit)])).expect_err("no such stage");
    says(&error, &["'dti'", "backbone, state_encoder, action_encoder, dit, action_decoder"]);
}

#[test]
fn a_dit_with_other_edges_is_refused_unless_the_head_is_exported_for_it() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let spec = bench.export(&bench.request(backbone_dit::LAYOUT));
    let own = run(&spec, Files::new()).expect("runs");
    for edge in [DType::F16, DType::BF16] {
        let dit = bench.scratch.path().join(format!("dit_{edge}.onnx"));
        // The CPU computes half precision, and bfloat16 only converts.
        let inside = if edge == DType::F16 { DType::F16 } else { DType::F32 };
        bench.vendor(inside, edge, |vendor| vendor.dit(&dit));
        let files = Files::from([("dit".to_owned(), dit.clone())]);
        let error = run(&spec, files.clone()).expect_err("other edges");
        says(&error, &["stage 'dit' reads 'sa_embs' as", &edge.to_string(), "but it is f32 [1, 51, 96]"]);

        let mut request = bench.request(backbone_dit::HEAD);
        request.dtype_of.insert("dit".to_owned(), edge);
        let head = bench.export(&request);
        let files = files.into_iter().chain([("backbone".to_owned(), spec.dir.join("backbone.onnx"))]).collect();
        let difference = apart(&own, &run(&head, files).expect("edges that fit"));
        eprintln!("{edge} edges: {difference:e} rad");
        assert!(difference < 2e-2, "{edge}: {difference}");
    }
}

#[test]
fn the_head_says_what_it_lacks_and_runs_with_it() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let full = bench.export(&bench.request(backbone_dit::LAYOUT));
    let head = bench.export(&bench.request(backbone_dit::HEAD));
    let text = fs::read_to_string(head.dir.join("policy.yaml")).expect("text");
    says(&text, &["supplied:", "dit_model.onnx", "backbone_model.onnx", "engines.dit.path"]);
    let written: Vec<String> = fs::read_dir(&head.dir)
        .expect("a folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".onnx"))
        .collect();
    assert_eq!(written.len(), 3, "{written:?}");

    let error = run(&head, Files::new()).expect_err("two networks are missing");
    says(&error, &["stage 'backbone'", "backbone_model.onnx", "stage 'dit'", "dit_model.onnx", "engines.dit.path"]);
    says(&error, &["export_onnx_n1d7.py", "weight files"]);

    // Weights lie beside a network under the name that it gives them.
    for (from, to) in [("backbone.onnx", "backbone_model.onnx"), ("dit.onnx", "dit_model.onnx")] {
        fs::copy(full.dir.join(from), head.dir.join(to)).expect("copy");
        fs::copy(full.dir.join(format!("{from}.data")), head.dir.join(format!("{from}.data"))).expect("copy");
    }
    let head = PolicySpec::load(&head.dir).expect("a policy");
    let (own, supplied) = (run(&full, Files::new()).expect("runs"), run(&head, Files::new()).expect("runs"));
    assert_eq!(apart(&own, &supplied), 0.0, "the same networks");
    let identity = || infer::load(head.clone(), 1, &mut |_| {}).expect("loads").spec().fingerprint.clone();
    let before = identity();
    assert_ne!(before, head.fingerprint, "chunks say which networks made them");
    bench.vendor(DType::F32, DType::F32, |vendor| vendor.dit(&head.dir.join("dit_model.onnx")));
    assert_ne!(identity(), before);
}

#[test]
fn a_node_takes_its_networks_from_parameters() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let full = bench.export(&bench.request(backbone_dit::LAYOUT));
    let head = bench.export(&bench.request(backbone_dit::HEAD));
    let dit = bench.scratch.path().join("dit_model.onnx");
    bench.vendor(DType::F32, DType::F32, |vendor| vendor.dit(&dit));
    let backbone = format!("engines.backbone.path:={}", full.dir.join("backbone.onnx").display());
    let settings = demo_settings::settings(&head.dir, &[&backbone]);
    let error = Session::load(head.clone(), &settings, &mut |_| {}).err().expect("no DiT").to_string();
    says(&error, &["stage 'dit'", "dit_model.onnx"]);
    assert!(!error.contains("stage 'backbone'"), "{error}");
    let settings = demo_settings::settings(&head.dir, &[&backbone, &format!("engines.dit.path:={}", dit.display())]);
    Session::load(head, &settings, &mut |_| {}).expect("both are there");
}

#[test]
fn the_vendors_six_engines_run_with_the_stages_between_them() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let own = run(&bench.export(&bench.request(split::LAYOUT)), Files::new()).expect("runs");
    for (inside, edge, limit) in [
        (DType::F32, DType::F32, TOLERANCE),
        (DType::F16, DType::F16, 2e-2),
        // As the vendor exports them; the CPU computes no bfloat16, so that the networks convert inside.
        (DType::F32, DType::BF16, 6e-2),
    ] {
        let mut request = bench.request(vendor::LAYOUT);
        let foreign = ["vit", "llm", "state_encoder", "action_encoder", "dit", "action_decoder"];
        request.dtype_of = foreign.iter().map(|stage| ((*stage).to_owned(), edge)).collect();
        let spec = bench.export(&request);
        let error = run(&spec, Files::new()).err();
        let missing = vendor_files::FILES.iter().filter(|file| !spec.dir.join(file).exists()).count();
        assert_eq!(missing == 0, error.is_none(), "{error:?}");
        bench.vendor(inside, edge, |vendor| vendor.write_all(&spec.dir));
        let found = run(&spec, Files::new()).expect("runs");
        let difference = apart(&own, &found);
        eprintln!("six engines, {edge} edges: {difference:e} rad");
        assert!(difference < limit, "{edge}: {difference}");
        assert_eq!(found["vit_out"].dims()[1], bench.model.vision.width, "patches of all views as rows");
        for file in vendor_files::FILES {
            fs::remove_file(spec.dir.join(file)).expect("remove");
        }
    }
}

#[test]
fn a_network_of_other_sizes_is_refused_with_both() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let spec = bench.export(&bench.request(backbone_dit::LAYOUT));
    let decoder = bench.scratch.path().join("decoder.onnx");
    bench.vendor(DType::F32, DType::F32, |vendor| vendor.action_decoder(&decoder));
    let error = run(&spec, Files::from([("action_decoder".to_owned(), decoder)])).expect_err("other names");
    says(&error, &["stage 'action_decoder'", "has no input 'output'; it has model_output, embodiment_id"]);

    // A backbone for two views in a policy of three cameras.
    let mut request = bench.request(backbone_dit::LAYOUT);
    let two = bench.scratch.path().join("two");
    fs::create_dir(&two).expect("a folder");
    let views = &demo::views()[..2];
    let network = vla_export::layout::Network { model: &bench.model, views, image_token: 1 };
    bench.vendor(DType::F32, DType::F32, |vendor| {
        backbone_dit::LAYOUT.write_stages(vendor.weights, &network, vendor.options, &two).expect("writes");
    });
    let error = run(&spec, Files::from([("backbone".to_owned(), two.join("backbone.onnx"))])).expect_err("two views");
    says(&error, &["'pixel_values'", "the stage describes [3, 3, 112, 140]", "the network has [2, 3, 112, 140]"]);

    // And a description of two views for three cameras.
    request.layout = split::LAYOUT;
    let spec = bench.export(&request);
    let text = fs::read_to_string(spec.dir.join("policy.yaml")).expect("text");
    let text = text.replace("pixels: {dtype: f32, dims: [3, 3,", "pixels: {dtype: f32, dims: [2, 3,");
    let spec = PolicySpec::parse(&spec.dir, &text).expect("a policy");
    let error = run(&spec, Files::new()).expect_err("two views");
    says(&error, &["[2, 3, 112, 140]", "the host makes f32 [3, 3, height, width]"]);
}

#[test]
fn what_a_layout_cannot_do_is_said_with_what_it_can() {
    let bench = Bench::new();
    let mut request = bench.request(backbone_dit::LAYOUT);
    request.cameras[1] = Camera { name: "left_wrist".to_owned(), width: 848, height: 480 };
    request.blocks_per_engine = Some(1);
    request.dtype_of = BTreeMap::from([("vision".to_owned(), DType::F16)]);
    says(
        &bench.refusal(&request),
        &[
            "--camera: expected cameras of one final size",
            "top 140x112, left_wrist 196x112, right_wrist 140x112",
            "--layout split",
            "--blocks-per-engine: expected with --layout split, found --layout backbone-dit",
            "--dtype-of: expected one of backbone, state_encoder, action_encoder, dit, action_decoder",
            "found vision",
        ],
    );
    for layout in [backbone_dit::HEAD, vendor::LAYOUT] {
        let mut request = bench.request(layout);
        request.rope = RopeFrequencies::Exact;
        request.attention = VisionAttention::CrossView;
        says(&bench.refusal(&request), &["--rope-inv-freq", "--vision-attention", "files of your own", layout.name]);
    }
}
