"""What breaks in a trial (sim/trials.py), by name: how, with which parameters of the node, and what follows."""

import dataclasses
import pathlib
import signal
import time
import typing

import numpy as np

from . import task
from .measure import REST, Trace

#: When a fault comes: while the arm is well under way, or as the episode begins.
IN_MOTION, AT_THE_START = "in motion", "at the start"
#: Words of a log line by which the node says that it stops, holds or refuses the motion.
SEEN = ("motion held", "stopped", "brak", "refus", "degraded", "no limit", "SIGHUP", "velocity limit")


@dataclasses.dataclass
class Fault:
    """One fault."""

    inject: typing.Callable  #: breaks it, given the loop
    after: typing.Callable  #: what follows, as a note; given the loop and the moment
    parameters: dict = dataclasses.field(default_factory=dict)  #: of a node for this trial alone
    limits: bool = True  #: whether the configuration's limits are given to the node
    policy_copy: bool = False  #: whether the node runs from a copy of the policy's folder, to be damaged
    when: str = IN_MOTION
    watched_s: float = 0.0  #: how long it is watched; 0: as long as all
    sim_time: bool = False  #: needs simulated time, since the system's clock is not ours to move

    @property
    def is_alone(self):
        """Whether it needs a node of its own."""
        return bool(self.parameters) or not self.limits or self.policy_copy

    @staticmethod
    def is_seen(text):
        """Whether a warning or error of the node tells of it."""
        return any(word in text for word in SEEN)


# What follows


def _task(_, moment):
    """Whether the task was done all the same."""
    trace = moment.trace
    done = np.flatnonzero(trace.reached & (trace.times >= moment.since))
    return f"cube reached {trace.times[done[0]] - moment.since:.2f} s later" if len(done) else "cube not reached"


def _home(_, moment):
    """When the arm turned back, and how near to its start it got."""
    trace = moment.trace
    away = np.abs(trace.positions - task.START).max(axis=1)
    after = trace.times >= moment.since
    furthest = trace.times[after][away[after].argmax()]
    return f"turned back after {furthest - moment.since:.2f} s, {away[-1] * 1e3:.0f} mrad from its start at the end"


def _moves(loop, seconds=2.0):
    """Waits for motion; seconds until it came, or None."""
    before = loop.robot.scene.time
    moving = lambda: Trace(loop.robot.trace[-40:]).speed().max() > 5 * REST
    return loop.robot.scene.time - before if loop.wait(moving, seconds) else None


def _mend(loop, _):
    """Mends what was broken and waits for motion, at last with ~/resume."""
    if loop.node.process.poll() is not None:
        return "stays at rest"
    loop.robot.faults.__init__()
    again = _moves(loop)
    if again is not None:
        return f"mended, moves {again:.2f} s later by itself"
    loop.resume()
    return "mended, moves after ~/resume" if _moves(loop) is not None else "mended, stays at rest"


def _gone(loop, _):
    """How the process ended."""
    code = loop.node.process.poll()
    return "the process runs on" if code is None else f"stays at rest, exit code {code}"


def _led_by_hand(loop, _):
    """The arm is led elsewhere while it is held, up and aside, clear of the table; then what held it is mended."""
    there = loop.robot.scene.positions()[_ARM] + np.array([0.5, -0.2, -0.1, 0.3, -0.2, 0.4])
    loop.robot.lead(there)
    stands, since = loop.robot.scene.positions()[_ARM], loop.robot.scene.time
    loop.robot.faults.__init__()
    again = _moves(loop)
    loop.wait(lambda: False, 1.0)
    trace = loop.trace(since)
    moved = np.abs(np.diff(trace.set_points, axis=0)).max(axis=1) > 0
    if again is None or not moved.any():
        return "led by 0.5 rad, mended, stays at rest"
    first = np.abs(trace.set_points[np.flatnonzero(moved)[0] + 1] - stands).max()
    return f"led by 0.5 rad, mended, moves {again:.2f} s later; first set point {first * 1e3:.1f} mrad from the arm"


def _resume_while_broken(loop, moment):
    """~/resume while the camera is still broken, then mended, then ~/resume again."""
    since = loop.robot.scene.time
    answer = loop.trigger("resume")
    still = _moves(loop, 1.0) is None
    loop.robot.faults.__init__()
    waits = _moves(loop, 1.5) is None
    loop.resume()
    again = _moves(loop)
    words = "no answer" if answer is None else "accepted" if answer.success else "refused"
    return (f"~/resume {words}, {'at rest' if still else 'MOVES'}; mended, {'waits' if waits else 'MOVES BY ITSELF'}; ~/resume, "
            f"{'stays at rest' if again is None else f'moves {again:.2f} s later'}")


def _never_moves(loop, moment):
    """Whether any set point changed in the whole episode."""
    points = loop.trace(moment.begin).set_points
    return "never moved" if np.ptp(points, axis=0).max() == 0.0 else f"MOVED by {np.ptp(points, axis=0).max():.3f} rad"


