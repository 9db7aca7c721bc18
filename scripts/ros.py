#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `ros2 param`, `ros2 topic` and `ros2 service call` do, where `ros2` is not installed; and a robot that is only published.

    scripts/ros.py param set /vla_trt instruction "pick up the red cube"
    scripts/ros.py param get /vla_trt rate_hz
    scripts/ros.py param list /vla_trt
    scripts/ros.py topic list
    scripts/ros.py topic echo /diagnostics --once
    scripts/ros.py call /vla_trt/infer_once                 # std_srvs/Trigger
    scripts/ros.py fake-robot robot.yaml                    # cameras and joints of a parameter file, until Ctrl-C

Needs a sourced ROS 2. Exit code: 0 done, 1 refused or not found, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import importlib
import struct
import sys
import time
import zlib
from pathlib import Path

import rclpy
import yaml
from rclpy.executors import ExternalShutdownException
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_srvs.srv import Trigger

WAIT_S = 10.0


class Refused(Exception):
    """Something that the user can put right; its text says what."""


def result(node, future, what):
    """The answer of a call."""
    rclpy.spin_until_future_complete(node, future, timeout_sec=WAIT_S)
    if not future.done():
        raise Refused(f"{what} did not answer within {WAIT_S:.0f} s")
    return future.result()


# ------------------------------------------------------------------------------------------------ parameters


def client_of(node, name):
    client = AsyncParameterClient(node, name)
    if not client.wait_for_services(WAIT_S):
        raise Refused(f"no node {name}: is it running, on this ROS_DOMAIN_ID?")
    return client


def held(client, node, arguments):
    """The value of a parameter; a name that is not declared has no answer, as in rclcpp."""
    values = result(node, client.get_parameters([arguments.name]), arguments.node).values
    if not values or values[0].type == Parameter.Type.NOT_SET.value:
        raise Refused(f"{arguments.node} has no parameter {arguments.name}; scripts/ros.py param list {arguments.node} shows all")
    return values[0]


def typed(value, kind):
    """A value as YAML reads it, with the type that the node declared."""
    if kind is Parameter.Type.STRING:
        return value
    try:
        read = yaml.safe_load(value)
        if kind is Parameter.Type.DOUBLE:
            return float(read)
        return [float(item) for item in read] if kind is Parameter.Type.DOUBLE_ARRAY else read
    except (TypeError, ValueError, yaml.YAMLError):
        raise Refused(f"expected a value of type {kind.name.lower()}, found '{value}'") from None


def param_set(node, arguments):
    client = client_of(node, arguments.node)
    value = typed(arguments.value, Parameter.Type(held(client, node, arguments).type))
    answer = result(node, client.set_parameters([Parameter(arguments.name, value=value)]), arguments.node).results[0]
    if not answer.successful:
        raise Refused(answer.reason)
    print(f"{arguments.name}: {value}")


def param_get(node, arguments):
    client = client_of(node, arguments.node)
    print(parameter_value_to_python(held(client, node, arguments)))


def param_list(node, arguments):
    client = client_of(node, arguments.node)
    for name in sorted(result(node, client.list_parameters([], 0), arguments.node).result.names):
        print(name)


# ------------------------------------------------------------------------------------------------ topics, services


def topics(node, wanted=None):
    """Name and types of every topic: after a second, or as soon as the wanted one is found."""
    deadline = time.monotonic() + (WAIT_S if wanted else 1.0)
    while time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.1)
        found = dict(node.get_topic_names_and_types())
        if wanted in found:
            break
    return found


def type_of(name):
    """The class of a message type: package/msg/Name."""
    package, kind, name = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), name)


def topic_list(node, _arguments):
    for name, types in sorted(topics(node).items()):
        print(name, ", ".join(types))


def topic_echo(node, arguments):
    types = topics(node, arguments.topic).get(arguments.topic)
    if not types:
        raise Refused(f"no topic {arguments.topic}: scripts/ros.py topic list shows those that exist")
    seen = []

    def show(message):
        print(f"{message}\n---", flush=True)
        seen.append(message)

    node.create_subscription(type_of(types[0]), arguments.topic, show, qos_profile_sensor_data)
    while not (arguments.once and seen):
        rclpy.spin_once(node, timeout_sec=0.2)


