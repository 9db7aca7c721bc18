"""Motion between chunks: hand-over, streamed commands, watchdog, and what a node leaves behind that is killed."""

import signal
import statistics
import time

import pytest
from harness import JOINTS, Feed, Parameters, seconds, statuses, values, wait_for
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

TIGHT = {f"inputs.{name}.max_age_ms": 400.0
         for name in ("cameras.top", "cameras.left_wrist", "cameras.right_wrist", "joints")}


def wait_for_next(messages, name, node):
    count = len(messages)
    wait_for(lambda: len(messages) > count, lambda: f"{name}\n{node.log}")


def chunk_after(chunks, node):
    wait_for_next(chunks, "a chunk", node)


def fastest(trajectory, within=0.15):
    """Highest speed between two samples after a hand-over, rad/s. From the trajectory, which has every sample: a busy machine sends
    single commands late, and then the one with a jump may be missing."""
    points = [point for point in trajectory.points if seconds(point.time_from_start) <= within]
    return max(abs(after - before) / (seconds(later.time_from_start) - seconds(point.time_from_start))
               for point, later in zip(points, points[1:]) for before, after in zip(point.positions, later.positions))


@pytest.mark.alone
def test_commands_are_streamed_at_their_rate_and_blend_joins_where_replace_jumps(robot, start):
    # Without limits, which smooth both modes alike.
    unlimited = {f"limits.{name}.velocity": float("inf") for name in JOINTS} | {"motion.allow_unlimited": True}
    node = start({"command_rate_hz": 100.0, "rate_hz": 5.0, **unlimited}, ["-r", "__ns:=/stream"])
    node.wait_until_ready()
    commands = robot.listen("/stream/vla_trt/joint_command", JointState)
    trajectories = robot.trajectories("/stream/vla_trt")
    parameters = Parameters(robot, "/stream/vla_trt")

    def jump(mode):
        assert parameters.set(handover__mode=mode)[0].successful
        # The hand-over from the mode before, then one in this mode.
        for _ in range(2):
            wait_for_next(trajectories, "a trajectory", node)
        begun, first, since = len(commands), len(trajectories), time.monotonic()
        wait_for(lambda: len(trajectories) >= first + 10, lambda: f"ten trajectories\n{node.log}")
        heard, took = commands[begun:], time.monotonic() - since
        # A busy machine may lose some; none is made up.
        assert 48 * took <= len(heard) <= 104 * took + 5, (len(heard), took)
        assert all(list(command.name) == JOINTS for command in heard)
        stamps = [seconds(command.header.stamp) for command in heard]
        assert stamps == sorted(stamps)
        return statistics.median(map(fastest, trajectories[first:first + 10]))

    with Feed(robot, namespace="/stream"):
        wait_for(lambda: commands, lambda: f"a command\n{node.log}")
        replaced, blended = jump("replace"), jump("blend")
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
        node.wait_for_log("motion held: joints")
        wait_for(lambda: seconds(trajectories[-1].points[-1].time_from_start) <= 0.25, "the way to rest")
        assert list(trajectories[-1].points[-1].velocities) == [0.0] * len(JOINTS)
        wait_for(lambda: motion(heard, "held/vla_trt", "state") == "holding", "the state in diagnostics")
        feed.send_joints = True
        chunk_after(chunks, node)
        wait_for(lambda: motion(heard, "held/vla_trt", "state") == "running", "the state in diagnostics")


def test_motion_begins_where_the_arm_was_moved_to_by_hand_while_it_was_held(robot, start):
    node = start({**TIGHT, "inputs.on_violation": "hold", "watchdog.stop_after_ms": 0.0}, ["-r", "__ns:=/moved"])
    node.wait_until_ready()
    with Feed(robot, namespace="/moved") as feed:
        chunks = robot.chunks("/moved/vla_trt")
        trajectories = robot.trajectories("/moved/vla_trt")
        chunk_after(chunks, node)
        feed.send_joints = False
        node.wait_for_log("motion held: joints")
        # The stop is over, and the arm is moved.
        time.sleep(0.5)
        count = len(trajectories)
        feed.positions["left_waist"] = 0.998
        feed.send_joints = True
        wait_for(lambda: len(trajectories) > count, lambda: f"a trajectory\n{node.log}")
        start_of = trajectories[count].points[0]
        assert list(start_of.positions) == [feed.positions[name] for name in trajectories[count].joint_names]
        assert set(start_of.velocities) == {0.0}


