#!/usr/bin/env bash
# setup.sh: everything that building and running need, once; a second run only looks. demo.sh and test.sh call it.
#
#   1. cargo, at least the rust-version of Cargo.toml (never installed for you)
#   2. system packages, with apt-get where that is possible without a password
#   3. ROS 2: the sourced one, else /opt/ros/jazzy or humble, else Jazzy out of Python wheels in .cache/ros
#   4. ONNX Runtime's library out of its Python wheel, in .cache/onnxruntime, or the one ORT_DYLIB_PATH names
#   5. the crates of Cargo.lock
#
# Leaves .cache/env.sh, which sets the environment of all this. Remove .cache to begin anew.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'end_child; exit 130' INT TERM

onnxruntime_version=1.32.0
disk_needed_gib=${VLA_TRT_DISK_GIB:-8} # empty caches; a complete set-up and build of both profiles

mkdir -p "$cache/log"
exec 9>"$cache/lock"
if ! flock -n 9; then
  say "Another setup is running in this checkout; waiting for it."
  flock 9
fi

# --- 1. cargo ---------------------------------------------------------------------------------------------------

check_cargo() {
  [ -n "$(command -v cargo)" ] || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
  local wanted found
  wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$root/Cargo.toml")
  command -v cargo >/dev/null || die "cargo is missing: vla_trt is built with Rust $wanted or newer." \
    "Install Rust with rustup (https://rustup.rs), open a new shell, and run this again." \
    "The distribution's own cargo package is usually too old."
  found=$(cd "$root" && cargo --version 2>/dev/null | awk '{print $2}') || true
  version_at_least "${found:-0}" "$wanted" || die "cargo is ${found:-unusable}, vla_trt needs Rust $wanted or newer." \
    "With rustup: rustup update stable && rustup default stable" "Then run this again."
}

# --- 2. system packages -----------------------------------------------------------------------------------------

# The Python that the wheels are made for: the system's, else any of these versions.
wheel_python() {
  local candidate
  for candidate in /usr/bin/python3 python3.12 python3.13 python3.11 python3.10 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
}

has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return
  # The library, and the compiler's own headers that go with it.
  compgen -G '/usr/lib*/llvm*/lib*/libclang*.so*' >/dev/null && compgen -G '/usr/lib*/llvm*/lib*/clang/*/include/stddef.h' >/dev/null
}

has_python() { # module or header: venv, ensurepip, Python.h
  case $1 in
    Python.h) "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ;;
    *) "$python" -c "import $1" ;;
  esac 2>/dev/null
}

# Names of the Debian packages that are not there, judged by what they give.
missing_packages() {
  local python=$1 packages=() of_python=python3
  case $python in
    '' | /usr/bin/python3) ;;
    *) of_python=$(basename "$python") ;;
  esac
  { [ -n "$python" ] && has_python venv && has_python ensurepip; } || packages+=("$of_python-venv")
  { [ -n "$python" ] && has_python Python.h; } || packages+=("$of_python-dev")
  command -v cmake >/dev/null || packages+=(cmake)
  command -v g++ >/dev/null || packages+=(g++)
  command -v make >/dev/null || packages+=(make)
  has_libclang || packages+=(libclang-dev)
  command -v nasm >/dev/null || packages+=(nasm)
  [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || [ -n "${SSL_CERT_FILE:-}" ] ||
    packages+=(ca-certificates)
  say "${packages[*]:-}"
}

install_packages() { # the names
  local install=(apt-get install -y --no-install-recommends "$@") sudo=()
  if ! command -v apt-get >/dev/null; then
    die "Missing on this machine, by their Debian names: $*" \
      "Install what your distribution calls them, then run this again."
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      die "Missing system packages: $*" "Install them, then run this again:" "" \
        "  sudo apt-get update && sudo ${install[*]}"
    fi
    sudo=(sudo -n)
  fi
  say "Installing with apt-get: $*"
  # shellcheck disable=SC2016 # "$@" belongs to the inner shell
  logged "apt-get" "$cache/log/apt.log" "${sudo[@]}" sh -c \
    'export DEBIAN_FRONTEND=noninteractive; apt-get update && "$@"' sh "${install[@]}" ||
    die "The system packages could not be installed." "Install them by hand, then run this again: sudo ${install[*]}"
}

check_packages() {
  local missing
  missing=$(missing_packages "$1")
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086 # one word each
  install_packages $missing
}

check_cmake() {
  local found
  found=$(cmake --version | awk 'NR==1 {print $3}')
  version_at_least "$found" 3.21 || die "cmake is $found, 3.21 or newer is needed." "Install a newer cmake and run this again."
}

