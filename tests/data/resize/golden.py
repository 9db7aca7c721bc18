"""Writes golden.txt: checksums of what OpenCV, Pillow and torchvision make of small generated pictures.

Needs numpy, opencv-python-headless 4.11.0.86 and pillow 12.1.1 (the versions that prepared the training data of GR00T N1.6), and
torch 2.9.0 with torchvision 0.24.0 (N1.7) on a CPU with AVX2.
Each line: operation, picture, input width and height, output width and height, CRC-32 of the output's RGB bytes.
Pictures: `noise` takes the bytes of a linear congruential generator, `edges` makes 0 or 255 of them.
"""

import pathlib
import zlib

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode, functional


def picture(kind, width, height):
    state, data = width * 65536 + height, bytearray()
    for _ in range(3 * width * height):
        state = (state * 1664525 + 1013904223) % 2**32
        data.append(state >> 24 if kind == "noise" else 255 * (state >> 31))
    return np.frombuffer(bytes(data), np.uint8).reshape(height, width, 3)


def area(image, size):
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def bicubic(image, size):
    return np.array(Image.fromarray(image).resize(size))


def torchvision(image, size, mode):
    frame = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    return functional.resize(frame, [size[1], size[0]], mode, antialias=True)[0].permute(1, 2, 0).contiguous().numpy()


def torchvision_bicubic(image, size):
    return torchvision(image, size, InterpolationMode.BICUBIC)


def torchvision_bilinear(image, size):
    return torchvision(image, size, InterpolationMode.BILINEAR)


AREA = [
    # Shrinking by any ratio, by whole numbers, by two, by many, and not at all.
    (64, 48, 34, 26), (61, 97, 60, 96), (80, 45, 57, 32), (90, 60, 30, 30), (64, 32, 32, 16), (75, 50, 15, 10),
    (203, 101, 7, 5), (31, 200, 30, 1), (9, 9, 9, 9),
    # Enlarging: where positions are whole numbers, by little, by much, of one pixel.
    (53, 30, 57, 32), (32, 24, 34, 26), (42, 24, 45, 26), (5, 4, 50, 40), (2, 3, 17, 33), (1, 1, 4, 5),
]
BICUBIC = [
    (43, 32, 42, 28), (57, 32, 56, 28), (28, 28, 28, 28), (34, 30, 34, 28), (30, 34, 28, 34), (52, 31, 53, 33),
    (10, 7, 29, 30), (90, 60, 31, 17), (3, 2, 28, 28), (1, 1, 5, 4), (40, 40, 41, 39),
]
# One axis, as N1.7's smart resize mostly does it, and both.
TORCHVISION = [
    (340, 16, 352, 16), (455, 16, 448, 16), (16, 341, 16, 352), (43, 30, 64, 32), (57, 32, 32, 32), (90, 60, 31, 17),
    (64, 48, 23, 23), (23, 23, 25, 25), (3, 2, 28, 28), (1, 1, 5, 4), (200, 9, 10, 9), (40, 40, 40, 40),
]
lines = []
for operation, sizes in [
    (area, AREA), (bicubic, BICUBIC), (torchvision_bicubic, TORCHVISION), (torchvision_bilinear, TORCHVISION)
]:
    for width, height, *size in sizes:
        for kind in ["noise", "edges"]:
            crc = zlib.crc32(operation(picture(kind, width, height), tuple(size)).tobytes())
            lines.append(f"{operation.__name__} {kind} {width} {height} {size[0]} {size[1]} {crc:08x}\n")
pathlib.Path(__file__).with_name("golden.txt").write_text("".join(lines))
