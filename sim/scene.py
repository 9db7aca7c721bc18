"""The ALOHA table in MuJoCo: gym-aloha's models, tracking servos, one policy camera, and the reach task's measure.

The state of a scene is only MuJoCo's; time is simulated. Units and names: task.py.
"""

import importlib.util
import os
import pathlib
import sys

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "osmesa")  # before mujoco is imported: no screen, no GPU

import mujoco
import numpy as np

from .task import (ARM, CAMERA, CUBE_X, CUBE_Y, CUBE_Z, IMAGE, REACHED_FOR_S, REACHED_M, SIDES, START, START_GRIPPER)

#: Finger slides in m at gripper 0 and 1 (gym-aloha's constants, within the actuators' range).
FINGER = (0.021, 0.057)

#: Seconds of a physics step: 500 Hz, one command of the controller each.
STEP_S = 0.002

_CAMERA_AT = (-0.12, 0.02, 0.42)
_CAMERA_LOOKS_AT = (0.12, 0.49, 0.06)
_CAMERA_FOVY = 42.0
#: For people: from the same place, and more of it.
VIEW, _VIEW_FOVY = "view", 62.0

#: The pinch point between the fingertips, in the frame of the gripper link.
PINCH = (0.13, 0.0, 0.0)

# Servo gains by joint: stiffness N m/rad, damping N m s/rad. Stiff enough to follow within some 40 ms, as ALOHA's
# servos do; gym-aloha's own gains against its dry friction leave errors of several degrees.
_GAINS = {"waist": (800, 28), "shoulder": (1600, 56), "elbow": (800, 24), "forearm_roll": (200, 6),
          "wrist_angle": (200, 6), "wrist_rotate": (100, 3), "finger": (2000, 60)}
_ARMATURE = {"waist": 0.1, "shoulder": 0.1, "elbow": 0.1, "forearm_roll": 0.02, "wrist_angle": 0.02,
             "wrist_rotate": 0.01, "finger": 0.5}


def assets():
    """Folder of gym-aloha's models. The package is found, not imported: that would need its gym."""
    found = importlib.util.find_spec("gym_aloha")
    if found is None or found.origin is None:
        raise SystemExit("gym-aloha is missing: run scripts/setup_sim.sh, and this with .cache/sim/bin/python3")
    return pathlib.Path(found.origin).parent / "assets"


def _specification():
    spec = mujoco.MjSpec.from_file(str(assets() / "bimanual_viperx_transfer_cube.xml"))
    spec.option.timestep = STEP_S
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 640, 480
    forward = np.subtract(_CAMERA_LOOKS_AT, _CAMERA_AT)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    up = np.cross(right, forward)
    for name, fovy in ((CAMERA, _CAMERA_FOVY), (VIEW, _VIEW_FOVY)):
        camera = spec.worldbody.add_camera(name=name, pos=_CAMERA_AT, fovy=fovy)
        camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
        camera.alt.xyaxes = [*right / np.linalg.norm(right), *up / np.linalg.norm(up)]
    spec.body("vx300s_right/gripper_link").add_site(name="pinch", pos=PINCH, size=[0.004] * 3, rgba=[0, 0, 0, 0])
    for body in spec.bodies:
        if body.name.startswith("vx300s"):
            body.gravcomp = 1.0  # the servos' own feed-forward
    for joint in spec.joints:
        kind = _kind(joint.name)
        if kind is not None:
            joint.frictionloss = 0.0
            joint.armature = _ARMATURE[kind]
    for actuator in spec.actuators:
        kp, kv = _GAINS[_kind(actuator.target)]
        actuator.gainprm[0] = kp
        actuator.biasprm[1:3] = -kp, -kv
    return spec


def _kind(name):
    """"waist" of vx300s_left/waist, "finger" of both fingers, nothing of the cube's joint."""
    part = name.rpartition("/")[2]
    return "finger" if part.endswith("finger") else part if part in ARM else None


