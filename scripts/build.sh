#!/usr/bin/env bash
# build.sh [PROFILE]: colcon build of the package with the environment of setup.sh.
# Leaves install/ and, with the profile release (the default), target/release/{vla-trt,vla_trt_node}.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
profile=${1:-release}
set +u # ROS 2's setup files read unset variables
. "$cache/env.sh"
set -u

# CMake keeps where it found ROS 2 and where the sources were: a change of either begins anew.
identity="$root $VLA_TRT_ROS"
if [ "$(cat "$root/build/identity" 2>/dev/null)" != "$identity" ]; then
  rm -rf "$root/build" "$root/install"
  mkdir -p "$root/build"
  printf '%s\n' "$identity" >"$root/build/identity"
fi

exec colcon --log-base "$root/log" build --base-paths "$root" --build-base "$root/build" --install-base "$root/install" \
  --packages-select vla_trt --event-handlers console_direct+ console_start_end- status- \
  --cmake-args "-DVLA_TRT_CARGO_PROFILE=$profile" "-DVLA_TRT_CARGO_TARGET_DIR=$root/target"
