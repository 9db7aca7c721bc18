"""The parameter files of config/ for four kinds of robots, each with a seeded policy of its shape: every route receives motion within
the limits that ends at rest, and one fault stops all of them."""

import re
import shlex
import subprocess
import threading
import time

import pytest
import yaml
from conftest import ROOT
from geometry_msgs.msg import PoseStamped, TransformStamped, TwistStamped
from harness import STEP_S, Feed, Parameters, seconds, wait_for
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

controllers = pytest.importorskip("controllers", reason="control_msgs is not there: scripts/setup.sh builds it")
tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not there: scripts/setup.sh builds it")

CONFIGS = {name: ROOT / "config" / f"{name}.yaml" for name in ("aloha_controllers", "arm_gripper", "humanoid", "franka_poses")}
# Rounding of messages, and one sample of 10 ms.
SLACK = 1.02


def section(name):
    return yaml.safe_load(CONFIGS[name].read_text())["/**"]["ros__parameters"]


@pytest.fixture(scope="module")
def policies(tool, tmp_path_factory):
    """Makes the policy that the head of a file describes, with the file's own commands."""
    made = {}

    def make(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            head = "\n".join(line[1:].strip() for line in CONFIGS[name].read_text().splitlines() if line.startswith("#"))
            commands = re.findall(r"vla-trt (?:[^\n\\]|\\\n)*", head)
            for command in commands:
                words = shlex.split(command.replace("\\\n", " "))
                subprocess.run([tool, *words[1:]], cwd=folder, check=True, capture_output=True)
            made[name] = folder / "my_policy"
        return made[name]

    return make


class Body:
    """Publishes what a parameter file asks for at 20 Hz: raw frames, joint states on every topic, transforms."""

    def __init__(self, robot, parameters):
        self.robot, self.cameras = robot, dict(parameters["inputs"]["cameras"])
        inputs = parameters["inputs"]
        topics = inputs["joints"].get("topics") or [inputs["joints"]["topic"]]
        names = [joint for key in parameters["state"].values() for joint in key.get("joints", [])]
        # Two drivers: the hands', and that of all other joints.
        hands = [name for name in names if "hand" in name] if len(topics) > 1 else []
        self.states = {topics[0]: [name for name in names if name not in hands]} | ({topics[1]: hands} if hands else {})
        self.frames = [(pose["frame_id"], pose["child_frame_id"]) for pose in inputs.get("poses", {}).values()
                       if pose.get("source") == "tf"]
        self.silent = set()
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.05):
            self.send()

    def send(self):
        stamp = self.robot.node.get_clock().now().to_msg()
        self._count += 1
        for name, camera in self.cameras.items():
            if name in self.silent:
                continue
            image = Image(width=64, height=48, encoding="rgb8", step=192, data=bytes([self._count % 256]) * (192 * 48))
            image.header.stamp = stamp
            self.robot.publisher(camera["topic"], Image, qos_profile_sensor_data).publish(image)
        for topic, names in self.states.items():
            state = JointState(name=names, position=[0.01] * len(names))
            state.header.stamp = stamp
            self.robot.publisher(topic, JointState, qos_profile_sensor_data).publish(state)
        for parent, child in self.frames:
            transform = TransformStamped(child_frame_id=child)
            transform.header.frame_id, transform.header.stamp = parent, stamp
            transform.transform.translation.x, transform.transform.rotation.w = 0.4, 1.0
            self.robot.publisher("/tf", tf2_msgs.TFMessage, 100).publish(tf2_msgs.TFMessage(transforms=[transform]))

    def close(self):
        self._stop.set()
        self._thread.join(5)


class Routes:
    """The other side of every output of a parameter file, by its name: what arrived, as (time, message)."""

    TOPICS = {"joint_trajectory": JointTrajectory, "joint_command": JointState, "twist": TwistStamped, "pose": PoseStamped}

    def __init__(self, robot, domain, outputs):
        self.outputs, self.servers, self.heard = outputs, {}, {}
        for name, route in outputs.items():
            kind = route["kind"]
            if kind in self.TOPICS:
                self.heard[name] = robot.listen(route["topic"], self.TOPICS[kind])
            else:
                kind = {"follow_joint_trajectory": "follow", "gripper_command": route.get("type", "").removesuffix("_command") or "gripper"}[kind]
                self.servers[name] = controllers.Controller(domain, route["action"], kind=kind)
                self.heard[name] = self.servers[name].goals

    def counts(self):
        return {name: len(heard) for name, heard in self.heard.items()}

    def of(self, *kinds):
        return [(name, route, self.heard[name]) for name, route in self.outputs.items() if route["kind"] in kinds]

    def close(self):
        for server in self.servers.values():
            server.close()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_route_moves_within_the_limits_and_one_fault_stops_all(robot, domain, start, policies, name):
    parameters = section(name)
    cameras = parameters["inputs"]["cameras"]
    # What a busy test machine keeps; the joints of Body do not follow, and stand still.
    patient = {f"inputs.cameras.{camera}.max_age_ms": 1500.0 for camera in cameras}
    patient |= {f"inputs.cameras.{camera}.transport": "raw" for camera in cameras}
    patient |= {f"inputs.poses.{pose}.max_age_ms": 1500.0 for pose in parameters["inputs"].get("poses", {})}
    patient |= {f"limits.{joint}.tracking_error": float("inf") for joint in parameters["limits"]}
    patient |= {"inputs.joints.max_age_ms": 1500.0, "inputs.max_skew_ms": 1500.0, "inputs.joints.stuck_after_ms": 0.0,
                "policy": str(policies(name)), "instruction": "pick up the cube", "max_blind_s": 2.0,
                "inputs.on_violation": "stop", "action.step_s": STEP_S}
    given = [word for key, value in patient.items() for word in ("-p", f"{key}:={'.inf' if value == float('inf') else value}")]
    routes = Routes(robot, domain, parameters["outputs"])
    node = start(arguments=["--ros-args", "--params-file", str(CONFIGS[name]), *given], bare=True)
    body = Body(robot, parameters)
    try:
        wait_for(lambda: min(routes.counts().values()) > 2, lambda: f"messages on every route: {routes.counts()}\n{node.log}")
        body.silent = set(list(cameras)[:1])
        node.wait_for_log("stopped: ")
        wait_for(lambda: all(rests(routes).values()), lambda: f"rest on every route: {rests(routes)}\n{node.log}")
        time.sleep(2.5)
        counts = routes.counts()
        time.sleep(1.0)
        assert routes.counts() == counts, "nothing more is commanded until ~/resume"
        check_limits(routes, parameters["limits"])
    finally:
        body.close()
        routes.close()


