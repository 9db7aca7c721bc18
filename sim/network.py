"""The forward pass of GR00T N1.6 in torch, at any size, on weights named as in the vendor's checkpoint.

Mirrors layer by layer what `vla-trt export` writes (src/export/layers): SigLIP2 vision tower and projector, Qwen3
decoder, AlternateVLDiT with state and action encoder, flow matching in between. Batched; one embodiment; one view.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F

TOWER = "backbone.model.vision_model.vision_model"
PROJECTOR = "backbone.model.mlp1"
DECODER = "backbone.model.language_model.model"
HEAD = "action_head"
DIT = f"{HEAD}.model"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Every size of the network; what the checkpoint's configuration files say."""

    vocab: int
    horizon: int
    image: tuple = (84, 84)  # width, height
    vision: int = 64
    vision_mlp: int = 128
    vision_layers: int = 2
    vision_heads: int = 4
    patch: int = 14
    table: int = 6
    language: int = 64
    language_mlp: int = 128
    language_layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    rope_theta: float = 1e6
    width: int = 64  # of the DiT
    dit_heads: int = 4
    blocks: int = 4
    dims: int = 8  # columns of states and actions
    positions: int = 32
    buckets: int = 1000

    @property
    def dit_head_dim(self):
        return self.width // self.dit_heads


def shapes(s):
    """Name and shape of every weight, as src/export/inventory.rs has them."""
    found = {}

    def linear(name, outputs, inputs, bias=True):
        found[f"{name}.weight"] = (outputs, inputs)
        if bias:
            found[f"{name}.bias"] = (outputs,)

    def norm(name, width):
        found[f"{name}.weight"], found[f"{name}.bias"] = (width,), (width,)

    def embodied(name, inputs, outputs):
        found[f"{name}.W"], found[f"{name}.b"] = (1, inputs, outputs), (1, outputs)

    linear(f"{TOWER}.embeddings.patch_embedding", s.vision, s.patch**2 * 3)
    found[f"{TOWER}.embeddings.position_embedding.weight"] = (s.table**2, s.vision)
    for index in range(s.vision_layers):
        layer = f"{TOWER}.encoder.layers.{index}"
        norm(f"{layer}.layer_norm1", s.vision)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{layer}.self_attn.{part}", s.vision, s.vision)
        norm(f"{layer}.layer_norm2", s.vision)
        linear(f"{layer}.mlp.fc1", s.vision_mlp, s.vision)
        linear(f"{layer}.mlp.fc2", s.vision, s.vision_mlp)
    norm(f"{TOWER}.post_layernorm", s.vision)
    norm(f"{PROJECTOR}.0", 4 * s.vision)
    linear(f"{PROJECTOR}.1", s.language, 4 * s.vision)
    linear(f"{PROJECTOR}.3", s.language, s.language)

    found[f"{DECODER}.embed_tokens.weight"] = (s.vocab, s.language)
    for index in range(s.language_layers):
        layer = f"{DECODER}.layers.{index}"
        found[f"{layer}.input_layernorm.weight"] = (s.language,)
        for part, outputs in (("q", s.heads), ("k", s.kv_heads), ("v", s.kv_heads)):
            linear(f"{layer}.self_attn.{part}_proj", outputs * s.head_dim, s.language, bias=False)
        for part in "qk":
            found[f"{layer}.self_attn.{part}_norm.weight"] = (s.head_dim,)
        linear(f"{layer}.self_attn.o_proj", s.language, s.heads * s.head_dim, bias=False)
        found[f"{layer}.post_attention_layernorm.weight"] = (s.language,)
        for part in ("gate_proj", "up_proj"):
            linear(f"{layer}.mlp.{part}", s.language_mlp, s.language, bias=False)
        linear(f"{layer}.mlp.down_proj", s.language, s.language_mlp, bias=False)
    found[f"{DECODER}.norm.weight"] = (s.language,)

    norm(f"{HEAD}.vlln", s.language)
    found[f"{HEAD}.position_embedding.weight"] = (s.positions, s.width)
    embodied(f"{HEAD}.state_encoder.layer1", s.dims, s.width)
    embodied(f"{HEAD}.state_encoder.layer2", s.width, s.width)
    embodied(f"{HEAD}.action_encoder.W1", s.dims, s.width)
    embodied(f"{HEAD}.action_encoder.W2", 2 * s.width, s.width)
    embodied(f"{HEAD}.action_encoder.W3", s.width, s.width)
    embodied(f"{HEAD}.action_decoder.layer1", s.width, s.width)
    embodied(f"{HEAD}.action_decoder.layer2", s.width, s.dims)
    linear(f"{DIT}.timestep_encoder.timestep_embedder.linear_1", s.width, 256)
    linear(f"{DIT}.timestep_encoder.timestep_embedder.linear_2", s.width, s.width)
    for index in range(s.blocks):
        block = f"{DIT}.transformer_blocks.{index}"
        source = s.language if index % 2 == 0 else s.width
        linear(f"{block}.norm1.linear", 2 * s.width, s.width)
        for part, inputs in (("to_q", s.width), ("to_k", source), ("to_v", source), ("to_out.0", s.width)):
            linear(f"{block}.attn1.{part}", s.width, inputs)
        linear(f"{block}.ff.net.0.proj", 4 * s.width, s.width)
        linear(f"{block}.ff.net.2", s.width, 4 * s.width)
    linear(f"{DIT}.proj_out_1", 2 * s.width, s.width)
    linear(f"{DIT}.proj_out_2", s.width, s.width)
    return found


