"""GR00T N1.7 in torch: Qwen3-VL's vision tower with deepstack, multi-axis rotary positions, and self-attention over all tokens
between decoder and head; the rest is in sim/network.py. Patches in row-major order: the vendor's are in groups of 2x2.
"""

import dataclasses

import torch
import torch.nn.functional as F

from . import network
from .family import N1D7 as FAMILY  # noqa: F401
from .network import HEAD
from .task import MOST_ROWS

VISUAL = "backbone.model.model.visual"
DECODER = "backbone.model.model.language_model"
FUSION = f"{HEAD}.vl_self_attention.transformer_blocks"


@dataclasses.dataclass(frozen=True)
class Sizes(network.Sizes):
    """The reach policy's sizes: the least picture that this family takes is 256x256."""

    horizon: int = MOST_ROWS
    edge: int = 112
    image: tuple = (256, 256)
    vision: int = 32
    vision_mlp: int = 64
    vision_layers: int = 4
    vision_heads: int = 2
    patch: int = 16
    table: int = 8
    #: After these blocks a merger of its own makes rows that are added in the decoder's first layers.
    taps: tuple = (0, 1, 2)
    language_layers: int = 3
    rope_theta: float = 5e6
    #: How many rotary frequencies take a token's time, row and column.
    section: tuple = (4, 2, 2)
    fusion_layers: int = 2
    fusion_heads: int = 4
    dims: int = 132
    positions: int = 64


def shapes(s):
    """Name and shape of every weight that the network reads."""
    found = network.Shapes()
    found[f"{VISUAL}.patch_embed.proj.weight"] = (s.vision, 3, 2, s.patch, s.patch)
    found[f"{VISUAL}.patch_embed.proj.bias"] = (s.vision,)
    found[f"{VISUAL}.pos_embed.weight"] = (s.table**2, s.vision)
    for index in range(s.vision_layers):
        layer = f"{VISUAL}.blocks.{index}"
        found.norm(f"{layer}.norm1", s.vision)
        found.linear(f"{layer}.attn.qkv", 3 * s.vision, s.vision)
        found.linear(f"{layer}.attn.proj", s.vision, s.vision)
        found.norm(f"{layer}.norm2", s.vision)
        found.linear(f"{layer}.mlp.linear_fc1", s.vision_mlp, s.vision)
        found.linear(f"{layer}.mlp.linear_fc2", s.vision, s.vision_mlp)
    mergers = [(f"{VISUAL}.merger", s.vision)]
    mergers += [(f"{VISUAL}.deepstack_merger_list.{index}", 4 * s.vision) for index in range(len(s.taps))]
    for merger, normed in mergers:
        found.norm(f"{merger}.norm", normed)
        found.linear(f"{merger}.linear_fc1", 4 * s.vision, 4 * s.vision)
        found.linear(f"{merger}.linear_fc2", s.language, 4 * s.vision)
    found.decoder(DECODER, s)
    for index in range(s.fusion_layers):
        layer = f"{FUSION}.{index}"
        found.norm(f"{layer}.norm1", s.language)
        found.attention(f"{layer}.attn1", s.language, s.language)
        found.norm(f"{layer}.norm3", s.language)
        found.feed_forward(f"{layer}.ff", s.language)
    found.head(s)
    return found


