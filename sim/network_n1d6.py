"""GR00T N1.6 in torch: SigLIP2 vision tower and projector in front of what sim/network.py has. One view."""

import dataclasses

import torch
import torch.nn.functional as F

from . import network
from .family import N1D6 as FAMILY  # noqa: F401

TOWER = "backbone.model.vision_model.vision_model"
PROJECTOR = "backbone.model.mlp1"
DECODER = "backbone.model.language_model.model"


@dataclasses.dataclass(frozen=True)
class Sizes(network.Sizes):
    """The reach policy's sizes."""


def shapes(s):
    """Name and shape of every weight that the network reads."""
    found = network.Shapes()
    found.linear(f"{TOWER}.embeddings.patch_embedding", s.vision, s.patch**2 * 3)
    found[f"{TOWER}.embeddings.position_embedding.weight"] = (s.table**2, s.vision)
    for index in range(s.vision_layers):
        layer = f"{TOWER}.encoder.layers.{index}"
        found.norm(f"{layer}.layer_norm1", s.vision)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found.linear(f"{layer}.self_attn.{part}", s.vision, s.vision)
        found.norm(f"{layer}.layer_norm2", s.vision)
        found.linear(f"{layer}.mlp.fc1", s.vision_mlp, s.vision)
        found.linear(f"{layer}.mlp.fc2", s.vision, s.vision_mlp)
    found.norm(f"{TOWER}.post_layernorm", s.vision)
    found.norm(f"{PROJECTOR}.0", 4 * s.vision)
    found.linear(f"{PROJECTOR}.1", s.language, 4 * s.vision)
    found.linear(f"{PROJECTOR}.3", s.language, s.language)
    found.decoder(DECODER, s)
    found.head(s)
    return found


class Network(network.Network):
    """See sim/network.py."""

    DECODER = DECODER

    def vision(self, pixels):
        """[B, 3, H, W] in -1..1 to the image rows [B, H/28 * W/28, language], alone in a tuple."""
        s = self.s
        high, wide = pixels.shape[2] // s.patch, pixels.shape[3] // s.patch
        cells = pixels.unflatten(2, (high, s.patch)).unflatten(4, (wide, s.patch))
        patches = cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        table = self.w[f"{TOWER}.embeddings.position_embedding.weight"]
        if (high, wide) != (s.table, s.table):
            raise ValueError("the grid of patches must be the position table's")
        x = self._linear(patches, f"{TOWER}.embeddings.patch_embedding") + table
        for index in range(s.vision_layers):
            layer = f"{TOWER}.encoder.layers.{index}"
            n = self._norm(x, f"{layer}.layer_norm1", 1e-6)
            q, k, v = (self._heads(self._linear(n, f"{layer}.self_attn.{p}_proj"), s.vision_heads) for p in "qkv")
            x = x + self._linear(self._attend(q, k, v), f"{layer}.self_attn.out_proj")
            n = self._norm(x, f"{layer}.layer_norm2", 1e-6)
            x = x + self._linear(F.gelu(self._linear(n, f"{layer}.mlp.fc1"), approximate="tanh"), f"{layer}.mlp.fc2")
        x = self._norm(x, f"{TOWER}.post_layernorm", 1e-6)
        cells = x.unflatten(1, (high // 2, 2, wide // 2, 2)).permute(0, 1, 3, 5, 2, 4)
        rows = cells.flatten(3).flatten(1, 2)
        n = self._linear(self._norm(rows, f"{PROJECTOR}.0", 1e-5), f"{PROJECTOR}.1")
        return (self._linear(F.gelu(n), f"{PROJECTOR}.3"),)

    def rotation(self, is_image):
        """Cosines and sines [S, head_dim]: every token takes the next place."""
        frequencies = self._frequencies(self.s.head_dim // 2, self.s.rope_theta).float()
        angles = torch.arange(len(is_image), dtype=torch.float32)[:, None] * frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()

    def leave(self, x):
        """The decoder's last norm."""
        return self._rms(x, f"{DECODER}.norm")

    def fuse(self, x):
        """Nothing is between the head's norm and its attention."""
        return x


def configuration(s):
    """What config.json has beside what both families have."""
    return {"architectures": ["Gr00tN1d6"], "model_type": "Gr00tN1d6", "backbone_model_type": "eagle",
            "model_name": "nvidia/Eagle-Block2A-2B-v2"}


def backbone(s, tokenizer):
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


def further(weights):
    """What a checkpoint holds beside the weights that the network reads: nothing."""
    return {}
