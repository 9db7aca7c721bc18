#!/usr/bin/env bash
# setup_dataset.sh: the system packages of the tool's feature `dataset` (videos of LeRobot data sets, docs/datasets.md): FFmpeg's
# development files, with apt-get where that is possible without a password. A second run only looks. test.sh calls it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

packages=(pkg-config libavcodec-dev libavfilter-dev libavformat-dev libavutil-dev libswscale-dev libclang-dev)
oldest=59.37 # libavcodec of FFmpeg 5.1, Debian 12

is_there() {
  command -v pkg-config >/dev/null &&
    pkg-config --exists "libavcodec >= $oldest" libavfilter libavformat libavutil libswscale
}

is_there && exit 0
install=(apt-get install -y --no-install-recommends "${packages[@]}") sudo=()
if [ "$(id -u)" -ne 0 ]; then sudo=(sudo -n); fi
command -v apt-get >/dev/null && { [ ${#sudo[@]} -eq 0 ] || sudo -n true 2>/dev/null; } ||
  die "Missing: FFmpeg's development files, 5.1 or newer." "Install them, then run this again:" "" \
    "  sudo apt-get update && sudo ${install[*]}"
mkdir -p "$cache/log"
say "Installing with apt-get: ${packages[*]}"
# shellcheck disable=SC2016 # "$@" belongs to the inner shell
logged "apt-get" "$cache/log/apt-dataset.log" "${sudo[@]}" sh -c \
  'export DEBIAN_FRONTEND=noninteractive; apt-get update && "$@"' sh "${install[@]}" ||
  die "FFmpeg's development files could not be installed." "Install them by hand: sudo ${install[*]}"
is_there || die "The FFmpeg of this distribution is older than 5.1."
