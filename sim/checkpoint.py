"""A trained reach policy as a checkpoint in the vendor's layout, which `vla-trt export` makes a policy bundle of."""

import json
import pathlib

from safetensors.torch import save_file
from tokenizers import Tokenizer

from .encoding import EMBODIMENT, KEYS
from .task import CAMERA


def processor(sizes, family):
    """processor_config.json: the arm relative, the gripper absolute, pictures shrunk and not cropped."""
    def modality(keys, deltas, actions=None):
        return {"delta_indices": deltas, "modality_keys": keys, "sin_cos_embedding_keys": None,
                "mean_std_embedding_keys": ["right_arm"] if actions else None, "action_configs": actions}

    def action(key):
        rep = "RELATIVE" if key.endswith("_arm") else "ABSOLUTE"
        return {"rep": rep, "type": "NON_EEF", "format": "DEFAULT", "state_key": None}

    keys = list(KEYS)
    return {
        "processor_class": family.processor,
        "processor_kwargs": {
            "modality_configs": {EMBODIMENT: {
                "video": modality([CAMERA], [0]), "state": modality(keys, [0]),
                "action": modality(keys, list(range(sizes.horizon)), [action(key) for key in keys]),
                "language": modality(["annotation.human.task_description"], [0])}},
            "image_crop_size": None, "image_target_size": None, "use_albumentations": True,
            "random_rotation_angle": None, "color_jitter_params": None,
            "shortest_image_edge": sizes.edge, "crop_fraction": 1.0,
            "model_name": family.model, "model_type": family.kind, "formalize_language": True,
            "max_state_dim": sizes.dims, "max_action_dim": sizes.dims, "max_action_horizon": sizes.horizon,
            "use_percentiles": False, "clip_outliers": True, "apply_sincos_state_encoding": True,
            "use_relative_action": True, **family.processor_keys,
        },
    }


def configuration(s):
    """What config.json has of both families, with the vendor's keys."""
    return {
        "select_layer": s.language_layers,
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


def write(folder, model, weights, sizes, normaliser, tokenizer_json):
    """Everything that `vla-trt export` reads, into `folder`; `model` is the family's module of the network."""
    folder = pathlib.Path(folder)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer" / "tokenizer.json").write_text(tokenizer_json)
    files = {"config.json": {**model.configuration(sizes), **configuration(sizes)},
             "tokenizer/config.json": model.backbone(sizes, Tokenizer.from_str(tokenizer_json)),
             "processor_config.json": processor(sizes, model.FAMILY), "statistics.json": normaliser.statistics(),
             "embodiment_id.json": {EMBODIMENT: 0}}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")
    tensors = weights | model.further(weights)
    save_file({name: value.detach().contiguous() for name, value in tensors.items()},
              str(folder / "model.safetensors"), metadata={"format": "pt"})