def call(node, arguments):
    client = node.create_client(Trigger, arguments.service)
    if not client.wait_for_service(WAIT_S):
        raise Refused(f"no service {arguments.service} (std_srvs/Trigger)")
    answer = result(node, client.call_async(Trigger.Request()), arguments.service)
    if not answer.success:
        raise Refused(answer.message)
    print(answer.message)


# ------------------------------------------------------------------------------------------------ a robot


def section(path):
    """The parameters of a file's first node."""
    try:
        document = yaml.safe_load(Path(path).read_text())
        found = next(iter(document.values()))["ros__parameters"]
        return found if "inputs" in found else {**found, "inputs": {}}
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, StopIteration) as error:
        raise Refused(f"{path}: expected a parameter file with a section ros__parameters, found {error!r}") from None


MESSAGES = {"raw": Image, "compressed": CompressedImage}


def png(width, height, pixels):
    """RGB pixels, row by row, as a PNG image."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + pixels[at:at + 3 * width] for at in range(0, len(pixels), 3 * width))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def fake_robot(node, arguments):
    """Frames that change and joints at rest, on the topics of a parameter file."""
    parameters = section(arguments.params)
    inputs = parameters["inputs"]
    if inputs.get("poses"):
        raise Refused(f"{arguments.params} has inputs.poses: this robot publishes cameras and joint states only")
    width, height = (int(part) for part in arguments.size.split("x"))
    cameras = {}
    for name, camera in inputs.get("cameras", {}).items():
        if camera.get("blank"):
            continue
        transport = camera.get("transport", "raw")
        if transport not in MESSAGES:
            raise Refused(f"inputs.cameras.{name}.transport is {transport}: expected one of {', '.join(MESSAGES)}")
        topic = camera.get("topic", f"camera/{name}/image_raw")
        cameras[name] = (transport, node.create_publisher(MESSAGES[transport], topic, qos_profile_sensor_data))
    joints = list(dict.fromkeys(joint for key in parameters.get("state", {}).values() for joint in key.get("joints", [])))
    if not cameras and not joints:
        raise Refused(f"{arguments.params} names no camera and no joint: expected a parameter file of the node, with inputs and state")
    # The node merges by joint: all may come on the first of several topics.
    topic = (inputs.get("joints", {}).get("topics") or [inputs.get("joints", {}).get("topic", "joint_states")])[0]
    states = node.create_publisher(JointState, topic, qos_profile_sensor_data)
    count = 0

    def publish():
        nonlocal count
        count += 1
        stamp = node.get_clock().now().to_msg()
        pixels = bytes([count % 256]) * (3 * width * height)
        for transport, publisher in cameras.values():
            if transport == "raw":
                frame = Image(width=width, height=height, encoding="rgb8", step=3 * width, data=pixels)
            else:
                frame = CompressedImage(format="png", data=png(width, height, pixels))
            frame.header.stamp = stamp
            publisher.publish(frame)
        state = JointState(name=joints, position=[0.0] * len(joints))
        state.header.stamp = stamp
        states.publish(state)

    node.create_timer(1.0 / arguments.rate, publish)
    print(f"{len(cameras)} cameras of {arguments.size}, {len(joints)} joints, {arguments.rate:.0f} Hz; Ctrl-C ends it", flush=True)
    rclpy.spin(node)


def parse(words):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(of, name, run, *positional):
        added = of.add_parser(name)
        for argument in positional:
            added.add_argument(argument)
        added.set_defaults(run=run)
        return added

    param = commands.add_parser("param").add_subparsers(required=True)
    command(param, "set", param_set, "node", "name", "value")
    command(param, "get", param_get, "node", "name")
    command(param, "list", param_list, "node")
    topic = commands.add_parser("topic").add_subparsers(required=True)
    command(topic, "list", topic_list)
    command(topic, "echo", topic_echo, "topic").add_argument("--once", action="store_true")
    command(commands, "call", call, "service")
    robot = command(commands, "fake-robot", fake_robot, "params")
    robot.add_argument("--size", default="640x480", help="width x height of every frame")
    robot.add_argument("--rate", type=float, default=20.0, help="messages a second")
    return parser.parse_args(words)


def main(words):
    arguments = parse(words)
    rclpy.init()
    node = rclpy.create_node("ros_py")
    try:
        arguments.run(node, arguments)
    except Refused as refused:
        print(f"ros.py: {refused}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
