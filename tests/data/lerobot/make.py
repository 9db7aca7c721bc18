#!/usr/bin/env python3
"""Makes the data sets of this folder with LeRobot itself, and writes what LeRobot's own loader reads from them.

    make.py recording BAG recording.npz           needs rosbags, pillow, numpy
    make.py write recording.npz OUT KIND          needs lerobot; KIND: video, images, h264
    make.py golden FOLDER                         needs lerobot; writes FOLDER/golden.json

README.md beside this file has the versions and the commands.
"""
import hashlib
import importlib.metadata
import io
import json
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("HF_HUB_OFFLINE", "1")

FPS = 10
SIZE = (96, 72)
CAMERAS = {"top": "observation.images.top", "left_wrist": "observation.images.left_wrist"}
# First row and number of rows of each episode.
EPISODES = [(0, 14), (30, 10)]
TASKS = ["transfer the red cube to the left arm", "put the cube down"]


def recording(bag, out):
    """Frames and joint positions of the sample bag, at 10 Hz."""
    from PIL import Image
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    frames = {camera: [] for camera in CAMERAS}
    states, names = [], None
    with AnyReader([Path(bag)], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, time, raw in reader.messages():
            message = None
            for camera in CAMERAS:
                if connection.topic == f"/camera/{camera}/image_raw/compressed":
                    message = reader.deserialize(raw, connection.msgtype)
                    picture = Image.open(io.BytesIO(message.data.tobytes())).convert("RGB").resize(SIZE, Image.LANCZOS)
                    frames[camera].append(np.asarray(picture))
            if connection.topic == "/joint_states":
                message = reader.deserialize(raw, connection.msgtype)
                names = list(message.name)
                states.append((time, np.asarray(message.position, dtype=np.float32)))
    start = states[0][0]
    times = np.array([(time - start) / 1e9 for time, _ in states])
    rows = len(frames["top"])
    nearest = [int(np.abs(times - row / FPS).argmin()) for row in range(rows + 1)]
    positions = np.stack([states[index][1] for index in nearest])
    arrays = {f"camera.{camera}": np.stack(pictures[:rows]) for camera, pictures in frames.items()}
    np.savez_compressed(out, names=np.array(names), states=positions[:rows], actions=positions[1 : rows + 1], **arrays)


def write(source, out, kind):
    """One data set."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    arrays = np.load(source)
    names = [str(name) for name in arrays["names"]]
    picture = {"dtype": "image" if kind == "images" else "video", "shape": (SIZE[1], SIZE[0], 3)}
    picture["names"] = ["height", "width", "channels"]
    features = {
        "observation.state": {"dtype": "float32", "shape": (len(names),), "names": names},
        "action": {"dtype": "float32", "shape": (len(names),), "names": names},
        **{feature: dict(picture) for feature in CAMERAS.values()},
    }
    more = {}
    if kind == "h264":
        from lerobot.configs import RGBEncoderConfig

        more["rgb_encoder"] = RGBEncoderConfig(vcodec="h264")
    dataset = LeRobotDataset.create(
        "vla_trt/fixture", FPS, features, root=out, robot_type="aloha", use_videos=kind != "images", **more
    )
    task_beside = importlib.metadata.version("lerobot").startswith("0.3.")
    for (first, rows), task in zip(EPISODES, TASKS):
        for row in range(first, first + rows):
            frame = {"observation.state": arrays["states"][row], "action": arrays["actions"][row]}
            frame |= {feature: arrays[f"camera.{camera}"][row] for camera, feature in CAMERAS.items()}
            if task_beside:
                dataset.add_frame(frame, task=task)
            else:
                dataset.add_frame(frame | {"task": task})
        dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()


def golden(folder):
    """What LeRobot's loader reads, and hashes of the pixels by each of its decoders."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    pixels, rows = {}, []
    for backend in ("pyav", "torchcodec"):
        try:
            dataset = LeRobotDataset("vla_trt/fixture", root=folder, video_backend=backend)
            pixels[backend] = []
            for index in range(len(dataset)):
                row = dataset[index]
                hashes = {}
                for feature in CAMERAS.values():
                    picture = (row[feature] * 255).round().to("cpu").numpy().astype(np.uint8).transpose(1, 2, 0)
                    hashes[feature] = hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
                pixels[backend].append(hashes)
                if backend == "pyav":
                    rows.append({
                        "episode": int(row["episode_index"]),
                        "frame": int(row["frame_index"]),
                        "timestamp": float(row["timestamp"]),
                        "task": row["task"],
                        "state": [float(value) for value in row["observation.state"]],
                        "action": [float(value) for value in row["action"]],
                    })
        except Exception as error:  # a decoder that this environment lacks
            print(f"{backend}: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
            pixels.pop(backend, None)
    versions = {name: importlib.metadata.version(name) for name in ("lerobot", "av", "torchcodec", "pyarrow")}
    text = json.dumps({"versions": versions, "rows": rows, "pixels": pixels}, indent=1)
    (Path(folder) / "golden.json").write_text(text + "\n")
    print(folder, versions, "equal pixels:", len({json.dumps(value) for value in pixels.values()}) == 1)


if __name__ == "__main__":
    {"recording": recording, "write": write, "golden": golden}[sys.argv[1]](*sys.argv[2:])