class Network(network.Network):
    """See sim/network.py."""

    DECODER = DECODER

    def vision(self, pixels):
        """[B, 3, H, W] in -1..1 to the image rows and what deepstack adds, each [B, H/32 * W/32, language]."""
        s = self.s
        grid = high, wide = pixels.shape[2] // s.patch, pixels.shape[3] // s.patch
        cells = pixels.unflatten(2, (high, s.patch)).unflatten(4, (wide, s.patch))
        patches = cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        # Both times of a patch are the same frame.
        weight = self.w[f"{VISUAL}.patch_embed.proj.weight"].sum(2).flatten(1)
        x = F.linear(patches, weight, self.w[f"{VISUAL}.patch_embed.proj.bias"])
        positions, (cos, sin) = self._places(*grid), self._turns(*grid)
        self.note("vit_patch", x)
        self.note("vit_positions", positions.expand(len(x), -1, -1))
        x, made = x + positions, []
        for index in range(s.vision_layers):
            x = self._look(x, f"{VISUAL}.blocks.{index}", cos, sin)
            self.note(f"vit_layer{index}", x)
            if index in s.taps:
                name = f"{VISUAL}.deepstack_merger_list.{s.taps.index(index)}"
                made.append(self._merge(self._norm(self._group(x, grid), f"{name}.norm", 1e-6), name))
        name = f"{VISUAL}.merger"
        return self._merge(self._group(self._norm(x, f"{name}.norm", 1e-6), grid), name), *made

    def _places(self, high, wide):
        """The learned positions [high * wide, vision] of a grid: the table between its corners, bilinear."""
        def between(count):
            at = torch.linspace(0, self.s.table - 1, count)
            low = at.floor().long()
            up = (low + 1).clamp(max=self.s.table - 1)
            share = (at - low)[:, None]
            return F.one_hot(low, self.s.table) * (1 - share) + F.one_hot(up, self.s.table) * share

        table = self.w[f"{VISUAL}.pos_embed.weight"].unflatten(0, (self.s.table, self.s.table))
        return torch.einsum("hi,wj,ijc->hwc", between(high), between(wide), table).flatten(0, 1)

    def _turns(self, high, wide):
        """Cosines and sines [high * wide, head dim] of every patch's row and column; rounded as a whole where the vendor's are."""
        quarter = self.s.vision // self.s.vision_heads // 4
        frequencies = self._frequencies(quarter, 1e4)
        rows, columns = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
        places = torch.stack([rows.flatten(), columns.flatten()], dim=1).to(frequencies.dtype)
        angles = (places[:, :, None] * frequencies).flatten(1)
        angles = torch.cat([angles, angles], dim=-1)
        cos, sin = angles.cos().float(), angles.sin().float()
        self.note("vit_cos", cos[None])
        self.note("vit_sin", sin[None])
        return cos, sin

    def _look(self, x, layer, cos, sin):
        """One block of the tower; a picture's patches see one another, all of them."""
        n = self._norm(x, f"{layer}.norm1", 1e-6)
        q, k, v = (self._heads(part, self.s.vision_heads) for part in self._linear(n, f"{layer}.attn.qkv").chunk(3, dim=-1))
        mixed = self._attend(self._turn(q, cos, sin), self._turn(k, cos, sin), v)
        x = x + self._linear(mixed, f"{layer}.attn.proj")
        n = self._norm(x, f"{layer}.norm2", 1e-6)
        return x + self._linear(F.gelu(self._linear(n, f"{layer}.mlp.linear_fc1"), approximate="tanh"), f"{layer}.mlp.linear_fc2")

    @staticmethod
    def _group(x, grid):
        """Rows [B, H * W, C] to cells of 2x2 [B, H/2 * W/2, 4 * C]."""
        cells = x.unflatten(1, (grid[0] // 2, 2, grid[1] // 2, 2)).permute(0, 1, 3, 2, 4, 5)
        return cells.flatten(3).flatten(1, 2)

    def _merge(self, cells, name):
        return self._linear(F.gelu(self._linear(cells, f"{name}.linear_fc1")), f"{name}.linear_fc2")

    def rotation(self, is_image):
        """Cosines and sines [S, head_dim]: text counts on; an image's tokens are at its begin plus their row and column."""
        s = self.s
        frequencies = self._frequencies(s.head_dim // 2, s.rope_theta).float()
        axis = torch.zeros(s.head_dim // 2, dtype=torch.long)
        for which in (1, 2):  # row, column: interleaved, the rest takes the time
            axis[which:3 * s.section[which]:3] = which
        angles = self.places(is_image).float()[:, axis] * frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()

    def places(self, is_image):
        """Time, row and column [S, 3] of every token."""
        high, wide = self.s.image[1] // (2 * self.s.patch), self.s.image[0] // (2 * self.s.patch)
        cells = torch.stack([torch.zeros(high * wide, dtype=torch.long), torch.arange(high).repeat_interleave(wide),
                             torch.arange(wide).repeat(high)], dim=1)
        found, token, now = [], 0, 0
        while token < len(is_image):
            if is_image[token]:
                found.append(now + cells)
                token, now = token + len(cells), now + max(high, wide)
            else:
                found.append(torch.full((1, 3), now))
                token, now = token + 1, now + 1
        return torch.cat(found)

    def leave(self, x):
        """The rows leave the decoder before its last norm."""
        return x

    def fuse(self, x):
        """Self-attention over all tokens, text and image, without a mask."""
        for index in range(self.s.fusion_layers):
            layer = f"{FUSION}.{index}"
            n = self._norm(x, f"{layer}.norm1", 1e-5)
            q, k, v = (self._heads(self._linear(n, f"{layer}.attn1.to_{part}"), self.s.fusion_heads) for part in "qkv")
            x = x + self._linear(self._attend(q, k, v), f"{layer}.attn1.to_out.0")
            n = F.gelu(self._linear(self._norm(x, f"{layer}.norm3", 1e-5), f"{layer}.ff.net.0.proj"), approximate="tanh")
            x = x + self._linear(n, f"{layer}.ff.net.2")
            self.note(f"vlsa_layer{index}", x)
        return x


def configuration(s):
    """What config.json has beside what both families have."""
    return {"architectures": ["Gr00tN1d7"], "model_type": "Gr00tN1d7", "backbone_model_type": "qwen",
            "model_name": "nvidia/Cosmos-Reason2-2B", "state_history_length": 1,
            "vl_self_attention_cfg": {
                "attention_head_dim": s.language // s.fusion_heads, "num_attention_heads": s.fusion_heads,
                "num_layers": s.fusion_layers, "positional_embeddings": None}}


def backbone(s, tokenizer):
    """The backbone's config.json with the keys of Qwen3-VL."""
    token = tokenizer.token_to_id
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "tie_word_embeddings": True,
        "image_token_id": token("<|image_pad|>"), "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "vision_config": {
            "model_type": "qwen3_vl", "in_channels": 3, "hidden_act": "gelu_pytorch_tanh", "patch_size": s.patch,
            "temporal_patch_size": 2, "spatial_merge_size": 2, "num_position_embeddings": s.table**2,
            "depth": s.vision_layers, "hidden_size": s.vision, "intermediate_size": s.vision_mlp,
            "num_heads": s.vision_heads, "out_hidden_size": s.language, "deepstack_visual_indexes": list(s.taps)},
        "text_config": {
            "model_type": "qwen3_vl_text", "hidden_size": s.language, "intermediate_size": s.language_mlp,
            "num_hidden_layers": s.language_layers, "num_attention_heads": s.heads,
            "num_key_value_heads": s.kv_heads, "head_dim": s.head_dim, "hidden_act": "silu", "attention_bias": False,
            "rms_norm_eps": 1e-6, "rope_theta": s.rope_theta, "vocab_size": s.vocab, "tie_word_embeddings": True,
            "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": list(s.section)}},
    }


def further(weights):
    """What a checkpoint holds beside the weights that the network reads: the language model's head, the tied embedding."""
    return {"backbone.model.lm_head.weight": weights[f"{DECODER}.embed_tokens.weight"].clone()}
