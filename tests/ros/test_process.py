"""Signals, crashes and restarts."""

import pathlib
import signal
import time

import pytest
from harness import Feed, wait_for

WITHIN_S = 2.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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


def test_nothing_is_left_behind(robot, start):
    def segments():
        return {path.name for path in pathlib.Path("/dev/shm").glob("fastrtps_*")}
    before = segments()
    node = start()
    node.wait_until_ready()
    node.signal(signal.SIGINT)
    # The robot of this test keeps its own; ports are shared and stay while anyone uses the domain.
    left = {name for name in segments() - before if "port" not in name}
    assert not left


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
