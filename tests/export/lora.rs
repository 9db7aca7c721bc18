//! LoRA adapters: merged as PEFT merges them, and refused by name where they do not fit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use vla_export::Error;
use vla_export::checkpoint::Checkpoint;
use vla_export::lora::Adapter;
use vla_export::lora::config::AdapterConfig;
use vla_export::weights::Weights;

use vla_trt_tests::fuzz;

const QUERY: &str = "backbone.model.language_model.model.layers.0.self_attn.q_proj";

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/lora")
}

fn checkpoint(file: &Path) -> Checkpoint {
    let bytes = Bytes::from(fs::read(file).expect("a file"));
    Checkpoint::from_shards(Path::new("base"), vec![(file.to_owned(), bytes)]).expect("valid")
}

fn base(dtype: &str) -> Checkpoint {
    checkpoint(&data().join(format!("base_{dtype}.safetensors")))
}

#[test]
fn merging_gives_what_pefts_merge_and_unload_gives_bit_by_bit() {
    for (case, dtype) in [("fp32", "float32"), ("bf16", "bfloat16"), ("bf16_adapter", "bfloat16"), ("fp16", "float16")]
    {
        let (base, merged) = (base(dtype), checkpoint(&data().join(case).join("merged.safetensors")));
        let adapter = Adapter::open(&data().join(case), &base).expect(case);
        assert_eq!(adapter.base(), Some("nvidia/GR00T-N1.6-3B"));
        let ours = adapter.onto(&base);
        let (mut changed, names) = (0, base.names().map(str::to_owned).collect::<Vec<_>>());
        for name in &names {
            let (weight, expected) = (ours.get(name).expect("there"), merged.get(name).expect("there"));
            assert_eq!((weight.dtype, &weight.dims), (expected.dtype, &expected.dims), "{case} {name}");
            assert_eq!(ours.outline(name).expect("there"), (expected.dtype, expected.dims.clone()), "{case} {name}");
            assert!(weight.data == expected.data, "{case} {name}: {:?} {:?}", weight.to_f32(), expected.to_f32());
            changed += usize::from(weight.data != base.get(name).expect("there").data);
        }
        let (added, replaced) = adapter.counts();
        assert_eq!(changed, added + replaced, "{case}: each counted weight is another than before, and no other");
    }
}

/// An adapter's files, to be changed.
struct Files {
    config: Value,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Files {
    fn of(case: &str) -> Self {
        let read = |file: &str| fs::read(data().join(case).join(file)).expect("a file");
        let bytes = read("adapter_model.safetensors");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("valid");
        let tensors = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())));
        Self { config: serde_json::from_slice(&read("adapter_config.json")).expect("JSON"), tensors: tensors.collect() }
    }

    fn open(&self) -> Result<Adapter, Error> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, data))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), data).expect("consistent"))
        });
        let bytes = safetensors::serialize(views, None).expect("written");
        Adapter::from_bytes(Path::new("adapter"), self.config.to_string().as_bytes(), bytes.into(), &base("float32"))
    }

    fn rename(&mut self, from: &str, to: &str) {
        let tensor = self.tensors.remove(from).expect(from);
        self.tensors.insert(to.to_owned(), tensor);
    }

    /// Problems of tensors.
    fn problems(&self) -> Vec<String> {
        match self.open() {
            Err(Error::Adapter { problems, .. }) => problems,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("was accepted"),
        }
    }
}

fn own(part: &str) -> String {
    format!("base_model.model.{QUERY}.{part}.weight")
}

