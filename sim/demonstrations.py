#!/usr/bin/env python3
"""Observations of the ALOHA table and what the expert does next, for training.

    python3 -m sim.demonstrations OUT.npz [--count N] [--seed S]

Places on and around the expert's ways are drawn at random (so a policy also learns to come back to them), the camera
is rendered, and each place is answered for every instruction. Arrays: `image` u8 [N, H, W, 3]; `state` f32 [N, 7]
(right arm, rad; gripper); `cube` f32 [N, 3], m; and for each instruction `reach` and `home` the expert's joints after every row
`[N, MOST_ROWS, 7]` f32, absolute.
"""

import argparse
import sys
import time

import numpy as np

from . import expert, scene, task
from .task import MOST_ROWS, ROW_S

SECONDS = ROW_S * np.arange(1, MOST_ROWS + 1)
#: Rate at which the gripper opens and closes in the expert's plans, 1/s.
GRIPPER_RATE = 2.0


def draw(rng):
    """A cube (position, angle), and the right arm and gripper somewhere in a motion."""
    margin = 0.02
    cube = np.array([rng.uniform(task.CUBE_X[0] - margin, task.CUBE_X[1] + margin),
                     rng.uniform(task.CUBE_Y[0] - margin, task.CUBE_Y[1] + margin), task.CUBE_Z])
    angle = rng.uniform(-np.pi / 4, np.pi / 4)
    start = task.START + rng.uniform(-0.05, 0.05, 6)
    target, _ = expert.goal(task.REACH, cube)
    kind = rng.random()
    if kind < 0.65:
        arm = expert.way(start, target, [rng.uniform(0.0, 2.6)])[0]
        arm = arm + rng.normal(0.0, 0.03, 6)
    elif kind < 0.85:  # near the cube, where precision counts
        arm = target + rng.normal(0.0, 0.03, 6)
    else:
        other, _ = expert.goal(task.REACH, cube + (*rng.uniform(-0.08, 0.08, 2), rng.uniform(0.0, 0.1)))
        arm = start + rng.uniform(-0.1, 1.0) * (other - start) + rng.normal(0.0, 0.08, 6)
    return cube, angle, arm, rng.uniform(0.0, 1.0)


def plan(arm, gripper, instruction, cube):
    """What the expert does from here on, `[MOST_ROWS, 7]`."""
    target, opening = expert.goal(instruction, cube)
    arms = expert.way(arm, target, SECONDS)
    reach = GRIPPER_RATE * SECONDS
    grippers = gripper + np.clip(opening - gripper, -reach, reach)
    return np.concatenate([arms, grippers[:, None]], axis=1)


def make(count, seed, progress=lambda done: None):
    """All arrays of `count` observations."""
    rng = np.random.default_rng(seed)
    stage = scene.Scene()
    arrays = {"image": np.empty((count, task.IMAGE[1], task.IMAGE[0], 3), np.uint8),
              "state": np.empty((count, 7), np.float32), "cube": np.empty((count, 3), np.float32),
              "reach": np.empty((count, MOST_ROWS, 7), np.float32), "home": np.empty((count, MOST_ROWS, 7), np.float32)}
    for index in range(count):
        cube, angle, arm, gripper = draw(rng)
        left = task.START + rng.uniform(-0.02, 0.02, 6)
        stage.look(np.concatenate([left, [task.START_GRIPPER], arm, [gripper]]), cube, angle)
        arrays["image"][index] = stage.image()
        arrays["state"][index] = [*arm, gripper]
        arrays["cube"][index] = cube
        arrays["reach"][index] = plan(arm, gripper, task.REACH, cube)
        arrays["home"][index] = plan(arm, gripper, task.HOME, cube)
        progress(index + 1)
    stage.close()
    return arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()

    def progress(done):
        if done % 2000 == 0:
            print(f"{done} of {options.count} observations, {time.monotonic() - begun:.0f} s", flush=True)

    np.savez_compressed(options.out, **make(options.count, options.seed, progress))
    return 0


if __name__ == "__main__":
    sys.exit(main())
