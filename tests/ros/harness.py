"""The node as a process, and the robot around it as an rclpy node."""

import os
import pathlib
import signal
import subprocess
import threading
import time

import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Log, Parameter, ParameterEvent
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter as Value
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory
from vla_trt.msg import ActionChunk

CAMERAS = ("top", "left_wrist", "right_wrist")
SIDES = ("left", "right")
JOINTS = [f"{side}_{joint}" for side in SIDES for joint in
          ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")]
LATCHED = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# A debug build on a busy machine: it may take long, and chunks must not be late for that.
PATIENCE_S = 30.0
STEP_S = 0.25


def parameters():
    """Parameters every node of the tests has: the joints with their speed, and ages that a busy test machine keeps."""
    values = {"instruction": "pick up the cube", "rate_hz": 10.0, "action.step_s": STEP_S}
    if "VLA_TRT_ENGINE" in os.environ:
        values["engine.kind"] = os.environ["VLA_TRT_ENGINE"]
    for side in SIDES:
        joints = [name for name in JOINTS if name.startswith(side)]
        values[f"state.{side}_arm.joints"] = joints[:6]
        values[f"state.{side}_gripper.joints"] = joints[6:]
    # No joint moves without a limit of velocity.
    values |= {f"limits.{name}.velocity": 5.0 for name in JOINTS}
    for camera in CAMERAS:
        values[f"inputs.cameras.{camera}.max_age_ms"] = 1000.0
    values["inputs.joints.max_age_ms"] = 1000.0
    values["inputs.max_skew_ms"] = 1000.0
    # The joints of Feed stand still and follow no plan.
    values |= {f"limits.{name}.tracking_error": float("inf") for name in JOINTS}
    # Nor do they change.
    values["inputs.joints.stuck_after_ms"] = 0.0
    return values


def wait_for(condition, what, timeout=PATIENCE_S):
    """Waits until the condition gives something true, and returns that."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout:.0f} s: {what() if callable(what) else what}")


class Node:
    """A running `vla_trt_node`."""

    def __init__(self, executable, folder, params, arguments=(), name="/vla_trt", bare=False, prefix=(),
                 stderr=subprocess.PIPE, env=None, cwd=None):
        self.name = name
        command = [*prefix, str(executable)]
        if not bare:
            file = pathlib.Path(folder) / "params.yaml"
            file.write_text(yaml.safe_dump({"/**": {"ros__parameters": {**parameters(), **params}}}))
            command += ["--ros-args", "--params-file", str(file)]
        self.process = subprocess.Popen(command + [str(a) for a in arguments], stdout=subprocess.PIPE, stderr=stderr,
                                        text=True, env={**os.environ, **(env or {})}, cwd=cwd)
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr or ():
            self.lines.append(line.rstrip("\n"))

    @property
    def log(self):
        """Everything written to stderr so far."""
        return "\n".join(self.lines)

    def wait_for_log(self, text):
        wait_for(lambda: text in self.log, lambda: f"'{text}' in\n{self.log}")

    def wait_until_ready(self):
        self.wait_for_log(" ready: ")

    def wait(self, timeout=PATIENCE_S):
        """Waits for the end and returns the exit code."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def signal(self, number):
        """Sends a signal and returns (exit code, seconds it took)."""
        begun = time.monotonic()
        self.process.send_signal(number)
        code = self.wait()
        return code, time.monotonic() - begun

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Robot:
    """Cameras, joints and ears: publishes the inputs at a steady rate and keeps what the node says."""

    def __init__(self, domain):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("robot", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._heard = {}
        self._clients = {}
        self._publishers = {}
        self._thread.start()

    def _spin(self):
        try:
            self.executor.spin()
        except rclpy.executors.ExternalShutdownException:
            pass

    def close(self):
        self.executor.shutdown()
        self.context.try_shutdown()
        self._thread.join(5)

    # Listening

    def listen(self, topic, kind, qos=10):
        """Subscribes; returns the list that messages are appended to. A second call gives a new list."""
        heard = []
        self._heard.setdefault((topic, kind), []).append(heard)
        if len(self._heard[(topic, kind)]) == 1:
            def hear(message):
                for listener in self._heard[(topic, kind)]:
                    listener.append(message)
            self.node.create_subscription(kind, topic, hear, qos)
        return heard

    def chunks(self, node="/vla_trt"):
        return self.listen(f"{node}/action_chunk", ActionChunk)

    def trajectories(self, node="/vla_trt"):
        return self.listen(f"{node}/joint_trajectory", JointTrajectory)

    def diagnostics(self):
        return self.listen("/diagnostics", DiagnosticArray)

    def events(self):
        return self.listen("/parameter_events", ParameterEvent)

    def rosout(self):
        return self.listen("/rosout", Log, LATCHED)

    # Speaking

    def publisher(self, topic, kind, qos):
        key = (topic, kind)
        if key not in self._publishers:
            self._publishers[key] = self.node.create_publisher(kind, topic, qos)
        return self._publishers[key]

    def instruct(self, text, topic="/instruction"):
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.publisher(topic, String, qos).publish(String(data=text))

    def call(self, service, kind, request=None):
        """Calls a service and returns its response."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        assert client.wait_for_service(PATIENCE_S), f"no service {service}"
        future = client.call_async(request or kind.Request())
        wait_for(future.done, f"answer of {service}")
        return future.result()

    def trigger(self, service):
        return self.call(service, Trigger)


class Feed:
    """Publishes cameras and joints in a thread until closed; its fields may be changed at any time.

    With `hz=0` there is no thread, only `send`.
    """

    def __init__(self, robot, namespace="", hz=20.0, stamp=None):
        self.robot = robot
        self.hz = hz
        self.stamp = stamp or (lambda: robot.node.get_clock().now().to_msg())
        self.cameras = set(CAMERAS)
        self.frozen = {}
        self.stuck = set()
        self.joints = list(JOINTS)
        self.positions = {name: 0.1 * index for index, name in enumerate(JOINTS)}
        self.send_joints = True
        self.brightness = 0
        self._topics = {camera: f"{namespace}/camera/{camera}/image_raw" for camera in CAMERAS}
        self.joint_topic = f"{namespace}/joint_states"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        if hz > 0:
            self._thread.start()

    def _run(self):
        while not self._stop.wait(1.0 / self.hz):
            self.send()

    def send(self):
        """Publishes one set of samples, all of one stamp, and returns it as [(topic, message)]."""
        sent = self._samples(self.stamp())
        for topic, message in sent:
            self.robot.publisher(topic, type(message), qos_profile_sensor_data).publish(message)
        return sent

    def _samples(self, stamp):
        samples = [(self._topics[camera], self._image(self.frozen.get(camera, stamp), camera in self.stuck))
                   for camera in CAMERAS if camera in self.cameras]
        if self.send_joints:
            message = JointState(name=list(self.joints), position=[self.positions[name] for name in self.joints])
            message.header.stamp = stamp
            samples.append((self.joint_topic, message))
        return samples

    def _image(self, stamp, stuck=False):
        """A picture with some noise, that differs from every other unless the camera is stuck."""
        width, height = 64, 48
        message = Image(width=width, height=height, encoding="rgb8", step=3 * width)
        message.header.stamp = stamp
        noise = b"" if stuck else f"{stamp.sec}.{stamp.nanosec}".encode()
        picture = bytes((x + self.brightness) % 256 for x in range(3 * width)) * height
        message.data = picture[:len(picture) - len(noise)] + noise
        return message

    def freeze(self, camera):
        """From now on this camera repeats its stamp."""
        self.frozen[camera] = self.stamp()

    def thaw(self):
        self.frozen.clear()

    def close(self):
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Parameters:
    """A client of one node's six services."""

    def __init__(self, robot, node="/vla_trt"):
        self.robot = robot
        self.node = node

    def _call(self, name, kind, **fields):
        return self.robot.call(f"{self.node}/{name}", kind, kind.Request(**fields))

    def get(self, *names):
        return self._call("get_parameters", GetParameters, names=list(names)).values

    def types(self, *names):
        return list(self._call("get_parameter_types", GetParameterTypes, names=list(names)).types)

    def describe(self, *names):
        return self._call("describe_parameters", DescribeParameters, names=list(names)).descriptors

    def list(self, prefixes=(), depth=0):
        return self._call("list_parameters", ListParameters, prefixes=list(prefixes), depth=depth).result

    def set(self, **values):
        return self._call("set_parameters", SetParameters, parameters=messages(values)).results

    def set_atomically(self, **values):
        return self._call("set_parameters_atomically", SetParametersAtomically, parameters=messages(values)).result


def messages(values):
    """`denoise__steps=2` is the parameter denoise.steps."""
    return [
        value if isinstance(value, Parameter) else Value(name.replace("__", "."), value=value).to_parameter_msg()
        for name, value in values.items()
    ]


def statuses(array):
    """{task: status} of one DiagnosticArray of one node."""
    return {status.name.split(": ", 1)[1]: status for status in array.status}


def values(status):
    return {pair.key: pair.value for pair in status.values}


def seconds(stamp):
    return stamp.sec + stamp.nanosec * 1e-9
