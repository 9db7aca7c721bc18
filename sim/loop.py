"""A real node in closed loop with the simulated robot: episodes, faults, and what is measured of them."""

import pathlib
import sys
import time

import numpy as np
import yaml
from node_harness import Client, Diagnostics, LoggedProcess, isolate_ros, node_command, wait_until_ready
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
#: Seconds for the answer of a service.
ANSWERED_WITHIN_S = 5.0
#: Seconds without joint states after which the node has stopped: their greatest age, and a little.
SILENT_S = 0.45
#: watchdog.stop_after_ms in the episodes, the node's own default.
STOP_AFTER_MS = 10_000.0


#: The controllers of the policy's arm, in place of the topic ~/joint_trajectory.
ACTIONS = {
    "outputs.arm.kind": "follow_joint_trajectory",
    "outputs.arm.action": "/right_arm_controller/follow_joint_trajectory",
    "outputs.arm.keys": "[right_arm]",
    "outputs.gripper.kind": "gripper_command",
    "outputs.gripper.action": "/right_gripper_controller/gripper_cmd",
    "outputs.gripper.keys": "[right_gripper]",
}


def jumps(hand_overs, chunks_at):
    """One jump a hand-over: of a plan its own; of a stream the largest step between one chunk's coming and the next's."""
    plans = [hand_over.jump for hand_over in hand_overs if not hand_over.streamed]
    stream = [(hand_over.at, hand_over.jump) for hand_over in hand_overs if hand_over.streamed]
    for begin, end in zip(chunks_at, [*chunks_at[1:], np.inf]):
        between = [jump for at, jump in stream if begin <= at < end]
        plans += [max(between)] if between else []
    return plans


