"""scripts/ros.py does what the pages say: parameters, topics, services, and a robot that is only published."""

import struct
import subprocess
import sys

import pytest
from conftest import ROOT
from harness import Process, wait_for
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState

SCRIPT = ROOT / "scripts" / "ros.py"


def run(*words):
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def node(start):
    node = start({"rate_hz": -1.0})
    node.wait_until_ready()
    return node


def test_parameters_are_set_by_their_type_and_refusals_name_the_reason(node):
    done = run("param", "set", "/vla_trt", "rate_hz", "3")
    assert done.returncode == 0, done.stderr
    assert run("param", "get", "/vla_trt", "rate_hz").stdout.strip() == "3.0"
    assert "rate_hz" in run("param", "list", "/vla_trt").stdout.split()
    refused = run("param", "set", "/vla_trt", "denoise.steps", "3")
    assert refused.returncode == 1 and "denoise.steps" in refused.stderr
    for wrong in (("get", "/vla_trt", "no_such"), ("set", "/vla_trt", "no_such", "1"), ("set", "/vla_trt", "rate_hz", "fast")):
        refused = run("param", *wrong)
        assert refused.returncode == 1 and refused.stderr.startswith("ros.py: "), refused.stderr
        assert wrong[2] in refused.stderr or "fast" in refused.stderr


def test_topics_and_services(node):
    wait_for(lambda: "/diagnostics" in run("topic", "list").stdout, "the topic")
    assert "vla_trt: inputs" in run("topic", "echo", "/diagnostics", "--once").stdout
    stopped = run("call", "/vla_trt/stop")
    assert stopped.returncode == 0, stopped.stderr


def test_a_robot_that_is_only_published_has_the_topics_and_joints_of_the_file(robot, tmp_path):
    params = tmp_path / "robot.yaml"
    params.write_text("""/**:
  ros__parameters:
    inputs:
      cameras:
        front: {topic: /fake/front, transport: raw}
        wrist: {transport: compressed}
        absent: {blank: true}
      joints: {topic: /fake/joints}
    state:
      arm: {joints: [shoulder, elbow]}
      gripper: {joints: [fingers]}
""")
    frames = robot.listen("/fake/front", Image, qos_profile_sensor_data)
    packed = robot.listen("/camera/wrist/image_raw", CompressedImage, qos_profile_sensor_data)
    states = robot.listen("/fake/joints", JointState, qos_profile_sensor_data)
    fake = Process([sys.executable, SCRIPT, "fake-robot", params, "--size", "64x48", "--rate", "10"])
    try:
        wait_for(lambda: len(frames) > 1 and len(packed) > 1 and states, "frames and joint states")
    finally:
        fake.end()
    assert (frames[0].width, frames[0].height, len(frames[0].data)) == (64, 48, 64 * 48 * 3)
    assert bytes(frames[0].data) != bytes(frames[1].data)
    assert list(states[0].name) == ["shoulder", "elbow", "fingers"]
    image = bytes(packed[0].data)
    assert packed[0].format == "png" and image[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", image[16:24]) == (64, 48)


def test_a_file_without_cameras_and_joints_makes_no_robot(tmp_path):
    params = tmp_path / "controller.yaml"
    params.write_text("controller_manager:\n  ros__parameters: {update_rate: 100}\n")
    refused = run("fake-robot", params)
    assert refused.returncode == 1 and "no camera and no joint" in refused.stderr, refused.stderr
