#!/usr/bin/env bash
# gpu_check.sh OUT [demo|mid]: everything about TensorRT that needs a GPU, in one go: builds the engines of a seeded policy
# in FP32 and FP16, holds them against ONNX Runtime, measures loading and latency, and provokes every fault that can be
# had. Writes logs and the tables of docs/gpu_results.md to OUT.
#
# Needs: an NVIDIA GPU, TensorRT on the loader's path, ORT_DYLIB_PATH, and the binaries that
#   cargo build --release --features tensorrt --bin vla-trt --example load_memory
# makes (or VLA_TRT_TOOL and VLA_TRT_LOAD_MEMORY naming them elsewhere). Half a minute an engine at the first run; the
# timing caches in OUT/cache make the second faster.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m "${1:?usage: gpu_check.sh OUT [demo|mid]}") size=${2:-demo}
tool=${VLA_TRT_TOOL:-$root/target/release/vla-trt}
load_memory=${VLA_TRT_LOAD_MEMORY:-$root/target/release/examples/load_memory}
work=${VLA_TRT_WORK:-$out/work}
bag=$root/data/aloha_cube params=$root/config/aloha.yaml
mkdir -p "$out/cache" "$work"
cd "$work" || exit 1

title() { printf '\n## %s\n' "$*"; }
shown() { # the command as a reader would type it, then what it says
  printf '$ %s\n' "$(sed "s#$tool#vla-trt#g; s#$load_memory#load_memory#g; s#$root/##g" <<<"$*")"
  "$@" 2>&1 | grep -vE ' INFO |WARN.* onnx2trt_utils|CUDA lazy loading' | sed "s#$root/##g; s/\x1b\[[0-9;]*m//g"
  return "${PIPESTATUS[0]}"
}
policy_of() { echo "--policy $1 --params $params"; }
replay() { # policy output more...
  local policy=$1 output=$2
  shift 2
  shown "$tool" replay "$bag" --policy "$policy" --params "$params" -o "$output" "$@"
}

title "Machine"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
uname -r

title "Policy ($size)"
if [ ! -e "fp32/policy.yaml" ]; then
  [ -e checkpoint/config.json ] || "$tool" make-checkpoint --size "$size" -o checkpoint
  "$tool" export --checkpoint checkpoint --tokenizer checkpoint/tokenizer --embodiment new_embodiment \
    --camera top=640x480 --camera left_wrist=640x480 --camera right_wrist=640x480 --step-s 0.02 --max-text-tokens 192 \
    -o exported
  for precision in fp32 fp16; do
    rm -rf "$precision"
    cp -r exported "$precision"
    sed -i "s/precision: .*/precision: $precision/" "$precision/policy.yaml"
  done
fi

title "Build"
for precision in fp32 fp16; do
  shown "$tool" build "$precision" --timing-cache "$out/cache/$size" ${VLA_TRT_BUILD:-} | tee "$out/build-$size-$precision.log"
done

title "Agreement with ONNX Runtime (FP32 on the CPU)"
"$tool" replay "$bag" $(policy_of fp32) -o onnx.mcap >/dev/null
for precision in fp32 fp16; do
  limit=$([ $precision = fp32 ] && echo 1e-4 || echo 1e-2)
  replay $precision $precision.mcap -p engine.kind:=tensorrt --golden onnx.mcap --tolerance $limit
  replay $precision again.mcap -p engine.kind:=tensorrt --golden $precision.mcap --tolerance 0
  cmp $precision.mcap again.mcap && echo "two replays: the same bytes"
  replay $precision plain.mcap -p engine.kind:=tensorrt -p engine.cuda_graph:=false --golden $precision.mcap --tolerance 0
done

title "Latency"
for precision in fp32 fp16; do
  for graph in true false; do
    echo "$precision, engine.cuda_graph: $graph"
    shown "$tool" bench "$bag" $(policy_of $precision) -p engine.kind:=tensorrt -p engine.cuda_graph:=$graph
  done
