"""A policy with an end effector: its pose comes from a topic, its actions leave as poses."""

import math
import pathlib
import shutil
import subprocess
import time

import pytest
import yaml
from geometry_msgs.msg import PoseStamped, TransformStamped
from harness import CAMERAS, JOINTS, LATCHED, Feed, parameters, seconds, statuses, values, wait_for
from nav_msgs.msg import Odometry
from recording import golden_replay, run_live, type_name
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectory

FIXTURE = pathlib.Path(__file__).parents[1] / "data" / "eef"
COLUMNS = [f"left_eef.{column}" for column in ("x", "y", "z", "r00", "r01", "r02", "r10", "r11", "r12")]
MOVED = JOINTS[6:]  # the left arm is a pose; its gripper and the right arm are joints
SETS = 8


def eef_parameters(**more):
    gone = ("state.left_arm.", *(f"limits.{name}." for name in JOINTS if name not in MOVED))
    others = {name: value for name, value in parameters().items() if not name.startswith(gone)}
    return {**others, "state.left_eef.pose": "left_tool", "inputs.poses.left_tool.topic": "left/tool_pose",
            "inputs.poses.left_tool.frame_id": "base_link", "inputs.poses.left_tool.max_age_ms": 1000.0, **more}


class PoseFeed(Feed):
    """A feed that also has the tool's pose: half a radian about z, in front of the robot."""

    def __init__(self, robot, namespace="", **options):
        self.frame = "base_link"
        self.position = [0.4, -0.1, 0.3]
        self.orientation = [0.0, 0.0, math.sin(0.25), math.cos(0.25)]
        self.send_pose = True
        self.pose_topic = f"{namespace}/left/tool_pose"
        super().__init__(robot, namespace, **options)

    def moved(self):
        """The position: another for each set of a recording."""
        return [self.position[0] + 1e-3 * self.brightness, *self.position[1:]]

    def _samples(self, stamp):
        samples = super()._samples(stamp)
        if self.send_pose:
            message = PoseStamped()
            message.header.stamp, message.header.frame_id = stamp, self.frame
            fill(message.pose.position, self.moved())
            fill(message.pose.orientation, self.orientation)
            samples.append((self.pose_topic, message))
        return samples


def transform(parent, child, stamp, position, orientation):
    message = TransformStamped(child_frame_id=child)
    message.header.stamp, message.header.frame_id = stamp, parent
    fill(message.transform.translation, position)
    fill(message.transform.rotation, orientation)
    return message


def fill(message, numbers):
    for field, number in zip("xyzw", numbers):
        setattr(message, field, number)


class OdometryFeed(PoseFeed):
    """The tool's pose as odometry."""

    def _samples(self, stamp):
        *samples, (_, pose) = super()._samples(stamp)
        message = Odometry(header=pose.header, child_frame_id="left_tool")
        message.pose.pose = pose.pose
        return [*samples, (self.pose_topic.replace("tool_pose", "odometry"), message)]


