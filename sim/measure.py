"""Figures of an episode, from the robot's trace and the controller's hand-overs."""

import dataclasses

import numpy as np

from .scene import STEP_S
from .task import JOINTS, RIGHT_ARM

_ARM = [JOINTS.index(name) for name in RIGHT_ARM]
#: Seconds between the samples that jerk is taken from: finer ones show the simulation's contacts and not the motion.
JERK_S = 0.02
#: Below this the arm is at rest, rad/s.
REST = 0.02


class Trace:
    """What was recorded of an episode: times, set points and positions of the right arm, distances."""

    def __init__(self, records):
        self.times = np.array([record[0] for record in records])
        self.set_points = np.array([record[1][_ARM] for record in records])
        self.positions = np.array([record[2][_ARM] for record in records])
        self.distances = np.array([record[3] for record in records])
        self.reached = np.array([record[4] for record in records])

    def speed(self):
        """Fastest joint's speed, rad/s, over 20 ms around every record."""
        width = round(JERK_S / STEP_S)
        rate = np.zeros(len(self.times))
        if len(self.times) > width:
            moved = np.abs(self.positions[width:] - self.positions[:-width]).max(axis=1) / JERK_S
            rate[width:] = moved
        return rate

    def jerk(self):
        """Root mean square of the arm's jerk, rad/s^3, of the measured motion."""
        samples = self.positions[::round(JERK_S / STEP_S)]
        if len(samples) < 8:
            return float("nan")
        return float(np.sqrt((np.diff(samples, n=3, axis=0) ** 2).mean()) / JERK_S**3)

    def fastest(self):
        """Largest speed (rad/s) and acceleration (rad/s^2) of the set points, over 10 ms.

        By the times of the records: where the machine held the simulation up, two of them are further apart.
        """
        every = round(0.01 / STEP_S)
        times, samples = self.times[::every], self.set_points[::every]
        if len(samples) < 3:
            return 0.0, 0.0
        lasted = np.maximum(np.diff(times), 0.01)[:, None]
        rates = np.diff(samples, axis=0) / lasted
        return float(np.abs(rates).max()), float(np.abs(np.diff(rates, axis=0) / lasted[1:]).max())

    def hastiest(self):
        """Time of the set point that moved fastest, on the records' clock."""
        every = round(0.01 / STEP_S)
        times, samples = self.times[::every], self.set_points[::every]
        if len(samples) < 2:
            return float("nan")
        rates = np.abs(np.diff(samples, axis=0)).max(axis=1) / np.maximum(np.diff(times), 0.01)
        return float(times[1 + rates.argmax()])

    def outside(self, limits):
        """Set points beyond the position limits of the configuration: records times joints."""
        low = np.array([limits.get(name, {}).get("min", -np.inf) for name in RIGHT_ARM])
        high = np.array([limits.get(name, {}).get("max", np.inf) for name in RIGHT_ARM])
        return int(np.count_nonzero((self.set_points < low - 1e-6) | (self.set_points > high + 1e-6)))

    def state_error(self, joints, picture):
        """How far the arm was at one time from where it was at another, of the joint that differs most, rad."""
        at = lambda time: np.array([np.interp(time, self.times, joint) for joint in self.positions.T])
        return float(np.abs(at(joints) - at(picture)).max())

    def stopped_after(self, since, until=None):
        """Seconds from `since` until the arm came to rest and stayed so to the end (or `until`); None when it did not."""
        speed = self.speed()
        window = (self.times >= since) & (self.times <= (until if until is not None else self.times[-1]))
        moving = np.flatnonzero(window & (speed > REST))
        if not len(moving):
            return 0.0
        last = self.times[moving[-1]]
        end = self.times[window][-1]
        return None if end - last < 0.2 else float(last - since)

    def moves_again(self, after):
        """Time of the first motion after `after`, or None."""
        moving = np.flatnonzero((self.times > after) & (self.speed() > 5 * REST))
        return float(self.times[moving[0]]) if len(moving) else None


@dataclasses.dataclass
class Episode:
    """One episode's figures."""

    seed: int
    reached_s: float | None
    closest_m: float
    jumps: list
    jerk: float
    speed: float
    acceleration: float
    late: list
    latencies_ms: list
    chunks: int
    outside: int
    #: Of each chunk: how far the arm was at the time of its joint states from where it was in its picture, rad.
    state_errors: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Setting:
    """A table's line: the episodes of one mode and latency."""

    mode: str
    latency_ms: float
    episodes: list
    clamped: int = 0
    slips: int = 0
    outside: int = 0
    camera_latency_ms: float = 0.0
    pairing: str = "newest"

    PAIRING_HEADER = ("| pairing | picture later by ms | reached | median s | closest mm | state error mrad mean / p95 / max | "
                      "jerk rad/s³ | late rows | slips |\n|---|---|---|---|---|---|---|---|---|")

    HEADER = ("| mode | latency ms | reached | median s | jump mrad mean / p95 / max | jerk rad/s³ | speed rad/s | acc. rad/s² | "
              "clamps | beyond limits | late rows | latency ms | slips |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|")

    def pairing_line(self):
        """One row of the table of pairings in docs/closed_loop.md."""
        times = [e.reached_s for e in self.episodes if e.reached_s is not None]
        errors = np.array([error for e in self.episodes for error in e.state_errors] or [np.nan]) * 1e3
        late = [rows for e in self.episodes for rows in e.late]
        return (f"| {self.pairing} | {self.camera_latency_ms:.0f} | {len(times)} of {len(self.episodes)} | "
                f"{np.median(times) if times else float('nan'):.2f} | "
                f"{np.mean([e.closest_m for e in self.episodes]) * 1e3:.1f} | "
                f"{errors.mean():.1f} / {np.percentile(errors, 95):.1f} / {errors.max():.1f} | "
                f"{np.nanmean([e.jerk for e in self.episodes]):.0f} | {np.mean(late) if late else 0.0:.1f} | {self.slips} |")

    def line(self):
        """One row of the table in docs/closed_loop.md."""
        times = [e.reached_s for e in self.episodes if e.reached_s is not None]
        jumps = np.array([jump for e in self.episodes for jump in e.jumps] or [0.0]) * 1e3
        late = [rows for e in self.episodes for rows in e.late]
        spent = [latency for e in self.episodes for latency in e.latencies_ms]
        return (f"| {self.mode} | {self.latency_ms:.0f} | {len(times)} of {len(self.episodes)} | "
                f"{np.median(times) if times else float('nan'):.2f} | {jumps.mean():.1f} / {np.percentile(jumps, 95):.1f} / "
                f"{jumps.max():.1f} | {np.nanmean([e.jerk for e in self.episodes]):.0f} | "
                f"{max((e.speed for e in self.episodes), default=0.0):.2f} | "
                f"{max((e.acceleration for e in self.episodes), default=0.0):.0f} | {self.clamped} | {self.outside} | "
                f"{np.mean(late) if late else 0.0:.1f} | {np.median(spent) if spent else 0.0:.0f} | {self.slips} |")
