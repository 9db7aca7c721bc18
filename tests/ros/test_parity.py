"""A live run over topics and a replay of the same messages from a bag give the same chunks, bit by bit."""

import sqlite3
import subprocess
import time

import yaml
from builtin_interfaces.msg import Time
from harness import CAMERAS, JOINTS, Feed, parameters, wait_for
from rclpy.serialization import serialize_message

SETS = 25
PERIOD_NS = 200_000_000

# The live run may take its time; what counts is the identity of each observation.
PATIENT = {f"inputs.{name}.max_age_ms": 600_000.0
           for name in (*(f"cameras.{camera}" for camera in CAMERAS), "joints")}
PATIENT |= {"inputs.max_skew_ms": 0.0, "seed": 3, "action.step_s": 10.0,
            "limits.left_waist.min": -0.05, "limits.left_waist.max": 0.05}


def write_bag(file, messages):
    """A SQLite bag of [(topic, type name, log time in ns, message)]."""
    with sqlite3.connect(file) as bag:
        bag.execute("CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, "
                    "serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)")
        bag.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, "
                    "timestamp INTEGER NOT NULL, data BLOB NOT NULL)")
        topics = {}
        for topic, kind, stamp, message in messages:
            if topic not in topics:
                topics[topic] = len(topics) + 1
                bag.execute("INSERT INTO topics VALUES(?, ?, ?, 'cdr', '')", (topics[topic], topic, kind))
            bag.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)",
                        (topics[topic], stamp, serialize_message(message)))
    bag.close()


def type_name(message):
    return f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"


def identity(chunk):
    return [(stamp.sec, stamp.nanosec) for stamp in chunk.input_stamps]


def run_live(robot, feed, chunks):
    """Sends the sets one by one, asks for an inference on each; returns (messages sent, chunks)."""
    recorded, live = [], []
    start = time.time_ns()
    for number in range(SETS):
        stamp = start + number * PERIOD_NS
        feed.stamp = lambda: Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        feed.brightness = 9 * number
        feed.positions = {name: 0.1 * i + 0.02 * number for i, name in enumerate(JOINTS)}
        time.sleep(max(0.0, (stamp - time.time_ns()) * 1e-9))
        recorded += [(topic, type_name(message), stamp, message) for topic, message in feed.send()]
        wanted = [(stamp // 10**9, stamp % 10**9)] * 4

        def inferred():
            # A sample may still be on its way; then the skew of the others forbids inference.
            robot.trigger("/vla_trt/infer_once")
            return next((chunk for chunk in chunks if identity(chunk) == wanted), None)

        live.append(wait_for(inferred, f"the chunk of set {number}"))
    return recorded, live


def test_live_and_replay_agree_on_every_chunk(robot, start, tool, policy, tmp_path):
    node = start({**PATIENT, "rate_hz": 0.0})
    node.wait_until_ready()
    chunks = robot.chunks()
    feed = Feed(robot, hz=0)
    # Best effort: what is sent before the subscriptions match is lost.
    wait_for(lambda: (feed.send(), robot.trigger("/vla_trt/infer_once").success)[1], "the first inference")
    recorded, live = run_live(robot, feed, chunks)
    assert len({tuple(chunk.values) for chunk in live}) == SETS, "chunks must differ for their equality to mean much"
    column = list(live[0].names).index("left_waist")
    clamped = {value for chunk in live for value in list(chunk.values)[column::len(JOINTS)]}
    assert clamped and all(-0.05 - 1e-6 <= value <= 0.05 + 1e-6 for value in clamped)

    bag, golden, params = tmp_path / "live.db3", tmp_path / "chunks.db3", tmp_path / "params.yaml"
    write_bag(bag, recorded)
    write_bag(golden, [("/vla_trt/action_chunk", "vla_trt/msg/ActionChunk", number, chunk)
                       for number, chunk in enumerate(live, 1)])
    values = {**parameters(), **PATIENT, "rate_hz": 1e9 / PERIOD_NS}
    params.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))

    def replay(*more):
        command = [tool, "replay", bag, "--policy", policy, "--params", params, "-o", tmp_path / "out.mcap",
                   "--golden", golden, "--tolerance", "0", *more]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True)

    same = replay()
    assert same.returncode == 0, same.stdout + same.stderr
    assert f"{SETS} chunks" in same.stdout
    other = replay("-p", "seed:=4")
    assert other.returncode == 3, "another seed must not give the same chunks"