#[test]
fn every_tensor_that_does_not_fit_is_refused_by_name() {
    let (a, b) = (own("lora_A"), own("lora_B"));
    type Change<'c> = &'c dyn Fn(&mut Files);
    let changes: [(&str, Change<'_>); 9] = [
        ("of another base", &|files| {
            let to = |part: &str| format!("base_model.model.backbone.eagle_model.layers.0.q_proj.{part}.weight");
            files.rename(&a, &to("lora_A"));
            files.rename(&b, &to("lora_B"));
        }),
        ("without its half", &|files| drop(files.tensors.remove(&b))),
        ("of another width", &|files| {
            let (_, shape, data) = files.tensors.get_mut(&a).expect("there");
            (shape[1], _) = (shape[1] - 8, data.truncate((shape[1] - 8) * shape[0] * 4));
        }),
        ("of another rank", &|files| files.config["r"] = json!(4)),
        ("not a target", &|files| files.config["target_modules"] = json!(["k_proj", "to_q", "to_k"])),
        ("not finite", &|files| {
            files.tensors.get_mut(&a).expect("there").2[..4].copy_from_slice(&f32::NAN.to_le_bytes())
        }),
        ("twice", &|files| {
            let tensor = files.tensors[&a].clone();
            files.tensors.insert(a.replace("lora_A.", "lora_A.other."), tensor);
        }),
        ("of DoRA", &|files| files.rename(&b, &b.replace("lora_B", "lora_magnitude_vector"))),
        ("of no method", &|files| files.rename(&b, "base_model.model.prompt.embedding")),
    ];
    for (what, change) in changes {
        let mut files = Files::of("fp32");
        files.open().expect("fits");
        change(&mut files);
        let problems = files.problems();
        assert!(
            problems.iter().any(|problem| problem.contains("expected") && problem.contains("found")),
            "{problems:?}"
        );
        let named = files.tensors.keys().any(|name| problems.iter().any(|problem| problem.contains(name.as_str())));
        assert!(named, "{what}: {problems:?}");
    }
}

#[test]
fn whole_weights_need_a_key_of_the_configuration_that_names_them() {
    let mut files = Files::of("fp32");
    files.config["modules_to_save"] = Value::Null;
    let problems = files.problems();
    assert!(problems.len() == 2 && problems.iter().all(|problem| problem.contains("state_encoder")), "{problems:?}");
    let mut files = Files::of("fp32");
    files.config["bias"] = json!("none");
    let problems = files.problems();
    assert!(problems.len() == 2 && problems.iter().all(|problem| problem.contains("bias")), "{problems:?}");
}

#[test]
fn the_layers_names_may_hold_the_adapters_name() {
    let mut files = Files::of("fp32");
    for part in ["lora_A", "lora_B"] {
        files.rename(&own(part), &format!("base_model.model.{QUERY}.{part}.default.weight"));
    }
    let state = "base_model.model.action_head.state_encoder";
    files.rename(&format!("{state}.layer1.W"), &format!("{state}.modules_to_save.default.layer1.W"));
    let base = base("float32");
    let (renamed, plain) = (files.open().expect("fits"), Files::of("fp32").open().expect("fits"));
    assert_eq!(renamed.counts(), plain.counts());
    let weight = format!("{QUERY}.weight");
    assert_eq!(
        renamed.onto(&base).get(&weight).expect("there").data,
        plain.onto(&base).get(&weight).expect("there").data
    );
}

/// Problems of a configuration with these keys.
fn refused(keys: &[(&str, Value)]) -> Vec<String> {
    let mut config = Files::of("fp32").config;
    for (key, value) in keys {
        config[*key] = value.clone();
    }
    match AdapterConfig::parse(Path::new("adapter_config.json"), config.to_string().as_bytes()) {
        Err(Error::Invalid { problems, .. }) => problems,
        Err(other) => panic!("{other}"),
        Ok(_) => Vec::new(),
    }
}

#[test]
fn other_methods_and_keys_that_change_the_base_are_refused_by_key() {
    for (key, value) in [
        ("peft_type", json!("LOHA")),
        ("peft_type", Value::Null),
        ("use_dora", json!(true)),
        ("use_qalora", json!(true)),
        ("alora_invocation_tokens", json!([1, 2])),
        ("layer_replication", json!([[0, 4], [2, 5]])),
        ("target_parameters", json!(["layer1.W"])),
        ("trainable_token_indices", json!([3])),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("loftq")),
        ("a_key_of_next_year", json!(1)),
        ("bias", json!("some")),
        ("r", json!(0)),
        ("r", json!(8.5)),
        ("lora_alpha", json!("16")),
        ("use_rslora", json!("yes")),
        ("target_modules", json!(["q_proj", 3])),
        ("target_modules", json!("(q_proj")),
        ("modules_to_save", json!("state_encoder")),
        ("rank_pattern", json!({"q_proj": -1})),
        ("rank_pattern", json!({"(?<=a)q_proj": 4})),
        ("alpha_pattern", json!([1])),
    ] {
        let problems = refused(&[(key, value.clone())]);
        assert!(problems.len() == 1 && problems[0].starts_with(key), "{key} {value}: {problems:?}");
    }
    assert_eq!(refused(&[("use_dora", json!(true)), ("peft_type", json!("IA3"))]).len(), 2, "all are named");
    for (key, value) in [
        ("init_lora_weights", json!("gaussian")),
        ("a_key_of_next_year", json!({})),
        ("lora_dropout", json!(0.1)),
        ("layers_to_transform", json!([0, 1])),
        ("fan_in_fan_out", json!(true)),
    ] {
        assert_eq!(refused(&[(key, value)]), Vec::<String>::new(), "{key}");
    }
}

