"""The parameter services, spoken to as `ros2 param` does."""

import time

import pytest
import rclpy
from harness import PATIENCE_S, Feed, Parameters, messages, wait_for
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_parameters
from test_operator import silence


@pytest.fixture(scope="module")
def node(start):
    node = start({"rate_hz": 5.0})
    node.wait_until_ready()
    return node


@pytest.fixture
def parameters(robot, node):
    return Parameters(robot)


def refusal(result):
    assert not result.successful
    return result.reason


def test_every_parameter_is_listed_described_and_has_a_value_of_its_type(parameters):
    names = list(parameters.list().names)
    assert names == sorted(names) and len(names) > 50
    assert {"policy", "rate_hz", "seed", "denoise.steps", "engines.load_order", "memory.budget_mib",
            "inputs.cameras.top.max_age_ms", "inputs.joints.required", "inputs.max_skew_ms", "inputs.on_violation",
            "state.left_arm.joints", "limits.left_waist.min", "use_sim_time", "log_level"} <= set(names)
    descriptors = parameters.describe(*names)
    assert [d.name for d in descriptors] == names
    assert all(d.description and not d.dynamic_typing for d in descriptors)
    assert [d.type for d in descriptors] == parameters.types(*names) == [v.type for v in parameters.get(*names)]


def test_prefixes_and_depth_select_as_in_rclcpp(parameters):
    listed = parameters.list(prefixes=["inputs.cameras.top"])
    assert set(listed.names) == {f"inputs.cameras.top.{f}" for f in (
        "blank", "encoding", "exif", "max_age_ms", "required", "stamp", "stuck_after_ms", "topic", "transport")}
    assert list(listed.prefixes) == ["inputs.cameras.top"]
    assert "rate_hz" in parameters.list(depth=1).names and "denoise.steps" not in parameters.list(depth=1).names


def test_ranges_and_read_only_are_shown(parameters):
    rate, policy, steps = parameters.describe("rate_hz", "policy", "denoise.steps")
    assert rate.floating_point_range[0].from_value == -1.0 and not rate.read_only
    assert policy.read_only
    assert "1, 2, 4, 8" in steps.additional_constraints


def test_an_unknown_name_gives_no_answer_to_get_and_describe_as_in_rclcpp(parameters):
    assert list(parameters.get("rate_hz", "rate_hzz")) == []
    assert list(parameters.describe("rate_hzz")) == []
    assert parameters.types("rate_hzz") == []


def test_a_refusal_names_parameter_rule_and_what_was_given(parameters):
    cases = [
        ({"rate_hz": -2.0}, "rate_hz", "from -1.0 to"),
        ({"rate_hz": "fast"}, "rate_hz", "'fast' is of type string"),
        ({"denoise__steps": 3}, "denoise.steps", "one of 1, 2, 4, 8"),
        ({"inputs__on_violation": "panic"}, "inputs.on_violation", "one of skip, hold, stop"),
        ({"policy": "/elsewhere"}, "policy", "read-only"),
        ({"rate_hzz": 1.0}, "rate_hzz", "did you mean 'rate_hz'"),
        ({"limits__left_waist__min": 1.0, "limits__left_waist__max": -1.0}, "left_waist", "max"),
        ({"rate_hz": Parameter(name="rate_hz", value=ParameterValue(type=77))}, "rate_hz", "77"),
        ({"rate_hz": Parameter(name="rate_hz", value=ParameterValue(type=ParameterType.PARAMETER_NOT_SET))},
         "rate_hz", "cannot be unset"),
    ]
    before = parameters.get("rate_hz", "denoise.steps", "inputs.on_violation", "policy")
    for change, name, part in cases:
        reason = refusal(parameters.set_atomically(**change))
        assert name in reason and part in reason, reason
    assert parameters.get("rate_hz", "denoise.steps", "inputs.on_violation", "policy") == before


def test_a_whole_number_is_taken_for_a_double(parameters):
    assert parameters.set(rate_hz=4)[0].successful
    assert parameters.get("rate_hz")[0].type == ParameterType.PARAMETER_DOUBLE
    assert parameters.get("rate_hz")[0].double_value == 4.0


def test_set_goes_one_by_one_and_atomically_is_all_or_nothing(parameters):
    assert parameters.set(seed=1, denoise__steps=4)[0].successful
    results = parameters.set(seed=2, denoise__steps=3)
    assert [r.successful for r in results] == [True, False]
    assert parameters.get("seed")[0].integer_value == 2
    assert "one of 1, 2, 4, 8" in refusal(parameters.set_atomically(seed=7, denoise__steps=3))
    assert parameters.get("seed")[0].integer_value == 2
    assert parameters.set_atomically(seed=7, denoise__steps=2).successful
    seed, steps = parameters.get("seed", "denoise.steps")
    assert (seed.integer_value, steps.integer_value) == (7, 2)


