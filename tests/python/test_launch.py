"""The launch files: their arguments, and what they really start. Skipped aloud where launch_ros does not import."""

import importlib.util
import os
import pathlib

import pytest
from node_harness import unused_domain

ROOT = pathlib.Path(__file__).resolve().parents[2]

try:
    import launch_ros  # noqa: F401: first, because without it `launch` is the folder beside us
    from ament_index_python.packages import get_package_share_directory
    from launch import LaunchContext, LaunchDescription, LaunchService
    from launch.actions import (DeclareLaunchArgument, EmitEvent, IncludeLaunchDescription, RegisterEventHandler,
                                TimerAction)
    from launch.event_handlers import OnProcessStart
    from launch.events import Shutdown
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    SHARE = pathlib.Path(get_package_share_directory("vla_trt"))
except Exception as error:
    pytest.skip(f"launch files: {error}; needs launch_ros and the sourced workspace", allow_module_level=True)


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "launch" / f"{name}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared(name):
    entities = load(name).generate_launch_description().entities
    return {entity.name: entity for entity in entities if isinstance(entity, DeclareLaunchArgument)}


def context(**arguments):
    """A launch context in which the arguments have these values, the others their defaults."""
    found = LaunchContext()
    defaults = {**declared("policy"), **declared("replay")}
    for name, argument in defaults.items():
        if argument.default_value is not None:
            found.launch_configurations[name] = "".join(part.perform(found) for part in argument.default_value)
    found.launch_configurations.update({name: str(value) for name, value in arguments.items()})
    return found


def started(name, processes, **arguments):
    """Launches the installed file for real; gives the commands of the first processes, and their environments."""
    commands, environments = [], []

    def on_start(event, _context):
        commands.append(list(event.cmd))
        environments.append(dict(event.action.process_details["env"] or os.environ))
        return [EmitEvent(event=Shutdown(reason="seen"))] if len(commands) == processes else None

    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([
        RegisterEventHandler(OnProcessStart(on_start=on_start)),
        TimerAction(period=60.0, actions=[EmitEvent(event=Shutdown(reason="too late"))]),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(SHARE / "launch" / f"{name}.launch.py")),
                                 launch_arguments=[(key, str(value)) for key, value in arguments.items()]),
    ]))
    service.run()
    assert len(commands) == processes, commands
    return commands, environments


def values_after(flag, words):
    return [words[i + 1] for i, word in enumerate(words) if word == flag]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(unused_domain()))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    for variable in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def policy(tmp_path):
    folder = tmp_path / "policy"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name, own", [("policy", set()), ("replay", {"bag", "rate", "topics"})])
def test_arguments_are_declared_and_described(name, own):
    arguments = declared(name)
    expected = own if name == "replay" else {"policy", "params_file", "namespace", "use_sim_time", "log_level"}
    assert set(arguments) == expected
    assert all(argument.description for argument in arguments.values())


def test_the_bag_must_be_given():
    assert declared("replay")["bag"].default_value is None


def test_the_node_gets_policy_parameters_namespace_log_level_and_profile(policy):
    (words,), (environment,) = started("policy", 1, policy=policy, namespace="left", log_level="debug")
    assert words[0].endswith("lib/vla_trt/vla_trt_node")
    assert values_after("--log-level", words) == ["debug"]
    assert "__ns:=/left" in words
    files = values_after("--params-file", words)
    assert files[0] == str(SHARE / "config" / "aloha.yaml")
    assert environment["FASTRTPS_DEFAULT_PROFILES_FILE"] == str(SHARE / "config" / "fastdds_shm.xml")


def test_policy_and_clock_reach_the_node_as_parameters(policy):
    (words,), _ = started("policy", 1, policy=policy, use_sim_time="true")
    values = pathlib.Path(values_after("--params-file", words)[1]).read_text()
    assert f"policy: {policy}" in values and "use_sim_time: true" in values


def test_an_empty_policy_leaves_it_to_the_parameter_file():
    (words,), _ = started("policy", 1)
    values = pathlib.Path(values_after("--params-file", words)[1]).read_text()
    assert "policy" not in values and "use_sim_time: false" in values


@pytest.mark.parametrize("arguments, message", [
    ({"params_file": "/nowhere/robot.yaml"}, "/nowhere/robot.yaml"),
    ({"use_sim_time": "maybe"}, "expected true or false"),
])
def test_a_bad_argument_is_refused_in_words(arguments, message):
    with pytest.raises(RuntimeError, match=message):
        load("policy").node(context(**arguments))


def test_a_bag_that_is_missing_is_refused_in_words():
    with pytest.raises(RuntimeError, match="/nowhere/bag"):
        load("replay").player(context(bag="/nowhere/bag"))


@pytest.mark.parametrize("variable", ["FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"])
def test_a_profile_of_the_users_stays(monkeypatch, variable):
    assert load("policy").fastdds_profile()
    monkeypatch.setenv(variable, "/own.xml")
    assert load("policy").fastdds_profile() == []


@pytest.mark.parametrize("sim_time, stamps", [("false", "now"), ("true", "original")])
def test_replay_plays_the_bag_with_stamps_that_fit_the_clock(policy, sim_time, stamps):
    bag = ROOT / "data" / "aloha_cube"
    commands, _ = started("replay", 2, policy=policy, bag=bag, use_sim_time=sim_time, rate="2.0", topics="/a /b")
    (words,) = [words for words in commands if words[0].endswith("lib/vla_trt/play_bag.py")]
    assert words[1] == str(bag)
    assert values_after("--stamps", words) == [stamps]
    assert values_after("--rate", words) == ["2.0"]
    assert ("--clock" in words) == (sim_time == "true")
    at = words.index("--topics")
    assert words[at + 1:at + 3] == ["/a", "/b"]
