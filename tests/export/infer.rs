//! `infer` on the demo policy: arrays in, every tensor out; what does not fit is said by name.

use vla_trt_tests::demo;
use vla_trt_tests::demo_pipeline;
use vla_trt_tests::eef;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Write};
use std::path::Path;

use demo_pipeline::{Demo, Inputs as BelowProcessor};
use vla_base::tensor::{Data, HostTensor};
use vla_messages::{PixelFormat, Pixels};
use vla_npz::npy;
use vla_offline::infer;
use vla_offline::infer::Inputs;
use vla_policy::PolicySpec;
use vla_policy::decode::ActionDecoder;
use vla_policy::encode::EvalTransform;
use vla_policy::encode::state::StateEncoder;
use vla_policy::processor::Processor;
use zip::write::SimpleFileOptions;

type Arrays = BTreeMap<String, HostTensor>;

fn wave(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.37).sin()).collect()
}

/// One observation of the demo policy.
fn arrays(spec: &PolicySpec) -> Arrays {
    let mut arrays = Arrays::new();
    for (index, camera) in spec.cameras.iter().enumerate() {
        let bytes = (0..48 * 64 * 3).map(|i| ((i * (7 + index)) % 251) as u8).collect();
        arrays.insert(format!("image.{camera}"), HostTensor::from_u8(&[48, 64, 3], bytes).expect("whole"));
    }
    for (key, width) in &spec.state {
        let state = HostTensor::from_f32(&[1, *width], wave(*width)).expect("whole");
        arrays.insert(format!("state_raw.{key}"), state);
    }
    let dims = [spec.action.horizon, spec.action.dims];
    arrays.insert("noise".into(), HostTensor::from_f32(&dims, wave(dims[0] * dims[1])).expect("whole"));
    let text = b"Push the cube!".to_vec();
    arrays.insert("instruction".into(), HostTensor::from_u8(&[text.len()], text).expect("whole"));
    arrays
}

fn dump(dir: &Path, arrays: Arrays) -> Arrays {
    let spec = PolicySpec::load(dir).expect("the demo policy");
    let inputs = Inputs::new(arrays, &spec).expect("arrays that fit");
    let mut policy = infer::load(spec, 1, &mut |_| {}).expect("the demo policy loads");
    let mut out = Arrays::new();
    infer::run(&mut policy, &inputs, &mut |name, tensor| {
        assert!(out.insert(name.to_owned(), tensor.clone()).is_none(), "'{name}' comes twice");
        Ok(())
    })
    .expect("it runs");
    out
}

fn f32s<'a>(arrays: &'a Arrays, name: &str) -> &'a [f32] {
    arrays.get(name).and_then(HostTensor::as_f32).unwrap_or_else(|| panic!("no f32 '{name}'"))
}

#[test]
fn what_is_dumped_is_what_the_pipeline_makes_of_it() {
    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let found = dump(policy.path(), arrays(&spec));
    let pixels = (0..spec.cameras.len()).flat_map(|view| f32s(&found, &format!("pixel_values_{view}")).to_vec());
    let inputs = BelowProcessor {
        pixels: pixels.collect(),
        instruction: "push the cube".into(),
        state: f32s(&found, "state_normalized").to_vec(),
        noise: f32s(&found, "noise").to_vec(),
        steps: spec.denoise.default,
    };
    assert_eq!(f32s(&found, "pixels"), inputs.pixels);
    assert_eq!(f32s(&found, "action_pred"), Demo::load(policy.path()).run(&inputs));
}

