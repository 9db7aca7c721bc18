"""The controllers of the simulated ALOHA as action servers: one of control_msgs' for each arm and each gripper.

`/<side>_arm_controller/follow_joint_trajectory` and `/<side>_gripper_controller/gripper_cmd`. As in ros2_control, a new goal takes the
place of the one before, which is aborted; a cancelled goal leaves the joints where they are commanded at that time.
"""

from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory, GripperCommand
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from .task import ARM, SIDES

#: Seconds that a gripper takes to a new position.
GRIPPER_S = 0.1
#: Seconds between looks at the goals' ends.
LOOK_S = 0.02


class Controller:
    """One action server whose goals are followed one at a time."""

    def __init__(self, node, kind, name, joints, follow, clock):
        self.joints, self.accepted, self.refused, self.cancelled = list(joints), 0, 0, 0
        self._follow, self._clock, self._kind = follow, clock, kind
        self._current = None  # (goal handle, end on the scene's clock, future that its execution waits for)
        self._server = ActionServer(node, kind, name, self._execute, goal_callback=self._judge,
                                    cancel_callback=lambda _: CancelResponse.ACCEPT)
        node.create_timer(LOOK_S, self._look)

    def _judge(self, goal):
        fits = set(self._trajectory(goal).joint_names) <= set(self.joints)
        self.accepted += fits
        self.refused += not fits
        return GoalResponse.ACCEPT if fits else GoalResponse.REJECT

    def _trajectory(self, goal):
        if self._kind is FollowJointTrajectory:
            return goal.trajectory
        point = JointTrajectoryPoint(positions=[goal.command.position], time_from_start=Duration(nanosec=int(GRIPPER_S * 1e9)))
        return JointTrajectory(joint_names=self.joints, points=[point])

    async def _execute(self, handle):
        self._end("aborted")
        trajectory = self._trajectory(handle.request)
        last = trajectory.points[-1].time_from_start
        done = Future()
        self._current = (handle, self._clock() + last.sec + last.nanosec * 1e-9, done)
        self._follow(trajectory)
        how = await done
        getattr(handle, {"succeeded": "succeed", "aborted": "abort", "cancelled": "canceled"}[how])()
        return self._kind.Result()

    def _look(self):
        if self._current is None:
            return
        handle, end, _ = self._current
        if handle.is_cancel_requested:
            self.cancelled += 1
            self._end("cancelled")
        elif self._clock() >= end:
            self._end("succeeded")

    def _end(self, how):
        if self._current is not None:
            _, _, done = self._current
            self._current = None
            done.set_result(how)


def serve(node, follow, clock):
    """The four controllers of the robot. `follow` takes a JointTrajectory, `clock` gives the scene's time in s."""
    made = {}
    for side in SIDES:
        arm, gripper = f"{side}_arm_controller", f"{side}_gripper_controller"
        made[arm] = Controller(node, FollowJointTrajectory, f"/{arm}/follow_joint_trajectory",
                               [f"{side}_{joint}" for joint in ARM], follow, clock)
        made[gripper] = Controller(node, GripperCommand, f"/{gripper}/gripper_cmd", [f"{side}_gripper"], follow, clock)
    return made
