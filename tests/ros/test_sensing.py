"""A robot whose arms have drivers of their own and whose cameras are late."""

import collections
import math
import time

import pytest
from harness import CAMERAS, JOINTS, Feed, Parameters, seconds, wait_for
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState

SIDES = ("left", "right")
LATE_S = 0.24


class Drivers(Feed):
    """Joint states of each arm on a topic of its own, while the arms move; pictures that come late."""

    def __init__(self, robot, namespace="", late_s=0.0):
        self.late_s, self._pictures = late_s, collections.deque()
        self.namespace, self.sides, self.echoed = namespace, set(SIDES), ()
        super().__init__(robot, namespace, hz=40.0)

    def send(self):
        stamp = self.stamp()
        now = seconds(stamp)
        for side in SIDES:
            names = [name for name in JOINTS if name.startswith(side)] if side in self.sides else []
            names += [name for name in self.echoed if side == "right"]
            if names:
                message = JointState(name=names, position=[0.3 * math.sin(now + len(name)) for name in names])
                message.header.stamp = stamp
                self._publish(f"{self.namespace}/{side}/joint_states", message)
        self.send_joints = False
        self._pictures.append((now + self.late_s, self._samples(stamp)))
        while self._pictures and self._pictures[0][0] <= now:
            for topic, message in self._pictures.popleft()[1]:
                self._publish(topic, message)

    def _publish(self, topic, message):
        self.robot.publisher(topic, type(message), qos_profile_sensor_data).publish(message)


def of(chunk):
    """The stamps of a chunk's inputs, by name, s."""
    return {name: seconds(stamp) for name, stamp in zip(chunk.input_names, chunk.input_stamps)}


def two_topics(namespace):
    return {"inputs.joints.topics": [f"{namespace}/{side}/joint_states" for side in SIDES],
            "inputs.joints.max_age_ms": 400.0}


def test_with_late_cameras_the_state_is_that_of_the_picture_or_the_newest(robot, start):
    node = start({**two_topics("/late"), "inputs.pairing": "frame"}, ["-r", "__ns:=/late"])
    node.wait_until_ready()
    chunks, parameters = robot.chunks("/late/vla_trt"), Parameters(robot, "/late/vla_trt")
    with Drivers(robot, "/late", LATE_S):
        wait_for(lambda: len(chunks) > 10, lambda: f"chunks\n{node.log}")
        for chunk in chunks[2:]:
            stamps = of(chunk)
            oldest = min(stamps[camera] for camera in CAMERAS)
            assert stamps["joints"] == oldest == seconds(chunk.header.stamp), stamps
        assert parameters.set(**{"inputs.pairing": "newest"})[0].successful
        time.sleep(0.5)
        count = len(chunks)
        wait_for(lambda: len(chunks) > count + 5, "chunks again")
        for chunk in chunks[count + 1:]:
            stamps = of(chunk)
            assert stamps["joints"] - max(stamps[camera] for camera in CAMERAS) > 0.5 * LATE_S, stamps


@pytest.fixture(scope="module")
def two_arms(start):
    node = start({**two_topics("/arms"), "inputs.on_violation": "hold"}, ["-r", "__ns:=/arms"])
    node.wait_until_ready()
    return node


def test_a_driver_that_stops_is_named_by_its_joints_and_the_other_arm_goes_on(robot, two_arms):
    chunks = robot.chunks("/arms/vla_trt")
    with Drivers(robot, "/arms") as drivers:
        wait_for(lambda: len(chunks) > 3, lambda: f"chunks\n{two_arms.log}")
        assert set(chunks[-1].names) == set(JOINTS)
        drivers.sides.discard("right")
        wait_for(lambda: "joints stopped" in two_arms.log, lambda: two_arms.log)
        line = next(line for line in two_arms.lines if "joints stopped" in line)
        assert "`right_waist`" in line and "`left_waist`" not in line
        drivers.sides.add("right")
        count = len(chunks)
        wait_for(lambda: len(chunks) > count, "chunks again")


def test_a_joint_on_two_topics_brakes_and_is_named_with_both(robot, two_arms):
    chunks, heard = robot.chunks("/arms/vla_trt"), robot.diagnostics()
    with Drivers(robot, "/arms") as drivers:
        wait_for(lambda: len(chunks) > 3, lambda: f"chunks\n{two_arms.log}")
        drivers.echoed = ("left_waist",)
        wait_for(lambda: "joints ambiguous" in two_arms.log, lambda: two_arms.log)
        line = next(line for line in two_arms.lines if "joints ambiguous" in line)
        assert all(part in line for part in ("left_waist", "/arms/left/joint_states", "/arms/right/joint_states"))
        answer = robot.trigger("/arms/vla_trt/infer_once")
        assert not answer.success and "ambiguous" in answer.message

        def shown():
            ours = [s for a in heard for s in a.status if s.name == "arms/vla_trt: inputs"]
            return ours and ours[-1].level == b"\x02" and "ambiguous" in ours[-1].message

        wait_for(shown, "the error in /diagnostics")
        drivers.echoed = ()
        count = len(chunks)
        wait_for(lambda: len(chunks) > count, "chunks, once the echo has been silent for a second")
