#!/usr/bin/env bash
# scripts/check_kernels.sh [--registers] [ARCHITECTURE...]: compiles the CUDA kernels for every architecture that nvcc knows (or 87 90 alone) and
# prints the registers of each, what the machine code of sm_87 consists of, and, without --registers, the occupancy of GR00T's launches on an Orin NX (sm_87, 8
# multiprocessors). No GPU is needed.
#
# Exit code 1 where a kernel has a stack frame, spills registers or declares static shared memory, and where the machine code of sm_87 uses local memory, or that of
# attention_few (16-bit), attention_many (16-bit) or product (8-bit) has no instructions of its type on tensor cores or copies less than 16 bytes at a time
# asynchronously; 0 otherwise, also without nvcc (NVCC, or on PATH, or .cache/nvcc of scripts/setup_nvcc.sh), which it says, and without nvdisasm (NVDISASM, or
# beside either nvcc, or on PATH; it must be as new as nvcc).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

launches=yes
if [ "${1:-}" = --registers ]; then
  launches=no
  shift
fi
fetched=$("$root/scripts/setup_nvcc.sh" --nvcc)
nvcc=${NVCC:-nvcc}
if [ -z "${NVCC:-}" ] && ! command -v nvcc >/dev/null && [ -x "$fetched" ]; then nvcc=$fetched; fi
if ! command -v "$nvcc" > /dev/null; then
  say "SKIPPED: $nvcc was not found. Set NVCC, put nvcc on PATH or run scripts/setup_nvcc.sh to check the CUDA kernels."
  exit 0
fi
known=$("$nvcc" --list-gpu-code | sed 's/^sm_//')
architectures=()
for architecture in "${@:-80 86 87 89 90 120}"; do
  for one in $architecture; do
    if grep -qx "$one" <<< "$known"; then architectures+=("$one"); else say "SKIPPED: this nvcc does not know sm_$one."; fi
  done
