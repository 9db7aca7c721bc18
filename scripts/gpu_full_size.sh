#!/usr/bin/env bash
# gpu_full_size.sh OUT [PART...]: GR00T at full size with seeded random weights, on a GPU. Writes logs and the tables of
# docs/gpu_results.md (I to O) and docs/memory.md to OUT. FAMILY is n1d6 (default) or n1d7, VIEWS 3 (default: three cameras of
# 640x480) or 2 (two square pictures of 256x256, as LIBERO's).
#   export    checkpoint and two bundles: FP32 and FP16 networks, in groups of eight blocks (2 minutes, 30 GB of disk)
#   build     every engine in FP16, JOBS at a time (default 6); the provenance has the trial of the host copy
#   memory    what loading keeps; a control group with too little memory for the host copies (root, cgroup 2)
#   latency   200 inferences; one graph, engine by engine, waiting after each; the same in PyTorch
#   accuracy  every stage and the chunks against ONNX Runtime
#   admission what fits into 16 GiB
#   int8      the FP32 networks quantised for TensorRT 8.6 (every product of a stage or none), built, timed beside FP16 in one run, compared
# Without a PART: all of them.
#
# The least times of `latency` and `int8` need the GPU's memory bandwidth in GB/s: GB_S (default: 3350, an H100 SXM; 4800 for an
# H200). Their 989 TFLOP/s are those of both in dense FP16.
#
# Needs what scripts/gpu_check.sh needs; for the part of PyTorch python3 with torch, onnx and numpy.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m "${1:?usage: gpu_full_size.sh OUT [PART...]}")
shift
tool=${VLA_TRT_TOOL:-$root/target/release/vla-trt}
load_memory=${VLA_TRT_LOAD_MEMORY:-$root/target/release/examples/load_memory}
work=${VLA_TRT_WORK:-$out/full-size-work}
bag=$root/data/aloha_cube
networks=${VLA_TRT_NETWORKS:-fp32 fp16}
family=${FAMILY:-n1d6} views=${VIEWS:-3}
GB_S=${GB_S:-3350}
mkdir -p "$out" "$work"
cd "$work" || exit 1
params=$root/config/aloha.yaml
if [ "$views" = 2 ]; then
  sed '/^ *right_wrist:/,/max_age_ms/d' "$params" >two_views.yaml
  params=two_views.yaml
fi

title() { printf '\n## %s\n' "$*"; }
shown() { # the command as a reader would type it, then what it says and its exit code
  local code
  printf '$ %s\n' "$(sed "s#$tool#vla-trt#g; s#$load_memory#load_memory#g; s#$root/##g" <<<"$*")"
  "$@" 2>&1 | grep -vE ' INFO |WARN.* onnx2trt_utils|CUDA lazy loading|WARN - [0-9]+ weights|WARN TensorRT encountered issues|WARN If this is not|WARN Check verbose' |
    sed "s#$root/##g; s/\x1b\[[0-9;]*m//g"
  code=${PIPESTATUS[0]}
  [ "$code" -eq 0 ] || echo "exit code $code"
  return "$code"
}
stages() { sed -n 's/^  - name: //p' "$1/policy.yaml"; }
policy_of() { echo "--policy $1 --params $params -p engine.kind:=tensorrt"; }
# The bag's pictures are padded to squares where the policy has square ones, so that its two views are 256x256.
shape() {
  case $views in
    3) echo "--camera top=640x480 --camera left_wrist=640x480 --camera right_wrist=640x480" ;;
    2) echo "--camera top=640x480 --camera left_wrist=640x480 --letterbox always" ;;
    *) echo "VIEWS: expected 2 or 3, found $views" >&2; return 1 ;;
  esac
}
two_views() { # the checkpoint's processor without its third camera
  sed -i '/"left_wrist",/{N;s/"left_wrist",\n *"right_wrist"/"left_wrist"/}' "$1/processor_config.json"
}

export_bundles() {
  title "Checkpoint and bundles"
  [ -e checkpoint/config.json ] || shown "$tool" make-checkpoint --family "$family" --size "${SIZE:-full}" -o checkpoint
  [ "$views" = 3 ] || two_views checkpoint
  for dtype in $networks; do
    [ -e "from-$dtype/policy.yaml" ] || shown "$tool" export --checkpoint checkpoint --tokenizer checkpoint/tokenizer \
      --embodiment new_embodiment $(shape) --step-s 0.02 \
      --max-text-tokens 192 --blocks-per-engine 8 --steps 4 --dtype "$dtype" -o "from-$dtype"
    sed -i 's/precision: .*/precision: fp16/' "from-$dtype/policy.yaml"
  done
  du -sh checkpoint from-*
}

build() {
  title "Builds"
  for dtype in $networks; do stages "from-$dtype" | sed "s/^/from-$dtype /"; done |
    xargs -P "${JOBS:-6}" -L 1 sh -c '"$0" build "$2" --stages "$3" --opt-level '"${LEVEL:-1}"' >"$1/build-$2-$3.log" 2>&1 || echo "$2 $3: failed"' "$tool" "$out"
  for log in "$out"/build-from-*.log; do
    echo "$(basename "$log" .log): $(grep -E 'layers,|building took|on the device|of which|given back' "$log" | sed "s#$work/##g; s/\x1b\[[0-9;]*m//g" | tr -s ' ' | tr '\n' ';')"
  done
}