# --- 3. ROS 2 ---------------------------------------------------------------------------------------------------

# AMENT_PREFIX_PATH without what this checkout made itself.
foreign_prefixes() {
  tr ':' '\n' <<<"${AMENT_PREFIX_PATH:-}" | while read -r prefix; do
    case $prefix in '' | "$root"/*) ;; *) say "$prefix" ;; esac
  done
}

# Sets ros_kind (sourced, installed, wheels), ros_distro and ros_prefixes (a prefix a line).
find_ros() {
  local prefix distro
  ros_prefixes=$(foreign_prefixes)
  while read -r prefix; do
    if [ -n "$prefix" ] && [ -d "$prefix/share/rcl" ]; then
      ros_kind=sourced ros_distro=${ROS_DISTRO:-}
      return
    fi
  done <<<"$ros_prefixes"
  for distro in jazzy humble; do
    if [ -e "/opt/ros/$distro/setup.bash" ]; then
      ros_kind=installed ros_distro=$distro ros_prefixes=/opt/ros/$distro
      return
    fi
  done
  ros_kind=wheels ros_distro=jazzy ros_prefixes="$cache/ros"
}

# What the node is built from and the demo runs with; ros-<distro>-ros-base brings all of it.
ros_packages='ament_cmake rosidl_default_generators rclpy rcl rcl_action rcl_yaml_param_parser rmw_implementation
  action_msgs builtin_interfaces diagnostic_msgs geometry_msgs lifecycle_msgs nav_msgs rcl_interfaces rosgraph_msgs
  sensor_msgs std_msgs std_srvs trajectory_msgs unique_identifier_msgs'

check_ros_packages() {
  local package prefix found missing=()
  case $ros_distro in
    jazzy | humble) ;;
    *) say "Note: ROS 2 '$ros_distro' is sourced; vla_trt is written for jazzy and humble. Going on with it." ;;
  esac
  for package in $ros_packages; do
    found=''
    while read -r prefix; do
      [ ! -d "$prefix/share/$package" ] || found=1
    done <<<"$ros_prefixes"
    [ -n "$found" ] || missing+=("ros-$ros_distro-${package//_/-}")
  done
  [ ${#missing[@]} -eq 0 ] || die "The ROS 2 in $(tr '\n' ' ' <<<"$ros_prefixes")lacks packages that vla_trt needs." \
    "Install them, then run this again:" "" "  sudo apt-get install ${missing[*]}"
}

# The Python of a ROS 2 that is there: the version that its rclpy is built for.
ros_python() {
  local prefix folder version
  while read -r prefix; do
    for folder in "$prefix"/lib/python3*/site-packages/rclpy "$prefix"/local/lib/python3*/dist-packages/rclpy; do
      [ -d "$folder" ] || continue
      version=$(sed -E 's#.*/(python3[.0-9]*)/.*#\1#' <<<"$folder")
      if [ -x "$prefix/bin/python3" ]; then say "$prefix/bin/python3"; else command -v "/usr/bin/$version" "$version" | head -n 1; fi
      return
    done
  done <<<"$ros_prefixes"
}

# Python modules beside the ROS 2 that is there, in a virtual environment that sees its modules too.
make_venv() { # python
  local venv="$cache/venv" colcon=() seen
  seen=$("$1" -c 'import site; print("\n".join(site.getsitepackages()))')
  rm -rf "$venv"
  logged "Python environment" "$cache/log/venv.log" "$1" -m venv --system-site-packages "$venv" ||
    die "The virtual environment .cache/venv could not be made with $1."
  # A ROS 2 that lives in a virtual environment itself is not a system site.
  say "$seen" >"$(echo "$venv"/lib/python3*/site-packages)/ros.pth"
  command -v colcon >/dev/null || colcon=(colcon-common-extensions==0.3.0)
  logged "Python packages" "$cache/log/venv.log" "$venv/bin/python" -m pip install --disable-pip-version-check \
    -r "$root/scripts/requirements.txt" "${colcon[@]}" ||
    die "The Python packages of scripts/requirements.txt could not be installed." "Run this again."
  touch "$venv/.complete"
}

