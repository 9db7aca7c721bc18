#!/usr/bin/env python3
"""The live part of demo.sh: the built node, a bag played into it over real topics, and what comes out of it.

Starts the node, waits until it is ready, starts the player, shows a moving bar and a live line (chunks, rate, ages,
latency), ends the node with SIGINT and looks at its exit code. Nothing is left running, however this ends.
"""

import argparse
import collections
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 5.0
WIDTH_OF_BAR = 30


class Failure(Exception):
    """Something in words, for the terminal."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", required=True, help="executable of the node")
    parser.add_argument("--policy", required=True, help="folder of the policy")
    parser.add_argument("--params", required=True, help="parameters of the node (YAML)")
    parser.add_argument("--bag", required=True, help="folder of the bag, with metadata.yaml")
    parser.add_argument("--log", required=True, help="folder for the logs of node and player")
    parser.add_argument("player", nargs="+", help="command that plays the bag")
    return parser.parse_args()


def unused_domain():
    """A ROS domain whose UDP ports nobody on this machine has open."""
    ports = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            lines = pathlib.Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        ports |= {int(line.split()[1].rsplit(":", 1)[1], 16) for line in lines}
    # RTPS: domain d uses the 250 ports from 7400 + 250 d. Above 100 they reach into the ephemeral ones.
    domains = [d for d in range(1, 101) if not any(7400 + 250 * d <= port < 7650 + 250 * d for port in ports)]
    return domains[os.getpid() % len(domains)] if domains else 0


def ros_environment():
    """Own domain, this host only, our Fast DDS profile unless there is one."""
    config = pathlib.Path(__file__).resolve().parents[1] / "config" / "fastdds_shm.xml"
    os.environ["ROS_DOMAIN_ID"] = str(unused_domain())
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    else:
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if not os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE"):
        os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(config))


class Process:
    """A program in a session of its own, with a log; it ends when this program dies."""

    def __init__(self, what, command, log):
        self.what, self.log = what, pathlib.Path(log)
        libc = ctypes.CDLL(None)
        with open(self.log, "wb") as out:
            self.popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=lambda: libc.prctl(1, signal.SIGTERM))  # PR_SET_PDEATHSIG

    def code(self):
        return self.popen.poll()

    def stop(self, which=signal.SIGINT):
        """Asks it to end; gives its exit code, or None when it had to be killed."""
        if self.code() is None:
            self.popen.send_signal(which)
            try:
                return self.popen.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.popen.pid, signal.SIGKILL)
                self.popen.wait()
                return None
        return self.code()

    def failure(self, text):
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return Failure("\n".join([f"{self.what} {text}. The end of {self.log}:"] + [f"  | {line}" for line in lines]))


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
    """Hears chunks, diagnostics and the joints, which say how far the bag is."""

    RATE_WINDOW_S = 2.0

    def __init__(self, bag):
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import qos_profile_sensor_data
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import JointState
        from vla_trt.msg import ActionChunk

        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # main() has its own
        self.rclpy, self.bag = rclpy, bag
        self.node = rclpy.create_node("demo_listener")
        self.chunks, self.joints, self.late_rows = 0, 0, 0
        self.last, self.heard_at = None, collections.deque()
        self.ages_ms, self.latencies_ms, self.statuses = {}, [], {}
        self.node.create_subscription(ActionChunk, "/vla_trt/action_chunk", self._on_chunk, 50)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self.node.create_subscription(JointState, bag.joints_topic, self._on_joints, qos_profile_sensor_data)

    def _on_chunk(self, chunk):
        now = self.node.get_clock().now().nanoseconds
        self.chunks += 1
        self.last = chunk
        self.late_rows += chunk.late_rows
        self.heard_at.append(time.monotonic())
        self.latencies_ms.append(chunk.inference_latency.sec * 1e3 + chunk.inference_latency.nanosec * 1e-6)
        for name, stamp in zip(chunk.input_names, chunk.input_stamps):
            self.ages_ms[name] = (now - stamp.sec * 1_000_000_000 - stamp.nanosec) * 1e-6

    def _on_joints(self, _message):
        self.joints += 1

    def _on_diagnostics(self, array):
        for status in array.status:
            prefix, _, task = status.name.rpartition(": ")
            if prefix.endswith("vla_trt"):
                self.statuses[task] = status

    def hear(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.rclpy.spin_once(self.node, timeout_sec=left)

    def phase(self):
        """Word and details of the node's phase: ("loading", "loading 2 of 4 (vision)")."""
        status = self.statuses.get("inference")
        if status is None:
            return "starting", "starting"
        return next((v.value for v in status.values if v.key == "phase"), ""), status.message

    def complaints(self):
        return [f"{task}: {status.message}" for task, status in sorted(self.statuses.items())
                if status.level != b"\x00"]

    def rate_hz(self):
        while self.heard_at and time.monotonic() - self.heard_at[0] > self.RATE_WINDOW_S:
            self.heard_at.popleft()
        if len(self.heard_at) < 2:
            return 0.0
        return (len(self.heard_at) - 1) / max(self.heard_at[-1] - self.heard_at[0], 1e-3)

    def bar(self):
        share = min(self.joints / self.bag.joints_count, 1.0)
        filled = round(share * WIDTH_OF_BAR)
        return (f"playing [{'=' * filled}{' ' * (WIDTH_OF_BAR - filled)}] "
                f"{share * self.bag.duration_s:4.1f} of {self.bag.duration_s:.1f} s")

    def live_line(self):
        if self.last is None and self.joints == 0:
            return "waiting for the first message"
        if self.last is None:
            return "no chunk yet" + "".join(f"  {text}" for text in self.complaints()[:1])
        ages = " ".join(f"{name} {age:.0f}" for name, age in self.ages_ms.items() if name != "instruction")
        return (f"{self.chunks} chunks  {self.rate_hz():4.1f} Hz  latency {self.latencies_ms[-1]:.1f} ms  "
                f"late rows {self.last.late_rows} of {self.last.horizon}  ages (ms) {ages}")

    def close(self):
        self.node.destroy_node()
        self.rclpy.shutdown()


