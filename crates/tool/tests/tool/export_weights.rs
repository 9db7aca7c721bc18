//! Weights on their way through `vla-trt export`: merged adapters, numbers that are none, downloads that were cut off, hashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use half::bf16;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use vla_base::tensor::DType;
use vla_engines::provenance::hash;
use vla_export::bundle;
use vla_export::bundle::Request;
use vla_export::synthetic_checkpoint;
use vla_export::synthetic_checkpoint::Size;
use vla_export::{Error, demo};

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

const QUERY: &str = "action_head.model.transformer_blocks.0.attn1.to_q";
const ENCODER: &str = "action_head.state_encoder.layer1";

fn read(file: &Path) -> Tensors {
    let bytes = fs::read(file).expect("a file");
    let tensors = SafeTensors::deserialize(&bytes).expect("valid").tensors();
    tensors
        .into_iter()
        .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
        .collect()
}

fn write(file: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).expect("consistent"))
    });
    fs::write(file, safetensors::serialize(views, None).expect("serialised")).expect("written");
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The demo checkpoint in a folder, and its export.
struct Bench {
    scratch: tempfile::TempDir,
    request: Request,
}

impl Bench {
    /// Shards of at most `most` bytes.
    fn new(most: u64) -> Self {
        let scratch = tempfile::tempdir().expect("scratch");
        let dir = scratch.path().join("checkpoint");
        fs::create_dir(&dir).expect("a folder");
        synthetic_checkpoint::fill_folder(&vla_export::family::N1D6, Size::Demo, 7, &dir, most, &mut |_| {})
            .expect("a checkpoint");
        let request = Request { steps: vec![1], ..demo::bundle::request(&vla_export::family::N1D6, &dir) };
        Self { scratch, request }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn weights(&self) -> PathBuf {
        self.path("checkpoint/model.safetensors")
    }

    fn change(&self, change: impl FnOnce(&mut Tensors)) {
        let mut tensors = read(&self.weights());
        change(&mut tensors);
        write(&self.weights(), &tensors);
    }

    fn export(&self) -> Result<bundle::Summary, Error> {
        let exported = bundle::write(&self.request, &self.path("policy"), &mut |_| {});
        if exported.is_err() {
            assert!(!self.path("policy").exists(), "nothing half-written");
        }
        exported
    }

    /// An adapter of rank 2 on one layer, which replaces a part of the state encoder; returns its tensors.
    fn add_adapter(&mut self) -> Tensors {
        let base = read(&self.weights());
        let (_, shape, _) = &base[&format!("{QUERY}.weight")];
        let numbers = |count: usize, step: usize| {
            (0..count).map(|i| ((i * step) % 101) as f32 / 101.0 - 0.5).collect::<Vec<f32>>()
        };
        let (rows, columns) = (shape[0], shape[1]);
        let (_, encoder, values) = &base[&format!("{ENCODER}.b")];
        let replaced: Vec<f32> = floats(values).iter().map(|value| value + 1.0).collect();
        let mut tensors = Tensors::new();
        let mut add = |name: &str, shape: &[usize], values: &[f32]| {
            tensors.insert(format!("base_model.model.{name}"), (Dtype::F32, shape.to_vec(), bytes(values)));
        };
        add(&format!("{QUERY}.lora_A.weight"), &[2, columns], &numbers(2 * columns, 37));
        add(&format!("{QUERY}.lora_B.weight"), &[rows, 2], &numbers(2 * rows, 53));
        add(&format!("{ENCODER}.b"), encoder, &replaced);
        let folder = self.path("adapter");
        fs::create_dir(&folder).expect("a folder");
        let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 3, "target_modules": ["to_q"],
            "modules_to_save": ["state_encoder"], "base_model_name_or_path": "someone/checkpoint"});
        fs::write(folder.join("adapter_config.json"), config.to_string()).expect("written");
        write(&folder.join("adapter_model.safetensors"), &tensors);
        self.request.lora = Some(folder);
        tensors
    }
}

/// Every file of a bundle but its description, which says what was merged.
fn files(bundle: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(bundle).expect("a folder").map(|entry| entry.expect("an entry"));
    let named =
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("read")));
    named.filter(|(name, _)| name != "policy.yaml").collect()
}

