"""A trained reach policy as a checkpoint in the vendor's layout, which `vla-trt export` makes a policy bundle of."""

import json
import pathlib
import re

import numpy as np
import torch
from safetensors.torch import save_file

from .task import CAMERA, ROWS

EMBODIMENT = "new_embodiment"
KEYS = {"right_arm": 6, "right_gripper": 1}
#: The chat template of the language model, with one image of `rows` image tokens.
TEMPLATE = ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{instruction}"
            "<image 1><img>{context}</img><|im_end|>\n")
IMAGE_TOKEN = "<IMG_CONTEXT>"


def prompt(tokenizer, instruction, rows):
    """Token ids of an instruction, as the node makes them: lower case, no punctuation."""
    text = re.sub(r"[^\w\s]", "", instruction.lower())
    ids = tokenizer.encode(TEMPLATE.format(instruction=text, context=IMAGE_TOKEN * rows), add_special_tokens=False).ids
    return torch.tensor(ids)


def shrink(images, size):
    """Pictures u8 [N, H, W, 3] as the policy's transform shrinks them: every pixel the mean of what it covers."""
    def weights(given, wanted):
        edges = np.arange(wanted + 1) * (given / wanted)
        covered = np.minimum(edges[1:, None], np.arange(given) + 1) - np.maximum(edges[:-1, None], np.arange(given))
        return (np.maximum(covered, 0.0) * (wanted / given)).astype(np.float32)

    width, height = size
    if images.shape[1:3] == (height, width):
        return images
    rows, columns = weights(images.shape[1], height), weights(images.shape[2], width)
    out = np.empty((len(images), height, width, 3), np.uint8)
    for index, image in enumerate(images):
        mixed = np.tensordot(rows, image.astype(np.float32), (1, 0))
        out[index] = np.rint(np.tensordot(columns, mixed, (1, 1)).transpose(1, 0, 2))
    return out


class Normaliser:
    """Statistics of the demonstrations: states to -1..1 by range, arm actions relative to the state, row by row.

    An action of the arm is divided by its spread in that row and not by its range, so that what happens near the cube,
    the small motions, is not lost beside the large ones.
    """

    def __init__(self, arrays):
        state = arrays["state"].astype(np.float64)
        self.low, self.high = state.min(0) - 0.01, state.max(0) + 0.01
        self.low[6], self.high[6] = 0.0, 1.0
        plans = np.concatenate([arrays["reach"], arrays["home"]])[:, :ROWS].astype(np.float64)
        relative = plans[..., :6] - np.concatenate([state, state])[:, None, :6]
        self.spread = np.maximum(np.sqrt((relative**2).mean(0)), 0.002)  # [rows, joints]
        self.most = np.abs(relative).max(0)
        # As they are read back from the file.
        for name in ("low", "high", "spread"):
            setattr(self, name, getattr(self, name).astype(np.float32).astype(np.float64))

    def state(self, state):
        """[N, 7] to [N, 7], clipped."""
        return np.clip(2.0 * (state - self.low) / (self.high - self.low) - 1.0, -1.0, 1.0)

    def action(self, plans, state):
        """[N, rows, 7] absolute to normalised."""
        arm = (plans[..., :6] - state[:, None, :6]) / self.spread
        return np.concatenate([arm, 2.0 * plans[..., 6:] - 1.0], axis=-1)

    def plans(self, actions, state):
        """The inverse of `action`."""
        arm = actions[..., :6] * self.spread + state[:, None, :6]
        return np.concatenate([arm, (actions[..., 6:7] + 1.0) / 2.0], axis=-1)

    def statistics(self):
        """statistics.json in the vendor's schema."""

        def entry(low, high):
            low, high = np.asarray(low), np.asarray(high)
            return {"min": low.tolist(), "max": high.tolist(), "mean": ((low + high) / 2).tolist(),
                    "std": ((high - low) / 4).tolist(), "q01": (low + 0.01 * (high - low)).tolist(),
                    "q99": (high - 0.01 * (high - low)).tolist()}

        absolute = {"right_arm": entry(self.low[:6], self.high[:6]), "right_gripper": entry([0.0], [1.0])}
        relative = {"right_arm": {**entry(-self.most, self.most), "std": self.spread.tolist()}}
        return {EMBODIMENT: {"state": absolute, "action": absolute, "relative_action": relative}}


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