done
[ ${#architectures[@]} -gt 0 ] || die "No architecture to compile for." "This nvcc knows: $(tr '\n' ' ' <<< "$known")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$nvcc" --version | tail -n 2 | head -n 1

# Lines of: architecture, kernel, registers, bytes of stack frame, of spilled registers, of static shared memory.
for architecture in "${architectures[@]}"; do
  target=${architecture/%90/90a} # as build.rs
  "$nvcc" -std=c++17 -O3 -cubin -gencode "arch=compute_$target,code=sm_$target" -Xptxas -v \
    -o "$work/$architecture.cubin" crates/cuda/kernels/kernels.cu 2> "$work/log" || die "The kernels do not compile for sm_$architecture." "$(cat "$work/log")"
  awk -v architecture="$architecture" '
    /Compiling entry function/ { split($0, quoted, "\x27"); kernel = quoted[2] }
    /bytes stack frame/ { for (i = 2; i <= NF; i++) if ($i == "bytes") { if ($(i + 1) == "stack") stack = $(i - 1); else spilled += $(i - 1) } }
    /Used [0-9]+ registers/ {
      shared = 0
      for (i = 2; i <= NF; i++) { if ($i ~ /^registers/) registers = $(i - 1); if ($i == "bytes" && $(i + 1) ~ /^smem/) shared = $(i - 1) }
      print architecture, kernel, registers, stack, spilled + 0, shared
      spilled = 0
    }' "$work/log" >> "$work/usage"
done

echo
echo "Registers of a thread:"
echo
awk '
  { registers[$2, $1] = $3; kernels[$2]; if (!($1 in seen)) { seen[$1]; order[++n] = $1 } }
  END {
    line = "| kernel |"; rule = "|---|"
    for (i = 1; i <= n; i++) { line = line " sm_" order[i] " |"; rule = rule "---:|" }
    print line; print rule
    for (kernel in kernels) {
      line = "| `" kernel "` |"
      for (i = 1; i <= n; i++) line = line " " registers[kernel, order[i]] " |"
      print line | "sort -V"
    }
  }' "$work/usage"

echo
for architecture in "${architectures[@]}"; do
  echo "sm_$architecture: $(grep -c "^$architecture " "$work/usage") kernels, $(($(stat -c %s "$work/$architecture.cubin") / 1024)) KiB"
done
if awk '$4 + $5 + $6 > 0 { print "sm_" $1, $2 ": stack frame", $4, "bytes, spilled", $5, "bytes, static shared memory", $6, "bytes"; bad = 1 }
        END { exit bad }' "$work/usage"; then
  echo "No kernel has a stack frame, spilled registers or static shared memory."
else
  exit 1
fi

nvdisasm=${NVDISASM:-}
for found in "$(dirname "$(command -v "$nvcc")")/nvdisasm" "$(command -v nvdisasm || true)" "$(dirname "$fetched")/nvdisasm"; do
  if [ -z "$nvdisasm" ] && [ -x "$found" ]; then nvdisasm=$found; fi
done
if [ -e "$work/87.cubin" ] && [ -z "$nvdisasm" ]; then
  say "SKIPPED: nvdisasm was not found. Set NVDISASM, put nvdisasm on PATH or run scripts/setup_nvcc.sh to look at the machine code of sm_87."
elif [ -e "$work/87.cubin" ]; then
  # Lines of: kernel, instructions, on tensor cores, asynchronous copies, those of less than 16 bytes, loads, those of 16 bytes, of local memory.
  "$nvdisasm" -c "$work/87.cubin" > "$work/listing" || die "$nvdisasm cannot list kernels of $nvcc." "Set NVDISASM to one that is as new."
  awk '
    /\.section[ \t]+\.text\./ { split($0, part, /\.text\.|,/); kernel = part[2]; next }
    /^[ \t]+\/\*[0-9a-f]+\*\// {
      sub(/^[ \t]+\/\*[0-9a-f]+\*\/[ \t]+/, ""); sub(/^@!?U?P[0-9T]+[ \t]+/, ""); split($0, word, /[ \t;]/); code = word[1]
      if (code == "NOP") next
      all[kernel]++
      if (kernel ~ /^product_/ ? code ~ /^IMMA/ : code ~ /^HMMA/) tensor[kernel]++
      else if (code ~ /^LDGSTS/) { copies[kernel]++; if (code !~ /\.128/) narrow[kernel]++ }
      else if (code ~ /^LDG(\.|$)/) { loads[kernel]++; if (code ~ /\.128/) wide[kernel]++ }
      else if (code ~ /^(LDL|STL)/) stack[kernel]++
    }
    END {
      for (kernel in all)
        print kernel, all[kernel], tensor[kernel] + 0, copies[kernel] + 0, narrow[kernel] + 0, loads[kernel] + 0, wide[kernel] + 0, stack[kernel] + 0
    }' "$work/listing" | sort -V > "$work/code"
  echo
  echo "Machine code of sm_87:"
  echo
  echo "| kernel | instructions | on tensor cores | asynchronous copies | loads | of 16 bytes |"
  echo "|---|---:|---:|---:|---:|---:|"
  awk '{ printf "| `%s` | %d | %d | %d | %d | %d |\n", $1, $2, $3, $4, $6, $7 }' "$work/code"
  echo
  [ "$(wc -l < "$work/code")" -eq "$(grep -c "^87 " "$work/usage")" ] || die "The listing of sm_87 has $(wc -l < "$work/code") kernels, not $(grep -c "^87 " "$work/usage")."
  if awk '
    $8 > 0 { print $1 ": " $8 " accesses of local memory"; bad = 1 }
    $1 ~ /^(attention_few|attention_many|product)_/ && $3 == 0 { print $1 ": no tensor core instructions"; bad = 1 }
    $1 ~ /^(attention_few|attention_many|product)_/ && ($4 == 0 || $5 > 0) { print $1 ": " $4 " asynchronous copies, " $5 " of less than 16 bytes"; bad = 1 }
    END { exit bad }' "$work/code"; then
    echo "sm_87: no kernel uses local memory; attention_few, attention_many and product use tensor cores and copy 16 bytes at a time."
  else
    exit 1
  fi
fi

# sm_87: 65536 registers (given to a warp in units of 256), 48 warps, 16 blocks and 164 KiB of shared memory (1 KiB of it reserved for
# each block) a multiprocessor.
if [ "$launches" = yes ] && grep -q "^87 " "$work/usage"; then
  echo
  echo "GR00T's launches on sm_87 with 8 multiprocessors:"
  echo
  cargo run -q -p vla_cuda --example gr00t_launches -- 8 > "$work/launches"
  echo "| launch | kernel | blocks | threads | shared, bytes | registers | blocks a multiprocessor | warps, of 48 | waves |"
  echo "|---|---|---:|---:|---:|---:|---:|---:|---:|"
  awk -F'\t' -v usage="$work/usage" '
    BEGIN { while ((getline line < usage) > 0) { split(line, part, " "); if (part[1] == 87) registers[part[2]] = part[3] } }
    function least(a, b) { return a < b ? a : b }
    {
      warps = $4 / 32; of_warp = int((registers[$2] * 32 + 255) / 256) * 256
      resident = least(16, int(48 / warps))
      resident = least(resident, int(int(65536 / of_warp) / warps))
      resident = least(resident, int(164 * 1024 / (int(($5 + 127) / 128) * 128 + 1024)))
      printf "| %s | `%s` | %d | %d | %d | %d | %d | %d | %.1f |\n", $1, $2, $3, $4, $5, registers[$2], resident, resident * warps, $3 / (8 * resident)
    }' "$work/launches"
fi
