"""Outputs: one policy commands several controllers, and one stop reaches all of them."""

import signal
import time

import pytest
from harness import JOINTS, Feed, Parameters, seconds, statuses, values, wait_for
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from test_time import START_S, SimulatedClock
from trajectory_msgs.msg import JointTrajectory

LEFT, RIGHT = JOINTS[:7], JOINTS[7:]
# Motion that would go on for long, so that a brake differs from a plan that runs out.
MOVING = {"max_blind_s": 2.0, "rate_hz": 5.0, "command_rate_hz": 50.0, "inputs.on_violation": "hold",
          **{f"limits.{joint}.acceleration": 8.0 for joint in JOINTS}}


def outputs(**routes):
    """Parameters of outputs, from `name={parameter: value}`."""
    return {f"outputs.{name}.{key}": value for name, route in routes.items() for key, value in route.items()}


def trajectories(side, **more):
    return {"kind": "joint_trajectory", "keys": [f"{side}_arm", f"{side}_gripper"], **more}


def begin(start, namespace, routes, **params):
    node = start({**MOVING, **outputs(**routes), **params}, ["-r", f"__ns:={namespace}"])
    node.wait_until_ready()
    return node


def grown(messages, node, more=1):
    count = len(messages)
    wait_for(lambda: len(messages) >= count + more, lambda: f"{more} more messages than {count}\n{node.log}")
    return messages[-1]


def is_brake(trajectory):
    """Whether it ends at rest at once, and not with the plan of a chunk."""
    points = trajectory.points
    return set(points[-1].velocities) == {0.0} and seconds(points[-1].time_from_start) < 1.1


def output(heard, node):
    ours = [a for a in heard if a.status and a.status[0].name.startswith(f"{node}:")]
    return statuses(ours[-1])["output"] if ours else None


def silent(messages, within=1.0):
    """Whether nothing more comes for a while."""
    count = len(messages)
    time.sleep(within)
    return len(messages) == count


def test_two_controllers_follow_one_plan_with_one_stamp_and_one_stop(robot, start):
    node = begin(start, "/two", {"left": trajectories("left", topic="left/joint_trajectory"),
                                 "right": trajectories("right")})
    left = robot.listen("/two/left/joint_trajectory", JointTrajectory)
    right = robot.listen("/two/vla_trt/right", JointTrajectory)
    both = robot.trajectories("/two/vla_trt")
    heard = robot.diagnostics()
    with Feed(robot, namespace="/two"):
        wait_for(lambda: len(left) > 3 and len(right) > 3, lambda: f"trajectories\n{node.log}")
        assert robot.trigger("/two/vla_trt/stop").success
        time.sleep(0.5)
    assert not both, "~/joint_trajectory is not published where outputs are given"
    assert list(left[-1].joint_names) == LEFT and list(right[-1].joint_names) == RIGHT
    assert is_brake(left[-1]) and is_brake(right[-1]) and not is_brake(left[-2])
    stamps = [{seconds(message.header.stamp) for message in messages[1:]} for messages in (left, right)]
    assert len(stamps[0] & stamps[1]) >= min(map(len, stamps)) - 1, "the same plans"
    wait_for(lambda: output(heard, "two/vla_trt"), "diagnostics")
    shown = values(output(heard, "two/vla_trt"))
    assert "joint_trajectory" in shown["output left"] and "~/right" in shown["output right"], shown


def test_streams_of_some_joints_follow_the_stop_to_its_end(robot, start):
    node = begin(start, "/streams", {
        "left": {"kind": "joint_command", "keys": ["left_arm", "left_gripper"]},
        "right": {"kind": "joint_command", "joints": RIGHT[::-1], "type": "multi_array"}})
    left = robot.listen("/streams/vla_trt/left", JointState)
    right = robot.listen("/streams/vla_trt/right", Float64MultiArray)
    with Feed(robot, namespace="/streams"):
        wait_for(lambda: len(left) > 50 and len(right) > 50, lambda: f"commands\n{node.log}")
        assert robot.trigger("/streams/vla_trt/stop").success
        time.sleep(1.5)
        assert silent(left) and silent(right), "after the stop has ended"
    assert list(left[-1].name) == LEFT and len(right[-1].data) == len(RIGHT)
    assert set(map(abs, left[-1].velocity)) == {0.0}
    steps = [max(abs(a - b) for a, b in zip(before.data, after.data)) for before, after in zip(right[-4:], right[-3:])]
    assert steps[-1] <= max(steps[0], 1e-3)


