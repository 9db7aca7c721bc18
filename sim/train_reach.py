#!/usr/bin/env python3
"""Trains the reach policy, minutes on a CPU: its eyes on where the cube is, then flow matching on the expert's plans.

    python3 -m sim.train_reach --tool target/release/vla-trt --out data/reach_checkpoint [--demonstrations FILE.npz]
    python3 -m sim.train_reach --family n1d7 --tool target/release/vla-trt --out data/reach_n1d7_checkpoint

First the vision tower and the language model learn to say where the cube is and how the arm would reach it, through a
linear probe on the mean of the image rows, which the head's attention can read too; the probe is thrown away. Then they are frozen, what they make of every picture is kept, and the action head learns the flow. Both at once
works too and takes several times as long. The network is GR00T N1.6's or N1.7's at small size (sim/network_n1d6.py,
sim/network_n1d7.py); what comes out is a checkpoint in the vendor's layout, from
which `vla-trt export` makes the policy bundle. Seeded: the same machine, the same number of threads and the same
versions give the same weights; other processors differ in the last digits and so, after training, in all of them.
"""

import argparse
import math
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from . import checkpoint, encoding, expert, network, network_n1d6, network_n1d7, task

#: The families' networks.
MODELS = {model.FAMILY.name: model for model in (network_n1d6, network_n1d7)}
#: What is said for each task; the first is the one that the demonstrations name.
PHRASES = {
    "reach": (task.REACH, "move the right gripper to the red cube", "touch the red cube", "reach the cube",
              "go to the red cube with the right arm"),
    "home": (task.HOME, "move back to the start position", "move the right arm back", "go back to the start",
             "move the right gripper away from the cube and wait"),
}
#: Share of a batch that is told to reach; the rest is told to go back.
REACHING = 2 / 3
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
        self.normaliser = encoding.Normaliser.of(arrays, sizes.horizon)
        state = arrays["state"].astype(np.float64)
        goals = np.array([expert.goal(task.REACH, cube.astype(np.float64))[0] for cube in arrays["cube"]])
        seen = np.concatenate([arrays["cube"][:, :2], goals[:, [0, 1, 2, 4]]], axis=1)
        self.seen_spread = seen.std(0).astype(np.float32)
        self.seen = torch.from_numpy((seen - seen.mean(0)) / self.seen_spread).float()
        self.images = torch.from_numpy(encoding.shrink(arrays["image"], (sizes.edge, sizes.edge)))
        self.size = sizes.image
        # A few patterns of camera noise that are drawn from: new ones for every picture would take longer than the network.
        self.noise = 0.02 * torch.randn(32, *self.images.shape[1:], generator=torch.Generator().manual_seed(0))
        self.states = torch.zeros(len(state), sizes.dims)
        self.states[:, :7] = torch.from_numpy(self.normaliser.state(state)).float()
        self.actions = {}
        for name in PHRASES:
            self.actions[name] = torch.zeros(len(state), sizes.horizon, sizes.dims)
            normal = self.normaliser.action(arrays[name][:, :sizes.horizon].astype(np.float64), state)
            self.actions[name][..., :7] = torch.from_numpy(normal).float()

    def pixels(self, rows, generator):
        """Pixels in -1..1, a little brighter or darker and noisier than they were."""
        x = (self.images[rows].float() - 127.5) / 127.5
        gain = 1.0 + 0.08 * (2.0 * torch.rand(len(x), 1, 1, 1, generator=generator) - 1.0)
        x = (x + 1.0) * gain - 1.0 + self.noise[torch.randint(len(self.noise), (len(x),), generator=generator)]
        x = x.clamp(-1.0, 1.0).permute(0, 3, 1, 2)
        wide, high = self.size
        if x.shape[2:] == (high, wide):
            return x
        return F.interpolate(x, (high, wide), mode="bicubic", antialias=True).clamp(-1.0, 1.0)


