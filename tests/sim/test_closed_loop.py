"""A short closed loop: the real node, real topics, a simulated arm that has to get to the cube."""

import subprocess

import numpy as np
import pytest

from sim import lockstep, task, trials
from sim.loop import FIRST_SEED, Loop

#: Which family's policy is tried in which mode of the node, and with how many episodes.
LOOPS = [("n1d6", "blend", 3), ("n1d6", "rtc", 3), ("n1d7", "rtc", 2)]


@pytest.mark.parametrize("family", ["n1d6", "n1d7"])
def test_plain_python_plans_what_the_tool_plans(policies, family, tool, tmp_path):
    policy = policies[family]
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


@pytest.mark.parametrize(("family", "mode", "episodes"), LOOPS)
def test_the_node_brings_the_gripper_to_the_cube(node, policies, family, mode, episodes, tmp_path):
    with Loop(node, policies[family], mode, 100.0, log=tmp_path / "node.log") as loop:
        setting = loop.run(episodes)
    reached = [episode for episode in setting.episodes if episode.reached_s is not None]
    assert len(reached) == episodes, [(e.seed, e.closest_m, e.chunks) for e in setting.episodes]


def test_the_arm_stops_by_itself_when_the_node_is_killed_and_when_its_camera_is_lost(node, policy, tmp_path):
    with Loop(node, policy, "blend", 0.0, log=tmp_path / "node.log") as loop:
        lost = trials.trial(loop, "camera dropped", FIRST_SEED)
        trials.after(loop)
        killed = trials.trial(loop, "node killed", FIRST_SEED + 1)
    # A chunk is a second long and ends at rest: nothing moves for longer than that after the last one.
    assert lost.stopped_s is not None and lost.stopped_s < 2.0, lost
    assert killed.stopped_s is not None and killed.stopped_s < 1.6, killed
