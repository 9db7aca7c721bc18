//! GR00T N1.7 (NVIDIA/Isaac-GR00T, commit 376ba89): Cosmos-Reason2-2B, which is Qwen3-VL (transformers 4.57.3).

use serde_json::{Value, json};

use super::{BackboneFamily, ConfigFamily, DemoFamily, Family, ImagePlaces, PromptFamily, WeightFamily};
use crate::checkpoint::keys::Keys;
use crate::checkpoint::sizes::{qwen3, qwen3_json};
use crate::inventory::{List, Outlines};
use crate::layers::vision::qwen3_vl;
use crate::model::{Fusion, Head, Language, Model, Vision};

/// GR00T N1.7.
pub static N1D7: Family = Family {
    name: "n1d7",
    policy: &vla_policy::family::N1D7,
    config: ConfigFamily {
        model_type: "Gr00tN1d7",
        backbone_type: "qwen",
        model_name: "nvidia/Cosmos-Reason2-2B",
        select_layer: 12,
        horizon: 40,
        dims: 132,
        blocks: 16,
        fusion: true,
        plain_dit: true,
        before_norm: true,
    },
    backbone: BackboneFamily {
        title: "Cosmos-Reason2 (Qwen3-VL)",
        model_types: &["qwen3_vl"],
        layers: 28,
        read: backbone,
        write: backbone_json,
    },
    weights: WeightFamily {
        vision: "backbone.model.model.visual.",
        decoder: "backbone.model.model.language_model",
        tower: &qwen3_vl::TOWER,
        list,
        unread,
    },
    // `<|im_start|>`, `user` and a line break; `<|vision_start|>` and `<|vision_end|>` around every image.
    prompt: PromptFamily { template, images: Some(ImagePlaces { lead: 3, open: 1, close: 1 }) },
    embodiments: &[
        ("simpler_env_google", 0),
        ("simpler_env_widowx", 1),
        ("libero_sim", 2),
        ("new_embodiment", 10),
        ("robocasa_panda_omron", 10),
        ("robocasa_gr1_tabletop", 10),
        ("unitree_g1_sonic", 11),
        ("oxe_droid_relative_eef_relative_joint", 24),
        ("real_g1_relative_eef_relative_joints", 25),
        ("unitree_g1_full_body_with_waist_height_nav_cmd", 25),
        ("real_r1_pro_sharpa_relative_eef", 26),
        ("real_r1_pro_sharpa_relative_eef_human", 26),
        ("real_r1_pro_sharpa_relative_eef_maxinsights", 26),
        ("real_r1_pro_sharpa_relative_eef_mecka", 26),
        ("xdof_relative_eef_relative_joint", 27),
        ("xdof_relative_eef_relative_joint_subtask", 27),
    ],
    layouts: &["split", "backbone-dit", "head"],
    cross_view: false,
    released,
    demo: DemoFamily {
        sizes: small,
        horizon: 40,
        dims: 132,
        // Two, so that they can be cut.
        fusion: 2,
        // The vendor's last step makes smaller frames as large as this.
        shortest_edge: 256,
        special: &[
            "<|endoftext|>",
            "<|im_start|>",
            "<|im_end|>",
            "<|vision_start|>",
            "<|vision_end|>",
            "<|image_pad|>",
            "<|video_pad|>",
        ],
        gains: &[
            ("visual.pos_embed.weight", 0.3),
            ("patch_embed.proj.weight", 2.0),
            ("attn.qkv.weight", 2.0),
            ("self_attn.q_proj.weight", 2.0),
            ("self_attn.k_proj.weight", 2.0),
        ],
        mid,
    },
};

fn released() -> Model {
    Model {
        family: &N1D7,
        vision: Vision {
            width: 1024,
            mlp: 4096,
            layers: 24,
            heads: 16,
            patch: 16,
            table: 48,
            eps: 1e-6,
            deepstack: vec![5, 11, 17],
        },
        language: Language {
            width: 2048,
            mlp: 6144,
            layers: 16,
            heads: 16,
            kv_heads: 8,
            head_dim: 128,
            eps: 1e-6,
            rope_theta: 5e6,
            rope_section: Some([24, 20, 20]),
            vocab: 151_936,
            final_norm: false,
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
            horizon: 40,
            state_dims: 132,
            action_dims: 132,
            embodiments: 32,
            positions: Some(1024),
            timestep_buckets: 1000,
            vlln: true,
            fusion: Some(Fusion { layers: 4, heads: 32, head_dim: 64, sinusoids: None }),
        },
    }
}

