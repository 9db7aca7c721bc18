#!/usr/bin/env bash
# Runs a command and says how long it took and how much memory it had at most: anonymous (RssAnon, what it allocated)
# and in all (VmHWM, with the pages of the files that it maps). RssAnon has no high-water mark of its own: it is read
# every 20 ms.
#
#   scripts/measure_memory.sh vla-trt export ...
set -euo pipefail

if [ $# -eq 0 ]; then
  echo "usage: $0 COMMAND [ARGUMENT...]" >&2
  exit 2
fi

started=$(date +%s.%N)
"$@" &
pid=$!
anonymous=0 all=0
while status=$(grep -E '^(RssAnon|VmHWM):' "/proc/$pid/status" 2>/dev/null); do
  while read -r key kib _; do
    case $key in
      RssAnon:) [ "$kib" -le "$anonymous" ] || anonymous=$kib ;;
      VmHWM:) [ "$kib" -le "$all" ] || all=$kib ;;
    esac
  done <<<"$status"
  sleep 0.02
done
code=0
wait "$pid" || code=$?
ended=$(date +%s.%N)
awk -v s="$started" -v e="$ended" -v a="$anonymous" -v r="$all" 'BEGIN {
  printf "wall %.1f s, peak anonymous %.0f MiB, peak resident %.0f MiB\n", e - s, a / 1024, r / 1024
}' >&2
exit "$code"
