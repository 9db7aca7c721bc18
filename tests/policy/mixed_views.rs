//! Cameras whose frames become views of different sizes: one pixel tensor each.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use vla_base::tensor::{DType, HostTensor};
use vla_export::RopeFrequencies;
use vla_export::bundle;
use vla_export::bundle::{Camera, Request};
use vla_export::demo;
use vla_export::synthetic_checkpoint;
use vla_export::synthetic_checkpoint::Size;
use vla_offline::infer;
use vla_offline::infer::Inputs;
use vla_policy::PolicySpec;

type Arrays = BTreeMap<String, HostTensor>;

/// Exports the demo checkpoint for frames of these sizes and runs it on them.
fn run(scratch: &Path, sizes: [(usize, usize); 3]) -> Result<Arrays, String> {
    let policy = export(scratch, sizes);
    infer(&policy, sizes)
}

fn export(scratch: &Path, sizes: [(usize, usize); 3]) -> PolicySpec {
    let checkpoint = scratch.join("checkpoint");
    if !checkpoint.exists() {
        fs::create_dir(&checkpoint).expect("a folder");
        synthetic_checkpoint::fill_folder(&vla_export::family::N1D6, Size::Demo, 7, &checkpoint, u64::MAX, &mut |_| {})
            .expect("a checkpoint");
    }
    let camera = |(name, (width, height)): (&&str, (usize, usize))| Camera { name: (*name).to_owned(), width, height };
    let request = Request {
        cameras: demo::CAMERAS.iter().zip(sizes).map(camera).collect(),
        blank_views: Vec::new(),
        name: "mixed".to_owned(),
        steps: vec![1],
        max_text: 256,
        usual_text: None,
        precision: None,
        rope: RopeFrequencies::Exact,
        ..demo::bundle::request(&vla_export::family::N1D6, &checkpoint)
    };
    let out = scratch.join("policy");
    bundle::write(&request, &out, &mut |_| {}).expect("exports");
    PolicySpec::load(&out).expect("the bundle")
}

fn infer(spec: &PolicySpec, sizes: [(usize, usize); 3]) -> Result<Arrays, String> {
    let mut arrays = Arrays::new();
    for (index, (camera, (width, height))) in spec.cameras.iter().zip(sizes).enumerate() {
        let bytes = (0..width * height * 3).map(|i| (i * (3 + index) / 5 % 256) as u8).collect();
        arrays.insert(format!("image.{camera}"), HostTensor::from_u8(&[height, width, 3], bytes).expect("whole"));
    }
    let zeros = |dims: &[usize]| HostTensor::zeros(DType::F32, dims).expect("f32");
    for (key, width) in &spec.state {
        arrays.insert(format!("state_raw.{key}"), zeros(&[1, *width]));
    }
    arrays.insert("noise".into(), zeros(&[spec.action.horizon, spec.action.dims]));
    arrays.insert("instruction".into(), HostTensor::from_u8(&[4], b"push".to_vec()).expect("whole"));
    let inputs = Inputs::new(arrays, spec).expect("arrays that fit");
    let mut policy = infer::load(spec.clone(), 1, &mut |_| {}).expect("the policy loads");
    let mut out = Arrays::new();
    infer::run(&mut policy, &inputs, &mut |name, tensor| {
        out.insert(name.to_owned(), tensor.clone());
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    Ok(out)
}

#[test]
fn a_view_gives_the_same_rows_beside_views_of_other_sizes() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let (normal, wide) = ((640, 480), (848, 480));
    let alike = run(scratch.path(), [normal; 3]).expect("runs");
    let mixed = run(scratch.path(), [normal, wide, normal]).expect("runs");
    assert!(alike.contains_key("pixels") && !mixed.contains_key("pixels"));
    for (index, camera) in demo::CAMERAS.iter().enumerate() {
        let stacked = mixed[&format!("pixels.{camera}")].as_f32().expect("f32");
        assert_eq!(stacked, mixed[&format!("pixel_values_{index}")].as_f32().expect("f32"));
    }
    let rows = |arrays: &Arrays| arrays["image_rows"].as_f32().expect("f32").to_vec();
    let (alike_rows, mixed_rows) = (rows(&alike), rows(&mixed));
    let view = alike_rows.len() / 3;
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(mixed_rows.len() > alike_rows.len(), "a wider view has more rows");
    assert!(close(&alike_rows[..view], &mixed_rows[..view]), "first view");
    assert!(close(&alike_rows[2 * view..], &mixed_rows[mixed_rows.len() - view..]), "last view");
    let images = mixed["image_index"].dims()[0];
    assert_eq!(images * (alike_rows.len() / alike["image_index"].dims()[0]), mixed_rows.len(), "a token a row");
}

#[test]
fn a_frame_of_another_size_than_its_own_view_is_refused_by_camera() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let (normal, wide) = ((640, 480), (848, 480));
    let spec = export(scratch.path(), [normal, wide, normal]);
    let error = infer(&spec, [normal, normal, wide]).expect_err("refused");
    assert!(error.contains(&format!("camera '{}'", demo::CAMERAS[1])) && error.contains("640x480"), "{error}");
}
