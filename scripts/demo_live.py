#!/usr/bin/env python3
"""The live part of demo.sh: the built node, a bag played into it over real topics, and what comes out of it.

Starts the node, waits until it is ready, starts the player, shows a moving bar and a live line (chunks, rate, ages,
latency), ends the node with SIGINT and checks its exit code. Both processes end with this one, also when it is killed.
"""

import argparse
import collections
import os
import pathlib
import shutil
import signal
import sys
import time

from node_harness import ROOT, Client, Diagnostics, Failure, LoggedProcess, isolate_ros, node_command, wait_until_ready

WIDTH_OF_BAR = 30


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", required=True, help="executable of the node")
    parser.add_argument("--policy", required=True, help="folder of the policy")
    parser.add_argument("--params", required=True, help="parameters of the node (YAML)")
    parser.add_argument("--bag", required=True, help="folder of the bag, with metadata.yaml")
    parser.add_argument("--log", required=True, help="folder for the logs of node and player")
    parser.add_argument("player", nargs="+", help="command that plays the bag")
    return parser.parse_args()


class Screen:
    """Lines that are written over on a terminal, and now and then a plain one elsewhere."""

    PLAIN_EVERY_S = 2.0

    def __init__(self):
        self.moving = sys.stdout.isatty()
        self.drawn, self.last_plain = 0, 0.0

    def show(self, lines):
        if self.moving:
            width = shutil.get_terminal_size().columns - 1
            back = f"\x1b[{self.drawn - 1}F" if self.drawn > 1 else "\r" if self.drawn else ""
            sys.stdout.write(back + "\n".join(f"\x1b[K{line[:width]}" for line in lines))
            self.drawn = len(lines)
        elif time.monotonic() - self.last_plain >= self.PLAIN_EVERY_S:
            sys.stdout.write("  ".join(lines) + "\n")
            self.last_plain = time.monotonic()
        sys.stdout.flush()

    def done(self):
        if self.moving and self.drawn:
            sys.stdout.write("\n")
        self.drawn = 0
        sys.stdout.flush()


