"""What is in front of the networks in plain Python, on what the vendor's processor made."""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from sim import bicubic, encoding, family

SHARED = pathlib.Path(os.environ.get("VLA_TRT_SHARED", pathlib.Path(__file__).resolve().parents[3] / "shared"))
TRANSFORMS = SHARED / "oracle_n1d7" / "transforms"
vendor = pytest.mark.skipif(not TRANSFORMS.is_dir(), reason=f"{TRANSFORMS} is not there: the vendor's pictures are beside the repository")


class Words:
    """A tokenizer that gives the text itself."""

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        self.ids = list(text)
        return self


@vendor
def test_n1d7_pictures_are_enlarged_as_the_vendors_to_the_last_bit():
    compared = 0
    for case in json.loads((TRANSFORMS / "manifest.json").read_text())["images"]:
        if case.get("out_equals_s3", True):
            continue
        given, wanted = (np.asarray(Image.open(TRANSFORMS / "images" / f"{case['n']}_{step}.png")) for step in ("s3_resize", "out"))
        found = bicubic.resize(given[None], (wanted.shape[1], wanted.shape[0]))[0]
        assert (found == wanted).all(), case
        compared += 1
    assert compared >= 8


@vendor
def test_the_n1d7_prompt_is_the_vendors():
    for item in json.loads((TRANSFORMS / "tokens.json").read_text())["items"]:
        found = "".join(encoding.prompt(Words(), item["instruction"], 1, family.N1D7))
        assert found == item["prompt_1cam"]


def test_a_picture_of_the_simulated_camera_fills_the_cells_of_each_family():
    image = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), dtype=np.uint8)
    small = encoding.picture(image, 84, (84, 84))
    assert (small == encoding.shrink(image, (84, 84))).all()
    large = encoding.picture(image, 112, (256, 256))
    assert large.shape == (1, 256, 256, 3)
    assert abs(large.mean() - image.mean()) < 1.0
