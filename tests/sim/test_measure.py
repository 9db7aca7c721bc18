"""The figures, on motions whose figures are known."""

import numpy as np
import pytest

from sim import task
from sim.measure import Trace


def trace(seconds, way, reached=lambda t: False):
    """A trace of the right waist going `way(t)`."""
    records = []
    for t in np.arange(0.0, seconds, 0.002):
        joints = np.zeros(len(task.JOINTS))
        joints[task.JOINTS.index("right_waist")] = way(t)
        records.append((t, joints, joints, 0.1, reached(t)))
    return Trace(records)


def test_an_arm_that_stops_is_at_rest_from_then_on():
    stops = trace(3.0, lambda t: 0.5 * min(t, 1.4))
    assert stops.stopped_after(1.0) == pytest.approx(0.4, abs=0.03)
    assert stops.stopped_after(2.0) == 0.0, "it had stopped before"
    assert stops.moves_again(1.5) is None


def test_an_arm_that_goes_on_has_not_stopped_even_if_it_paused():
    pauses = trace(3.0, lambda t: 0.5 * (min(t, 1.0) + max(t - 2.0, 0.0)))
    assert pauses.stopped_after(0.5) is None
    assert pauses.moves_again(1.1) == pytest.approx(2.0, abs=0.03)


def test_jerk_and_speed_of_a_swing_are_those_of_its_formula():
    swing = trace(4.0, lambda t: 0.1 * np.sin(2.0 * np.pi * t))
    omega, joints = 2.0 * np.pi, 6
    assert swing.jerk() == pytest.approx(0.1 * omega**3 / np.sqrt(2 * joints), rel=0.02)
    speed, acceleration = swing.fastest()
    assert speed == pytest.approx(0.1 * omega, rel=0.02)
    assert acceleration == pytest.approx(0.1 * omega**2, rel=0.02)
