"""A live run over topics and a replay of the same messages from a bag give the same chunks, bit by bit."""

import subprocess
import time

import yaml
from builtin_interfaces.msg import Time
from harness import CAMERAS, JOINTS, Feed, parameters, wait_for
from rclpy.qos import qos_profile_sensor_data
from recording import PERIOD_NS, golden_replay, identity, run_live, type_name, write_bag
from sensor_msgs.msg import JointState

SETS = 25

# The live run may take its time; what counts is the identity of each observation.
PATIENT = {f"inputs.{name}.max_age_ms": 600_000.0
           for name in (*(f"cameras.{camera}" for camera in CAMERAS), "joints")}
PATIENT |= {"inputs.max_skew_ms": 0.0, "seed": 3, "action.step_s": 10.0,
            "limits.left_waist.min": -0.05, "limits.left_waist.max": 0.05}


def test_live_and_replay_agree_on_every_chunk(robot, start, tool, policy, tmp_path):
    node = start({**PATIENT, "rate_hz": -1.0})
    node.wait_until_ready()
    chunks = robot.chunks()
    feed = Feed(robot, hz=0)
    # Best effort: what is sent before the subscriptions match is lost.
    wait_for(lambda: (feed.send(), robot.trigger("/vla_trt/infer_once").success)[1], "the first inference")
    recorded, live = run_live(robot, feed, chunks, SETS)
    assert len({tuple(chunk.values) for chunk in live}) == SETS, "chunks must differ for their equality to mean much"
    column = list(live[0].names).index("left_waist")
    clamped = {value for chunk in live for value in list(chunk.values)[column::len(JOINTS)]}
    assert clamped and all(-0.05 - 1e-6 <= value <= 0.05 + 1e-6 for value in clamped)

    replay = golden_replay(tool, policy, tmp_path, recorded, live, {**parameters(), **PATIENT})
    same = replay()
    assert same.returncode == 0, same.stdout + same.stderr
    assert f"{SETS} chunks" in same.stdout
    other = replay("-p", "seed:=4")
    assert other.returncode == 3, "another seed must not give the same chunks"


class TwoDrivers(Feed):
    """Two arms on topics of their own, each with samples before and after the pictures, which come last."""

    SIDES = ("left", "right")
    #: Stamps of each side's samples, ms from the pictures', and how far its joints have moved there, rad.
    SAMPLES = {"left": ((-10, -0.02), (15, 0.03)), "right": ((-5, 0.01), (20, -0.04))}

    def send(self):
        """As of a robot: what is on its way comes before the pictures; returns everything in that order."""
        stamp = self.stamp()
        at = stamp.sec * 10**9 + stamp.nanosec
        joints = [(f"/{side}/joint_states", self._joints(side, at + ms * 1_000_000, moved))
                  for side in self.SIDES for ms, moved in self.SAMPLES[side]]
        self.send_joints = False
        pictures = self._samples(stamp)
        for sent in (joints, pictures):
            for topic, message in sent:
                self.robot.publisher(topic, type(message), qos_profile_sensor_data).publish(message)
            time.sleep(0.05)
        return joints + pictures

    def _joints(self, side, at, moved):
        names = [name for name in JOINTS if name.startswith(side)]
        message = JointState(name=names, position=[self.positions[name] + moved for name in names])
        message.header.stamp = Time(sec=at // 10**9, nanosec=at % 10**9)
        return message


#: The whole set is logged this long after the pictures' stamp.
LOGGED_AFTER_NS = 30_000_000


def test_two_topics_of_joints_paired_with_the_frame_agree_on_every_chunk(robot, start, tool, policy, tmp_path):
    paired = {**PATIENT, "inputs.pairing": "frame", "inputs.joints.topics": ["/left/joint_states", "/right/joint_states"]}
    node = start({**paired, "rate_hz": -1.0})
    node.wait_until_ready()
    chunks = robot.chunks()
    feed = TwoDrivers(robot, hz=0)
    wait_for(lambda: (feed.send(), robot.trigger("/vla_trt/infer_once").success)[1], "the first inference")
    recorded, live, begin = [], [], time.time_ns()
    for number in range(SETS):
        stamp = begin + number * PERIOD_NS
        feed.stamp = lambda: Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        feed.brightness = 9 * number
        feed.positions = {name: 0.1 * i + 0.02 * number for i, name in enumerate(JOINTS)}
        time.sleep(max(0.0, (stamp + LOGGED_AFTER_NS - time.time_ns()) * 1e-9))
        recorded += [(topic, type_name(message), stamp + LOGGED_AFTER_NS, message) for topic, message in feed.send()]
        # Joints and pictures are of one time.
        wanted = [(stamp // 10**9, stamp % 10**9)] * (len(CAMERAS) + 1)

        def inferred():
            robot.trigger("/vla_trt/infer_once")
            return next((chunk for chunk in chunks if identity(chunk) == wanted), None)

        live.append(wait_for(inferred, f"the chunk of set {number}"))
    assert len({tuple(chunk.values) for chunk in live}) == SETS, "chunks must differ for their equality to mean much"

    replay = golden_replay(tool, policy, tmp_path, recorded, live, {**parameters(), **paired})
    same = replay()
    assert same.returncode == 0, same.stdout + same.stderr
    assert f"{SETS} chunks" in same.stdout
    other = replay("-p", "inputs.pairing:=newest", "-p", "inputs.max_skew_ms:=100.0")
    assert other.returncode == 3, "the newest states must not give the same chunks"


def test_a_bag_that_does_not_reach_back_as_far_as_the_frame_is_refused_with_figures(robot, tool, policy, tmp_path):
    feed = TwoDrivers(robot, hz=0)
    feed.SAMPLES = {"left": ((5, 0.0), (15, 0.0)), "right": ((5, 0.0), (20, 0.0))}
    stamp = 1_700_000_000 * 10**9
    feed.stamp = lambda: Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
    bag, params = tmp_path / "short.db3", tmp_path / "params.yaml"
    write_bag(bag, [(topic, type_name(message), stamp + LOGGED_AFTER_NS, message) for topic, message in feed.send()])
    values = {**parameters(), **PATIENT, "inputs.pairing": "frame", "rate_hz": 1e9 / PERIOD_NS,
              "inputs.joints.topics": ["/left/joint_states", "/right/joint_states"]}
    params.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    command = [tool, "replay", bag, "--policy", policy, "--params", params, "-o", tmp_path / "out.mcap"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "joints short" in said and "30.0 ms ago" in said and "25.0 ms" in said, said
