"""scripts/play_bag.py, listened to by rclpy. Skipped aloud where rclpy or rosbags is missing."""

import os
import pathlib
import pty
import shutil
import signal
import struct
import subprocess
import sys
import time

import play_bag
import pytest
from node_harness import isolate_ros

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "play_bag.py"
SAMPLE = ROOT / "data" / "aloha_cube"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND

rclpy = pytest.importorskip("rclpy", reason="needs a sourced ROS 2")
pytest.importorskip("rosbags.rosbag2", reason="needs the Python package rosbags")

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data  # noqa: E402
from rosbags.interfaces import (  # noqa: E402
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CompressedImage, JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RELIABLE = QoSProfile(depth=1000)


# ------------------------------------------------------------------------------------------------- bags to play


def qos(reliable, latched):
    forever = QosTime(9223372036, 854775807)
    reliability = QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    automatic = QosLiveliness.AUTOMATIC
    return [Qos(QosHistory.KEEP_LAST, 1000, reliability, durability, forever, forever, automatic, forever, False)]


def joint_state(stamp_ns, count=0):
    """A serialized JointState without joints, whose frame_id tells it from the others."""
    frame = f"{count:07d}".encode() + b"\0"
    sec, nanosec = divmod(stamp_ns, SECOND)
    return b"\0\1\0\0" + struct.pack("<iII", sec, nanosec, len(frame)) + frame + struct.pack("<IIII", 0, 0, 0, 0)


def text(words):
    data = words.encode() + b"\0"
    return padded(b"\0\1\0\0" + struct.pack("<I", len(data)) + data)


def padded(data):
    """As it arrives: RTPS fills a payload up to a multiple of four bytes."""
    return data + bytes(-len(data) % 4)


def make_bag(path, messages, plugin=StoragePlugin.MCAP, profiles=None):
    """A bag of (topic, type, ns after START, bytes)."""
    store = get_typestore(Stores.ROS2_JAZZY)
    with Writer(path, version=8, storage_plugin=plugin) as writer:
        connections = {}
        for topic, msgtype, after, data in messages:
            if topic not in connections:
                offered = (profiles or {}).get(topic, qos(True, msgtype == "std_msgs/msg/String"))
                connection = writer.add_connection(topic, msgtype, typestore=store, offered_qos_profiles=offered)
                connections[topic] = connection
            writer.write(connections[topic], START + after, data)
    return path


def steady(count, step_ns, topic="/test/joints"):
    """JointState messages whose stamps equal their log times, and one text at the start."""
    messages = [("/test/text", "std_msgs/msg/String", 0, text("lift the cube"))]
    for i in range(count):
        messages.append((topic, "sensor_msgs/msg/JointState", i * step_ns, joint_state(START + i * step_ns, i)))
    return messages


# ------------------------------------------------------------------------------------------------- listening


@pytest.fixture(scope="module", autouse=True)
def domain():
    """A domain of this process, on this host only."""
    isolate_ros()
    rclpy.init()
    yield
    rclpy.shutdown()


class Listener:
    """A node that keeps the bytes of everything it hears, with the time it heard it."""

    def __init__(self, **topics):
        self.node = rclpy.create_node("listener")
        self.heard = []
        for name, (topic, message_type, profile) in topics.items():
            self.node.create_subscription(
                message_type,
                topic,
                lambda data, name=name: self.heard.append((name, time.time_ns(), bytes(data))),
                profile,
                raw=True,
            )

    def spin(self, process, after=0.3):
        """Until the player has ended, and a moment longer."""
        while process.poll() is None:
            rclpy.spin_once(self.node, timeout_sec=0.02)
        end = time.monotonic() + after
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.02)

    def until(self, count, seconds=20):
        end = time.monotonic() + seconds
        while len(self.heard) < count and time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.02)
        assert len(self.heard) >= count

    def of(self, name):
        return [data for one, _, data in self.heard if one == name]


@pytest.fixture
def listen():
    """Makes listeners; ends their nodes."""
    listeners = []

    def make(**topics):
        listeners.append(Listener(**topics))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.node.destroy_node()


