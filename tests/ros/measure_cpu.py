#!/usr/bin/env python3
"""CPU of the node's ROS side: 3 raw cameras of 640x480 at 30 Hz and joint states at 200 Hz, without inference.

Beside it, for comparison, an rclpy node that subscribes to the same topics and does nothing. One after the other,
so that neither costs the other anything. Prints a Markdown table; docs/benchmarks.md has the figures.

    FASTRTPS_DEFAULT_PROFILES_FILE=config/fastdds_shm.xml python3 tests/ros/measure_cpu.py --policy out/demo/policy

`--all` adds the node with every kind of input and output that costs something while nothing is inferred; `--before NODE` another build of
the node, and `--rounds N` alternates them.
"""

import argparse
import array
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[2] / "scripts")]

from conftest import NODE, isolate_ros
from harness import CAMERAS, JOINTS, Node, Robot, statuses, values, wait_for
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState

WIDTH, HEIGHT, CAMERA_HZ, JOINT_HZ = 640, 480, 30, 200

IDLE = f"""
import rclpy
from rclpy.qos import qos_profile_sensor_data as qos
from sensor_msgs.msg import Image, JointState
rclpy.init()
node = rclpy.create_node("idle")
for camera in {CAMERAS!r}:
    node.create_subscription(Image, f"/camera/{{camera}}/image_raw", lambda message: None, qos)
node.create_subscription(JointState, "/joint_states", lambda message: None, qos)
rclpy.spin(node)
"""


def publish(robot, stop):
    """Publishes cameras and joint states until `stop` is set."""
    pixels = array.array("B", os.urandom(3 * WIDTH * HEIGHT))
    images = {camera: Image(width=WIDTH, height=HEIGHT, encoding="rgb8", step=3 * WIDTH, data=pixels)
              for camera in CAMERAS}
    joints = JointState(name=JOINTS, position=[0.0] * len(JOINTS))
    publishers = {camera: robot.publisher(f"/camera/{camera}/image_raw", Image, qos_profile_sensor_data)
                  for camera in CAMERAS}
    joint_publisher = robot.publisher("/joint_states", JointState, qos_profile_sensor_data)
    tick, begun = 0, time.monotonic()
    while not stop.wait(max(0.0, begun + tick / JOINT_HZ - time.monotonic())):
        stamp = robot.node.get_clock().now().to_msg()
        joints.header.stamp = stamp
        joint_publisher.publish(joints)
        if tick * CAMERA_HZ // JOINT_HZ != (tick - 1) * CAMERA_HZ // JOINT_HZ:
            for camera, image in images.items():
                image.header.stamp = stamp
                publishers[camera].publish(image)
        tick += 1


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share(pid, seconds):
    """CPU of a process as a share of one core, in percent."""
    before, begun = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - begun)


#: Joints at the picture's time, a second topic of joint states, two controllers and streamed commands.
ALL = {"inputs.pairing": "frame", "inputs.joints.topics": ["/joint_states", "/other/joint_states"], "command_rate_hz": 100.0,
       "outputs.left.kind": "joint_trajectory", "outputs.left.keys": ["left_arm", "left_gripper"],
       "outputs.right.kind": "joint_command", "outputs.right.keys": ["right_arm", "right_gripper"]}


def measure(robot, executable, policy, parameters, seconds):
    """CPU of one node in percent of a core, and the rates at which frames arrive."""
    node = Node(executable, tempfile.mkdtemp(), {"policy": str(policy), "rate_hz": -1.0, **parameters})
    try:
        node.wait_until_ready()
        heard = robot.diagnostics()
        time.sleep(3)
        percent = share(node.process.pid, seconds)
        wait_for(lambda: heard, "diagnostics")
        figures = values(statuses(heard[-1])["inputs"])
        return percent, "/".join(figures.get(f"{camera} arrival rate (Hz)", "?") for camera in CAMERAS)
    finally:
        node.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--before", metavar="NODE", help="executable of another build")
    parser.add_argument("--all", action="store_true", help="the node with all inputs and outputs, too")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    robot = Robot(domain=isolate_ros())
    stop = threading.Event()
    publisher = threading.Thread(target=publish, args=(robot, stop))
    publisher.start()
    print("| process | CPU, % of one core | camera frames arriving, Hz each |")
    print("|---|---|---|")
    nodes = [("vla_trt_node before", options.before, {})] if options.before else []
    nodes.append(("vla_trt_node, rate_hz -1", NODE, {}))
    nodes += [("the same with all inputs and outputs", NODE, ALL)] if options.all else []
    for _ in range(options.rounds):
        for label, executable, parameters in nodes:
            percent, rates = measure(robot, executable, pathlib.Path(options.policy).resolve(), parameters, options.seconds)
            print(f"| {label} | {percent:.1f} | {rates} |", flush=True)
    idle = subprocess.Popen([sys.executable, "-c", IDLE])
    try:
        time.sleep(4)
        print(f"| rclpy subscriber that does nothing | {share(idle.pid, options.seconds):.1f} | |")
    finally:
        idle.kill()
        idle.wait()
        stop.set()
        publisher.join()
        robot.close()


if __name__ == "__main__":
    main()
