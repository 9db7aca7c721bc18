//! A policy that reads frames of several times: from the checkpoint's configuration to the networks' input.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};
use vla_base::tensor::{DType, HostTensor};
use vla_base::time::{Span, Stamp};
use vla_export::{bundle, demo, synthetic_checkpoint};
use vla_messages::{HeaderView, write};
use vla_offline::infer;
use vla_policy::PolicySpec;
use vla_policy::observation::{InputKind, Inputs};
use vla_runtime::session::{CycleOutcome, Session};

const STEPS: [i64; 2] = [-3, 0];
const NOW: Stamp = Stamp::from_nanos(1_760_000_000_000_000_000);

/// The demo checkpoint with frames of [`STEPS`], exported; the view in the middle may be blank.
fn export(scratch: &Path) -> PathBuf {
    let (checkpoint, out) = (scratch.join("checkpoint"), scratch.join("policy"));
    fs::create_dir(&checkpoint).expect("a folder");
    let size = synthetic_checkpoint::Size::Demo;
    synthetic_checkpoint::fill_folder(&vla_export::family::N1D6, size, 7, &checkpoint, u64::MAX, &mut |_| {})
        .expect("a checkpoint");
    let path = checkpoint.join("processor_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
    config["processor_kwargs"]["modality_configs"][demo::EMBODIMENT.0]["video"]["delta_indices"] = json!(STEPS);
    fs::write(&path, config.to_string()).expect("written");
    let request = bundle::Request {
        blank_views: vec![demo::CAMERAS[1].to_owned()],
        ..demo::bundle::request(&vla_export::family::N1D6, &checkpoint)
    };
    bundle::write(&request, &out, &mut |_| {}).expect("exports");
    out
}

fn without_onnx() -> bool {
    let without = std::env::var_os("ORT_DYLIB_PATH").is_none();
    if without {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
    }
    without
}

#[test]
fn the_exporter_writes_the_times_and_the_blank_views() {
    let scratch = tempfile::tempdir().expect("a folder");
    let spec = PolicySpec::load(&export(scratch.path())).expect("the bundle");
    assert_eq!((&spec.video_history[..], &spec.state_history[..]), (&STEPS[..], &[0][..]));
    assert_eq!(spec.blank_views, [demo::CAMERAS[1]]);
    let pixels = spec.stages.iter().flat_map(|stage| &stage.inputs).find(|input| input.name == "pixels");
    let dims = pixels.and_then(|input| input.dims.clone()).expect("the vision stage's input");
    assert_eq!(dims[0], vla_base::tensor::Dim::Fixed(6), "an image for each time of each view");
}

#[test]
fn views_that_cannot_be_blank_are_refused_by_the_exporter() {
    let scratch = tempfile::tempdir().expect("a folder");
    let checkpoint = scratch.path().join("checkpoint");
    fs::create_dir(&checkpoint).expect("a folder");
    let size = synthetic_checkpoint::Size::Demo;
    synthetic_checkpoint::fill_folder(&vla_export::family::N1D6, size, 7, &checkpoint, u64::MAX, &mut |_| {})
        .expect("a checkpoint");
    let refusal = |blank: &[&str]| {
        let blank_views = blank.iter().map(|view| (*view).to_owned()).collect();
        let request = bundle::Request { blank_views, ..demo::bundle::request(&vla_export::family::N1D6, &checkpoint) };
        bundle::write(&request, &scratch.path().join("out"), &mut |_| {}).expect_err("refused").to_string()
    };
    assert!(refusal(&["head"]).contains("--blank-view head"));
    assert!(refusal(&[demo::CAMERAS[0], demo::CAMERAS[0]]).contains("found twice"));
    assert!(refusal(&demo::CAMERAS).contains("at least one camera"));
}

#[test]
fn cameras_whose_images_the_vendor_orders_otherwise_are_refused_by_the_exporter() {
    let scratch = tempfile::tempdir().expect("a folder");
    let out = export(scratch.path());
    let sized = |sizes: [(usize, usize); 3]| {
        let mut request = demo::bundle::request(&vla_export::family::N1D6, &scratch.path().join("checkpoint"));
        for (camera, (width, height)) in request.cameras.iter_mut().zip(sizes) {
            (camera.width, camera.height) = (width, height);
        }
        bundle::write(&request, &out, &mut |_| {}).map(drop).map_err(|error| error.to_string())
    };
    let (wide, wider) = ((848, 480), (1280, 720));
    let refused = sized([wide, wider, wide]).expect_err("one final size");
    assert!(refused.contains("199x112") && refused.contains("200x112"), "{refused}");
    assert_eq!(sized([wider; 3]), Ok(()));
    assert_eq!(sized([(640, 480), wide, wider]), Ok(()), "different final sizes: by view on both sides");
}

#[test]
fn images_reach_the_network_by_time_then_view() {
    if without_onnx() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let spec = PolicySpec::load(&export(scratch.path())).expect("the bundle");
    let (width, height) = (320, 240);
    let mut arrays = BTreeMap::new();
    for (view, camera) in spec.cameras.iter().enumerate() {
        // One grey a frame: ten times the view, plus the time.
        let grey = |time: usize| vec![(100 + 10 * view + time) as u8; width * height * 3];
        let frames = HostTensor::from_u8(&[2, height, width, 3], [grey(0), grey(1)].concat());
        arrays.insert(format!("image.{camera}"), frames.expect("whole"));
    }
    let zeros = |dims: &[usize]| HostTensor::zeros(DType::F32, dims).expect("f32");
    for (key, width) in &spec.state {
        arrays.insert(format!("state_raw.{key}"), zeros(&[1, *width]));
    }
    arrays.insert("noise".into(), zeros(&[spec.action.horizon, spec.action.dims]));
    arrays.insert("instruction".into(), HostTensor::from_u8(&[4], b"push".to_vec()).expect("whole"));
    let inputs = infer::Inputs::new(arrays, &spec).expect("arrays that fit");
    let mut policy = infer::load(spec.clone(), 1, &mut |_| {}).expect("the policy loads");
    let mut seen = BTreeMap::new();
    infer::run(&mut policy, &inputs, &mut |name, tensor| {
        seen.insert(name.to_owned(), tensor.clone());
        Ok(())
    })
    .expect("runs");
    let pixels = seen["pixels"].as_f32().expect("f32");
    let greys: Vec<u8> =
        pixels.chunks(pixels.len() / 6).map(|image| (image[0] * 127.5 + 127.5).round() as u8).collect();
    assert_eq!(greys, [100, 110, 120, 101, 111, 121]);
    let tokens: usize = seen["image_index"].dims().iter().product();
    assert_eq!(tokens, seen["image_rows"].dims()[0], "a place in the prompt for each row of each image");
}

/// One cycle on frames of which the earlier ones have this grey; the actions of the chunk.
fn actions(policy: &Path, blank: bool, earlier: u8) -> Vec<f32> {
    let blank_view = format!("inputs.cameras.{}.blank:={blank}", demo::CAMERAS[1]);
    let settings = vla_trt_tests::demo::settings(policy, &["instruction:=push", &blank_view]);
    let mut session =
        Session::load(PolicySpec::load(policy).expect("the bundle"), &settings, &mut |_| {}).expect("loads");
    let inputs = Inputs::new(settings.inputs.clone());
    inputs.set_instruction("push");
    let names = settings.joint_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let step = settings.inputs[0].history.before[0];
    for (stamp, grey) in [(NOW - step, earlier), (NOW, 90)] {
        let header = HeaderView { stamp, frame_id: "" };
        for (index, topic) in inputs.topics().iter().enumerate() {
            let message = match topic.kind {
                InputKind::Camera { .. } => write::compressed_image(header, "png", &png(grey)),
                InputKind::Joints => write::joint_state(header, &names, &vec![0.1; names.len()], &[], &[]),
                _ => continue,
            };
            inputs.offer(index, Bytes::from(message), stamp).expect("a good message");
        }
    }
    let CycleOutcome::Published(published) = session.cycle(NOW, &inputs, &settings, true, &mut || NOW) else {
        panic!("a chunk")
    };
    published.chunk.values.clone()
}

fn png(grey: u8) -> Vec<u8> {
    let mut data = Vec::new();
    let mut encoder = png::Encoder::new(&mut data, 320, 240);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&[grey; 320 * 240]).expect("data");
    writer.finish().expect("an end");
    data
}