fn mid() -> Model {
    let Model { family, vision, language, head } = released();
    let vision = Vision { layers: 4, deepstack: vec![0, 1, 2], ..vision };
    let fusion = head.fusion.clone().map(|fusion| Fusion { layers: 2, ..fusion });
    Model { family, vision, language: Language { layers: 4, ..language }, head: Head { blocks: 4, fusion, ..head } }
}

fn small(vocab: usize) -> (Vision, Language) {
    let vision =
        Vision { width: 64, mlp: 128, layers: 4, heads: 4, patch: 16, table: 48, eps: 1e-6, deepstack: vec![0, 1, 2] };
    let language = Language {
        width: 96,
        mlp: 192,
        layers: 3,
        heads: 6,
        kv_heads: 3,
        head_dim: 16,
        eps: 1e-6,
        rope_theta: 5e6,
        rope_section: Some([4, 2, 2]),
        vocab,
        final_norm: false,
    };
    (vision, language)
}

/// The user's turn of Qwen3-VL's chat template: the images, then the instruction, no generation prompt.
fn template() -> Value {
    json!({
        "before": "<|im_start|>user\n",
        "image": "<|vision_start|>{context}<|vision_end|>",
        "context_token": "<|image_pad|>",
        "after": "<|im_end|>\n",
        "images": "before",
    })
}

fn list(list: &mut List, model: &Model) {
    const TOWER: &str = "backbone.model.model.visual";
    let (vision, out) = (&model.vision, model.language.width);
    let width = vision.width;
    list.add(format!("{TOWER}.patch_embed.proj.weight"), &[width, 3, 2, vision.patch, vision.patch]);
    list.add(format!("{TOWER}.patch_embed.proj.bias"), &[width]);
    list.add(format!("{TOWER}.pos_embed.weight"), &[vision.table * vision.table, width]);
    for index in 0..vision.layers {
        let block = format!("{TOWER}.blocks.{index}");
        list.norm(&format!("{block}.norm1"), width);
        list.norm(&format!("{block}.norm2"), width);
        list.linear(&format!("{block}.attn.qkv"), width, 3 * width, true);
        list.linear(&format!("{block}.attn.proj"), width, width, true);
        list.linear(&format!("{block}.mlp.linear_fc1"), width, vision.mlp, true);
        list.linear(&format!("{block}.mlp.linear_fc2"), vision.mlp, width, true);
    }
    let mut merger = |name: &str, norm: usize| {
        list.norm(&format!("{TOWER}.{name}.norm"), norm);
        list.linear(&format!("{TOWER}.{name}.linear_fc1"), 4 * width, 4 * width, true);
        list.linear(&format!("{TOWER}.{name}.linear_fc2"), 4 * width, out, true);
    };
    merger("merger", width);
    for tap in 0..vision.deepstack.len() {
        merger(&format!("deepstack_merger_list.{tap}"), 4 * width);
    }
}

/// The language model's output, and its final norm where the head takes the rows before it.
fn unread(model: &Model) -> Outlines {
    let language = &model.language;
    let mut unread = vec![("backbone.model.lm_head.weight".to_owned(), vec![language.vocab, language.width])];
    if !language.final_norm {
        unread.push((format!("{}.norm.weight", N1D7.weights.decoder), vec![language.width]));
    }
    unread
}

fn backbone(keys: &mut Keys<'_>) -> (Vision, Language) {
    let vision = keys.nested("vision_config", true, vision);
    let language = keys.nested("text_config", true, language);
    let found = keys.nested("vision_config", false, |keys| keys.size("out_hidden_size", Some(language.width)));
    keys.check(found == language.width, "vision_config.out_hidden_size", || {
        format!("expected {} (text_config.hidden_size), found {found}", language.width)
    });
    (vision, language)
}