make_wheels_prefix() { # python
  local machine glibc
  machine=$(uname -m)
  glibc=$(glibc_version)
  [ "$machine" = x86_64 ] || die "There is no ROS 2 here, and ROS 2's Python wheels exist for x86_64 only (this is $machine)." \
    "Install ROS 2 Jazzy or Humble (ros-base), source its setup.bash, and run this again."
  version_at_least "${glibc:-0}" 2.28 || die "There is no ROS 2 here, and ROS 2's Python wheels need glibc 2.28 or newer (found ${glibc:-another libc})." \
    "Install ROS 2 Jazzy or Humble (ros-base), source its setup.bash, and run this again."
  [ -n "$1" ] || die "There is no ROS 2 here, and ROS 2's Python wheels need Python 3.10 to 3.13." \
    "Install one of these versions, or a ROS 2, and run this again."
  [ -e "$cache/ros/.complete" ] || say "No ROS 2 is sourced or under /opt/ros: making ROS 2 Jazzy out of Python wheels in .cache/ros (320 MB)."
  logged "ROS 2 Jazzy from wheels" "$cache/log/ros.log" \
    "$root/scripts/make_ros_prefix.sh" "$cache/ros" "$1" ||
    die "ROS 2 could not be made out of its wheels." "Run this again; or install ROS 2 Jazzy or Humble and source it."
}

# Message packages that are on no registry, for tests and demo: those that the ROS 2 here lacks (tests/ros/interfaces).
make_interfaces() {
  local package prefix found missing=() interfaces="$cache/interfaces"
  for package in control_msgs tf2_msgs; do
    found=''
    while read -r prefix; do
      [ ! -d "$prefix/share/$package" ] || found=1
    done <<<"$ros_prefixes"
    [ -n "$found" ] || missing+=("$package")
  done
  rm -rf "$interfaces"
  [ ${#missing[@]} -gt 0 ] || return 0
  logged "Message packages for tests: ${missing[*]}" "$cache/log/interfaces.log" build_interfaces "$interfaces" "${missing[@]}" ||
    die "The message packages in tests/ros/interfaces could not be built."
}

build_interfaces() { # folder package...
  local folder=$1
  shift
  mkdir -p "$folder"
  touch "$folder/COLCON_IGNORE"
  (
    set +u
    # shellcheck disable=SC1091
    . "$cache/env.sh"
    colcon --log-base "$folder/log" build --base-paths "$root/tests/ros/interfaces" --build-base "$folder/build" \
      --install-base "$folder/install" --merge-install --packages-select "$@"
  ) || return 1
  rm -rf "$folder/build" "$folder/log"
}

# --- 4. ONNX Runtime --------------------------------------------------------------------------------------------

# The library out of the wheel, whatever Python runs here: the library itself knows nothing of Python.
# Each step says that it failed: what is called in front of `||` runs without errexit, and its functions too.
fetch_onnxruntime() { # python with pip, target file
  local scratch="$cache/onnxruntime.partial"
  rm -rf "$scratch"
  mkdir -p "$scratch" "$(dirname "$2")"
  "$1" -m pip download --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp --python-version 3.12 \
    --platform "manylinux_2_28_$(uname -m)" --platform "manylinux_2_27_$(uname -m)" \
    --dest "$scratch" "onnxruntime==$onnxruntime_version" || return 1
  "$1" - "$scratch" <<'PYTHON' || return 1
import pathlib, sys, zipfile

scratch = pathlib.Path(sys.argv[1])
(wheel,) = scratch.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    # Named with its version, and in some releases once more without.
    (name, *_) = [n for n in archive.namelist() if n.startswith("onnxruntime/capi/libonnxruntime.so")]
    (scratch / "libonnxruntime.so").write_bytes(archive.read(name))
PYTHON
  mv "$scratch/libonnxruntime.so" "$2" || return 1
  rm -rf "$scratch"
}

check_onnxruntime() { # python; sets ort_library
  if [ -n "${ORT_DYLIB_PATH:-}" ]; then
    [ -e "$ORT_DYLIB_PATH" ] || die "ORT_DYLIB_PATH names $ORT_DYLIB_PATH, which does not exist." \
      "Unset it to have ONNX Runtime $onnxruntime_version fetched, or correct it."
    ort_library=$ORT_DYLIB_PATH
    return
  fi
  ort_library="$cache/onnxruntime/$onnxruntime_version/libonnxruntime.so"
  [ -e "$ort_library" ] || logged "ONNX Runtime $onnxruntime_version" "$cache/log/onnxruntime.log" \
    fetch_onnxruntime "$1" "$ort_library" || die "ONNX Runtime's library could not be fetched." \
    "Run this again; or point ORT_DYLIB_PATH to a libonnxruntime.so of your own (1.20 or newer)."
}

# --- 5. crates --------------------------------------------------------------------------------------------------

fetch_crates() {
  local done="$cache/crates.sha256"
  sha256sum --status -c "$done" 2>/dev/null && return
  logged "Rust crates" "$cache/log/crates.log" cargo fetch --locked --manifest-path "$root/Cargo.toml" \
    --target "$(uname -m)-unknown-linux-gnu" ||
    die "The Rust crates could not be fetched." "Run this again: what was downloaded is kept."
  sha256sum "$root/Cargo.lock" >"$done"
}

# --- all of it --------------------------------------------------------------------------------------------------

check_disk() {
  [ ! -e "$cache/env.sh" ] || return 0 # caches are filled
  local free_gib
  free_gib=$(($(df -Pk "$root" | awk 'NR==2 {print $4}') / 1024 / 1024))
  [ "$free_gib" -ge "$disk_needed_gib" ] || die "The disk of $root has $free_gib GiB free, a first build needs $disk_needed_gib GiB." \
    "Free some space, or clone to another disk, and run this again."
}

write_env() { # python
  local temporary="$cache/env.sh.partial"
  {
    say "# Generated by scripts/setup.sh; source it. ROS 2 $ros_distro ($ros_kind)."
    case $ros_kind in
      sourced) say "# ROS 2 was sourced already: $(tr '\n' ':' <<<"$ros_prefixes")" ;;
      installed) say ". /opt/ros/$ros_distro/setup.bash" ;;
      wheels) say ". '$cache/ros/setup.bash'" ;;
    esac
    [ ! -d "$cache/interfaces/install" ] || say ". '$cache/interfaces/install/setup.bash'"
    say "export ORT_DYLIB_PATH='$ort_library'"
    say "export VLA_TRT_PYTHON='$1'"
    say "export VLA_TRT_ROS='$ros_kind $ros_distro $(tr '\n' ':' <<<"$ros_prefixes")'"
    [ "$ros_kind" = wheels ] || say "command -v colcon >/dev/null || export PATH=\"\$PATH:$cache/venv/bin\""
    say "command -v cargo >/dev/null || export PATH=\"\$PATH:$(dirname "$(command -v cargo)")\""
  } >"$temporary"
  mv "$temporary" "$cache/env.sh"
}

