"""Writes golden.txt: checksums of what the vendor's evaluation transform makes of small generated pictures with the letterbox.

Needs the libraries of the vendor's lock file: numpy 1.26.4, albumentations 1.4.18, albucore 0.0.17,
opencv-python-headless 4.11.0.86, pillow 12.1.1. The transform is that of NVIDIA/Isaac-GR00T, branch n1d6 at 2ce7543
(`gr00t/model/gr00t_n1d6/image_augmentations.py`, `letter_box_transform=True`), which main has had since 1a1837f: pad to a
square with black, SmallestMaxSize, centre crop, SmallestMaxSize (both INTER_AREA), then the backbone's resize to multiples of 28.
Each line: picture, its width and height, shortest edge, crop fraction, side of the output, CRC-32 of the output's RGB bytes,
side that the padding gave, CRC-32 of the padded picture.
"""

import pathlib
import zlib

import albumentations as A
import cv2
import numpy as np
from PIL import Image


def picture(kind, width, height):
    state, data = width * 65536 + height, bytearray()
    for _ in range(3 * width * height):
        state = (state * 1664525 + 1013904223) % 2**32
        data.append(state >> 24 if kind == "noise" else 255 * (state >> 31))
    return np.frombuffer(bytes(data), np.uint8).reshape(height, width, 3)


def pad(image):
    height, width = image.shape[:2]
    side = max(height, width)
    rows, columns = side - height, side - width
    borders = (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
    return image if rows == columns == 0 else cv2.copyMakeBorder(image, *borders, cv2.BORDER_CONSTANT, value=0)


def crop(image, fraction):
    height, width = image.shape[:2]
    kept_height, kept_width = (max(1, int(side * fraction)) for side in (height, width))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return image[top : top + kept_height, left : left + kept_width]


def multiples_of_28(image):
    height, width = image.shape[:2]
    size = [max(28, round(side / 28) * 28) for side in (width, height)]
    assert 4 * 28 * 28 <= size[0] * size[1] <= 4096 * 28 * 28
    return np.array(Image.fromarray(image).resize(size))


FRAMES = [
    # Wider and higher than square, by even and odd numbers of rows, and square.
    (64, 48), (48, 64), (64, 47), (47, 64), (97, 96), (96, 97), (50, 50),
    # Cameras in small, and thin ones.
    (128, 72), (72, 128), (80, 50), (134, 38), (90, 3), (1, 20),
    # A camera as it is.
    (320, 240), (240, 320),
]
TRANSFORMS = [(256, 0.95), (60, 0.95), (112, 1.0), (84, 0.5)]
lines = []
for width, height in FRAMES:
    for edge, fraction in TRANSFORMS:
        resize = A.Compose([A.SmallestMaxSize(max_size=edge, interpolation=cv2.INTER_AREA)])
        for kind in ["noise", "edges"]:
            padded = pad(picture(kind, width, height))
            shrunk = resize(image=padded)["image"]
            result = multiples_of_28(resize(image=np.ascontiguousarray(crop(shrunk, fraction)))["image"])
            crc, crc_padded = (zlib.crc32(image.tobytes()) for image in (result, padded))
            assert result.shape[0] == result.shape[1] and padded.shape[0] == padded.shape[1]
            lines.append(
                f"{kind} {width} {height} {edge} {fraction} {result.shape[0]} {crc:08x} {padded.shape[0]} {crc_padded:08x}\n"
            )
pathlib.Path(__file__).with_name("golden.txt").write_text("".join(lines))
