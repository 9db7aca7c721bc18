"""What the two families of GR00T networks share, in torch, at any size, on weights named as in the vendor's checkpoint.

Mirrors layer by layer what `vla-trt export` writes (crates/export): the Qwen3 decoder, the AlternateVLDiT with state and action
encoder, flow matching in between. Batched; one embodiment. A family (sim/network_n1d6.py, sim/network_n1d7.py) adds its
vision tower, the places of the tokens, and what is between decoder and head.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F

from .task import ROWS

HEAD = "action_head"
DIT = f"{HEAD}.model"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Every size of the network; what the checkpoint's configuration files say."""

    vocab: int
    horizon: int = ROWS
    edge: int = 84  # the processor shrinks the shorter side to this,
    image: tuple = (84, 84)  # and what the vision tower reads is this wide and high
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
    #: The rotary frequencies as trained, or rounded to bf16, as the vendor's runtime does (`--rope-inv-freq`).
    rope_exact: bool = False
    width: int = 64  # of the DiT
    dit_heads: int = 4
    blocks: int = 4
    dims: int = 8  # columns of states and actions,
    columns: int = 8  # of which so many are learnt: the weights of the others are 0
    positions: int = 32
    buckets: int = 1000

    @property
    def dit_head_dim(self):
        return self.width // self.dit_heads

    @property
    def image_tokens(self):
        """Image rows of one picture: the cells of 2x2 patches."""
        return (self.image[0] // (2 * self.patch)) * (self.image[1] // (2 * self.patch))


class Shapes(dict):
    """Names and shapes of weights, in the order in which they are drawn."""

    def linear(self, name, outputs, inputs, bias=True):
        """A matrix and its bias."""
        self[f"{name}.weight"] = (outputs, inputs)
        if bias:
            self[f"{name}.bias"] = (outputs,)

    def norm(self, name, width):
        """A layer norm."""
        self[f"{name}.weight"], self[f"{name}.bias"] = (width,), (width,)

    def embodied(self, name, inputs, outputs):
        """A layer of its own for each embodiment; there is one."""
        self[f"{name}.W"], self[f"{name}.b"] = (1, inputs, outputs), (1, outputs)

    def decoder(self, prefix, s):
        """The language model's."""
        self[f"{prefix}.embed_tokens.weight"] = (s.vocab, s.language)
        for index in range(s.language_layers):
            layer = f"{prefix}.layers.{index}"
            self[f"{layer}.input_layernorm.weight"] = (s.language,)
            for part, outputs in (("q", s.heads), ("k", s.kv_heads), ("v", s.kv_heads)):
                self.linear(f"{layer}.self_attn.{part}_proj", outputs * s.head_dim, s.language, bias=False)
            for part in "qk":
                self[f"{layer}.self_attn.{part}_norm.weight"] = (s.head_dim,)
            self.linear(f"{layer}.self_attn.o_proj", s.language, s.heads * s.head_dim, bias=False)
            self[f"{layer}.post_attention_layernorm.weight"] = (s.language,)
            for part in ("gate_proj", "up_proj"):
                self.linear(f"{layer}.mlp.{part}", s.language_mlp, s.language, bias=False)
            self.linear(f"{layer}.mlp.down_proj", s.language, s.language_mlp, bias=False)
        self[f"{prefix}.norm.weight"] = (s.language,)

    def head(self, s):
        """The action head's, without what a family puts in front of it."""
        self.norm(f"{HEAD}.vlln", s.language)
        self[f"{HEAD}.position_embedding.weight"] = (s.positions, s.width)
        self.embodied(f"{HEAD}.state_encoder.layer1", s.dims, s.width)
        self.embodied(f"{HEAD}.state_encoder.layer2", s.width, s.width)
        self.embodied(f"{HEAD}.action_encoder.W1", s.dims, s.width)
        self.embodied(f"{HEAD}.action_encoder.W2", 2 * s.width, s.width)
        self.embodied(f"{HEAD}.action_encoder.W3", s.width, s.width)
        self.embodied(f"{HEAD}.action_decoder.layer1", s.width, s.width)
        self.embodied(f"{HEAD}.action_decoder.layer2", s.width, s.dims)
        self.linear(f"{DIT}.timestep_encoder.timestep_embedder.linear_1", s.width, 256)
        self.linear(f"{DIT}.timestep_encoder.timestep_embedder.linear_2", s.width, s.width)
        for index in range(s.blocks):
            block = f"{DIT}.transformer_blocks.{index}"
            source = s.language if index % 2 == 0 else s.width
            self.linear(f"{block}.norm1.linear", 2 * s.width, s.width)
            self.attention(f"{block}.attn1", s.width, source)
            self.feed_forward(f"{block}.ff", s.width)
        self.linear(f"{DIT}.proj_out_1", 2 * s.width, s.width)
        self.linear(f"{DIT}.proj_out_2", s.width, s.width)

    def attention(self, name, width, source):
        """An attention of the head, whose keys and values come from rows of the width `source`."""
        for part, inputs in (("to_q", width), ("to_k", source), ("to_v", source), ("to_out.0", width)):
            self.linear(f"{name}.{part}", width, inputs)

    def feed_forward(self, name, width):
        """A feed-forward part of the head."""
        self.linear(f"{name}.net.0.proj", 4 * width, width)
        self.linear(f"{name}.net.2", width, 4 * width)


def initial(shapes, s, seed):
    """Weights before training: norms 1, biases 0, matrices 1/sqrt(inputs); adaptive norms begin as plain ones."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith((".bias", ".b")):
            value = torch.zeros(shape)
        elif len(shape) == 1:
            value = torch.ones(shape)
        elif "norm1.linear" in name or "proj_out_1" in name:
            value = torch.zeros(shape)
        elif name.endswith(("embed_tokens.weight", "position_embedding.weight", "pos_embed.weight")):
            value = 0.1 * torch.randn(shape, generator=generator)
        else:
            inputs = math.prod(shape[1:]) if len(shape) != 3 else shape[1]  # of [outputs, ..] and of [embodiment, inputs, outputs]
            value = torch.randn(shape, generator=generator) / math.sqrt(inputs)
        weights[name] = value
    weights[f"{HEAD}.action_encoder.W1.W"][:, s.columns:] = 0.0
    weights[f"{HEAD}.action_decoder.layer2.W"][:, :, s.columns:] = 0.0
    return weights


class Network:
    """The parts that the exporter makes stages of; `weights` by name, `sizes` of them.

    A family gives `DECODER`, the prefix of the language model's weights, and the methods `vision`, `rotation`, `leave` and `fuse`.
    `notes`, where given, takes inner tensors by the names of the vendor's oracle.
    """

    DECODER = None

    def __init__(self, weights, sizes, slot=0, notes=None):
        self.w, self.s, self.slot, self.notes = weights, sizes, slot, notes

    def note(self, name, *parts):
        """Keeps a tensor [B, rows, ..] under a name, its parts joined along the rows."""
        if self.notes is not None:
            self.notes[name] = torch.cat(parts, dim=1)

    def _linear(self, x, name):
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def _embodied(self, x, name):
        return x @ self.w[f"{name}.W"][self.slot] + self.w[f"{name}.b"][self.slot]

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

    # Language

    def language(self, ids, image_token, seen):
        """As `backbone`, after what the head puts behind it: what its cross-attention reads."""
        return self.fuse(self.vlln(self.backbone(ids, image_token, seen)))

    def vlln(self, x):
        """The head's norm of the language model's rows."""
        x = self._norm(x, f"{HEAD}.vlln", 1e-5)
        self.note("vlln_out", x)
        return x

    def backbone(self, ids, image_token, seen):
        """Tokens `ids` [S] of one prompt and what `vision` made of the pictures, each [B, n, width], to rows [B, S, width].

        The first of `seen` are the image rows, the others are added to them after the layers of their index. The decoder is causal:
        what stands before the images is the same for the whole batch and is computed once.
        """
        batch = seen[0].shape[0]
        is_image = ids == image_token
        first = int(is_image.nonzero()[0])
        images = is_image[first:].nonzero()[:, 0]
        embedded = self.w[f"{self.DECODER}.embed_tokens.weight"][ids]
        before = embedded[None, :first]
        after = embedded[first:].expand(batch, -1, -1).index_copy(1, images, seen[0])
        cos, sin = self.rotation(is_image)
        self.note("inputs_embeds", before, after)
        self.note("llm_cos", cos[None])
        self.note("llm_sin", sin[None])
        for index in range(self.s.language_layers):
            before, after = self._layer(before, after, f"{self.DECODER}.layers.{index}", cos, sin)
            self.note(f"llm_layer{index}", before, after)
            if index + 1 < len(seen):
                after = after.index_add(1, images, seen[index + 1])
                self.note(f"llm_layer{index}_after_deepstack", before, after)
        x = self.leave(torch.cat([before.expand(batch, -1, -1), after], dim=1))
        self.note("backbone_features", x)
        return x

    def _layer(self, before, after, layer, cos, sin):
        """One layer of the decoder, over the rows that are the same for the batch and those that are not."""
        first, batch = before.shape[1], after.shape[0]
        q, k, v = self._project(before, layer, cos[:first], sin[:first])
        before = self._finish(before, self._attend(q, k, v, mask="causal"), layer)
        q, own_k, own_v = self._project(after, layer, cos[first:], sin[first:])
        k = torch.cat([k.expand(batch, -1, -1, -1), own_k], dim=2)
        v = torch.cat([v.expand(batch, -1, -1, -1), own_v], dim=2)
        places = torch.arange(len(cos))
        return before, self._finish(after, self._attend(q, k, v, mask=places[first:, None] >= places[None]), layer)

    def _project(self, x, layer, cos, sin):
        """Turned queries and keys, and values, each [B, heads, rows, dim]."""
        s = self.s
        n = self._rms(x, f"{layer}.input_layernorm")
        turned = []
        for part, count in (("q", s.heads), ("k", s.kv_heads)):
            rows = self._linear(n, f"{layer}.self_attn.{part}_proj").unflatten(-1, (count, s.head_dim))
            rows = self._rms(rows, f"{layer}.self_attn.{part}_norm").transpose(1, 2)
            turned.append(self._turn(rows, cos, sin))
        v = self._heads(self._linear(n, f"{layer}.self_attn.v_proj"), s.kv_heads)
        k, v = (part.repeat_interleave(s.heads // s.kv_heads, dim=1) for part in (turned[1], v))
        return turned[0], k, v

    def _finish(self, x, mixed, layer):
        x = x + self._linear(mixed, f"{layer}.self_attn.o_proj")
        n = self._rms(x, f"{layer}.post_attention_layernorm")
        gate = F.silu(self._linear(n, f"{layer}.mlp.gate_proj")) * self._linear(n, f"{layer}.mlp.up_proj")
        return x + self._linear(gate, f"{layer}.mlp.down_proj")

    @staticmethod
    def _turn(x, cos, sin):
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

    def _frequencies(self, count, base):
        """Rotary frequencies base^(-i/count), rounded as the vendor's runtime does unless the sizes say exact."""
        frequencies = 1.0 / base ** (torch.arange(count, dtype=torch.float32) / count)
        return frequencies if self.s.rope_exact else frequencies.bfloat16()

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
        self.note("state_features", token[:, None])
        return pairs, token[:, None]

    def velocity(self, actions, bucket, pairs, state_token, step=""):
        """What the flow does with `actions` [B, horizon, dims] at the time buckets [B] (float, whole numbers); `step` begins the notes."""
        s = self.s
        name = f"{HEAD}.action_encoder"
        time = self._angles(bucket, s.width // 2, s.width // 2)
        time = torch.cat([time.sin(), time.cos()], dim=-1)[:, None].expand(-1, s.horizon, -1)
        rows = torch.cat([self._embodied(actions, f"{name}.W1"), time], dim=-1)
        rows = self._embodied(F.silu(self._embodied(rows, f"{name}.W2")), f"{name}.W3")
        self.note(f"{step}action_features", rows)
        rows = rows + self.w[f"{HEAD}.position_embedding.weight"][:s.horizon]
        x = torch.cat([state_token, rows], dim=1)
        self.note(f"{step}sa_embs", x)

        time = self._angles(bucket, 128, 127)
        embedder = f"{DIT}.timestep_encoder.timestep_embedder"
        temb = self._linear(torch.cat([time.cos(), time.sin()], dim=-1), f"{embedder}.linear_1")
        temb = F.silu(self._linear(F.silu(temb), f"{embedder}.linear_2"))[:, None]
        for index in range(s.blocks):
            x = self._block(x, index, temb, pairs.get(index))
            self.note(f"{step}block{index}", x)
        shift, scale = self._linear(temb, f"{DIT}.proj_out_1").chunk(2, dim=-1)
        y = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift
        y = self._linear(y[:, 1:], f"{DIT}.proj_out_2")
        self.note(f"{step}dit_out", y)
        name = f"{HEAD}.action_decoder"
        y = self._embodied(F.relu(self._embodied(y, f"{name}.layer1")), f"{name}.layer2")
        self.note(f"{step}velocity", y)
        return y

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
        return self.flow(self.language(ids, image_token, self.vision(pixels)), ids == image_token, state, noise, steps)

    def flow(self, vl_embs, is_image, state, noise, steps=4):
        """Normalised actions [B, horizon, dims] from the rows that the head reads."""
        pairs, token = self.context(vl_embs, is_image, state)
        actions = noise
        for index in range(steps):
            bucket = torch.full((len(actions),), float(int(index / steps * self.s.buckets)))
            actions = actions + self.velocity(actions, bucket, pairs, token, f"step{index}.") / steps
            self.note(f"step{index}.actions_out", actions)
        return actions
