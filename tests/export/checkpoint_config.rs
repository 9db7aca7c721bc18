//! `config.json` as trainers leave it: what is absent has the vendor's default, what would be another network is refused.

use std::path::Path;

use serde_json::{Value, json};
use vla_export::Model;
use vla_export::checkpoint::{Backbone, Config};

fn model(config: &Value) -> Result<Model, String> {
    let config = Config::parse(Path::new("config.json"), config.to_string().as_bytes());
    config
        .and_then(|config| config.model(&Backbone::released(&vla_export::family::N1D6)))
        .map_err(|error| error.to_string())
}

fn with(key: &str, value: Value) -> Value {
    let mut config = json!({"model_type": "Gr00tN1d6"});
    config[key] = value;
    config
}

/// Every key of the DiT that a checkpoint of the released model has.
fn dit() -> Value {
    json!({"positional_embeddings": null, "num_layers": 32, "num_attention_heads": 32, "attention_head_dim": 48,
           "norm_type": "ada_norm", "dropout": 0.2, "final_dropout": true, "output_dim": 1024,
           "interleave_self_attention": true})
}

#[test]
fn a_file_with_nothing_but_the_models_type_has_the_dataclass_defaults() {
    let found = model(&json!({"model_type": "Gr00tN1d6"})).expect("a model");
    let released = Model::n1d6();
    assert_eq!((found.head.horizon, found.head.state_dims, found.head.action_dims), (16, 29, 29));
    let head = vla_export::model::Head { horizon: 50, state_dims: 128, action_dims: 128, ..found.head };
    assert_eq!(Model { head, ..found }, released);
}

#[test]
fn switches_and_sizes_are_taken_from_the_file() {
    let config = json!({"model_type": "Gr00tN1d6", "use_vlln": false, "add_pos_embed": false, "action_horizon": 8,
        "max_state_dim": 64, "max_action_dim": 32, "attend_text_every_n_blocks": 3, "num_timestep_buckets": 500,
        "max_num_embodiments": 4, "select_layer": 12, "hidden_size": 512, "max_seq_len": 77, "state_dropout_prob": 0.3});
    let found = model(&config).expect("a model");
    assert_eq!((found.head.vlln, found.head.positions, found.language.layers), (false, None, 12));
    assert_eq!((found.head.horizon, found.head.state_dims, found.head.action_dims), (8, 64, 32));
    assert_eq!((found.head.text_every, found.head.timestep_buckets, found.head.embodiments), (3, 500, 4));
    assert_eq!(found.head.hidden, 512);
    assert_eq!(model(&with("max_seq_len", json!(77))).expect("a model").head.positions, Some(77));
}

#[test]
fn what_a_given_dit_leaves_out_has_the_default_of_the_vendors_network_and_not_of_the_dataclass() {
    assert_eq!(model(&with("diffusion_model_cfg", dit())).map(|model| model.head.blocks), Ok(32));
    let without = |key: &str| {
        let mut dit = dit();
        dit.as_object_mut().expect("an object").remove(key);
        model(&with("diffusion_model_cfg", dit))
    };
    assert_eq!(without("num_layers").map(|model| model.head.blocks), Ok(12));
    assert_eq!(without("output_dim").map(|model| model.head.output), Ok(26));
    for (key, default) in [("num_attention_heads", "8 * 48"), ("attention_head_dim", "32 * 64")] {
        let refused = without(key).expect_err("another width");
        assert!(refused.contains(default) && refused.contains("found 1536"), "{refused}");
    }
    for (key, default) in [("interleave_self_attention", "false"), ("positional_embeddings", "sinusoidal")] {
        let refused = without(key).expect_err("another network");
        assert!(refused.contains(&format!("diffusion_model_cfg.{key}")) && refused.contains(default), "{refused}");
    }
    assert!(without("norm_type").is_ok() && without("dropout").is_ok());
}

#[test]
fn keys_that_make_another_network_are_all_named() {
    let mut other = dit();
    for (key, value) in [
        ("activation_fn", json!("geglu")),
        ("attention_bias", json!(false)),
        ("norm_elementwise_affine", json!(true)),
        ("norm_eps", json!(1e-6)),
        ("positional_embeddings", json!("sinusoidal")),
    ] {
        other[key] = value;
    }
    let mut config = with("diffusion_model_cfg", other);
    config["use_alternate_vl_dit"] = json!(false);
    config["backbone_model_type"] = json!("qwen");
    let refused = model(&config).expect_err("another network");
    for words in [
        "diffusion_model_cfg.activation_fn: expected gelu-approximate, found geglu",
        "diffusion_model_cfg.attention_bias: expected true, found false",
        "diffusion_model_cfg.norm_elementwise_affine: expected false, found true",
        "diffusion_model_cfg.norm_eps: expected 0.00001, found 1e-6",
        "diffusion_model_cfg.positional_embeddings: expected null, found sinusoidal",
        "use_alternate_vl_dit: expected true, found false",
        "backbone_model_type: expected eagle, found qwen",
    ] {
        assert!(refused.contains(words), "`{words}` in {refused}");
    }
}

#[test]
fn a_backbone_of_another_kind_is_refused_by_key() {
    let vision = json!({"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "patch_size": 14});
    let text = json!({"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "rope_theta": 1_000_000, "vocab_size": 151_680});
    let parse = |value: &Value| {
        Backbone::parse(&vla_export::family::N1D6, Path::new("eagle.json"), value.to_string().as_bytes())
            .map_err(|error| error.to_string())
    };
    let good = json!({"vision_config": vision, "text_config": text, "select_layer": -1, "image_token_index": 151_669});
    parse(&good).expect("a backbone");
    let mut other = good;
    other["select_layer"] = json!(-2);
    other["text_config"]["rope_scaling"] = json!({"type": "yarn", "factor": 4.0});
    other["text_config"]["use_sliding_window"] = json!(true);
    other["vision_config"]["use_rope"] = json!(true);
    let refused = parse(&other).expect_err("another backbone");
    for words in [
        "select_layer: expected -1 (the vision tower's last layer), found -2",
        "text_config.rope_scaling: expected null",
        "text_config.use_sliding_window: expected false",
        "vision_config.use_rope: expected false",
    ] {
        assert!(refused.contains(words), "`{words}` in {refused}");
    }
}
