"""The robot's names and the reach task's numbers: what scene, expert, training and measurement share.

Joints are named as in config/aloha.yaml; arms in rad, grippers from 0 (closed) to 1 (open). Lengths in m, z = 0 is the
table. Imports no simulator: Mesa's software renderer and torch's compiler do not stand each other in one process.
"""

import numpy as np

SIDES = ("left", "right")
ARM = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
JOINTS = tuple(f"{side}_{joint}" for side in SIDES for joint in (*ARM, "gripper"))
RIGHT_ARM = tuple(f"right_{joint}" for joint in ARM)

#: Where both arms start, rad, and how far the gripper is open then.
START = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0])
START_GRIPPER = 0.15
CAMERA = "front"
IMAGE = (112, 112)  # width, height

#: Cube centres, m, as in gym-aloha's transfer task; the cube lies on the table.
CUBE_X, CUBE_Y, CUBE_Z = (0.0, 0.2), (0.4, 0.6), 0.02

#: The task: the pinch point stays within this distance of the cube's centre ...
REACHED_M = 0.03
#: ... for this long without a break ...
REACHED_FOR_S = 0.25
#: ... before this much simulated time is over.
EPISODE_S = 8.0

#: Rows of the policy's chunk, of the N1.7 policy's, and seconds between them.
ROWS, MOST_ROWS, ROW_S = 20, 40, 0.05

REACH = "reach the red cube with the right gripper"
HOME = "move the right arm back to the start position"
