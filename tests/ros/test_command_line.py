"""Arguments, parameter files and remaps: what is wrong is said in words, with an exit code."""

import shutil

import pytest
import rclpy
from harness import Feed, Parameters, wait_for
from vla_trt.msg import ActionChunk

# The node has to end by itself.
ENDS_S = 20


@pytest.fixture
def refused(start):
    """Runs the node with these arguments; returns (exit code, stderr)."""
    def run(*arguments, params=None, bare=True):
        node = start(params, arguments, bare=bare)
        return node.wait(ENDS_S), node.log
    return run


def test_help_and_version(start):
    for flag, part in (("--help", "--params-file"), ("--version", "vla_trt_node 0.")):
        node = start(arguments=[flag], bare=True)
        assert node.wait(ENDS_S) == 0
        assert part in node.process.stdout.read()


def test_help_that_nobody_reads_is_no_failure(start):
    node = start(arguments=["--help"], bare=True, prefix=["bash", "-o", "pipefail", "-c", '(sleep 0.3; "$@") | true', "bash"])
    assert (node.wait(ENDS_S), node.log) == (0, "")


@pytest.mark.parametrize(("arguments", "part"), [
    (["policy"], "'policy'"),
    (["--ros-args", "--parms-file", "x"], "'--parms-file'"),
    (["--ros-args", "--params-file"], "--params-file FILE"),
    (["--ros-args", "-p", "rate_hz=5"], "NAME:=VALUE"),
    (["--ros-args", "-r", "__node:=7up"], "node name"),
    (["--ros-args", "--log-level", "loud"], "'loud'"),
])
def test_a_wrong_command_line_ends_with_code_2(refused, arguments, part):
    code, log = refused(*arguments)
    assert code == 2 and part in log and "panicked" not in log, log


def test_a_remap_that_only_rcl_can_judge_is_refused_in_its_words(refused):
    code, log = refused("--ros-args", "-r", "a b:=c d")
    assert code == 1 and "ROS 2 did not start" in log and "panicked" not in log, log


def test_a_missing_params_file_is_named(refused):
    code, log = refused("--ros-args", "--params-file", "/no/such.yaml")
    assert code == 1 and "/no/such.yaml" in log and "panicked" not in log, log


@pytest.mark.parametrize(("text", "part"), [
    ("/**:\n  ros__parameters:\n    rate_hz: [1, fast\n", "line"),
    ("/**:\n  ros__parameters:\n    seed: 1\n    seed: 2\n", "seed"),
    ("/**:\n  rosparameters:\n    seed: 1\n", "ros__parameters"),
    ("- not a map\n", "is a list"),
])
def test_a_broken_params_file_is_named_with_its_fault(refused, tmp_path, text, part):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    code, log = refused("--ros-args", "--params-file", file)
    assert code == 1 and str(file) in log and part in log and "panicked" not in log, log


def test_every_wrong_parameter_is_listed_at_once(refused):
    code, log = refused("-p", "rate_hzz:=5.0", "-p", "seed:=-1", "-p", "instruction:=7", bare=False)
    assert code == 1
    assert "did you mean 'rate_hz'" in log and "'seed'" in log and "'instruction'" in log


def test_a_missing_policy_and_a_folder_that_is_none_are_told_apart(refused, tmp_path):
    code, log = refused("--ros-args", "-p", "rate_hz:=5.0")
    assert code == 1 and "policy:=" in log
    code, log = refused("--ros-args", "-p", f"policy:={tmp_path}")
    assert code == 1 and "policy.yaml" in log


def test_a_load_order_that_misses_an_engine_lists_the_engines(refused, policy):
    code, log = refused("-p", "engines.load_order:=[vision]", bare=False)
    assert code == 1 and "missing from it" in log and "vision" in log


def test_a_policy_without_one_of_its_files_is_refused_by_name(refused, policy, tmp_path):
    broken = tmp_path / "policy"
    shutil.copytree(policy, broken)
    victim = next(iter(sorted(broken.glob("*.onnx"))))
    victim.unlink()
    code, log = refused(params={"policy": str(broken)}, bare=False)
    assert code == 1 and victim.name in log