class Loop:
    """Robot, node and a client of the node, for one setting."""

    def __init__(self, executable, policy, mode="blend", latency_ms=0.0, parameters=None, sim_time=False,
                 log=ROOT / "out" / "closed_loop" / "node.log", compressed=False, config=CONFIG, actions=False,
                 camera_latency_ms=0.0, pairing="newest", command_latency_ms=0.0):
        self.mode, self.latency_ms, self.policy = mode, latency_ms, pathlib.Path(policy)
        self.parameters = dict(parameters or {})
        self.camera_latency_ms, self.pairing = camera_latency_ms, pairing
        # What the inputs may be late by comes on top of what the configuration allows.
        self.parameters.setdefault("inputs.cameras.front.max_age_ms", 350.0 + latency_ms + camera_latency_ms)
        self.parameters.setdefault("inputs.joints.max_age_ms", 150.0 + latency_ms)
        if camera_latency_ms:
            self.parameters.setdefault("inputs.max_skew_ms", 200.0 + camera_latency_ms)
        if pairing != "newest":
            self.parameters.setdefault("inputs.pairing", pairing)
        self.parameters.setdefault("use_sim_time", str(sim_time).lower())
        self.parameters.setdefault("handover.mode", mode)
        if actions:
            self.parameters |= ACTIONS
        self.limits = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"].get("limits", {})
        self.command = node_command(executable, config, policy=policy, **self.parameters)
        self.log = log
        self.client = Client("closed_loop", isolate_ros())
        self.robot = Robot(FIRST_SEED, latency_ms * 1e-3, compressed, sim_time, self.client.context, record=True, actions=actions)
        self.robot.camera_latency_s, self.robot.command_latency_s = camera_latency_ms * 1e-3, command_latency_ms * 1e-3
        self.chunks, self.warnings = [], []
        self.client.subscribe("/vla_trt/action_chunk", ActionChunk, self._on_chunk, 50)
        self.client.subscribe("/rosout", Log, self._on_log, 1000)
        self.diagnostics = Diagnostics(self.client)
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
        self.client.close()

    def start_node(self, wait=True):
        """Starts the node, and waits until its policy is loaded."""
        self.diagnostics.clear()
        self.chunks.clear()
        self.node = LoggedProcess("The node", self.command, self.log, append=True)
        if wait:
            wait_until_ready(self.node, self.diagnostics)

    def _on_chunk(self, chunk):
        self.chunks.append((self.robot.scene.time, chunk))

    def _on_log(self, log):
        if log.name == "vla_trt" and log.level >= 30:  # WARN
            self.warnings.append((self.robot.scene.time, log.msg))

    def phase(self):
        """The node's phase in its diagnostics."""
        return self.diagnostics.phase()

    def trigger(self, name):
        """Calls ~/infer_once, ~/resume or ~/stop; its answer, or None within 5 s."""
        return self.client.request(f"/vla_trt/{name}", Trigger, timeout=ANSWERED_WITHIN_S)

    def resume(self):
        """~/resume; whether the node was stopped and goes on."""
        answer = self.trigger("resume")
        return answer is not None and answer.success and answer.message.startswith("resumed")

    def set(self, name, value):
        """Sets a parameter of the node; whether it answered."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.client.request("/vla_trt/set_parameters", SetParameters, request, ANSWERED_WITHIN_S) is not None

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
        # Until a picture has come that is later than the pause of the joint states: one of the pause has no state.
        time.sleep(late + 0.2 + (self.camera_latency_ms * 1e-3 + 0.15 if self.pairing == "frame" else 0.0))
        self.set("watchdog.stop_after_ms", STOP_AFTER_MS)
        self.chunks.clear()
        self.robot.instruct(instruction)
        # A stopped node publishes nothing; what is stamped from now on is the new motion. Its first plan may come before the answer
        # of ~/resume: a controller that misses it goes to the second in one step, since that one begins where the first would be.
        since = self.robot.scene.time
        self.robot.obey_from(since)
        if not self.resume() and moved:
            # It began anew by itself, as after a clock that went back; else its plan would not start where the arm is.
            print(f"  note: the node was not stopped when seed {seed} began (phase {self.phase()})", file=sys.stderr, flush=True)
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
        fastest_allowed = max((self.limits.get(name, {}).get("velocity", np.inf) for name in task.RIGHT_ARM), default=np.inf)
        if speed > 1.1 * fastest_allowed:
            at = trace.hastiest()
            taken = [hand_over.at - begin for hand_over in hand_overs]
            print(f"  note: seed {seed}: a set point of {speed:.2f} rad/s (limit {fastest_allowed}) {at - begin:.3f} s after the episode's "
                  f"beginning; later plans took over from the first after {', '.join(f'{after:.3f}' for after in taken)} s; slips so far {self.robot.slips}",
                  file=sys.stderr, flush=True)
        latency = lambda chunk: chunk.inference_latency.sec * 1e3 + chunk.inference_latency.nanosec * 1e-6
        return Episode(seed, float(trace.times[done[0]] - begin) if len(done) else None, float(trace.distances.min()),
                       jumps(hand_overs, [at for at, _ in heard]), trace.jerk(), speed, acceleration,
                       [chunk.late_rows for chunk in chunks], [latency(chunk) for chunk in chunks], len(chunks),
                       trace.outside(self.limits), [self.state_error(trace, chunk) for chunk in chunks])

    def state_error(self, trace, chunk):
        """How far the arm was at the time of a chunk's joint states from where it was in the chunk's picture, rad."""
        stamps = {name: self.robot.seconds(stamp) for name, stamp in zip(chunk.input_names, chunk.input_stamps)}
        return trace.state_error(stamps["joints"], stamps["front"])

    def run(self, episodes, show=lambda episode: None):
        """So many held-out episodes, as a line of the table."""
        setting = Setting(self.mode, self.latency_ms, [], camera_latency_ms=self.camera_latency_ms, pairing=self.pairing)
        for seed in range(FIRST_SEED, FIRST_SEED + episodes):
            setting.episodes.append(self.episode(seed))
            show(setting.episodes[-1])
        time.sleep(1.1)  # the last diagnostics
        setting.clamped = int(self.diagnostics.values("output").get("values clamped", 0))
        setting.slips = self.robot.slips
        setting.outside = sum(episode.outside for episode in setting.episodes)
        return setting
