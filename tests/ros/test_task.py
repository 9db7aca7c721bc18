"""The action ~/run: goals, feedback, results, and what the robot does when a task ends."""

import signal
import time

import pytest
from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
from harness import Client, Feed, Parameters, seconds, statuses, values, wait_for
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient
from test_operator import LIMITED, MOVING, alarms, at_rest, grown, silence
from vla_trt.action import Run

REQUIRED = {**MOVING, **LIMITED, "task.required": True, "instruction": ""}
Result = Run.Result


class Task:
    """A goal, its feedback and its result."""

    def __init__(self, client, instruction="pick up the cube", limit=0.0):
        self.feedback = []
        goal = Run.Goal(instruction=instruction, time_limit_s=limit)
        self.begun = time.monotonic()
        future = client.send_goal_async(goal, lambda message: self.feedback.append(message.feedback))
        wait_for(future.done, "an answer to the goal")
        self.handle = future.result()
        self.accepted = self.handle.accepted
        self._result = self.handle.get_result_async() if self.accepted else None

    def cancel(self):
        """Asks for the end; the answer's code, 0 where the goal is canceling."""
        future = self.handle.cancel_goal_async()
        wait_for(future.done, "an answer to the cancellation")
        return future.result().return_code

    def done(self):
        return self._result.done()

    def end(self):
        """(state of the goal, result)."""
        wait_for(self._result.done, "the result")
        return self._result.result().status, self._result.result().result


class Actor:
    """A node with a client of its action, and the messages that it publishes."""

    def __init__(self, robot, start, namespace, params):
        self.robot, self.name = robot, f"{namespace}/vla_trt"
        self.node = start(params, ["-r", f"__ns:={namespace}"])
        self.node.wait_until_ready()
        self.client = ActionClient(robot.node, Run, f"{self.name}/run")
        assert self.client.wait_for_server(30.0)
        self.chunks, self.trajectories = robot.chunks(self.name), robot.trajectories(self.name)
        self.heard = robot.diagnostics()
        wait_for(lambda: self.status("inference") and values(self.status("inference"))["life cycle"] == "active", "active")

    def task(self, *arguments, **options):
        return Task(self.client, *arguments, **options)

    def trigger(self, name):
        return self.robot.trigger(f"{self.name}/{name}")

    def transit(self, label):
        request = ChangeState.Request(transition=Transition(label=label))
        assert self.robot.call(f"{self.name}/change_state", ChangeState, request).success

    def status(self, task):
        ours = [array for array in self.heard if array.status and array.status[0].name.startswith(f"{self.name[1:]}:")]
        return statuses(ours[-1])[task] if ours else None

    def braked(self):
        """Whether the last trajectory is a way to rest, and over."""
        wait_for(lambda: seconds(self.trajectories[-1].points[-1].time_from_start) <= 1.1, "the way to rest")
        last = self.trajectories[-1]
        rest = seconds(last.header.stamp) + seconds(last.points[-1].time_from_start)
        return at_rest(last) and rest <= self.robot.node.get_clock().now().nanoseconds * 1e-9


def test_the_robot_moves_only_while_a_task_runs_and_the_time_limit_ends_it_with_a_brake(robot, start):
    actor = Actor(robot, start, "/timed", REQUIRED)
    with Feed(robot, namespace="/timed"):
        assert silence(actor.chunks), "no task: nothing moves"
        answer = actor.trigger("infer_once")
        assert not answer.success and "no task runs" in answer.message
        assert actor.status("inputs").level == b"\x00", actor.status("inputs").message
        assert actor.status("inference").level == b"\x00", actor.status("inference").message

        task = actor.task("open the drawer", limit=2.5)
        assert task.accepted
        wait_for(lambda: any(each.phase == "running" and each.chunks > 0 for each in task.feedback), "running")
        wait_for(lambda: values(actor.status("inputs"))["instruction"] == "open the drawer", "the instruction in force")
        status, result = task.end()
        assert (status, result.reason) == (GoalStatus.STATUS_SUCCEEDED, Result.TIME_LIMIT), result
        assert 2.5 <= result.elapsed_s <= time.monotonic() - task.begun + 0.1
        assert result.chunks > 0 and result.message
        assert actor.braked(), "the result comes when the robot is at rest"
        assert silence(actor.chunks, actor.trajectories)
        # A result does not wait for feedback that is on its way.
        wait_for(lambda: task.feedback[-1].phase == "stopping", "the last feedback")
        elapsed = [each.elapsed_s for each in task.feedback]
        assert elapsed == sorted(elapsed) and len(elapsed) >= 2.5 / 0.4, "a few times a second"
        assert task.feedback[-1].latency_ms > 0
        count = len(actor.chunks)
        # Another one, from rest.
        again = actor.task(limit=1.0)
        assert again.end()[1].chunks > 0 and len(actor.chunks) > count
    assert not alarms(actor.node), "a time limit is no fault"