def test_a_base_keeps_its_limits_and_a_stop_ends_in_zeros_and_silence(robot, start):
    gone = {f"limits.{joint}.{limit}": value for joint in ("left_gripper", "right_gripper")
            for limit, value in (("velocity", 5.0), ("acceleration", 8.0))}
    node = begin(start, "/base", {
        "arms": {"kind": "joint_trajectory", "keys": ["left_arm", "right_arm"]},
        "base": {"kind": "twist", "keys": ["left_gripper", "right_gripper"], "components": ["linear.x", "angular.z"],
                 "topic": "cmd_vel", "frame_id": "base_link", "max": [0.05, 0.2], "max_acceleration": [0.2, 0.8]}},
        **gone)
    twists = robot.listen("/base/cmd_vel", TwistStamped)
    arms = robot.listen("/base/vla_trt/arms", JointTrajectory)
    with Feed(robot, namespace="/base"):
        wait_for(lambda: len(twists) > 60, lambda: f"twists\n{node.log}")
        moved = max(abs(twist.twist.linear.x) for twist in twists)
        assert robot.trigger("/base/vla_trt/stop").success
        time.sleep(1.5)
        assert silent(twists, 0.5)
    assert moved > 0.0 and is_brake(arms[-1])
    assert {twist.header.frame_id for twist in twists} == {"base_link"}
    for component, limit, acceleration in (("linear", 0.05, 0.2), ("angular", 0.2, 0.8)):
        axis = "x" if component == "linear" else "z"
        series = [(seconds(t.header.stamp), getattr(getattr(t.twist, component), axis)) for t in twists]
        assert all(abs(value) <= limit + 1e-9 for _, value in series)
        for (before, slow), (after, fast) in zip(series, series[1:]):
            # A message may be late by a sample of the plan.
            assert abs(fast - slow) <= acceleration * (after - before + 0.011) + 1e-9
        assert [value for _, value in series[-10:]] == [0.0] * 10, "zeros before the silence"


def arm(side, action, **more):
    return {"kind": "follow_joint_trajectory", "keys": [f"{side}_arm"], "action": action, **more}


