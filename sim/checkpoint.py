"""A trained reach policy as a checkpoint in the vendor's layout, which `vla-trt export` makes a policy bundle of."""

import json
import pathlib

from safetensors.torch import save_file

from .encoding import EMBODIMENT, KEYS
from .task import CAMERA, ROWS


def processor(sizes):
    """processor_config.json: the arm relative, the gripper absolute, pictures shrunk and not cropped."""
    def modality(keys, deltas, actions=None):
        return {"delta_indices": deltas, "modality_keys": keys, "sin_cos_embedding_keys": None,
                "mean_std_embedding_keys": ["right_arm"] if actions else None, "action_configs": actions}

    def action(key):
        rep = "RELATIVE" if key.endswith("_arm") else "ABSOLUTE"
        return {"rep": rep, "type": "NON_EEF", "format": "DEFAULT", "state_key": None}

    keys = list(KEYS)
    return {
        "processor_class": "Gr00tN1d6Processor",
        "processor_kwargs": {
            "modality_configs": {EMBODIMENT: {
                "video": modality([CAMERA], [0]), "state": modality(keys, [0]),
                "action": modality(keys, list(range(ROWS)), [action(key) for key in keys]),
                "language": modality(["annotation.human.task_description"], [0])}},
            "image_crop_size": None, "image_target_size": None, "use_albumentations": True,
            "random_rotation_angle": None, "color_jitter_params": None,
            "shortest_image_edge": min(sizes.image), "crop_fraction": 1.0,
            "model_name": "nvidia/Eagle-Block2A-2B-v2", "model_type": "eagle", "formalize_language": True,
            "max_state_dim": sizes.dims, "max_action_dim": sizes.dims, "max_action_horizon": sizes.horizon,
            "use_percentiles": False, "clip_outliers": True, "apply_sincos_state_encoding": True,
            "use_relative_action": True,
        },
    }


def configuration(s):
    """config.json with the vendor's keys."""
    return {
        "architectures": ["Gr00tN1d6"], "model_type": "Gr00tN1d6", "backbone_model_type": "eagle",
        "model_name": "nvidia/Eagle-Block2A-2B-v2", "select_layer": s.language_layers,
        "backbone_embedding_dim": s.language, "reproject_vision": False, "hidden_size": s.width,
        "input_embedding_dim": s.width, "action_horizon": s.horizon, "max_state_dim": s.dims,
        "max_action_dim": s.dims, "max_num_embodiments": 1, "max_seq_len": s.positions, "add_pos_embed": True,
        "use_vlln": True, "use_alternate_vl_dit": True, "attend_text_every_n_blocks": 2, "num_inference_timesteps": 4,
        "num_timestep_buckets": s.buckets,
        "diffusion_model_cfg": {
            "attention_head_dim": s.dit_head_dim, "interleave_self_attention": True, "norm_type": "ada_norm",
            "num_attention_heads": s.dit_heads, "num_layers": s.blocks, "output_dim": s.width,
            "positional_embeddings": None},
    }


def backbone(s):
    """The backbone's config.json with the keys of the vendor's Eagle."""
    return {
        "downsample_ratio": 0.5,
        "vision_config": {
            "model_type": "siglip2_vision_model", "hidden_size": s.vision, "intermediate_size": s.vision_mlp,
            "num_hidden_layers": s.vision_layers, "num_attention_heads": s.vision_heads, "num_patches": s.table**2,
            "patch_size": s.patch, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "use_rope": False,
            "use_windows_attn": False},
        "text_config": {
            "model_type": "qwen3", "hidden_size": s.language, "intermediate_size": s.language_mlp,
            "num_hidden_layers": s.language_layers, "num_attention_heads": s.heads,
            "num_key_value_heads": s.kv_heads, "head_dim": s.head_dim, "hidden_act": "silu", "attention_bias": False,
            "rms_norm_eps": 1e-6, "rope_theta": s.rope_theta, "vocab_size": s.vocab},
    }


def write(folder, weights, sizes, normaliser, tokenizer_json):
    """Everything that `vla-trt export` reads, into `folder`."""
    folder = pathlib.Path(folder)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer" / "tokenizer.json").write_text(tokenizer_json)
    files = {"config.json": configuration(sizes), "tokenizer/config.json": backbone(sizes),
             "processor_config.json": processor(sizes), "statistics.json": normaliser.statistics(),
             "embodiment_id.json": {EMBODIMENT: 0}}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")
    save_file({name: value.detach().contiguous() for name, value in weights.items()},
              str(folder / "model.safetensors"), metadata={"format": "pt"})
