"""Writes golden.txt: checksums of Bayer mosaics that OpenCV turned to RGB and of JPEG frames that Pillow turned upright.

Needs numpy, opencv-python-headless 4.13.0.90 and pillow 13.0.0.
Lines `bayer PATTERN PICTURE WIDTH HEIGHT CRC`: the CRC-32 of the RGB bytes. Pictures: `noise` takes the bytes of a linear
congruential generator, `edges` makes 0 or 255 of them. The patterns are ROS's names; the codes are those of cv_bridge.
Lines `exif ORIENTATION FILE WIDTH HEIGHT CRC`: a frame of ../message with an EXIF segment put behind its start marker.
"""

import io
import pathlib
import zlib

import cv2
import numpy as np
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
CODES = {
    "rggb": cv2.COLOR_BayerBG2RGB, "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB, "grbg": cv2.COLOR_BayerGB2RGB,
}
# The smallest, odd and even sides, and rows longer than OpenCV's vectors.
SIZES = [(3, 3), (4, 3), (3, 4), (5, 7), (8, 6), (33, 7), (34, 8), (35, 9), (64, 17), (65, 16), (129, 33), (200, 5)]
FRAMES = ["baseline_422.jpg", "grey.jpg", "progressive_420.jpg"]


def mosaic(kind, width, height):
    state, data = width * 65536 + height, bytearray()
    for _ in range(width * height):
        state = (state * 1664525 + 1013904223) % 2**32
        data.append(state >> 24 if kind == "noise" else 255 * (state >> 31))
    return np.frombuffer(bytes(data), np.uint8).reshape(height, width)


def with_orientation(data, orientation):
    exif = b"Exif\0\0" + b"MM\0*" + bytes([0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0])
    return data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]


lines = []
for pattern, code in CODES.items():
    for width, height in SIZES:
        for kind in ["noise", "edges"]:
            rgb = cv2.demosaicing(mosaic(kind, width, height), code)
            assert (rgb == cv2.cvtColor(mosaic(kind, width, height), code)).all()
            lines.append(f"bayer {pattern} {kind} {width} {height} {zlib.crc32(rgb.tobytes()):08x}\n")
for orientation in range(1, 9):
    for name in FRAMES:
        data = with_orientation((HERE.parent / "message" / name).read_bytes(), orientation)
        rgb = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        lines.append(f"exif {orientation} {name} {rgb.width} {rgb.height} {zlib.crc32(rgb.tobytes()):08x}\n")
(HERE / "golden.txt").write_text("".join(lines))