def test_a_change_appears_on_parameter_events_and_a_refusal_does_not(robot, parameters):
    events = robot.events()

    def changes():
        ours = [event for event in list(events) if event.node == "/vla_trt"]
        assert not any(event.new_parameters or event.deleted_parameters for event in ours)
        found = [{p.name: p.value for p in event.changed_parameters} for event in ours]
        return [change for change in found if change["seed"].integer_value != 10]

    # The first event that arrives shows that the subscription is matched.
    wait_for(lambda: parameters.set(seed=10)[0].successful and events, "an event")
    assert parameters.set_atomically(seed=11, frame_id="base").successful
    refusal(parameters.set_atomically(seed=12, denoise__steps=3))
    assert parameters.set(seed=13)[0].successful
    changed = wait_for(lambda: (lambda found: len(found) >= 2 and found)(changes()), "two events")
    assert changed[0]["seed"].integer_value == 11 and changed[0]["frame_id"].string_value == "base"
    assert changed[1]["seed"].integer_value == 13


def test_a_change_is_in_force_at_the_next_inference(robot, parameters):
    with Feed(robot):
        chunks = robot.chunks()
        assert parameters.set_atomically(seed=41, frame_id="torso").successful
        count = len(chunks)
        wait_for(lambda: len(chunks) >= count + 2, "chunks")
        assert (chunks[-1].seed, chunks[-1].header.frame_id) == (41, "torso")
        before = list(chunks[-1].values)
        # Limits of a joint that the policy moves: all rows of it end up between them.
        column = list(chunks[-1].names).index("left_waist")
        assert parameters.set_atomically(limits__left_waist__min=0.5, limits__left_waist__max=0.6).successful
        count = len(chunks)
        wait_for(lambda: len(chunks) >= count + 2, "chunks")
        after = list(chunks[-1].values)
        assert all(0.5 <= value <= 0.6 for value in after[column::14]), (before, after)


def test_the_rate_is_live_down_to_on_demand(robot, parameters):
    with Feed(robot):
        chunks = robot.chunks()
        wait_for(lambda: chunks, "a chunk of the timer")
        assert parameters.set(rate_hz=-1.0)[0].successful
        assert silence(chunks)
        count = len(chunks)
        robot.trigger("/vla_trt/infer_once")
        wait_for(lambda: len(chunks) == count + 1, "the chunk that was asked for")
        assert silence(chunks)
        assert parameters.set(rate_hz=20.0)[0].successful
        wait_for(lambda: len(chunks) > count + 3, "chunks of the timer")


def test_concurrent_clients_get_an_answer_each(robot, parameters):
    client = robot.node.create_client(GetParameters, "/vla_trt/get_parameters")
    assert client.wait_for_service(10)
    futures = [client.call_async(GetParameters.Request(names=["seed"])) for _ in range(8)]
    wait_for(lambda: all(f.done() for f in futures), "eight answers")
    assert all(len(f.result().values) == 1 for f in futures)


@pytest.mark.alone
def test_a_burst_of_two_hundred_calls_from_one_client_is_answered_each(robot, parameters):
    calls = [
        (GetParameters, "get_parameters", GetParameters.Request(names=["seed"]), lambda r: len(r.values) == 1),
        (SetParameters, "set_parameters", SetParameters.Request(parameters=messages({"seed": 5})),
         lambda r: r.results[0].successful),
    ]
    for kind, service, request, good in calls:
        # This client keeps every answer that it has not read, so that a busy machine does not lose one here.
        client = robot.node.create_client(kind, f"/vla_trt/{service}", qos_profile=qos_profile_parameters)
        assert client.wait_for_service(PATIENCE_S)
        futures = [client.call_async(request) for _ in range(200)]
        wait_for(lambda: all(f.done() for f in futures), lambda: f"{sum(f.done() for f in futures)} of 200 answers")
        assert all(good(f.result()) for f in futures)


@pytest.mark.alone
def test_a_client_that_reads_only_after_its_burst_gets_every_answer(node, domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    caller = rclpy.create_node("caller", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(caller)
    client = caller.create_client(GetParameters, "/vla_trt/get_parameters")
    assert client.wait_for_service(PATIENCE_S)
    futures = [client.call_async(GetParameters.Request(names=["seed"])) for _ in range(200)]
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and not all(f.done() for f in futures):
        executor.spin_once(timeout_sec=0.1)
    assert sum(f.done() for f in futures) == 200
    executor.shutdown()
    context.try_shutdown()
