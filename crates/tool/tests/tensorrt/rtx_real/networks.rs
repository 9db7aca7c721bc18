//! Networks of the demo and reach policies in every layout and type, one block of each at the real widths, and what is refused.

use std::collections::BTreeMap;

use half::f16;
use vla_base::tensor::DType;
use vla_export::demo::bundle::request;
use vla_export::family::FAMILIES;
use vla_export::synthetic_checkpoint::{Size, fill_folder};
use vla_export::{Family, Model, Options, RopeFrequencies, View, VisionAttention, backbone_dit, bundle, split};
use vla_tensorrt::Error;

use super::*;

/// Kernels and descriptions in a plan beside its weights, at most: a plan holds them once for each compute capability.
pub(super) const KERNELS: u64 = 12 << 20;

/// Exports a release's demo checkpoint.
pub(super) fn demo(family: &'static Family, layout: vla_export::Layout, dtype: DType) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().expect("scratch");
    let checkpoint = scratch.path().join("checkpoint");
    std::fs::create_dir(&checkpoint).expect("a folder");
    fill_folder(family, Size::Demo, 7, &checkpoint, u64::MAX, &mut |_| {}).expect("a checkpoint");
    let request = bundle::Request { layout, dtype, precision: None, ..request(family, &checkpoint) };
    bundle::write(&request, &scratch.path().join("policy"), &mut |_| {}).expect("exported");
    scratch
}

/// Builds the demo policy of every release.
fn build_demo(layout: vla_export::Layout, dtype: DType, fusion: usize, others: &[&str]) {
    let Some(rtx) = Rtx::open() else { return };
    for family in FAMILIES {
        let mut stages = others.to_vec();
        if family.demo.fusion > 0 {
            stages.insert(fusion, "fusion");
        }
        let policy = demo(family, layout, dtype);
        let plans = rtx.policy(&policy.path().join("policy"));
        assert_eq!(plans.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), stages);
        for (name, plan) in &plans {
            plan.assert_whole(name, KERNELS);
        }
    }
}

const SPLIT: &[&str] = &["vision", "language", "context", "step"];
const BACKBONE_DIT: &[&str] = &["backbone", "state_encoder", "action_encoder", "dit", "action_decoder"];

#[test]
fn the_demo_policies_build_in_the_split_layout_in_single_precision() {
    build_demo(split::LAYOUT, DType::F32, 2, SPLIT);
}

#[test]
fn the_demo_policies_build_in_the_split_layout_in_half_precision() {
    build_demo(split::LAYOUT, DType::F16, 2, SPLIT);
}

#[test]
fn the_demo_policies_build_in_the_backbone_dit_layout_in_single_precision() {
    build_demo(backbone_dit::LAYOUT, DType::F32, 1, BACKBONE_DIT);
}

#[test]
fn the_demo_policies_build_in_the_backbone_dit_layout_in_half_precision() {
    build_demo(backbone_dit::LAYOUT, DType::F16, 1, BACKBONE_DIT);
}

#[test]
fn a_policy_with_stages_of_two_types_builds() {
    let Some(rtx) = Rtx::open() else { return };
    let scratch = tempfile::tempdir().expect("scratch");
    let (checkpoint, policy) = (scratch.path().join("checkpoint"), scratch.path().join("policy"));
    std::fs::create_dir(&checkpoint).expect("a folder");
    fill_folder(&vla_export::family::N1D6, Size::Demo, 7, &checkpoint, u64::MAX, &mut |_| {}).expect("a checkpoint");
    let dtype_of = [("vision".to_owned(), DType::F32)].into();
    let request = bundle::Request {
        dtype: DType::F16,
        dtype_of,
        precision: None,
        ..request(&vla_export::family::N1D6, &checkpoint)
    };
    bundle::write(&request, &policy, &mut |_| {}).expect("exported");
    for (name, plan) in rtx.policy(&policy) {
        plan.assert_whole(&name, KERNELS);
    }
}

#[test]
fn the_reach_policies_build() {
    let Some(rtx) = Rtx::open() else { return };
    for policy in ["reach_policy", "reach_n1d7_policy"] {
        for (name, plan) in rtx.policy(&vla_trt_tests::root().join("data").join(policy)) {
            plan.assert_whole(&name, KERNELS);
        }
    }
}

/// Seeded half-precision weights: a build does not depend on their values.
struct Waves(BTreeMap<String, Vec<usize>>);

