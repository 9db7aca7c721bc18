//! GR00T N1.6 (NVIDIA/Isaac-GR00T, branch n1d6, commit 4e62473): Eagle with SigLIP2 and Qwen3.

use serde_json::{Value, json};

use super::{BackboneFamily, ConfigFamily, DemoFamily, Family, PromptFamily, WeightFamily};
use crate::checkpoint::keys::Keys;
use crate::checkpoint::sizes::{qwen3, qwen3_json, shortest};
use crate::demo;
use crate::inventory::{List, Outlines};
use crate::layers::vision::siglip2;
use crate::model::{Head, Language, Model, Vision};

const TOWER: &str = "backbone.model.vision_model.vision_model";

/// GR00T N1.6.
pub static N1D6: Family = Family {
    name: "n1d6",
    policy: &vla_policy::family::N1D6,
    config: ConfigFamily {
        model_type: "Gr00tN1d6",
        backbone_type: "eagle",
        model_name: "nvidia/Eagle-Block2A-2B-v2",
        select_layer: 16,
        horizon: 16,
        dims: 29,
        blocks: 32,
        fusion: false,
        plain_dit: false,
        before_norm: false,
    },
    backbone: BackboneFamily {
        title: "Eagle",
        model_types: &["eagle_3_vl", "eagle_2_5_vl", "siglip2_vision_model"],
        layers: 28,
        read: backbone,
        write: backbone_json,
    },
    weights: WeightFamily {
        vision: "backbone.model.vision_model.",
        decoder: "backbone.model.language_model.model",
        tower: &siglip2::TOWER,
        list,
        unread,
    },
    prompt: PromptFamily { template, images: None },
    embodiments: &[
        ("oxe_google", 0),
        ("oxe_widowx", 1),
        ("libero_panda", 2),
        ("unitree_g1", 8),
        ("new_embodiment", 10),
        ("robocasa_panda_omron", 13),
        ("oxe_droid", 16),
        ("gr1", 20),
        ("behavior_r1_pro", 24),
    ],
    layouts: &["split", "backbone-dit", "head", "vendor"],
    cross_view: true,
    released,
    demo: DemoFamily {
        sizes: small,
        horizon: demo::HORIZON,
        dims: demo::DIMS,
        fusion: 0,
        // Small enough for one slow core.
        shortest_edge: 112,
        special: &["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<IMG_CONTEXT>", "<img>", "</img>"],
        gains: &[
            ("embeddings.position_embedding.weight", 0.3),
            ("patch_embedding.weight", 2.0),
            ("self_attn.q_proj.weight", 2.0),
            ("self_attn.k_proj.weight", 2.0),
        ],
        mid,
    },
};

fn released() -> Model {
    Model {
        family: &N1D6,
        vision: Vision {
            width: 1152,
            mlp: 4304,
            layers: 27,
            heads: 16,
            patch: 14,
            table: 16,
            eps: 1e-6,
            deepstack: Vec::new(),
        },
        language: Language {
            width: 2048,
            mlp: 6144,
            layers: 16,
            heads: 16,
            kv_heads: 8,
            head_dim: 128,
            eps: 1e-6,
            rope_theta: 1e6,
            rope_section: None,
            vocab: 151_680,
            final_norm: true,
        },
        head: Head {
            width: 1536,
            hidden: 1024,
            output: 1024,
            heads: 32,
            head_dim: 48,
            blocks: 32,
            alternate: true,
            text_every: 2,
            horizon: 50,
            state_dims: 128,
            action_dims: 128,
            embodiments: 32,
            positions: Some(1024),
            timestep_buckets: 1000,
            vlln: true,
            fusion: None,
        },
    }
}

fn mid() -> Model {
    let Model { family, vision, language, head } = released();
    let (vision, language) = (Vision { layers: 2, ..vision }, Language { layers: 2, ..language });
    Model { family, vision, language, head: Head { blocks: 4, ..head } }
}

fn small(vocab: usize) -> (Vision, Language) {
    let vision =
        Vision { width: 64, mlp: 128, layers: 2, heads: 4, patch: 14, table: 16, eps: 1e-6, deepstack: Vec::new() };
    let language = Language {
        width: 96,
        mlp: 192,
        layers: 2,
        heads: 6,
        kv_heads: 3,
        head_dim: 16,
        eps: 1e-6,
        rope_theta: 1e6,
        rope_section: None,
        vocab,
        final_norm: true,
    };
    (vision, language)
}