class Bag:
    """What metadata.yaml says of the bag."""

    def __init__(self, folder):
        import yaml

        info = yaml.safe_load((pathlib.Path(folder) / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        self.duration_s = info["duration"]["nanoseconds"] * 1e-9
        topics = {t["topic_metadata"]["name"]: (t["topic_metadata"]["type"], t["message_count"])
                  for t in info["topics_with_message_count"]}
        joints = [(name, count) for name, (kind, count) in topics.items() if kind == "sensor_msgs/msg/JointState"]
        if not joints:
            raise Failure(f"{folder}: expected a sensor_msgs/msg/JointState topic, found {', '.join(topics)}")
        self.joints_topic, self.joints_count = joints[0]


class Listener:
    """Receives chunks, diagnostics and the joint states, whose number is the progress of the bag."""

    RATE_WINDOW_S = 2.0

    def __init__(self, bag):
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import JointState
        from vla_trt.msg import ActionChunk

        self.bag, self.client = bag, Client("demo_listener")
        self.chunks, self.joints, self.late_rows = 0, 0, 0
        self.last, self.received_at = None, collections.deque()
        self.ages_ms, self.latencies_ms = {}, []
        self.client.subscribe("/vla_trt/action_chunk", ActionChunk, self._on_chunk, 50)
        self.client.subscribe(bag.joints_topic, JointState, self._on_joints, qos_profile_sensor_data)
        self.diagnostics = Diagnostics(self.client)

    def _on_chunk(self, chunk):
        now = self.client.node.get_clock().now().nanoseconds
        self.chunks += 1
        self.last = chunk
        self.late_rows += chunk.late_rows
        self.received_at.append(time.monotonic())
        self.latencies_ms.append(chunk.inference_latency.sec * 1e3 + chunk.inference_latency.nanosec * 1e-6)
        for name, stamp in zip(chunk.input_names, chunk.input_stamps):
            self.ages_ms[name] = (now - stamp.sec * 1_000_000_000 - stamp.nanosec) * 1e-6

    def _on_joints(self, _message):
        self.joints += 1

    def rate_hz(self):
        while self.received_at and time.monotonic() - self.received_at[0] > self.RATE_WINDOW_S:
            self.received_at.popleft()
        if len(self.received_at) < 2:
            return 0.0
        return (len(self.received_at) - 1) / max(self.received_at[-1] - self.received_at[0], 1e-3)

    def bar(self):
        share = min(self.joints / self.bag.joints_count, 1.0)
        filled = round(share * WIDTH_OF_BAR)
        return (f"playing [{'=' * filled}{' ' * (WIDTH_OF_BAR - filled)}] "
                f"{share * self.bag.duration_s:4.1f} of {self.bag.duration_s:.1f} s")

    def live_line(self):
        if self.last is None and self.joints == 0:
            return "waiting for the first message"
        if self.last is None:
            return "no chunk yet" + "".join(f"  {text}" for text in self.diagnostics.complaints()[:1])
        ages = " ".join(f"{name} {age:.0f}" for name, age in list(self.ages_ms.items()) if name != "instruction")
        return (f"{self.chunks} chunks  {self.rate_hz():4.1f} Hz  latency {self.latencies_ms[-1]:.1f} ms  "
                f"late rows {self.last.late_rows} of {self.last.horizon}  ages (ms) {ages}")

    def close(self):
        self.client.close()


def watch(node, player, listener, screen):
    while player.code() is None:
        if node.code() is not None:
            raise node.failure(f"ended with exit code {node.code()} while the bag was playing")
        screen.show([listener.bar(), listener.live_line()])
        time.sleep(0.1)
    time.sleep(0.5)  # the last chunk
    screen.show([listener.bar(), listener.live_line()])
    screen.done()
    if player.code() != 0:
        raise player.failure(f"ended with exit code {player.code()}")
    if listener.chunks == 0:
        raise node.failure("published no chunk. Diagnostics: " + ("; ".join(listener.diagnostics.complaints()) or "none received"))


def untracked(params):
    """Parameters of the node: a recorded robot follows no plan, so its distance from the plan is no tracking error."""
    import yaml

    state = yaml.safe_load(pathlib.Path(params).read_text())["/**"]["ros__parameters"]["state"]
    joints = [joint for key in state.values() for joint in key.get("joints", [])]
    return {f"limits.{joint}.tracking_error": ".inf" for joint in joints}


def demo(options, screen):
    bag = Bag(options.bag)
    logs = pathlib.Path(options.log)
    node = player = listener = None
    try:
        command = node_command(options.node, options.params, policy=options.policy, **untracked(options.params))
        node = LoggedProcess("The node", command, logs / "demo-node.log", detached=True)
        listener = Listener(bag)
        took = wait_until_ready(node, listener.diagnostics,
                                lambda details, seconds: screen.show([f"node: {details} ({seconds:.1f} s)"]))
        screen.show([f"node: ready after {took:.1f} s"])
        screen.done()
        player = LoggedProcess("The player", options.player, logs / "demo-player.log", detached=True)
        watch(node, player, listener, screen)
        begun = time.monotonic()
        code = node.end()
        if code != 0:
            raise node.failure("did not end on SIGINT" if code is None else f"ended with exit code {code} on SIGINT")
        latency = sorted(listener.latencies_ms)[len(listener.latencies_ms) // 2]
        print(f"{listener.chunks} chunks over real topics, median latency {latency:.1f} ms; the node ended with exit code 0 "
              f"{time.monotonic() - begun:.1f} s after SIGINT")
    finally:
        for process in (player, node):
            if process is not None:
                process.end()
        if listener is not None:
            listener.close()


def main():
    def end(_number, _frame):
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    options = arguments()
    isolate_ros()
    if not os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE"):
        os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds_shm.xml"))
    screen = Screen()
    try:
        demo(options, screen)
    except Failure as failure:
        screen.done()
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        screen.done()
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