def test_a_cancelled_task_ends_at_rest(robot, start):
    actor = Actor(robot, start, "/cancelled", REQUIRED)
    with Feed(robot, namespace="/cancelled"):
        task = actor.task()
        grown(actor.trajectories, more=3)
        assert task.cancel() == CancelGoal.Response.ERROR_NONE
        status, result = task.end()
        assert (status, result.reason) == (GoalStatus.STATUS_CANCELED, Result.CANCELLED)
        assert actor.braked() and silence(actor.chunks, actor.trajectories)
        assert task.cancel() == CancelGoal.Response.ERROR_GOAL_TERMINATED
        unknown = CancelGoal.Request()
        unknown.goal_info.goal_id.uuid = list(range(16))
        answer = robot.call(f"{actor.name}/run/_action/cancel_goal", CancelGoal, unknown)
        assert answer.return_code == CancelGoal.Response.ERROR_UNKNOWN_GOAL_ID and not answer.goals_canceling
    assert not alarms(actor.node)


def test_without_task_required_the_node_follows_its_instruction_before_and_after_a_task(robot, start):
    actor = Actor(robot, start, "/free", {**MOVING, **LIMITED})
    instruction = "inputs", "instruction"

    def in_force():
        return values(actor.status(instruction[0]))[instruction[1]]

    with Feed(robot, namespace="/free"):
        grown(actor.chunks, more=2)
        task = actor.task("open the drawer")
        wait_for(lambda: in_force() == "open the drawer", "the task's instruction")
        # The topic and the parameter wait for the end of the task.
        assert all(result.successful for result in Parameters(robot, actor.name).set(instruction="close the drawer"))
        time.sleep(1.2)
        assert in_force() == "open the drawer"
        grown(actor.chunks, len(actor.chunks), more=2)
        task.cancel()
        assert task.end()[1].reason == Result.CANCELLED
        wait_for(lambda: in_force() == "close the drawer", "the node's instruction")
        grown(actor.chunks, len(actor.chunks), more=2)
        empty = actor.task("", limit=0.5)
        assert empty.end()[1].reason == Result.TIME_LIMIT, "the instruction in force"


def test_a_second_goal_is_refused(robot, start):
    actor = Actor(robot, start, "/refused", REQUIRED)
    with Feed(robot, namespace="/refused"):
        task = actor.task()
        assert task.accepted and not actor.task().accepted
        actor.node.wait_for_log("another task runs")
        task.cancel()
        assert task.end()[0] == GoalStatus.STATUS_CANCELED
        assert actor.task(limit=0.2).end()[0] == GoalStatus.STATUS_SUCCEEDED


def test_queued_goals_run_in_their_order_and_can_be_cancelled_before_they_begin(robot, start):
    actor = Actor(robot, start, "/queued", {**REQUIRED, "task.second_goal": "queue"})
    with Feed(robot, namespace="/queued"):
        first, second, third = actor.task(limit=1.5), actor.task(limit=1.0), actor.task()
        assert first.accepted and second.accepted and third.accepted
        assert third.cancel() == CancelGoal.Response.ERROR_NONE
        status, result = third.end()
        assert (status, result.chunks) == (GoalStatus.STATUS_CANCELED, 0)
        assert not first.done() and not second.feedback
        assert first.end()[0] == GoalStatus.STATUS_SUCCEEDED and not second.done()
        status, result = second.end()
        assert status == GoalStatus.STATUS_SUCCEEDED and result.chunks > 0 and result.elapsed_s < 2.5