fn vision(keys: &mut Keys<'_>) -> Vision {
    keys.is("hidden_act", "gelu_pytorch_tanh");
    for (key, served) in [("in_channels", 3), ("temporal_patch_size", 2), ("spatial_merge_size", 2)] {
        let found = keys.size(key, Some(served));
        keys.check(found == served, key, || format!("expected {served}, found {found}"));
    }
    let heads = keys.size("num_heads", None);
    let width = keys.multiple("hidden_size", ("num_heads", heads));
    // Rows and columns share a head: each turns half of its pairs.
    keys.check((width / heads.max(1)).is_multiple_of(4), "hidden_size", || {
        format!("expected heads of a multiple of 4 channels, found {width} over {heads}")
    });
    let layers = keys.layers("depth", None);
    Vision {
        width,
        mlp: keys.size("intermediate_size", None),
        layers,
        heads,
        patch: keys.size("patch_size", Some(16)),
        table: keys.square("num_position_embeddings", 2304),
        eps: 1e-6,
        deepstack: deepstack(keys, layers),
    }
}

/// Blocks after which rows are taken for the language model's first layers.
fn deepstack(keys: &mut Keys<'_>, layers: usize) -> Vec<usize> {
    const KEY: &str = "deepstack_visual_indexes";
    let blocks: Vec<usize> = keys.get(KEY).map_or_else(
        || vec![8, 16, 24],
        |list| serde_json::from_value(list.clone()).unwrap_or_else(|_| vec![usize::MAX]),
    );
    let ascending = blocks.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    let found = keys.get(KEY).map_or_else(|| "nothing, which is [8, 16, 24]".to_owned(), Value::to_string);
    let fits = ascending && blocks.iter().all(|block| *block < layers);
    keys.check(fits, KEY, || format!("expected ascending blocks below depth ({layers}), found {found}"));
    if fits { blocks } else { Vec::new() }
}

fn language(keys: &mut Keys<'_>) -> Language {
    let language = qwen3(keys);
    let pairs = language.head_dim / 2;
    // transformers 5 has another name for it.
    let key = if keys.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
    let section = keys.nested(key, true, |keys| {
        // `type` is the older name; no kind but these has plain frequencies.
        for key in ["rope_type", "type"] {
            let found = keys.text(key).unwrap_or_else(|| "default".to_owned());
            keys.check(["default", "mrope"].contains(&found.as_str()), key, || {
                format!("expected default, found {found}")
            });
        }
        keys.flag("mrope_interleaved", true, &[true]);
        section(keys, pairs)
    });
    Language { rope_section: Some(section), final_norm: false, ..language }
}

/// Rotary pairs of time, height and width.
fn section(keys: &mut Keys<'_>, pairs: usize) -> [usize; 3] {
    const KEY: &str = "mrope_section";
    let read: Option<[usize; 3]> = keys.get(KEY).and_then(|value| serde_json::from_value(value.clone()).ok());
    let sum = |section: [usize; 3]| section.into_iter().try_fold(0_usize, usize::checked_add);
    let fits = read.and_then(sum) == Some(pairs);
    let found = keys.get(KEY).map_or_else(|| "nothing".to_owned(), Value::to_string);
    keys.check(fits, KEY, || {
        format!("expected the pairs of time, height and width, {pairs} together (head_dim / 2), found {found}")
    });
    read.filter(|_| fits).unwrap_or([pairs, 0, 0])
}

fn backbone_json(model: &Model) -> Value {
    let (vision, language) = (&model.vision, &model.language);
    let mut text = qwen3_json(language, "qwen3_vl_text");
    text["rope_scaling"] = json!({
        "rope_type": "default",
        "mrope_interleaved": true,
        "mrope_section": language.rope_section.unwrap_or_default(),
    });
    json!({
        "model_type": "qwen3_vl",
        "tie_word_embeddings": true,
        "vision_config": {
            "model_type": "qwen3_vl",
            "in_channels": 3,
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp,
            "depth": vision.layers,
            "num_heads": vision.heads,
            "patch_size": vision.patch,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "num_position_embeddings": vision.table * vision.table,
            "out_hidden_size": language.width,
            "deepstack_visual_indexes": vision.deepstack,
            "hidden_act": "gelu_pytorch_tanh",
        },
        "text_config": text,
    })
}
