"""What stands between a robot and the reach policy's networks, in numpy: prompt, picture, statistics.

The same as the node does in Rust (src/policy); used where data are made ready for training, and by the lockstep
baseline, which is to be independent of the node.
"""

import re

import numpy as np

from . import bicubic

EMBODIMENT = "new_embodiment"
KEYS = {"right_arm": 6, "right_gripper": 1}

def prompt(tokenizer, instruction, rows, family):
    """Token ids of an instruction and an image of so many rows, as the node makes them: lower case, no punctuation."""
    text = re.sub(r"[^\w\s]", "", instruction.lower())
    ids = tokenizer.encode(family.template.format(instruction=text, context=family.image_token * rows), add_special_tokens=False).ids
    return np.array(ids)


def shrink(images, size):
    """Pictures u8 [N, H, W, 3] as the policy's transform shrinks them: every pixel the mean of what it covers."""
    def weights(given, wanted):
        edges = np.arange(wanted + 1) * (given / wanted)
        covered = np.minimum(edges[1:, None], np.arange(given) + 1) - np.maximum(edges[:-1, None], np.arange(given))
        return (np.maximum(covered, 0.0) * (wanted / given)).astype(np.float32)

    width, height = size
    if images.shape[1:3] == (height, width):
        return images
    rows, columns = weights(images.shape[1], height), weights(images.shape[2], width)
    out = np.empty((len(images), height, width, 3), np.uint8)
    for index, image in enumerate(images):
        mixed = np.tensordot(rows, image.astype(np.float32), (1, 0))
        out[index] = np.rint(np.tensordot(columns, mixed, (1, 1)).transpose(1, 0, 2))
    return out


def picture(images, edge, size):
    """Square pictures u8 [N, H, W, 3] as a network reads them: shrunk to the edge, then brought to the size that its cells fit."""
    return bicubic.resize(shrink(images, (edge, edge)), size)


class Normaliser:
    """Statistics of the demonstrations: states to -1..1 by range, arm actions relative to the state, row by row.

    An action of the arm is divided by its spread in that row and not by its range, so that what happens near the cube,
    the small motions, is not lost beside the large ones.
    """

    def __init__(self, low, high, spread, most=None):
        self.low, self.high, self.spread, self.most = low, high, spread, most

    @classmethod
    def of(cls, arrays, rows):
        """That of demonstrations, for chunks of so many rows."""
        state = arrays["state"].astype(np.float64)
        low, high = state.min(0) - 0.01, state.max(0) + 0.01
        low[6], high[6] = 0.0, 1.0
        plans = np.concatenate([arrays["reach"], arrays["home"]])[:, :rows].astype(np.float64)
        relative = plans[..., :6] - np.concatenate([state, state])[:, None, :6]
        spread = np.maximum(np.sqrt((relative**2).mean(0)), 0.002)  # [rows, joints]
        # As they are read back from the file.
        low, high, spread = (part.astype(np.float32).astype(np.float64) for part in (low, high, spread))
        return cls(low, high, spread, np.abs(relative).max(0))

    @classmethod
    def read(cls, statistics):
        """From statistics.json, parsed."""
        found = statistics[EMBODIMENT]
        ends = (np.concatenate([found["state"][key][end] for key in KEYS]) for end in ("min", "max"))
        return cls(*ends, np.array(found["relative_action"]["right_arm"]["std"]))

    def state(self, state):
        """[N, 7] to [N, 7], clipped."""
        return np.clip(2.0 * (state - self.low) / (self.high - self.low) - 1.0, -1.0, 1.0)

    def action(self, plans, state):
        """[N, rows, 7] absolute to normalised."""
        arm = (plans[..., :6] - state[:, None, :6]) / self.spread
        return np.concatenate([arm, 2.0 * plans[..., 6:] - 1.0], axis=-1)

    def plans(self, actions, state):
        """The inverse of `action`."""
        arm = actions[..., :6] * self.spread + state[:, None, :6]
        return np.concatenate([arm, (np.clip(actions[..., 6:7], -1.0, 1.0) + 1.0) / 2.0], axis=-1)

    def statistics(self):
        """statistics.json in the vendor's schema."""

        def entry(low, high):
            low, high = np.asarray(low), np.asarray(high)
            return {"min": low.tolist(), "max": high.tolist(), "mean": ((low + high) / 2).tolist(),
                    "std": ((high - low) / 4).tolist(), "q01": (low + 0.01 * (high - low)).tolist(),
                    "q99": (high - 0.01 * (high - low)).tolist()}

        absolute = {"right_arm": entry(self.low[:6], self.high[:6]), "right_gripper": entry([0.0], [1.0])}
        relative = {"right_arm": {**entry(-self.most, self.most), "std": self.spread.tolist()}}
        return {EMBODIMENT: {"state": absolute, "action": absolute, "relative_action": relative}}
