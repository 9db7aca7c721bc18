"""Signals, crashes, restarts, and a console that nobody reads."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from harness import JOINTS, Feed, seconds, values, wait_for

WITHIN_S = 2.0
SPEED_LIMITS = {f"limits.{joint}.{field}": value for joint in JOINTS
                for field, value in (("velocity", 2.0), ("acceleration", 10.0))}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_node_cleanly(robot, start, number):
    node = start()
    node.wait_until_ready()
    with Feed(robot):
        chunks = robot.chunks()
        wait_for(lambda: chunks, "a chunk")
        code, took = node.signal(number)
    assert (code, took < WITHIN_S) == (0, True), (code, took, node.log)
    assert f"{signal.Signals(number).name}: shutting down" in node.log
    assert "panicked" not in node.log and "RCL_RET" not in node.log


def test_a_signal_while_starting_and_loading_ends_it_as_fast(start):
    for delay in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5):
        node = start()
        # Before its handlers exist a process dies of the signal; that is the system's doing.
        node.wait_for_log("runs policy")
        time.sleep(delay)
        code, took = node.signal(signal.SIGTERM)
        assert (code, took < WITHIN_S) == (0, True), (delay, code, took, node.log)


def test_signals_under_full_load_never_crash(robot, start):
    with Feed(robot, hz=60):
        for _ in range(5):
            node = start({"rate_hz": 50.0})
            node.wait_until_ready()
            chunks = robot.chunks()
            wait_for(lambda: len(chunks) > 3, "chunks")
            code, took = node.signal(signal.SIGINT)
            assert (code, took < WITHIN_S) == (0, True), (code, took, node.log)


def shared_memory():
    return {path.name for path in pathlib.Path("/dev/shm").glob("fastrtps_*")}


def test_nothing_is_left_behind(robot, start):
    before = shared_memory()
    node = start()
    node.wait_until_ready()
    maps = pathlib.Path(f"/proc/{node.process.pid}/maps").read_text()
    # The segments that the node made; those of ports belong to the domain and stay while it is used.
    own = {name for name in shared_memory() - before if f"/{name}" in maps and "port" not in name}
    assert own
    node.signal(signal.SIGINT)
    assert not own & shared_memory()


def test_after_a_kill_the_next_node_works(robot, start):
    node = start()
    node.wait_until_ready()
    with Feed(robot):
        chunks = robot.chunks()
        wait_for(lambda: chunks, "a chunk")
        code, _ = node.signal(signal.SIGKILL)
        assert code == -signal.SIGKILL
        again = start()
        again.wait_until_ready()
        count = len(chunks)
        wait_for(lambda: len(chunks) > count + 2, "chunks of the second node")
        assert chunks[-1].sequence <= len(chunks) - count


def test_two_nodes_run_side_by_side(robot, start):
    nodes = [start(arguments=["-r", f"__ns:=/{side}"]) for side in ("west", "east")]
    for node in nodes:
        node.wait_until_ready()
    with Feed(robot, namespace="/west"), Feed(robot, namespace="/east"):
        west, east = robot.chunks("/west/vla_trt"), robot.chunks("/east/vla_trt")
        wait_for(lambda: west and east, "chunks of both")


def test_a_hangup_brakes_the_robot_before_the_node_ends(robot, start):
    # Chunks of 16 rows of 0.25 s: only a brake ends the motion within the next half second.
    node = start({"max_blind_s": 4.0, "rate_hz": 2.0, **SPEED_LIMITS})
    node.wait_until_ready()
    trajectories = robot.trajectories()
    with Feed(robot):
        wait_for(lambda: trajectories and seconds(trajectories[-1].points[-1].time_from_start) > 1.0, "a long motion")
        code, took = node.signal(signal.SIGHUP)
    assert (code, took < WITHIN_S) == (0, True), (code, took, node.log)
    assert "SIGHUP: shutting down" in node.log
    wait_for(lambda: seconds(trajectories[-1].points[-1].time_from_start) < 1.0, lambda: f"the way to rest\n{node.log}")
    assert not any(trajectories[-1].points[-1].velocities)


def test_a_node_under_nohup_outlives_its_terminal(start):
    node = start(prefix=["nohup"])
    node.wait_until_ready()
    node.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert node.process.poll() is None
    code, _ = node.signal(signal.SIGTERM)
    assert code == 0 and "SIGHUP" not in node.log


@contextlib.contextmanager
def unread_pipe():
    """The write end of a pipe that is full and stays so."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    # As any parent hands it on: writes wait.
    os.set_blocking(writing, True)
    try:
        yield writing
    finally:
        os.close(writing)
        os.close(reading)


