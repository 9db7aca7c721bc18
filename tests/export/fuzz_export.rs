//! Whatever a checkpoint's files hold, opening one ends in weights or in an error.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use vla_base::tensor::DType;
use vla_export::bundle::{Camera, embodiment};
use vla_export::checkpoint::{Backbone, Checkpoint, Config};
use vla_export::family::{N1D6, N1D7};
use vla_export::inventory::inventory;
use vla_export::synthetic_checkpoint::shards;
use vla_export::weights::Weights;
use vla_export::{Error, Family, Model};
use vla_policy::processor::ProcessorConfig;

use vla_trt_tests::fuzz;

/// A small valid file, to start from.
fn valid() -> Vec<u8> {
    let header = br#"{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([0; 10]);
    bytes
}

fn open(bytes: Vec<u8>) {
    let files = vec![(PathBuf::from("model.safetensors"), Bytes::from(bytes))];
    let Ok(checkpoint) = Checkpoint::from_shards(Path::new("."), files) else { return };
    for name in checkpoint.names() {
        let Ok(weight) = checkpoint.get(name) else { continue };
        assert_eq!(weight.to_f32().len(), weight.len());
        for index in [0, 1, usize::MAX] {
            if let Ok(entry) = weight.entry(index) {
                assert_eq!(entry.to_f32().len(), entry.len());
            }
        }
    }
}

#[test]
fn a_valid_file_gives_its_weights() {
    let files = vec![(PathBuf::from("model.safetensors"), Bytes::from(valid()))];
    let checkpoint = Checkpoint::from_shards(Path::new("."), files).expect("valid");
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(checkpoint.get("a").expect("there").entry(1).expect("two rows").dims, [1]);
}

#[test]
fn arbitrary_bytes_do_not_panic() {
    bolero::check!().with_iterations(100_000).with_type::<Vec<u8>>().cloned().for_each(open);
}

#[test]
fn damaged_files_do_not_panic() {
    bolero::check!().with_iterations(100_000).with_type::<Vec<(u16, u8)>>().for_each(|changes| {
        let mut bytes = valid();
        for (at, value) in changes {
            let at = *at as usize % bytes.len();
            // One change in eight cuts the file instead.
            if value % 8 == 0 && at > 0 { bytes.truncate(at) } else { bytes[at] = *value }
        }
        open(bytes);
    });
}

/// `config.json` and its backbone's, of each release.
static SEEDS: [(&Family, &str, &str); 2] = [
    (
        &N1D6,
        r#"{"model_type": "Gr00tN1d6", "action_horizon": 50, "max_state_dim": 128, "max_action_dim": 128,
 "diffusion_model_cfg": {"num_layers": 32, "num_attention_heads": 32, "attention_head_dim": 48, "output_dim": 1024,
 "positional_embeddings": null, "interleave_self_attention": true, "norm_type": "ada_norm"}, "use_vlln": true}"#,
        r#"{"downsample_ratio": 0.5, "vision_config": {"hidden_size": 64, "intermediate_size": 128,
 "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 14, "layer_norm_eps": 1e-6}, "text_config": {
 "hidden_size": 2048, "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4,
 "num_key_value_heads": 2, "rope_theta": 1000000, "vocab_size": 151680}}"#,
    ),
    (
        &N1D7,
        r#"{"model_type": "Gr00tN1d7", "select_layer": 3, "vl_self_attention_cfg": {"num_layers": 2, "num_attention_heads": 32,
 "attention_head_dim": 64, "positional_embeddings": null}, "state_history_length": 1, "transformers_version": "4.57.3"}"#,
        r#"{"model_type": "qwen3_vl", "vision_config": {"hidden_size": 64, "intermediate_size": 128, "depth": 4, "num_heads": 4,
 "patch_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 2]}, "text_config": {
 "hidden_size": 2048, "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 16,
 "num_key_value_heads": 2, "rope_theta": 5e6, "rope_scaling": {"mrope_section": [4, 2, 2]}, "vocab_size": 151936}}"#,
    ),
];

