//! `config.json` of GR00T N1.7 and Cosmos-Reason2's (Qwen3-VL's), as trainers leave them: what is absent has the vendor's default, what
//! would be another network is refused.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use vla_base::tensor::DType;
use vla_export::checkpoint::{Backbone, Config};
use vla_export::family::N1D7;
use vla_export::model::Fusion;
use vla_export::synthetic_checkpoint::{Entry, shards};
use vla_export::{Error, Model};
use vla_trt_tests::reference_bench;

fn config(value: &Value) -> Result<Config, Error> {
    Config::parse(Path::new("config.json"), value.to_string().as_bytes())
}

fn backbone(value: &Value) -> Result<Backbone, Error> {
    Backbone::parse(&N1D7, Path::new("cosmos.json"), value.to_string().as_bytes())
}

fn model(value: &Value) -> Result<Model, Error> {
    config(value)?.model(&Backbone::released(&N1D7))
}

fn with(key: &str, value: Value) -> Value {
    let mut config = json!({"model_type": "Gr00tN1d7"});
    config[key] = value;
    config
}

/// Every problem of a refused file.
fn problems<T: std::fmt::Debug>(refused: Result<T, Error>) -> Vec<String> {
    match refused {
        Err(Error::Invalid { problems, .. }) => problems,
        other => panic!("expected a refusal by key, found {other:?}"),
    }
}

/// Problems, one for each of these starts.
fn are(problems: &[String], starts: &[&str]) {
    assert_eq!(problems.len(), starts.len(), "{problems:?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "`{start}` in {problem}");
    }
}

/// Tensors and values of a checkpoint, those included that inference never reads.
fn counts(model: &Model) -> (usize, u64) {
    let shards = shards(model, DType::BF16, u64::MAX);
    let entries: Vec<&Entry> = shards.iter().flatten().collect();
    (entries.len(), entries.iter().map(|entry| entry.bytes / 2).sum())
}

#[test]
fn a_file_with_nothing_but_the_models_type_has_the_dataclass_defaults() {
    let found = model(&json!({"model_type": "Gr00tN1d7"})).expect("a model");
    assert_eq!(found.language.layers, 12);
    assert_eq!((found.head.horizon, found.head.state_dims, found.head.action_dims), (40, 132, 132));
    assert_eq!((found.head.blocks, &found.head.fusion), (16, &None));
    // Counted with the vendor's class at its defaults.
    assert_eq!(counts(&found), (699, 2_511_068_288));
    let released = Model::n1d7();
    let language = vla_export::model::Language { layers: 16, ..found.language.clone() };
    let head = vla_export::model::Head { blocks: 32, fusion: released.head.fusion.clone(), ..found.head.clone() };
    assert_eq!(Model { language, head, ..found }, released);
}

#[test]
fn the_backbones_name_is_enough_where_the_models_type_is_absent() {
    assert_eq!(config(&json!({"backbone_model_type": "qwen"})).expect("a file").family, &N1D7);
}

#[test]
fn what_given_layers_leave_out_has_the_default_of_the_vendors_network() {
    let fusion = |value: Value| model(&with("vl_self_attention_cfg", value)).map(|model| model.head.fusion);
    let wide = |more: Value| {
        let mut value = json!({"num_attention_heads": 32});
        value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        fusion(value)
    };
    let layers = |layers, sinusoids| Fusion { layers, heads: 32, head_dim: 64, sinusoids };
    // 64 channels a head, and sinusoids.
    assert_eq!(wide(json!({"num_layers": 4})).expect("layers"), Some(layers(4, Some(512))));
    let plain = json!({"num_layers": 4, "positional_embeddings": null});
    assert_eq!(wide(plain).expect("layers"), Some(layers(4, None)));
    let long = json!({"num_layers": 4, "max_num_positional_embeddings": 1024});
    assert_eq!(wide(long).expect("layers"), Some(layers(4, Some(1024))));
    // The vendor's code asks for a number above 0 before it makes the network.
    for none in [json!(null), json!({}), json!({"num_attention_heads": 32}), json!({"num_layers": 0})] {
        assert_eq!(fusion(none.clone()).expect("no layers"), None, "{none}");
    }
    // Eight heads of 64 channels.
    are(&problems(fusion(json!({"num_layers": 4}))), &["vl_self_attention_cfg.num_attention_heads: "]);

    let dit = json!({"positional_embeddings": null, "interleave_self_attention": true, "num_attention_heads": 32,
        "attention_head_dim": 48});
    let head = model(&with("diffusion_model_cfg", dit)).expect("a model").head;
    assert_eq!((head.blocks, head.output), (12, 26));
}