def _gaps(loop, moment):
    """The longest time without a new trajectory, before and after the fault."""
    took = np.array([hand_over.at for hand_over in loop.robot.controller.hand_overs])
    before, later = (np.diff(took[side]) for side in (took < moment.since, took >= moment.since))
    longest = lambda gaps: f"{gaps.max() * 1e3:.0f} ms" if len(gaps) else "none"
    loop.node.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 5.0
    while loop.node.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    ended = loop.node.process.poll()
    return (f"longest gap between trajectories {longest(before)} before, {longest(later)} after; "
            f"SIGTERM: {'runs on' if ended is None else f'exit code {ended}'}; {_task(loop, moment)}")


# What breaks

_ARM = [task.JOINTS.index(name) for name in task.RIGHT_ARM]


def _set(**faults):
    return lambda loop: [setattr(loop.robot.faults, name, value) for name, value in faults.items()]


def _fill_stderr(loop):
    """Stops reading the node's log and makes it log more than the pipe takes."""
    loop.node.read_log.clear()
    loop.set("log_level", "debug")
    for seed in range(100):
        if not loop.set("seed", seed):  # each is a line in the log
            break


def _overwrite_weights(loop):
    """Every file of weights is overwritten in place with other bytes, then cut to half, between two inferences of one observation."""
    loop.robot.faults.camera_dropped = loop.robot.faults.joints_dropped = True
    time.sleep(0.15)  # what was under way has come
    before = _infer(loop)
    for file in loop.policy.rglob("*"):
        if file.suffix in (".onnx", ".data", ".bin", ".safetensors"):
            size = file.stat().st_size
            with open(file, "r+b") as out:
                out.write(np.random.default_rng(1).bytes(size))
                out.flush()
                out.truncate(size // 2)
    after = _infer(loop)
    loop.robot.faults.__init__()
    loop.compared = "no two chunks to compare" if before is None or after is None else \
        "two observations" if before.header.stamp != after.header.stamp else \
        "chunks bit-equal" if _values(before) == _values(after) else "CHUNKS DIFFER"


def _infer(loop):
    """The chunk of ~/infer_once, or None."""
    heard = len(loop.chunks)
    answer = loop.trigger("infer_once")
    if answer is None or not answer.success:
        return None
    loop.wait(lambda: len(loop.chunks) > heard, 1.0)
    return loop.chunks[-1][1] if len(loop.chunks) > heard else None


def _values(chunk):
    return np.asarray(chunk.values, np.float32).tobytes(), chunk.policy_fingerprint


ZEROS = '<robot name="r">{}</robot>\n'.format("".join(
    f'<joint name="{joint}" type="revolute"><parent link="a"/><child link="{joint}_link"/>'
    '<limit lower="0" upper="0" effort="0" velocity="0"/></joint>' for joint in task.JOINTS))


def zero_urdf(folder):
    """Writes a robot description whose limits are all zero, as exporters of CAD programs leave them."""
    file = pathlib.Path(folder) / "zeros.urdf"
    file.write_text(ZEROS)
    return file


FAULTS = {
    "camera frozen": Fault(_set(camera_frozen=True), _mend),
    "camera stuck": Fault(_set(camera_stuck=True), _mend, watched_s=5.0),
    "camera dropped": Fault(_set(camera_dropped=True), _mend),
    "joint states stop": Fault(_set(joints_dropped=True), _mend),
    "arm led by hand while held": Fault(_set(camera_frozen=True), _led_by_hand),
    "arm held fast": Fault(_set(blocked=True), _mend, {f"limits.{joint}.tracking_error": 0.2 for joint in task.RIGHT_ARM}),
    "~/stop": Fault(lambda loop: loop.trigger("stop"), _mend),
    "dead-man switch let go": Fault(_set(disabled=True), _mend, {"inputs.enable.topic": "/enable"}),
    "~/resume with a bad camera": Fault(_set(camera_frozen=True), _resume_while_broken, {"inputs.on_violation": "stop"}),
    "robot description of zeros": Fault(lambda loop: None, _never_moves, {"limits_from": "file", "limits_file": zero_urdf},
                                        limits=False, when=AT_THE_START, watched_s=8.0),
    "no velocity limits": Fault(lambda loop: None, _never_moves, {"limits_from": "none"}, limits=False, when=AT_THE_START, watched_s=8.0),
    "instruction changed": Fault(lambda loop: loop.robot.instruct(task.HOME), _home),
    "weights overwritten": Fault(_overwrite_weights, lambda loop, moment: f"{loop.compared}; {_task(loop, moment)}",
                                 {"inputs.cameras.front.max_age_ms": 2000.0, "inputs.joints.max_age_ms": 2000.0,
                                  "inputs.max_skew_ms": 2000.0}, policy_copy=True),
    "stderr full": Fault(_fill_stderr, _gaps, {"rate_hz": 5.0}),
    "SIGHUP": Fault(lambda loop: loop.node.process.send_signal(signal.SIGHUP), _gone),
    "node killed": Fault(lambda loop: loop.node.kill(), _gone),
    "node restarted": Fault(lambda loop: (loop.node.kill(), loop.start_node(wait=False)), _task, watched_s=8.0),
    "30 % of messages lost": Fault(_set(loss=0.3), _task),
    "clock jumps ahead": Fault(_set(stamp_offset_s=5.0), _task, sim_time=True),
    "clock jumps back": Fault(_set(stamp_offset_s=-5.0), _task, sim_time=True),
}
