#!/usr/bin/env bash
# setup_sim.sh: the closed loop's simulator (sim/), once, in .cache/sim: MuJoCo and gym-aloha's models from Python's
# registry, Mesa's software renderer from Debian's. After setup.sh; demo.sh and test.sh call it.
#
# Leaves .cache/sim/bin/python3, which sees ROS 2's Python modules too. Remove .cache/sim to begin anew.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'end_child; exit 130' INT TERM
set +u
. "$cache/env.sh"
set -u

# Its models are all that is used of it; what it would bring with it (gym, dm-control, ffmpeg) is not.
models=gym-aloha==0.1.5
venv="$cache/sim"
requirements="$root/scripts/sim_requirements.txt"

has_osmesa() { # rendering without a screen or a GPU
  [ -n "${MUJOCO_GL:-}" ] || ldconfig -p | grep -q libOSMesa
}

install_osmesa() {
  local install=(apt-get install -y --no-install-recommends libosmesa6) sudo=()
  command -v apt-get >/dev/null || die "libOSMesa is missing: the simulator renders with it." \
    "Install what your distribution calls it, or set MUJOCO_GL=egl where EGL works, then run this again."
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || die "Missing system package: libosmesa6" \
      "Install it, then run this again: sudo apt-get install libosmesa6"
    sudo=(sudo -n)
  fi
  # shellcheck disable=SC2016 # "$@" belongs to the inner shell
  logged "apt-get" "$cache/log/apt-sim.log" "${sudo[@]}" sh -c \
    'export DEBIAN_FRONTEND=noninteractive; apt-get update && "$@"' sh "${install[@]}" ||
    die "libosmesa6 could not be installed." "Install it by hand, then run this again: sudo apt-get install libosmesa6"
}

make_venv() {
  local seen
  rm -rf "$venv"
  "$VLA_TRT_PYTHON" -m venv "$venv" || return 1
  # ROS 2's modules, and its numpy before any other.
  seen=$("$VLA_TRT_PYTHON" -c 'import site, sys; print("\n".join(p for p in sys.path if p.endswith("-packages")))') || return 1
  say "$seen" >"$(echo "$venv"/lib/python3*/site-packages)/ros.pth"
  "$venv/bin/python3" -m pip install --disable-pip-version-check -r "$requirements" || return 1
  "$venv/bin/python3" -m pip install --disable-pip-version-check --no-deps "$models"
}

identity=$(cat "$requirements" "${BASH_SOURCE[0]}" <(say "$VLA_TRT_PYTHON") | sha256sum)
has_osmesa || install_osmesa
[ "$(cat "$venv/.complete" 2>/dev/null)" != "$identity" ] || exit 0
mkdir -p "$cache/log"
logged "Simulator" "$cache/log/sim.log" make_venv ||
  die "The simulator's Python packages could not be installed." "The whole log: .cache/log/sim.log. Run this again."
say "$identity" >"$venv/.complete"