/// What is accepted has shapes whose bytes can be counted. Many layers make long lists: those are left out.
fn sizes(family: &'static Family, config: &[u8], backbone: &[u8]) {
    let path = Path::new("config.json");
    let (Ok(config), Ok(backbone)) = (Config::parse(path, config), Backbone::parse(family, path, backbone)) else {
        return;
    };
    let Ok(model) = config.model(&backbone) else { return };
    let layers = [
        model.head.blocks,
        model.vision.layers,
        model.language.layers,
        model.head.fusion.as_ref().map_or(0, |fusion| fusion.layers),
    ];
    if layers.iter().all(|layers| *layers < 100) {
        let shards = shards(&model, DType::F32, u64::MAX);
        let bytes = shards.iter().flatten().fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
        assert!(bytes as usize >= inventory(&model).len());
    }
}

#[test]
fn the_seeds_are_valid() {
    let path = Path::new("config.json");
    for (family, config, backbone) in SEEDS {
        let config = Config::parse(path, config.as_bytes()).expect("valid");
        config.model(&Backbone::parse(family, path, backbone.as_bytes()).expect("valid")).expect("they fit");
    }
}

#[test]
fn configurations_of_any_content_end_in_sizes_or_errors() {
    let mut seeds = vec![b"{}".to_vec(), br#"{"hidden_size": 18446744073709551615}"#.to_vec()];
    seeds.extend(SEEDS.iter().map(|(_, config, _)| config.as_bytes().to_vec()));
    fuzz::check!(20_000, seeds).for_each(|bytes| {
        for (family, _, backbone) in SEEDS {
            sizes(family, bytes, backbone.as_bytes());
        }
    });
}

#[test]
fn backbone_configurations_of_any_content_end_in_sizes_or_errors() {
    let mut seeds = vec![br#"{"vision_config": null, "text_config": []}"#.to_vec()];
    seeds.extend(SEEDS.iter().map(|(_, _, backbone)| backbone.as_bytes().to_vec()));
    fuzz::check!(20_000, seeds).for_each(|bytes| {
        for (family, config, _) in SEEDS {
            sizes(family, config.as_bytes(), bytes);
        }
    });
}

#[test]
fn a_layers_number_of_any_size_is_a_weight_that_is_not_read() {
    for (model, prefix) in [
        (Model::n1d6(), "backbone.model.language_model.model.layers."),
        (Model::n1d7(), "action_head.vl_self_attention.transformer_blocks."),
    ] {
        for number in ["18446744073709551615", "18446744073709551616", "-1", ""] {
            let header =
                format!(r#"{{"{prefix}{number}.x":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}}}"#).into_bytes();
            let bytes = [&(header.len() as u64).to_le_bytes()[..], &header].concat();
            let files = vec![(PathBuf::from("model.safetensors"), Bytes::from(bytes))];
            let checkpoint = Checkpoint::from_shards(Path::new("."), files).expect("valid");
            assert!(matches!(checkpoint.check(&model), Err(Error::Weights { .. })), "{prefix}{number}");
        }
    }
}

#[test]
fn cameras_of_any_text_are_read_or_refused() {
    let seeds = vec![b"front=640x480".to_vec(), b"a=b=1x1".to_vec()];
    fuzz::check!(20_000, seeds).for_each(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(camera) = text.parse::<Camera>() {
            assert!(camera.width > 0 && camera.height > 0 && text.starts_with(&camera.name), "{camera:?}");
        }
    });
}

/// A folder with one shard and, beside it, a file that no index may reach.
struct Shards {
    scratch: tempfile::TempDir,
    dir: PathBuf,
}

impl Shards {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("scratch");
        let dir = scratch.path().join("checkpoint");
        fs::create_dir(&dir).expect("a folder");
        fs::write(dir.join("one.safetensors"), valid()).expect("written");
        let header = br#"{"outside":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
        let outside = [&(header.len() as u64).to_le_bytes()[..], header].concat();
        fs::write(scratch.path().join("outside.safetensors"), outside).expect("written");
        Self { scratch, dir }
    }

    fn open(&self, index: &[u8]) -> Option<Checkpoint> {
        fs::write(self.dir.join("model.safetensors.index.json"), index).expect("written");
        Checkpoint::open(&self.dir).ok()
    }
}

/// As `save_pretrained` writes it.
const INDEX: &[u8] =
    br#"{"metadata": {"total_size": 10}, "weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}"#;

#[test]
fn an_index_opens_its_shards_and_no_file_outside_the_folder() {
    let shards = Shards::new();
    assert_eq!(shards.open(INDEX).expect("valid").names().collect::<Vec<_>>(), ["a", "b"]);
    let outside = shards.scratch.path().join("outside.safetensors");
    Checkpoint::from_shards(Path::new("."), vec![(outside.clone(), fs::read(&outside).expect("read").into())])
        .expect("it would open");
    for name in ["../outside.safetensors", "./../outside.safetensors", outside.to_str().expect("UTF-8")] {
        let index = serde_json::json!({"weight_map": {"outside": name}}).to_string();
        assert!(shards.open(index.as_bytes()).is_none(), "{name}");
    }
}

#[test]
fn indices_of_any_content_end_in_the_folders_shards_or_errors() {
    let shards = Shards::new();
    let seeds = vec![
        INDEX.to_vec(),
        br#"{"weight_map": {"a": "../outside.safetensors"}}"#.to_vec(),
        br#"{"weight_map": {"a": "one.safetensors", "b": "..", "c": "", "d": "/", "e": "one.safetensors/x"}}"#.to_vec(),
        br#"{"weight_map": {}}"#.to_vec(),
        br#"{"weight_map": ["one.safetensors"]}"#.to_vec(),
    ];
    fuzz::check!(4_000, seeds).for_each(|bytes: &[u8]| {
        if let Some(checkpoint) = shards.open(bytes) {
            assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
        }
    });
}

/// Rows of the weights that the embodiments below choose from.
const ROWS: usize = 32;

fn embodiments() -> ProcessorConfig {
    let one = r#"{"delta_indices": [0], "modality_keys": []}"#;
    let all = ["gr1", "mine", "new_embodiment"]
        .map(|tag| format!(r#""{tag}": {{"video": {one}, "state": {one}, "action": {one}, "language": {one}}}"#));
    let text = format!(
        r#"{{"processor_class": "Gr00tN1d6Processor", "processor_kwargs": {{"modality_configs": {{{}}}}}}}"#,
        all.join(", ")
    );
    ProcessorConfig::parse(Path::new("processor_config.json"), &text).expect("the schema")
}

#[test]
fn embodiment_tables_of_any_content_end_in_a_row_of_the_weights_or_in_errors() {
    let config = embodiments();
    let seeds = vec![
        br#"{"gr1": 3, "mine": 31, "far": 32}"#.to_vec(),
        br#"{"mine": 32}"#.to_vec(),
        br#"{"mine": 18446744073709551615, "gr1": 18446744073709551616}"#.to_vec(),
        br#"{"mine": -1}"#.to_vec(),
        br#"{"mine": 1, "mine": 2}"#.to_vec(),
        b"[]".to_vec(),
    ];
    fuzz::check!(20_000, seeds).for_each(|bytes: &[u8]| {
        let Ok(listed) = embodiment::parse(Path::new(embodiment::FILE), bytes) else { return };
        for tag in ["gr1", "mine", "far", "new_embodiment"] {
            match embodiment::row_of(&listed, &N1D6, tag, ROWS, &config) {
                Ok(row) => assert!(row < ROWS && listed.get(tag).is_none_or(|listed| *listed == row), "{tag}: {row}"),
                Err(error) => assert!(error.to_string().contains(tag), "{error}"),
            }
        }
    });
}
