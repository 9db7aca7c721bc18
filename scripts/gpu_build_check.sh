#!/usr/bin/env bash
# gpu_build_check.sh OUT [PART...]: everything about building engines that needs a GPU: FP32, FP16 and INT8 with
# calibration from a bag, caches, the accuracy gate passing and failing, low-memory mode, builds that are killed. Writes logs
# and the tables of docs/gpu_results.md to OUT.
#   builds  the demo policy in three precisions, twice; caches that do not fit (6 minutes)
#   gate    the accuracy gate passing, failing on a broken calibration, and behind a build (4 minutes)
#   killed  a build that is killed and goes on; inspect (2 minutes)
#   group   eight DiT blocks of GR00T N1.6 at full width, one of the stages that `export --blocks-per-engine 8` cuts step
#           into, with external weights (12 minutes; 30 GB of disk)
# Without a PART: the first three.
#
# Needs what scripts/gpu_check.sh needs.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m "${1:?usage: gpu_build_check.sh OUT [PART...]}")
shift
tool=${VLA_TRT_TOOL:-$root/target/release/vla-trt}
work=${VLA_TRT_WORK:-$out/build-work}
bag=$root/data/aloha_cube params=$root/config/aloha.yaml
mkdir -p "$out" "$work"
cd "$work" || exit 1

title() { printf '\n## %s\n' "$*"; }
shown() { # the command as a reader would type it, then what it says and its exit code
  local code
  printf '$ %s\n' "$(sed "s#$tool#vla-trt#g; s#$root/##g" <<<"$*")"
  "$@" 2>&1 | grep -vE ' INFO |WARN.* onnx2trt_utils|CUDA lazy loading|WARN Missing scale|WARN TensorRT encountered issues|WARN If this is not|WARN Check verbose|WARN - [0-9]+ weights' | sed "s#$root/##g; s/\x1b\[[0-9;]*m//g"
  code=${PIPESTATUS[0]}
  [ "$code" -eq 0 ] || echo "exit code $code"
  return "$code"
}
with_precision() { # from to precision: the same bundle, its files linked, with that precision in policy.yaml
  rm -rf "$2"
  mkdir -p "$2"
  cp -rs "$(realpath "$1")/." "$2/"
  rm -rf "$2/engines" "$2/policy.yaml"
  sed "s/precision: .*/precision: $3/" "$1/policy.yaml" >"$2/policy.yaml"
}
export_policy() { # size more...
  local which=$1
  shift
  [ -e "checkpoint-$which/config.json" ] || "$tool" make-checkpoint --size "$which" -o "checkpoint-$which"
  [ -e "$which/policy.yaml" ] || "$tool" export --checkpoint "checkpoint-$which" --tokenizer "checkpoint-$which/tokenizer" \
    --embodiment new_embodiment --camera top=640x480 --camera left_wrist=640x480 --camera right_wrist=640x480 \
    --step-s 0.02 --max-text-tokens 192 -o "$which" "$@"
}
verify() { shown "$tool" verify "$1" --bag "$bag" --params "$params" "${@:2}"; }

builds() {
  export_policy demo
  title "Calibration inputs from a bag"
  shown "$tool" calibrate "$bag" --policy demo --params "$params" -o calib.npz
  ls -l calib.npz | awk '{print $5 " bytes"}'

  title "Builds"
  for precision in fp32 fp16 int8+fp16; do
    with_precision demo "$precision" "$precision"
    local data=()
    [ "$precision" = int8+fp16 ] && data=(--calib-data calib.npz --calib-cache scales)
    shown "$tool" build "$precision" --opt-level 1 --timing-cache "caches" "${data[@]}"
  done

  title "Again, with both caches"
  for precision in fp16 int8+fp16; do
    rm "$precision/engines/language.engine"
    local data=()
    [ "$precision" = int8+fp16 ] && data=(--calib-data calib.npz --calib-cache scales)
    shown "$tool" build "$precision" --opt-level 1 --timing-cache "caches" "${data[@]}"
  done
  title "A build of what is there"
  shown "$tool" build int8+fp16 --calib-cache scales

  title "A cache of another network"
  cp "scales/vision-int8+fp16.calibration" wrong.calibration
  shown "$tool" build --onnx demo/step.onnx --engine wrong.engine --precision int8+fp16 --calib-cache wrong.calibration --max-seq-len 252
  title "BF16"
  shown "$tool" build --onnx demo/vision.onnx --engine wrong.engine --precision bf16

}