#[test]
fn keys_that_make_another_network_are_all_named() {
    let mut other = with(
        "vl_self_attention_cfg",
        json!({"num_layers": -1, "num_attention_heads": 32, "activation_fn": "geglu", "attention_bias": false,
            "positional_embeddings": "rope"}),
    );
    other["state_history_length"] = json!(2);
    other["backbone_model_type"] = json!("eagle");
    other["reproject_vision"] = json!(true);
    are(
        &problems(model(&other)),
        &[
            "backbone_model_type: expected qwen, found eagle",
            "reproject_vision: expected false",
            "state_history_length: expected 1, found 2",
            "vl_self_attention_cfg.activation_fn: expected gelu-approximate",
            "vl_self_attention_cfg.attention_bias: expected true",
            "vl_self_attention_cfg.positional_embeddings: expected null or sinusoidal, found rope",
            "vl_self_attention_cfg.num_layers: ",
        ],
    );
    are(&problems(model(&with("vl_self_attention_cfg", json!([4])))), &["vl_self_attention_cfg: expected an object"]);
    assert!(!model(&with("use_alternate_vl_dit", json!(false))).expect("N1.7 has it").head.alternate);
}

#[test]
fn a_shortened_config_of_the_vendor_describes_the_same_network() {
    let Some(reference) = reference_bench::N1D7.data() else { return };
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(reference.join(name)).expect("a file")).expect("JSON")
    };
    let [whole, minimal] = ["tiny/ckpt/config.json", "tiny/config_minimal.json"].map(read);
    let keys = |value: &Value| value.as_object().map_or(0, serde_json::Map::len);
    assert!(keys(&minimal) < keys(&whole));
    let backbone = backbone(&read("tiny/backbone/config.json")).expect("a backbone");
    let of = |value: &Value| config(value).expect("a file").model(&backbone).expect("a model");
    assert_eq!(of(&minimal), of(&whole));
}

/// Cosmos-Reason2-2B's own file, as far as it says what the network computes.
fn cosmos() -> Value {
    json!({"model_type": "qwen3_vl", "image_token_id": 151_655, "tie_word_embeddings": true,
        "text_config": {"model_type": "qwen3_vl_text", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
            "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "rms_norm_eps": 1e-6, "rope_theta": 5_000_000,
            "rope_scaling": {"mrope_interleaved": true, "mrope_section": [24, 20, 20], "rope_type": "default"},
            "vocab_size": 151_936, "hidden_act": "silu", "attention_bias": false},
        "vision_config": {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "patch_size": 16,
            "temporal_patch_size": 2, "spatial_merge_size": 2, "num_position_embeddings": 2304, "out_hidden_size": 2048,
            "deepstack_visual_indexes": [5, 11, 17], "hidden_act": "gelu_pytorch_tanh", "in_channels": 3}})
}

#[test]
fn cosmos_reason2s_file_has_the_released_sizes_and_transformers_5_writes_them_elsewhere() {
    let released = Backbone::released(&N1D7);
    let same = |value: &Value| {
        let found = backbone(value).expect("a backbone");
        assert_eq!((found.vision, found.language), (released.vision.clone(), released.language.clone()));
    };
    same(&cosmos());
    let mut five = cosmos();
    let text = five["text_config"].as_object_mut().expect("an object");
    let (theta, mut rope) =
        (text.remove("rope_theta").expect("a base"), text.remove("rope_scaling").expect("sections"));
    rope["rope_theta"] = theta;
    text.insert("rope_parameters".to_owned(), rope);
    // The model's output is not read: whether it is the embedding does not matter.
    five["tie_word_embeddings"] = json!(false);
    same(&five);
    five["text_config"]["rope_parameters"]["rope_type"] = json!("yarn");
    are(&problems(backbone(&five)), &["text_config.rope_parameters.rope_type: expected default, found yarn"]);
}