/// The language model's chat prompt: text first, then the images, no generation prompt.
fn template() -> Value {
    json!({
        "before": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        "image": "<image {k}><img>{context}</img>",
        "context_token": "<IMG_CONTEXT>",
        "after": "<|im_end|>\n",
    })
}

fn list(list: &mut List, model: &Model) {
    let vision = &model.vision;
    let width = vision.width;
    list.linear(&format!("{TOWER}.embeddings.patch_embedding"), vision.patch * vision.patch * 3, width, true);
    list.add(format!("{TOWER}.embeddings.position_embedding.weight"), &[vision.table * vision.table, width]);
    for index in 0..vision.layers {
        let layer = format!("{TOWER}.encoder.layers.{index}");
        list.norm(&format!("{layer}.layer_norm1"), width);
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            list.linear(&format!("{layer}.self_attn.{part}"), width, width, true);
        }
        list.norm(&format!("{layer}.layer_norm2"), width);
        list.linear(&format!("{layer}.mlp.fc1"), width, vision.mlp, true);
        list.linear(&format!("{layer}.mlp.fc2"), vision.mlp, width, true);
    }
    list.norm(&format!("{TOWER}.post_layernorm"), width);
    list.norm("backbone.model.mlp1.0", 4 * width);
    list.linear("backbone.model.mlp1.1", 4 * width, model.language.width, true);
    list.linear("backbone.model.mlp1.3", model.language.width, model.language.width, true);
}

/// The vision tower's pooling head and the language model's output.
fn unread(model: &Model) -> Outlines {
    let (width, mlp, language) = (model.vision.width, model.vision.mlp, &model.language);
    let head = |name: &str| format!("{TOWER}.head.{name}");
    vec![
        (head("probe"), vec![1, 1, width]),
        (head("attention.in_proj_weight"), vec![3 * width, width]),
        (head("attention.in_proj_bias"), vec![3 * width]),
        (head("attention.out_proj.weight"), vec![width, width]),
        (head("attention.out_proj.bias"), vec![width]),
        (head("layernorm.weight"), vec![width]),
        (head("layernorm.bias"), vec![width]),
        (head("mlp.fc1.weight"), vec![mlp, width]),
        (head("mlp.fc1.bias"), vec![mlp]),
        (head("mlp.fc2.weight"), vec![width, mlp]),
        (head("mlp.fc2.bias"), vec![width]),
        ("backbone.model.language_model.lm_head.weight".to_owned(), vec![language.vocab, language.width]),
    ]
}

fn backbone(keys: &mut Keys<'_>) -> (Vision, Language) {
    keys.number("downsample_ratio", Some(0.5), &[0.5]);
    // Of the vision tower: its last layer.
    let last = keys.get("select_layer").is_none_or(|layer| layer.as_i64() == Some(-1));
    let found = keys.get("select_layer").map_or(String::new(), Value::to_string);
    keys.check(last, "select_layer", || format!("expected -1 (the vision tower's last layer), found {found}"));
    (keys.nested("vision_config", true, vision), keys.nested("text_config", true, language))
}

fn vision(keys: &mut Keys<'_>) -> Vision {
    keys.flag("use_rope", false, &[false]);
    keys.flag("use_windows_attn", false, &[false]);
    keys.is("hidden_act", "gelu_pytorch_tanh");
    let heads = keys.size("num_attention_heads", None);
    Vision {
        width: keys.multiple("hidden_size", ("num_attention_heads", heads)),
        mlp: keys.size("intermediate_size", None),
        layers: keys.layers("num_hidden_layers", None),
        heads,
        patch: keys.size("patch_size", None),
        table: keys.square("num_patches", 256),
        eps: keys.number("layer_norm_eps", Some(1e-6), &[]) as f32,
        deepstack: Vec::new(),
    }
}

fn language(keys: &mut Keys<'_>) -> Language {
    keys.null("rope_scaling");
    keys.nested("rope_parameters", false, |keys| keys.is("rope_type", "default"));
    qwen3(keys)
}

fn backbone_json(model: &Model) -> Value {
    let vision = &model.vision;
    json!({
        "downsample_ratio": 0.5,
        "vision_config": {
            "model_type": "siglip2_vision_model",
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "num_patches": vision.table * vision.table,
            "patch_size": vision.patch,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": shortest(vision.eps),
            "use_rope": false,
            "use_windows_attn": false,
        },
        "text_config": qwen3_json(&model.language, "qwen3"),
    })
}
