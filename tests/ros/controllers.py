"""Controllers with action servers, as the robot of the tests has them: they follow, reject, abort, ignore or go away."""

import threading
import time

import rclpy
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from harness import seconds
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, ShutdownException

ACTIONS = {"follow": FollowJointTrajectory, "gripper": GripperCommand, "parallel_gripper": ParallelGripperCommand}


class Controller:
    """One action server in its own context, so that it can go away like a process.

    A newer goal ends the one before. `answers_after` (seconds until a goal is answered), `accepts`, `settles` (goals succeed at their end), `aborts` (the next goal is
    aborted, with this error code) and `error` (the tracking error of its feedback) may be changed at any time.
    """

    def __init__(self, domain, name, kind="follow", settles=True):
        self.kind, self.settles, self.accepts, self.aborts, self.error = kind, settles, True, None, 0.0
        self.answers_after = 0.0
        self.goals, self.requests, self.cancels, self.ends = [], [], [], []
        self._newest = None
        self._action = ACTIONS[kind]
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node(name.strip("/").replace("/", "_"), context=self.context)
        self.server = ActionServer(
            self.node, self._action, name, self._execute, goal_callback=self._asked, cancel_callback=self._cancel,
            handle_accepted_callback=self._accepted, callback_group=ReentrantCallbackGroup())
        self.executor = MultiThreadedExecutor(num_threads=4, context=self.context)
        self.executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        try:
            self.executor.spin()
        except (ExternalShutdownException, ShutdownException):
            pass

    def _asked(self, goal):
        self.requests.append(goal)
        time.sleep(self.answers_after)
        return GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT

    def _cancel(self, handle):
        self.cancels.append(time.monotonic())
        return CancelResponse.ACCEPT

    def _accepted(self, handle):
        self.goals.append(handle.request)
        self._newest = handle
        handle.execute()

    def _duration(self, goal):
        return seconds(goal.trajectory.points[-1].time_from_start) if self.kind == "follow" else 0.02

    def _execute(self, handle):
        ends = time.monotonic() + self._duration(handle.request)
        result = self._action.Result()
        while True:
            time.sleep(0.01)
            if handle.is_cancel_requested:
                handle.canceled()
                return self._end("canceled", result)
            if handle is not self._newest:
                handle.abort()
                return self._end("replaced", result)
            if self.aborts is not None:
                self.aborts, code = None, self.aborts
                if self.kind == "follow":
                    result.error_code, result.error_string = code, "the elbow is blocked"
                handle.abort()
                return self._end("aborted", result)
            if self.kind == "follow":
                feedback = self._action.Feedback(joint_names=handle.request.trajectory.joint_names)
                feedback.error.positions = [self.error] * len(feedback.joint_names)
                handle.publish_feedback(feedback)
            if time.monotonic() >= ends and self.settles:
                handle.succeed()
                return self._end("succeeded", result)

    def _end(self, how, result):
        self.ends.append(how)
        return result

    @property
    def trajectories(self):
        return [goal.trajectory for goal in self.goals]

    def close(self):
        self._newest = None
        self.executor.shutdown(timeout_sec=2.0)
        self.node.destroy_node()
        self.context.try_shutdown()
        self._thread.join(5)
