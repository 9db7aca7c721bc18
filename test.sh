#!/usr/bin/env bash
# ./test.sh: set-up once, then every check and test. Exit code 0 when all passed.
#
# Each step's output is in .cache/log/test-<step>.log. A failed step does not keep the next ones from running.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/scripts/lib.sh"
. "$root/scripts/count_tests.sh"
trap 'end_child; exit 130' INT TERM HUP
cd "$root"

cargo_deny_version=0.20.2
steps=() # "name status seconds passed failed skipped"
started=$SECONDS
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0

# --- steps ------------------------------------------------------------------------------------------------------

# step NAME TITLE COUNTER COMMAND...: runs it, COUNTER reads "passed failed skipped" off its log.
step() {
  local name=$1 title=$2 counter=$3 log="$cache/log/test-$1.log" status=0 counts skipped
  shift 3
  printf '%s%s%s\n' "$bold" "$title" "$plain"
  LOG_LINES=60 logged "$title" "$log" "$@" || status=$?
  counts=$("$counter" "$log" "$status")
  skipped=$(grep -aoE '(SKIPPED|SKIPPING):? .*' "$log" | sort -u) || true
  [ -z "$skipped" ] || sed 's/^/  /' <<<"$skipped"
  steps+=("$name $status $took $counts")
  read -r passed failed skipped <<<"$counts"
  [ "$status" -ne 0 ] || say "  ok, $passed passed, $skipped skipped, $(seconds_as_text "$took")"
}

# --- what the steps run -----------------------------------------------------------------------------------------

with_ros() { # the node's generated messages and ROS 2, for cargo
  # shellcheck disable=SC1091
  (. "$root/build/vla_trt/cargo_env.sh" && "$@")
}

with_tensorrt() { # headers of TensorRT, for cargo's feature; what is opened at run time is the tests' stand-in
  local folder
  folder=$("$root/scripts/check_headers.sh" --default-folder) || return 1
  TENSORRT_INCLUDE_DIR=$folder "$@"
}

deny() {
  local tools="$cache/tools"
  PATH="$PATH:$tools/bin"
  if ! command -v cargo-deny >/dev/null; then
    # Unoptimised: it runs for a second, its build takes minutes otherwise.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install "cargo-deny@$cargo_deny_version" --locked --debug --root "$tools" \
      --target-dir "$cache/tools/target"
    rm -rf "$cache/tools/target"
  fi
  cargo deny check bans licenses sources
}

# The tests of the crate, with nextest where it is installed. Arguments: feature flags.
rust_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked "$@"
  else
    cargo test --locked --no-fail-fast --lib --bins --tests "$@" -- --show-output
  fi
}

if cargo nextest --version >/dev/null 2>&1; then count_rust=count_nextest; else count_rust=count_cargo_test; fi

ros_lib_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    with_ros cargo nextest run --locked --features ros --lib -E 'test(/^ros::/)' --no-tests=warn
  else
    with_ros cargo test --locked --features ros --lib -- --show-output ros::
  fi
}

tensorrt_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    with_tensorrt cargo nextest run --locked --features tensorrt --lib --test tensorrt_standin \
      -E 'binary(tensorrt_standin) + test(/^engine::tensorrt/)'
  else
    with_tensorrt cargo test --locked --no-fail-fast --features tensorrt --test tensorrt_standin -- --show-output &&
      with_tensorrt cargo test --locked --no-fail-fast --features tensorrt --lib -- --show-output engine::tensorrt
  fi
}

python_tests() {
  set +u
  . "$root/install/setup.bash"
  set -u
  local folders=()
  for folder in tests/python tests/ros; do [ ! -d "$folder" ] || folders+=("$folder"); done
  PYTHONDONTWRITEBYTECODE=1 "$VLA_TRT_PYTHON" -m pytest -p no:cacheprovider -ra "${folders[@]}"
}

sim_tests() { # the closed loop: physics, rendering, the real node
  set +u
  . "$root/install/setup.bash"
  set -u
  "$root/scripts/setup_sim.sh" &&
    PYTHONDONTWRITEBYTECODE=1 "$cache/sim/bin/python3" -m pytest -p no:cacheprovider -ra tests/sim
}

# --- run --------------------------------------------------------------------------------------------------------

foreground "$root/scripts/setup.sh"
set +u
. "$cache/env.sh"
set -u
for component in fmt clippy; do
  cargo "$component" --version >/dev/null 2>&1 || die "cargo $component is missing." "rustup component add rustfmt clippy"
done

step fmt "Formatting" count_one cargo fmt --check
step deny "Licences and sources of dependencies" count_one deny
step build "colcon build" count_one "$root/scripts/build.sh"
step clippy "Lints" count_one cargo clippy --locked --all-targets -- -D warnings
step clippy-ros "Lints, feature ros" count_one with_ros cargo clippy --locked --all-targets --features ros -- -D warnings
step headers "TensorRT shim against its headers" count_one "$root/scripts/check_headers.sh"
step headers-aarch64 "TensorRT shim for aarch64" count_one "$root/scripts/check_headers.sh" --aarch64
step clippy-tensorrt "Lints, feature tensorrt" count_one \
  with_tensorrt cargo clippy --locked --all-targets --features tensorrt -- -D warnings
RUSTDOCFLAGS="-D warnings" step doc "Documentation" count_one with_ros cargo doc --locked --no-deps --features ros
step rust "Rust tests" "$count_rust" rust_tests
step doctest "Documentation examples" count_cargo_test cargo test --locked --doc
step rust-ros "Rust tests, feature ros" "$count_rust" ros_lib_tests
step rust-tensorrt "Rust tests, feature tensorrt (stand-in)" "$count_rust" tensorrt_tests
step python "Python tests, live node" count_pytest python_tests
step sim "Closed loop in simulation" count_pytest sim_tests

# --- summary ----------------------------------------------------------------------------------------------------

total_passed=0 total_failed=0 total_skipped=0 worst=0
printf '\n%s%-16s %8s %8s %8s %9s%s\n' "$bold" step passed failed skipped seconds "$plain"
for line in "${steps[@]}"; do
  read -r name status seconds passed failed skipped <<<"$line"
  printf '%-16s %8s %8s %8s %9s\n' "$name" "$passed" "$failed" "$skipped" "$seconds"
  total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed)) total_skipped=$((total_skipped + skipped))
  [ "$status" -eq 0 ] || worst=1
done
say "in $(seconds_as_text $((SECONDS - started))); logs in .cache/log"
say "$total_passed passed, $total_failed failed, $total_skipped skipped"
exit "$worst"
