#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Encode time beside the reference: the Python libraries that the vendor's processor calls, and ours, in turns.

    python3 -m venv .cache/reference && .cache/reference/bin/pip install numpy==1.26.4 opencv-python-headless==4.11.0.86 \\
        pillow==12.1.1 albumentations==1.4.18 albucore==0.0.17 transformers==4.51.3 tokenizers==0.21.4 jinja2
    cargo build --release --example encode_beside
    .cache/reference/bin/python benches/reference_processor.py ../shared/oracle

Both sides run on one thread of the same core, a few times each before the other has its turn, and their results must
have the same checksum. The reference is the vendor's chain of library calls (albumentations on OpenCV, Pillow, the chat
template by jinja2, transformers' tokenizer, NumPy), with NumPy in the place of torch and without the vendor's own Python
around it: a lower bound. The whole processor takes nearly twice as long (timing.json of the oracle).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from copy import deepcopy
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A  # noqa: E402
import cv2  # noqa: E402
import jinja2  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

EDGE, CROP, FACTOR = 256, 0.95, 28
INSTRUCTION = "Pick up the red cube, and place it in the blue bin!"
EMBODIMENT = "new_embodiment"
TRANSFORMS = ["640x480", "424x240", "1280x720", "1920x1080"]
RESAMPLING = ["area-640x480-341x256", "area-323x243-340x256", "bicubic-340x256-336x252"]


