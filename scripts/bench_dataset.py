#!/usr/bin/env python3
"""Decodes the same video with PyAV and with vla_datasets, one thread each, in turns; and compares the pixels.

Frames are counted per second of CPU time: other load of the machine changes it little, and threads that a library starts count.
That of vla_datasets is of the whole process, with the start and the parquet file.

    python3 -m venv v && v/bin/pip install av numpy pyarrow
    cargo build --release -p vla_datasets --features video --example read_frames
    v/bin/python scripts/bench_dataset.py make SCRATCH [--rows 900] [--size 640x480] [--codec libsvtav1] [--cameras 1]
    v/bin/python scripts/bench_dataset.py compare SCRATCH [--rounds 3] [--color tagged|bt601]

`make` writes a data set of version 2.1 with one episode of moving noise and gradients. docs/datasets.md has the figures.
"""
import argparse
import json
import math
import resource
import subprocess
import tempfile
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FPS = 30
TASK = "pick up the cube"


def picture(row, width, height, seed):
    """A gradient that moves, blocks that move the other way, and some noise: neither still nor random."""
    y, x = np.mgrid[0:height, 0:width]
    frame = np.stack([(x + 3 * row) % 256, (y + 2 * row + 40 * seed) % 256, (x + y) // 4 % 256], axis=-1)
    block = (((x - 5 * row) // 40 + (y + 2 * row) // 40) % 5 == 0)[..., None]
    noise = np.random.default_rng(row + 1000 * seed).integers(-6, 7, size=frame.shape)
    return np.clip(np.where(block, 255 - frame, frame) + noise, 0, 255).astype(np.uint8)


def encode(path, args, camera):
    """As LeRobot does: yuv420p, GOP 2, CRF 30."""
    width, height = map(int, args.size.split("x"))
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as output:
        options = {"g": "2", "crf": "30"} | ({"preset": "12"} if "av1" in args.codec else {})
        stream = output.add_stream(args.codec, FPS, options=options)
        stream.pix_fmt, stream.width, stream.height = "yuv420p", width, height
        if args.matrix:
            stream.codec_context.colorspace = args.matrix
        distinct = [av.VideoFrame.from_ndarray(picture(row, width, height, camera), format="rgb24") for row in range(60)]
        for row in range(args.rows):
            frame = distinct[row % len(distinct)]
            frame.pts = row
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def make(args):
    import pyarrow as pa
    import pyarrow.parquet as pq

    root, rows, dims = Path(args.folder), args.rows, args.state
    cameras = [f"observation.images.{name}" for name in args.names.split(",")]
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    width, height = map(int, args.size.split("x"))
    numbers = {"dtype": "float32", "shape": [dims], "names": None}
    video = {"dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"]}
    info = {
        "codebase_version": "v2.1", "fps": FPS, "total_episodes": 1, "total_frames": rows, "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {"observation.state": numbers, "action": numbers, **{camera: video for camera in cameras}},
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/episodes.jsonl").write_text(json.dumps({"episode_index": 0, "tasks": [TASK], "length": rows}) + "\n")
    (root / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": TASK}) + "\n")
    state = np.array([[0.3 * math.sin(0.05 * row + joint) for joint in range(dims)] for row in range(rows)], np.float32)
    lists = pa.array(list(state), pa.list_(pa.float32()))
    table = pa.table({
        "observation.state": lists, "action": lists,
        "timestamp": pa.array(np.arange(rows, dtype=np.float32) / FPS), "frame_index": pa.array(np.arange(rows)),
        "episode_index": pa.array(np.zeros(rows, np.int64)), "task_index": pa.array(np.zeros(rows, np.int64)),
    })
    pq.write_table(table, root / "data/chunk-000/episode_000000.parquet")
    for number, camera in enumerate(cameras):
        encode(root / f"videos/chunk-000/{camera}/episode_000000.mp4", args, number)


def with_pyav(video, keep):
    """Frames a second, and the frames where they are kept."""
    frames, count = [], 0
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        started = cpu_seconds(resource.RUSAGE_SELF)
        for frame in container.decode(stream):
            array = frame.to_ndarray(format="rgb24")
            count += 1
            if keep:
                frames.append(array)
        return count / (cpu_seconds(resource.RUSAGE_SELF) - started), frames


def with_ours(command):
    """Frames a second of CPU time of the program."""
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output.split()[0]) / (cpu_seconds(resource.RUSAGE_CHILDREN) - before)


def cpu_seconds(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def compare(args):
    root = Path(args.folder)
    video = next(root.glob("videos/*/*/episode_000000.mp4"))
    camera = video.parent.name
    command = [args.program, str(root), camera, "--color", args.color]
    rates = []
    for _ in range(args.rounds):
        rates.append((with_ours(command), with_pyav(video, keep=False)[0]))
    ours, theirs = (sorted(column)[len(rates) // 2] for column in zip(*rates))
    print(f"frames per second of CPU time, median of {args.rounds} in turns: vla_datasets {ours:.1f}, PyAV {av.__version__} {theirs:.1f}, "
          f"ratio {ours / theirs:.2f}")
    with tempfile.NamedTemporaryFile() as raw:
        subprocess.run([*command, "--raw"], check=True, stdout=raw, stderr=subprocess.DEVNULL)
        _, frames = with_pyav(video, keep=True)
        found = np.fromfile(raw.name, np.uint8).reshape(np.stack(frames).shape)
    distance = np.abs(found.astype(np.int16) - np.stack(frames).astype(np.int16))
    print(f"levels from PyAV {av.__version__} ({args.color}): mean {distance.mean():.3f}, most {distance.max()}, "
          f"equal {np.mean(distance == 0) * 100:.2f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make")
    maker.add_argument("folder")
    maker.add_argument("--rows", type=int, default=900)
    maker.add_argument("--size", default="640x480")
    maker.add_argument("--codec", default="libsvtav1")
    maker.add_argument("--names", default="top")
    maker.add_argument("--state", type=int, default=14)
    maker.add_argument("--matrix", type=int, default=0, help="tag of the matrix, 1 for BT.709")
    comparer = commands.add_parser("compare")
    comparer.add_argument("folder")
    comparer.add_argument("--rounds", type=int, default=3)
    comparer.add_argument("--color", default="tagged")
    comparer.add_argument("--program", default=str(ROOT / "target/release/examples/read_frames"))
    args = parser.parse_args()
    {"make": make, "compare": compare}[args.command](args)


if __name__ == "__main__":
    main()