gate() {
  title "Accuracy gate"
  for precision in fp32 fp16 int8+fp16; do verify "$precision"; done

  title "The gate behind a build, and the precision that it proposes"
  with_precision demo proposed fp16
  shown "$tool" build proposed --opt-level 1 --timing-cache caches --calib-data calib.npz --calib-cache scales --propose \
    --bag "$bag" --params "$params"
  ls proposed/engines

}

killed() {
  title "Killed half-way, and again"
  with_precision demo killed fp32
  timeout -s KILL 20 "$tool" build killed --opt-level 1 >/dev/null 2>&1
  sleep 1
  ls killed/engines
  pgrep -fc 'build --here' || true
  shown "$tool" build killed --opt-level 1
  ls killed/engines

  title "Inspect"
  shown "$tool" inspect int8+fp16/engines/step.engine
  shown "$tool" inspect demo/step.onnx
}

group() {
  title "GR00T N1.6, step cut into groups of eight blocks"
  export_policy n1d6 --blocks-per-engine 8 --steps 4
  local stage sequence
  stage=$(grep -oE 'name: step[a-z0-9_]*' n1d6/policy.yaml | head -n 1 | cut -d ' ' -f 2)
  ls -l n1d6/"$stage".onnx* | awk '{print $9 ": " $5 " bytes"}'
  shown "$tool" calibrate "$bag" --policy n1d6 --params "$params" --observations 2 --stages "$stage" -o group.npz -p engine.threads:=16

  for precision in fp32 fp16 int8+fp16; do
    with_precision n1d6 "n1d6-$precision" "$precision"
    local data=() engine="n1d6-$precision/engines/$stage.engine"
    sequence=$(sed -n "/name: $stage\$/,/name: /p" n1d6/policy.yaml | grep -oE 'profile: \{T: \[[0-9, ]+\]' | head -n 1 |
      sed -E 's/.*\[([0-9]+), ([0-9]+), ([0-9]+)\]/T=\1:\2:\3/')
    [ "$precision" = int8+fp16 ] && data=(--calib-data group.npz)
    local build=("$tool" build --onnx "n1d6-$precision/$stage.onnx" --engine "$engine" --precision "$precision" --profile "$sequence" "${data[@]}")
    title "$precision: as TensorRT chooses, with an empty timing cache, with a full one, low-memory mode"
    shown "${build[@]}" --opt-level 3 --timing-cache "caches/$stage-$precision"
    shown "${build[@]}" --opt-level 3 --timing-cache "caches/$stage-$precision"
    [ "$precision" = fp32 ] || verify "n1d6-$precision" --observations 2 --stages "$stage" -p engine.threads:=16
    shown "${build[@]}" --low-memory-mode
    ls -l "$engine" | awk '{print $5 " bytes"}'
  done

  title "A broken calibration: one scale for everything"
  local policy=n1d6-int8+fp16
  sed 's/: [0-9a-f]*$/: 3a000000/' "$policy/engines/$stage.engine.calibration" >broken.calibration
  rm "$policy/engines/$stage.engine"
  shown "$tool" build --onnx "$policy/$stage.onnx" --engine "$policy/engines/$stage.engine" --precision int8+fp16 \
    --profile "$sequence" --opt-level 3 --calib-cache broken.calibration
  verify "$policy" --observations 2 --stages "$stage" -p engine.threads:=16
  title "What is not loaded then"
  shown "$tool" inspect "$policy/engines/$stage.engine"
}

title "Machine"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
uname -r
[ $# -gt 0 ] || set -- builds gate killed
for part in "$@"; do "$part"; done
