//! Checkpoints that differ from the released one, through export and infer; and what is said of those that cannot be.

use vla_trt_tests::demo;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;
use vla_base::tensor::HostTensor;
use vla_engines::onnx::Network;
use vla_export::bundle;
use vla_export::bundle::Request;
use vla_export::synthetic_checkpoint;
use vla_export::synthetic_checkpoint::{Size, TOKENIZER};
use vla_offline::infer;
use vla_offline::infer::Inputs;
use vla_policy::PolicySpec;

type Arrays = BTreeMap<String, HostTensor>;
/// A value as bytes of an element type, and the number that they stand for.
type Stored = fn(f32) -> Vec<u8>;
type Rounded = fn(f32) -> f32;

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        synthetic_checkpoint::fill_folder(&vla_export::family::N1D6, Size::Demo, 7, dir.path(), u64::MAX, &mut |_| {})
            .expect("a checkpoint");
        Self(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.file(file)).expect("text");
        assert!(text.contains(from), "{file} has {from}");
        fs::write(self.file(file), text.replace(from, to)).expect("written");
    }

    fn request(&self) -> Request {
        vla_export::demo::bundle::request(&vla_export::family::N1D6, self.0.path())
    }

    /// Writes every weight anew, as `convert` makes it of its values.
    fn store(&self, dtype: Dtype, convert: impl Fn(f32) -> Vec<u8>) {
        let file = self.file("model.safetensors");
        let bytes = fs::read(&file).expect("weights");
        let held = SafeTensors::deserialize(&bytes).expect("safetensors");
        let values = |view: &TensorView<'_>| -> Vec<f32> {
            view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = held
            .iter()
            .map(|(name, view)| {
                (name.to_owned(), view.shape().to_vec(), values(&view).into_iter().flat_map(&convert).collect())
            })
            .collect();
        let views = stored
            .iter()
            .map(|(name, shape, data)| (name.clone(), TensorView::new(dtype, shape.clone(), data).expect("whole")));
        let written = safetensors::serialize(views, None).expect("serialized");
        fs::write(file, written).expect("written");
    }
}

