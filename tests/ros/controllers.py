"""Controllers with action servers, as the robot of the tests has them: they follow, reject, abort, ignore or go away."""

import threading
import time
from dataclasses import dataclass

import rclpy
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from harness import seconds
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor

ACTIONS = {"follow": FollowJointTrajectory, "gripper": GripperCommand, "parallel_gripper": ParallelGripperCommand}
PERIOD_S = 0.01


@dataclass
class Running:
    """A goal that was accepted, until its future has the word for its end and its result."""

    handle: object
    ends_at: float
    end: rclpy.Future


class Controller:
    """One action server in its own context, so that it can go away like a process.

    One thread answers requests in their order and looks after the goals in a cycle, as `ros2_control` does. A newer goal ends the one before. `answers` (a goal is
    answered once this returns true for it; others overtake it), `accepts`, `settles` (goals succeed at their end), `aborts` (the next goal is aborted, with this
    error code) and `error` (the tracking error of its feedback) may be changed at any time. With `answers_at_once` off it is seen and answers nothing until `begin`.
    """

    def __init__(self, domain, name, kind="follow", settles=True, answers_at_once=True):
        self.kind, self.settles, self.accepts, self.aborts, self.error = kind, settles, True, None, 0.0
        self.answers = lambda goal: True
        self.goals, self.requests, self.cancels, self.ends = [], [], [], []
        self._newest, self._running, self._asking = None, [], []
        self._action = ACTIONS[kind]
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node(name.strip("/").replace("/", "_"), context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.server = ActionServer(
            self.node, self._action, name, self._execute, goal_callback=self._asked, cancel_callback=self._cancel,
            handle_accepted_callback=self._accepted, callback_group=ReentrantCallbackGroup())
        self.node.create_timer(PERIOD_S, self._cycle)
        self.executor.add_node(self.node)
        self._closed = rclpy.Future()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        if answers_at_once:
            self.begin()

    def begin(self):
        self._thread.start()

    def _spin(self):
        try:
            self.executor.spin_until_future_complete(self._closed)
        except (ExternalShutdownException, ShutdownException):
            pass

    async def _asked(self, goal):
        self.requests.append(goal)
        if not self.answers(goal):
            answered = rclpy.Future(executor=self.executor)
            self._asking.append((goal, answered))
            await answered
        return GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT

    def _cancel(self, handle):
        self.cancels.append(time.monotonic())
        return CancelResponse.ACCEPT

    def _accepted(self, handle):
        self.goals.append(handle.request)
        self._newest = handle
        handle.execute()

    async def _execute(self, handle):
        running = Running(handle, time.monotonic() + self._duration(handle.request), rclpy.Future(executor=self.executor))
        self._running.append(running)
        how, result = await running.end
        self.ends.append(how)
        return result

    def _duration(self, goal):
        return seconds(goal.trajectory.points[-1].time_from_start) if self.kind == "follow" else 0.02

    def _cycle(self):
        # In the order in which they were asked.
        while self._asking and self.answers(self._asking[0][0]):
            self._asking.pop(0)[1].set_result(None)
        for running in self._running:
            end = self._look_after(running)
            if end:
                running.end.set_result(end)
        self._running = [running for running in self._running if not running.end.done()]

    def _look_after(self, running):
        """The word for the end of a goal and its result, if it ends now."""
        handle, result = running.handle, self._action.Result()
        if handle.is_cancel_requested:
            handle.canceled()
            return "canceled", result
        if handle is not self._newest:
            handle.abort()
            return "replaced", result
        if self.aborts is not None:
            self.aborts, code = None, self.aborts
            if self.kind == "follow":
                result.error_code, result.error_string = code, "the elbow is blocked"
            handle.abort()
            return "aborted", result
        if self.kind == "follow":
            feedback = self._action.Feedback(joint_names=handle.request.trajectory.joint_names)
            feedback.error.positions = [self.error] * len(feedback.joint_names)
            handle.publish_feedback(feedback)
        if time.monotonic() >= running.ends_at and self.settles:
            handle.succeed()
            return "succeeded", result
        return None

    @property
    def trajectories(self):
        return [goal.trajectory for goal in self.goals]

    def close(self):
        self._closed.set_result(None)
        if self._thread.is_alive():
            self._thread.join(5)
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()