#[test]
fn a_cycle_uses_the_earlier_frames_and_runs_without_a_blank_view() {
    if without_onnx() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let policy = export(scratch.path());
    let [same, again, other] = [90, 90, 140].map(|earlier| actions(&policy, false, earlier));
    assert_eq!(same, again);
    assert!(same.iter().all(|value| value.is_finite()) && same != other, "the earlier frames show in the actions");
    let blank = actions(&policy, true, 90);
    assert!(blank.iter().all(|value| value.is_finite()) && blank != same);
}

#[test]
fn a_history_that_does_not_reach_back_is_a_violation_and_no_inference() {
    if without_onnx() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let policy = export(scratch.path());
    let settings = vla_trt_tests::demo::settings(&policy, &["instruction:=push"]);
    let mut session =
        Session::load(PolicySpec::load(&policy).expect("the bundle"), &settings, &mut |_| {}).expect("loads");
    let inputs = Inputs::new(settings.inputs.clone());
    let header = HeaderView { stamp: NOW, frame_id: "" };
    for (index, topic) in inputs.topics().iter().enumerate() {
        if let InputKind::Camera { .. } = topic.kind {
            let message = write::compressed_image(header, "png", &png(90));
            inputs.offer(index, Bytes::from(message), NOW).expect("a good message");
        }
    }
    let faults = inputs.faults(NOW, &settings.rules);
    let without = faults.iter().filter(|(breach, forbids)| breach.word() == "without history" && *forbids);
    assert_eq!(without.count(), demo::CAMERAS.len(), "{faults:?}");
    let outcome = session.cycle(NOW + Span::from_millis(1.0), &inputs, &settings, true, &mut || NOW);
    assert!(!matches!(outcome, CycleOutcome::Published(_)));
}
