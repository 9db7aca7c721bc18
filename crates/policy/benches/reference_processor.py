#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Encode time beside the reference: the Python libraries that the vendor's processor calls, and ours, in turns.

    python3 -m venv .cache/reference && .cache/reference/bin/pip install numpy==1.26.4 opencv-python-headless==4.11.0.86 \\
        pillow==12.1.1 albumentations==1.4.18 albucore==0.0.17 transformers==4.51.3 tokenizers==0.21.4 jinja2
    cargo build --release --example encode_beside
    .cache/reference/bin/python benches/reference_processor.py ../shared/oracle

GR00T N1.7, whose processor calls newer libraries, in an environment of its own:

    python3 -m venv .cache/reference_n1d7 && .cache/reference_n1d7/bin/pip install numpy==1.26.4 \\
        opencv-python-headless==4.11.0.86 pillow==12.2.0 albumentations==1.4.18 albucore==0.0.17 torch==2.9.0 \\
        torchvision==0.24.0 transformers==4.57.3 tokenizers==0.22.2 jinja2
    .cache/reference_n1d7/bin/python benches/reference_processor.py ../shared/oracle_n1d7 --family n1d7

Both sides run on one thread of the same core, a few times each before the other has its turn, on pictures that change
from run to run, and their results for every picture must have the same checksum. The reference is the vendor's chain of library calls (albumentations on OpenCV, Pillow, the chat
template by jinja2, transformers' tokenizer, NumPy), with NumPy in the place of torch and without the vendor's own Python
around it: a lower bound. The whole processor takes nearly twice as long (timing.json of the oracle). For N1.7 the last
resize and the normalisation are those of transformers' image processor on torch and torchvision, as in the vendor's.
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
PICTURES = 4
INSTRUCTION = "Pick up the red cube, and place it in the blue bin!"
EMBODIMENT = "new_embodiment"
TRANSFORMS = ["640x480", "424x240", "1280x720", "1920x1080"]
RESAMPLING = ["area-640x480-341x256", "area-323x243-340x256"]


