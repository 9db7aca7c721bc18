"""The launch files: their arguments, and what they start. Skipped aloud where launch_ros does not import."""

import importlib.util
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

try:
    from ament_index_python.packages import get_package_share_directory
    from launch import LaunchContext, LaunchDescription
    from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetEnvironmentVariable
    from launch.utilities import perform_substitutions
    from launch_ros.actions import Node

    get_package_share_directory("vla_trt")
except Exception as error:  # noqa: B902: whatever is missing is named
    pytest.skip(f"launch files: {error}; needs launch_ros and the sourced workspace", allow_module_level=True)


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "launch" / f"{name}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared(description):
    return {entity.name: entity for entity in description.entities if isinstance(entity, DeclareLaunchArgument)}


def visit(name, arguments):
    """Everything that the launch file would start with these arguments, and the context."""
    context = LaunchContext()
    context.launch_configurations.update({key: str(value) for key, value in arguments.items()})
    found = []

    def walk(entity):
        if isinstance(entity, Node):
            found.append(entity)
            return
        if isinstance(entity, (LaunchDescription, IncludeLaunchDescription, SetEnvironmentVariable)) or entity.condition is None:
            for inner in entity.visit(context) or []:
                walk(inner)

    walk(load(name).generate_launch_description())
    return found, context


def command(node, context):
    node._perform_substitutions(context)
    return [perform_substitutions(context, word) for word in node.cmd]


@pytest.fixture
def policy(tmp_path):
    folder = tmp_path / "policy"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def no_profile(monkeypatch):
    for variable in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(variable, raising=False)


def test_policy_launch_declares_its_arguments_with_descriptions():
    arguments = declared(load("policy").generate_launch_description())
    assert set(arguments) == {"policy", "params_file", "namespace", "use_sim_time", "log_level"}
    assert all(argument.description for argument in arguments.values())


def test_replay_launch_adds_a_bag_that_must_be_given():
    arguments = declared(load("replay").generate_launch_description())
    assert {"bag", "rate"} <= set(arguments)
    assert arguments["bag"].default_value is None


def test_the_node_gets_policy_parameters_namespace_and_log_level(policy):
    (node,), context = visit("policy", {"policy": policy, "namespace": "left", "log_level": "debug"})
    words = command(node, context)
    assert words[0].endswith("lib/vla_trt/vla_trt_node")
    assert words[words.index("--log-level") + 1] == "debug"
    assert "__ns:=/left" in words
    files = [words[i + 1] for i, word in enumerate(words) if word == "--params-file"]
    assert files[0] == os.path.join(get_package_share_directory("vla_trt"), "config", "aloha.yaml")
    assert str(policy) in pathlib.Path(files[1]).read_text()


def test_an_empty_policy_leaves_it_to_the_parameter_file():
    (node,), context = visit("policy", {})
    words = command(node, context)
    files = [words[i + 1] for i, word in enumerate(words) if word == "--params-file"]
    assert "policy" not in pathlib.Path(files[1]).read_text()
    assert "use_sim_time: false" in pathlib.Path(files[1]).read_text()


def test_a_params_file_that_is_missing_is_an_error_that_names_it():
    with pytest.raises(RuntimeError, match="/nowhere/robot.yaml"):
        visit("policy", {"params_file": "/nowhere/robot.yaml"})


def test_use_sim_time_takes_true_and_false_only():
    with pytest.raises(RuntimeError, match="expected true or false"):
        visit("policy", {"use_sim_time": "maybe"})


def test_the_shared_memory_profile_is_set_unless_the_user_has_one(monkeypatch, tmp_path):
    def profile():
        _, context = visit("policy", {})
        return context.environment.get("FASTRTPS_DEFAULT_PROFILES_FILE")

    assert profile().endswith("config/fastdds_shm.xml") and os.path.exists(profile())
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(tmp_path))
    assert profile() == str(tmp_path)


@pytest.mark.parametrize("sim_time, stamps", [("false", "fresh"), ("true", "original")])
def test_replay_plays_the_bag_with_stamps_that_fit_the_clock(policy, sim_time, stamps):
    bag = ROOT / "data" / "aloha_cube"
    nodes, context = visit("replay", {"policy": policy, "bag": bag, "use_sim_time": sim_time, "rate": "2.0"})
    words = command(nodes[-1], context)
    assert words[0].endswith("lib/vla_trt/play_bag.py") and words[1] == str(bag)
    assert words[words.index("--stamps") + 1] == stamps
    assert words[words.index("--rate") + 1] == "2.0"
    assert ("--clock" in words) == (sim_time == "true")


def test_a_bag_that_is_missing_is_an_error_that_names_it(policy):
    with pytest.raises(RuntimeError, match="/nowhere/bag"):
        visit("replay", {"policy": policy, "bag": "/nowhere/bag"})
