#!/usr/bin/env bash
# setup_tensorrt_rtx.sh: NVIDIA's TensorRT-RTX for tests that parse and build networks without a GPU, once, in .cache/tensorrt_rtx:
# two libraries out of a wheel of Python's registry (89 MB, 225 MB unpacked). After setup.sh; test.sh calls it.
#
# Only for x86-64 with glibc 2.28: elsewhere, and without the registry, it says so and ends with 1.
#   --folder  prints the folder of the libraries and ends
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'end_child; exit 130' INT TERM

version=1.7.1.116
sha256=68c2615fef1556e7721235682f460f3d78ab89df320a3f34a416367b144817a8
folder="$cache/tensorrt_rtx/$version"

if [ "${1:-}" = --folder ]; then
  say "$folder"
  exit 0
fi
[ ! -e "$folder/.complete" ] || exit 0
glibc=$(glibc_version)
if [ "$(uname -m)" != x86_64 ] || ! version_at_least "${glibc:-0}" 2.28; then
  say "TensorRT-RTX's wheel is for x86-64 and glibc 2.28 or newer (this is $(uname -m), glibc ${glibc:-unknown})."
  exit 1
fi
set +u
. "$cache/env.sh"
set -u

fetch() { # the wheel by its hash, and the libraries out of it; each step checks itself: errexit is off behind ||
  local scratch="$cache/tensorrt_rtx.partial"
  rm -rf "$scratch" || return 1
  mkdir -p "$scratch" "$(dirname "$folder")" || return 1
  say "tensorrt-rtx-cu12-libs==$version --hash=sha256:$sha256" >"$scratch/requirements.txt" || return 1
  "$VLA_TRT_PYTHON" -m pip download --disable-pip-version-check --no-deps --only-binary=:all: --implementation py \
    --platform manylinux_2_28_x86_64 --require-hashes --dest "$scratch" -r "$scratch/requirements.txt" || return 1
  "$VLA_TRT_PYTHON" - "$scratch" <<'PYTHON' || return 1
import pathlib, shutil, sys, zipfile

scratch = pathlib.Path(sys.argv[1])
(wheel,) = scratch.glob("*.whl")
(scratch / "lib").mkdir()
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if ".so" in pathlib.PurePath(name).name:
            with archive.open(name) as source, open(scratch / "lib" / pathlib.PurePath(name).name, "wb") as target:
                shutil.copyfileobj(source, target)
PYTHON
  ls "$scratch/lib/libtensorrt_rtx.so.1" "$scratch/lib/libtensorrt_onnxparser_rtx.so.1" || return 1
  touch "$scratch/lib/.complete" || return 1
  rm -rf "$folder" || return 1
  mv "$scratch/lib" "$folder" || return 1
  rm -rf "$scratch"
  [ -e "$folder/.complete" ]
}

mkdir -p "$cache/log"
logged "TensorRT-RTX $version" "$cache/log/tensorrt_rtx.log" fetch ||
  die "TensorRT-RTX's libraries could not be fetched." "Run this again; the whole log: .cache/log/tensorrt_rtx.log"
