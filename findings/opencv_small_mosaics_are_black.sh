#!/usr/bin/env bash
# OpenCV turns a Bayer mosaic with a side below three pixels into a black picture, without an error.
#
# Guess: a picture that is too small for bilinear interpolation is refused with an exception, as other filters refuse it, or is
# interpolated from the neighbours that there are.
# Seen (opencv-python-headless 4.13.0.92, Linux x86-64): cvtColor and demosaicing return a picture of the right size whose every value is 0,
# for 1, 2 or no rows or columns of neighbours alike. From three by three on, every value is above 0; the border repeats the values of the
# row or column beside it. So a region of interest that is cut too small looks like a dark scene, and not like a fault.
#
# Exit 0: behaves as written above. Exit 1: it no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==4.13.0.92 numpy==2.3.4
"$folder/venv/bin/python" - <<'END'
import sys

import cv2
import numpy as np

seen = {}
for rows, columns in ((2, 2), (2, 64), (64, 2), (1, 8), (3, 3), (3, 64)):
    mosaic = np.full((rows, columns), 200, np.uint8)
    pictures = [cv2.cvtColor(mosaic, cv2.COLOR_BayerBG2RGB), cv2.demosaicing(mosaic, cv2.COLOR_BayerBG2RGB)]
    assert all(picture.shape == (rows, columns, 3) for picture in pictures)
    seen[rows, columns] = [int(picture.max()) for picture in pictures], [int(picture.min()) for picture in pictures]
    print(f"{rows:2} x {columns:2} pixels of 200: values from {seen[rows, columns][1]} to {seen[rows, columns][0]}")
print("OpenCV", cv2.__version__)
small = all(most == [0, 0] for (rows, columns), (most, _) in seen.items() if min(rows, columns) < 3)
large = all(least == [200, 200] == most for (rows, columns), (most, least) in seen.items() if min(rows, columns) >= 3)
sys.exit(0 if small and large else 1)
END
