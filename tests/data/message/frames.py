"""Makes the small frames beside this file and prints what Pillow reads from them (goes to frames.txt).

python3 frames.py PATH_TO/aloha_cube.mcap > frames.txt        needs: pillow, numpy, rosbags
"""

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rosbags.highlevel import AnyReader

here = Path(__file__).parent


def camera_frames(bag):
    with AnyReader([Path(bag).parent]) as reader:
        for connection, _, data in reader.messages():
            if connection.msgtype == "sensor_msgs/msg/CompressedImage":
                yield connection.topic, bytes(reader.deserialize(data, connection.msgtype).data)


def describe(name, data):
    image = Image.open(io.BytesIO(data))
    rgb = image.convert("RGB")
    print(f"{name} {rgb.width} {rgb.height} {hashlib.sha256(rgb.tobytes()).hexdigest()}")


frames = list(camera_frames(sys.argv[1]))
camera = next(data for topic, data in frames if "left_wrist" in topic)
(here / "camera.jpg").write_bytes(camera)

y, x = np.mgrid[0:23, 0:37]
colours = np.stack([x * 6.9, y * 11.0, 255 - x * 3 - y * 5], axis=-1) + np.random.default_rng(0).normal(0, 12, (23, 37, 3))
photo = Image.fromarray(colours.clip(0, 255).astype(np.uint8))
grey = photo.convert("L")
alpha = Image.fromarray(np.random.default_rng(1).integers(0, 256, (23, 37), dtype=np.uint8))
saved = {
    "grey.jpg": (grey, {"quality": 80}),
    "progressive_420.jpg": (photo, {"quality": 70, "subsampling": 2, "progressive": True}),
    "baseline_422.jpg": (photo, {"quality": 90, "subsampling": 1}),
    "baseline_444.jpg": (photo, {"quality": 95, "subsampling": 0}),
    "restart.jpg": (photo, {"quality": 85, "subsampling": 1, "restart_marker_blocks": 2}),
    "cmyk.jpg": (photo.convert("CMYK"), {"quality": 80}),
    "rgb.png": (photo, {}),
    "rgba.png": (Image.merge("RGBA", (*photo.split(), alpha)), {}),
    "grey.png": (grey, {}),
    "grey_alpha.png": (Image.merge("LA", (grey, alpha)), {}),
    "palette.png": (photo.quantize(13), {}),
    "palette_transparent.png": (photo.quantize(13), {"transparency": 3}),
    "bits.png": (grey.convert("1"), {}),
    "depth.png": (Image.fromarray(np.arange(37 * 23, dtype=np.uint16).reshape(23, 37) * 70), {}),
}
for name, (image, options) in saved.items():
    image.save(here / name, **options)
# The project refuses the other two.
for name in sorted({"camera.jpg", *saved} - {"cmyk.jpg", "depth.png"}):
    describe(name, (here / name).read_bytes())

every = hashlib.sha256()
for _, data in frames:
    every.update(Image.open(io.BytesIO(data)).convert("RGB").tobytes())
print(f"aloha_cube {len(frames)} 0 {every.hexdigest()}")