main() {
  local key python started=$SECONDS
  # Our own library, from an env.sh that is sourced already, is no wish of the user's.
  case ${ORT_DYLIB_PATH:-} in "$cache"/*) unset ORT_DYLIB_PATH ;; esac
  check_cargo
  check_disk
  find_ros
  if [ "$ros_kind" = wheels ]; then python=$(wheel_python); else python=$(ros_python); fi
  [ "$ros_kind" = wheels ] || [ -n "$python" ] || die "The ROS 2 in $(tr '\n' ' ' <<<"$ros_prefixes")has no rclpy." \
    "Install ros-$ros_distro-ros-base, then run this again."
  check_packages "$python"
  [ -n "$python" ] || python=$(wheel_python) # apt-get may have brought it

  # Unchanged since the last complete run: only the files are looked at.
  key=$(cat "$root"/scripts/{setup.sh,make_ros_prefix.sh,ros_wheels.txt,requirements.txt} \
    <(find "$root/tests/ros/interfaces" -type f | sort | xargs cat) <(say "$root $ros_kind $ros_prefixes $python ${ORT_DYLIB_PATH:-}") | sha256sum)
  if [ -e "$cache/env.sh" ] && [ "$(cat "$cache/setup.key" 2>/dev/null)" = "$key" ] && setup_is_whole; then
    fetch_crates
    return
  fi

  rm -f "$cache/setup.key"
  check_cmake
  if [ "$ros_kind" = wheels ]; then
    make_wheels_prefix "$python"
    python="$cache/ros/bin/python3"
  else
    check_ros_packages
    make_venv "$python"
    python="$cache/venv/bin/python3"
  fi
  check_onnxruntime "$python"
  write_env "$python"
  make_interfaces
  write_env "$python"
  fetch_crates
  say "$key" >"$cache/setup.key"
  say "Set up in $(seconds_as_text $((SECONDS - started))): ROS 2 $ros_distro ($ros_kind), ONNX Runtime in ${ort_library#"$root"/}"
  say "In each shell: source $cache/env.sh"
}

setup_is_whole() {
  local ORT_DYLIB_PATH VLA_TRT_PYTHON
  eval "$(grep -E '^export (ORT_DYLIB_PATH|VLA_TRT_PYTHON)=' "$cache/env.sh")"
  [ -e "$ORT_DYLIB_PATH" ] && [ -x "$VLA_TRT_PYTHON" ] && [ -e "$(dirname "$VLA_TRT_PYTHON")/../.complete" ]
}

main