class Trainer:
    """Weights, their moving average, and one step of the optimiser at a time."""

    def __init__(self, model, sizes, tokenizer, data, options):
        self.model, self.s, self.data, self.options = model, sizes, data, options
        self.generator = torch.Generator().manual_seed(options.seed)
        self.weights = network.initial(model.shapes(sizes), sizes, options.seed)
        self.average = {name: value.clone() for name, value in self.weights.items()}
        self.network = self.model.Network(self.weights, sizes)
        self.prompts = {name: [torch.from_numpy(encoding.prompt(tokenizer, text, sizes.image_tokens, model.FAMILY)) for text in texts]
                        for name, texts in PHRASES.items()}
        self.image_token = tokenizer.token_to_id(model.FAMILY.image_token)
        self.row_weights = torch.linspace(1.0, LAST_ROW, sizes.horizon)[:, None]
        self.probe = {"weight": torch.zeros(6, sizes.language), "bias": torch.zeros(6)}

    def begin(self, chosen, steps):
        """Trains these weights from now on, for so many steps."""
        self.trained = chosen
        for value in chosen.values():
            value.requires_grad_()
        matrices = [value for value in chosen.values() if value.dim() > 1]
        others = [value for value in chosen.values() if value.dim() == 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=self.options.rate, betas=(0.9, 0.98))
        self.done, self.steps = 0, steps

    def update(self, loss):
        """One step down the gradient; the rate warms up, then falls as a cosine."""
        share = self.done / self.steps
        rate = min(1.0, (self.done + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.rate * rate
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimiser.step()
        keep = min(0.998, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            for name in self.trained.keys() & self.average.keys():
                self.average[name].lerp_(self.trained[name], 1 - keep)
        self.done += 1

    def phrase(self, name):
        """Token ids of something that is said for a task; the first of its phrases half of the time."""
        texts = self.prompts[name]
        which = int(torch.randint(len(texts) + 3, (1,), generator=self.generator))
        return texts[which if which < len(texts) else 0]

    def draw(self):
        """Numbers of a batch's observations."""
        return torch.randint(len(self.data.images), (self.options.batch,), generator=self.generator)

    # First part: where is the cube?

    def see(self):
        """One batch of the first part; gives the error of the cube's place in mm."""
        rows = self.draw()
        seen = self.network.vision(self.data.pixels(rows, self.generator))
        ids = self.phrase("reach")
        normed = self.network.vlln(self.network.backbone(ids, self.image_token, seen))
        found = F.linear(normed[:, ids == self.image_token].mean(1), **self.probe)
        error = found - self.data.seen[rows]
        self.update((error**2).mean())
        return float((error[:, :2].detach() * torch.from_numpy(self.data.seen_spread[:2])).norm(dim=1).mean()) * 1e3

    @torch.no_grad()
    def remember(self):
        """Freezes what the first part trained, its average, and keeps what vision makes of every observation."""
        for name in self.trained.keys() & self.weights.keys():
            self.weights[name] = self.average[name].clone()
        self.network = self.model.Network(self.weights, self.s)
        every = torch.arange(len(self.data.images))
        parts = [self.network.vision(self.data.pixels(part, self.generator)) for part in every.split(256)]
        self.seen = [torch.cat(kind) for kind in zip(*parts)]

    # Second part: what next?

    def act(self):
        """One batch of the second part; gives its loss."""
        rows, split = self.draw(), round(self.options.batch * REACHING)
        parts = (("reach", rows[:split]), ("home", rows[split:]))
        loss = sum(self.loss(name, part) * len(part) for name, part in parts) / len(rows)
        self.update(loss)
        return loss.item()

    def loss(self, name, rows):
        """Mean squared error of the velocity at a noise and a time for each observation."""
        g = self.generator
        ids = self.phrase(name)
        with torch.no_grad():
            backbone = self.network.backbone(ids, self.image_token, [kind[rows] for kind in self.seen])
        vl_embs = self.network.fuse(self.network.vlln(backbone))
        pairs, token = self.network.context(vl_embs, ids == self.image_token, self.data.states[rows])
        actions = self.data.actions[name][rows]
        noise = torch.randn(actions.shape, generator=g)
        time = draw_times(len(actions), g)
        mixed = torch.lerp(noise, actions, time[:, None, None])
        mixed[..., self.s.columns:] = 0.0  # noise there must not teach the weights anything
        velocity = self.network.velocity(mixed, (time * self.s.buckets).floor(), pairs, token)
        error = (velocity - (actions - noise))[..., :self.s.columns]
        return (self.row_weights * error**2).mean()


@torch.no_grad()
def validate(trainer, arrays, count=256):
    """Errors of decoded plans against the expert's on observations that were not trained on, rad: mean, 99th percentile."""
    network_ = trainer.model.Network(trainer.average, trainer.s)
    normaliser = trainer.data.normaliser
    state = arrays["state"][:count].astype(np.float64)
    pixels = (torch.from_numpy(encoding.picture(arrays["image"][:count], trainer.s.edge, trainer.s.image)).float() - 127.5).div(127.5).permute(0, 3, 1, 2)
    states = torch.zeros(len(state), trainer.s.dims)
    states[:, :7] = torch.from_numpy(normaliser.state(state)).float()
    noise = torch.randn(len(state), trainer.s.horizon, trainer.s.dims, generator=torch.Generator().manual_seed(0))
    errors = {}
    for name in PHRASES:
        out = network_.infer(pixels, trainer.prompts[name][0], trainer.image_token, states, noise)
        plans = normaliser.plans(out.double().numpy(), state)
        error = np.abs(plans[..., :6] - arrays[name][:count, :trainer.s.horizon, :6])
        errors[name] = (error.mean(), np.percentile(error, 99), error[:, 0].mean(), error[:, -1].mean())
    return errors


def tokenizer_of(tool, family):
    """The demo checkpoint's tokenizer, with the family's names of special tokens: any text encodes, and it is small."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "checkpoint"
        subprocess.run([tool, "make-checkpoint", "--size", "demo", "--out", out], check=True, stdout=subprocess.DEVNULL)
        text = (out / "tokenizer" / "tokenizer.json").read_text()
    for demo, name in family.renamed.items():
        text = text.replace(f'"content": "{demo}"', f'"content": "{name}"')
    return text


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
    parser.add_argument("--family", choices=MODELS, default="n1d6")
    parser.add_argument("--out", required=True, help="folder of the checkpoint")
    parser.add_argument("--demonstrations", help="file of sim.demonstrations; made first otherwise")
    parser.add_argument("--count", type=int, default=24_000, help="demonstrations to make")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--see-steps", type=int, default=1250, help="batches of the first part")
    parser.add_argument("--act-steps", type=int, default=3500, help="batches of the second")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def averaged(step, steps, every=250):
    """Runs `step` so often; every so many steps gives how many there were and their running mean."""
    running = None
    for index in range(1, steps + 1):
        value = step()
        running = value if running is None else running + 0.02 * (value - running)
        if index % every == 0 or index == steps:
            yield index, running


def report(errors):
    """One line of `validate`'s figures."""
    return "held out, mrad, mean (p99; first .. last row): " + "  ".join(
        f"{name} {mean * 1e3:.1f} ({worst * 1e3:.0f}; {first * 1e3:.1f} .. {last * 1e3:.1f})"
        for name, (mean, worst, first, last) in errors.items())


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    model = MODELS[options.family]
    text = tokenizer_of(options.tool, model.FAMILY)
    tokenizer = Tokenizer.from_str(text)
    arrays = demonstrations(options)
    held = {name: value[-256:] for name, value in arrays.items()}
    arrays = {name: value[:-256] for name, value in arrays.items()}
    sizes = model.Sizes(vocab=tokenizer.get_vocab_size())
    trainer = Trainer(model, sizes, tokenizer, Data(arrays, sizes), options)
    print(f"{sum(value.numel() for value in trainer.weights.values())} weights, {len(arrays['state'])} observations", flush=True)
    begun = time.monotonic()
    head = {name: value for name, value in trainer.weights.items() if name.startswith("action_head.")}
    eyes = {name: value for name, value in trainer.weights.items() if name not in head}

    trainer.begin({**eyes, **{f"probe.{name}": value for name, value in trainer.probe.items()}}, options.see_steps)
    for index, error in averaged(trainer.see, options.see_steps):
        print(f"seeing, step {index}  {time.monotonic() - begun:.0f} s  cube off by {error:.1f} mm", flush=True)
    trainer.remember()
    trainer.begin(head, options.act_steps)
    for index, loss in averaged(trainer.act, options.act_steps):
        print(f"acting, step {index}  {time.monotonic() - begun:.0f} s  loss {loss:.4f}  {report(validate(trainer, held))}", flush=True)
        checkpoint.write(options.out, model, trainer.average, sizes, trainer.data.normaliser, text)
    checkpoint.write(options.out, model, trainer.average, sizes, trainer.data.normaliser, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
