#!/usr/bin/env python3
"""Trains the reach policy: flow matching on the expert's plans, minutes on a CPU.

    python3 -m sim.train_reach --tool target/release/vla-trt --out data/reach_checkpoint [--demonstrations FILE.npz]

The network is GR00T N1.6's at small size (sim/network.py); what comes out is a checkpoint in the vendor's layout, from
which `vla-trt export` makes the policy bundle. Seeded: the same machine, the same number of threads and the same
versions give the same weights; other processors differ in the last digits and so, after training, in all of them.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from tokenizers import Tokenizer

from . import checkpoint, network, task

#: What is said for each task; the first is the one that the demonstrations name.
PHRASES = {
    "reach": (task.REACH, "move the right gripper to the red cube", "touch the red cube", "reach the cube",
              "go to the red cube with the right arm"),
    "home": (task.HOME, "move back to the start position", "move the right arm back", "go back to the start",
             "move the right gripper away from the cube and wait"),
}
#: Share of a batch that is told to reach; the rest is told to go back.
REACHING = 2 / 3
#: Noises and times drawn for each observation.
DRAWS = 2
#: Weight of a row in the loss falls from 1 to this: rows far ahead are replaced before they are due.
LAST_ROW = 0.5


def draw_times(count, generator):
    """Flow times as the vendor draws them: Beta(1.5, 1), earlier ones more often."""
    # The inverse of Beta(1.5, 1)'s distribution function is u^(1 / 1.5).
    beta = torch.rand(count, generator=generator) ** (1 / 1.5)
    return (0.999 - 0.999 * beta).clamp(0.0, 1.0)


class Data:
    """Demonstrations as tensors."""

    def __init__(self, arrays, sizes):
        self.normaliser = checkpoint.Normaliser(arrays)
        state = arrays["state"].astype(np.float64)
        self.images = torch.from_numpy(arrays["image"])
        self.states = torch.zeros(len(state), sizes.dims)
        self.states[:, :7] = torch.from_numpy(self.normaliser.state(state)).float()
        self.actions = {}
        for name in PHRASES:
            self.actions[name] = torch.zeros(len(state), sizes.horizon, sizes.dims)
            normal = self.normaliser.action(arrays[name].astype(np.float64), state)
            self.actions[name][..., :7] = torch.from_numpy(normal).float()

    def pixels(self, rows, generator):
        """Pixels in -1..1, a little brighter or darker and noisier than they were."""
        x = (self.images[rows].float() - 127.5) / 127.5
        gain = 1.0 + 0.08 * (2.0 * torch.rand(len(x), 1, 1, 1, generator=generator) - 1.0)
        x = (x + 1.0) * gain - 1.0 + 0.02 * torch.randn(x.shape, generator=generator)
        return x.clamp(-1.0, 1.0).permute(0, 3, 1, 2)


class Trainer:
    """Weights, their moving average, and one step of the optimiser at a time."""

    def __init__(self, sizes, tokenizer, data, options):
        self.s, self.data, self.options = sizes, data, options
        self.generator = torch.Generator().manual_seed(options.seed)
        self.weights = network.initial(sizes, options.seed)
        for value in self.weights.values():
            value.requires_grad_()
        self.average = {name: value.detach().clone() for name, value in self.weights.items()}
        self.network = network.Network(self.weights, sizes)
        matrices = [value for value in self.weights.values() if value.dim() > 1]
        others = [value for value in self.weights.values() if value.dim() == 1]
        self.optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01},
                                            {"params": others, "weight_decay": 0.0}], lr=options.rate, betas=(0.9, 0.98))
        rows = (sizes.image[0] // 28) * (sizes.image[1] // 28)
        self.prompts = {name: [checkpoint.prompt(tokenizer, text, rows) for text in texts]
                        for name, texts in PHRASES.items()}
        self.image_token = tokenizer.token_to_id(checkpoint.IMAGE_TOKEN)
        self.row_weights = torch.linspace(1.0, LAST_ROW, sizes.horizon)[:, None]

    def step(self, index):
        """One batch; gives its loss."""
        batch, g = self.options.batch, self.generator
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(index)
        rows = torch.randint(len(self.data.images), (batch,), generator=g)
        image_rows = self.network.vision(self.data.pixels(rows, g))
        split = round(batch * REACHING)
        loss = sum(self.loss(name, rows[part], image_rows[part]) * (part.stop - part.start)
                   for name, part in (("reach", slice(0, split)), ("home", slice(split, batch)))) / batch
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimiser.step()
        keep = min(0.999, (1 + index) / (10 + index))
        with torch.no_grad():
            for name, value in self.weights.items():
                self.average[name].lerp_(value, 1 - keep)
        return loss.item()

    def rate(self, index):
        """Warm-up, then a cosine to a fiftieth."""
        share = index / self.options.steps
        return self.options.rate * min(1.0, (index + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share)))

    def loss(self, name, rows, image_rows):
        """Mean squared error of the velocity on `DRAWS` noises for each observation."""
        g = self.generator
        texts = self.prompts[name]
        which = int(torch.randint(len(texts) + 3, (1,), generator=g))
        ids = texts[which if which < len(texts) else 0]  # the first is said half of the time
        vl_embs = self.network.language(ids, self.image_token, image_rows)
        pairs, token = self.network.context(vl_embs, ids == self.image_token, self.data.states[rows])
        pairs = {block: tuple(part.repeat_interleave(DRAWS, 0) for part in pair) for block, pair in pairs.items()}
        actions = self.data.actions[name][rows].repeat_interleave(DRAWS, 0)
        noise = torch.randn(actions.shape, generator=g)
        time = draw_times(len(actions), g)
        mixed = torch.lerp(noise, actions, time[:, None, None])
        velocity = self.network.velocity(mixed, (time * self.s.buckets).floor(), pairs, token.repeat_interleave(DRAWS, 0))
        return (self.row_weights * (velocity - (actions - noise)) ** 2).mean()


@torch.no_grad()
def validate(trainer, arrays, count=256):
    """Errors of decoded plans against the expert's on observations that were not trained on, rad: mean, 99th percentile."""
    network_ = network.Network(trainer.average, trainer.s)
    normaliser = trainer.data.normaliser
    state = arrays["state"][:count].astype(np.float64)
    pixels = (torch.from_numpy(arrays["image"][:count]).float() - 127.5).div(127.5).permute(0, 3, 1, 2)
    states = torch.zeros(len(state), trainer.s.dims)
    states[:, :7] = torch.from_numpy(normaliser.state(state)).float()
    noise = torch.randn(len(state), trainer.s.horizon, trainer.s.dims, generator=torch.Generator().manual_seed(0))
    errors = {}
    for name in PHRASES:
        out = network_.infer(pixels, trainer.prompts[name][0], trainer.image_token, states, noise)
        plans = normaliser.plans(out.double().numpy(), state)
        error = np.abs(plans[..., :6] - arrays[name][:count, :, :6])
        errors[name] = (error.mean(), np.percentile(error, 99), error[:, 0].mean(), error[:, -1].mean())
    return errors