def wait_until_ready(node, listener, screen):
    begun = time.monotonic()
    while True:
        word, details = listener.phase()
        screen.show([f"node: {details} ({time.monotonic() - begun:.1f} s)"])
        if word == "ready":
            break
        if node.code() is not None:
            raise node.failure(f"ended with exit code {node.code()} before it was ready")
        if word == "degraded":
            raise node.failure(f"has no policy ({details})")
        if time.monotonic() - begun > READY_WITHIN_S:
            raise node.failure(f"was not ready within {READY_WITHIN_S:.0f} s (last: {details})")
        listener.hear(0.1)
    screen.show([f"node: ready after {time.monotonic() - begun:.1f} s"])
    screen.done()


def watch(node, player, listener, screen):
    while player.code() is None:
        if node.code() is not None:
            raise node.failure(f"ended with exit code {node.code()} while the bag was playing")
        screen.show([listener.bar(), listener.live_line()])
        listener.hear(0.1)
    listener.hear(0.5)  # the last chunk
    screen.show([listener.bar(), listener.live_line()])
    screen.done()
    if player.code() != 0:
        raise player.failure(f"ended with exit code {player.code()}")
    if listener.chunks == 0:
        raise node.failure("published no chunk. Diagnostics: " + ("; ".join(listener.complaints()) or "none heard"))


def untracked(params):
    """Arguments of the node: a recorded robot follows no plan, so its distance from the plan is no tracking error."""
    import yaml

    state = yaml.safe_load(pathlib.Path(params).read_text())["/**"]["ros__parameters"]["state"]
    joints = [joint for key in state.values() for joint in key.get("joints", [])]
    return [word for joint in joints for word in ("-p", f"limits.{joint}.tracking_error:=.inf")]


def demo(options, screen):
    bag = Bag(options.bag)
    logs = pathlib.Path(options.log)
    node = player = listener = None
    try:
        node = Process("The node", [
            options.node, "--ros-args", "--params-file", options.params, "-p", f"policy:={options.policy}",
            *untracked(options.params),
        ], logs / "demo-node.log")
        listener = Listener(bag)
        wait_until_ready(node, listener, screen)
        player = Process("The player", options.player, logs / "demo-player.log")
        watch(node, player, listener, screen)
        begun = time.monotonic()
        code = node.stop()
        if code != 0:
            raise node.failure("did not end on SIGINT" if code is None else f"ended with exit code {code} on SIGINT")
        latency = sorted(listener.latencies_ms)[len(listener.latencies_ms) // 2]
        print(f"{listener.chunks} chunks over real topics, median latency {latency:.1f} ms; the node ended with exit code 0 "
              f"{time.monotonic() - begun:.1f} s after SIGINT")
    finally:
        for process in (player, node):
            if process is not None:
                process.stop()
        if listener is not None:
            listener.close()


def main():
    def end(_number, _frame):
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    options = arguments()
    ros_environment()
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