done

title "Loading: host memory, streamed and read whole"
by_size=$(ls -S fp32/engines/*.engine) by_size_up=$(ls -rS fp32/engines/*.engine)
shown "$load_memory" $by_size
shown "$load_memory" $by_size_up
shown "$load_memory" --read-all $by_size

title "Plan, and the smallest budget by bisection"
shown "$tool" plan fp32 --engine-kind tensorrt
low=0 high=65536
while [ $((high - low)) -gt 1 ]; do
  middle=$(((low + high) / 2))
  if "$tool" replay "$bag" $(policy_of fp32) -o fit.mcap -p engine.kind:=tensorrt -p memory.budget_mib:=$middle >/dev/null 2>&1; then
    high=$middle
  else
    low=$middle
  fi
done
echo "smallest memory.budget_mib that is admitted: $high"
replay fp32 fit.mcap -p engine.kind:=tensorrt -p memory.budget_mib:=$high
replay fp32 fit.mcap -p engine.kind:=tensorrt -p memory.budget_mib:=$low
echo "exit code $?"

title "Faults"
fault() { # name, what was done; then replays the copy in faulty/
  printf '\n### %s\n' "$1"
  replay faulty fault.mcap -p engine.kind:=tensorrt "${@:2}"
  echo "exit code $?"
}
fresh() {
  rm -rf faulty
  cp -rp fp32 faulty
}
# Files keep their inodes' change times apart from the original's: hashes are taken again, as after any copy.
fresh; truncate -s -100 faulty/engines/step.engine
fault "A truncated engine"
fresh; printf '\xff' | dd of=faulty/engines/step.engine bs=1 seek=100000 conv=notrunc status=none
fault "A flipped byte"
fresh; sed -i 's/"sm_count": [0-9]*/"sm_count": 16/' faulty/engines/*.provenance.json
fault "Another SM count in the provenance"
fresh; rm faulty/engines/step.engine.provenance.json
fault "Missing provenance"
fault "Missing provenance, allowed" -p engines.step.allow_unverified:=true
fresh; printf '\x00' | dd of=faulty/step.onnx.data bs=1 seek=1000 conv=notrunc status=none
fault "ONNX changed after the build"
fresh; sed -i '0,/dtype: f32/s//dtype: f16/' faulty/policy.yaml
fault "Another element type in policy.yaml"
fresh; sed -i 's/T: \[\([0-9]*\), \([0-9]*\), 192\]/T: [\1, \2, 4000]/' faulty/policy.yaml
fault "policy.yaml promises more than the engines' profiles"
fresh; rm faulty/engines/step.engine.provenance.json
printf '\n### Adopted: a record for an engine that came without one\n'
shown "$tool" adopt faulty/engines/step.engine --onnx faulty/step.onnx --precision fp32
replay faulty fault.mcap -p engine.kind:=tensorrt --golden fp32.mcap --tolerance 0
echo "exit code $?"
if python3 -c 'import torch' 2>/dev/null; then
  printf '\n### Device memory taken by another process\n'
  python3 - <<'PY' &
import time, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(free - (1600 << 20), dtype=torch.uint8, device="cuda")
print("held", flush=True)
time.sleep(12)
PY
  sleep 8
  replay fp32 fault.mcap -p engine.kind:=tensorrt
  echo "exit code $?"
  wait
fi
printf '\n### No TensorRT\n'
LD_LIBRARY_PATH= replay fp32 fault.mcap -p engine.kind:=tensorrt
echo "exit code $?"
printf '\n### TensorRT of another major version\n'
mkdir -p other
if echo 'extern "C" int getInferLibVersion() { return 100300; }' | g++ -x c++ -shared -fPIC -o other/libnvinfer.so - 2>/dev/null; then
  LD_LIBRARY_PATH=$PWD/other replay fp32 fault.mcap -p engine.kind:=tensorrt
  echo "exit code $?"
fi
