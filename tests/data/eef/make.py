"""Makes the processor files of a policy with an end effector: those of the demo checkpoint with the left arm as a pose.

    vla-trt make-checkpoint --size demo --seed 7 -o checkpoint && python3 make.py checkpoint
"""

import json
import pathlib
import sys

KEY, REPLACED = "left_eef", "left_arm"
# x, y, z in m, then two rows of the rotation matrix.
ABSOLUTE = [(0.1, 0.6), (-0.3, 0.3), (0.0, 0.5)] + [(-1.0, 1.0)] * 6
# How far a row is from the one before: m, and entries of a matrix near the identity.
STRIDE = [(-0.004, 0.004)] * 3
NEAR_IDENTITY = [(0.98, 1.0), (-0.02, 0.02), (-0.02, 0.02), (-0.02, 0.02), (0.98, 1.0), (-0.02, 0.02)]


def statistics(low, high):
    """All statistics of values between two bounds; `low` and `high` are lists or lists of lists."""
    def at(share, lo=low, hi=high):
        if isinstance(lo, list):
            return [at(share, a, b) for a, b in zip(lo, hi)]
        return round(lo + share * (hi - lo), 6) + 0.0

    def spread(lo=low, hi=high):
        return [spread(a, b) for a, b in zip(lo, hi)] if isinstance(lo, list) else round((hi - lo) / 4, 6)

    return {"min": at(0.0), "max": at(1.0), "mean": at(0.5), "std": spread(), "q01": at(0.01), "q99": at(0.99)}


def main(checkpoint):
    here, source = pathlib.Path(__file__).parent, pathlib.Path(checkpoint)
    config = json.loads((source / "processor_config.json").read_text())
    stats = json.loads((source / "statistics.json").read_text())
    (tag, modalities), = config["processor_kwargs"]["modality_configs"].items()
    for modality in ("state", "action"):
        keys = modalities[modality]["modality_keys"]
        modalities[modality]["modality_keys"] = [KEY if key == REPLACED else key for key in keys]
    keys = modalities["action"]["modality_keys"]
    modalities["action"]["action_configs"][keys.index(KEY)] = {
        "rep": "RELATIVE", "type": "EEF", "format": "XYZ_ROT6D", "state_key": None}
    rows = len(modalities["action"]["delta_indices"])
    absolute = statistics(*([pair[side] for pair in ABSOLUTE] for side in (0, 1)))
    relative = [[bound[side] * row for bound in STRIDE] + [bound[side] for bound in NEAR_IDENTITY]
                for side in (0, 1) for row in range(1, rows + 1)]
    for group, new in (("state", absolute), ("action", absolute),
                       ("relative_action", statistics(relative[:rows], relative[rows:]))):
        stats[tag][group] = {**{k: v for k, v in stats[tag][group].items() if k != REPLACED}, KEY: new}
    for name, content in (("processor_config.json", config), ("statistics.json", stats)):
        (here / name).write_text(json.dumps(content, separators=(",", ":")) + "\n")


main(sys.argv[1])