#[test]
fn an_export_with_an_adapter_is_the_export_of_the_merged_checkpoint() {
    let (mut with_adapter, merged) = (Bench::new(u64::MAX), Bench::new(u64::MAX));
    let adapter = with_adapter.add_adapter();
    let own = |name: String| floats(&adapter[&format!("base_model.model.{name}")].2);
    let (a, b) = (own(format!("{QUERY}.lora_A.weight")), own(format!("{QUERY}.lora_B.weight")));
    merged.change(|tensors| {
        tensors.get_mut(&format!("{ENCODER}.b")).expect("there").2 = bytes(&own(format!("{ENCODER}.b")));
        let (_, shape, data) = tensors.get_mut(&format!("{QUERY}.weight")).expect("there");
        let mut values = floats(data);
        for (index, value) in values.iter_mut().enumerate() {
            let (row, column) = (index / shape[1], index % shape[1]);
            let sum = b[row * 2 + 1].mul_add(a[shape[1] + column], b[row * 2] * a[column]);
            *value += sum * 1.5;
        }
        *data = bytes(&values);
    });
    let summary = with_adapter.export().expect("exports");
    let plain = merged.export().expect("exports");
    assert_eq!(summary.fingerprint, plain.fingerprint);
    assert!(files(&with_adapter.path("policy")) == files(&merged.path("policy")));
    let found = summary.merged.expect("an adapter");
    assert_eq!((found.changed, found.replaced, found.own_processor), (1, 1, false));
    assert_eq!(found.base.as_deref(), Some("someone/checkpoint"));
    let yaml = |bench: &Bench| fs::read_to_string(bench.path("policy/policy.yaml")).expect("text");
    assert!(yaml(&with_adapter).contains(&found.fingerprint), "{}", yaml(&with_adapter));
    assert!(plain.merged.is_none() && !yaml(&merged).contains("LoRA"));
}

#[test]
fn processor_and_statistics_are_those_of_the_adapters_training_where_its_folder_has_them() {
    let mut bench = Bench::new(u64::MAX);
    bench.add_adapter();
    for file in ["processor_config.json", "statistics.json", "embodiment_id.json"] {
        let text = fs::read_to_string(bench.path("checkpoint").join(file)).expect("text");
        fs::write(bench.path("adapter").join(file), text + "\n").expect("written");
    }
    assert!(bench.export().expect("exports").merged.expect("an adapter").own_processor);
    let read = |file: &str| fs::read(bench.path(file)).expect("read");
    assert_eq!(read("policy/statistics.json"), read("adapter/statistics.json"));
    assert_ne!(read("policy/statistics.json"), read("checkpoint/statistics.json"));
}

fn tool(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vla-trt")).arg("export").args(args).output().expect("started");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_adapter_as_the_checkpoint_is_named_with_the_line_to_run() {
    let mut bench = Bench::new(u64::MAX);
    bench.add_adapter();
    let (adapter, out) = (bench.path("adapter"), bench.path("policy"));
    let [adapter, tokenizer, out] =
        [&adapter, &bench.request.tokenizer, &out].map(|path| path.to_str().expect("UTF-8"));
    let (code, error) = tool(&[
        "--checkpoint",
        adapter,
        "--tokenizer",
        tokenizer,
        "--embodiment",
        "x",
        "--camera",
        "a=1x1",
        "--step-s",
        "0.02",
        "-o",
        out,
    ]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(&format!("--checkpoint someone/checkpoint --lora {adapter}")), "{error}");

    bench.request.lora = Some(bench.path("checkpoint"));
    assert!(matches!(bench.export(), Err(Error::NoAdapter { file: "adapter_config.json", .. })));
}

#[test]
fn lora_weights_inside_a_checkpoint_are_refused_as_not_merged() {
    let bench = Bench::new(u64::MAX);
    bench.change(|tensors| {
        let weight = tensors.remove(&format!("{QUERY}.weight")).expect("there");
        tensors.insert(format!("{QUERY}.lora_A.default.weight"), weight.clone());
        tensors.insert(format!("{QUERY}.base_layer.weight"), weight);
    });
    let refused = bench.export();
    assert!(matches!(&refused, Err(Error::Unmerged { name, count: 1, .. }) if name.starts_with(QUERY)), "{refused:?}");
}

