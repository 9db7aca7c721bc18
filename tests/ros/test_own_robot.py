"""Another robot from nothing to a live node: the commands of docs/own_robot.md, in their order."""

import os
import pathlib
import re
import shlex
import subprocess
import threading

import pytest
from conftest import NODE, ROOT, TOOL
from harness import Node, wait_for
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState

PAGE = ROOT / "docs" / "own_robot.md"
ARM = ["base", "shoulder", "elbow", "forearm", "tilt", "roll"]
JOINTS = [*ARM, "fingers"]
TOPICS = {"front": "/camera/front/image_raw", "wrist": "/camera/wrist/image_raw"}


def commands():
    """The page's commands, each as a list of words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


class OwnRobot:
    """Two cameras and an arm at 20 Hz, until closed."""

    def __init__(self, robot):
        self.robot = robot
        self.joints = list(JOINTS)
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.05):
            stamp = self.robot.node.get_clock().now().to_msg()
            self._count += 1
            for topic in TOPICS.values():
                # Another picture each time: a frame that repeats bit by bit is a stuck camera.
                image = Image(width=64, height=48, encoding="rgb8", step=192, data=bytes([self._count % 256]) * (192 * 48))
                image.header.stamp = stamp
                self.robot.publisher(topic, Image, qos_profile_sensor_data).publish(image)
            state = JointState(name=self.joints, position=[0.1 * index for index in range(len(self.joints))])
            state.header.stamp = stamp
            self.robot.publisher("/joint_states", JointState, qos_profile_sensor_data).publish(state)

    def close(self):
        self._stop.set()
        self._thread.join(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the page's commands run, with both programs on PATH."""
    folder = tmp_path_factory.mktemp("own_robot")
    programs = folder / "bin"
    programs.mkdir()
    for program, name in ((TOOL, "vla-trt"), (NODE, "vla_trt_node")):
        (programs / name).symlink_to(pathlib.Path(program).resolve())
    return folder


@pytest.fixture
def own_robot(robot):
    own = OwnRobot(robot)
    yield own
    own.close()


def run(folder, words, **options):
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(words, cwd=folder, env={**os.environ, "PATH": path, **options}, capture_output=True, text=True,
                          timeout=120, check=False)


def command(*beginning):
    """The page's one command that begins like this and is followed by no other option of the same program."""
    found = [words for words in commands() if words[:len(beginning)] == list(beginning)]
    assert len(found) == 1, f"{beginning} in {commands()}"
    return found[0]


def fill_in(text):
    """robot.yaml as the owner of this robot fills it in."""
    for camera, topic in TOPICS.items():
        text = re.sub(rf"(\n +{camera}:\n +topic: )FILL_IN", rf"\g<1>{topic}", text)
    names = {f"FILL_IN_arm_{index}": name for index, name in enumerate(ARM, start=1)} | {"FILL_IN_gripper_1": "fingers"}
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    text = text.replace("transport: FILL_IN", "transport: raw").replace("instruction: FILL_IN", "instruction: pick up the cube")
    values = {"min": "-3.0", "max": "3.0", "velocity": "1.0", "acceleration": "5.0"}
    for field, value in values.items():
        text = text.replace(f"{field}: FILL_IN", f"{field}: {value}")
    # What a busy test machine keeps.
    return re.sub(r"(max_age_ms|max_skew_ms): [0-9.]+", r"\1: 1000.0", text)


def rows(output):
    """{(check, subject): severity} of the table."""
    found = {}
    for line in output.splitlines()[:-1]:
        severity, title = re.split(r"\s{2,}", line)[:2]
        found[title] = severity
    return found


def test_the_page_has_the_way_in_its_order():
    assert [" ".join(words[:2]) for words in commands()] == [
        "vla-trt make-checkpoint", "vla-trt export", "vla-trt init-params", "vla-trt doctor", "vla_trt_node --check",
        "vla_trt_node --ros-args"]


def test_from_nothing_to_a_live_node(robot, own_robot, folder):
    for name in ("make-checkpoint", "export", "init-params"):
        done = run(folder, command("vla-trt", name))
        assert done.returncode == 0, done.stderr

    # The node refuses the file as it is, by name.
    start = command("vla_trt_node", "--ros-args")
    refused = run(folder, start)
    assert refused.returncode == 1 and "FILL_IN_arm_1" in refused.stderr and "panicked" not in refused.stderr, refused.stderr
    assert run(folder, command("vla-trt", "doctor")).returncode == 3

    file = folder / "robot.yaml"
    file.write_text(fill_in(file.read_text()))
    doctor = run(folder, command("vla-trt", "doctor"))
    assert doctor.returncode in (0, 5), doctor.stdout
    assert rows(doctor.stdout)["parameters"] == "ok"

    check = run(folder, command("vla_trt_node", "--check"))
    assert check.returncode == 0, check.stdout + check.stderr
    found = rows(check.stdout)
    expected = ["parameters", "limits", *(f"input {name}" for name in (*TOPICS, "joints", "instruction")),
                "joints state.arm", "joints state.gripper"]
    assert found == dict.fromkeys(expected, "ok"), check.stdout

    chunks, trajectories = robot.chunks(), robot.trajectories()
    node = Node(folder / "bin" / "vla_trt_node", folder, {}, start[1:], bare=True, cwd=folder)
    try:
        wait_for(lambda: len(chunks) >= 2, lambda: f"two chunks\n{node.log}")
        assert list(chunks[-1].names) == JOINTS
        assert list(chunks[-1].input_names) == [*TOPICS, "joints"]
        wait_for(lambda: any(trajectory.points for trajectory in trajectories), lambda: f"a trajectory\n{node.log}")
        # A check beside the running node finds the same robot.
        assert run(folder, command("vla_trt_node", "--check")).returncode == 0
    finally:
        node.end()


def test_the_check_names_what_the_running_robot_lacks(own_robot, folder):
    own_robot.joints = [*ARM[:5], "rolll", "fingers"]
    wrong = ["-p", "inputs.cameras.front.transport:=compressed", "-p", "inputs.cameras.wrist.topic:=/wrist/image"]
    check = run(folder, [*command("vla_trt_node", "--check"), *wrong])
    assert check.returncode == 1, check.stdout + check.stderr
    found = rows(check.stdout)
    assert {title for title, severity in found.items() if severity == "error"} == {
        "input front", "input wrist", "joints state.arm"}, check.stdout
    assert "inputs.cameras.front.transport: raw" in check.stdout
    assert TOPICS["wrist"] in check.stdout
    assert "'rolll' for 'roll'" in check.stdout


def test_the_check_names_a_publisher_that_the_middleware_does_not_connect(own_robot, folder):
    strict = ["-p", "qos_overrides./joint_states.subscription.reliability:=reliable"]
    check = run(folder, [*command("vla_trt_node", "--check"), *strict])
    assert check.returncode == 1, check.stdout + check.stderr
    found = rows(check.stdout)
    assert found["input joints"] == "error" and found["input front"] == "ok", check.stdout
    line = next(line for line in check.stdout.splitlines() if "input joints" in line)
    assert "(offered: best_effort, volatile)" in line and "requests reliable, volatile" in line


def test_a_robot_that_does_not_run_is_no_robot(folder):
    check = run(folder, command("vla_trt_node", "--check"))
    assert check.returncode == 1, check.stdout
    found = rows(check.stdout)
    assert found["input front"] == found["input joints"] == found["joints state.arm"] == "error", check.stdout
    assert found["input instruction"] == "ok", "the parameter gives it"