#[test]
fn rank_and_scale_follow_the_first_pattern_that_a_module_matches() {
    let parse = |config: Value| {
        AdapterConfig::parse(Path::new("adapter_config.json"), config.to_string().as_bytes()).expect("valid")
    };
    let config = json!({"peft_type": "LORA", "r": 8, "lora_alpha": 12, "target_modules": "all-linear",
        "rank_pattern": {"layers.1.q_proj": 16, "^a.k_proj": 2}, "alpha_pattern": {"[qk]_proj": 3.5}});
    let found = parse(config.clone());
    for (module, rank, scale) in [
        ("a.layers.1.q_proj", 16, 3.5 / 16.0),
        ("layers.1.q_proj", 16, 3.5 / 16.0),
        ("a.xlayers.1.q_proj", 8, 3.5 / 8.0),
        ("a.k_proj", 2, 3.5 / 2.0),
        ("b.a.k_proj", 8, 3.5 / 8.0),
        ("a.v_proj", 8, 1.5),
    ] {
        assert_eq!((found.rank(module), found.scale(module)), (rank, scale), "{module}");
    }
    let mut stabilised = config;
    stabilised["use_rslora"] = json!(true);
    assert_eq!(parse(stabilised).scale("layers.1.q_proj"), 3.5 / 4.0);
}

#[test]
fn configurations_of_any_content_end_in_ranks_or_errors() {
    let seeds =
        ["fp32", "bf16_adapter"].map(|case| fs::read(data().join(case).join("adapter_config.json")).expect("a file"));
    let mut seeds = seeds.to_vec();
    seeds.push(
        br#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1e308, "target_modules": [], "rank_pattern": {"": 3}}"#
            .to_vec(),
    );
    seeds.push(br#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": "(((a{99}){99}){99})"}"#.to_vec());
    fuzz::check!(4_000, seeds).for_each(|bytes: &[u8]| {
        let Ok(config) = AdapterConfig::parse(Path::new("adapter_config.json"), bytes) else { return };
        for module in ["", QUERY, "a.b"] {
            assert!((1..=1 << 16).contains(&config.rank(module)) && config.scale(module).is_finite(), "{module}");
            let _: (bool, bool) = (config.is_target(module), config.is_replaced(module));
        }
    });
}

#[test]
fn weights_of_any_content_end_in_an_adapter_or_an_error() {
    let read = |file: &str| fs::read(data().join("fp32").join(file)).expect("a file");
    let (base, config) = (base("float32"), read("adapter_config.json"));
    fuzz::check!(2_000, vec![read("adapter_model.safetensors")]).for_each(|bytes: &[u8]| {
        let bytes = Bytes::copy_from_slice(bytes);
        let Ok(adapter) = Adapter::from_bytes(Path::new("adapter"), &config, bytes, &base) else { return };
        let merged = adapter.onto(&base);
        for name in base.names() {
            let (weight, plain) = (merged.get(name).expect("it was checked"), base.get(name).expect("there"));
            assert_eq!((weight.dtype, weight.dims), (plain.dtype, plain.dims), "{name}");
        }
    });
}
