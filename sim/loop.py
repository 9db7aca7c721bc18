"""A real node in closed loop with the simulated robot: episodes, faults, and what is measured of them."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger
from vla_trt.msg import ActionChunk

from . import task
from .lockstep import FIRST_SEED  # noqa: F401  (the same held-out seeds everywhere)
from .measure import Episode, Setting, Trace
from .robot import Robot

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config" / "aloha_reach.yaml"
READY_WITHIN_S = 60.0
#: Seconds without joint states after which the node has stopped: their greatest age, and a little.
SILENT_S = 0.45
#: watchdog.stop_after_ms in the episodes, the node's own default.
STOP_AFTER_MS = 10_000.0


def unused_domain():
    """A ROS domain whose UDP ports nobody on this machine has open."""
    ports = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        path = pathlib.Path(table)
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        ports |= {int(line.split()[1].rsplit(":", 1)[1], 16) for line in lines}
    domains = [d for d in range(1, 101) if not any(7400 + 250 * d <= port < 7650 + 250 * d for port in ports)]
    return domains[os.getpid() % len(domains)] if domains else 0


class Node:
    """The process `vla_trt_node`, with a log.

    The log is copied from a pipe of one page. `read_log` cleared: nobody reads the pipe any more, and it is full after a few lines.
    """

    def __init__(self, executable, policy, parameters, log, config=CONFIG):
        command = [str(executable), "--ros-args", "--params-file", str(config), "-p", f"policy:={policy}"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        self.log = pathlib.Path(log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.read_log = threading.Event()
        self.read_log.set()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        pipesize=4096)
        self._copier = threading.Thread(target=self._copy, daemon=True)
        self._copier.start()

    def _copy(self):
        with open(self.log, "ab", buffering=0) as out:
            while self.read_log.wait() and (text := os.read(self.process.stdout.fileno(), 4096)):
                out.write(text)

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def end(self):
        """SIGINT, then whatever is needed."""
        self.read_log.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()


def jumps(hand_overs, chunks_at):
    """One jump a hand-over: of a plan its own; of a stream the largest step between one chunk's coming and the next's."""
    plans = [hand_over.jump for hand_over in hand_overs if not hand_over.streamed]
    stream = [(hand_over.at, hand_over.jump) for hand_over in hand_overs if hand_over.streamed]
    for begin, end in zip(chunks_at, [*chunks_at[1:], np.inf]):
        between = [jump for at, jump in stream if begin <= at < end]
        plans += [max(between)] if between else []
    return plans


class Loop:
    """Robot, node and ears, for one setting."""

    def __init__(self, executable, policy, mode="blend", latency_ms=0.0, parameters=None, sim_time=False,
                 log=ROOT / "out" / "closed_loop" / "node.log", compressed=False, config=CONFIG):
        self.mode, self.latency_ms, self.policy = mode, latency_ms, pathlib.Path(policy)
        self.parameters = dict(parameters or {})
        # What the inputs may be late by comes on top of what the configuration allows.
        self.parameters.setdefault("inputs.cameras.front.max_age_ms", 350.0 + latency_ms)
        self.parameters.setdefault("inputs.joints.max_age_ms", 150.0 + latency_ms)
        self.parameters.setdefault("use_sim_time", str(sim_time).lower())
        self.parameters.setdefault("handover.mode", mode)
        self.limits = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"].get("limits", {})
        self.arguments = (executable, policy, self.parameters, log, config)
        # A domain of its own, on this host only, for the robot here and for the node.
        os.environ["ROS_DOMAIN_ID"] = str(unused_domain())
        os.environ["ROS_LOCALHOST_ONLY" if os.environ.get("ROS_DISTRO") == "humble" else "ROS_AUTOMATIC_DISCOVERY_RANGE"] = \
            "1" if os.environ.get("ROS_DISTRO") == "humble" else "LOCALHOST"
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self.robot = Robot(FIRST_SEED, latency_ms * 1e-3, compressed, sim_time, self.context, record=True)
        self.chunks, self.statuses, self.warnings = [], {}, []
        node = self.robot.node
        node.create_subscription(ActionChunk, "/vla_trt/action_chunk", self._on_chunk, 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        node.create_subscription(Log, "/rosout", self._on_log, 1000)
        self._triggers = {name: node.create_client(Trigger, f"/vla_trt/{name}") for name in ("infer_once", "resume", "stop")}
        self._set = node.create_client(SetParameters, "/vla_trt/set_parameters")
        self.node = None

    def __enter__(self):
        self.start_node()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends everything; nothing is left running."""
        if self.node is not None:
            self.node.end()
        self.robot.close()
        self.context.try_shutdown()

    def start_node(self, wait=True):
        """Starts the node, and waits until its policy is loaded."""
        self.statuses = {}
        self.chunks.clear()
        self.node = Node(*self.arguments)
        deadline = time.monotonic() + READY_WITHIN_S
        while wait and self.phase() != "ready":
            if self.node.process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(self.node.log.read_text(errors="replace").splitlines()[-15:])
                raise RuntimeError(f"the node is not ready (phase {self.phase() or 'unknown'}):\n{tail}")
            time.sleep(0.05)

    def _on_chunk(self, chunk):
        self.chunks.append((self.robot.scene.time, chunk))

    def _on_diagnostics(self, array):
        for status in array.status:
            prefix, _, name = status.name.rpartition(": ")
            if prefix.endswith("vla_trt"):
                self.statuses[name] = {pair.key: pair.value for pair in status.values} | {"": status.message}

    def _on_log(self, log):
        if log.name == "vla_trt" and log.level >= 30:  # WARN
            self.warnings.append((self.robot.scene.time, log.msg))

    def phase(self):
        """The node's own word for how it is."""
        return self.statuses.get("inference", {}).get("phase", "")

    def _call(self, client, request):
        """A service's answer, or None within 5 s."""
        if not client.wait_for_service(5.0):
            return None
        answer = client.call_async(request)
        deadline = time.monotonic() + 5.0
        while not answer.done() and time.monotonic() < deadline:
            time.sleep(0.001)
        return answer.result() if answer.done() else None

    def trigger(self, name):
        """Calls ~/infer_once, ~/resume or ~/stop; its answer, or None within 5 s."""
        return self._call(self._triggers[name], Trigger.Request())

    def resume(self):
        """~/resume; whether the node was stopped and goes on."""
        answer = self.trigger("resume")
        return answer is not None and answer.success and answer.message.startswith("resumed")

    def set(self, name, value):
        """Sets a parameter of the node; whether it answered."""
        answer = self._call(self._set, SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()]))
        return answer is not None

    def begin(self, seed, instruction=task.REACH):
        """A new episode; returns the scene's time at which it begins.

        The arm is put back while the node is stopped, as on a robot: its joint states end, the watchdog stops, they come
        again from the start, and ~/resume begins a motion from there.
        """
        moved, late = bool(self.chunks), self.latency_ms * 1e-3
        self.robot.deaf, self.robot.faults.joints_dropped = True, True
        self.robot.reset(seed)
        self.set("watchdog.stop_after_ms", 1.0)
        time.sleep(late + SILENT_S)
        self.robot.faults.joints_dropped = False
        time.sleep(late + 0.2)
        self.set("watchdog.stop_after_ms", STOP_AFTER_MS)
        self.chunks.clear()
        self.robot.instruct(instruction)
        since = self.robot.scene.time  # a stopped node publishes nothing; what comes from now on is the new motion
        if not self.resume() and moved:
            # It began anew by itself, as after a clock that went back; else its plan would not start where the arm is.
            print(f"  note: the node was not stopped when seed {seed} began (phase {self.phase()})", file=sys.stderr, flush=True)
        self.robot.obey_from(since)
        return since

    def wait(self, condition, seconds):
        """Waits for a condition in simulated time; whether it came true."""
        end = self.robot.scene.time + seconds
        while self.robot.scene.time < end:
            if condition():
                return True
            if self.robot.error is not None:
                raise self.robot.error
            time.sleep(0.01)
        return bool(condition())

    def trace(self, begin):
        """The episode's records from `begin` on."""
        return Trace([record for record in list(self.robot.trace) if record[0] >= begin])

    def episode(self, seed):
        """One episode until the task is done or its time is over."""
        begin = self.begin(seed)
        self.wait(lambda: self.robot.trace and self.robot.trace[-1][4], task.EPISODE_S)
        hand_overs = list(self.robot.controller.hand_overs)
        trace, heard = self.trace(begin), list(self.chunks)
        chunks = [chunk for _, chunk in heard]
        done = np.flatnonzero(trace.reached)
        speed, acceleration = trace.fastest()
        latency = lambda chunk: chunk.inference_latency.sec * 1e3 + chunk.inference_latency.nanosec * 1e-6
        return Episode(seed, float(trace.times[done[0]] - begin) if len(done) else None, float(trace.distances.min()),
                       jumps(hand_overs, [at for at, _ in heard]), trace.jerk(), speed, acceleration,
                       [chunk.late_rows for chunk in chunks], [latency(chunk) for chunk in chunks], len(chunks),
                       trace.outside(self.limits))

    def run(self, episodes, show=lambda episode: None):
        """So many held-out episodes, as a line of the table."""
        setting = Setting(self.mode, self.latency_ms, [])
        for seed in range(FIRST_SEED, FIRST_SEED + episodes):
            setting.episodes.append(self.episode(seed))
            show(setting.episodes[-1])
        time.sleep(1.1)  # the last diagnostics
        setting.clamped = int(self.statuses.get("output", {}).get("values clamped", 0))
        setting.slips = self.robot.slips
        setting.outside = sum(episode.outside for episode in setting.episodes)
        return setting
