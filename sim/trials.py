"""Trials of what goes wrong in mid-motion: what is broken, when the arm stops, and what it does afterwards."""

import dataclasses
import time

import numpy as np

from . import task
from .measure import REST, Trace

#: The fault comes once the arm moves this fast, rad/s, and has moved for this long, s.
MOVING, MOVED_FOR_S = 0.3, 0.4
#: Seconds that are watched after a fault; a node takes a few to start and to be heard.
WATCHED_S, RESTART_S = 4.0, 8.0


@dataclasses.dataclass
class Outcome:
    """What a fault led to."""

    fault: str
    stopped_s: float | None  #: from the fault until the arm rests for good; None: it still moved at the end
    moved_rad: float  #: furthest that a joint went after the fault
    phase: str  #: the node's word at the end
    note: str = ""

    HEADER = "| fault | arm at rest after s | moved on by rad | the node | then |\n|---|---|---|---|---|"

    def line(self):
        """One row of the table in docs/closed_loop.md."""
        stopped = "moves on" if self.stopped_s is None else f"{self.stopped_s:.2f}"
        return f"| {self.fault} | {stopped} | {self.moved_rad:.3f} | {self.phase or 'gone'} | {self.note} |"


def _set(**faults):
    return lambda loop: [setattr(loop.robot.faults, name, value) for name, value in faults.items()]


#: What breaks, by name. `stop`: whether the arm has to stop for it.
FAULTS = {
    "camera frozen": (_set(camera_frozen=True), True),
    "camera stuck": (_set(camera_stuck=True), False),
    "camera dropped": (_set(camera_dropped=True), True),
    "joint states stop": (_set(joints_dropped=True), True),
    "instruction changed": (lambda loop: loop.robot.instruct(task.HOME), False),
    "node killed": (lambda loop: loop.node.kill(), True),
    "node restarted": (lambda loop: (loop.node.kill(), loop.start_node(wait=False)), False),
    "clock jumps ahead": (_set(stamp_offset_s=5.0), False),
    "clock jumps back": (_set(stamp_offset_s=-5.0), False),
    "30 % of messages lost": (_set(loss=0.3), False),
}
#: Faults that need simulated time, since the system's clock is not ours to move.
NEEDS_SIM_TIME = ("clock jumps ahead", "clock jumps back")


def in_motion(loop):
    """Waits until the arm is well under way; gives the scene's time, or None."""
    def moving():
        records = loop.robot.trace[-round((MOVED_FOR_S + 0.1) / 0.002):]
        if len(records) < round(MOVED_FOR_S / 0.002):
            return False
        trace = Trace(records)
        return bool((trace.speed()[20:] > MOVING).all())

    return loop.robot.scene.time if loop.wait(moving, task.EPISODE_S) else None


def trial(loop, name, seed):
    """One fault in one episode."""
    inject, must_stop = FAULTS[name]
    loop.robot.faults.__init__()
    begin = loop.begin(seed)
    since = in_motion(loop)
    if since is None:
        return Outcome(name, None, float("nan"), loop.phase(), "the arm did not get under way")
    inject(loop)
    loop.wait(lambda: False, RESTART_S if name == "node restarted" else WATCHED_S)
    trace = loop.trace(begin)
    after = trace.times >= since
    start = trace.positions[after][0]
    moved = float(np.abs(trace.positions[after] - start).max())
    running = loop.node.process.poll() is None
    outcome = Outcome(name, trace.stopped_after(since), moved, loop.phase() if running else "gone")
    if must_stop:
        outcome.note = _recovery(loop)
    elif name == "instruction changed":
        outcome.note = _home(trace, since)
    else:
        outcome.note = _task(trace, since)
    return outcome


def _home(trace, since):
    """When the arm turned back, and how near to its start it got."""
    away = np.abs(trace.positions - task.START).max(axis=1)
    after = trace.times >= since
    furthest = trace.times[after][away[after].argmax()]
    return f"turned back after {furthest - since:.2f} s, {away[-1] * 1e3:.0f} mrad from its start at the end"


def _task(trace, since):
    """Whether the task was done all the same."""
    done = np.flatnonzero(trace.reached & (trace.times >= since))
    return f"cube reached {trace.times[done[0]] - since:.2f} s later" if len(done) else "cube not reached"


def _recovery(loop):
    """Mends what was broken and waits for motion or the task; nothing of it is done for a node that is gone."""
    if loop.node.process.poll() is not None:
        return "stays at rest"
    loop.robot.faults.__init__()
    before = loop.robot.scene.time
    again = loop.wait(lambda: Trace(loop.robot.trace[-40:]).speed().max() > 5 * REST, 2.0)
    if again:
        return f"mended, moves {loop.robot.scene.time - before:.2f} s later by itself"
    loop.resume()
    again = loop.wait(lambda: Trace(loop.robot.trace[-40:]).speed().max() > 5 * REST, 2.0)
    return "mended, moves after ~/resume" if again else "mended, stays at rest"


def after(loop):
    """Makes a loop ready for the next trial."""
    loop.robot.faults.__init__()
    if loop.node.process.poll() is not None:
        loop.start_node()
    else:
        deadline = time.monotonic() + 20.0
        while loop.phase() != "ready" and time.monotonic() < deadline:
            time.sleep(0.1)