def test_an_arm_that_is_pushed_while_it_moves_brakes_and_is_named(robot, start):
    node = start({**TIGHT}, ["-r", "__ns:=/pushed"])
    node.wait_until_ready()
    with Feed(robot, namespace="/pushed") as feed:
        chunks = robot.chunks("/pushed/vla_trt")
        chunk_after(chunks, node)
        assert Parameters(robot, "/pushed/vla_trt").set(limits__left_waist__tracking_error=0.5)[0].successful
        # Further than the demo policy goes between two chunks.
        feed.positions["left_waist"] += 1.5
        node.wait_for_log("motion held: joint `left_waist` does not follow its plan")
        # It goes on from where it is.
        chunk_after(chunks, node)


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
        wait_for(lambda: seconds(trajectories[-1].points[-1].time_from_start) <= 0.25, lambda: f"the way to rest\n{node.log}")


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
        node.wait_for_log("limits_topic (robot_description)")
        assert not trajectories
        robot.instruct(URDF, topic="/described/robot_description")
        node.wait_for_log("limits of the robot description are in force")
        wait_for(lambda: len(trajectories) > 4, lambda: f"trajectories\n{node.log}")
    points = [point for trajectory in trajectories for point in trajectory.points]
    assert max(abs(position) for point in points for position in point.positions) <= 1.5 + 1e-9
    assert 0.05 < max(abs(velocity) for point in points for velocity in point.velocities) <= 0.25 + 1e-9


NARROW = URDF.replace("-1.5", "-0.5").replace("1.5", "0.5")


def test_what_set_parameters_accepts_is_in_force_and_a_refused_change_blocks_no_later_one(robot, start, tmp_path):
    urdf = tmp_path / "robot.urdf"
    urdf.write_text(NARROW)
    node = start({"limits_from": "file", "limits_file": str(urdf)}, ["-r", "__ns:=/inforce"])
    node.wait_until_ready()
    parameters = Parameters(robot, "/inforce/vla_trt")
    refused = parameters.set(limits__left_waist__max=-9.0)[0]
    assert not refused.successful and "left_waist" in refused.reason and "robot description" in refused.reason, refused
    assert parameters.get("limits.left_waist.max")[0].double_value == float("inf")
    chunks = robot.chunks("/inforce/vla_trt")
    with Feed(robot, namespace="/inforce"):
        wait_for(lambda: chunks, lambda: f"a chunk\n{node.log}")
        assert parameters.set(action__step_s=0.5)[0].successful
        wait_for(lambda: seconds(chunks[-1].step) == 0.5, lambda: f"the new step\n{node.log}")
        # Tighter than the description's: in force. Wider: taken, and the description's holds.
        assert parameters.set_atomically(limits__left_waist__min=-0.01, limits__left_waist__max=0.01).successful
        assert parameters.set(limits__left_shoulder__max=3.0)[0].successful
        node.wait_for_log("the robot description's limit of 0.5 is tighter and holds")

        def reach(chunk, name):
            column = list(chunk.names).index(name)
            return max(abs(value) for value in list(chunk.values)[column::len(chunk.names)])

        wait_for(lambda: reach(chunks[-1], "left_waist") <= 0.01, lambda: f"the new limit\n{node.log}")
        assert all(abs(value) <= 0.5 for chunk in chunks for value in chunk.values)


def test_a_description_that_contradicts_the_parameters_is_an_error_and_nothing_moves_until_it_is_solved(robot, start):
    node = start({"limits_from": "topic", "limits.left_waist.min": 0.6}, ["-r", "__ns:=/contradicted"])
    node.wait_until_ready()
    trajectories = robot.trajectories("/contradicted/vla_trt")
    parameters = Parameters(robot, "/contradicted/vla_trt")
    heard = robot.diagnostics()
    with Feed(robot, namespace="/contradicted"):
        robot.instruct(NARROW, topic="/contradicted/robot_description")
        node.wait_for_log("the robot description cannot be used: limits: joint `left_waist`")

        def error():
            ours = [a for a in heard if a.status and a.status[0].name.startswith("contradicted/vla_trt:")]
            status = ours and statuses(ours[-1])["motion"]
            return status and status.level == status.ERROR and "left_waist" in status.message

        wait_for(error, "an error in diagnostics")
        assert parameters.set(seed=5)[0].successful, "other changes are taken"
        assert not trajectories
        assert parameters.set(limits__left_waist__min=-0.4)[0].successful
        wait_for(lambda: trajectories, lambda: f"a trajectory\n{node.log}")


def test_without_a_limit_of_velocity_chunks_are_published_and_no_motion(robot, start):
    node = start({"limits.left_waist.velocity": float("inf"), "command_rate_hz": 50.0}, ["-r", "__ns:=/unlimited"])
    node.wait_until_ready()
    trajectories = robot.trajectories("/unlimited/vla_trt")
    commands = robot.listen("/unlimited/vla_trt/joint_command", JointState)
    chunks = robot.chunks("/unlimited/vla_trt")
    heard = robot.diagnostics()
    with Feed(robot, namespace="/unlimited"):
        wait_for(lambda: len(chunks) > 3, lambda: f"chunks\n{node.log}")
        wait_for(lambda: any(status.name == "unlimited/vla_trt: motion" and status.level == status.ERROR
                             and "limits.<joint>.velocity" in status.message and "left_waist" in status.message
                             for array in heard for status in array.status), "an error in diagnostics")
        assert not trajectories and not commands
        assert Parameters(robot, "/unlimited/vla_trt").set(limits__left_waist__velocity=1.0)[0].successful
        wait_for(lambda: trajectories and commands, lambda: f"motion\n{node.log}")
