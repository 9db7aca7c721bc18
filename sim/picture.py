"""Animations of an episode for people: small files."""

import pathlib

from PIL import Image


def save(frames, path, most_bytes=1_000_000):
    """Writes frames [(time, RGB)] as an animation: GIF or WebP, by the name's end."""
    path = pathlib.Path(path)
    pictures = [Image.fromarray(pixels) for _, pixels in frames]
    steps = sorted(later[0] - earlier[0] for earlier, later in zip(frames, frames[1:]))
    duration = round(1000 * steps[len(steps) // 2])  # the usual one: a new episode begins at time 0 again
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        palette = pictures[len(pictures) // 2].quantize(48)
        pictures = [picture.quantize(48, palette=palette, dither=Image.Dither.NONE) for picture in pictures]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, loop=0, optimize=True)
    else:
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, loop=0, quality=60, method=6)
    if path.stat().st_size > most_bytes:
        raise SystemExit(f"{path}: {path.stat().st_size} bytes, at most {most_bytes} wanted; use fewer or smaller frames")