def tokenizer_of(tool):
    """The demo checkpoint's tokenizer: any text encodes, and it is small."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "checkpoint"
        subprocess.run([tool, "make-checkpoint", "--size", "demo", "--out", out], check=True, stdout=subprocess.DEVNULL)
        return (out / "tokenizer" / "tokenizer.json").read_text()


def demonstrations(options):
    """Arrays of sim.demonstrations, made in a process of its own where no file is given (see task.py)."""
    if options.demonstrations:
        return dict(np.load(options.demonstrations))
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "demonstrations.npz"
        subprocess.run([sys.executable, "-m", "sim.demonstrations", out, "--count", str(options.count)], check=True)
        return dict(np.load(out))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", default="target/release/vla-trt", help="the vla-trt command")
    parser.add_argument("--out", required=True, help="folder of the checkpoint")
    parser.add_argument("--demonstrations", help="file of sim.demonstrations; made first otherwise")
    parser.add_argument("--count", type=int, default=24_000, help="demonstrations to make")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    text = tokenizer_of(options.tool)
    tokenizer = Tokenizer.from_str(text)
    arrays = demonstrations(options)
    held = {name: value[-256:] for name, value in arrays.items()}
    arrays = {name: value[:-256] for name, value in arrays.items()}
    sizes = network.Sizes(vocab=tokenizer.get_vocab_size(), horizon=task.ROWS)
    trainer = Trainer(sizes, tokenizer, Data(arrays, sizes), options)
    print(f"{sum(value.numel() for value in trainer.weights.values())} weights, {len(arrays['state'])} observations", flush=True)
    begun, running = time.monotonic(), 1.0
    for index in range(options.steps):
        running += 0.01 * (trainer.step(index) - running)
        if (index + 1) % 250 == 0:
            errors = "  ".join(f"{name} {mean * 1e3:.1f} ({worst * 1e3:.0f}; {first * 1e3:.1f} .. {last * 1e3:.1f})"
                               for name, (mean, worst, first, last) in validate(trainer, held).items())
            print(f"step {index + 1}  {time.monotonic() - begun:.0f} s  loss {running:.4f}  held out, mrad, mean (p99; first .. last "
                  f"row): {errors}", flush=True)
            checkpoint.write(options.out, trainer.average, sizes, trainer.data.normaliser, text)
    checkpoint.write(options.out, trainer.average, sizes, trainer.data.normaliser, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
