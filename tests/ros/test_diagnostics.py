"""/diagnostics and /rosout."""

import itertools
import shutil
import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from harness import Feed, Parameters, seconds, statuses, values, wait_for

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
    first = ours[0]
    assert first.level == INFO and "runs policy" in first.msg
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