class TransformFeed(PoseFeed):
    """The tool's pose in the tree of frames: the hand where the tool is, 0.1 m back along its own x, and the tool mounted on it."""

    def __init__(self, robot, namespace="", tf="/tf", **options):
        self.tf, self.parent = tf, "base_link"
        super().__init__(robot, namespace, **options)

    def mount(self):
        """Publishes the static transform, latched; returns (topic, message)."""
        topic = f"{self.tf}_static"
        hand_to_tool = transform("left_hand", "left_tool", self.stamp(), [0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
        message = TFMessage(transforms=[hand_to_tool])
        self.robot.publisher(topic, TFMessage, LATCHED).publish(message)
        return topic, message

    def _samples(self, stamp):
        samples = [sample for sample in super()._samples(stamp) if sample[0] != self.pose_topic]
        if self.send_pose:
            x, y, z = self.moved()
            hand = [x - 0.1 * math.cos(0.5), y - 0.1 * math.sin(0.5), z]
            message = TFMessage(transforms=[
                # Of another publisher and of no use here.
                transform("map", "shelf", stamp, [5.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]),
                transform(self.parent, "left_hand", stamp, hand, self.orientation),
                transform("map", "base_link", stamp, [1.0, 2.0, 0.0], [0.0, 0.0, 1.0, 0.0]),
            ])
            samples.append((self.tf, message))
        return samples


@pytest.fixture(scope="module")
def eef_policy(tool, tmp_path_factory):
    """The demo checkpoint with the processor files of tests/data/eef, exported."""
    folder = tmp_path_factory.mktemp("eef")
    checkpoint, policy = folder / "checkpoint", folder / "policy"
    subprocess.run([tool, "make-checkpoint", "--size", "demo", "--seed", "7", "-o", checkpoint], check=True)
    for name in ("processor_config.json", "statistics.json"):
        shutil.copy(FIXTURE / name, checkpoint / name)
    cameras = [word for camera in CAMERAS for word in ("--camera", f"{camera}=640x480")]
    subprocess.run([tool, "export", "--checkpoint", checkpoint, "--tokenizer", checkpoint / "tokenizer", "--embodiment",
                    "new_embodiment", *cameras, "--step-s", "0.02", "--steps", "1,2,4,8", "-o", policy], check=True)
    return policy


@pytest.fixture(scope="module")
def run(start, eef_policy, tmp_path_factory):
    """Starts a node with the policy; parameters as a dictionary."""
    def begin(namespace, **more):
        file = tmp_path_factory.mktemp("params") / "params.yaml"
        content = eef_parameters(policy=str(eef_policy), **more)
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": content}}))
        arguments = ["--ros-args", "--params-file", file]
        if namespace:
            arguments += ["-r", f"__ns:={namespace}"]
        return start(arguments=arguments, bare=True)
    return begin


@pytest.fixture(scope="module")
def node(run):
    node = run("/eef")
    node.wait_until_ready()
    return node


def test_poses_come_in_and_go_out_by_name_and_the_trajectory_has_the_joints(robot, node):
    chunks, trajectories = robot.chunks("/eef/vla_trt"), robot.trajectories("/eef/vla_trt")
    with PoseFeed(robot, "/eef") as feed:
        wait_for(lambda: chunks and trajectories, lambda: f"a chunk\n{node.log}")
        chunk = chunks[-1]
        assert list(chunk.names) == COLUMNS + MOVED
        assert list(chunk.input_names) == [*CAMERAS, "joints", "left_tool"]
        assert list(trajectories[-1].joint_names) == MOVED
        assert len(trajectories[-1].points[0].positions) == len(MOVED)
        width, turned = len(chunk.names), (math.cos(0.5), -math.sin(0.5), 0.0, math.sin(0.5), math.cos(0.5), 0.0)
        for row in range(chunk.horizon):
            line = chunk.values[row * width:][:width]
            # The statistics allow 4 mm a row in each direction, and a few hundredths of a turn.
            assert math.dist(line[:3], feed.position) <= 0.004 * (row + 1) * math.sqrt(3) + 1e-5
            assert math.dist(line[3:9], turned) < 0.15
        assert any(math.dist(chunk.values[row * width:][:3], feed.position) > 1e-4 for row in range(chunk.horizon))


@pytest.mark.parametrize(("field", "bad", "reason"), [
    ("orientation", [0.0, 0.0, 0.0, 0.0], "`pose.orientation`"),
    ("position", [0.0, float("nan"), 0.0], "`pose.position`"),
    ("frame", "world", "(inputs.poses.left_tool.frame_id), found `world`"),
], ids=["no rotation", "NaN", "another frame"])
def test_a_bad_pose_is_refused_counted_and_forbids_inference_in_words(robot, node, field, bad, reason):
    heard = robot.diagnostics()
    chunks = robot.chunks("/eef/vla_trt")
    with PoseFeed(robot, "/eef") as feed:
        wait_for(lambda: chunks, lambda: f"a chunk\n{node.log}")
        setattr(feed, field, bad)
        def refused():
            answer = robot.trigger("/eef/vla_trt/infer_once")
            stale = "left_tool stopped" in answer.message and reason in answer.message
            return not answer.success and stale
        wait_for(refused, lambda: robot.trigger("/eef/vla_trt/infer_once").message)
        def told():
            ours = [a for a in heard if a.status and a.status[0].name.startswith("eef/vla_trt:")]
            inputs = ours and statuses(ours[-1])["inputs"]
            shown = inputs and values(inputs)
            # The report at hand may be from before the held pose was old.
            return (shown and int(shown["left_tool refused"]) > 0 and reason in shown["left_tool last refusal"]
                    and float(shown["left_tool age (ms)"]) > 1000 and "left_tool " in inputs.message)
        wait_for(told, lambda: f"the refusal in diagnostics\n{heard[-1:]}")


def test_a_pose_that_stops_is_stale_and_comes_back(robot, node):
    chunks = robot.chunks("/eef/vla_trt")
    with PoseFeed(robot, "/eef") as feed:
        wait_for(lambda: chunks, lambda: f"a chunk\n{node.log}")
        feed.send_pose = False
        wait_for(lambda: "left_tool stopped" in robot.trigger("/eef/vla_trt/infer_once").message, "the violation")
        feed.send_pose = True
        count = len(chunks)
        wait_for(lambda: len(chunks) > count, "chunks again")


TF = {"inputs.poses.left_tool.source": "tf", "inputs.poses.left_tool.child_frame_id": "left_tool"}
ODOMETRY = {"inputs.poses.left_tool.source": "odometry", "inputs.poses.left_tool.child_frame_id": "left_tool",
            "inputs.poses.left_tool.topic": "left/odometry"}


def test_a_lookup_that_fails_is_a_violation_with_figures(robot, run):
    """Missing, disconnected, then there, then too old."""
    tf = "/transforms/tf"
    # The plan may end meanwhile: that is no stop.
    node = run("/transforms", **TF, **{"inputs.tf.topic": tf, "inputs.tf.static_topic": f"{tf}_static",
                                       "watchdog.stop_after_ms": 0.0})
    node.wait_until_ready()
    heard, chunks = robot.diagnostics(), robot.chunks("/transforms/vla_trt")

    def refused(*words):
        def answered():
            answer = robot.trigger("/transforms/vla_trt/infer_once")
            return not answer.success and all(word in answer.message for word in words)
        wait_for(answered, lambda: robot.trigger("/transforms/vla_trt/infer_once").message)

        def shown():
            ours = [a for a in heard if a.status and a.status[0].name.startswith("transforms/vla_trt:")]
            return ours and words[0] in statuses(ours[-1])["inputs"].message
        wait_for(shown, lambda: f"{words[0]} in the diagnostics\n{heard[-1:]}")

    with TransformFeed(robot, "/transforms", tf=tf) as feed:
        refused("left_tool missing", "`left_tool`", "frames are known")
        feed.parent = "island"
        feed.mount()
        refused("left_tool disconnected", "`island`", "`map`")
        # The mount may have come before the hand went to the island.
        count = len(chunks)
        feed.parent = "base_link"
        wait_for(lambda: len(chunks) > count, lambda: f"a chunk\n{node.log}")
        chunk = chunks[-1]
        assert list(chunk.input_names) == [*CAMERAS, "joints", "left_tool"]
        assert math.dist(chunk.values[:3], feed.position) <= 0.004 * math.sqrt(3) + 1e-5
        feed.send_pose = False
        refused("left_tool stopped", "at most 1000 ms", "of `left_hand`")
        feed.send_pose = True
        count = len(chunks)
        wait_for(lambda: len(chunks) > count, "chunks again")


def test_a_key_of_joints_and_a_pose_and_one_of_neither_end_the_start_with_both_named(run):
    node = run("/wrong", **{"state.left_eef.joints": [f"j{i}" for i in range(9)], "state.left_gripper.joints": []})
    assert node.wait() == 1
    assert "state.left_eef.joints and state.left_eef.pose are both given" in node.log
    assert "parameter 'state.left_gripper.joints' is not set" in node.log


def test_a_pose_output_goes_from_the_tool_to_the_chunk_without_steps_and_a_stop_holds_it(robot, run):
    node = run("/servo", **{
        "outputs.tool.kind": "pose", "outputs.tool.keys": ["left_eef"], "outputs.tool.topic": "servo/pose",
        "outputs.tool.frame_id": "base_link", "outputs.rest.kind": "joint_trajectory", "outputs.rest.joints": MOVED,
        "command_rate_hz": 50.0, "max_blind_s": 2.0, "action.step_s": 0.25})
    node.wait_until_ready()
    poses = robot.listen("/servo/servo/pose", PoseStamped)
    rests = robot.listen("/servo/vla_trt/rest", JointTrajectory)
    with PoseFeed(robot, "/servo") as feed:
        wait_for(lambda: len(poses) > 100, lambda: f"poses\n{node.log}")
        assert robot.trigger("/servo/vla_trt/stop").success
        time.sleep(1.0)
        count = len(poses)
        time.sleep(0.5)
        assert len(poses) == count, "silence after the last pose was repeated"
    assert {pose.header.frame_id for pose in poses} == {"base_link"}
    at = [[pose.pose.position.x, pose.pose.position.y, pose.pose.position.z] for pose in poses]
    turns = [[pose.pose.orientation.x, pose.pose.orientation.y, pose.pose.orientation.z, pose.pose.orientation.w]
             for pose in poses]
    assert all(abs(math.hypot(*turn) - 1.0) < 1e-9 for turn in turns)
    # The statistics allow 4 mm a row of 250 ms in each direction; a chunk joins the one before. A busy machine may lose some poses.
    times = [seconds(pose.header.stamp) for pose in poses]
    gaps = [max(after - before, 0.1) for before, after in zip(times, times[1:])]
    assert all(math.dist(before, after) < 0.04 * gap for before, after, gap in zip(at, at[1:], gaps))
    assert all(math.dist(position, feed.position) < 0.2 for position in at)
    assert abs(sum(a * b for a, b in zip(turns[0], feed.orientation))) > 0.98
    assert math.dist(at[-1], at[-15]) < 1e-12 and math.dist(turns[-1], turns[-15]) < 1e-12, "the last pose, repeated"
    assert set(rests[-1].points[-1].velocities) == {0.0}


@pytest.mark.parametrize(("kind", "more"), [(PoseFeed, {}), (OdometryFeed, ODOMETRY), (TransformFeed, TF)],
                         ids=["pose", "odometry", "tf"])
def test_live_and_replay_agree_on_every_chunk(robot, run, tool, eef_policy, tmp_path, kind, more):
    patient = {f"inputs.{name}.max_age_ms": 600_000.0
               for name in (*(f"cameras.{camera}" for camera in CAMERAS), "joints", "poses.left_tool")}
    patient |= {"inputs.max_skew_ms": 0.0, "seed": 3, "action.step_s": 10.0, **more}
    node = run("", **patient, rate_hz=-1.0)
    node.wait_until_ready()
    chunks = robot.chunks()
    feed = kind(robot, hz=0)
    mounted = [feed.mount()] if kind is TransformFeed else []
    wait_for(lambda: (feed.send(), robot.trigger("/vla_trt/infer_once").success)[1], "the first inference")
    recorded, live = run_live(robot, feed, chunks, SETS)
    assert len({tuple(chunk.values) for chunk in live}) == SETS

    recorded = [(topic, type_name(message), recorded[0][2], message) for topic, message in mounted] + recorded
    same = golden_replay(tool, eef_policy, tmp_path, recorded, live, eef_parameters(**patient))()
    assert same.returncode == 0, same.stdout + same.stderr
    assert f"{SETS} chunks" in same.stdout
