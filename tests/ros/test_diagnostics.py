"""/diagnostics and /rosout."""

import itertools
import os
import pathlib
import re
import shutil
import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from harness import JOINTS, Feed, Parameters, seconds, statuses, values, wait_for
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState
from trajectory_msgs.msg import JointTrajectory

# rcl_interfaces/Log.INFO; rclpy gives it as bytes or int, by version.
INFO = 20
TASKS = {"inputs", "engines", "memory", "inference", "motion", "output"}


@pytest.fixture(scope="module")
def node(start):
    node = start()
    node.wait_until_ready()
    return node


def latest(heard, task):
    wait_for(lambda: heard, "diagnostics")
    return statuses(heard[-1])[task]


def level(status):
    return int.from_bytes(status.level, "little")


def test_six_statuses_named_after_the_node_with_its_hardware(robot, node):
    heard = robot.diagnostics()
    wait_for(lambda: heard, "diagnostics")
    assert {status.name for status in heard[-1].status} == {f"vla_trt: {task}" for task in TASKS}
    assert all(status.hardware_id for status in heard[-1].status)


def test_figures_carry_their_unit_and_all_is_well_while_inputs_come(robot, node):
    heard = robot.diagnostics()
    with Feed(robot):
        def well():
            measured = heard and "top arrival rate (Hz)" in values(statuses(heard[-1])["inputs"])
            return measured and all(level(s) == 0 for s in statuses(heard[-1]).values()) and heard[-1]
        array = statuses(wait_for(well, lambda: [(s.name, s.message) for s in heard[-1].status]))
    inputs = values(array["inputs"])
    assert 0 <= float(inputs["top age (ms)"]) < 1000
    assert float(inputs["top arrival rate (Hz)"]) > 5
    assert int(inputs["top received"]) >= int(inputs["top used"]) > 0
    engines = values(array["engines"])
    assert engines["phase"] == "ready" and engines["policy"]
    assert float(values(array["memory"])["resident (MiB)"]) > 1
    inference = values(array["inference"])
    assert float(inference["latency (ms)"]) > 0 and float(inference["vision latency (ms)"]) > 0
    assert int(values(array["output"])["chunks published"]) > 0


@pytest.mark.alone
def test_once_a_second_and_at_once_when_a_level_changes(robot, node):
    heard = robot.diagnostics()
    with Feed(robot) as feed:
        wait_for(lambda: heard and level(statuses(heard[-1])["inputs"]) == 0, "all well")
        time.sleep(1.5)
        count, begun = len(heard), time.monotonic()
        time.sleep(4.2)
        rate = (len(heard) - count) / (time.monotonic() - begun)
        assert 0.7 < rate < 1.5, rate
        for _ in range(3):
            feed.cameras.discard("top")
            wait_for(lambda: level(statuses(heard[-1])["inputs"]) == 2, "an error")
            assert "top" in latest(heard, "inputs").message
            feed.cameras.add("top")
            wait_for(lambda: level(statuses(heard[-1])["inputs"]) == 0, "all well again")
    # A change does not wait for the full second since the report before it, but for six changes in a row by accident.
    pairs = [(a, b) for a, b in zip(heard, heard[1:])
             if level(statuses(a)["inputs"]) != level(statuses(b)["inputs"])]
    assert len(pairs) >= 6
    assert min(seconds(b.header.stamp) - seconds(a.header.stamp) for a, b in pairs) < 0.85


def test_phases_are_seen_while_parameters_already_serve(robot, start):
    heard = robot.diagnostics()
    node = start(arguments=["-r", "__ns:=/young"])
    node.wait_until_ready()
    wait_for(lambda: any(values(s).get("phase") == "ready" for a in heard for s in a.status
                         if s.name == "young/vla_trt: engines"), "the phase ready")
    phases = [values(s)["phase"] for a in heard for s in a.status if s.name == "young/vla_trt: engines"]
    assert phases[-1] == "ready" and set(phases) <= {"planning", "loading", "warm-up", "ready"}


def test_a_degraded_node_says_so_at_level_error(robot, start, policy, tmp_path):
    broken = tmp_path / "policy"
    shutil.copytree(policy, broken)
    victim = next(iter(sorted(broken.glob("*.onnx"))))
    victim.write_bytes(b"no network")
    heard = robot.diagnostics()
    start({"policy": str(broken)}, ["-r", "__ns:=/ill"])
    def ill():
        ours = [s for a in heard for s in a.status if s.name == "ill/vla_trt: engines"]
        return next((s for s in ours if values(s)["phase"] == "degraded"), None)
    status = wait_for(ill, "the phase degraded")
    assert level(status) == 2 and victim.stem in status.message and "~/reload" in status.message