def trajectories(routes):
    for _, _, messages in routes.of("joint_trajectory"):
        yield from messages
    for _, _, goals in routes.of("follow_joint_trajectory"):
        yield from (goal.trajectory for goal in goals)


def rests(routes):
    """Whether the last command of each route that shows a velocity is one of rest."""
    ends = {name: messages[-1].points[-1].velocities for name, _, messages in routes.of("joint_trajectory")}
    ends |= {name: goals[-1].trajectory.points[-1].velocities for name, _, goals in routes.of("follow_joint_trajectory")}
    ends |= {name: messages[-1].velocity for name, _, messages in routes.of("joint_command")}
    ends |= {name: [twist.linear.x, twist.linear.y, twist.angular.z]
             for name, _, messages in routes.of("twist") for twist in [messages[-1].twist]}
    return {name: max(map(abs, end)) == 0.0 for name, end in ends.items()}


def check_limits(routes, limits):
    """Every trajectory keeps the limits of its joints and ends at rest; every twist keeps its own."""
    moved = 0.0
    for trajectory in trajectories(routes):
        assert set(trajectory.points[-1].velocities) == {0.0}
        for column, joint in enumerate(trajectory.joint_names):
            limit = limits[joint]
            speeds = [point.velocities[column] for point in trajectory.points]
            assert max(map(abs, speeds)) <= limit["velocity"] * SLACK, joint
            times = [seconds(point.time_from_start) for point in trajectory.points]
            for (at, before), (then, after) in zip(zip(times, speeds), list(zip(times, speeds))[1:]):
                assert abs(after - before) <= limit["acceleration"] * (then - at) * SLACK + 1e-6, joint
            places = [point.positions[column] for point in trajectory.points]
            assert limit["min"] - 1e-6 <= min(places) and max(places) <= limit["max"] + 1e-6, joint
            moved = max(moved, max(places) - min(places))
    for _, route, messages in routes.of("twist"):
        for stamped in messages:
            twist = stamped.twist
            values = [twist.linear.x, twist.linear.y, twist.angular.z]
            assert all(abs(value) <= most + 1e-9 for value, most in zip(values, route["max"]))
            moved = max(moved, *map(abs, values))
    for _, _, messages in routes.of("pose"):
        places = [message.pose.position.x for message in messages]
        moved = max(moved, max(places) - min(places))
    assert moved > 1e-4, "something moved"


def test_two_nodes_in_two_namespaces_drive_two_robots_beside_each_other(robot, domain, start, policies):
    """Two policies, two robots: a stop or a parameter of one does not reach the other."""
    parameters = section("arm_gripper")
    cameras = parameters["inputs"]["cameras"]
    patient = {f"inputs.cameras.{camera}.max_age_ms": 1500.0 for camera in cameras}
    patient |= {f"inputs.cameras.{camera}.transport": "raw" for camera in cameras}
    patient |= {f"limits.{joint}.tracking_error": ".inf" for joint in parameters["limits"]}
    patient |= {"inputs.joints.max_age_ms": 1500.0, "inputs.max_skew_ms": 1500.0, "inputs.joints.stuck_after_ms": 0.0,
                "policy": str(policies("arm_gripper")), "action.step_s": STEP_S}
    given = [word for key, value in patient.items() for word in ("-p", f"{key}:={value}")]
    routes = Routes(robot, domain, parameters["outputs"])
    right = start(arguments=["--ros-args", "--params-file", str(CONFIGS["arm_gripper"]), "-r", "__ns:=/right", *given], bare=True)
    left = start({"max_blind_s": 2.0}, ["-r", "__ns:=/left"])
    chunks = {side: robot.chunks(f"/{side}/vla_trt") for side in ("left", "right")}
    body = Body(robot, parameters)
    try:
        with Feed(robot, namespace="/left"):
            wait_for(lambda: all(len(each) > 2 for each in chunks.values()) and min(routes.counts().values()) > 2,
                     lambda: f"chunks of both\n{left.log}\n{right.log}")
            assert len(chunks["left"][-1].names) == 14 and len(chunks["right"][-1].names) == 7
            assert robot.trigger("/left/vla_trt/stop").success
            left.wait_for_log("stopped: ")
            count = len(chunks["right"])
            wait_for(lambda: len(chunks["right"]) > count + 2, lambda: f"chunks of the other\n{right.log}")
            assert "stopped" not in right.log
            assert all(result.successful for result in Parameters(robot, "/right/vla_trt").set(rate_hz=2.0))
            assert Parameters(robot, "/left/vla_trt").get("rate_hz")[0].double_value == 10.0
    finally:
        body.close()
        routes.close()