#[test]
fn a_backbone_of_another_kind_is_refused_by_key() {
    let changed = |pointer: &str, value: Value| {
        let mut file = cosmos();
        *file.pointer_mut(pointer).expect("the key") = value;
        problems(backbone(&file))
    };
    let cases = [
        ("/text_config/rope_scaling/mrope_section", json!([24, 20, 21])),
        ("/text_config/rope_scaling/mrope_section", json!([usize::MAX, 64, 1])),
        ("/text_config/rope_scaling/mrope_section", json!([24, 40])),
        ("/text_config/rope_scaling/mrope_interleaved", json!(false)),
        ("/text_config/rope_scaling/rope_type", json!("linear")),
        ("/text_config/num_attention_heads", json!(12)),
        ("/text_config/attention_bias", json!(true)),
        ("/vision_config/deepstack_visual_indexes", json!([5, 17, 11])),
        ("/vision_config/deepstack_visual_indexes", json!([5, 11, 11])),
        ("/vision_config/deepstack_visual_indexes", json!([5, 11, 24])),
        ("/vision_config/deepstack_visual_indexes", json!([-1])),
        ("/vision_config/num_heads", json!(0)),
        ("/vision_config/hidden_size", json!(1032)),
        ("/vision_config/num_position_embeddings", json!(2305)),
        ("/vision_config/temporal_patch_size", json!(1)),
        ("/vision_config/spatial_merge_size", json!(4)),
        ("/vision_config/in_channels", json!(4)),
        ("/vision_config/out_hidden_size", json!(1024)),
        ("/vision_config/hidden_act", json!("gelu")),
        ("/vision_config/depth", json!(1e9)),
    ];
    for (pointer, value) in cases {
        let key = pointer.trim_start_matches('/').replace('/', ".");
        let found = changed(pointer, value.clone());
        assert!(found.iter().any(|problem| problem.starts_with(&format!("{key}: "))), "{key} {value}: {found:?}");
    }
    let mut bare = cosmos();
    bare["text_config"].as_object_mut().expect("an object").remove("rope_scaling");
    are(&problems(backbone(&bare)), &["text_config.rope_scaling: expected an object, found nothing"]);
}

#[test]
fn a_table_of_one_position_and_taps_of_every_block_are_a_network() {
    let mut file = cosmos();
    file["vision_config"]["num_position_embeddings"] = json!(1);
    file["vision_config"]["deepstack_visual_indexes"] = json!((0..24).collect::<Vec<usize>>());
    let found = backbone(&file).expect("a backbone");
    assert_eq!((found.vision.table, found.vision.deepstack.len()), (1, 24));
}

#[test]
fn the_backbone_of_another_release_is_refused_by_name() {
    let config = config(&json!({"model_type": "Gr00tN1d7"})).expect("a file");
    let eagle = json!({"model_type": "eagle_3_vl", "vision_config": {"hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 14}, "text_config": {"hidden_size": 64,
        "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rope_theta": 1_000_000, "vocab_size": 151_680}});
    match config.model(&backbone(&eagle).expect("N1.6's")) {
        Err(Error::Config { file, key, .. }) => {
            assert_eq!((file.as_str(), key.as_str()), ("cosmos.json", "model_type"))
        }
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn rotations_of_another_kind_and_two_bases_are_refused() {
    let refusals = |change: fn(&mut Value)| {
        let mut file = cosmos();
        change(&mut file["text_config"]);
        problems(backbone(&file))
    };
    let yarn = refusals(|text| text["rope_scaling"]["type"] = json!("yarn"));
    are(&yarn, &["text_config.rope_scaling.type: expected default, found yarn"]);
    let twice = refusals(|text| {
        let mut parameters = text["rope_scaling"].clone();
        parameters["rope_theta"] = json!(10_000);
        text["rope_parameters"] = parameters;
    });
    are(&twice, &["text_config.rope_theta: expected 10000 as in rope_parameters"]);
}

#[test]
fn numbers_of_layers_and_inputs_of_tomorrow_are_refused_before_anything_is_listed() {
    are(&problems(model(&with("use_tactile", json!(true)))), &["use_tactile: expected false"]);
    let mut file = cosmos();
    file["vision_config"]["depth"] = json!(1_048_576);
    assert!(problems(backbone(&file))[0].starts_with("vision_config.depth: expected an integer from 1 to 1024"));
}
