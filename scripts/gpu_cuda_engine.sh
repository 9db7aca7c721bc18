#!/usr/bin/env bash
# gpu_cuda_engine.sh OUT [PART...]: engine kind cuda (docs/engine_cuda.md) on a GPU, GR00T at full size with seeded random weights,
# beside TensorRT and compiled PyTorch in the same run. Writes logs and tables to OUT. FAMILY is n1d6 (default) or n1d7.
#   tests      the suite of engine kinds on the demo policies, and the unit tests of the crate
#   export     checkpoint and FP16 bundle (2 minutes, 20 GB of disk)
#   build      TensorRT's engines of the same bundle, JOBS at a time (default 6); left out where TensorRT is missing
#   accuracy   every stage and the chunks against ONNX Runtime; the parts below need its verdict
#   ready      from the start of the process to the first chunk: first start (algorithms are measured), second start (they are kept)
#   latency    200 inferences three times by turns: cuda, TensorRT; one graph, launch by launch, waiting after each; then PyTorch
#   same       the sample bag twice: the same chunks bit by bit
#   memory     what the process and the GPU hold; what `plan` says
#   endurance  10,000 inferences; memory of process and GPU every ten seconds
#   sanitize   compute-sanitizer (memcheck, racecheck, initcheck) on the demo policy
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
bundle=full
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
built() { ls "$bundle"/engines/*.engine >/dev/null 2>&1; }
gpu_mib() { nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null | sed -n "s/^$1, *//p"; }

tests() {
  title "Tests"
  (cd "$root" && shown cargo test --release -p vla_cuda --features cuda -- --test-threads 1)
  (cd "$root" && shown cargo test --release -p vla_trt_tests --features cuda --test engines cuda -- --test-threads 1 --nocapture)
}

export_bundle() {
  title "Checkpoint and bundle"
  [ -e checkpoint/config.json ] || shown "$tool" make-checkpoint --family "$family" --size "${SIZE:-full}" -o checkpoint
  [ -e "$bundle/policy.yaml" ] || shown "$tool" export --checkpoint checkpoint --tokenizer checkpoint/tokenizer \
    --embodiment new_embodiment --camera top=640x480 --camera left_wrist=640x480 --camera right_wrist=640x480 --step-s 0.02 \
    --max-text-tokens 192 --blocks-per-engine 8 --steps 4 --dtype fp16 -o "$bundle"
  du -sh checkpoint "$bundle"
  wc -c "$bundle"/*.operations.json
}

build() {
  title "TensorRT's engines"
  sed -n 's/^  - name: //p' "$bundle/policy.yaml" |
    xargs -P "${JOBS:-6}" -L 1 sh -c '"$0" build "$2" --stages "$3" >"$1/build-$3.log" 2>&1 || echo "SKIPPED: $3 was not built: $(tail -1 "$1/build-$3.log")"' \
      "$tool" "$out" "$bundle"
}

ready() {
  title "Ready: process start to first chunk, weights in the page cache"
  cat "$bundle"/*.onnx.data >/dev/null
  rm -f "$bundle"/*.tactics.json
  for start in first second third; do
    local begun ended
    begun=$(date +%s.%N)
    "$tool" bench "$bag" $(policy_of "$bundle" cuda) -n 1 --warm-up 0 >"$out/ready-$start.log" 2>&1 || echo "exit code $?"
    ended=$(date +%s.%N)
    echo "cuda, $start start: $(echo "$ended - $begun" | bc) s"
  done
  if built; then
    local begun ended
    begun=$(date +%s.%N)
    "$tool" bench "$bag" $(policy_of "$bundle" tensorrt) -n 1 --warm-up 0 >"$out/ready-tensorrt.log" 2>&1 || echo "exit code $?"
    ended=$(date +%s.%N)
    echo "tensorrt: $(echo "$ended - $begun" | bc) s, builds not counted"
  fi
}

latency() {
  for run in 1 2 3; do
    title "Latency, run $run"
    shown "$tool" bench "$bag" $(policy_of "$bundle" cuda)
    if built; then shown "$tool" bench "$bag" $(policy_of "$bundle" tensorrt); else echo "SKIPPED: no TensorRT engines"; fi
  done
  title "Ways of starting a pass"
  shown "$tool" bench "$bag" $(policy_of "$bundle" cuda) --compare-launch
  title "PyTorch on the same networks"
  shown python3 "$root/scripts/peer_torch.py" "$bundle" --steps 4 --samples 200 --dtype fp16 --compile --no-check
}

accuracy() {
  title "Against ONNX Runtime"
  shown "$tool" verify "$bundle" --engine-kind cuda --bag "$bag" --params "$params" --observations 2 --scratch "$work"
}

same() {
  title "The same chunks"
  shown "$tool" replay "$bag" $(policy_of "$bundle" cuda) -o first.mcap | tail -1
  shown "$tool" replay "$bag" $(policy_of "$bundle" cuda) -o second.mcap --golden first.mcap --tolerance 0 | tail -3
}

memory() {
  title "Memory"
  shown "$tool" plan "$bundle" --engine-kind cuda
  shown "$tool" bench "$bag" $(policy_of "$bundle" cuda) -n 50 --warm-up 5 | tail -4
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
  tail -20 "$out/endurance.log"
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
  for check in memcheck racecheck initcheck; do
    shown "$sanitizer" --tool "$check" --error-exitcode 9 \
      "$tool" bench "$bag" $(policy_of demo cuda) -p engine.cuda_graph:=false -n 2 --warm-up 0
  done
}

[ $# -gt 0 ] || set -- tests export build accuracy ready latency same memory endurance sanitize
title "Machine"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || exit 1
uname -r
for part in "$@"; do
  case $part in
    export) export_bundle ;;
    tests | build | ready | latency | accuracy | same | memory | endurance | sanitize) "$part" ;;
    *) echo "no part '$part'" >&2; exit 2 ;;
  esac
done
