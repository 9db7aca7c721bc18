"""A short closed loop: the real node, real topics, a simulated arm that has to get to the cube."""

import subprocess

import numpy as np
import pytest

from sim import lockstep, task, trials
from sim.loop import FIRST_SEED, Loop

#: The modes of the node that are tried here.
MODES = ["blend", "rtc"]
EPISODES = 3


def test_plain_python_plans_what_the_tool_plans(policy, tool, tmp_path):
    bundle = lockstep.Bundle(policy)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (task.IMAGE[1], task.IMAGE[0], 3), dtype=np.uint8)
    state = np.array([*task.START, 0.4], np.float32)
    noise = rng.standard_normal((bundle.horizon, bundle.dims)).astype(np.float32)
    np.savez(tmp_path / "in.npz", **{
        f"image.{task.CAMERA}": image, "state_raw.right_arm": state[None, :6], "state_raw.right_gripper": state[None, 6:],
        "noise": noise, "instruction": np.frombuffer(task.REACH.encode(), np.uint8)})
    subprocess.run([tool, "infer", "--policy", policy, "--inputs", tmp_path / "in.npz", "--dump", tmp_path / "out.npz"],
                   check=True, capture_output=True)
    out = np.load(tmp_path / "out.npz")
    plan = bundle.plan(image, state, task.REACH, noise)
    assert np.abs(plan[:, :6] - out["action_decoded.right_arm"]).max() < 1e-4
    assert np.abs(plan[:, 6:] - out["action_decoded.right_gripper"]).max() < 1e-4


@pytest.mark.parametrize("mode", MODES)
def test_the_node_brings_the_gripper_to_the_cube(node, policy, mode, tmp_path):
    with Loop(node, policy, mode, 100.0, log=tmp_path / "node.log") as loop:
        setting = loop.run(EPISODES)
    reached = [episode for episode in setting.episodes if episode.reached_s is not None]
    assert len(reached) == EPISODES, [(e.seed, e.closest_m, e.chunks) for e in setting.episodes]


def test_the_arm_stops_by_itself_when_the_node_is_killed_and_when_its_camera_is_lost(node, policy, tmp_path):
    with Loop(node, policy, MODES[0], 0.0, log=tmp_path / "node.log") as loop:
        lost = trials.trial(loop, "camera dropped", FIRST_SEED)
        trials.after(loop)
        killed = trials.trial(loop, "node killed", FIRST_SEED + 1)
    # A chunk is a second long and ends at rest: nothing moves for longer than that after the last one.
    assert lost.stopped_s is not None and lost.stopped_s < 2.0, lost
    assert killed.stopped_s is not None and killed.stopped_s < 1.6, killed