#[test]
fn encode_and_decode_are_those_of_the_policys_processor() {
    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let given = arrays(&spec);
    let found = dump(policy.path(), given.clone());
    let files = &spec.processor;
    let processor = Processor::load(&files.config, &files.statistics, &files.embodiment).expect("a processor");

    let raw: Vec<f32> =
        spec.state.iter().flat_map(|(key, _)| f32s(&given, &format!("state_raw.{key}")).to_vec()).collect();
    let mut state = vec![0.0; processor.max_state_dim];
    StateEncoder::new(&processor).expect("an encoder").encode(&raw, &mut state).expect("encodes");
    assert_eq!(f32s(&found, "state_normalized"), state);

    for (view, camera) in spec.cameras.iter().enumerate() {
        let Data::U8(bytes) = given[&format!("image.{camera}")].data() else { panic!("{camera}") };
        let frame = Pixels::new(PixelFormat::Rgb8, 64, 48, 3 * 64, bytes).expect("a frame");
        let mut pixels = vec![0.0; f32s(&found, &format!("pixel_values_{view}")).len()];
        EvalTransform::new(&processor.image).apply(&frame, &mut pixels).expect("transforms");
        assert_eq!(f32s(&found, &format!("pixel_values_{view}")), pixels, "{camera}");
    }

    let mut decoded = vec![0.0; processor.rows() * processor.action_width()];
    let mut decoder = ActionDecoder::new(&processor).expect("a decoder");
    decoder.decode(f32s(&found, "action_pred"), &raw, &mut decoded).expect("decodes");
    let mut start = 0;
    for (key, width) in &spec.action.keys {
        let rows = decoded.chunks_exact(processor.action_width());
        let expected: Vec<f32> = rows.flat_map(|row| row[start..start + width].to_vec()).collect();
        assert_eq!(f32s(&found, &format!("action_decoded.{key}")), expected, "{key}");
        start += width;
    }
}

#[test]
fn a_dump_is_in_single_precision_also_where_stages_hand_over_half() {
    let [single, half] = [demo::policy(), demo::policy_in_half_precision(&[])].map(|policy| {
        let spec = PolicySpec::load(policy.path()).expect("the policy");
        dump(policy.path(), arrays(&spec))
    });
    assert_eq!(single.keys().collect::<Vec<_>>(), half.keys().collect::<Vec<_>>());
    for (name, tensor) in &half {
        assert_eq!((tensor.dtype(), tensor.dims()), (single[name].dtype(), single[name].dims()), "{name}");
    }
    for name in ["image_rows", "vl_embs", "k0", "v2", "state_features"] {
        let [single, half] = [&single, &half].map(|all| all[name].as_f32().expect("f32"));
        assert_ne!(single, half, "{name} was rounded");
        let largest = single.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let difference = single.iter().zip(half).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-2 * largest, "{name}: {difference} of {largest}");
    }
}

#[test]
fn relative_poses_of_the_default_format_are_matrices_and_those_of_others_rows() {
    demo::point_at_onnx_runtime();
    for (format, width) in [("DEFAULT", vec![4, 4]), ("XYZ_ROT6D", vec![9]), ("XYZ_ROTVEC", vec![6])] {
        let (_kept, policy) = eef::policy(|config, _| eef::with_format(config, format));
        let spec = PolicySpec::load(&policy).expect("the policy");
        let found = dump(&policy, arrays(&spec));
        let decoded = &found["action_decoded.left_eef"];
        assert_eq!(decoded.dims(), [vec![spec.action.rows], width].concat(), "{format}");
        if format == "DEFAULT" {
            assert_eq!(decoded.as_f32().expect("f32")[12..16], [0.0, 0.0, 0.0, 1.0]);
        }
    }
}

#[test]
fn every_step_starts_where_the_last_one_ended() {
    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let mut given = arrays(&spec);
    let steps = *spec.denoise.steps.iter().max().expect("step counts");
    given.insert("steps".into(), HostTensor::from_i64(&[], vec![i64::from(steps)]).expect("whole"));
    let found = dump(policy.path(), given);
    assert_eq!(f32s(&found, "step0.actions_in"), f32s(&found, "noise"));
    for step in 0..steps {
        let [before, after, velocity] =
            ["actions_in", "actions_out", "velocity"].map(|name| f32s(&found, &format!("step{step}.{name}")));
        let euler = before.iter().zip(velocity).map(|(x, v)| x + v / steps as f32);
        assert!(euler.zip(after).all(|(euler, after)| (euler - after).abs() < 1e-5), "step {step}");
        let next = format!("step{}.actions_in", step + 1);
        assert_eq!(after, if step + 1 < steps { f32s(&found, &next) } else { f32s(&found, "action_pred") });
    }
    let rows = found[&format!("action_decoded.{}", spec.action.keys[0].0)].dims()[0];
    assert_eq!(rows, spec.action.rows);
}