def test_a_stop_ends_the_task_and_those_that_wait_for_it(robot, start):
    actor = Actor(robot, start, "/stopped", {**REQUIRED, "task.second_goal": "queue"})
    with Feed(robot, namespace="/stopped"):
        task, queued = actor.task(), actor.task()
        grown(actor.trajectories, more=2)
        assert actor.trigger("stop").success
        status, result = task.end()
        assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, Result.STOPPED)
        assert "~/stop was called" in result.message
        status, result = queued.end()
        assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, Result.FAILED)
        assert actor.braked()
        assert not actor.task().accepted, "stopped"
        # No task, no instruction: the stop ends all the same, and nothing moves by itself.
        assert actor.trigger("resume").success
        assert silence(actor.chunks)
        assert actor.task(limit=0.5).end()[0] == GoalStatus.STATUS_SUCCEEDED


def test_a_violation_that_stops_ends_the_task_and_one_that_holds_does_not(robot, start):
    params = {**REQUIRED, "inputs.joints.max_age_ms": 500.0, "inputs.on_violation": "hold"}
    actor = Actor(robot, start, "/violated", params)
    with Feed(robot, namespace="/violated") as feed:
        task = actor.task()
        grown(actor.trajectories, more=2)
        feed.send_joints = False
        wait_for(lambda: task.feedback and task.feedback[-1].phase == "held", "held")
        feed.send_joints = True
        wait_for(lambda: task.feedback[-1].phase == "running", "running again")
        parameters = Parameters(robot, actor.name)
        assert all(result.successful for result in parameters.set(inputs__on_violation="stop"))
        feed.send_joints = False
        status, result = task.end()
        assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, Result.STOPPED), result
        assert "joints" in result.message


def test_a_deactivated_node_ends_its_task_and_takes_none(robot, start):
    actor = Actor(robot, start, "/deactivated", REQUIRED)
    with Feed(robot, namespace="/deactivated"):
        task = actor.task()
        grown(actor.trajectories, more=2)
        actor.transit("deactivate")
        status, result = task.end()
        assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, Result.REPLACED)
        assert actor.braked()
        assert not actor.task().accepted
        actor.node.wait_for_log("task refused: the node is inactive")
        actor.transit("activate")
        assert silence(actor.chunks), "active, and no task"
        reloaded = actor.task()
        grown(actor.chunks, len(actor.chunks))
        assert actor.trigger("reload").success
        assert reloaded.end()[1].reason == Result.REPLACED


@pytest.mark.parametrize(("goal", "reason"), [
    ({"limit": -1.0}, "time_limit_s"), ({"limit": float("nan")}, "time_limit_s"), ({"limit": float("inf")}, "time_limit_s"),
    ({"instruction": "pick up the cube " * 2000}, "tokens"), ({"instruction": "  "}, "no instruction"),
], ids=["negative", "nan", "infinite", "long", "empty"])
def test_a_goal_that_cannot_be_followed_is_refused_with_the_reason_in_the_log(robot, start, goal, reason):
    namespace = f"/bad_{reason.split()[0]}_{str(goal.get('limit', 'x')).replace('-', 'minus').replace('.', '_')}"
    actor = Actor(robot, start, namespace, REQUIRED)
    assert not actor.task(**goal).accepted
    actor.node.wait_for_log("task refused: ")
    assert any("task refused: " in line and reason in line for line in actor.node.lines), actor.node.log


def test_a_task_whose_client_is_gone_ends_at_rest(robot, start, domain):
    actor = Actor(robot, start, "/gone", REQUIRED)
    robot.destroy(actor.client)
    planner = Client("planner", domain=domain)
    client = ActionClient(planner.node, Run, f"{actor.name}/run")
    assert client.wait_for_server(30.0)
    with Feed(robot, namespace="/gone"):
        task = Task(client)
        assert task.accepted
        grown(actor.trajectories, more=2)
        planner.destroy(client)
        planner.close()
        actor.node.wait_for_log("no action client is left")
        wait_for(actor.braked, "the rest")
        assert silence(actor.chunks, actor.trajectories)


def test_the_end_of_the_node_ends_the_task_with_a_result(robot, start):
    actor = Actor(robot, start, "/ends", REQUIRED)
    with Feed(robot, namespace="/ends"):
        task = actor.task()
        grown(actor.trajectories, more=2)
        code, took = actor.node.signal(signal.SIGINT)
        assert code == 0 and took < 2.5
        status, result = task.end()
        assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, Result.REPLACED)
