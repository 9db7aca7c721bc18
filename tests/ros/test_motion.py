"""Motion between chunks: hand-over, streamed commands, watchdog, and what a node leaves behind that is killed."""

import signal
import time

from harness import JOINTS, Feed, Parameters, seconds, statuses, values, wait_for
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

TIGHT = {f"inputs.{name}.max_age_ms": 400.0
         for name in ("cameras.top", "cameras.left_wrist", "cameras.right_wrist", "joints")}


def chunk_after(chunks, node):
    count = len(chunks)
    wait_for(lambda: len(chunks) > count, lambda: f"a chunk\n{node.log}")


def test_commands_are_streamed_at_their_rate_and_blend_joins_where_replace_jumps(robot, start):
    node = start({"command_rate_hz": 100.0, "rate_hz": 5.0}, ["-r", "__ns:=/stream"])
    node.wait_until_ready()
    commands = robot.listen("/stream/vla_trt/joint_command", JointState)
    parameters = Parameters(robot, "/stream/vla_trt")

    def fastest(mode):
        assert parameters.set(handover__mode=mode)[0].successful
        time.sleep(0.5)
        begun = len(commands)
        time.sleep(2.5)
        heard = commands[begun:]
        # A busy machine may lose some; none is made up.
        assert 120 <= len(heard) <= 260, len(heard)
        assert all(list(command.name) == JOINTS for command in heard)
        stamps = [seconds(command.header.stamp) for command in heard]
        assert stamps == sorted(stamps)
        return max(abs(velocity) for command in heard for velocity in command.velocity)

    with Feed(robot, namespace="/stream"):
        wait_for(lambda: commands, lambda: f"a command\n{node.log}")
        replaced, blended = fastest("replace"), fastest("blend")
    assert blended < replaced / 2, (blended, replaced)


def test_a_forward_controller_gets_positions_alone(robot, start):
    node = start({"command_rate_hz": 50.0, "command_type": "multi_array"}, ["-r", "__ns:=/forward"])
    node.wait_until_ready()
    commands = robot.listen("/forward/vla_trt/joint_command", Float64MultiArray)
    with Feed(robot, namespace="/forward"):
        wait_for(lambda: len(commands) > 20, lambda: f"commands\n{node.log}")
    assert len(commands[-1].data) == len(JOINTS) and not commands[-1].layout.dim


