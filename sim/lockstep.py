#!/usr/bin/env python3
"""The baseline of the closed loop: the same bundle in plain Python, and a simulation that waits for it.

    .cache/sim/bin/python3 -m sim.lockstep --policy data/reach_policy --episodes 50

No ROS, no node, no latency: each observation's plan is there before simulated time goes on, and is followed until
the next one. What a node can reach at best with this policy at this rate.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import onnxruntime
import yaml
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from . import encoding, family, task
from .controller import JointController
from .scene import STEP_S, Scene

#: Seeds of episodes begin here: no demonstration was drawn from them.
FIRST_SEED = 1000
RIGHT = slice(7, 14)


class Bundle:
    """A bundle of the layout split, run stage by stage on ONNX Runtime."""

    def __init__(self, folder, steps=4, threads=1):
        folder = pathlib.Path(folder)
        self.spec = yaml.safe_load((folder / "policy.yaml").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.stages = {stage["name"]: onnxruntime.InferenceSession(str(folder / stage["onnx"]), options)
                       for stage in self.spec["stages"]}
        self.embedding = load_file(folder / "embedding.safetensors")["embed_tokens"]
        constants = load_file(folder / "modulation.safetensors")
        self.modulation, self.dt = constants[f"modulation.{steps}"], constants[f"dt.{steps}"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.normaliser = encoding.Normaliser.read(json.loads((folder / "statistics.json").read_text()))
        _, _, high, wide = self.spec["stages"][0]["inputs"]["pixels"]["dims"]
        processor = json.loads((folder / "processor_config.json").read_text())
        self.family = family.of_processor(processor)
        self.edge, self.size = processor["processor_kwargs"]["shortest_image_edge"], (wide, high)
        self.rows = (wide // self.family.cell) * (high // self.family.cell)
        self.steps, self.horizon, self.dims = steps, self.spec["action"]["horizon"], self.spec["action"]["dims"]

    def _run(self, name, **inputs):
        session = self.stages[name]
        wanted = {value.name for value in session.get_inputs()}
        outputs = session.run(None, {key: value for key, value in inputs.items() if key in wanted})
        return dict(zip((value.name for value in session.get_outputs()), outputs))

    def plan(self, image, state, instruction, noise):
        """Absolute targets `[rows, 7]` for a picture u8 [H, W, 3] and a state [7]."""
        ids = encoding.prompt(self.tokenizer, instruction, self.rows, self.family)
        is_image = ids == self.tokenizer.token_to_id(self.family.image_token)
        text = int(np.count_nonzero(~is_image))
        # A place of the sequence is a row of text rows and image rows joined.
        positions = np.where(is_image, text + np.cumsum(is_image) - 1, np.cumsum(~is_image) - 1).astype(np.int32)
        pixels = (encoding.picture(image[None], self.edge, self.size).astype(np.float32) - 127.5) / 127.5
        padded = np.zeros((1, self.dims), np.float32)
        padded[0, :7] = self.normaliser.state(state[None].astype(np.float64))
        made = {"pixels": pixels.transpose(0, 3, 1, 2), "text_rows": self.embedding[ids[~is_image]], "positions": positions,
                "text_index": np.flatnonzero(~is_image).astype(np.int32),
                "image_index": np.flatnonzero(is_image).astype(np.int32), "state": padded}
        for stage in self.stages:
            if stage != "step":
                made |= self._run(stage, **made)
        actions = noise.astype(np.float32)
        extra = {"strength": np.ones(len(noise), np.float32)}
        for step in range(self.steps):
            actions = self._run("step", actions=actions, modulation=self.modulation[step], dt=self.dt[step], **made,
                                **extra)["next_actions"]
        return self.normaliser.plans(actions[None].astype(np.float64), state[None])[0]


def follow(controller, now, plan):
    """Gives a plan to the controller as the node's trajectory would."""
    velocities = np.gradient(plan, task.ROW_S, axis=0)
    velocities[-1] = 0.0
    offsets = task.ROW_S * np.arange(1, len(plan) + 1)
    controller.take_trajectory(now, now, [task.JOINTS[i] for i in range(7, 14)], offsets, plan, velocities)


def episode(scene, policy, seed, rate_hz, instruction=task.REACH, seconds=task.EPISODE_S):
    """Seconds until the task was done, or None; and the closest distance, m."""
    scene.reset(seed)
    rng = np.random.default_rng(seed)
    controller = JointController(task.JOINTS, scene.positions(), range(7, 13), STEP_S)
    period, closest = round(1 / rate_hz / STEP_S), np.inf
    for tick in range(round(seconds / STEP_S)):
        if tick % period == 0:
            state = scene.positions()[RIGHT]
            noise = rng.standard_normal((policy.horizon, policy.dims))
            follow(controller, scene.time, policy.plan(scene.image(), state, instruction, noise))
        scene.command(controller.sample(scene.time))
        scene.step()
        closest = min(closest, scene.distance())
        if scene.reached():
            return scene.time, closest
    return None, closest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", required=True)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--rate-hz", type=float, default=5.0)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    scene, policy = Scene(), Bundle(options.policy)
    times = []
    for seed in range(FIRST_SEED, FIRST_SEED + options.episodes):
        done, closest = episode(scene, policy, seed, options.rate_hz)
        times.append(done)
        if options.verbose:
            print(f"seed {seed}  {'not reached' if done is None else f'{done:.2f} s'}  closest {closest * 1e3:.1f} mm", flush=True)
    reached = [time for time in times if time is not None]
    print(f"lockstep: {len(reached)} of {len(times)} reached" +
          (f", median {np.median(reached):.2f} s" if reached else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