def test_logs_reach_rosout_also_those_from_before_the_subscription(robot, node):
    logs = robot.rosout()
    ours = wait_for(lambda: [m for m in logs if m.name == "vla_trt"], "the node's logs")
    # Before it may stand what is wrong with this machine.
    first = wait_for(lambda: next((m for m in logs if m.name == "vla_trt" and "runs policy" in m.msg), None), "the first")
    assert first.level == INFO
    assert first.file and first.line and first.stamp.sec
    assert any("loading engine 1 of" in m.msg for m in ours)


def test_the_log_level_is_live(robot, node):
    parameters = Parameters(robot)
    with Feed(robot):
        assert parameters.set(log_level="debug")[0].successful
        node.wait_for_log("[DEBUG]")
        assert parameters.set(log_level="error")[0].successful
        time.sleep(0.5)
        count = len(node.lines)
        time.sleep(1.0)
        assert len(node.lines) == count
        assert parameters.set(log_level="info")[0].successful


def test_disabled_rosout_logs_are_not_published(robot, start):
    node = start(arguments=["-r", "__node:=mute", "--disable-rosout-logs"], name="/mute")
    node.wait_until_ready()
    def topics():
        if ("mute", "/") not in robot.node.get_node_names_and_namespaces():
            return []
        return [name for name, _ in robot.node.get_publisher_names_and_types_by_node("mute", "/")]
    wait_for(lambda: "/diagnostics" in topics(), "the node's publishers")
    assert "/rosout" not in topics()


def test_frames_that_get_lost_are_told_with_the_way_out(robot, node):
    heard = robot.diagnostics()
    with Feed(robot, hz=30) as feed:
        # A camera of 30 Hz of which bursts of two of twelve arrive.
        counter = itertools.count()
        send = feed.send
        feed.send = lambda: (feed.cameras.add("top") if next(counter) % 12 < 2 else feed.cameras.discard("top"), send())
        def told():
            return heard and "shared-memory segment" in statuses(heard[-1])["inputs"].message
        wait_for(told, lambda: statuses(heard[-1])["inputs"].message)
        assert level(statuses(heard[-1])["inputs"]) == int.from_bytes(DiagnosticStatus.WARN, "little")


@pytest.fixture
def other(domain):
    """Makes further nodes, which are gone at the end of the test."""
    import rclpy
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    nodes = []

    def make(name, namespace=""):
        nodes.append(rclpy.create_node(name, namespace=namespace, context=context))
        return nodes[-1]

    yield make
    for made in nodes:
        made.destroy_node()
    context.try_shutdown()


def warned(heard, node, task, *parts):
    """The newest status of this task, when it has all of these parts."""
    ours = [s for a in list(heard) for s in a.status if s.name == f"{node}: {task}"]
    return next((s for s in ours[-1:] if level(s) >= 1 and all(part in s.message for part in parts)), None)


