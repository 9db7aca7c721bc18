"""Simulated time: ages, ticks and stamps follow /clock."""

import threading
import time

import pytest
from builtin_interfaces.msg import Time
from harness import Feed, Parameters, seconds, statuses, values, wait_for
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

START_S = 1000.0


class SimulatedClock:
    """Publishes /clock at a hundred steps a second of real time, `speed` times as fast as that."""

    def __init__(self, robot, speed=1.0):
        self.now_s = START_S
        self.speed = speed
        self.publisher = robot.publisher("/clock", Clock, QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.01):
            self.now_s += 0.01 * self.speed
            self.publisher.publish(Clock(clock=self.stamp()))

    def stamp(self):
        whole = int(self.now_s)
        return Time(sec=whole, nanosec=int((self.now_s - whole) * 1e9))

    def close(self):
        self._stop.set()
        self._thread.join(5)


@pytest.fixture(scope="module")
def node(start):
    node = start({"use_sim_time": True, "rate_hz": 5.0, "inputs.future_tolerance_ms": 500.0})
    node.wait_until_ready()
    return node


def test_without_a_clock_the_node_says_what_it_waits_for(robot, node):
    heard = robot.diagnostics()
    wait_for(lambda: heard and "/clock" in statuses(heard[-1])["inputs"].message, "the hint")


@pytest.mark.alone
def test_stamps_and_ticks_follow_the_clock(robot, node):
    clock = SimulatedClock(robot, speed=0.5)
    try:
        with Feed(robot, stamp=clock.stamp):
            chunks = robot.chunks()
            wait_for(lambda: len(chunks) >= 3, lambda: f"chunks\n{node.log}")
            chunk = chunks[-1]
            assert START_S <= seconds(chunk.header.stamp) < START_S + 600
            # 5 Hz of a clock at half speed.
            count, begun = len(chunks), time.monotonic()
            time.sleep(4)
            rate = (len(chunks) - count) / (time.monotonic() - begun)
            assert 1.5 < rate < 3.5, rate
            # The clock stands still: no tick, no chunk, whatever the real time.
            clock.speed = 0.0
            time.sleep(0.5)
            count = len(chunks)
            time.sleep(1.0)
            assert len(chunks) == count
    finally:
        clock.close()


def test_a_clock_that_jumps_back_is_reported_and_work_goes_on(robot, node):
    clock = SimulatedClock(robot)
    clock.now_s = START_S + 5000
    try:
        with Feed(robot, stamp=clock.stamp):
            chunks = robot.chunks()
            wait_for(lambda: any(seconds(c.header.stamp) > START_S + 4000 for c in chunks), lambda: node.log)
            clock.now_s = START_S
            node.wait_for_log("clock went back")
            wait_for(lambda: seconds(chunks[-1].header.stamp) < START_S + 4000, lambda: f"chunks again\n{node.log}")
        heard = robot.diagnostics()
        wait_for(lambda: heard and int(values(statuses(heard[-1])["inputs"])["clock jumps back"]) > 0, "the counter")
    finally:
        clock.close()


def test_sim_time_is_fixed_at_start(robot, node):
    parameters = Parameters(robot)
    assert parameters.describe("use_sim_time")[0].read_only
    assert not parameters.set(use_sim_time=False)[0].successful