def start(bag, *options, **more):
    command = [sys.executable, str(SCRIPT), str(bag), *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def play(listener, bag, *options):
    """Plays to the end; gives what the player said."""
    process = start(bag, *options, "--wait-for-subscribers")
    listener.spin(process)
    said = process.stderr.read()
    assert process.returncode == 0, said
    return said


def refused(bag, *options):
    """What the player says when it cannot play."""
    process = start(bag, *options)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    return said


JOINTS = ("/test/joints", JointState, RELIABLE)
TEXT = ("/test/text", String, LATCHED)


def stamp(data):
    sec, nanosec = struct.unpack_from("<iI", data, 4)
    return sec * SECOND + nanosec


# ------------------------------------------------------------------------------------------------- what is played


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_every_message_arrives_as_the_bytes_that_were_recorded(listen, tmp_path, plugin):
    messages = steady(100, SECOND // 200)
    listener = listen(joints=JOINTS, text=TEXT)
    said = play(listener, make_bag(tmp_path / "bag", messages, plugin))
    assert listener.of("joints") == [data for topic, _, _, data in messages if topic == "/test/joints"]
    assert listener.of("text") == [text("lift the cube")]
    assert "played after 101 messages" in said and "/test/joints 100" in said


def test_the_sample_bag_arrives_with_its_pictures(listen):
    topics = [f"/camera/{name}/image_raw/compressed" for name in ("top", "left_wrist", "right_wrist")]
    profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
    listener = listen(**{topic: (topic, CompressedImage, profile) for topic in topics})
    play(listener, SAMPLE, "--rate", "4", "--topics", *topics)
    with Reader(SAMPLE) as reader:
        for topic in topics:
            chosen = [connection for connection in reader.connections if connection.topic == topic]
            recorded = [padded(bytes(data)) for _, _, data in reader.messages(chosen)]
            # Best effort, as recorded: what arrives is whole and in order.
            heard = listener.of(topic)
            assert len(heard) > 60 and [data for data in recorded if data in set(heard)] == heard


def test_messages_keep_their_distance_and_rate_divides_it(listen, tmp_path):
    bag = make_bag(tmp_path / "bag", steady(11, SECOND // 10))
    took = {}
    for rate in (1, 4):
        listener = listen(joints=JOINTS, text=TEXT)
        play(listener, bag, "--rate", rate)
        times = [when for name, when, _ in listener.heard if name == "joints"]
        assert len(times) == 11
        took[rate] = (times[-1] - times[0]) / SECOND
    assert took[1] > 0.8 and took[4] > 0.2, "not before its time"
    assert took[4] < took[1], "four times as fast"


def test_fresh_stamps_begin_now_and_run_with_the_clock(listen, tmp_path):
    bag = make_bag(tmp_path / "bag", steady(21, SECOND // 20))
    listener = listen(joints=JOINTS, text=TEXT)
    before = time.time_ns()
    play(listener, bag, "--stamps", "now", "--rate", "2")
    stamps = [stamp(data) for data in listener.of("joints")]
    assert len(stamps) == 21
    steps = {later - earlier for earlier, later in zip(stamps, stamps[1:])}
    assert steps <= {SECOND // 40 + slip for slip in (-1, 0, 1)}, "recorded at 20 Hz, played at twice the speed"
    assert before < stamps[0]
    for name, when, data in listener.heard:
        if name == "joints":
            # Neither from the future nor old.
            assert 0 <= (when - stamp(data)) / SECOND < 5.0
    # Nothing but the stamps has changed.
    recorded = [data for topic, _, _, data in steady(21, SECOND // 20) if topic == "/test/joints"]
    assert [data[:4] + data[12:] for data in listener.of("joints")] == [data[:4] + data[12:] for data in recorded]
    assert listener.of("text") == [text("lift the cube")]


def test_stamps_are_mapped_in_the_byte_order_of_the_message_and_zero_stays_zero():
    times = play_bag.TimeMap(first=START, begun=0, wall=5 * SECOND, rate=1.0)
    little = joint_state(START + 3, 1)
    assert stamp(play_bag.restamp(little, times)) == 5 * SECOND + 3
    sec, nanosec = divmod(START + 3, SECOND)
    big = b"\0\0\0\0" + struct.pack(">iI", sec, nanosec) + b"rest"
    assert play_bag.restamp(big, times) == b"\0\0\0\0" + struct.pack(">iI", 5, 3) + b"rest"
    unset = joint_state(0)
    assert play_bag.restamp(unset, times) == unset
    earlier = joint_state(START - SECOND // 2)
    assert stamp(play_bag.restamp(earlier, times)) == 5 * SECOND - SECOND // 2
    with pytest.raises(play_bag.PlayError, match="at least 12 bytes"):
        play_bag.restamp(b"\0\1\0\0\0\0", times)
    far = play_bag.TimeMap(first=0, begun=0, wall=2**62, rate=1.0)
    with pytest.raises(play_bag.PlayError, match="does not fit"):
        play_bag.restamp(joint_state(SECOND), far)


def test_the_clock_shows_bag_time_and_is_never_behind_a_message(listen, tmp_path):
    messages = steady(5, SECOND // 10)
    gap = 4 * SECOND // 10 + SECOND
    messages.append(("/test/joints", "sensor_msgs/msg/JointState", gap, joint_state(START + gap, 99)))
    listener = listen(joints=JOINTS, text=TEXT, clock=("/clock", Clock, RELIABLE))
    play(listener, make_bag(tmp_path / "bag", messages), "--clock", "50")
    shown = [stamp(data) for data in listener.of("clock")]
    assert shown == sorted(set(shown)), "the clock only moves forward"
    assert shown[0] == START and shown[-1] == START + gap
    for data in listener.of("joints"):
        assert stamp(data) in shown
    ticks = [one for one in shown if START + 4 * SECOND // 10 < one < START + gap]
    assert 10 < len(ticks) < 60, "50 Hz through the second without messages"


def test_a_loop_goes_on_until_it_is_stopped_and_stops_cleanly(listen, tmp_path):
    bag = make_bag(tmp_path / "bag", steady(10, SECOND // 50))
    for number in (signal.SIGINT, signal.SIGTERM):
        listener = listen(joints=JOINTS, text=TEXT)
        process = start(bag, "--loop", "--stamps", "now", "--wait-for-subscribers")
        listener.until(35)
        process.send_signal(number)
        asked = time.monotonic()
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0 and time.monotonic() - asked < 5
        assert "stopped after" in said and "Traceback" not in said
        stamps = [stamp(data) for data in listener.of("joints")]
        assert stamps == sorted(set(stamps)), "fresh stamps never jump back"


def test_a_wait_for_the_next_message_can_be_stopped(tmp_path):
    messages = steady(1, 1)
    messages.append(("/test/joints", "sensor_msgs/msg/JointState", 3600 * SECOND, joint_state(START, 1)))
    process = start(make_bag(tmp_path / "bag", messages))
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, said = process.communicate(timeout=10)
    assert process.returncode == 0 and time.monotonic() - asked < 5
    assert "stopped after 2 messages" in said


def test_offset_and_duration_cut_a_part_and_latched_values_from_before_it_are_given(listen, tmp_path):
    bag = make_bag(tmp_path / "bag", steady(31, SECOND // 10))
    listener = listen(joints=JOINTS, text=TEXT)
    play(listener, bag, "--start-offset", "1", "--duration", "0.5")
    first = START + SECOND
    assert [stamp(data) for data in listener.of("joints")] == [first + i * SECOND // 10 for i in range(6)]
    assert listener.of("text") == [text("lift the cube")]
    assert listener.heard[0][0] == "text" or listener.heard[1][0] == "text"


def test_only_the_topics_asked_for_are_published(listen, tmp_path):
    bag = make_bag(tmp_path / "bag", steady(5, SECOND // 50))
    listener = listen(joints=JOINTS, text=TEXT)
    process = start(bag, "--topics", "/test/joints")
    listener.spin(process)
    assert "/test/text" not in process.stderr.read()
    assert not listener.of("text")


def test_topics_without_recorded_qos_get_sensor_data_and_latched_text(listen, tmp_path):
    profiles = {"/test/joints": [], "/test/text": []}
    bag = make_bag(tmp_path / "bag", steady(20, SECOND // 20), profiles=profiles)
    listener = listen(text=TEXT, joints=("/test/joints", JointState, qos_profile_sensor_data))
    process = start(bag, "--wait-for-subscribers")
    listener.until(3)
    publishers = {topic: listener.node.get_publishers_info_by_topic(topic) for topic in ("/test/joints", "/test/text")}
    offered = {topic: found[0].qos_profile for topic, found in publishers.items()}
    listener.spin(process)
    assert offered["/test/joints"].reliability == ReliabilityPolicy.BEST_EFFORT
    assert offered["/test/text"].reliability == ReliabilityPolicy.RELIABLE
    assert offered["/test/text"].durability == DurabilityPolicy.TRANSIENT_LOCAL


def test_remaps_are_ros_arguments(listen, tmp_path):
    bag = make_bag(tmp_path / "bag", steady(5, SECOND // 50))
    listener = listen(joints=("/elsewhere", JointState, RELIABLE))
    play(listener, bag, "--topics", "/test/joints", "--ros-args", "-r", "/test/joints:=/elsewhere", "--")
    assert len(listener.of("joints")) == 5


# ------------------------------------------------------------------------------------------------- what is refused


def test_a_subscriber_that_does_not_come_is_named(tmp_path):
    said = refused(make_bag(tmp_path / "bag", steady(5, 1)), "--wait-for-subscribers", "0.5")
    assert "within 0.5 s" in said and "/test/joints" in said and "ros2 topic info" in said


def test_bad_bags_are_refused_in_words(tmp_path):
    good = make_bag(tmp_path / "good", steady(50, 1))
    mcap = good / "good.mcap"
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(mcap.read_bytes()[:-100])
    wrong = tmp_path / "wrong.mcap"
    wrong.write_bytes(b"not a bag at all")
    nothing = tmp_path / "nothing.mcap"
    nothing.write_bytes(b"")
    missing = tmp_path / "missing"
    shutil.copytree(good, missing)
    (missing / "good.mcap").unlink()
    bare = tmp_path / "bare"
    shutil.copytree(good, bare)
    (bare / "metadata.yaml").unlink()
    empty = make_bag(tmp_path / "empty", [])
    cases = {
        tmp_path / "nowhere": ["nowhere", "found nothing there"],
        cut: ["cut.mcap", "mcap recover"],
        wrong: ["wrong.mcap", "expected a readable rosbag2 bag"],
        nothing: ["nothing.mcap", "empty"],
        missing: ["missing", "good.mcap"],
        bare: ["metadata.yaml", "good.mcap", "ros2 bag reindex"],
        empty: ["empty", "expected a bag with messages"],
    }
    for bag, words in cases.items():
        said = refused(bag)
        for word in words:
            assert word in said, said


def test_a_damaged_message_area_ends_the_play_in_words(tmp_path):
    bag = make_bag(tmp_path / "bag", steady(50, 1))
    data = bytearray((bag / "bag.mcap").read_bytes())
    at = bytes(data).index(b"0000010\0")
    data[at - 60 : at] = b"\xff" * 60
    (bag / "bag.mcap").write_bytes(data)
    assert "expected a readable rosbag2 bag" in refused(bag)


def test_wrong_choices_are_refused_with_the_right_ones(tmp_path):
    bag = make_bag(tmp_path / "bag", steady(5, SECOND // 10))
    said = refused(bag, "--topics", "/test/joints", "/nope")
    assert "no topic /nope" in said and "/test/joints, /test/text" in said
    assert "expected at most the bag's 0.400 s, found 9 s" in refused(bag, "--start-offset", "9")
    assert "ROS 2 does not start" in refused(bag, "--ros-args", "-r", "nonsense")
    for options in (["--rate", "0"], ["--rate", "fast"], ["--duration", "nan"], ["--clock", "-1"], ["--stamps", "old"]):
        process = start(bag, *options)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 2 and options[0] in said


def test_a_type_that_is_not_installed_is_named(tmp_path):
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/odd", "nobody_msgs/msg/Odd", msgdef="int32 a", rihs01="RIHS01_0")
        writer.write(connection, START, b"\0\1\0\0\0\0\0\0")
    said = refused(tmp_path / "bag")
    assert "nobody_msgs/msg/Odd" in said and "--topics" in said


# ------------------------------------------------------------------------------------------------- the terminal


def test_a_terminal_shows_a_moving_bar_and_a_pipe_does_not(tmp_path):
    bag = make_bag(tmp_path / "bag", steady(30, SECOND // 20))
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(bag)], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the terminal is gone: the player has ended
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(timeout=10) == 0
    bars = [line for line in shown.decode().split("\r") if "[" in line and " messages  x1" in line]
    assert len(bars) > 5 and len(set(bars)) > 5
    assert "1.4/1.4 s  31 messages" in bars[-1], bars[-1]
    process = start(bag)
    _, said = process.communicate(timeout=30)
    assert "\r" not in said and said.count("\n") == 1
    process = start(bag, "--quiet")
    assert process.communicate(timeout=30) == ("", "")