memory() {
  local policy=${1:-from-fp32}
  local engines=()
  for stage in $(stages "$policy"); do engines+=("$policy/engines/$stage.engine"); done
  title "Loading, copies kept and given back"
  shown "$load_memory" "${engines[@]}"
  shown "$load_memory" --release "${engines[@]}"
  title "Inferences, copies kept and given back"
  for release in false true; do
    shown "$tool" bench "$bag" $(policy_of "$policy") -p memory.release_host_copy:=$release -n 50 --warm-up 5 | tail -4
  done
  title "The same chunks"
  for release in false true; do
    shown "$tool" replay "$bag" $(policy_of "$policy") -p memory.release_host_copy:=$release -o "release-$release.mcap" \
      $([ $release = true ] && echo "--golden release-false.mcap --tolerance 0") | tail -5
  done
  pressure "$policy"
}

# Less than half of all host copies, with room for the largest one and for what the process holds without them.
pressure() {
  local policy=$1 root_group=${CGROUP:-/sys/fs/cgroup} files limit
  local group=$root_group/vla_trt_pressure
  title "Under pressure: a control group with a limit"
  echo +memory >"$root_group/cgroup.subtree_control" 2>/dev/null
  mkdir -p "$group" 2>/dev/null
  [ -e "$group/memory.max" ] || { echo "SKIPPED: no control group with a memory limit can be made below $root_group"; return; }
  files=$(cat "$policy"/engines/*.engine | wc -c)
  limit=$(((${BASE_MIB:-300} << 20) + files * 45 / 100))
  echo "engines $((files >> 20)) MiB, limit $((limit >> 20)) MiB, no swap"
  for release in false true; do
    echo "$limit" >"$group/memory.max"
    echo 0 >"$group/memory.swap.max" 2>/dev/null
    echo "memory.release_host_copy: $release"
    sh -c "echo \$\$ >$group/cgroup.procs; exec $tool bench $bag $(policy_of "$policy") -p memory.release_host_copy:=$release -n 1000" 2>&1 |
      grep -vE ' INFO |CUDA lazy' | sed "s/\x1b\[[0-9;]*m//g" | grep -E "whole|pipeline|memory|killed|error" 
    echo "exit code ${PIPESTATUS[0]}; $(grep -E '^(oom_kill|max) ' "$group/memory.events" | tr '\n' ' ') peak $(($(cat "$group/memory.peak" 2>/dev/null || echo 0) >> 20)) MiB"
    rmdir "$group" 2>/dev/null && mkdir -p "$group"
  done
  rmdir "$group" 2>/dev/null
}

latency() {
  for dtype in $networks; do
    title "Latency, $dtype networks, FP16 engines"
    shown "$tool" bench "$bag" $(policy_of "from-$dtype")
    shown "$tool" bench "$bag" $(policy_of "from-$dtype") --compare-launch
  done
  shown "$tool" plan from-fp32 --roofline --bandwidth-gb-s "$GB_S" --tflops 989
  if [ -e "$root/scripts/peer_torch.py" ]; then
    title "PyTorch on the same networks"
    shown python3 "$root/scripts/peer_torch.py" from-fp32 --steps 4 --samples 200 --dtype fp16 --compile --no-check
  fi
}

accuracy() {
  for dtype in $networks; do
    title "Engines of the $dtype networks against ONNX Runtime"
    shown "$tool" verify "from-$dtype" --bag "$bag" --params "$params" --observations 2 --scratch "$work"
  done
}

admission() {
  title "What fits"
  for dtype in $networks; do
    shown "$tool" plan "from-$dtype"
    shown "$tool" plan "from-$dtype" --budget-mib 16384 --reserve-mib 4096
    shown "$tool" plan "from-$dtype" --budget-mib 16384 --reserve-mib 4096 --keep-host-copy
  done
}

int8() {
  title "Quantised networks"
  [ -e from-int8/policy.yaml ] || shown "$tool" quantize from-fp32 --bag "$bag" --params "$params" --observations 4 --target trt8 \
    --max-relative "${RELATIVE:-0.05}" --scratch "$work" -o from-int8
  shown "$tool" inspect from-int8
  networks=int8 build
  title "Plans: quantised and FP16"
  du -bc from-int8/engines/*.engine | tail -1
  du -bc from-fp32/engines/*.engine | tail -1
  title "Latency, FP16 and INT8 engines in turn"
  for run in 1 2 3; do
    for dtype in fp32 int8; do shown "$tool" bench "$bag" $(policy_of "from-$dtype"); done
  done
  shown "$tool" verify from-int8 --bag "$bag" --params "$params" --observations 2 --scratch "$work"
  shown "$tool" plan from-int8 --roofline --bandwidth-gb-s "$GB_S" --tflops 989
}

[ $# -gt 0 ] || set -- export build memory latency accuracy admission int8
for part in "$@"; do
  case $part in
    export) export_bundles ;;
    build | memory | latency | accuracy | admission | int8) "$part" ;;
    *) echo "no part '$part'" >&2; exit 2 ;;
  esac
done