class Scene:
    """Physics, picture and measure. `seed` of `reset` decides the cube and the start."""

    def __init__(self):
        self.model = _specification().compile()
        self.data = mujoco.MjData(self.model)
        self._renderers = {}
        address = lambda joint: self.model.jnt_qposadr[self.model.joint(joint).id]
        velocity = lambda joint: self.model.jnt_dofadr[self.model.joint(joint).id]
        names = [(side, "left_finger" if joint == "gripper" else joint) for side in SIDES for joint in (*ARM, "gripper")]
        self._at = np.array([address(f"vx300s_{side}/{joint}") for side, joint in names])
        self._moves = np.array([velocity(f"vx300s_{side}/{joint}") for side, joint in names])
        self._grippers = np.array([joint == "left_finger" for _, joint in names])
        self._other_finger = np.array([address(f"vx300s_{side}/right_finger") for side in SIDES])
        self._cube = address("red_box_joint")
        self._reached_since = None
        self.reset(0)

    # State

    @property
    def time(self):
        """Simulated seconds since the reset."""
        return self.data.time

    def reset(self, seed, spread=0.03):
        """A cube somewhere, both arms near their start (right arm within `spread` rad)."""
        rng = np.random.default_rng(seed)
        cube = (rng.uniform(*CUBE_X), rng.uniform(*CUBE_Y), CUBE_Z)
        angle = rng.uniform(-np.pi / 4, np.pi / 4)
        joints = np.concatenate([START, [START_GRIPPER]] * 2)
        joints[7:13] += rng.uniform(-spread, spread, 6)
        self.place(joints, cube, angle)
        mujoco.mj_forward(self.model, self.data)
        self._reached_since = None
        return self

    def place(self, joints, cube, angle=0.0):
        """Sets all positions, at rest."""
        mujoco.mj_resetData(self.model, self.data)
        fingers = self._finger(np.asarray(joints)[self._grippers])
        self.data.qpos[self._at] = np.where(self._grippers, 0.0, joints)
        self.data.qpos[self._at[self._grippers]] = fingers
        self.data.qpos[self._other_finger] = -fingers
        self.data.qpos[self._cube:self._cube + 7] = [*cube, np.cos(angle / 2), 0, 0, np.sin(angle / 2)]
        self.command(joints)

    def look(self, joints, cube, angle=0.0):
        """As `place`, ready for a picture: nothing is simulated."""
        self.place(joints, cube, angle)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    @staticmethod
    def _finger(gripper):
        return FINGER[0] + np.clip(gripper, 0.0, 1.0) * (FINGER[1] - FINGER[0])

    def positions(self):
        """All of JOINTS: rad, grippers 0 to 1."""
        values = self.data.qpos[self._at].copy()
        values[self._grippers] = (values[self._grippers] - FINGER[0]) / (FINGER[1] - FINGER[0])
        return values

    def velocities(self):
        """All of JOINTS: rad/s, grippers 1/s."""
        values = self.data.qvel[self._moves].copy()
        values[self._grippers] /= FINGER[1] - FINGER[0]
        return values

    def command(self, joints):
        """What the servos go for from now on; all of JOINTS."""
        joints = np.asarray(joints, dtype=float)
        for side in range(2):
            arm, gripper = joints[7 * side:7 * side + 6], self._finger(joints[7 * side + 6])
            self.data.ctrl[8 * side:8 * side + 8] = [*arm, gripper, -gripper]

    def step(self):
        """One physics step of STEP_S."""
        mujoco.mj_step(self.model, self.data)

    def pose(self):
        """Where the joints of the right arm are, for `hold`."""
        return self.data.qpos[self._at[7:13]].copy()

    def hold(self, pose):
        """Puts the right arm back to `pose`, at rest: somebody holds it fast."""
        self.data.qpos[self._at[7:13]] = pose
        self.data.qvel[self._moves[7:13]] = 0.0

    # Measure

    def cube(self):
        """Centre of the cube."""
        return self.data.qpos[self._cube:self._cube + 3].copy()

    def distance(self):
        """From the right gripper's pinch point to the cube's centre, m; of the last step."""
        return float(np.linalg.norm(self.data.site("pinch").xpos - self.cube()))

    def reached(self):
        """Whether the task is done; to be asked after every step."""
        if self.distance() > REACHED_M:
            self._reached_since = None
        elif self._reached_since is None:
            self._reached_since = self.time
        return self._reached_since is not None and self.time - self._reached_since >= REACHED_FOR_S

    # Picture

    def image(self, camera=CAMERA, size=IMAGE):
        """RGB [height, width, 3] uint8 of a camera, of the state of now."""
        if size not in self._renderers:
            self._renderers[size] = mujoco.Renderer(self.model, height=size[1], width=size[0])
        renderer = self._renderers[size]
        renderer.update_scene(self.data, camera=camera)
        return renderer.render().copy()

    def close(self):
        """Gives the renderers back."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
