//! The vendor's own checkpoint through the export. Skipped, aloud, where the oracle is not there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::export_bench::request;
use vla_base::tensor::TensorSpec;
use vla_engines::onnx_runtime::Onnx;
use vla_engines::{Admission, Pipeline};
use vla_export::RopeFrequencies;
use vla_export::bundle;
use vla_policy::PolicySpec;
use vla_policy::encode::prompt::PromptEncoder;
use vla_policy::family::N1D6;

fn oracle() -> Option<PathBuf> {
    let shared = vla_trt_tests::shared();
    let oracle = shared.join("oracle");
    if oracle.join("tiny").is_dir() {
        return Some(oracle);
    }
    eprintln!("SKIPPED: no oracle at {}", oracle.display());
    None
}

/// The oracle's checkpoint with its shards unpacked.
fn unpack(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("checkpoint") {
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

#[test]
fn the_vendors_checkpoint_becomes_a_policy_that_a_pipeline_loads() {
    let Some(oracle) = oracle() else { return };
    let scratch = tempfile::tempdir().expect("scratch");
    unpack(&oracle.join("tiny/ckpt"), scratch.path());
    // The tokenizer from its parts, as the vendor's folder has it.
    let tokenizer = scratch.path().join("tokenizer");
    fs::create_dir(&tokenizer).expect("folder");
    for file in ["vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"] {
        fs::copy(oracle.join("tokenizer").join(file), tokenizer.join(file)).expect("copy");
    }
    let mut request = request(scratch.path(), &tokenizer, "new_embodiment", &["top", "left_wrist", "right_wrist"]);
    request.backbone = Some(scratch.path().join("eagle_dims.json"));
    let mut fingerprints = Vec::new();
    for (name, rope) in [("exact", RopeFrequencies::Exact), ("bf16", RopeFrequencies::Bf16)] {
        request.rope = rope;
        let out = scratch.path().join(name);
        fingerprints.push(bundle::write(&request, &out, &mut |_| {}).expect("exports").fingerprint);
        let spec = PolicySpec::load(&out).expect("a policy");
        assert_eq!(spec.stage_names(), ["vision", "language", "context", "step"]);
        assert_eq!(spec.denoise.default, 4);
        ids_are_the_vendors(&oracle, &out);
        stages_fit_together(&spec);
    }
    assert_ne!(fingerprints[0], fingerprints[1]);
}

/// The project's pipeline takes the networks and joins them as the description says.
fn stages_fit_together(spec: &PolicySpec) {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let stages = spec.stages.clone();
    let inputs = stages.iter().flat_map(|stage| &stage.inputs);
    let host: Vec<TensorSpec> = inputs
        .filter_map(|input| {
            Some(TensorSpec { name: input.name.clone(), dtype: input.dtype?, dims: input.dims.clone()? })
        })
        .collect();
    let device = Onnx::new(1).expect("ONNX Runtime opens");
    Pipeline::load(device, &stages, None, &host, Admission::default(), &mut |_| {}).expect("the stages fit together");
}

/// The bundle's tokenizer and template give the ids that the vendor's processor gave.
fn ids_are_the_vendors(oracle: &Path, bundle: &Path) {
    let mut encoder =
        PromptEncoder::load(&bundle.join("tokenizer.json"), &bundle.join("prompt.json"), N1D6.text_rules(true))
            .expect("encoder");
    let bytes = fs::read(oracle.join("tiny/obs0/tensors.safetensors")).expect("tensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let meta: serde_json::Value =
        serde_json::from_slice(&fs::read(oracle.join("tiny/obs0/meta.json")).expect("meta")).expect("json");
    let ids = tensors.tensor("input_ids").expect("ids").data().chunks_exact(8);
    let ids: Vec<i32> = ids.map(|b| i64::from_le_bytes(b.try_into().expect("eight")) as i32).collect();
    let prompt = encoder.encode(meta["instruction"].as_str().expect("text"), &[108; 3]).expect("encodes");
    assert_eq!(prompt.ids, ids);
}
