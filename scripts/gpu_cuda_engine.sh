#!/usr/bin/env bash
# gpu_cuda_engine.sh OUT [PART...]: engine kind cuda (docs/engine_cuda.md) on a GPU, GR00T at full size with seeded random weights,
# beside TensorRT and compiled PyTorch in the same run. Writes logs and tables to OUT. FAMILY is n1d6 (default) or n1d7.
#   tests      the suite of engine kinds on the demo policies, the unit tests of the crate, and those of the kernels on the GPU
#   export     checkpoint and two FP16 bundles: whole stages for cuda and PyTorch, groups of eight blocks for TensorRT 8.6, which builds
#              no larger ones (a minute)
#   build      TensorRT's engines, JOBS at a time (default 6); left out where TensorRT is missing
#   accuracy   every stage and the chunks against ONNX Runtime; the parts below need its verdict
#   ready      from the start of the process to the first chunk: first start (algorithms are measured), second start (they are kept)
#   latency    200 inferences three times by turns: cuda, TensorRT; one graph, launch by launch, waiting after each; then PyTorch (MODES:
#              compile-graph, the fastest of scripts/peer_torch.py)
#   same       the sample bag twice, once without programmatic launches, once with frames resampled by the CPU: the same chunks bit by bit
#   frames     encode.device and encode.threads
#   eight      W8A8: the stages' precision set to int8+fp16; verify, bench
#   memory     what the process and the GPU hold; what `plan` says
#   endurance  10,000 inferences; memory of process and GPU every ten seconds
#   sanitize   compute-sanitizer (memcheck, racecheck, initcheck, synccheck) on the demo policy
# Without a PART: all of them.
#
# Needs an NVIDIA GPU, cuBLASLt on the loader's path, ORT_DYLIB_PATH, and the binary that
#   cargo build --release -p vla-trt --features cuda,tensorrt      (nvcc by NVCC or on PATH)
# makes (or VLA_TRT_TOOL naming it elsewhere); for PyTorch python3 with torch, onnx and numpy.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m "${1:?usage: gpu_cuda_engine.sh OUT [PART...]}")
shift
tool=${VLA_TRT_TOOL:-$root/target/release/vla-trt}
work=${VLA_TRT_WORK:-$out/work}
bag=$root/data/aloha_cube params=$root/config/aloha.yaml
family=${FAMILY:-n1d6}
bundle=whole groups=groups
mkdir -p "$out" "$work"
cd "$work" || exit 1

