#!/usr/bin/env bash
# safetensors' numpy side writes the values of a transposed array in another order, without an error.
#
# Guess: save_file either writes a non-contiguous array in row-major order, as 0.7.0 does, or refuses it, as the torch
# side does.
# Seen (safetensors 0.8.0, numpy 2.3.4, Linux x86-64): the file has the shape of the transposed array and the values in
# the order of the memory below it, so that loading gives another matrix of the same shape. An array in Fortran order is
# affected as well; np.ascontiguousarray before saving is the remedy. 0.7.0 writes both as they are.
#
# Exit 0: behaves as written above. Exit 1: it no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for version in 0.7.0 0.8.0; do
  python3 -m venv "$version"
  "$version/bin/pip" install --quiet --disable-pip-version-check "safetensors==$version" numpy==2.3.4
done
cat > save.py <<'END'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {"transposed": matrix.T, "fortran": np.asfortranarray(matrix), "copied": np.ascontiguousarray(matrix.T)}
same = {}
for name, array in arrays.items():
    save_file({"w": array}, "w.safetensors")
    loaded = load_file("w.safetensors")["w"]
    same[name] = bool(np.array_equal(loaded, array))
    print(f"safetensors {safetensors.__version__} {name:10}: saved {array.tolist()}, loaded {loaded.tolist()}")
whole = safetensors.__version__ != "0.8.0"
sys.exit(0 if same == {"transposed": whole, "fortran": whole, "copied": True} else 1)
END
for version in 0.7.0 0.8.0; do
  "$version/bin/python" save.py
done