def picture(width: int, height: int, number: int) -> np.ndarray:
    """A scene of gradients and edges, with a camera's noise."""
    y, x = np.mgrid[:height, :width]
    scene = np.stack([160 * x / width, 160 * y / height, 80 + 60 * ((x // 40 + y // 40) % 2)], -1)
    noise = np.random.default_rng(width + number).normal(0, 6, scene.shape)
    return np.clip(scene + noise + 30, 0, 255).astype(np.uint8)


def size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def area(image: np.ndarray, output: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, output, interpolation=cv2.INTER_AREA)


def bicubic(image: Image.Image, output: tuple[int, int]) -> np.ndarray:
    return np.asarray(image.resize(output))


class Images:
    """N1.6's evaluation transform for frames of one size."""

    BICUBIC = "bicubic-340x256-336x252"

    @staticmethod
    def resample(image: np.ndarray, output: tuple[int, int]):
        """What the last resize does, and its result from what it returns."""
        pil = Image.fromarray(image)
        return lambda: bicubic(pil, output), lambda out: out

    def __init__(self, width: int, height: int) -> None:
        shrink = A.SmallestMaxSize(max_size=EDGE, interpolation=cv2.INTER_AREA)
        rows, columns = shrink(image=np.zeros((height, width, 3), np.uint8))["image"].shape[:2]
        crop = A.CenterCrop(int(rows * CROP), int(columns * CROP))
        self.compose = A.Compose([shrink, crop, A.SmallestMaxSize(max_size=EDGE, interpolation=cv2.INTER_AREA)])

    def pixels(self, out: np.ndarray) -> np.ndarray:
        """[views, 3, H, W] of what `views` returns."""
        return out

    def views(self, frames: list[np.ndarray]) -> np.ndarray:
        """Pixels in [-1, 1]."""
        cropped = [self.compose(image=np.array(frame))["image"].transpose(2, 0, 1) for frame in frames]
        images = [Image.fromarray(np.transpose(view, (1, 2, 0))) for view in np.stack(cropped)]
        sides = [[max(FACTOR, round(side / FACTOR) * FACTOR) for side in image.size] for image in images]
        views = [bicubic(image, tuple(side)).transpose(2, 0, 1) for image, side in zip(images, sides)]
        return (np.stack(views).astype(np.float32) - np.float32(127.5)) / np.float32(127.5)


class Images17(Images):
    """N1.7's: the last step is transformers' image processor."""

    BICUBIC = "bicubic-340x256-352x256"

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height)
        import torch
        from transformers import Qwen2VLImageProcessorFast

        torch.set_num_threads(1)
        self.torch = torch
        half = [0.5, 0.5, 0.5]
        self.processor = Qwen2VLImageProcessorFast(
            patch_size=16, temporal_patch_size=2, merge_size=2, min_pixels=65536, max_pixels=16777216, image_mean=half,
            image_std=half)

    @staticmethod
    def resample(image: np.ndarray, output: tuple[int, int]):
        import torch
        from torchvision.transforms.v2 import InterpolationMode, functional

        torch.set_num_threads(1)
        frame = torch.from_numpy(image).permute(2, 0, 1)[None]
        size, mode = list(reversed(output)), InterpolationMode.BICUBIC
        return (lambda: functional.resize(frame, size, mode, antialias=True),
                lambda out: out[0].permute(1, 2, 0).contiguous().numpy())

    def views(self, frames: list[np.ndarray]):
        cropped = [self.torch.from_numpy(self.compose(image=np.array(frame))["image"]).permute(2, 0, 1)
                   for frame in frames]
        return self.processor(images=list(self.torch.stack(cropped)), return_tensors="pt")

    def pixels(self, out) -> np.ndarray:
        views = []
        patches = out["pixel_values"].numpy()
        for _, rows, columns in out["image_grid_thw"].tolist():
            image, patches = patches[: rows * columns], patches[rows * columns:]
            # Groups of 2x2 patches; channel, time, row and column of each.
            image = image.reshape(rows // 2, columns // 2, 2, 2, 3, 2, 16, 16)[:, :, :, :, :, 0]
            views.append(image.transpose(4, 0, 2, 5, 1, 3, 6).reshape(3, 16 * rows, 16 * columns))
        return np.ascontiguousarray(np.stack(views))


class Prompts:
    """Chat template and tokenizer of N1.6."""

    FILE = {
        "before": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        "image": "<image {k}><img>{context}</img>", "context_token": "<IMG_CONTEXT>", "after": "<|im_end|>\n"}

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        if (folder / "chat_template.json").exists():
            template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
        else:
            template = (folder / "chat_template.jinja").read_text()
        self.template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(template)

    def ids(self, instruction: str, tokens: list[int]) -> np.ndarray:
        text = re.sub(r"[^\w\s]", "", instruction.lower())
        content = [{"type": "text", "text": text}, *[{"type": "image", "image": None} for _ in tokens]]
        prompt = self.template.render(messages=[{"role": "user", "content": content}], add_generation_prompt=False)
        for k, count in enumerate(tokens, 1):
            prompt = prompt.replace(f"<image-{k}>", f"<image {k}><img>{'<IMG_CONTEXT>' * count}</img>")
        return self.tokenizer([prompt], return_tensors="np", padding=True)["input_ids"][0]


class Prompts17(Prompts):
    """N1.7's: images come first."""

    FILE = {
        "before": "<|im_start|>user\n", "image": "<|vision_start|>{context}<|vision_end|>",
        "context_token": "<|image_pad|>", "after": "<|im_end|>\n", "images": "before"}

    def ids(self, instruction: str, tokens: list[int]) -> np.ndarray:
        text = re.sub(r"[^\w\s]", "", instruction.lower())
        content = [*[{"type": "image", "image": None} for _ in tokens], {"type": "text", "text": text}]
        prompt = self.template.render(messages=[{"role": "user", "content": content}], add_generation_prompt=False)
        for count in tokens:
            prompt = prompt.replace("<|image_pad|>", "<|placeholder|>" * count, 1)
        prompt = prompt.replace("<|placeholder|>", "<|image_pad|>")
        return self.tokenizer([prompt], return_tensors="np", padding=True)["input_ids"][0]


class States:
    """Ranges of one embodiment's state keys."""

    def __init__(self, checkpoint: Path) -> None:
        config = json.loads((checkpoint / "processor_config.json").read_text())["processor_kwargs"]
        statistics_ = json.loads((checkpoint / "statistics.json").read_text())[EMBODIMENT]["state"]
        self.keys = config["modality_configs"][EMBODIMENT]["state"]["modality_keys"]
        ends = ("q01", "q99") if config["use_percentiles"] else ("min", "max")
        self.ranges = {key: [np.array(statistics_[key][end]) for end in ends] for key in self.keys}
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


# What differs between the families, tokens of a 640x480 frame, and numbers of cameras.
FAMILIES = {"n1d6": (Images, Prompts, 108, [2]), "n1d7": (Images17, Prompts17, 88, [1, 2, 3])}


def cases(oracle: Path, tokenizer: Path, inputs: Path, family: str) -> dict[str, tuple]:
    """By name: what the reference does with a number of a run, the bytes of its result, and numbers for every picture.

    Writes what both sides read.
    """
    images_of, prompts_of, view_tokens, cameras = FAMILIES[family]
    found: dict[str, tuple] = {}

    def saved(text: str, pictures: int) -> list[np.ndarray]:
        images = [picture(*size(text), number) for number in range(pictures)]
        (inputs / f"{text}.rgb").write_bytes(b"".join(image.tobytes() for image in images))
        return images

    for case in [*RESAMPLING, images_of.BICUBIC]:
        operation, source, output = case.split("-")
        image = saved(source, 1)[0]
        if operation == "area":
            work, result = (lambda image=image, output=size(output): area(image, output)), (lambda out: out)
        else:
            work, result = images_of.resample(image, size(output))
        found[case] = (lambda run, work=work: work(), lambda out, result=result: result(out).tobytes(), 1)

    def frames(pictures: list[np.ndarray], run: int, count: int) -> list[np.ndarray]:
        return [pictures[(run * count + camera) % len(pictures)] for camera in range(count)]

    for text in TRANSFORMS:
        pictures, images = saved(text, PICTURES), images_of(*size(text))
        found[f"transform-{text}"] = (
            lambda run, pictures=pictures, images=images: images.views(frames(pictures, run, 1)),
            lambda out, images=images: images.pixels(out).tobytes(), PICTURES)

    pictures, images, prompts = saved("640x480", PICTURES), images_of(640, 480), prompts_of(tokenizer)
    states = States(oracle / "tiny/ckpt")
    raw = states.raw()
    (inputs / "instruction.txt").write_text(INSTRUCTION)
    (inputs / "state.f32").write_bytes(b"".join(raw[key].tobytes() for key in states.keys))
    (inputs / "prompt.json").write_text(json.dumps(prompts_of.FILE))

    def observation(count: int, new: bool) -> tuple:
        tokens = [view_tokens] * count
        kept = prompts.ids(INSTRUCTION, tokens)

        def encode(run: int) -> tuple:
            ids = prompts.ids(INSTRUCTION, tokens) if new else kept
            return images.views(frames(pictures, run, count)), states.normalise(raw), ids

        return encode, lambda out: images.pixels(out[0]).tobytes() + tail(out), PICTURES

    def tail(out: tuple) -> bytes:
        return out[1].tobytes() + out[2].astype(np.int32).tobytes()

    for count in cameras:
        for kind in ("new", "kept"):
            found[f"encode-{count}-{kind}"] = observation(count, kind == "new")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("oracle", type=Path, help="folder with tokenizer/ and tiny/ckpt/")
    parser.add_argument("--family", choices=FAMILIES, default="n1d6")
    parser.add_argument("--vocabulary", type=Path, help="folder with vocab.json and merges.txt of N1.7's tokenizer; "
                        "default: tokenizer/ of the folder oracle beside")
    parser.add_argument("--ours", type=Path, default=Path("target/release/examples/encode_beside"))
    parser.add_argument("--path", choices=["widest", "portable"], default="widest", help="instructions that ours uses")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--turn", type=int, default=5, help="repetitions of one side before the other's turn")
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, tokenizer = args.oracle / "tiny/ckpt", args.oracle / "tokenizer"
        if args.family == "n1d7":
            vocabulary = args.vocabulary or args.oracle.parent / "oracle/tokenizer"
            made = Path(folder) / "tokenizer"
            made.mkdir()
            for file in [*tokenizer.iterdir(), vocabulary / "vocab.json", vocabulary / "merges.txt"]:
                (made / file.name).write_bytes(file.read_bytes())
            tokenizer = made
        reference = cases(args.oracle, tokenizer, Path(folder), args.family)
        command = [args.ours, folder, checkpoint, tokenizer, EMBODIMENT, args.path]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print("| case | reference ms | ours ms | ratio |\n|---|---|---|---|")
        for case, (work, result, runs) in reference.items():
            theirs: list[float] = []
            ours: list[float] = []
            for _ in range(args.rounds):
                for run in range(args.turn):
                    start = time.perf_counter_ns()
                    out = work(run)
                    theirs.append(time.perf_counter_ns() - start)
                print(case, args.turn + 1, file=worker.stdin, flush=True)
                crc, *times = map(int, worker.stdout.readline().split())
                # The first run plans and fills caches, as our first cycle does.
                ours.extend(times[1:])
            expected = 0
            for run in range(runs):
                expected = zlib.crc32(result(work(run)), expected)
            if crc != expected:
                print(f"{case}: the results differ", file=sys.stderr)
                return 1
            medians = [statistics.median(side) / 1e6 for side in (theirs, ours)]
            print(f"| {case} | {medians[0]:.3f} | {medians[1]:.3f} | {medians[0] / medians[1]:.1f} |")
        worker.stdin.close()
        return worker.wait()


if __name__ == "__main__":
    sys.exit(main())