title() { printf '\n## %s\n' "$*"; }
shown() { # the command as a reader would type it, then what it says and its exit code
  local code
  printf '$ %s\n' "$(sed "s#$tool#vla-trt#g; s#$root/##g" <<<"$*")"
  "$@" 2>&1 | grep -vE ' INFO |WARN.* onnx2trt_utils|CUDA lazy loading' | sed "s#$root/##g; s/\x1b\[[0-9;]*m//g"
  code=${PIPESTATUS[0]}
  [ "$code" -eq 0 ] || echo "exit code $code"
  return "$code"
}
policy_of() { echo "--policy $1 --params $params -p engine.kind:=$2"; }
built() { ls "$groups"/engines/*.engine >/dev/null 2>&1; }
seconds() { local begun=$1 ended; ended=$(date +%s%N); echo "$(((ended - begun) / 1000000)) ms"; }
gpu_mib() { nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null | sed -n "s/^$1, *//p"; }

tests() {
  title "Tests"
  (cd "$root" && shown cargo test --release -p vla_cuda --features cuda -- --test-threads 1)
  (cd "$root" && VLA_TRT_TEST_GPU=1 shown cargo test --release -p vla_cuda --features cuda --test kernels -- --test-threads 1)
  (cd "$root" && shown cargo test --release -p vla_trt_tests --features cuda --test engines cuda -- --test-threads 1 --nocapture)
}

export_bundle() {
  title "Checkpoint and bundle"
  [ -e checkpoint/config.json ] || shown "$tool" make-checkpoint --family "$family" --size "${SIZE:-full}" -o checkpoint
  local as=(--checkpoint checkpoint --tokenizer checkpoint/tokenizer --embodiment new_embodiment --camera top=640x480
    --camera left_wrist=640x480 --camera right_wrist=640x480 --step-s 0.02 --max-text-tokens 192 --steps 4 --dtype fp16)
  [ -e "$bundle/policy.yaml" ] || shown "$tool" export "${as[@]}" -o "$bundle"
  [ -e "$groups/policy.yaml" ] || shown "$tool" export "${as[@]}" --blocks-per-engine 8 -o "$groups"
  du -sh checkpoint "$bundle" "$groups"
  wc -c "$bundle"/*.operations.json
}

build() {
  title "TensorRT's engines"
  sed -n 's/^  - name: //p' "$groups/policy.yaml" |
    xargs -P "${JOBS:-6}" -L 1 sh -c '"$0" build "$2" --stages "$3" >"$1/build-$3.log" 2>&1 || echo "SKIPPED: $3 was not built: $(tail -n 1 "$1/build-$3.log")"' \
      "$tool" "$out" "$groups"
}

ready() {
  title "Ready: process start to first chunk, weights in the page cache"
  cat "$bundle"/*.onnx.data >/dev/null
  rm -f "$bundle"/*.tactics.json
  local start begun
  for start in first second third; do
    begun=$(date +%s%N)
    "$tool" bench "$bag" $(policy_of "$bundle" cuda) -n 1 --warm-up 0 >"$out/ready-$start.log" 2>&1 || echo "exit code $?"
    echo "cuda, $start start: $(seconds "$begun")"
  done
  if built; then
    begun=$(date +%s%N)
    "$tool" bench "$bag" $(policy_of "$groups" tensorrt) -n 1 --warm-up 0 >"$out/ready-tensorrt.log" 2>&1 || echo "exit code $?"
    echo "tensorrt: $(seconds "$begun"), builds not counted"
  fi
}

latency() {
  for run in 1 2 3; do
    title "Latency, run $run"
    shown "$tool" bench "$bag" $(policy_of "$bundle" cuda) -p encode.device:=cpu # the same work for all three
    if built; then shown "$tool" bench "$bag" $(policy_of "$groups" tensorrt); else echo "SKIPPED: no TensorRT engines"; fi
  done
  title "Ways of starting a pass"
  shown "$tool" bench "$bag" $(policy_of "$bundle" cuda) --compare-launch
  title "PyTorch on the same networks"
  shown python3 "$root/scripts/peer_torch.py" "$bundle" --steps 4 --samples 200 --dtype fp16 --modes "${MODES:-compile-graph}" --no-check
}

accuracy() {
  title "Against ONNX Runtime"
  shown "$tool" verify "$bundle" --engine-kind cuda --bag "$bag" --params "$params" --observations 2 --scratch "$work"
}

same() {
  title "The same chunks"
  shown "$tool" replay "$bag" $(policy_of "$bundle" cuda) -o first.mcap | tail -n 1
  shown "$tool" replay "$bag" $(policy_of "$bundle" cuda) -o second.mcap --golden first.mcap --tolerance 0 | tail -n 3
  VLA_TRT_CUDA_PROGRAMMATIC=0 shown "$tool" replay "$bag" $(policy_of "$bundle" cuda) -o third.mcap --golden first.mcap --tolerance 0 |
    tail -n 3
  shown "$tool" replay "$bag" $(policy_of "$bundle" cuda) -p encode.device:=cpu -o fourth.mcap --golden first.mcap --tolerance 0 | tail -n 3
}

# encode and the whole cycle, frames resampled by the CPU and by the GPU, by turns; THREADS: numbers of encode.threads
frames() {
  title "Frames"
  for threads in ${THREADS:-1 3 6 12}; do
    for run in 1 2; do
      for device in cpu gpu; do
        shown "$tool" bench "$bag" $(policy_of "$bundle" cuda) -p encode.device:=$device -p encode.threads:=$threads
      done
    done
  done
}

eight() {
  title "Products in 8 bits"
  rm -rf eight
  cp -al "$bundle" eight && rm -f eight/*.provenance.json
  sed -i 's/precision: fp16/precision: int8+fp16/' eight/policy.yaml
  shown "$tool" verify eight --engine-kind cuda --bag "$bag" --params "$params" --observations 2 --scratch "$work"
  for run in 1 2 3; do
    shown "$tool" bench "$bag" $(policy_of eight cuda) -p encode.device:=cpu
    shown "$tool" bench "$bag" $(policy_of "$bundle" cuda) -p encode.device:=cpu
  done
}

memory() {
  title "Memory"
  shown "$tool" plan "$bundle" --engine-kind cuda
  shown "$tool" bench "$bag" $(policy_of "$bundle" cuda) -n 50 --warm-up 5 | tail -n 4
}

endurance() {
  title "10,000 inferences"
  "$tool" bench "$bag" $(policy_of "$bundle" cuda) -n 10000 >"$out/endurance.log" 2>&1 &
  local pid=$!
  echo "seconds, anonymous KiB, device MiB"
  while kill -0 "$pid" 2>/dev/null; do
    echo "$SECONDS, $(sed -n 's/^RssAnon:\s*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null), $(gpu_mib "$pid")"
    sleep 10
  done | tee "$out/endurance.csv"
  wait "$pid"
  echo "exit code $?"
  tail -n 20 "$out/endurance.log"
}

sanitize() {
  title "compute-sanitizer on the demo policy"
  local sanitizer=${COMPUTE_SANITIZER:-compute-sanitizer}
  command -v "$sanitizer" >/dev/null || { echo "SKIPPED: no compute-sanitizer (COMPUTE_SANITIZER, or on PATH)"; return; }
  if [ ! -e demo/policy.yaml ]; then
    shown "$tool" make-checkpoint --family "$family" --size demo -o demo-checkpoint
    shown "$tool" export --checkpoint demo-checkpoint --tokenizer demo-checkpoint/tokenizer --embodiment new_embodiment \
      --camera top=640x480 --camera left_wrist=640x480 --camera right_wrist=640x480 --step-s 0.02 --dtype fp16 -o demo
  fi
  shown "$tool" verify demo --engine-kind cuda --bag "$bag" --params "$params" --observations 1
  for check in memcheck racecheck initcheck synccheck; do
    shown "$sanitizer" --tool "$check" --error-exitcode 9 \
      "$tool" bench "$bag" $(policy_of demo cuda) -p engine.cuda_graph:=false -n 2 --warm-up 0
  done
}

[ $# -gt 0 ] || set -- tests export build accuracy ready latency same frames eight memory endurance sanitize
title "Machine"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || exit 1
uname -r
for part in "$@"; do
  case $part in
    export) export_bundle ;;
    tests | build | ready | latency | accuracy | same | frames | eight | memory | endurance | sanitize) "$part" ;;
    *) echo "no part '$part'" >&2; exit 2 ;;
  esac
done
