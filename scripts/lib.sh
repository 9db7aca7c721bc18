# Shared by setup.sh, build.sh, demo.sh and test.sh: words on the terminal, steps with a log, hints on failure.
# Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="$root/.cache"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' dim='' red='' plain=''
fi

say() { printf '%s\n' "$*"; }

# die TITLE [LINE...]: what failed, then what to do, one line each.
die() {
  printf '\n%s%s%s\n' "$red$bold" "$1" "$plain" >&2
  shift
  [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
  exit 1
}

seconds_as_text() { # 75 -> 1m15s
  if [ "$1" -ge 60 ]; then printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); else printf '%ds' "$1"; fi
}

# What a log says about its failure, in words. Prints nothing when no pattern fits.
hint_of_log() {
  if grep -qiE 'CERTIFICATE_VERIFY_FAILED|SSL certificate problem|self-signed certificate' "$1"; then
    say "A TLS certificate is not trusted: behind an inspecting proxy, add its certificate with update-ca-certificates and"
    say "set PIP_CERT and CARGO_HTTP_CAINFO to /etc/ssl/certs/ca-certificates.crt. Then run it again."
  elif grep -qiE 'could not resolve|name resolution|network is unreachable|connection (refused|reset|timed out)|timed out|NewConnectionError|failed to download|spurious network' "$1"; then
    say "The log speaks of the network: is this machine online, or behind a proxy (https_proxy)? Run it again then:"
    say "what was downloaded is kept."
  elif grep -qiE 'no space left on device' "$1"; then
    say "The disk is full: free some space (df -h \"$root\") and run it again."
  elif grep -qE 'signal: 9|SIGKILL|Killed|[Cc]annot allocate memory' "$1"; then
    say "Something was killed, most likely for memory: close other programs, or set CARGO_BUILD_JOBS=1, and run it again."
  elif grep -qE 'No matching distribution found' "$1"; then
    say "pip found no wheel for this Python and machine ($(uname -m), glibc $(glibc_version))."
  fi
}

glibc_version() { # 2.36, or nothing on another libc
  { getconf GNU_LIBC_VERSION 2>/dev/null || true; } | awk '{print $2}'
}

version_at_least() { # version_at_least 1.95.0 1.92
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# One line that moves while a command runs: seconds and the last line of its log. On a pipe: one line every 30 s.
_watch() { # pid title log
  local start=$SECONDS tick=0 spin='|/-\' line width next=30
  width=$(tput cols 2>/dev/null || echo 80)
  while kill -0 "$1" 2>/dev/null; do
    if [ -t 1 ]; then
      line=$(tail -n 1 "$3" 2>/dev/null | tr -d '\r' | sed -E 's/\x1b\[[0-9;]*[A-Za-z]//g; s/^ +//')
      line="${spin:tick++%4:1} $2 $(seconds_as_text $((SECONDS - start)))  $line"
      printf '\r\e[K%s' "${line:0:width-1}"
      sleep 0.2
    else
      sleep 1
      if [ $((SECONDS - start)) -ge $next ]; then
        say "  ... $2, $(seconds_as_text $((SECONDS - start)))"
        next=$((next + 30))
      fi
    fi
  done
  [ ! -t 1 ] || printf '\r\e[K'
}

# logged TITLE LOG COMMAND...: runs it quietly with a moving line; its output goes to LOG. Sets `took` in seconds.
# On failure: prints the end of the log and a hint, returns the command's status.
logged() {
  local title=$1 log=$2 status=0 start=$SECONDS
  shift 2
  mkdir -p "$(dirname "$log")"
  start_group "$@" >"$log" 2>&1
  local pid=$child
  _watch "$pid" "$title" "$log"
  wait "$pid" || status=$?
  child=''
  took=$((SECONDS - start))
  if [ "$status" -ne 0 ]; then
    printf '%s%s failed%s (exit code %s, after %s). The end of %s:\n' \
      "$red$bold" "$title" "$plain" "$status" "$(seconds_as_text "$took")" "${log#"$root"/}" >&2
    tail -n "${LOG_LINES:-25}" "$log" | sed 's/^/  | /' >&2
    hint_of_log "$log" >&2
  fi
  return "$status"
}

# start_group COMMAND...: in the background, as a process group of its own, so that it can be ended with everything
# that it started. Sets `child`.
start_group() {
  set -m
  "$@" </dev/null &
  child=$!
  set +m
}

# foreground COMMAND...: runs it with this terminal; unlike a plain command, a trap is not held up by it.
foreground() {
  local status=0
  start_group "$@"
  wait "$child" || status=$?
  child=''
  return "$status"
}

# Ends what `logged` or `foreground` is waiting for, and waits until it has cleaned up; for traps.
end_child() {
  [ -n "${child:-}" ] || return 0
  kill -TERM -- "-$child" 2>/dev/null || true
  wait "$child" 2>/dev/null || true
  child=''
}
