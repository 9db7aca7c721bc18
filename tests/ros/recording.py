"""Sets of samples sent to a live node one by one, and a bag of the very same messages, which a replay is compared on."""

import sqlite3
import subprocess
import time

import yaml

from builtin_interfaces.msg import Time
from harness import JOINTS, wait_for
from rclpy.serialization import serialize_message

PERIOD_NS = 200_000_000


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


def run_live(robot, feed, chunks, sets, service="/vla_trt/infer_once"):
    """Sends the sets one by one, asks for an inference on each; returns (messages sent, chunks)."""
    recorded, live = [], []
    start = time.time_ns()
    for number in range(sets):
        stamp = start + number * PERIOD_NS
        feed.stamp = lambda: Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        feed.brightness = 9 * number
        feed.positions = {name: 0.1 * i + 0.02 * number for i, name in enumerate(JOINTS)}
        time.sleep(max(0.0, (stamp - time.time_ns()) * 1e-9))
        sent = feed.send()
        recorded += [(topic, type_name(message), stamp, message) for topic, message in sent]
        wanted = [(stamp // 10**9, stamp % 10**9)] * len(sent)

        def inferred():
            # A sample may still be on its way; then the skew of the others forbids inference.
            robot.trigger(service)
            return next((chunk for chunk in chunks if identity(chunk) == wanted), None)

        live.append(wait_for(inferred, f"the chunk of set {number}"))
    return recorded, live


def golden_replay(tool, policy, folder, recorded, live, values):
    """A function that replays what was recorded with these parameters, compares it bit by bit with the live chunks, and returns the
    ended process; its arguments go to the tool."""
    bag, golden, params = folder / "live.db3", folder / "chunks.db3", folder / "params.yaml"
    write_bag(bag, recorded)
    write_bag(golden, [("/vla_trt/action_chunk", "vla_trt/msg/ActionChunk", number, chunk)
                       for number, chunk in enumerate(live, 1)])
    params.write_text(yaml.safe_dump({"/**": {"ros__parameters": {**values, "rate_hz": 1e9 / PERIOD_NS}}}))

    def replay(*more):
        command = [tool, "replay", bag, "--policy", policy, "--params", params, "-o", folder / "out.mcap",
                   "--golden", golden, "--tolerance", "0", *more]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True)

    return replay