def test_motion_is_held_when_joint_states_stop_and_goes_on_when_they_come(robot, start):
    node = start({**TIGHT, "inputs.on_violation": "hold", "watchdog.stop_after_ms": 0.0}, ["-r", "__ns:=/held"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    with Feed(robot, namespace="/held") as feed:
        chunks = robot.chunks("/held/vla_trt")
        trajectories = robot.trajectories("/held/vla_trt")
        chunk_after(chunks, node)
        feed.send_joints = False
        node.wait_for_log("motion held: joints stopped")
        time.sleep(0.2)
        hold = trajectories[-1]
        assert seconds(hold.points[-1].time_from_start) <= 0.25
        assert list(hold.points[-1].velocities) == [0.0] * len(JOINTS)
        wait_for(lambda: motion(heard, "held/vla_trt", "state") == "holding", "the state in diagnostics")
        feed.send_joints = True
        chunk_after(chunks, node)
        wait_for(lambda: motion(heard, "held/vla_trt", "state") == "running", "the state in diagnostics")


def test_a_long_hold_is_a_stop_that_only_resume_ends(robot, start):
    node = start({**TIGHT, "watchdog.stop_after_ms": 500.0}, ["-r", "__ns:=/watched"])
    node.wait_until_ready()
    chunks = robot.chunks("/watched/vla_trt")
    with Feed(robot, namespace="/watched"):
        chunk_after(chunks, node)
    node.wait_for_log("stopped: no chunk for watchdog.stop_after_ms; call ~/resume")
    with Feed(robot, namespace="/watched"):
        time.sleep(0.3)
        count = len(chunks)
        time.sleep(0.6)
        assert len(chunks) == count, "stopped"
        assert robot.trigger("/watched/vla_trt/resume").success
        chunk_after(chunks, node)


def test_as_fast_as_useful_follows_the_inputs_and_not_a_timer(robot, start):
    node = start({"rate_hz": 0.0}, ["-r", "__ns:=/useful"])
    node.wait_until_ready()
    chunks = robot.chunks("/useful/vla_trt")
    with Feed(robot, hz=4, namespace="/useful"):
        chunk_after(chunks, node)
        count = len(chunks)
        time.sleep(3.0)
    assert 8 <= len(chunks) - count <= 40, "about one a set of samples (a set comes message by message)"


def test_what_a_killed_node_said_last_ends_at_rest_within_max_blind(robot, start):
    node = start({"max_blind_s": 0.4}, ["-r", "__ns:=/killed"])
    node.wait_until_ready()
    trajectories = robot.trajectories("/killed/vla_trt")
    with Feed(robot, namespace="/killed"):
        wait_for(lambda: len(trajectories) > 3, lambda: f"trajectories\n{node.log}")
        node.signal(signal.SIGKILL)
    for trajectory in trajectories:
        end = trajectory.points[-1]
        assert 0 < seconds(end.time_from_start) <= 0.4 and set(end.velocities) == {0.0}


def test_a_node_that_is_told_to_end_brakes_first(robot, start):
    node = start({"max_blind_s": 2.0}, ["-r", "__ns:=/ended"])
    node.wait_until_ready()
    trajectories = robot.trajectories("/ended/vla_trt")
    with Feed(robot, namespace="/ended"):
        wait_for(lambda: len(trajectories) > 3, lambda: f"trajectories\n{node.log}")
        assert seconds(trajectories[-1].points[-1].time_from_start) > 1.0
        node.signal(signal.SIGINT)
        time.sleep(0.3)
    assert seconds(trajectories[-1].points[-1].time_from_start) <= 0.25


def motion(heard, node, key):
    ours = [a for a in heard if a.status and a.status[0].name.startswith(f"{node}:")]
    return ours and values(statuses(ours[-1])["motion"]).get(key)


def test_rtc_may_be_switched_to_while_the_robot_moves(robot, start):
    node = start({}, ["-r", "__ns:=/rtc"])
    node.wait_until_ready()
    chunks = robot.chunks("/rtc/vla_trt")
    with Feed(robot, namespace="/rtc"):
        chunk_after(chunks, node)
        assert Parameters(robot, "/rtc/vla_trt").set(handover__mode="rtc")[0].successful
        count = len(chunks)
        wait_for(lambda: len(chunks) > count + 4, lambda: f"chunks\n{node.log}")
    # The rows that were promised stay: at the time of its first row a chunk says what the one before said.
    before, after = chunks[-2], chunks[-1]
    at = (seconds(after.start) - seconds(before.start)) / seconds(after.step)
    row, width = int(at), len(after.names)
    there = [a + (at - row) * (b - a) for a, b in zip(before.values[row * width:], before.values[(row + 1) * width:])]
    gap = max(abs(a - b) for a, b in zip(there[:width], after.values[:width]))
    span = max(before.values) - min(before.values)
    assert gap < span / 3, (gap, span)


URDF = """<robot name="arms">{}</robot>""".format("".join(
    f'<joint name="{name}" type="revolute"><limit lower="-1.5" upper="1.5" velocity="0.25"/></joint>' for name in JOINTS))


def test_limits_come_from_the_robots_description_and_nothing_moves_before_it(robot, start):
    node = start({"limits_from": "topic"}, ["-r", "__ns:=/described"])
    node.wait_until_ready()
    trajectories = robot.trajectories("/described/vla_trt")
    with Feed(robot, namespace="/described"):
        node.wait_for_log("none has come on limits_topic yet")
        assert not trajectories
        robot.instruct(URDF, topic="/described/robot_description")
        node.wait_for_log("limits taken from the robot's description")
        wait_for(lambda: len(trajectories) > 4, lambda: f"trajectories\n{node.log}")
    points = [point for trajectory in trajectories for point in trajectory.points]
    assert max(abs(position) for point in points for position in point.positions) <= 1.5 + 1e-9
    assert 0.05 < max(abs(velocity) for point in points for velocity in point.velocities) <= 0.25 + 1e-9