#[test]
fn a_number_that_is_none_is_refused_by_weight_and_file() {
    for (part, index, value) in [(format!("{QUERY}.weight"), 3, f32::NAN), (format!("{QUERY}.bias"), 0, f32::INFINITY)]
    {
        let bench = Bench::new(u64::MAX);
        bench.change(|tensors| {
            let data = &mut tensors.get_mut(&part).expect("there").2;
            data[index * 4..][..4].copy_from_slice(&value.to_le_bytes());
        });
        let refused = bench.export();
        let Err(Error::NotFinite { name, origin, at, count: 1, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((name, at.last()), (part, Some(&index)));
        assert_eq!(origin, bench.weights().display().to_string());
    }
}

#[test]
fn of_a_weight_for_all_embodiments_the_others_are_not_judged() {
    let bench = Bench::new(u64::MAX);
    bench.change(|tensors| {
        let (_, shape, data) = tensors.get_mut(&format!("{ENCODER}.b")).expect("there");
        let (row, other) = (demo::EMBODIMENT.1, (demo::EMBODIMENT.1 + 1) % shape[0]);
        assert_ne!(row, other);
        data[other * shape[1] * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    bench.export().expect("exports");
}

#[test]
fn an_adapter_that_makes_a_weight_infinite_is_refused_with_both_files() {
    let mut bench = Bench::new(u64::MAX);
    let mut tensors = bench.add_adapter();
    for (name, (_, _, data)) in &mut tensors {
        if name.contains("lora_") {
            let large = floats(data).iter().map(|value| value * 1e30).collect::<Vec<f32>>();
            *data = bytes(&large);
        }
    }
    write(&bench.path("adapter/adapter_model.safetensors"), &tensors);
    let refused = bench.export();
    let Err(Error::NotFinite { name, origin, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(name, format!("{QUERY}.weight"));
    assert!(origin.contains("model.safetensors") && origin.contains("adapter_model.safetensors"), "{origin}");
}

#[test]
fn what_fp16_cannot_hold_is_refused_with_the_stage_and_other_types_take_it() {
    let mut bench = Bench::new(u64::MAX);
    bench.change(|tensors| {
        tensors.get_mut(&format!("{QUERY}.weight")).expect("there").2[..4].copy_from_slice(&7e4_f32.to_le_bytes());
    });
    for blocks in [None, Some(1)] {
        (bench.request.dtype, bench.request.blocks_per_engine) = (DType::F16, blocks);
        let refused = bench.export();
        let Err(Error::Overflow { name, at, found, stage }) = refused else { panic!("{refused:?}") };
        assert_eq!((name, at, found, stage.as_str()), (format!("{QUERY}.weight"), vec![0, 0], 7e4, "step"));
    }
    bench.request.dtype_of = BTreeMap::from([("step".to_owned(), DType::F32)]);
    bench.export().expect("exports");
    // BF16 holds it, rounded.
    assert!(bf16::from_f32(7e4).to_f32() > 6.5e4);
    (bench.request.dtype, bench.request.dtype_of) = (DType::BF16, BTreeMap::new());
    bench.export().expect("exports");
}

#[test]
fn a_download_that_was_cut_off_is_named() {
    let bench = Bench::new(400_000);
    let shard = bench.path("checkpoint/model-00002-of-00003.safetensors");
    let shard = if shard.is_file() { shard } else { first_shard(&bench.path("checkpoint")) };
    fs::remove_file(&shard).expect("removed");
    assert!(matches!(bench.export(), Err(Error::MissingShards { .. })));
    let place = bench.path("checkpoint/.cache/huggingface/download");
    fs::create_dir_all(&place).expect("a folder");
    fs::write(place.join("abc.def.incomplete"), "half").expect("written");
    let refused = bench.export();
    let Err(Error::Unfinished { missing, unfinished, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(missing, [shard.file_name().expect("a name").to_string_lossy()]);
    assert_eq!(unfinished, [place.join("abc.def.incomplete")]);
}

fn first_shard(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut shards: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect();
    shards.sort();
    shards.remove(0)
}

#[test]
fn a_weight_that_is_not_in_the_file_that_the_index_names_is_refused_with_that_file() {
    let bench = Bench::new(400_000);
    let shard = first_shard(&bench.path("checkpoint"));
    let mut tensors = read(&shard);
    let (name, _) = tensors.pop_first().expect("a weight");
    write(&shard, &tensors);
    let refused = bench.export();
    let Err(Error::Weights { problems, .. }) = refused else { panic!("{refused:?}") };
    assert!(problems.len() == 1 && problems[0].contains(&name), "{problems:?}");
    assert!(problems[0].contains(&shard.display().to_string()), "{problems:?}");
}

#[test]
fn hashes_of_the_weights_are_compared_before_anything_is_written() {
    let mut bench = Bench::new(u64::MAX);
    bench.add_adapter();
    let hash_of = |file: &Path| hash::file_sha256(file).expect("hashed");
    let right = [
        format!("model.safetensors={}", hash_of(&bench.weights())),
        format!("adapter_model.safetensors={}", hash_of(&bench.path("adapter/adapter_model.safetensors"))),
    ];
    let expect = |texts: &[String]| texts.iter().map(|text| text.parse().expect("valid")).collect();
    bench.request.expected = expect(&right);
    bench.export().expect("exports");
    fs::remove_dir_all(bench.path("policy")).expect("removed");
    // Transposed values of the same shape: nothing else tells.
    bench.change(|tensors| tensors.get_mut(&format!("{QUERY}.weight")).expect("there").2.rotate_left(4));
    for expected in [&right[..], &right[..1]] {
        bench.request.expected = expect(expected);
        let refused = bench.export();
        let Err(Error::Content { problems }) = refused else { panic!("{refused:?}") };
        assert!(problems.iter().any(|problem| problem.contains("model.safetensors")), "{problems:?}");
    }
}
