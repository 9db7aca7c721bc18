"""What an operator stops the robot with: ~/stop and the enable switch; and that ordinary ends are no alarms."""

import shutil
import signal
import threading
import time

import pytest
from harness import JOINTS, Feed, seconds, statuses, values, wait_for
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool

# Motion that would go on for long, so that a brake is told from a plan that runs out; slow enough for a busy machine.
MOVING = {"max_blind_s": 2.0, "rate_hz": 5.0}
ACCELERATION = 8.0
LIMITED = {f"limits.{joint}.acceleration": ACCELERATION for joint in JOINTS}


def grown(messages, count=0, more=1):
    """Waits until there are `more` messages than `count`."""
    wait_for(lambda: len(messages) >= count + more, f"{more} more messages than {count}")
    return len(messages)


def silence(*lists, seconds=0.8):
    """Whether nothing new comes for a while."""
    time.sleep(0.3)
    counts = [len(messages) for messages in lists]
    time.sleep(seconds)
    return [len(messages) for messages in lists] == counts


def motion(heard, node):
    ours = [a for a in heard if a.status and a.status[0].name.startswith(f"{node}:")]
    return statuses(ours[-1])["motion"] if ours else None


def at_rest(trajectory):
    """Whether a trajectory brakes at once, within the joints' acceleration, and ends at rest."""
    points = trajectory.points
    assert list(points[-1].velocities) == [0.0] * len(JOINTS)
    assert seconds(points[-1].time_from_start) <= 1.1, "half of max_blind_s at most, and the hand-over"
    for before, after in zip(points, points[1:]):
        step = seconds(after.time_from_start) - seconds(before.time_from_start)
        for slow, fast in zip(before.velocities, after.velocities):
            assert abs(fast - slow) <= ACCELERATION * step * (1 + 1e-6) + 1e-9
    return True


def alarms(node):
    """Warnings and errors since the policy was ready; what a start finds on the machine is told before."""
    lines = list(node.lines)
    ready = next(index for index, line in enumerate(lines) if " ready: " in line)
    return [line for line in lines[ready:] if line.startswith(("[ERROR]", "[WARN]"))]


