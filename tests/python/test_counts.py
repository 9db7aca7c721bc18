"""test.sh counts as skipped what skipped itself, and nothing that a filter left out."""

import pathlib
import subprocess

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"

NEXTEST = """\
    Starting 3 tests across 2 binaries (825 tests skipped)
        PASS [   0.012s] (1/3) vla_trt::oracle first
  stderr ---
    SKIPPED: no oracle at /shared/oracle
    SKIPPED: no oracle at /shared/oracle
        PASS [   0.034s] (2/3) vla_trt::oracle second
  stderr ---
    SKIPPED: no oracle at /shared/oracle
        PASS [   0.056s] (3/3) vla_trt::bag third
     Summary [   0.100s] 3 tests run: 3 passed, 825 skipped
"""

CARGO = """\
running 3 tests
---- first stdout ----
SKIPPED: no oracle
---- second stdout ----
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 12 filtered out; finished in 0.01s
"""


def count(folder, counter, log, status=0):
    path = folder / "log"
    path.write_text(log)
    script = f'. "{SCRIPTS}/lib.sh"; . "{SCRIPTS}/count_tests.sh"; {counter} "{path}" {status}'
    return subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True).stdout.split()


def test_nextest_counts_tests_that_skipped_themselves_once_and_filters_not_at_all(tmp_path):
    assert count(tmp_path, "count_nextest", NEXTEST) == ["1", "0", "2"]
    assert count(tmp_path, "count_nextest", "     Summary [ 1s] 9 tests run: 9 passed, 825 skipped\n") == ["9", "0", "0"]


def test_a_run_that_did_not_build_is_a_failure(tmp_path):
    assert count(tmp_path, "count_nextest", "error: could not compile\n", 101) == ["0", "1", "0"]


def test_cargo_test_counts_what_is_ignored_and_what_skipped_itself(tmp_path):
    assert count(tmp_path, "count_cargo_test", CARGO) == ["1", "0", "2"]


def test_a_check_that_skipped_itself_is_skipped(tmp_path):
    assert count(tmp_path, "count_one", "  SKIPPED: no cross compiler\n") == ["0", "0", "1"]
    assert count(tmp_path, "count_one", "fine\n") == ["1", "0", "0"]
