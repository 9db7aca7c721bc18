"""A position controller at 500 Hz, as ros2_control has them: trajectories by cubic splines, or streamed single points.

Times are seconds on the caller's clock. Joints that a message does not name keep their set point.
"""

import dataclasses

import numpy as np

#: A plan has taken over by so long after its first point, s.
HAND_OVER_S = 0.05


@dataclasses.dataclass
class HandOver:
    """A plan took over from the one before."""

    at: float  #: when the plan was taken, s
    due: float  #: when its first point is due, s
    jump: float  #: |command step - velocity * dt| at the hand-over, largest of the arm's joints, rad
    late: int  #: points that were due already
    streamed: bool = False  #: one point of a stream, not a plan


class Plan:
    """Points in time for some joints; cubic between them where velocities are given, straight lines otherwise."""

    def __init__(self, columns, times, positions, velocities):
        self.columns, self.times = columns, np.asarray(times)
        self.positions, self.velocities = np.asarray(positions), velocities

    def at(self, now):
        """Positions and velocities at a time; at rest after the last point."""
        index = int(np.searchsorted(self.times, now, side="right"))
        if index >= len(self.times):
            return self.positions[-1], np.zeros(self.positions.shape[1])
        index = max(index, 1)
        begin, end = self.times[index - 1], self.times[index]
        p0, p1, h = self.positions[index - 1], self.positions[index], end - begin
        s = min(max((now - begin) / h, 0.0), 1.0)
        if self.velocities is None:
            return p0 + s * (p1 - p0), (p1 - p0) / h
        v0, v1 = self.velocities[index - 1] * h, self.velocities[index] * h
        a, b = 2 * (p0 - p1) + v0 + v1, 3 * (p1 - p0) - 2 * v0 - v1
        return ((a * s + b) * s + v0) * s + p0, ((3 * a * s + 2 * b) * s + v0) / h


class JointController:
    """Set points of all joints. `arm`: the columns that hand-overs are judged by; `step`: seconds between samples."""

    def __init__(self, names, positions, arm, step):
        self.names, self.step = list(names), step
        self.arm = set(arm)
        self.set_points = np.array(positions, dtype=float)
        self.rates = np.zeros(len(self.names))
        self.plans = {}  #: by their columns: each controller of some joints follows one
        self.hand_overs = []
        self._streamed = None

    def reset(self, positions):
        """Forgets everything and holds these positions."""
        self.set_points = np.array(positions, dtype=float)
        self.rates[:] = 0.0
        self.plans, self._streamed, self.hand_overs = {}, None, []

    def take_trajectory(self, now, start, names, offsets, positions, velocities):
        """Follows a trajectory from `now` on: from the set points of now to the first point that is still to come.

        `offsets`: time of each point from `start`; `positions` [points, names]; `velocities` the same, or None. What is
        past is dropped; a trajectory that is past altogether, or that names a joint that is not there, is refused
        (False).
        """
        if any(name not in self.names for name in names):
            return False
        self.sample(now)  # where the old plan is by now, not at the last tick
        columns = np.array([self.names.index(name) for name in names])
        times = start + np.asarray(offsets, dtype=float)
        ahead = times > now
        if not ahead.any():
            return False
        late = int(np.count_nonzero(~ahead))
        times, positions = times[ahead], np.asarray(positions, dtype=float)[ahead]
        velocities = None if velocities is None else np.asarray(velocities, dtype=float)[ahead]
        self._judge(now, columns, times, positions, velocities, late)
        if velocities is not None:
            velocities = np.vstack([self.rates[columns], velocities])
        self.plans = {others: plan for others, plan in self.plans.items() if not set(others) & set(columns)}
        self.plans[tuple(columns)] = Plan(columns, np.concatenate([[now], times]),
                                          np.vstack([self.set_points[columns], positions]), velocities)
        return True

    def _judge(self, now, columns, times, positions, velocities, late):
        """The largest step at the hand-over beyond what the velocity before it explains.

        First the step from the old plan, followed until one sample before the new plan's first point, to that point; of a first plan
        the step from the set points at rest. Then, since
        a plan may begin as the old one goes on and depart from it a little later, the steps from point to point of its
        first `HAND_OVER_S`.
        """
        where = [index for index, column in enumerate(columns) if column in self.arm]
        plan = self.plans.get(tuple(columns))
        if not where:
            return
        before, rate = (self.set_points[columns], 0.0) if plan is None else plan.at(times[0] - self.step)
        steps = [positions[0] - (before + rate * self.step)]
        if velocities is not None:
            dts = np.diff(times)[:, None]
            first = times[1:] <= times[0] + HAND_OVER_S
            steps.extend((np.diff(positions, axis=0) - velocities[:-1] * dts)[first])
        jump = np.abs(np.array(steps))[:, where].max()
        self.hand_overs.append(HandOver(now, times[0], float(jump), late))

    def take_command(self, now, names, positions, velocities=None):
        """Goes to a streamed point at once. Jumps of a stream are judged from point to point."""
        if any(name not in self.names for name in names):
            return False
        columns = np.array([self.names.index(name) for name in names])
        point = np.asarray(positions, dtype=float)
        if self._streamed is not None and now > self._streamed[0]:
            then, before, rate = self._streamed
            dt = now - then
            where = [index for index, column in enumerate(columns) if column in self.arm]
            if rate is not None and where and len(before) == len(point):
                jump = np.abs(point - before - rate * dt)[where].max()
                self.hand_overs.append(HandOver(now, now, float(jump), 0, streamed=True))
            measured = (point - before) / dt if len(before) == len(point) else None
        else:
            measured = None
        self._streamed = (now, point, np.asarray(velocities, dtype=float) if velocities is not None else measured)
        self.plans = {}
        self.set_points[columns] = point
        self.rates[columns] = 0.0
        return True

    def sample(self, now):
        """Set points of all joints at `now`."""
        for plan in self.plans.values():
            positions, rates = plan.at(now)
            self.set_points[plan.columns] = positions
            self.rates[plan.columns] = rates
        return self.set_points