def test_stop_brakes_at_once_and_latches_and_resume_goes_on(robot, start):
    node = start({**MOVING, **LIMITED}, ["-r", "__ns:=/stopped"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    with Feed(robot, namespace="/stopped"):
        chunks, trajectories = robot.chunks("/stopped/vla_trt"), robot.trajectories("/stopped/vla_trt")
        grown(trajectories, more=3)
        assert seconds(trajectories[-1].points[-1].time_from_start) > 1.2, "it would move for long"
        answer = robot.trigger("/stopped/vla_trt/stop")
        assert answer.success and "comes to rest within" in answer.message, answer.message
        wait_for(lambda: seconds(trajectories[-1].points[-1].time_from_start) <= 1.1, "the way to rest")
        assert at_rest(trajectories[-1])
        assert silence(chunks, trajectories), "nothing moves after it"

        answer = robot.trigger("/stopped/vla_trt/stop")
        assert answer.success and "stopped already" in answer.message
        assert not robot.trigger("/stopped/vla_trt/infer_once").success
        wait_for(lambda: "~/stop was called" in motion(heard, "stopped/vla_trt").message, "the reason in diagnostics")
        assert motion(heard, "stopped/vla_trt").level == b"\x02"
        assert silence(chunks, trajectories)

        count = len(chunks)
        assert robot.trigger("/stopped/vla_trt/resume").success
        grown(chunks, count, more=2)
    stops = [line for line in node.lines if "stopped: " in line]
    assert len(stops) == 1, "told once"


def test_stop_before_the_first_motion_and_on_demand_holds_too(robot, start):
    node = start({"rate_hz": -1.0}, ["-r", "__ns:=/idle"])
    node.wait_until_ready()
    chunks = robot.chunks("/idle/vla_trt")
    answer = robot.trigger("/idle/vla_trt/stop")
    assert answer.success and "no motion was in force" in answer.message
    with Feed(robot, namespace="/idle") as feed:
        answer = robot.trigger("/idle/vla_trt/infer_once")
        assert not answer.success and "~/resume" in answer.message
        # Not before every input has come.
        wait_for(lambda: robot.trigger("/idle/vla_trt/resume").success, "resumed")
        wait_for(lambda: robot.trigger("/idle/vla_trt/infer_once").success, "an inference")
        grown(chunks)
        assert feed.send_joints


def test_a_policy_that_is_loaded_after_a_stop_starts_stopped(robot, start, policy, tmp_path):
    broken = tmp_path / "policy"
    shutil.copytree(policy, broken)
    victim = next(iter(sorted(broken.glob("*.onnx"))))
    good = victim.read_bytes()
    victim.write_bytes(b"no network")
    node = start({"policy": str(broken)}, ["-r", "__ns:=/late"])
    node.wait_for_log("~/reload tries again")
    heard = robot.diagnostics()
    answer = robot.trigger("/late/vla_trt/stop")
    assert answer.success and "no policy is loaded yet" in answer.message
    wait_for(lambda: (lambda m: m and "starts stopped" in m.message)(motion(heard, "late/vla_trt")), "diagnostics")
    assert not robot.trigger("/late/vla_trt/resume").success
    victim.write_bytes(good)
    assert robot.trigger("/late/vla_trt/reload").success
    chunks = robot.chunks("/late/vla_trt")
    with Feed(robot, namespace="/late"):
        assert silence(chunks), "stopped"
        assert robot.trigger("/late/vla_trt/resume").success
        grown(chunks)


class Switch:
    """An operator's enable switch, pressed or let go."""

    def __init__(self, robot, topic):
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self.publisher = robot.publisher(topic, Bool, qos)
        self.on = True
        self.silent = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._end.wait(0.02):
            if not self.silent:
                self.publisher.publish(Bool(data=self.on))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(5)


# A busy machine must not let go of the switch by itself.
SWITCH = {**MOVING, **LIMITED, "inputs.enable.topic": "/operator/enable", "inputs.enable.max_age_ms": 1500.0}


@pytest.mark.parametrize(("let_go", "reason"), [
    (lambda switch: setattr(switch, "on", False), "is false"),
    (lambda switch: setattr(switch, "silent", True), "ms ago, at most 1500.0 ms"),
], ids=["false", "silence"])
def test_an_enable_switch_moves_the_robot_only_while_it_is_pressed(robot, start, let_go, reason):
    namespace = "/" + reason.split()[0] + "_" + reason.split()[-1]
    node = start(SWITCH, ["-r", f"__ns:={namespace}"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    chunks, trajectories = robot.chunks(f"{namespace}/vla_trt"), robot.trajectories(f"{namespace}/vla_trt")
    with Feed(robot, namespace=namespace):
        assert silence(chunks), "never heard: nothing moves"
        answer = robot.trigger(f"{namespace}/vla_trt/infer_once")
        assert not answer.success and "enable off" in answer.message
        assert not alarms(node), "nobody has pressed it yet: no alarm"
        with Switch(robot, "/operator/enable") as switch:
            grown(trajectories, more=3)
            let_go(switch)
            node.wait_for_log("stopped: enable off")
            wait_for(lambda: seconds(trajectories[-1].points[-1].time_from_start) <= 1.1, "the way to rest")
            assert at_rest(trajectories[-1])
            assert any(reason in line for line in node.lines), node.log
            answer = robot.trigger(f"{namespace}/vla_trt/resume")
            assert not answer.success and "enable off" in answer.message
            status = wait_for(lambda: (lambda m: m if m and m.level == b"\x02" else None)(
                motion(heard, namespace[1:] + "/vla_trt")), "diagnostics")
            assert "enable off" in status.message
            assert silence(chunks, trajectories)

            switch.on, switch.silent = True, False
            assert silence(chunks, trajectories), "pressed again it moves nothing by itself"
            count = len(chunks)
            assert robot.trigger(f"{namespace}/vla_trt/resume").success
            grown(chunks, count, more=2)


def test_motion_on_demand_ends_without_an_alarm(robot, start):
    node = start({"rate_hz": -1.0}, ["-r", "__ns:=/once"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    with Feed(robot, namespace="/once"):
        wait_for(lambda: robot.trigger("/once/vla_trt/infer_once").success, "an inference")
        node.wait_for_log("motion at rest: the motion that was asked for is over")
        status = wait_for(lambda: (lambda m: m if m and values(m).get("state") == "holding" else None)(
            motion(heard, "once/vla_trt")), "the state in diagnostics")
        assert status.level == b"\x00", status.message
    assert not alarms(node), node.log


def test_the_end_of_the_node_during_an_inference_is_no_alarm(robot, start):
    for _ in range(3):
        node = start({"rate_hz": 0.0, "denoise.steps": 8}, ["-r", "__ns:=/ends"])
        node.wait_until_ready()
        chunks = robot.chunks("/ends/vla_trt")
        with Feed(robot, hz=40, namespace="/ends"):
            count = len(chunks)
            grown(chunks, count, more=3)
            node.signal(signal.SIGINT)
        errors = [line for line in node.lines if line.startswith("[ERROR]")]
        assert not errors, node.log


def test_inputs_that_are_still_starting_are_no_alarm_and_a_missing_instruction_names_the_parameter(robot, start):
    node = start({"instruction": ""}, ["-r", "__ns:=/starts"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    with Feed(robot, namespace="/starts") as feed:
        feed.send_joints = False
        node.wait_for_log("waiting for inputs: ")
        node.wait_for_log("set the parameter `instruction`")
        assert not alarms(node), node.log
        name = "starts/vla_trt: "

        def inputs():
            ours = [s for a in heard for s in a.status if s.name == f"{name}inputs"]
            return ours and "set the parameter `instruction`" in ours[-1].message
        wait_for(inputs, "the parameter in diagnostics")
        ours = [s for a in heard for s in a.status if s.name == f"{name}inference"]
        assert values(ours[-1])["violations"] == "0"