def initial(s, seed):
    """Weights before training: norms 1, biases 0, matrices 1/sqrt(inputs); adaptive norms begin as plain ones."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes(s).items():
        if name.endswith((".bias", ".b")):
            value = torch.zeros(shape)
        elif len(shape) == 1:
            value = torch.ones(shape)
        elif "norm1.linear" in name or "proj_out_1" in name:
            value = torch.zeros(shape)
        elif name.endswith(("embed_tokens.weight", "position_embedding.weight")):
            value = 0.1 * torch.randn(shape, generator=generator)
        else:
            inputs = shape[1]  # of [outputs, inputs] and of [embodiment, inputs, outputs]
            value = torch.randn(shape, generator=generator) / math.sqrt(inputs)
        weights[name] = value
    return weights


class Network:
    """The parts that the exporter makes stages of; `weights` by name, `sizes` of them."""

    def __init__(self, weights, sizes):
        self.w, self.s = weights, sizes

    def _linear(self, x, name):
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def _embodied(self, x, name):
        return x @ self.w[f"{name}.W"][0] + self.w[f"{name}.b"][0]

    def _norm(self, x, name, eps):
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps)

    def _rms(self, x, name):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * self.w[f"{name}.weight"]

    @staticmethod
    def _heads(x, count):
        return x.unflatten(-1, (count, -1)).transpose(-3, -2)

    @staticmethod
    def _attend(q, k, v, mask=None):
        causal = isinstance(mask, str)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=None if causal else mask, is_causal=causal)
        return mixed.transpose(-3, -2).flatten(-2)

    # Vision

    def vision(self, pixels):
        """[B, 3, H, W] in -1..1 to the image rows [B, H/28 * W/28, language]."""
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
        return self._linear(F.gelu(n), f"{PROJECTOR}.3")

    # Language

    def language(self, ids, image_token, image_rows):
        """As `backbone`, after the head's `vlln`: what the stage language gives."""
        return self.vlln(self.backbone(ids, image_token, image_rows))

    def vlln(self, x):
        """The head's norm of the language model's rows."""
        return self._norm(x, f"{HEAD}.vlln", 1e-5)

    def backbone(self, ids, image_token, image_rows):
        """Tokens `ids` [S] of one prompt and image rows [B, n, width] to rows [B, S, width].

        The decoder is causal: what stands before the images is the same for the whole batch and is computed once.
        """
        s, batch = self.s, image_rows.shape[0]
        is_image = ids == image_token
        first = int(is_image.nonzero()[0])
        embedded = self.w[f"{DECODER}.embed_tokens.weight"][ids]
        before = embedded[None, :first]
        after = embedded[first:].expand(batch, -1, -1).clone()
        after[:, is_image[first:]] = image_rows
        cos, sin = self._rotation(len(ids))
        for index in range(s.language_layers):
            layer = f"{DECODER}.layers.{index}"
            q, k, v = self._project(before, layer, cos[:first], sin[:first])
            before = self._finish(before, self._attend(q, k, v, mask="causal"), layer)
            q, own_k, own_v = self._project(after, layer, cos[first:], sin[first:])
            k = torch.cat([k.expand(batch, -1, -1, -1), own_k], dim=2)
            v = torch.cat([v.expand(batch, -1, -1, -1), own_v], dim=2)
            places = torch.arange(len(ids))
            after = self._finish(after, self._attend(q, k, v, mask=places[first:, None] >= places[None]), layer)
        x = torch.cat([before.expand(batch, -1, -1), after], dim=1)
        return self._rms(x, f"{DECODER}.norm")

    def _project(self, x, layer, cos, sin):
        """Turned queries and keys, and values, each [B, heads, rows, dim]."""
        s = self.s
        n = self._rms(x, f"{layer}.input_layernorm")
        turned = []
        for part, count in (("q", s.heads), ("k", s.kv_heads)):
            rows = self._linear(n, f"{layer}.self_attn.{part}_proj").unflatten(-1, (count, s.head_dim))
            rows = self._rms(rows, f"{layer}.self_attn.{part}_norm").transpose(1, 2)
            first, second = rows.chunk(2, dim=-1)
            turned.append(rows * cos + torch.cat([-second, first], dim=-1) * sin)
        v = self._heads(self._linear(n, f"{layer}.self_attn.v_proj"), s.kv_heads)
        k, v = (part.repeat_interleave(s.heads // s.kv_heads, dim=1) for part in (turned[1], v))
        return turned[0], k, v

    def _finish(self, x, mixed, layer):
        x = x + self._linear(mixed, f"{layer}.self_attn.o_proj")
        n = self._rms(x, f"{layer}.post_attention_layernorm")
        gate = F.silu(self._linear(n, f"{layer}.mlp.gate_proj")) * self._linear(n, f"{layer}.mlp.up_proj")
        return x + self._linear(gate, f"{layer}.mlp.down_proj")

    def _rotation(self, length):
        exponent = torch.arange(0, self.s.head_dim, 2, dtype=torch.float32) / self.s.head_dim
        frequencies = (1.0 / self.s.rope_theta**exponent).bfloat16().float()
        angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()

    # Head

    def context(self, vl_embs, is_image, state):
        """Keys and values of the cross-attention blocks [B, heads, rows, dim], and the state's token [B, 1, width]."""
        pairs = {}
        for index in range(0, self.s.blocks, 2):
            rows = vl_embs[:, ~is_image] if index % 4 == 0 else vl_embs[:, is_image]
            block = f"{DIT}.transformer_blocks.{index}.attn1"
            pairs[index] = tuple(self._heads(self._linear(rows, f"{block}.{p}"), self.s.dit_heads) for p in ("to_k", "to_v"))
        name = f"{HEAD}.state_encoder"
        token = self._embodied(F.relu(self._embodied(state, f"{name}.layer1")), f"{name}.layer2")
        return pairs, token[:, None]

    def velocity(self, actions, bucket, pairs, state_token):
        """What the flow does with `actions` [B, horizon, dims] at the time buckets [B] (float, whole numbers)."""
        s = self.s
        name = f"{HEAD}.action_encoder"
        time = self._angles(bucket, s.width // 2, s.width // 2)
        time = torch.cat([time.sin(), time.cos()], dim=-1)[:, None].expand(-1, s.horizon, -1)
        rows = torch.cat([self._embodied(actions, f"{name}.W1"), time], dim=-1)
        rows = self._embodied(F.silu(self._embodied(rows, f"{name}.W2")), f"{name}.W3")
        rows = rows + self.w[f"{HEAD}.position_embedding.weight"][:s.horizon]
        x = torch.cat([state_token, rows], dim=1)

        time = self._angles(bucket, 128, 127)
        embedder = f"{DIT}.timestep_encoder.timestep_embedder"
        temb = self._linear(torch.cat([time.cos(), time.sin()], dim=-1), f"{embedder}.linear_1")
        temb = F.silu(self._linear(F.silu(temb), f"{embedder}.linear_2"))[:, None]
        for index in range(s.blocks):
            x = self._block(x, index, temb, pairs.get(index))
        shift, scale = self._linear(temb, f"{DIT}.proj_out_1").chunk(2, dim=-1)
        y = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift
        y = self._linear(y[:, 1:], f"{DIT}.proj_out_2")
        name = f"{HEAD}.action_decoder"
        return self._embodied(F.relu(self._embodied(y, f"{name}.layer1")), f"{name}.layer2")

    def _block(self, x, index, temb, made):
        block = f"{DIT}.transformer_blocks.{index}"
        scale, shift = self._linear(temb, f"{block}.norm1.linear").chunk(2, dim=-1)
        n = F.layer_norm(x, x.shape[-1:], eps=1e-5) * (1 + scale) + shift
        q = self._heads(self._linear(n, f"{block}.attn1.to_q"), self.s.dit_heads)
        if made is None:
            made = tuple(self._heads(self._linear(n, f"{block}.attn1.{p}"), self.s.dit_heads) for p in ("to_k", "to_v"))
        x = x + self._linear(self._attend(q, *made), f"{block}.attn1.to_out.0")
        n = F.layer_norm(x, x.shape[-1:], eps=1e-5)
        n = F.gelu(self._linear(n, f"{block}.ff.net.0.proj"), approximate="tanh")
        return x + self._linear(n, f"{block}.ff.net.2")

    @staticmethod
    def _angles(bucket, half, divisor):
        return bucket[:, None] * torch.exp(-math.log(10_000) / divisor * torch.arange(half, dtype=torch.float32))

    def infer(self, pixels, ids, image_token, state, noise, steps=4):
        """Normalised actions [B, horizon, dims], as the exported stages make them."""
        vl_embs = self.language(ids, image_token, self.vision(pixels))
        pairs, token = self.context(vl_embs, ids == image_token, state)
        actions = noise
        for index in range(steps):
            bucket = torch.full((len(actions),), float(int(index / steps * self.s.buckets)))
            actions = actions + self.velocity(actions, bucket, pairs, token) / steps
        return actions
