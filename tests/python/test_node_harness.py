"""scripts/node_harness.py without ROS: domains, and processes that end."""

import pathlib
import signal
import subprocess
import sys

import node_harness
import pytest
from node_harness import Failure, LoggedProcess, Process, wait_for

SCRIPTS = pathlib.Path(node_harness.__file__).parent


def test_workers_of_one_run_choose_from_different_domains(monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    chosen = []
    for worker in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{worker}")
        chosen.append({node_harness.unused_domain() for _ in range(200)})
    assert all(domains <= set(range(1, 101)) for domains in chosen)
    assert not chosen[0] & chosen[1] and not chosen[1] & chosen[2] and not chosen[0] & chosen[2]


def test_a_domain_whose_ports_are_open_is_not_chosen(monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    # The ports of every domain but 42.
    monkeypatch.setattr(node_harness, "_open_udp_ports", lambda: {7400 + 250 * d + 11 for d in range(1, 101) if d != 42})
    assert node_harness.unused_domain() == 42


def test_a_process_that_ignores_sigint_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(node_harness, "STOPPED_WITHIN_S", 0.5)
    deaf = LoggedProcess("The node", ["sh", "-c", "trap '' INT; echo ready; sleep 60 & wait; wait"], tmp_path / "log", detached=True)
    wait_for(lambda: "ready" in deaf.log.read_text(), "its first line")
    assert deaf.end() is None
    assert deaf.code() == -signal.SIGKILL


def test_a_failure_shows_the_end_of_the_log(tmp_path):
    process = LoggedProcess("The node", ["sh", "-c", "seq 1 100; exit 3"], tmp_path / "log")
    assert process.wait() == 3
    with pytest.raises(Failure, match="The node ended with exit code 3") as caught:
        raise process.failure("ended with exit code 3")
    lines = str(caught.value).splitlines()
    assert lines[-1] == "  | 100" and len(lines) == 16


def test_a_detached_process_ends_with_its_parent():
    script = (f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); from node_harness import Process; "
              "print(Process(['sleep', '60'], detached=True).process.pid, flush=True); import os; os._exit(9)")
    parent = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    child = pathlib.Path("/proc") / parent.stdout.strip() / "status"

    def ended():
        return not child.exists() or "\tZ" in child.read_text()

    assert parent.returncode == 9
    wait_for(ended, "the end of the child", timeout=5.0)


def test_a_running_process_has_no_exit_code():
    process = Process(["sleep", "60"])
    assert process.code() is None
    process.kill()
    assert process.code() == process.end() == -signal.SIGKILL
