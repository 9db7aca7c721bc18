#!/usr/bin/env bash
# setup_nvcc.sh: NVIDIA's compiler and disassembler of CUDA kernels, once, in .cache/nvcc, out of wheels of Python's registry (134 MB, 490 MB unpacked): to
# check the kernels of the engine kind cuda where no CUDA is installed. After setup.sh; test.sh calls it.
#
# Only for x86-64 with glibc 2.17: elsewhere, and without the registry, it says so and ends with 1.
#   --nvcc  prints the path of nvcc and ends
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'end_child; exit 130' INT TERM

version=13.5.37
folder="$cache/nvcc/$version"

if [ "${1:-}" = --nvcc ]; then
  say "$folder/nvidia/cu13/bin/nvcc"
  exit 0
fi
[ ! -e "$folder/.complete" ] || [ ! -x "$folder/nvidia/cu13/bin/nvdisasm" ] || exit 0
glibc=$(glibc_version)
if [ "$(uname -m)" != x86_64 ] || ! version_at_least "${glibc:-0}" 2.17; then
  say "These wheels are for x86-64 and glibc 2.17 or newer (this is $(uname -m), glibc ${glibc:-unknown})."
  exit 1
fi
set +u
. "$cache/env.sh"
set -u

fetch() { # the wheels by their hashes, unpacked; each step checks itself: errexit is off behind ||
  local scratch="$cache/nvcc.partial"
  rm -rf "$scratch" || return 1
  mkdir -p "$scratch" "$(dirname "$folder")" || return 1
  cat >"$scratch/requirements.txt" <<REQUIREMENTS || return 1
nvidia-cuda-nvcc==$version --hash=sha256:f5c4f7ead5d964fb4af42bbf1e6d3ec3c1e6e9d83b53749f691d387e7fcaa3a7
nvidia-nvvm==$version --hash=sha256:c41bfa362e407405163f103c2229f0765f8cc2ed7d148b754dc77f228bf7e070
nvidia-cuda-crt==$version --hash=sha256:e898b7f73d3035fa89915a3f7bf3b54a73e90249746111aed295822c4729bb29
nvidia-cuda-runtime==$version --hash=sha256:df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d
nvidia-cuda-nvdisasm==$version --hash=sha256:d3fdbdd49fa53e2e4aacd3db8259d052bd2b049ececdcb69e92e083c6728e7ca
nvidia-cuda-cccl==13.3.5.0.6 --hash=sha256:d5230098fa2df5021e1a00c0c4eee41797671a91119d31e892463e5ccf3ee326
REQUIREMENTS
  "$VLA_TRT_PYTHON" -m pip install --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes --no-compile \
    --target "$scratch/wheels" -r "$scratch/requirements.txt" || return 1
  "$scratch/wheels/nvidia/cu13/bin/nvcc" --version || return 1
  chmod +x "$scratch/wheels/nvidia/cu13/bin/nvdisasm" || return 1
  "$scratch/wheels/nvidia/cu13/bin/nvdisasm" --version || return 1
  touch "$scratch/wheels/.complete" || return 1
  rm -rf "$folder" || return 1
  mv "$scratch/wheels" "$folder" || return 1
  rm -rf "$scratch"
  [ -e "$folder/.complete" ]
}

mkdir -p "$cache/log"
logged "nvcc $version" "$cache/log/nvcc.log" fetch ||
  die "nvcc and nvdisasm could not be fetched." "Run this again; the whole log: .cache/log/nvcc.log"
