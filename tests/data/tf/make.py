#!/usr/bin/env python3
"""Writes vectors.json: what tf2's own BufferCore answers, for tests/policy/transforms.rs.

    apt-get install python3-tf2 && /usr/bin/python3 make.py

Debian's python3-tf2 is ROS 1's tf2 (0.7.6), whose buffer ROS 2 took over. Each scenario is a list of transforms, given in their
order to one buffer, and of questions to it: a lookup at a time, or at the newest common time (no stamp).
"""

import json
import math
import pathlib
import random

import rospy
import tf2_py
from geometry_msgs.msg import TransformStamped

ERRORS = {tf2_py.LookupException: "lookup", tf2_py.ConnectivityException: "connectivity",
          tf2_py.ExtrapolationException: "extrapolation"}
SECOND = 10**9
START = 1000 * SECOND  # tf2_py takes times as doubles in seconds: those of today are rounded to a quarter of a microsecond


class Scenario:
    def __init__(self, name):
        self.name, self.random = name, random.Random(name)
        self.buffer = tf2_py.BufferCore(rospy.Duration(10.0))
        self.transforms, self.lookups = [], []

    def send(self, parent, child, stamp, static=False):
        """A transform at random, `stamp` in ms after the start."""
        axis, angle = [self.random.gauss(0, 1) for _ in range(3)], self.random.uniform(-3.1, 3.1)
        length = math.sqrt(sum(value * value for value in axis))
        sign = self.random.choice((1.0, -1.0))
        rotation = [sign * value / length * math.sin(angle / 2) for value in axis] + [sign * math.cos(angle / 2)]
        translation = [round(self.random.uniform(-2, 2), 3) for _ in range(3)]
        nanos = START + round(stamp * 1_000_000)
        message = TransformStamped()
        message.header.frame_id, message.child_frame_id = parent, child
        message.header.stamp = rospy.Time(nanos // SECOND, nanos % SECOND)
        (message.transform.translation.x, message.transform.translation.y, message.transform.translation.z) = translation
        (message.transform.rotation.x, message.transform.rotation.y, message.transform.rotation.z,
         message.transform.rotation.w) = rotation
        (self.buffer.set_transform_static if static else self.buffer.set_transform)(message, "make.py")
        self.transforms.append([parent, child, nanos, static, *translation, *rotation])

    def ask(self, target, source, stamp=None):
        """A lookup `stamp` ms after the start; without one, at the newest common time."""
        nanos = None if stamp is None else START + round(stamp * 1_000_000)
        answer = {"target": target, "source": source, "stamp": nanos}
        try:
            if nanos is None:
                answer["common"] = self.buffer.get_latest_common_time(target, source).to_nsec()
            time = rospy.Time(0) if nanos is None else rospy.Time(nanos // SECOND, nanos % SECOND)
            found = self.buffer.lookup_transform_core(target, source, time).transform
            t, q = found.translation, found.rotation
            answer["pose"] = [t.x, t.y, t.z, q.x, q.y, q.z, q.w]
        except tuple(ERRORS) as error:
            answer["error"] = ERRORS[type(error)]
        except tf2_py.TransformException as error:  # get_latest_common_time, which has one exception for all
            answer["error"] = "lookup" if "does not exist" in str(error) else "connectivity"
        self.lookups.append(answer)

    def ask_all(self, frames, stamps):
        for target in frames:
            for source in frames:
                self.ask(target, source, self.random.choice(stamps))

    def result(self):
        return {"name": self.name, "transforms": self.transforms, "lookups": self.lookups}


def chain():
    """An arm at 50 Hz on a base at 10 Hz, with a static tool: interpolated between samples, up, down and across."""
    scenario = Scenario("chain")
    for step in range(21):
        scenario.send("base", "link_1", 20 * step)
        scenario.send("link_1", "link_2", 20 * step + 3)
    for step in range(5):
        scenario.send("world", "base", 100 * step)
    scenario.send("link_2", "tool", 0, static=True)
    scenario.send("base", "camera", 0, static=True)
    frames = ("world", "base", "link_1", "link_2", "tool", "camera")
    for _ in range(2):
        scenario.ask_all(frames, [None, 3, 17.5, 60, 200, 333.333, 399.9, 400])
    return scenario


def extrapolation():
    scenario = Scenario("extrapolation")
    scenario.send("base", "one", 100)
    for stamp in (100, 150, 200):
        scenario.send("base", "arm", stamp)
    scenario.send("arm", "hand", 150)
    scenario.send("root", "base", 120)
    for stamp in (None, 99, 99.999, 100, 150, 151, 200, 200.001, 300):
        for target, source in (("base", "arm"), ("arm", "base"), ("base", "one"), ("one", "arm"), ("base", "hand"),
                               ("root", "arm"), ("hand", "root")):
            scenario.ask(target, source, stamp)
    return scenario


def unconnected():
    scenario = Scenario("unconnected")
    for stamp in (0, 100):
        scenario.send("base", "arm", stamp)
        scenario.send("map", "odom", stamp)
    scenario.send("shelf", "box", 0, static=True)
    for stamp in (None, 50, 500):
        for target, source in (("base", "odom"), ("odom", "arm"), ("arm", "box"), ("base", "nowhere"), ("nowhere", "base"),
                               ("nowhere", "nothing"), ("shelf", "box"), ("box", "shelf"), ("base", "base")):
            scenario.ask(target, source, stamp)
    return scenario


def new_parent():
    """A cup that the gripper takes from the table and puts down on the shelf."""
    scenario = Scenario("new parent")
    for stamp in range(0, 1000, 100):
        scenario.send("base", "gripper", stamp)
        scenario.send("table" if stamp < 300 else "gripper" if stamp < 700 else "shelf", "cup", stamp + 10)
    scenario.send("base", "table", 0, static=True)
    scenario.send("base", "shelf", 0, static=True)
    for stamp in (None, 5, 10, 110, 210, 250, 309, 310, 311, 399, 500, 610, 700, 710, 750, 900, 905, 950):
        for target, source in (("base", "cup"), ("cup", "base"), ("gripper", "cup"), ("table", "cup"), ("cup", "shelf")):
            scenario.ask(target, source, stamp)
    return scenario


def old_parent_elsewhere():
    """A frame that moves to a tree of its own: connected before, not after."""
    scenario = Scenario("other tree")
    for stamp in (0, 100):
        scenario.send("base", "cup", stamp)
    for stamp in (200, 300):
        scenario.send("island", "cup", stamp)
    for stamp in (None, 50, 100, 150, 200, 250, 300):
        for target, source in (("base", "cup"), ("island", "cup"), ("cup", "base")):
            scenario.ask(target, source, stamp)
    return scenario


def order():
    """Samples late, twice, and older than the ten seconds of the buffer."""
    scenario = Scenario("order")
    for stamp in (5000, 5200, 5100, 5150, 5100, 20_000, 4000, 9_999.999, 10_000, 12_000, 15_000, 11_000):
        scenario.send("base", "arm", stamp)
    for stamp in (None, 4000, 5000, 5150, 9_999.999, 10_000, 10_001, 11_000, 11_500, 12_345, 17_000, 20_000):
        scenario.ask("base", "arm", stamp)
    return scenario


def statics():
    """A static transform that is sent again, one that moves later, and a static one of a frame that moved."""
    scenario = Scenario("statics")
    scenario.send("base", "mount", 0, static=True)
    scenario.send("base", "mount", 100, static=True)
    scenario.send("base", "camera", 100, static=True)
    scenario.send("mount", "camera", 200)
    for stamp in (0, 100):
        scenario.send("mount", "pan", stamp)
    scenario.send("mount", "pan", 50, static=True)
    for stamp in (None, 0, 25, 50, 75, 100, 1000):
        for target, source in (("base", "mount"), ("base", "camera"), ("camera", "mount"), ("base", "pan"), ("camera", "pan")):
            scenario.ask(target, source, stamp)
    return scenario


def loop():
    scenario = Scenario("loop")
    for stamp in (0, 100):
        scenario.send("a", "b", stamp)
        scenario.send("b", "c", stamp)
        scenario.send("c", "a", stamp)
    scenario.send("base", "arm", 50)
    for target, source in (("base", "a"), ("a", "base"), ("arm", "c")):
        scenario.ask(target, source, 50)
    return scenario


def trees():
    """Trees at random: 12 frames, each with its own rate and its first parent."""
    scenario = Scenario("trees")
    frames = [f"f{number}" for number in range(12)]
    for number, frame in enumerate(frames[1:], 1):
        parent, period = frames[scenario.random.randrange(number)], scenario.random.choice((10, 25, 40))
        if scenario.random.random() < 0.3:
            scenario.send(parent, frame, 0, static=True)
            continue
        for step in range(200 // period + 1):
            scenario.send(parent, frame, period * step)
    scenario.ask_all(frames, [None, 33.3, 71, 120, 159.9, 195])
    return scenario


def main():
    scenarios = [make().result() for make in (chain, extrapolation, unconnected, new_parent, old_parent_elsewhere, order,
                                              statics, loop, trees)]
    lines = []
    for scenario in scenarios:
        transforms = ",\n".join(json.dumps(transform) for transform in scenario["transforms"])
        lookups = ",\n".join(json.dumps(lookup) for lookup in scenario["lookups"])
        lines.append(f'{{"name": {json.dumps(scenario["name"])}, "transforms": [\n{transforms}],\n"lookups": [\n{lookups}]}}')
    text = "[" + ",\n".join(lines) + "]\n"
    (pathlib.Path(__file__).parent / "vectors.json").write_text(text)


if __name__ == "__main__":
    main()
