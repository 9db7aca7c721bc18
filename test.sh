#!/usr/bin/env bash
# ./test.sh [--explore]: set-up once, then every check and test. Exit code 0 when all passed.
#
#   --explore  the property tests and fuzz targets alone, with a fresh seed and more cases; the seed is printed
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

# Headers of TensorRT and TensorRT-RTX, for cargo's feature. What is opened at run time is the tests' stand-ins, and the real
# parser and builder of TensorRT-RTX where setup_tensorrt_rtx.sh got them.
with_tensorrt() {
  local folder rtx
  folder=$("$root/scripts/check_headers.sh" --default-folder) && rtx=$("$root/scripts/check_headers.sh" --rtx-folder) || return 1
  TENSORRT_INCLUDE_DIR=$folder TENSORRT_RTX_INCLUDE_DIR=$rtx VLA_TRT_TEST_RTX=$rtx_libraries "$@"
}

# Cargo on every package with every feature: one set of artifacts for lints, documentation and tests.
everything() {
  local command=$1
  shift
  with_ros with_tensorrt cargo "$command" --locked --workspace --features "$features" "$@"
}

# The same without features. The workspace as a whole, always: with other packages chosen, cargo gives shared dependencies
# other features and compiles them again.
without_tensorrt() {
  local command=$1
  shift
  with_ros cargo "$command" --locked --workspace "$@"
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
  cargo deny --all-features check bans licenses sources
}

# The database of advisories changes by the day and comes from the network: where it is not reachable, this says so.
advisories() {
  local log status=0
  PATH="$PATH:$cache/tools/bin"
  log=$(timeout 120 cargo deny --all-features check advisories 2>&1) || status=$?
  printf '%s\n' "$log"
  [ "$status" -ne 0 ] || return 0
  if grep -qE 'failed to fetch advisory database|failed to (open|clone|fetch)' <<<"$log" || [ "$status" -eq 124 ]; then
    say "SKIPPED: the database of advisories is not reachable"
    return 0
  fi
  return "$status"
}

# The oldest Rust that Cargo.toml promises: by metadata, and compiled where that toolchain is installed. clippy's
# incompatible_msrv looks at our own code.
msrv() {
  local oldest
  oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  python3 "$root/scripts/check_msrv.py" || return 1
  if rustup toolchain list 2>/dev/null | grep -q "^$oldest"; then
    cargo "+$oldest" check --locked --target-dir "$root/target/msrv"
  else
    say "not compiled with Rust $oldest: rustup toolchain install $oldest"
  fi
}

if cargo nextest --version >/dev/null 2>&1; then
  count_rust=count_nextest
  rust_tests() { with_ros with_tensorrt cargo nextest run --locked --workspace --features "$features"; }
  rust_tests_without_tensorrt() {
    with_ros cargo nextest run --locked --workspace --test tool -E 'test(/^(build_command|verify|doctor|cuda_kind)::/)'
  }
else
  count_rust=count_cargo_test
  rust_tests() { everything test --no-fail-fast --lib --bins --tests -- --show-output; }
  rust_tests_without_tensorrt() {
    without_tensorrt test --test tool --no-fail-fast -- --show-output build_command:: verify:: doctor:: cuda_kind::
  }
fi

explore() {
  local seed
  seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
  say "PROPTEST_RNG_SEED=$seed"
  PROPTEST_RNG_SEED=$seed PROPTEST_CASES=${PROPTEST_CASES:-2000} rust_tests
}

python_tests() { # in parallel, then those that need the machine to themselves
  set +u
  . "$root/install/setup.bash"
  set -u
  local pytest=("$VLA_TRT_PYTHON" -m pytest -p no:cacheprovider -ra tests/python tests/ros)
  local status=0
  PYTHONDONTWRITEBYTECODE=1 "${pytest[@]}" -n 4 --dist loadfile -m "not alone" || status=$?
  PYTHONDONTWRITEBYTECODE=1 "${pytest[@]}" -m alone || status=$?
  return "$status"
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

# Videos of data sets need FFmpeg's development files; where they cannot be installed, the rest is tested.
features=tensorrt,cuda,dataset
if ! foreground "$root/scripts/setup_dataset.sh"; then
  features=tensorrt,cuda
  say "SKIPPED: videos of data sets: FFmpeg's development files are missing and could not be installed"
fi

# The real parser and builder of TensorRT-RTX run without a GPU.
rtx_libraries=''
if foreground "$root/scripts/setup_tensorrt_rtx.sh"; then
  rtx_libraries=$("$root/scripts/setup_tensorrt_rtx.sh" --folder)
else
  say "SKIPPED: builds with TensorRT-RTX's own parser and builder: its libraries are not here"
fi

# The compiler of CUDA kernels needs no GPU either.
foreground "$root/scripts/setup_nvcc.sh" || say "SKIPPED: nvcc could not be fetched"

case "${1:-}" in
  --explore)
    [ -e "$root/build/vla_trt/cargo_env.sh" ] || step build "colcon build" count_one "$root/scripts/build.sh"
    step explore "Property tests, fresh seed" "$count_rust" explore
    ;;
  "")
    step fmt "Formatting" count_one cargo fmt --all --check
    step deny "Licences and sources of dependencies" count_one deny
    step advisories "Advisories of dependencies" count_one advisories
    step msrv "Oldest Rust" count_one msrv
    step headers "TensorRT shim against its headers" count_one "$root/scripts/check_headers.sh"
    step kernels "CUDA kernels by nvcc" count_one "$root/scripts/check_kernels.sh" --registers 87 90
    step headers-aarch64 "TensorRT shim for aarch64" count_one "$root/scripts/check_headers.sh" --aarch64
    step build "colcon build" count_one "$root/scripts/build.sh"
    step clippy "Lints" count_one everything clippy --all-targets -- -D warnings
    step clippy-plain "Lints, without TensorRT" count_one without_tensorrt clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" step doc "Documentation" count_one everything doc --no-deps
    step rust "Rust tests" "$count_rust" rust_tests
    step rust-plain "Rust tests, without TensorRT" "$count_rust" rust_tests_without_tensorrt
    step doctest "Documentation examples" count_cargo_test everything test --doc
    step python "Python tests, live node" count_pytest python_tests
    step sim "Closed loop in simulation" count_pytest sim_tests
    ;;
  *) die "unknown argument: $1" "./test.sh [--explore]" ;;
esac

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