impl vla_export::weights::Weights for Waves {
    fn get(&self, name: &str) -> Result<vla_export::weights::Weight<'_>, vla_export::Error> {
        let (dtype, dims) = self.outline(name)?;
        // Other values for each name: equal weights are in a plan once. Repeated, because this code is not optimised.
        const PIECE: usize = 1 << 12;
        let salt: usize = name.bytes().map(usize::from).sum();
        let number = |index: usize| (index + salt).wrapping_mul(2_654_435_761).to_le_bytes()[2];
        let value = |index: usize| f16::from_f32((f32::from(number(index)) - 127.5) / 4096.0);
        let piece: Vec<u8> = (0..PIECE).flat_map(|index| value(index).to_le_bytes()).collect();
        let count: usize = dims.iter().product();
        let mut data = piece.repeat(count.div_ceil(PIECE));
        data.truncate(2 * count);
        Ok(vla_export::weights::Weight { name: name.to_owned(), dtype, dims, data: data.into() })
    }

    fn outline(&self, name: &str) -> Result<(DType, Vec<usize>), vla_export::Error> {
        let origin = || "the real widths".to_owned();
        let missing = || vla_export::Error::MissingWeight { name: name.to_owned(), origin: origin() };
        self.0.get(name).map(|dims| (DType::F16, dims.clone())).ok_or_else(missing)
    }
}

/// One block of each network at a release's widths, with one tap of the vision tower where there are any.
fn one_block(family: &'static Family) -> Model {
    let mut model = (family.released)();
    (model.vision.layers, model.language.layers, model.head.blocks) = (1, 1, 1);
    model.vision.deepstack.truncate(1);
    model.vision.deepstack.fill(0);
    if let Some(fusion) = &mut model.head.fusion {
        fusion.layers = 1;
    }
    (model.language.vocab, model.head.embodiments, model.head.timestep_buckets) = (64, 1, 16);
    model
}

/// Writes one block of each network at a release's widths, in half precision.
pub(super) fn real_widths(family: &'static Family, folder: &Path) -> Vec<split::ExportedStage> {
    let model = one_block(family);
    let options = Options {
        dtype: DType::F16,
        dtype_of: BTreeMap::new(),
        rope: RopeFrequencies::default(),
        attention: VisionAttention::default(),
        steps: vec![4],
        embodiment: 0,
        text: [20, 40, 100],
        blocks_per_engine: None,
        stacked_projections: false,
        debug_outputs: false,
    };
    let multiple = family.policy.smart_resize.multiple;
    let side = 256 / multiple * multiple;
    let views = [View { camera: "front".into(), width: side, height: side, images: 1 }];
    let weights = Waves(vla_export::inventory::inventory(&model).into_iter().collect());
    split::write(&weights, &model, &options, &views, folder).expect("exported")
}

#[test]
fn a_node_with_an_operator_that_it_lacks_is_named() {
    let Some(rtx) = Rtx::open() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let onnx = dir.path().join("det.onnx");
    quantized::write(&onnx, quantized::unknown_operator());
    match rtx.plan(&onnx, &[]).err().expect("refused") {
        Error::Parse { errors, .. } => {
            let named = errors.iter().find(|error| error.name.as_deref() == Some("/head/Det"));
            let error = named.unwrap_or_else(|| panic!("no error names the node: {errors:?}"));
            assert_eq!((error.node, error.operator.as_deref()), (Some(1), Some("Det")), "{error}");
        }
        other => panic!("expected a parser error, found {other}"),
    }
}

#[test]
fn a_plan_is_refused_where_there_is_no_gpu_with_the_librarys_own_words() {
    let Some(rtx) = Rtx::open() else { return };
    if vla_tensorrt::cuda::Cuda::open().is_ok() {
        println!("SKIPPED: a plan without a GPU: this machine has one");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("context.engine");
    let onnx = vla_trt_tests::root().join("data/reach_policy/context.onnx");
    let mut out = std::fs::File::create(&file).expect("a file");
    let policy = vla_policy::PolicySpec::load(&vla_trt_tests::root().join("data/reach_policy")).expect("a policy");
    let stage = policy.engine_stages().into_iter().find(|stage| stage.name == "context").expect("a stage");
    rtx.write(&onnx, &stage.profile, &mut out).expect("built");
    let log = vla_tensorrt::Log::new();
    let runtime = vla_tensorrt::Runtime::new(&rtx.library, &log).expect("a runtime needs no GPU");
    match runtime.load(&file).err().expect("refused") {
        Error::Refused { log, .. } => assert!(log.iter().any(|line| line.contains("CUDA driver")), "{log:?}"),
        other => panic!("expected a refusal, found {other}"),
    }
}
