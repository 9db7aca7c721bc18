"""Samples in, chunks and trajectories out."""

import subprocess
import time

import pytest
from harness import JOINTS, STEP_S, Feed, Parameters, seconds, statuses, values, wait_for
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image


@pytest.fixture(scope="module")
def node(start):
    node = start()
    node.wait_until_ready()
    return node


@pytest.fixture
def feed(robot, node):
    with Feed(robot) as feed:
        yield feed


def test_a_chunk_carries_its_observation_and_due_times(robot, feed):
    chunks = robot.chunks()
    wait_for(lambda: len(chunks) >= 3, "three chunks")
    chunk, after = chunks[-2:]
    assert list(chunk.input_names) == ["top", "left_wrist", "right_wrist", "joints"]
    assert len(chunk.input_stamps) == 4
    assert seconds(chunk.header.stamp) == min(map(seconds, chunk.input_stamps))
    assert sorted(chunk.names) == sorted(JOINTS)
    assert chunk.horizon == 16 and len(chunk.values) == 16 * 14
    assert seconds(chunk.step) == pytest.approx(STEP_S)
    assert seconds(chunk.start) == pytest.approx(seconds(chunk.header.stamp) + STEP_S, abs=1e-6)
    assert after.sequence == chunk.sequence + 1
    assert 0 < seconds(chunk.inference_latency) < 30
    assert chunk.policy_fingerprint.startswith("sha256:")


@pytest.mark.parametrize("family", ["n1d7"])
def test_a_policy_of_another_release_publishes_chunks(robot, start, tool, tmp_path, family):
    policy, namespace = tmp_path / "policy", f"/{family}"
    subprocess.run([tool, "make-demo-policy", "--family", family, "-o", policy], check=True)
    node = start({"policy": str(policy)}, ["-r", f"__ns:={namespace}"])
    node.wait_until_ready()
    chunks = robot.chunks(f"{namespace}/vla_trt")
    with Feed(robot, namespace=namespace):
        wait_for(lambda: len(chunks) >= 2, "two chunks")
    assert chunks[-1].horizon == 16 and len(chunks[-1].values) == 16 * 14
    assert f"fingerprint: {chunks[-1].policy_fingerprint}\n" in (policy / "policy.yaml").read_text()


def test_a_trajectory_is_one_that_a_controller_takes(robot, feed):
    trajectories = robot.trajectories()
    trajectory = wait_for(lambda: next((t for t in trajectories if t.points), None), "a trajectory with points")
    assert sorted(trajectory.joint_names) == sorted(JOINTS)
    times = [seconds(point.time_from_start) for point in trajectory.points]
    assert times[0] > 0 and all(a < b for a, b in zip(times, times[1:]))
    for point in trajectory.points:
        assert len(point.positions) == len(point.velocities) == len(JOINTS)


def test_joints_are_found_by_name_whatever_their_order(robot, node, feed):
    assert robot.trigger("/vla_trt/infer_once").success
    chunks = robot.chunks()
    feed.joints = list(reversed(JOINTS)) + ["head_pan"]
    feed.positions["head_pan"] = 9.0
    wait_for(lambda: len(chunks) >= 3, "chunks with the joints in another order")
    assert sorted(chunks[-1].names) == sorted(JOINTS)


def test_the_same_observation_is_not_inferred_again_by_the_timer_but_on_demand(robot, node):
    feed = Feed(robot, hz=100)
    chunks = robot.chunks()
    wait_for(lambda: chunks, "a chunk")
    feed.close()
    time.sleep(0.3)
    count = len(chunks)
    time.sleep(0.4)
    assert len(chunks) == count
    answer = robot.trigger("/vla_trt/infer_once")
    assert answer.success, answer.message
    wait_for(lambda: len(chunks) == count + 1, "the chunk that was asked for")
    assert chunks[-1].input_stamps == chunks[-2].input_stamps


def test_the_latest_instruction_wins_whether_by_topic_or_by_parameter(robot, node, feed):
    def by_parameter(text):
        assert Parameters(robot).set(instruction=text)[0].successful

    def in_force():
        heard = robot.diagnostics()
        wait_for(lambda: heard, "diagnostics")
        return values(statuses(heard[-1])["inputs"])["instruction"]

    robot.instruct("open the drawer")
    wait_for(lambda: in_force() == "open the drawer", "the topic's instruction")
    by_parameter("close the drawer")
    wait_for(lambda: in_force() == "close the drawer", "the parameter's instruction")
    robot.instruct("wave")
    wait_for(lambda: in_force() == "wave", "the topic's instruction again")


def test_an_instruction_given_before_the_node_started_is_heard(robot, start):
    robot.instruct("given early", topic="/early/instruction")
    node = start({"instruction": ""}, ["-r", "__ns:=/early"])
    node.wait_until_ready()
    with Feed(robot, namespace="/early"):
        chunks = robot.chunks("/early/vla_trt")
        wait_for(lambda: chunks, lambda: f"a chunk\n{node.log}")


def test_a_broken_message_is_refused_named_and_does_not_stop_the_others(robot, node, feed):
    broken = Image(width=64, height=48, encoding="rgb8", step=192, data=b"too short")
    broken.header.stamp = feed.stamp()
    robot.publisher("/camera/top/image_raw", Image, qos_profile_sensor_data).publish(broken)
    node.wait_for_log("message refused: ")
    chunks = robot.chunks()
    wait_for(lambda: len(chunks) >= 2, "chunks go on")