def picture(width: int, height: int) -> np.ndarray:
    """A scene of gradients and edges, with a camera's noise."""
    y, x = np.mgrid[:height, :width]
    scene = np.stack([160 * x / width, 160 * y / height, 80 + 60 * ((x // 40 + y // 40) % 2)], -1)
    noise = np.random.default_rng(width).normal(0, 6, scene.shape)
    return np.clip(scene + noise + 30, 0, 255).astype(np.uint8)


def size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def area(image: np.ndarray, output: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, output, interpolation=cv2.INTER_AREA)


def bicubic(image: Image.Image, output: tuple[int, int]) -> np.ndarray:
    return np.asarray(image.resize(output))


class Images:
    """The evaluation transform for frames of one size."""

    def __init__(self, width: int, height: int) -> None:
        shrink = A.SmallestMaxSize(max_size=EDGE, interpolation=cv2.INTER_AREA)
        rows, columns = shrink(image=np.zeros((height, width, 3), np.uint8))["image"].shape[:2]
        crop = A.CenterCrop(int(rows * CROP), int(columns * CROP))
        self.compose = A.Compose([shrink, crop, A.SmallestMaxSize(max_size=EDGE, interpolation=cv2.INTER_AREA)])

    def views(self, frames: list[np.ndarray]) -> np.ndarray:
        """Pixels [views, 3, H, W] in [-1, 1]."""
        cropped = [self.compose(image=np.array(frame))["image"].transpose(2, 0, 1) for frame in frames]
        images = [Image.fromarray(np.transpose(view, (1, 2, 0))) for view in np.stack(cropped)]
        sides = [[max(FACTOR, round(side / FACTOR) * FACTOR) for side in image.size] for image in images]
        views = [bicubic(image, tuple(side)).transpose(2, 0, 1) for image, side in zip(images, sides)]
        return (np.stack(views).astype(np.float32) - np.float32(127.5)) / np.float32(127.5)


class Prompts:
    """Chat template and tokenizer."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
        self.template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(template)

    def ids(self, instruction: str, tokens: list[int]) -> np.ndarray:
        text = re.sub(r"[^\w\s]", "", instruction.lower())
        content = [{"type": "text", "text": text}, *[{"type": "image", "image": None} for _ in tokens]]
        prompt = self.template.render(messages=[{"role": "user", "content": content}], add_generation_prompt=False)
        for k, count in enumerate(tokens, 1):
            prompt = prompt.replace(f"<image-{k}>", f"<image {k}><img>{'<IMG_CONTEXT>' * count}</img>")
        return self.tokenizer([prompt], return_tensors="np", padding=True)["input_ids"][0]


class States:
    """Ranges of one embodiment's state keys."""

    def __init__(self, checkpoint: Path) -> None:
        config = json.loads((checkpoint / "processor_config.json").read_text())["processor_kwargs"]
        statistics_ = json.loads((checkpoint / "statistics.json").read_text())[EMBODIMENT]["state"]
        self.keys = config["modality_configs"][EMBODIMENT]["state"]["modality_keys"]
        self.ranges = {key: [np.array(statistics_[key][end]) for end in ("min", "max")] for key in self.keys}
        self.columns = config["max_state_dim"]

    def raw(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(1)
        inside = {key: low + (high - low) * rng.random(low.shape) for key, (low, high) in self.ranges.items()}
        return {key: value.astype(np.float32)[None] for key, value in inside.items()}

    def normalise(self, raw: dict[str, np.ndarray]) -> np.ndarray:
        raw, parts = deepcopy(raw), []
        for key in self.keys:
            low, high = self.ranges[key]
            out, wide = np.zeros_like(raw[key]), ~np.isclose(low, high)
            part = (raw[key][..., wide] - low[wide]) / (high[wide] - low[wide])
            out[..., wide] = part
            out[..., wide] = 2 * out[..., wide] - 1
            parts.append(np.clip(out, -1.0, 1.0))
        state = np.concatenate(parts, -1)
        return np.concatenate([state, np.zeros((1, self.columns - state.shape[1]), np.float32)], -1)


def cases(oracle: Path, inputs: Path) -> dict[str, tuple]:
    """By name: what the reference does, and the bytes of its result. Writes what both sides read."""
    found: dict[str, tuple] = {}

    def saved(text: str) -> np.ndarray:
        image = picture(*size(text))
        (inputs / f"{text}.rgb").write_bytes(image.tobytes())
        return image

    for case in RESAMPLING:
        operation, source, output = case.split("-")
        image = saved(source)
        if operation == "area":
            found[case] = (lambda image=image, output=size(output): area(image, output), lambda out: out.tobytes())
        else:
            pil = Image.fromarray(image)
            found[case] = (lambda pil=pil, output=size(output): bicubic(pil, output), lambda out: out.tobytes())
    for text in TRANSFORMS:
        frame, images = saved(text), Images(*size(text))
        work = lambda frame=frame, images=images: images.views([frame])  # noqa: E731
        found[f"transform-{text}"] = (work, lambda out: out.tobytes())

    frame, images, prompts = saved("640x480"), Images(640, 480), Prompts(oracle / "tokenizer")
    states = States(oracle / "tiny/ckpt")
    raw, tokens = states.raw(), [108, 108]
    kept = prompts.ids(INSTRUCTION, tokens)
    (inputs / "instruction.txt").write_text(INSTRUCTION)
    (inputs / "state.f32").write_bytes(b"".join(raw[key].tobytes() for key in states.keys))
    (inputs / "prompt.json").write_text(json.dumps({
        "before": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        "image": "<image {k}><img>{context}</img>", "context_token": "<IMG_CONTEXT>", "after": "<|im_end|>\n"}))

    def encode(new: bool) -> tuple:
        ids = prompts.ids(INSTRUCTION, tokens) if new else kept
        return images.views([frame, frame]), states.normalise(raw), ids

    def joined(out: tuple) -> bytes:
        return out[0].tobytes() + out[1].tobytes() + out[2].astype(np.int32).tobytes()

    found["encode-new"] = (lambda: encode(True), joined)
    found["encode-kept"] = (lambda: encode(False), joined)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("oracle", type=Path, help="folder with tokenizer/ and tiny/ckpt/")
    parser.add_argument("--ours", type=Path, default=Path("target/release/examples/encode_beside"))
    parser.add_argument("--path", choices=["widest", "portable"], default="widest", help="instructions that ours uses")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--turn", type=int, default=5, help="repetitions of one side before the other's turn")
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        reference = cases(args.oracle, Path(folder))
        checkpoint, tokenizer = args.oracle / "tiny/ckpt", args.oracle / "tokenizer/tokenizer.json"
        command = [args.ours, folder, checkpoint, tokenizer, EMBODIMENT, args.path]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print("| case | reference ms | ours ms | ratio |\n|---|---|---|---|")
        for case, (work, result) in reference.items():
            theirs: list[float] = []
            ours: list[float] = []
            for _ in range(args.rounds):
                for _ in range(args.turn):
                    start = time.perf_counter_ns()
                    out = work()
                    theirs.append(time.perf_counter_ns() - start)
                print(case, args.turn + 1, file=worker.stdin, flush=True)
                crc, *times = map(int, worker.stdout.readline().split())
                # The first run plans and fills caches, as our first cycle does.
                ours.extend(times[1:])
            if crc != zlib.crc32(result(out)):
                print(f"{case}: the results differ", file=sys.stderr)
                return 1
            medians = [statistics.median(side) / 1e6 for side in (theirs, ours)]
            print(f"| {case} | {medians[0]:.3f} | {medians[1]:.3f} | {medians[0] / medians[1]:.1f} |")
        worker.stdin.close()
        return worker.wait()


if __name__ == "__main__":
    sys.exit(main())
