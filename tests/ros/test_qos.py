"""QoS of the inputs: an instruction from publishers of either durability, overrides, and publishers that are not heard."""

import time

import pytest
import rclpy
from harness import Parameters, values, wait_for
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
VOLATILE = QoSProfile(depth=10)
LOSSY = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
# The node has to end by itself.
ENDS_S = 20


@pytest.fixture
def other(domain):
    """Makes further nodes, which are gone at the end of the test."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    nodes = []

    def make(name):
        nodes.append(rclpy.create_node(name, context=context))
        return nodes[-1]

    yield make
    for made in nodes:
        made.destroy_node()
    context.try_shutdown()


def inputs(heard, node):
    """The newest status of a node's inputs."""
    ours = [status for array in list(heard) for status in array.status if status.name == f"{node}: inputs"]
    return ours[-1] if ours else None


def publish_once_matched(publisher, message):
    """Not before the node's subscription is there: what a volatile publisher sent before is lost."""
    wait_for(publisher.get_subscription_count, "a subscription")
    publisher.publish(message)


def test_an_instruction_is_heard_from_volatile_and_latched_publishers_each_once(robot, start, other):
    topic = "/both/instruction"
    early = other("early").create_publisher(String, topic, LATCHED)
    early.publish(String(data="from before"))
    heard = robot.diagnostics()
    start({"instruction": ""}, ["-r", "__ns:=/both"]).wait_until_ready()

    def shown(key):
        status = inputs(heard, "both/vla_trt")
        return values(status).get(key) if status else None

    def in_force(text, received):
        wait_for(lambda: shown("instruction") == text and shown("instruction received") == str(received),
                 lambda: f"{text} as message {received}; is: {shown('instruction')}, {shown('instruction received')}")

    in_force("from before", 1)
    volatile = other("planner").create_publisher(String, topic, VOLATILE)
    publish_once_matched(volatile, String(data="by a volatile publisher"))
    in_force("by a volatile publisher", 2)
    # It arrives on both subscriptions, and counts once.
    early.publish(String(data="by a latched publisher"))
    in_force("by a latched publisher", 3)
    # No copy that comes late brings an older one back.
    early.publish(String(data="first"))
    time.sleep(0.05)
    volatile.publish(String(data="second"))
    in_force("second", 5)
    time.sleep(1.5)
    in_force("second", 5)
    # Nor does a latched publisher's message displace the parameter that is set after it.
    early.publish(String(data="third"))
    in_force("third", 6)
    assert Parameters(robot, "/both/vla_trt").set(instruction="by parameter")[0].successful
    time.sleep(1.5)
    in_force("by parameter", 6)


def test_a_publisher_that_does_not_match_is_named_with_both_profiles_until_one_that_does_takes_its_place(
        robot, start, other):
    topic = "/strict/camera/top/image_raw"
    parameter = f"qos_overrides.{topic}.subscription.reliability"
    node = start({parameter: "reliable"}, ["-r", "__ns:=/strict"])
    node.wait_until_ready()
    described, = Parameters(robot, "/strict/vla_trt").describe(parameter)
    assert described.read_only and described.description and "reliable" in described.additional_constraints
    for camera, reliability in (("top", ReliabilityPolicy.RELIABLE), ("left_wrist", ReliabilityPolicy.BEST_EFFORT)):
        subscription, = robot.node.get_subscriptions_info_by_topic(f"/strict/camera/{camera}/image_raw")
        assert subscription.qos_profile.reliability == reliability, camera
    heard = robot.diagnostics()
    camera = other("camera")
    lossy = camera.create_publisher(Image, topic, LOSSY)

    def named():
        status = inputs(heard, "strict/vla_trt")
        return status and "/camera (offered: best_effort, volatile)" in status.message and status

    status = wait_for(named, "a warning")
    assert "requests reliable, volatile" in status.message and f"{parameter}: best_effort" in status.message
    node.wait_for_log("offered: best_effort, volatile")
    assert lossy.get_subscription_count() == 0
    camera.destroy_publisher(lossy)
    reliable = camera.create_publisher(Image, topic, VOLATILE)
    image = Image(width=64, height=48, encoding="rgb8", step=192, data=bytes(192 * 48))
    image.header.stamp = robot.node.get_clock().now().to_msg()
    publish_once_matched(reliable, image)

    def received():
        status = inputs(heard, "strict/vla_trt")
        return status and not named() and values(status)["top received"] == "1"

    wait_for(received, lambda: inputs(heard, "strict/vla_trt").message)


def test_an_override_is_named_after_the_topic_in_the_graph(robot, start):
    name = "qos_overrides./drives/states.subscription"
    node = start({f"{name}.depth": 7, f"{name}.durability": "transient_local"},
                 ["-r", "__node:=remapped", "-r", "joint_states:=/drives/states"])
    node.wait_until_ready()
    parameters = Parameters(robot, "/remapped")
    depth, = parameters.get(f"{name}.depth")
    assert depth.integer_value == 7
    assert not any("/joint_states." in listed for listed in parameters.list(prefixes=["qos_overrides"]).names)
    subscription, = robot.node.get_subscriptions_info_by_topic("/drives/states")
    assert subscription.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL


@pytest.mark.parametrize(("which", "value"), [
    ("reliability", "relaible"), ("durability", "latched"), ("history", "keep_all"), ("depth", -1), ("depth", "all"),
])
def test_a_word_that_is_no_policy_ends_the_start_with_the_parameters_name(start, which, value):
    name = f"qos_overrides./joint_states.subscription.{which}"
    node = start({name: value})
    assert node.wait(ENDS_S) == 1 and name in node.log, node.log


def test_a_policy_that_the_node_does_not_have_is_refused_under_its_own_name(start):
    node = start(arguments=["-p", "qos_overrides./joint_states.subscription.liveliness:=automatic"])
    assert node.wait(ENDS_S) == 1 and "liveliness" in node.log, node.log