/// One observation of a policy.
fn observation(spec: &PolicySpec) -> Arrays {
    let wave = |count: usize| (0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
    let mut arrays = Arrays::new();
    for (index, camera) in spec.cameras.iter().enumerate() {
        let bytes = (0..48 * 64 * 3).map(|i| ((i * (7 + index)) % 251) as u8).collect();
        arrays.insert(format!("image.{camera}"), HostTensor::from_u8(&[48, 64, 3], bytes).expect("whole"));
    }
    for (key, width) in &spec.state {
        arrays.insert(format!("state_raw.{key}"), HostTensor::from_f32(&[1, *width], wave(*width)).expect("whole"));
    }
    let dims = [spec.action.horizon, spec.action.dims];
    arrays.insert("noise".into(), HostTensor::from_f32(&dims, wave(dims[0] * dims[1])).expect("whole"));
    arrays.insert("instruction".into(), HostTensor::from_u8(&[4], b"push".to_vec()).expect("whole"));
    arrays
}

/// Runs a policy on an observation.
fn run(policy: &Path, change: impl FnOnce(&mut Arrays)) -> Arrays {
    demo::point_at_onnx_runtime();
    let spec = PolicySpec::load(policy).expect("a policy");
    let mut arrays = observation(&spec);
    change(&mut arrays);
    let inputs = Inputs::new(arrays, &spec).expect("arrays that fit");
    let mut policy = infer::load(spec, 1, &mut |_| {}).expect("it loads");
    let mut found = Arrays::new();
    infer::run(&mut policy, &inputs, &mut |name, tensor| {
        found.insert(name.to_owned(), tensor.clone());
        Ok(())
    })
    .expect("it runs");
    found
}

#[test]
fn the_checkpoints_own_step_count_is_exported_and_the_default() {
    let bench = Bench::new();
    bench.edit("config.json", r#""num_inference_timesteps": 4"#, r#""num_inference_timesteps": 3"#);
    let out = tempfile::tempdir().expect("scratch");
    bundle::write(&Request { steps: vec![1, 2], ..bench.request() }, out.path(), &mut |_| {}).expect("exports");
    let spec = PolicySpec::load(out.path()).expect("a policy");
    assert_eq!((spec.denoise.steps.as_slice(), spec.denoise.default), (&[1, 2, 3][..], 3));
    let found = run(out.path(), |_| {});
    assert!(found.contains_key("step2.velocity") && !found.contains_key("step3.velocity"));
}

#[test]
fn weights_in_half_precision_give_what_the_same_numbers_in_single_precision_give() {
    let cases: [(Dtype, Stored, Rounded); 2] = [
        (Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes().to_vec(), |x| bf16::from_f32(x).to_f32()),
        (Dtype::F16, |x| f16::from_f32(x).to_le_bytes().to_vec(), |x| f16::from_f32(x).to_f32()),
    ];
    for (dtype, bytes, rounded) in cases {
        let (half, single) = (Bench::new(), Bench::new());
        half.store(dtype, bytes);
        single.store(Dtype::F32, |x| rounded(x).to_le_bytes().to_vec());
        let dirs = [half, single].map(|bench| {
            let out = tempfile::tempdir().expect("scratch");
            bundle::write(&bench.request(), out.path(), &mut |_| {}).expect("exports");
            out
        });
        for file in
            ["vision.onnx.data", "language.onnx.data", "context.onnx.data", "step.onnx", "modulation.safetensors"]
        {
            let [a, b] = [0, 1].map(|at: usize| fs::read(dirs[at].path().join(file)).expect("a file"));
            assert!(a == b, "{dtype:?}: {file}");
        }
        // The embedding table stays as it was stored.
        let [a, b] = [0, 1].map(|at: usize| run(dirs[at].path(), |_| {}));
        assert_eq!(a["text_rows"], b["text_rows"], "{dtype:?}");
        assert_eq!(a["action_pred"], b["action_pred"], "{dtype:?}");
    }
}

#[test]
fn stacked_projections_are_fewer_products_with_the_same_results() {
    let bench = Bench::new();
    let dirs = [false, true].map(|stacked_projections| {
        let out = tempfile::tempdir().expect("scratch");
        let request = Request { stacked_projections, ..bench.request() };
        bundle::write(&request, out.path(), &mut |_| {}).expect("exports");
        out
    });
    // Two language layers: q, k, v in one product, gate and up in another, so three products less each.
    let products = |at: usize| {
        let network = Network::open(&dirs[at].path().join("language.onnx")).expect("a network");
        network.nodes().filter(|(_, operator)| matches!(*operator, "Gemm" | "MatMul")).count()
    };
    assert_eq!(products(0) - products(1), 2 * 3);
    let [apart, stacked] = [0, 1].map(|at: usize| run(dirs[at].path(), |_| {}));
    for name in ["vl_embs", "action_pred"] {
        let values = |arrays: &Arrays| arrays[name].as_f32().expect("single precision").to_vec();
        let largest = values(&apart).iter().zip(values(&stacked)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-5, "{name}: {largest:e}");
    }
}

#[test]
fn an_empty_instruction_is_one() {
    let policy = demo::policy();
    let empty = run(policy.path(), |arrays| {
        arrays.insert("instruction".into(), HostTensor::from_u8(&[0], Vec::new()).expect("whole"));
    });
    let some = run(policy.path(), |_| {});
    assert!(empty["input_ids"].dims() < some["input_ids"].dims());
    assert_ne!(empty["action_pred"], some["action_pred"]);
}

#[test]
fn an_instruction_beyond_the_policys_tokens_is_refused_with_both_counts() {
    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("a policy");
    let mut arrays = observation(&spec);
    let text: Vec<u8> = b"push the ".iter().copied().cycle().take(10_000).collect();
    arrays.insert("instruction".into(), HostTensor::from_u8(&[text.len()], text).expect("whole"));
    let inputs = Inputs::new(arrays, &spec).expect("arrays that fit");
    let most = spec.instruction.max_tokens.to_string();
    let mut policy = infer::load(spec, 1, &mut |_| {}).expect("it loads");
    let refused = infer::run(&mut policy, &inputs, &mut |_, _| Ok(())).expect_err("too long").to_string();
    assert!(refused.contains("tokens") && refused.contains(&most), "{refused}");
}

/// What the tool says of a checkpoint after `change`.
fn said(change: impl FnOnce(&Bench)) -> String {
    let bench = Bench::new();
    change(&bench);
    let out = tempfile::tempdir().expect("scratch");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.arg("export").arg("--checkpoint").arg(bench.0.path()).arg("--tokenizer").arg(bench.file(TOKENIZER));
    command.args(["--embodiment", "new_embodiment", "--step-s", "0.02"]).arg("-o").arg(out.path().join("policy"));
    for camera in ["top", "left_wrist", "right_wrist"] {
        command.args(["--camera", &format!("{camera}=640x480")]);
    }
    let output = command.output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read_dir(out.path()).expect("folder").count(), 0, "nothing is left");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn files_that_are_missing_are_said_once_with_what_to_name_instead() {
    let remove = |file: &'static str| move |bench: &Bench| fs::remove_file(bench.file(file)).expect("removed");
    let cases: [(String, &[&str]); 4] = [
        (said(remove("config.json")), &["config.json: expected a file of a GR00T checkpoint"]),
        (said(remove("model.safetensors")), &["missing", "model.safetensors", "GR00T checkpoint"]),
        (said(remove("statistics.json")), &["statistics.json", "No such file"]),
        (
            said(|bench| fs::remove_dir_all(bench.file(TOKENIZER)).expect("removed")),
            &["--tokenizer", "expected a tokenizer folder or tokenizer.json"],
        ),
    ];
    for (text, expected) in cases {
        for words in expected {
            assert_eq!(text.matches(words).count(), 1, "`{words}` once in {text}");
        }
    }
}

#[test]
fn hostile_headers_end_in_words() {
    for header in [
        [&u64::MAX.to_le_bytes()[..], b"{"].concat(),
        [&2_u64.to_le_bytes()[..], b"{}"].concat(),
        with_length(r#"{"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}"#),
        with_length(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#),
        with_length(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}"#),
    ] {
        let text = said(|bench| fs::write(bench.file("model.safetensors"), &header).expect("written"));
        assert!(text.contains("model.safetensors") || text.contains("weight `"), "{text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

fn with_length(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()
}

#[test]
fn what_is_wrong_inside_the_small_files_is_said_in_the_users_terms() {
    let text = said(|bench| fs::write(bench.file("embodiment_id.json"), r#"{"gr1": -1}"#).expect("written"));
    assert!(text.contains("embodiment_id.json") && text.contains(r#"{"new_embodiment": 10}"#), "{text}");
    let text = said(|bench| bench.edit("tokenizer/tokenizer.json", "<IMG_CONTEXT>", "<OTHER>"));
    assert!(text.contains("'<IMG_CONTEXT>'") && text.contains("tokenizer") && !text.contains("partial"), "{text}");
    let text = said(|bench| bench.edit("processor_config.json", r#""rep": "ABSOLUTE""#, r#""rep": "INCREMENTAL""#));
    assert!(text.contains("INCREMENTAL") && text.contains("`DELTA`") && text.contains("line"), "{text}");
}
