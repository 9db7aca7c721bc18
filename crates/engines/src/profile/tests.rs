use super::*;
use crate::graph::{Input, Role};

fn profile() -> Profile {
    Profile { min: vec![120, 8], opt: vec![370, 8], max: vec![420, 8] }
}

fn spec() -> TensorSpec {
    TensorSpec { name: "vl".into(), dtype: DType::F32, dims: vec![Dim::Symbol("S".into()), Dim::Fixed(8)] }
}

fn stage(dims: Vec<Dim>, ranges: &[(&str, [usize; 3])]) -> Stage {
    Stage {
        name: "language".into(),
        file: "language.engine".into(),
        onnx: "language.onnx".into(),
        repeat: false,
        inputs: vec![Input { tensor: "vl".into(), name: "vl".into(), dtype: None, dims: Some(dims), constants: None }],
        outputs: Vec::new(),
        precision: "fp16".into(),
        profile: ranges.iter().map(|(name, range)| ((*name).into(), *range)).collect(),
        allow_unverified: false,
        allow_inaccurate: false,
    }
}

fn checked(dtype: DType, dims: &[usize]) -> Result<(), String> {
    let (spec, profile) = (spec(), profile());
    let accepts = Accepts { spec: &spec, profile: Some(&profile) };
    check("language", accepts, &spec.dims, dtype, dims).map_err(|violation| violation.to_string())
}

#[test]
fn both_ends_of_a_profile_are_taken_and_one_beyond_is_refused_with_every_figure() {
    assert_eq!(checked(DType::F32, &[120, 8]), Ok(()));
    assert_eq!(checked(DType::F32, &[420, 8]), Ok(()));
    let error = checked(DType::F32, &[421, 8]).expect_err("above max");
    assert!(
        error.starts_with(
            "engine 'language', input 'vl': dimension 0 (S) is 421, the engine's profile takes 120 to 420"
        ),
        "{error}"
    );
    assert!(checked(DType::F32, &[119, 8]).expect_err("below min").contains("is 119"));
    let error = checked(DType::F32, &[200, 9]).expect_err("a fixed dimension");
    assert!(error.contains("dimension 1 is 9, the engine's profile takes 8 to 8"), "{error}");
}

#[test]
fn another_type_or_rank_is_refused() {
    let error = checked(DType::F16, &[200, 8]).expect_err("f16");
    assert!(error.contains("element type f16, the engine takes f32"), "{error}");
    assert!(checked(DType::F32, &[200]).expect_err("rank").contains("1 dimensions, the engine takes 2"));
    assert!(checked(DType::F32, &[200, 8, 1]).is_err());
}

#[test]
fn without_a_profile_only_fixed_dimensions_bind() {
    let spec = spec();
    let accepts = Accepts { spec: &spec, profile: None };
    assert!(check("language", accepts, &spec.dims, DType::F32, &[9999, 8]).is_ok());
    assert!(check("language", accepts, &spec.dims, DType::F32, &[1, 7]).is_err());
}

#[test]
fn int64_of_a_network_is_int32_of_an_engine_before_tensorrt_10_only() {
    assert!(same_type(DType::I64, DType::I32, true));
    assert!(!same_type(DType::I64, DType::I32, false));
    assert!(!same_type(DType::I32, DType::I64, true), "never the other way");
    assert!(same_type(DType::I64, DType::I64, false));
}

#[test]
fn a_profile_that_is_narrower_than_the_description_is_reported() {
    let dims = || vec![Dim::Symbol("S".into()), Dim::Fixed(8)];
    let found = |stage: &Stage| problems(stage, |_| Some(Box::leak(Box::new(profile()))));
    assert!(found(&stage(dims(), &[("S", [120, 300, 420])])).is_empty());
    let wide = found(&stage(dims(), &[("S", [100, 300, 500])]));
    let Problem::NarrowProfile { built, required, .. } = &wide[0] else { panic!("{wide:?}") };
    assert_eq!((built.as_str(), required.as_str()), ("[120, 8]..[420, 8]", "[S 100..500, 8]"));
    // A fixed size is a promise of that size.
    assert_eq!(found(&stage(vec![Dim::Fixed(421), Dim::Fixed(8)], &[])).len(), 1);
    assert_eq!(found(&stage(vec![Dim::Fixed(200)], &[])).len(), 1, "rank");
    // A symbol without a range promises nothing.
    assert!(found(&stage(dims(), &[])).is_empty());
}

#[test]
fn a_profile_out_of_order_is_reported() {
    let broken = Profile { min: vec![5], opt: vec![4], max: vec![6] };
    assert!(!broken.is_sound());
    let found = problems(&stage(vec![Dim::Symbol("S".into())], &[]), |_| Some(&broken));
    assert!(matches!(&found[..], [Problem::UnorderedProfile { profile, .. }] if *profile == broken), "{found:?}");
}

#[test]
fn a_failed_run_shows_every_shape_and_the_log() {
    let failure = EnqueueFailure {
        stage: "step".into(),
        iteration: Some(2),
        source: "enqueueV3 failed".into(),
        tensors: vec![
            TensorShape {
                role: Role::Input,
                name: "vl".into(),
                dtype: DType::F16,
                dims: vec![400, 8],
                profile: Some(profile()),
            },
            TensorShape {
                role: Role::Output,
                name: "next".into(),
                dtype: DType::F32,
                dims: vec![50, 128],
                profile: None,
            },
        ],
        log: vec!["[genericReformat.cu] Cask unknown internal error".into()],
        verified: Some(false),
    };
    let text = failure.to_string();
    assert!(text.starts_with("stage 'step' (iteration 2) failed while running: enqueueV3 failed\n"), "{text}");
    assert!(text.contains("vl: f16 [400, 8], the engine takes [120, 8]..[370, 8]..[420, 8]"), "{text}");
    assert!(text.contains("next: f32 [50, 128]") && text.contains("Cask unknown internal error"), "{text}");
    assert_eq!(std::error::Error::source(&failure).map(ToString::to_string).as_deref(), Some("enqueueV3 failed"));
}