SHARED = """
/**:
  ros__parameters:
    use_sim_time: false
    start_type_description_service: false
    robot_name: aloha
    frame_id: torso
    qos_overrides: {/scan: {subscription: {depth: 3}}}
/driver:
  ros__parameters:
    baud: 9600
"""


def test_a_parameter_file_may_be_shared_with_another_node(robot, start, domain, tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(SHARED)
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    driver = rclpy.create_node("driver", context=context, cli_args=["--ros-args", "--params-file", str(file)],
                               automatically_declare_parameters_from_overrides=True)
    given = {name: driver.get_parameter(name).value for name in ("robot_name", "baud")}
    driver.destroy_node()
    context.try_shutdown()
    assert given == {"robot_name": "aloha", "baud": 9600}
    node = start(arguments=["-r", "__node:=sharing", "--params-file", file])
    node.wait_until_ready()
    assert Parameters(robot, "/sharing").get("frame_id")[0].string_value == "torso"
    warnings = [line for line in node.lines if "robot_name" in line]
    assert len(warnings) == 1 and "WARN" in warnings[0], node.log
    for quiet in ("start_type_description_service", "/scan", "baud"):
        assert quiet not in node.log


@pytest.mark.parametrize(("section", "line", "name"), [
    ("/vla_trt", "robot_name: aloha", "robot_name"),
    ("/**", "rate_hzz: 5.0", "did you mean 'rate_hz'"),
    ("/**", "inputs.lidar.topic: /scan", "inputs.lidar.topic"),
])
def test_what_looks_like_a_mistake_in_a_shared_file_ends_the_start(refused, tmp_path, section, line, name):
    file = tmp_path / "robot.yaml"
    file.write_text(f"{section}:\n  ros__parameters:\n    {line}\n")
    code, log = refused("--params-file", file, bare=False)
    assert code == 1 and name in log, log


def test_later_sources_win_and_a_parameter_for_another_node_does_not_apply(robot, start, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("/*/chosen:\n  ros__parameters:\n    frame_id: from_wildcard\n"
                    "/other/chosen:\n  ros__parameters:\n    seed: 99\n")
    node = start({"seed": 1}, ["-r", "__node:=chosen", "-r", "__ns:=/here", "--params-file", more,
                               "-p", "seed:=5", "-p", "somebody:seed:=6", "-p", "chosen:rate_hz:=3.5"])
    node.wait_until_ready()
    seed, frame, rate = Parameters(robot, "/here/chosen").get("seed", "frame_id", "rate_hz")
    assert (seed.integer_value, frame.string_value, rate.double_value) == (5, "from_wildcard", 3.5)


def test_name_namespace_and_topics_can_be_remapped(robot, start):
    node = start(arguments=["-r", "__node:=brain", "-r", "__ns:=/left/arm", "-r", "joint_states:=/robot/joint_states",
                            "-r", "~/action_chunk:=/chunks"])
    node.wait_until_ready()
    with Feed(robot, namespace="/left/arm") as feed:
        feed.joint_topic = "/robot/joint_states"
        chunks = robot.listen("/chunks", ActionChunk)
        trajectories = robot.trajectories("/left/arm/brain")
        wait_for(lambda: chunks and trajectories, "chunks and trajectories")
    assert ("brain", "/left/arm") in robot.node.get_node_names_and_namespaces()


def test_the_log_level_of_the_command_line_counts_unless_a_parameter_says_otherwise(robot, start):
    loud = start(arguments=["-r", "__node:=loud", "--log-level", "debug"])
    quiet = start(arguments=["-r", "__node:=quiet", "--log-level", "error"])
    given = start({"log_level": "warn"}, ["-r", "__node:=given", "--log-level", "debug"])
    start(arguments=["-r", "__node:=silent", "--log-level", "fatal"])
    loud.wait_until_ready()
    names = ("loud", "quiet", "given", "silent")
    levels = [Parameters(robot, f"/{name}").get("log_level")[0].string_value for name in names]
    assert levels == ["debug", "error", "warn", "fatal"]
    assert "[INFO]" not in quiet.log
