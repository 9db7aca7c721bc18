"""The simulated robot by itself: no ROS, no policy."""

import numpy as np
import pytest

from sim import expert, scene, task
from sim.controller import JointController


@pytest.fixture(scope="module")
def stage():
    found = scene.Scene()
    yield found
    found.close()


@pytest.mark.parametrize("seed", range(4))
def test_the_expert_reaches_the_cube_without_pushing_it(stage, seed):
    stage.reset(seed)
    cube, joints = stage.cube(), stage.positions()
    target, gripper = expert.goal(task.REACH, cube)
    begin = joints[7:13].copy()
    while not stage.reached() and stage.time < task.EPISODE_S:
        joints[7:13], joints[13] = expert.way(begin, target, [stage.time])[0], gripper
        stage.command(joints)
        stage.step()
    assert stage.reached()
    assert np.linalg.norm(stage.cube() - cube) < 0.005


def test_an_arm_that_stands_still_reaches_nothing(stage):
    stage.reset(0)
    for _ in range(1000):
        stage.step()
        assert not stage.reached()
    assert np.abs(stage.positions()[:6] - task.START).max() < 0.01, "the other arm stays where it was"


def test_a_seed_gives_the_same_picture_and_another_seed_another(stage):
    first = stage.reset(5).image()
    assert (stage.reset(5).image() == first).all()
    assert (stage.reset(6).image() != first).any()


def test_two_plans_of_the_expert_made_at_different_moments_agree():
    target = expert.reach(np.array([0.1, 0.5, 0.03]))
    whole = expert.way(task.START, target, [0.5, 1.0])
    rest = expert.way(whole[0], target, [0.5])
    assert np.abs(rest[0] - whole[1]).max() < 1e-9


# The controller

ARM = ("a", "b")


def controller(at=(0.0, 0.0)):
    return JointController(ARM, at, range(2), 0.002)


def test_a_trajectory_passes_its_points_with_their_velocities_and_ends_at_rest():
    loop = controller()
    assert loop.take_trajectory(0.0, 0.0, ["a"], [0.1, 0.2], [[0.1], [0.3]], [[1.5], [0.0]])
    assert loop.sample(0.1)[0] == pytest.approx(0.1)
    assert (loop.sample(0.101)[0] - loop.sample(0.099)[0]) / 0.002 == pytest.approx(1.5, rel=0.02)
    assert loop.sample(0.2)[0] == pytest.approx(0.3)
    assert loop.sample(9.0) == pytest.approx([0.3, 0.0]), "the last point is held, the other joint never moved"


def test_points_that_are_past_are_dropped_and_a_trajectory_that_is_past_is_refused():
    loop = controller()
    assert loop.take_trajectory(0.15, 0.0, ["a", "b"], [0.1, 0.2], [[5.0, 5.0], [0.2, 0.1]], None)
    assert loop.sample(0.175) == pytest.approx([0.1, 0.05]), "straight from where it was, the late point has no say"
    assert not loop.take_trajectory(1.0, 0.0, ["a"], [0.1], [[9.0]], None)
    assert not loop.take_trajectory(0.0, 0.0, ["c"], [0.1], [[9.0]], None)
    assert loop.sample(2.0) == pytest.approx([0.2, 0.1])


def test_a_plan_that_goes_on_as_the_one_before_has_no_jump_and_one_that_steps_back_has_its_step():
    loop = controller()
    offsets = np.array([0.1, 0.2, 0.3])
    loop.take_trajectory(0.0, 0.0, ["a"], offsets, offsets[:, None], np.ones((3, 1)))
    for now in np.arange(0.0, 0.15, 0.002):
        loop.sample(now)
    loop.take_trajectory(0.15, 0.15, ["a"], offsets, 0.15 + offsets[:, None], np.ones((3, 1)))
    for now in np.arange(0.15, 0.2, 0.002):
        loop.sample(now)
    loop.take_trajectory(0.2, 0.2, ["a"], offsets, 0.2 + offsets[:, None] - 0.04, np.ones((3, 1)))
    first, smooth, back = loop.hand_overs
    assert first.jump == pytest.approx(0.1)  # one point 100 mrad from where the joint rests
    assert smooth.jump < 1e-6
    assert back.jump == pytest.approx(0.04, abs=1e-6)


def test_a_plan_that_departs_from_the_old_one_after_its_first_points_is_judged_where_it_departs():
    loop = controller()
    offsets = np.arange(1, 21) * 0.01
    loop.take_trajectory(0.0, 0.0, ["a"], offsets, offsets[:, None], np.ones((20, 1)))
    loop.sample(0.05)
    # As the old plan for two points, 30 mrad beside it from the third on.
    aside = 0.05 + offsets[:10, None] + np.where(np.arange(10)[:, None] >= 2, 0.03, 0.0)
    loop.take_trajectory(0.05, 0.05, ["a"], offsets[:10], aside, np.ones((10, 1)))
    assert loop.hand_overs[-1].jump == pytest.approx(0.03, abs=1e-6)


def test_a_plan_that_comes_between_two_ticks_takes_over_from_where_the_old_one_is_then():
    loop = controller()
    loop.take_trajectory(0.0, 0.0, ["a"], [1.0], [[1.0]], None)
    loop.sample(0.1)
    loop.take_trajectory(0.102, 0.0, ["a"], [0.103, 1.0], [[0.103], [1.0]], None)
    assert loop.sample(0.102)[0] == pytest.approx(0.102)


def test_a_streamed_point_is_obeyed_at_once_and_judged_against_the_one_before():
    loop = controller()
    for tick in range(3):
        assert loop.take_command(0.01 * tick, ["a"], [0.01 * tick])
    assert loop.take_command(0.03, ["a"], [0.05])
    assert loop.sample(0.03)[0] == 0.05
    assert [hand_over.jump for hand_over in loop.hand_overs] == pytest.approx([0.0, 0.02])
