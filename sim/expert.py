"""The scripted expert: where the right arm should go for an instruction, and how it goes there.

The way is that of an autonomous field in joint space, q' = f(goal - q): what it does next depends on where the arm is and
not on when it began, so two plans made at different moments agree. All joints arrive together, the speed of the one
that has furthest to go is `SPEED * tanh(GAIN * n / SPEED)` for what it has left, n.
"""

import numpy as np

from .task import HOME, START, START_GRIPPER

#: Most of any joint's speed, rad/s, and the rate at which it closes in at the end, 1/s.
SPEED, GAIN = 0.9, 2.5
#: Downward pitch of the gripper at the cube, rad, and how far above the cube's centre it goes, m.
PITCH, ABOVE = 1.05, 0.012

# The right arm's geometry (gym-aloha's vx300s_right.xml), m.
_BASE = np.array([0.469, 0.5, 0.0])
_SHOULDER_Z, _UPPER, _FOREARM, _HAND = 0.079 + 0.04805, (0.05955, 0.3), 0.3, 0.069744 + 0.13


def goal(instruction, cube):
    """Arm joints (6, rad) and gripper (0 to 1) to go for."""
    if instruction == HOME:
        return START.copy(), START_GRIPPER
    return reach(np.asarray(cube) + (0.0, 0.0, ABOVE)), 1.0


def reach(point):
    """The arm joints that bring the pinch point to `point` with the gripper pitched down by PITCH, elbow up."""
    away = _BASE - point
    waist = np.arctan2(away[1], away[0])  # the base looks along -x
    forward, up = np.hypot(away[0], away[1]), point[2] - _SHOULDER_Z
    wrist = np.array([forward - _HAND * np.cos(PITCH), up + _HAND * np.sin(PITCH)])
    upper, distance = np.hypot(*_UPPER), np.hypot(*wrist)
    cosine = (upper**2 + distance**2 - _FOREARM**2) / (2 * upper * distance)
    if not -1.0 < cosine < 1.0:
        raise ValueError(f"the right arm does not reach {point}")
    elevation = np.arctan2(wrist[1], wrist[0]) + np.arccos(cosine)  # of the upper arm
    shoulder = np.arctan2(_UPPER[1], _UPPER[0]) - elevation
    elbow_at = upper * np.array([np.cos(elevation), np.sin(elevation)])
    forearm = wrist - elbow_at
    elbow = -np.arctan2(forearm[1], forearm[0]) - shoulder
    return np.array([waist, shoulder, elbow, 0.0, PITCH - shoulder - elbow, 0.0])


def way(joints, target, seconds):
    """Joints after each of `seconds` [n] on the way from `joints` to `target` [.., 6]: [.., n, 6]."""
    joints, target = np.asarray(joints), np.asarray(target)
    left = target - joints
    most = np.maximum(np.abs(left).max(axis=-1), 1e-9)[..., None]
    # Solution of n' = -SPEED tanh(GAIN n / SPEED).
    ahead = SPEED / GAIN * np.arcsinh(np.sinh(GAIN * most / SPEED) * np.exp(-GAIN * np.asarray(seconds)))
    return joints[..., None, :] + left[..., None, :] * (1.0 - ahead / most)[..., None]
