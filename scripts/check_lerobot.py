#!/usr/bin/env python3
"""Opens a data set that `vla-trt to-lerobot` wrote with LeRobot itself, reads every row, and draws a shuffled batch.

    python3.12 -m venv v && v/bin/pip install 'lerobot[dataset]==0.6.1'
    v/bin/python scripts/check_lerobot.py DATASET
"""
import importlib.metadata
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main(root):
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("vla_trt/written", root=root)
    cameras = [name for name, feature in dataset.features.items() if feature["dtype"] in ("image", "video")]
    for index in range(len(dataset)):
        row = dataset[index]
        assert int(row["index"]) == index
        assert abs(float(row["timestamp"]) - int(row["frame_index"]) / dataset.fps) < 1e-4
        for name in ("observation.state", "action"):
            assert row[name].shape == (dataset.features[name]["shape"][0],) and torch.isfinite(row[name]).all()
        for camera in cameras:
            height, width, channels = dataset.features[camera]["shape"]
            assert row[camera].shape == (channels, height, width), row[camera].shape
        if index and int(row["frame_index"]):
            before = dataset[index - 1]
            assert torch.equal(before["action"], row["observation.state"]) or before["action"].shape != row["observation.state"].shape
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)))
    print(f"lerobot {importlib.metadata.version('lerobot')}: {dataset.num_episodes} episodes, {len(dataset)} rows at {dataset.fps} Hz, "
          f"cameras {cameras}, a batch of states {tuple(batch['observation.state'].shape)}, task {batch['task'][0]!r}")


if __name__ == "__main__":
    main(sys.argv[1])
