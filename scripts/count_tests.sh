# What a step's log says: tests that passed, failed and skipped themselves. Sourced by test.sh after lib.sh.
#
# Only tests that were to run count: what nextest calls skipped are those that the step's filter leaves to another step.

# A check counts as one test.
count_one() {
  if [ "$2" -ne 0 ]; then say "0 1 0"; elif [ "$(skipped_aloud "$1")" -gt 0 ]; then say "0 0 1"; else say "1 0 0"; fi
}

number_before() { # log word: 12 in "12 passed"
  { grep -aoE "[0-9]+ $2" "$1" || say 0; } | tail -n 1 | awk '{print $1}'
}

# nextest: "Summary [ 1.2s] 10 tests run: 9 passed, 1 failed, 2 skipped". Tests that skipped themselves passed there.
count_nextest() {
  local summary passed failed timed_out aloud
  summary=$(mktemp)
  grep -a 'tests\? run:' "$1" | tail -n 1 >"$summary" || true
  passed=$(number_before "$summary" passed) failed=$(number_before "$summary" failed)
  timed_out=$(number_before "$summary" 'timed out')
  rm -f "$summary"
  failed=$((failed + timed_out))
  [ "$2" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1 # it did not build
  aloud=$(skipped_aloud "$1")
  say "$((passed - aloud)) $failed $aloud"
}

# Tests that said that they skip themselves, each once however often it said so. What begins a test's output: a line
# "PASS [   0.012s] ..." of nextest, "---- name stdout ----" of cargo test.
skipped_aloud() {
  awk '/^ *[A-Z]+ \[/ || /^---- / { said = 0 }
    /^ *SKIPPED: / { if (!said) n++; said = 1 }
    END { print n + 0 }' "$1"
}

# cargo test: a line "test result: ok. 3 passed; 0 failed; 1 ignored" for each binary.
count_cargo_test() {
  local aloud
  aloud=$(skipped_aloud "$1")
  awk -v aloud="$aloud" -v status="$2" '/^test result:/ {
      for (i = 1; i < NF; i++) { if ($(i+1) ~ /^passed/) p += $i; if ($(i+1) ~ /^failed/) f += $i; if ($(i+1) ~ /^ignored/) s += $i }
    } END { if (status != 0 && f == 0) f = 1; print p - aloud, f + 0, s + aloud }' "$1"
}

# pytest: "3 passed, 1 failed, 2 skipped in 1.2s"
count_pytest() {
  local passed failed skipped errors
  passed=$(sum_before "$1" passed) failed=$(sum_before "$1" failed) skipped=$(sum_before "$1" skipped)
  errors=$(sum_before "$1" 'errors?')
  failed=$((failed + errors))
  [ "$2" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
  say "$passed $failed $skipped"
}

# The sum over the summaries of several runs: lines "=== 12 passed, 1 skipped in 3.4s ===".
sum_before() { # log word
  { grep -aE '^=+ .* in [0-9.]+s' "$1" | grep -aoE "[0-9]+ $2" || true; } | awk '{ n += $1 } END { print n + 0 }'
}