def test_another_commander_is_named_and_gone_when_it_is(robot, start, other):
    node = start(arguments=["-r", "__ns:=/two"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    intruder = other("teleop", "/pilot")
    publisher = intruder.create_publisher(JointTrajectory, "/two/vla_trt/joint_trajectory", 10)
    wait_for(lambda: warned(heard, "two/vla_trt", "output", "/two/vla_trt/joint_trajectory", "/pilot/teleop"),
             "a warning")
    node.wait_for_log("/two/vla_trt/joint_trajectory is commanded by /pilot/teleop")
    intruder.destroy_publisher(publisher)
    wait_for(lambda: not warned(heard, "two/vla_trt", "output", "/pilot/teleop"), "no warning")


def test_another_node_of_the_same_name_is_seen(robot, start, other):
    node = start(arguments=["-r", "__ns:=/twin"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    other("vla_trt", "/twin")
    wait_for(lambda: warned(heard, "twin/vla_trt", "output", "another node is named /twin/vla_trt"), "a warning")


def test_a_second_source_of_a_camera_is_named_with_both_nodes(robot, start, other):
    node = start(arguments=["-r", "__ns:=/double", "-r", "camera/top/image_raw:=/shared/top"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    for name in ("driver", "bag_player"):
        other(name).create_publisher(Image, "/shared/top", qos_profile_sensor_data)
    wait_for(lambda: warned(heard, "double/vla_trt", "inputs", "top: /shared/top has 2 publishers", "/driver",
                            "/bag_player"), "a warning")


def test_a_joint_from_two_sources_is_named_and_different_joints_are_normal(robot, start, other):
    node = start(arguments=["-r", "__ns:=/halves"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    publishers = {}
    for side in ("left", "right"):
        publishers[side] = other(f"{side}_driver").create_publisher(JointState, "/halves/joint_states", 10)
    joints = {side: [name for name in JOINTS if name.startswith(side)] for side in publishers}

    def publish():
        for side, publisher in publishers.items():
            message = JointState(name=joints[side], position=[0.1] * len(joints[side]))
            message.header.stamp = robot.node.get_clock().now().to_msg()
            publisher.publish(message)
        time.sleep(0.05)

    while not all(publisher.get_subscription_count() for publisher in publishers.values()):
        publish()
    begun = time.monotonic()
    while time.monotonic() - begun < 6.0:
        publish()
        assert not warned(heard, "halves/vla_trt", "inputs", "_driver"), warned(heard, "halves/vla_trt", "inputs")
    joints["right"].append("left_waist")

    def told():
        publish()
        return warned(heard, "halves/vla_trt", "inputs", "left_waist on /halves/joint_states", "/left_driver",
                      "/right_driver")
    wait_for(told, "a warning")
    joints["right"] = joints["left"]

    def told_of_one_set():
        publish()
        return warned(heard, "halves/vla_trt", "inputs", "1 sets of joint names")
    wait_for(told_of_one_set, "a warning")


def test_a_publisher_of_another_type_is_named_with_both_types(robot, start, other):
    node = start(arguments=["-r", "__ns:=/odd"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    other("camera").create_publisher(CompressedImage, "/odd/camera/top/image_raw", qos_profile_sensor_data)
    status = wait_for(lambda: warned(heard, "odd/vla_trt", "inputs", "sensor_msgs/msg/Image",
                                     "found sensor_msgs/msg/CompressedImage from /camera"), "a warning")
    assert "inputs.cameras.top.transport: compressed" in status.message
    # The answer of a call, and with it the line in the log, says it as well.
    answer = robot.trigger("/odd/vla_trt/infer_once")
    assert not answer.success and "found sensor_msgs/msg/CompressedImage from /camera" in answer.message


def test_advice_after_a_load_that_failed_fits_what_can_be_changed_live(robot, start):
    heard = robot.diagnostics()
    start({"engine.kind": "tensorrt"}, ["-r", "__ns:=/bare"])
    def ill():
        return warned(heard, "bare/vla_trt", "engines", "tensorrt")
    status = wait_for(ill, "the phase degraded")
    if "no TensorRT" not in status.message:
        pytest.skip("this build has TensorRT")
    assert "~/reload cannot help" in status.message and "engine.kind: onnx" in status.message
    answer = robot.trigger("/bare/vla_trt/resume")
    assert not answer.success and "~/reload cannot help" in answer.message


def test_shared_memory_of_a_killed_participant_is_told_with_the_command_that_frees_it(domain, start):
    # In a domain of its own: a participant that lives removes what a neighbour left, after some seconds.
    alone = {"ROS_DOMAIN_ID": str(domain % 100 + 1)}
    def locked(process):
        """Segments whose lock this process holds: its own. Other programs of this machine have theirs in the same folder."""
        links = [pathlib.Path(os.readlink(link)) for link in pathlib.Path(f"/proc/{process.pid}/fd").iterdir()]
        return {link.name.removesuffix("_el") for link in links if re.fullmatch(r"fast\w+_[0-9a-f]{16}_el", link.name)}

    killed = start(env=alone)
    killed.wait_until_ready()
    own = locked(killed.process)
    killed.process.kill()
    killed.wait()
    left = {name for name in own if pathlib.Path("/dev/shm", name).exists()}
    if not left:
        pytest.skip("this middleware leaves no segment behind")
    # A participant that starts is given a few seconds to lock its segment.
    time.sleep(6)
    again = start(env=alone)
    again.wait_for_log("Fast DDS participants that were killed")
    line = next(line for line in again.lines if "that were killed" in line)
    again.wait_until_ready()
    if "rm /dev/shm/" in line:
        files = line.split("free it with: rm ", 1)[1].split()
        assert {f"/dev/shm/{name}" for name in left} <= set(files)
        # Nothing of a process that lives.
        alive = locked(again.process)
        assert alive and not {f"/dev/shm/{name}" for name in alive} & set(files)
    else:
        assert "fastdds shm clean" in line
    for name in left:
        for suffix in ("", "_el"):
            pathlib.Path("/dev/shm", name + suffix).unlink(missing_ok=True)