@pytest.fixture
def controller(domain):
    """Makes action servers, which end with the test."""
    controllers = pytest.importorskip("controllers", reason="control_msgs is not there: scripts/setup.sh builds it")
    made = []

    def make(*arguments, **options):
        made.append(controllers.Controller(domain, *arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def hand(side, action, **more):
    return {"kind": "gripper_command", "keys": [f"{side}_gripper"], "action": action, **more}


def aloha(namespace, **more):
    """Two arms and two grippers, each with its own controller."""
    return {"left": arm("left", f"{namespace}/left/follow"), "right": arm("right", f"{namespace}/right/follow"),
            "left_hand": hand("left", f"{namespace}/left/gripper", tolerance=0.001),
            "right_hand": hand("right", f"{namespace}/right/gripper", type="parallel_gripper_command",
                               max_effort=4.0, tolerance=0.001), **more}


def servers(controller, namespace):
    return (controller(f"{namespace}/left/follow"), controller(f"{namespace}/right/follow"),
            controller(f"{namespace}/left/gripper", kind="gripper"),
            controller(f"{namespace}/right/gripper", kind="parallel_gripper"))


def test_two_arms_and_two_grippers_move_by_goals_and_one_stop_brakes_them(robot, start, controller):
    left, right, left_hand, right_hand = servers(controller, "/aloha")
    left.settles = right.settles = False
    left.error = 0.0123
    node = begin(start, "/aloha", aloha("/aloha"))
    heard = robot.diagnostics()
    with Feed(robot, namespace="/aloha"):
        wait_for(lambda: min(map(len, (left.goals, right.goals, left_hand.goals, right_hand.goals))) > 2,
                 lambda: f"goals of every controller\n{node.log}")
        wait_for(lambda: values(output(heard, "aloha/vla_trt")).get("output left tracking error (rad or m)") == "0.0123",
                 "the tracking error in diagnostics")
        # A gripper that stalls on an object is no fault.
        left_hand.aborts = 0
        wait_for(lambda: "aborted" in left_hand.ends, "an aborted goal of a gripper")
        count = len(left.goals)
        wait_for(lambda: len(left.goals) > count + 2, lambda: f"motion goes on\n{node.log}")
        assert "motion held" not in node.log
        assert robot.trigger("/aloha/vla_trt/stop").success
        wait_for(lambda: is_brake(left.trajectories[-1]) and is_brake(right.trajectories[-1]), "the stops as goals")
        # They report no end: what is active at the end of the stop is cancelled.
        wait_for(lambda: left.cancels and right.cancels, lambda: f"cancelled goals\n{node.log}")
        # A gripper gets its last position at most a period of max_rate_hz after the rest.
        time.sleep(0.5)
        counts = [len(each.goals) for each in (left, right, left_hand, right_hand)]
        time.sleep(1.0)
        assert counts == [len(each.goals) for each in (left, right, left_hand, right_hand)]
    assert list(left.trajectories[-1].joint_names) == LEFT[:6] and list(right.trajectories[-1].joint_names) == RIGHT[:6]
    assert not left_hand.cancels and not right_hand.cancels, "a gripper that holds something must not drop it"
    assert list(right_hand.goals[-1].command.name) == ["right_gripper"]
    assert list(right_hand.goals[-1].command.effort) == [4.0]
    wait_for(lambda: left.ends[-1:] == ["canceled"] == right.ends[-1:], lambda: f"{left.ends[-3:]} {right.ends[-3:]}")


def test_nothing_moves_before_every_server_is_there_and_one_that_goes_away_brakes_the_others(robot, start, controller):
    routes = {"left": arm("left", "/late/left/follow"), "right": arm("right", "/late/right/follow"),
              "hands": {"kind": "joint_trajectory", "keys": ["left_gripper", "right_gripper"]}}
    left = controller("/late/left/follow")
    node = begin(start, "/late", routes)
    heard = robot.diagnostics()
    hands = robot.listen("/late/vla_trt/hands", JointTrajectory)
    chunks = robot.chunks("/late/vla_trt")
    with Feed(robot, namespace="/late"):
        grown(chunks, node, 3)
        assert not left.goals and not hands, "the right arm's server is not there"
        status = output(heard, "late/vla_trt")
        assert status.level == status.ERROR and "/late/right/follow" in status.message
        right = controller("/late/right/follow")
        wait_for(lambda: len(left.goals) > 2 and len(right.goals) > 2 and hands, lambda: f"goals\n{node.log}")
        right.close()
        node.wait_for_log("motion held: output right")
        wait_for(lambda: is_brake(left.trajectories[-1]) and is_brake(hands[-1]), lambda: f"brakes\n{node.log}")
        count = len(left.goals)
        grown(chunks, node, 3)
        assert len(left.goals) == count, "nothing moves without it"
        again = controller("/late/right/follow")
        wait_for(lambda: len(again.goals) > 2 and len(left.goals) > count, lambda: f"motion again\n{node.log}")


def test_no_goal_is_sent_to_a_server_that_has_not_answered(robot, start, controller):
    follower = controller("/mute/follow", answers_at_once=False)
    node = begin(start, "/mute", {
        "arms": {"kind": "follow_joint_trajectory", "keys": ["left_arm", "right_arm"], "action": "/mute/follow"},
        "hands": {"kind": "column", "keys": ["left_gripper", "right_gripper"]}}, **{"inputs.on_violation": "stop"})
    with Feed(robot, namespace="/mute"):
        node.wait_for_log("nothing may move: output arms: the action server on /mute/follow is there and does not answer")
        follower.begin()
        wait_for(lambda: len(follower.goals) > 2, lambda: f"goals\n{node.log}")
    assert "did not answer a goal" not in node.log and "stopped" not in node.log
    assert not follower.cancels, "what asks whether it answers cancels nothing"


@pytest.mark.parametrize("fault", ["reject", "abort", "ignore"])
def test_a_controller_that_rejects_aborts_or_does_not_answer_brakes_every_route_with_its_reason(robot, start, controller, fault):
    namespace = f"/{fault}"
    left, right = controller(f"{namespace}/left/follow"), controller(f"{namespace}/right/follow")
    node = begin(start, namespace, {
        "left": arm("left", f"{namespace}/left/follow"), "right": arm("right", f"{namespace}/right/follow"),
        "hands": {"kind": "column", "keys": ["left_gripper", "right_gripper"]}}, **{"inputs.on_violation": "stop"})
    heard = robot.diagnostics()
    with Feed(robot, namespace=namespace):
        wait_for(lambda: len(left.goals) > 2 and len(right.goals) > 2, lambda: f"goals\n{node.log}")
        if fault == "reject":
            right.accepts = False
        elif fault == "ignore":
            right.answers = lambda goal: False
        else:
            right.aborts = -4
        node.wait_for_log("stopped: output right")
        wait_for(lambda: is_brake(left.trajectories[-1]), lambda: f"the other arm brakes\n{node.log}")
        if fault == "reject":
            # Its own stop is rejected, too: what it follows is cancelled at once.
            wait_for(lambda: right.cancels, lambda: f"a cancelled goal\n{node.log}")
        elif fault == "ignore":
            # Neither the plan nor the stop is answered in time.
            node.wait_for_log("[ignore.vla_trt]: output right: /ignore/right/follow did not answer a goal within 1000 ms")
            # It follows what it was asked for before; the robot is stopped since.
            right.answers = lambda goal: True
            wait_for(lambda: right.cancels and "accepted a goal that was given up" in node.log,
                     lambda: f"late goals are cancelled\n{node.log}")
        else:
            wait_for(lambda: "PATH_TOLERANCE_VIOLATED (-4), the elbow is blocked"
                     in values(output(heard, f"{fault}/vla_trt")).get("output right last error", ""), "the reason")
        count = len(left.goals)
        time.sleep(0.6)
        assert len(left.goals) == count, "stopped until ~/resume"
        right.accepts = True
        # A stop that was not answered either is another fault.
        wait_for(lambda: (robot.trigger(f"{namespace}/vla_trt/resume"), len(left.goals) > count)[1],
                 lambda: f"motion again\n{node.log}")


def test_a_plan_that_a_server_accepts_after_the_stop_is_cancelled(robot, start, controller):
    left, right = controller("/overtaken/left/follow"), controller("/overtaken/right/follow")
    node = begin(start, "/overtaken", {
        "left": arm("left", "/overtaken/left/follow"), "right": arm("right", "/overtaken/right/follow"),
        "hands": {"kind": "column", "keys": ["left_gripper", "right_gripper"]}})
    with Feed(robot, namespace="/overtaken"):
        wait_for(lambda: len(left.goals) > 2 and len(right.goals) > 2, lambda: f"goals\n{node.log}")
        # A plan waits in the server until the stop was accepted.
        left.answers = lambda goal: is_brake(goal.trajectory) or is_brake(left.trajectories[-1])
        asked = len(left.requests)
        wait_for(lambda: len(left.requests) > asked, lambda: f"a plan that waits for its answer\n{node.log}")
        assert robot.trigger("/overtaken/vla_trt/stop").success
        node.wait_for_log("accepted a goal after the one that was sent after it")
        wait_for(lambda: "canceled" in left.ends, lambda: f"{left.ends[-3:]}\n{node.log}")
        assert not is_brake(left.trajectories[-1]), "the plan was accepted last"
        wait_for(lambda: is_brake(right.trajectories[-1]), lambda: f"the other arm brakes\n{node.log}")


def test_a_gripper_goal_that_is_answered_too_late_is_cancelled(robot, start, controller):
    gripper = controller("/late/gripper", kind="gripper")
    node = begin(start, "/late", {
        "arms": {"kind": "joint_command", "keys": ["left_arm", "right_arm"], "topic": "arms"},
        "left_hand": hand("left", "/late/gripper"), "right_hand": {"kind": "column", "keys": ["right_gripper"]}},
        **{"inputs.on_violation": "stop"})
    with Feed(robot, namespace="/late"):
        wait_for(lambda: len(gripper.goals) > 2, lambda: f"goals\n{node.log}")
        assert not gripper.cancels
        gripper.answers = lambda goal: False
        node.wait_for_log("stopped: output left_hand: /late/gripper did not answer a goal within 1000 ms")
        gripper.answers = lambda goal: True
        node.wait_for_log("/late/gripper accepted a goal that was given up; it is cancelled")
        wait_for(lambda: gripper.cancels, lambda: f"a cancelled goal\n{node.log}")


def test_a_node_that_ends_brakes_every_controller_and_cancels_what_does_not_end(robot, start, controller):
    left, right, left_hand, right_hand = servers(controller, "/ended")
    left.settles = right.settles = False
    node = begin(start, "/ended", aloha("/ended"))
    with Feed(robot, namespace="/ended"):
        wait_for(lambda: len(left.goals) > 2 and len(right.goals) > 2, lambda: f"goals\n{node.log}")
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
    for each in (left, right):
        wait_for(lambda each=each: is_brake(each.trajectories[-1]), lambda: f"the way to rest\n{node.log}")
        wait_for(lambda each=each: each.cancels, "a cancelled goal")
    assert not left_hand.cancels and not right_hand.cancels


@pytest.mark.parametrize("way", ["stop", "SIGTERM"])
def test_the_last_command_of_every_stream_is_one_of_rest_at_the_least_rate(robot, start, way):
    namespace = f"/slow_{way}"
    node = begin(start, namespace, {
        "arms": {"kind": "joint_command", "keys": ["left_arm", "right_arm"], "topic": "arms"},
        "base": {"kind": "twist", "keys": ["left_gripper", "right_gripper"], "topic": "cmd_vel",
                 "components": ["linear.x", "angular.z"], "max": [0.05, 0.2], "max_acceleration": [0.2, 0.8]}},
        **{"command_rate_hz": 10.0})
    arms, twists = robot.listen(f"{namespace}/arms", JointState), robot.listen(f"{namespace}/cmd_vel", TwistStamped)
    with Feed(robot, namespace=namespace):
        wait_for(lambda: len(arms) > 10 and len(twists) > 10, lambda: f"commands\n{node.log}")
        assert any(map(any, [message.velocity for message in arms])), "the arms move"
        if way == "stop":
            assert robot.trigger(f"{namespace}/vla_trt/stop").success
        else:
            node.signal(signal.SIGTERM)
            assert node.wait() == 0
        time.sleep(1.5)
    assert set(map(abs, arms[-1].velocity)) == {0.0}
    assert twists[-1].twist.linear.x == 0.0 == twists[-1].twist.angular.z


def test_a_clock_that_is_set_back_cancels_goals_and_stops_the_base(robot, start, controller):
    follower = controller("/back/arms/follow", settles=False)
    clock = SimulatedClock(robot)
    clock.now_s = START_S + 5000
    try:
        node = begin(start, "/back", {
            "arms": {"kind": "follow_joint_trajectory", "keys": ["left_arm", "right_arm"], "action": "/back/arms/follow"},
            "base": {"kind": "twist", "keys": ["left_gripper", "right_gripper"], "topic": "cmd_vel",
                     "components": ["linear.x", "angular.z"], "max": [0.05, 0.2], "max_acceleration": [0.2, 0.8]}},
            **{"use_sim_time": True, "inputs.on_violation": "stop"})
        twists = robot.listen("/back/cmd_vel", TwistStamped)
        with Feed(robot, namespace="/back", stamp=clock.stamp):
            wait_for(lambda: len(follower.goals) > 2 and len(twists) > 60, lambda: f"motion\n{node.log}")
            moving = twists[-1].twist
            clock.now_s = START_S
            # An input or the watchdog finds it first.
            wait_for(lambda: "stopped: clock went back" in node.log or "stopped: the clock was set back" in node.log,
                     lambda: f"a stop\n{node.log}")
            wait_for(lambda: follower.cancels, lambda: f"a cancelled goal\n{node.log}")
            wait_for(lambda: twists[-1].twist.linear.x == twists[-1].twist.angular.z == 0.0
                     and seconds(twists[-1].header.stamp) < START_S + 1000, lambda: f"zeros\n{node.log}")
        assert (moving.linear.x, moving.angular.z) != (0.0, 0.0)
        back = [t for t in twists if seconds(t.header.stamp) < START_S + 1000]
        assert abs(back[0].twist.angular.z) <= abs(moving.angular.z) + 0.8 * 0.1
    finally:
        clock.close()


def test_an_output_that_names_what_the_policy_lacks_is_refused_at_the_start(start):
    wrong = outputs(left=trajectories("left"), right=trajectories("right", keys=["right_arm", "right_hand"]))
    node = start({**MOVING, **wrong})
    assert node.wait() == 1
    assert "outputs.right.keys names 'right_hand'" in node.log
