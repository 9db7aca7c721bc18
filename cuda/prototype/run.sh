#!/usr/bin/env bash
# run.sh OUT [WAY...]: builds both designs, runs each way in its own process and prints the table last. OUT gets table.md and
# logs.txt (builds with registers, every way's output, figures as JSON). docs/cuda_engine.md explains the ways and the figures.
#
# Needs: one GPU of sm_90 (H100, H200), nvcc 12.6 or newer on PATH or in /usr/local/cuda, cuBLASLt with its header (the
# toolkit's or those of PyTorch's packages), python3 with torch; torch.compile needs a C compiler. Measured on 141 GB of GPU
# memory; the weights lie there in FP64, FP16 and, for tape, in its own order.
# Ways: tape library library-early library-ahead-early eager compile-graph.
# TENSORRT_MS: the time that the table compares with; LIMIT: seconds a way may take; SHOWN: characters shown of its output.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${1:?usage: run.sh OUT [WAY...]}")
shift
[ $# -gt 0 ] || set -- tape library library-early library-ahead-early eager compile-graph
mkdir -p "$out" "$here/build"
logs=$(mktemp -d)  # joined into OUT/logs.txt at the end
cd "$here" || exit 1
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
cuda=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
# cuBLASLt and its header: the toolkit's, or those of PyTorch's packages.
site=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
header=$(find "$cuda/" "$site/nvidia" -name cublasLt.h 2>/dev/null | head -1)
library=$(find "$site/nvidia" "$cuda/" -name 'libcublasLt.so*' ! -path '*/stubs/*' 2>/dev/null | head -1)
echo "nvcc $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'), $header, $library"
build() { "$nvcc" -std=c++17 -O3 -lineinfo -Xptxas -v -gencode arch=compute_90,code=sm_90 -shared -Xcompiler -fPIC -o "$@"; }
build build/libtape.so tape.cu >"$logs/build-tape.log" 2>&1 || { echo "tape.cu does not build"; tail -20 "$logs/build-tape.log"; } &
build build/liblibrary.so library.cu -I"$(dirname "$header")" -Xlinker "$library" -Xlinker -rpath="$(dirname "$library")" \
  >"$logs/build-library.log" 2>&1 || { echo "library.cu does not build"; tail -20 "$logs/build-library.log"; } &
wait
grep -hE 'Compiling entry|registers|spill' "$logs"/build-*.log | sed 's/ptxas info *: //' | head -40 >"$logs/registers.log"
grep -hE 'registers' "$logs/build-tape.log"
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv,noheader
for way in "$@"; do
  echo "== $way"
  timeout "${LIMIT:-150}" python3 measure.py "$way" "$logs" >"$logs/$way.log" 2>&1 || echo "exit code $?"
  case $way in tape* | library*) shown=3800 ;; *) shown=500 ;; esac
  tail -c "${SHOWN:-$shown}" "$logs/$way.log"
done
tail -n +1 "$logs"/*.log "$logs"/*.json >"$out/logs.txt"
python3 measure.py table "$logs" | tee "$out/table.md"
