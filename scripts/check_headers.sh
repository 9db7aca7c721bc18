#!/usr/bin/env bash
# scripts/check_headers.sh [--aarch64] [DIR...]: compiles the TensorRT shim (crates/tensorrt/csrc/) against each folder of headers.
#
# DIR holds NvInfer*.h and NvOnnxParser.h of one version of TensorRT or TensorRT-RTX. Without one: the sets of TensorRT 11.4 and
# TensorRT-RTX 1.3 and 1.7 that the crate trtx-sys carries (scripts/tensorrt_headers). No CUDA toolkit is needed: csrc/cuda
# declares what the headers use of it.
#   --aarch64         with Debian's cross compiler instead; skipped aloud where it is not and cannot be installed
#   --default-folder  prints the folder of TensorRT 11.4's set and ends; --rtx-folder that of TensorRT-RTX 1.7's
# Exit code 0 when every set compiled without a warning.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

flags=(-std=c++17 -Wall -Wextra -Werror -Wno-deprecated-declarations -fvisibility=hidden)

# Fetches the crate's sources where cargo has not got them yet, and prints where that set of its headers is.
default_folder() { # set
  local manifest="$root/scripts/tensorrt_headers/Cargo.toml" platform crate
  platform=$(rustc -vV | sed -n 's/^host: //p')
  crate=$(cargo metadata --locked --format-version 1 --filter-platform "$platform" --manifest-path "$manifest" |
    grep -oE '"manifest_path":"[^"]*/trtx-sys-[^"]*/Cargo.toml"' | head -n 1 | cut -d '"' -f 4) || true
  [ -n "$crate" ] || die "cargo could not fetch the crate trtx-sys, which carries the TensorRT headers." \
    "Is this machine online? Or name a folder with headers: scripts/check_headers.sh DIR"
  say "${crate%/Cargo.toml}/TensorRT-Headers/$1"
}

version_of() { # folder: TensorRT 10.3.0, by the compiler, since some headers define one macro through another
  printf '#include "NvInferVersion.h"\n#ifdef TRT_MAJOR_RTX\nversion TensorRT-RTX NV_TENSORRT_MAJOR NV_TENSORRT_MINOR NV_TENSORRT_PATCH\n#else\nversion TensorRT NV_TENSORRT_MAJOR NV_TENSORRT_MINOR NV_TENSORRT_PATCH\n#endif\n' |
    "$compiler" -x c++ -E -P -I "$1" - | awk '/^version/ {print $2 " " $3 "." $4 "." $5}'
}

cross_compiler() {
  compiler=aarch64-linux-gnu-g++
  command -v "$compiler" >/dev/null && return 0
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo -n)
  if command -v apt-get >/dev/null && "${sudo[@]}" true 2>/dev/null; then
    say "Installing g++-aarch64-linux-gnu with apt-get"
    "${sudo[@]}" sh -c 'export DEBIAN_FRONTEND=noninteractive
      apt-get update && apt-get install -y --no-install-recommends g++-aarch64-linux-gnu' >&2 || true
  fi
  command -v "$compiler" >/dev/null
}

check() { # folder
  local folder=$1 source output
  for header in NvInferVersion.h NvInfer.h NvOnnxParser.h; do
    [ -e "$folder/$header" ] || { say "failed: no $header in $folder"; return 1; }
  done
  for source in "$root"/crates/tensorrt/csrc/tensorrt_*.cc; do
    if ! output=$("$compiler" "${flags[@]}" -I "$root/crates/tensorrt/csrc/cuda" -isystem "$folder" -c "$source" -o "$object" 2>&1); then
      say "$(version_of "$folder") $("$compiler" -dumpmachine): failed, ${source#"$root"/} with $folder"
      head -n 20 <<<"$output"
      return 1
    fi
  done
  say "$(version_of "$folder") $("$compiler" -dumpmachine): ok, $folder"
}

compiler=${CXX:-c++}
folders=()
for argument in "$@"; do
  case $argument in
    --aarch64)
      if ! cross_compiler; then
        say "SKIPPED: the shim for aarch64: install g++-aarch64-linux-gnu"
        exit 0
      fi
      ;;
    --default-folder) default_folder TRT-Enterprise-11.4 && exit 0 ;;
    --rtx-folder) default_folder TRT-RTX-1.7 && exit 0 ;;
    -*) sed -n '2,11s/^# \{0,1\}//p' "$0" && exit 2 ;;
    *) folders+=("$argument") ;;
  esac
done
if [ ${#folders[@]} -eq 0 ]; then
  for set in TRT-Enterprise-11.4 TRT-RTX-1.3 TRT-RTX-1.7; do folders+=("$(default_folder "$set")"); done
fi

object=$(mktemp)
trap 'rm -f "$object"' EXIT
status=0
for folder in "${folders[@]}"; do check "$folder" || status=1; done
exit "$status"
