"""Sets of samples sent to a live node one by one, and a bag of the very same messages."""

import sqlite3
import time

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