def told(heard, task):
    """The newest figures of the node /vla_trt; other nodes may run beside it."""
    ours = [status for array in list(heard) for status in array.status if status.name == f"vla_trt: {task}"]
    return values(ours[-1]) if ours else {}


def test_a_stderr_that_nobody_reads_stops_nothing(robot, start):
    heard = robot.diagnostics()
    with unread_pipe() as pipe, Feed(robot):
        node = start({"log_level": "debug", "log_shapes": True, "rate_hz": 20.0}, stderr=pipe)
        chunks = robot.chunks()
        wait_for(lambda: len(chunks) > 30, lambda: f"chunks; {len(chunks)} came")
        wait_for(lambda: told(heard, "motion"), "diagnostics")
        assert robot.trigger("/vla_trt/infer_once").success
        code, took = node.signal(signal.SIGTERM)
    assert (code, took < WITHIN_S) == (0, True), (code, took)


def test_the_last_words_of_a_node_that_cannot_start_do_not_wait_for_a_reader(start):
    with unread_pipe() as pipe:
        node = start({"policy": "/nowhere"}, stderr=pipe)
        assert node.wait() == 1


def test_the_last_words_are_all_there_when_somebody_reads(start):
    node = start({"policy": "/nowhere"})
    assert node.wait() == 1
    assert "/nowhere" in node.lines[-1]


def test_a_stderr_that_is_closed_is_no_reason_to_stop(robot, start):
    reading, writing = os.pipe()
    node = start({"log_level": "debug"}, stderr=writing)
    os.close(writing)
    os.close(reading)
    with Feed(robot):
        chunks = robot.chunks()
        wait_for(lambda: len(chunks) > 3, "chunks")
    code, took = node.signal(signal.SIGTERM)
    assert (code, took < WITHIN_S) == (0, True), (code, took)


def test_lines_that_were_lost_are_counted_and_told_when_somebody_reads_again(robot, start, tmp_path):
    reading, writing = os.pipe()
    node = start({"log_level": "debug", "log_shapes": True, "rate_hz": 50.0}, stderr=writing)
    os.close(writing)
    heard = robot.diagnostics()
    key = "log lines that stderr did not take"
    with Feed(robot, hz=60):
        wait_for(lambda: int(told(heard, "output").get(key, 0)) > 0, "lost lines", timeout=120)
        log = tmp_path / "log"
        with log.open("w") as file:
            reader = subprocess.Popen(["cat"], stdin=reading, stdout=file)
        os.close(reading)
        wait_for(lambda: "log lines were lost here: stderr was not read" in log.read_text(), "the gap in the log")
        code, _ = node.signal(signal.SIGTERM)
    reader.wait()
    assert code == 0 and "SIGTERM: shutting down" in log.read_text()


def realtime_threads(process):
    """{thread: (policy, priority)} of a process; policy 1 is SCHED_FIFO."""
    found = {}
    for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        found[(task / "comm").read_text().strip()] = (int(fields[41 - 3]), int(fields[40 - 3]))
    return found


# As a user without the right: no capability, and the limit that most systems have.
UNPRIVILEGED = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "prlimit", "--rtprio=0"]


@pytest.mark.parametrize("prefix", [[], UNPRIVILEGED], ids=["as this user", "without the right"])
def test_real_time_priority_is_in_force_or_refused_with_what_to_set(start, prefix):
    if prefix and (os.geteuid() != 0 or shutil.which("setpriv") is None or shutil.which("prlimit") is None):
        pytest.skip("only root can give rights up with setpriv and prlimit")
    node = start({"realtime.priority": 20}, prefix=prefix)
    node.wait_until_ready()
    threads = realtime_threads(node.process)
    for thread in ("watchdog", "stream"):
        refused = f"the {thread} thread runs without real-time priority" in node.log
        assert refused or not prefix
        assert threads[thread] == ((0, 0) if refused else (1, 20)), node.log
        if refused:
            assert "rtprio 20" in node.log and "Operation not permitted" in node.log
    assert threads["inference"] == (0, 0)
    assert node.signal(signal.SIGTERM)[0] == 0