#[test]
fn arrays_that_do_not_fit_are_all_named_with_what_was_expected() {
    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("the demo policy");
    let mut given = arrays(&spec);
    let camera = spec.cameras[0].clone();
    given.remove(&format!("image.{camera}"));
    given.insert("image.rear".into(), HostTensor::from_u8(&[1, 1, 3], vec![0; 3]).expect("whole"));
    given.insert("noise".into(), HostTensor::from_f32(&[2], vec![0.0, f32::NAN]).expect("whole"));
    given.insert("instruction".into(), HostTensor::from_u8(&[2], vec![0xff, 0xfe]).expect("whole"));
    given.insert("steps".into(), HostTensor::from_i64(&[1], vec![-1]).expect("whole"));
    let error = Inputs::new(given, &spec).expect_err("refused").to_string();
    for part in [
        format!("'image.{camera}': expected u8 [any, any, 3], found no such array"),
        format!("'noise': expected f32 [{}, {}], found f32 [2]", spec.action.horizon, spec.action.dims),
        "'instruction': expected the bytes of UTF-8 text".into(),
        "'steps': expected a step count, found -1".into(),
        "'image.rear': no such array is known".into(),
    ] {
        assert!(error.contains(&part), "{part}\nin {error}");
    }
}

/// Written by NumPy 2: `numpy.save(file, numpy.array([[1, -2]], numpy.float32))`.
const NUMPY: &[u8] = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }                                                          \n\x00\x00\x80?\x00\x00\x00\xc0";

#[test]
fn numpys_own_bytes_are_read_and_written() {
    let tensor = npy::parse(NUMPY).expect("NumPy's array");
    assert_eq!(tensor, HostTensor::from_f32(&[1, 2], vec![1.0, -2.0]).expect("whole"));
    assert_eq!(npy::write(&tensor), NUMPY);
}

#[test]
fn npy_headers_that_no_tensor_has_are_refused_in_words() {
    let with = |text: &str| {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        npy::parse(&bytes).expect_err("refused")
    };
    let refused = with("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }");
    assert!(refused.contains("'>f4'"), "{refused}");
    assert!(with("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }").contains("Fortran"));
    assert!(with("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }").contains("structured"));
    assert!(with("{'descr': '<f4', 'fortran_order': False, 'shape': (9,), }").contains("[9], found 0 bytes"));
    assert!(with("{'descr': '<f4', 'fortran_order': False}").contains("'shape'"));
    assert!(
        with("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }").contains("expected")
    );
}

fn zipped(name: &str, member: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(name, SimpleFileOptions::default()).expect("a member");
    archive.write_all(member).expect("written");
    archive.finish().expect("an archive").into_inner()
}

#[test]
fn an_archive_unpacks_no_more_than_its_headers_account_for() {
    let mut member = NUMPY.to_vec();
    member.resize(64 << 20, 0);
    let bomb = zipped("a.npy", &member);
    assert!(bomb.len() < 1 << 20, "packed");
    let error = vla_npz::parse(Cursor::new(bomb), Path::new("bomb.npz")).expect_err("refused").to_string();
    assert!(error.contains("'a'") && error.contains("f32 [1, 2]"), "{error}");
    let read: usize = error.split_whitespace().filter_map(|word| word.parse().ok()).max().expect("a count of bytes");
    assert!(read < 1 << 18, "64 MiB are not unpacked to see that 8 bytes are wanted: {error}");

    let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({},), }}", vla_npz::MAX_BYTES + 1);
    let mut huge = b"\x93NUMPY\x01\x00".to_vec();
    huge.extend_from_slice(&(text.len() as u16).to_le_bytes());
    huge.extend_from_slice(text.as_bytes());
    let error = vla_npz::parse(Cursor::new(zipped("b.npy", &huge)), Path::new("huge.npz")).expect_err("refused");
    assert!(error.to_string().contains("at most 1024 MiB"), "{error}");
}

#[test]
fn a_dump_that_is_not_finished_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("dump.npz");
    let mut writer = vla_npz::Writer::create(&path).expect("a file");
    writer.add("a", &HostTensor::default()).expect("written");
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 0);
    File::create(&path).expect("a file").write_all(b"PK").expect("written");
    let error = vla_npz::read(&path).expect_err("refused").to_string();
    assert!(error.contains("dump.npz") && error.contains("numpy.savez"), "{error}");
}
