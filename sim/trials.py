"""Trials of what goes wrong: what is broken, when the node notices, when the arm stops, and what it does afterwards."""

import contextlib
import dataclasses
import pathlib
import shutil
import tempfile
import time

import numpy as np
import yaml

from . import task
from .faults import FAULTS, IN_MOTION
from .loop import CONFIG, Loop
from .measure import Trace

#: The fault comes once the arm moves this fast, rad/s, and has moved for this long, s.
MOVING, MOVED_FOR_S = 0.3, 0.4
#: Seconds that are watched after a fault.
WATCHED_S = 4.0


@dataclasses.dataclass
class Outcome:
    """What a fault led to."""

    fault: str
    seen_s: float | None  #: from the fault until the node's first warning or error about the motion; None: none came
    stopped_s: float | None  #: from the fault until the arm rests for good; None: it still moved at the end
    moved_rad: float  #: furthest that a joint went after the fault
    speed: float  #: fastest set point after the fault, rad/s
    acceleration: float  #: hardest set point after the fault, rad/s^2
    phase: str  #: the node's word at the end
    note: str = ""
    late: int = 0  #: most points of a plan after the fault that were due when the controller got it

    HEADER = ("| fault | seen after s | at rest after s | moved on by rad | set points rad/s, rad/s² | the node | then |\n"
              "|---|---|---|---|---|---|---|")

    def line(self):
        """One row of the table in docs/closed_loop.md."""
        stopped = "moves on" if self.stopped_s is None else f"{self.stopped_s:.2f}"
        seen = "" if self.seen_s is None else f"{self.seen_s:.2f}"
        return (f"| {self.fault} | {seen} | {stopped} | {self.moved_rad:.3f} | {self.speed:.2f}, {self.acceleration:.1f} | "
                f"{self.phase or 'gone'} | {self.note} |")


def run(names, first_seed, executable, policy, mode="blend", latency_ms=0.0, parameters=None, log=None):
    """Tries these faults one after the other, each in an episode; gives their outcomes as they come.

    Faults that need nothing of their own share a robot and a node; the others get both for themselves.
    """
    seeds = {name: first_seed + index for index, name in enumerate(names)}
    options = {} if log is None else {"log": log}
    for sim_time in (False, True):
        shared = [name for name in names if not FAULTS[name].is_alone and FAULTS[name].sim_time == sim_time]
        if shared:
            with Loop(executable, policy, mode, latency_ms, parameters, sim_time=sim_time, **options) as loop:
                for name in shared:
                    yield trial(loop, name, seeds[name])
                    after(loop)
    for name in (name for name in names if FAULTS[name].is_alone):
        with alone(name, executable, policy, mode, latency_ms, parameters, **options) as loop:
            yield trial(loop, name, seeds[name])


@contextlib.contextmanager
def alone(name, executable, policy, mode="blend", latency_ms=0.0, parameters=None, **options):
    """A loop with the parameters, limits and policy folder that a fault needs."""
    fault = FAULTS[name]
    with tempfile.TemporaryDirectory(prefix="vla_trt_trial.") as folder:
        config = CONFIG
        if not fault.limits:
            document = yaml.safe_load(CONFIG.read_text())
            del document["/**"]["ros__parameters"]["limits"]
            config = pathlib.Path(folder) / "without_limits.yaml"
            config.write_text(yaml.safe_dump(document))
        if fault.policy_copy:
            policy = shutil.copytree(policy, pathlib.Path(folder) / "policy")
        own = {key: value(folder) if callable(value) else value for key, value in fault.parameters.items()}
        loop = Loop(executable, policy, mode, latency_ms, {**(parameters or {}), **own}, config=config, **options)
        try:
            # A node that refuses its limits never gets ready.
            loop.start_node(wait=fault.limits)
            yield loop
        finally:
            loop.close()


def trial(loop, name, seed):
    """One fault in one episode."""
    fault = FAULTS[name]
    loop.robot.faults.__init__()
    begin = loop.begin(seed)
    since = in_motion(loop) if fault.when == IN_MOTION else begin
    if since is None:
        return Outcome(name, None, None, float("nan"), 0.0, 0.0, loop.phase(), "the arm did not get under way")
    warned = len(loop.warnings)
    fault.inject(loop)
    loop.wait(lambda: False, fault.watched_s or WATCHED_S)
    trace = loop.trace(begin)
    after = trace.times >= since
    moved = float(np.abs(trace.positions[after] - trace.positions[after][0]).max())
    running = loop.node.process.poll() is None
    seen = next((at - since for at, text in loop.warnings[warned:] if fault.is_seen(text)), None)
    outcome = Outcome(name, seen, trace.stopped_after(since), moved, 0.0, 0.0, loop.phase() if running else "gone")
    outcome.note = fault.after(loop, Moment(begin, since, trace))
    # What follows the fault is part of it: no set point may be beyond the limits on the way back either.
    led = loop.robot.led_until
    outcome.speed, outcome.acceleration = loop.trace(max(since, led)).fastest()
    plans = [plan for plan in list(loop.robot.controller.hand_overs) if not plan.streamed and plan.at >= max(since, led)]
    outcome.late = max((plan.late for plan in plans), default=0)
    return outcome


@dataclasses.dataclass
class Moment:
    """When an episode began, when its fault came, and what was recorded up to the end of the watch."""

    begin: float
    since: float
    trace: Trace


def in_motion(loop):
    """Waits until the arm is well under way; gives the scene's time, or None."""
    def moving():
        records = loop.robot.trace[-round((MOVED_FOR_S + 0.1) / 0.002):]
        if len(records) < round(MOVED_FOR_S / 0.002):
            return False
        trace = Trace(records)
        return bool((trace.speed()[20:] > MOVING).all())

    return loop.robot.scene.time if loop.wait(moving, task.EPISODE_S) else None


def after(loop):
    """Makes a loop ready for the next trial."""
    loop.robot.faults.__init__()
    loop.node.read_log.set()
    if loop.node.process.poll() is not None:
        loop.start_node()
    else:
        deadline = time.monotonic() + 20.0
        while loop.phase() != "ready" and time.monotonic() < deadline:
            time.sleep(0.1)
