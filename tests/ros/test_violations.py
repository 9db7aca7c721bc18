"""What happens when an input is missing, old, frozen, from the future or out of step."""

import time

import pytest
from builtin_interfaces.msg import Time
from harness import JOINTS, Feed, Parameters, seconds, statuses, values, wait_for


def settled(node, namespace, robot, feed):
    """Waits for the first chunk and returns the list that later ones come in."""
    chunks = robot.chunks(f"{namespace}/vla_trt")
    wait_for(lambda: chunks, lambda: f"a first chunk\n{node.log}")
    return chunks


def silence(chunks, seconds=0.6):
    """Whether no chunk comes for a while."""
    time.sleep(0.3)
    count = len(chunks)
    time.sleep(seconds)
    return len(chunks) == count


TIGHT = {f"inputs.{name}.max_age_ms": 400.0
         for name in ("cameras.top", "cameras.left_wrist", "cameras.right_wrist", "joints")}


@pytest.fixture(scope="module")
def skipping(start):
    node = start(TIGHT, ["-r", "__ns:=/skip"])
    node.wait_until_ready()
    return node


@pytest.mark.parametrize(("spoil", "fault"), [
    (lambda feed: feed.cameras.discard("left_wrist"), "left_wrist stopped"),
    (lambda feed: feed.freeze("top"), "top frozen"),
    (lambda feed: setattr(feed, "send_joints", False), "joints stopped"),
], ids=["a camera stops", "a camera repeats its stamp", "joint states stop"])
def test_a_bad_input_forbids_inference_and_is_named(robot, skipping, spoil, fault):
    begun = len(skipping.lines)
    with Feed(robot, namespace="/skip") as feed:
        chunks = settled(skipping, "/skip", robot, feed)
        spoil(feed)
        wait_for(lambda: any(fault in line for line in skipping.lines[begun:]), lambda: f"{fault}\n{skipping.log}")
        assert silence(chunks)
        answer = robot.trigger("/skip/vla_trt/infer_once")
        assert not answer.success and fault in answer.message
    with Feed(robot, namespace="/skip"):
        count = len(chunks)
        wait_for(lambda: len(chunks) > count, "chunks again")


def test_violations_are_counted_and_shown(robot, skipping):
    heard = robot.diagnostics()
    def shown():
        ours = [s for a in heard for s in a.status if s.name == "skip/vla_trt: inference"]
        return ours and int(values(ours[-1])["violations"]) > 0 and "skip: " in ours[-1].message
    wait_for(shown, "the counter and the reason")


def test_a_stamp_from_the_future_is_not_trusted(robot, skipping):
    with Feed(robot, namespace="/skip") as feed:
        chunks = settled(skipping, "/skip", robot, feed)
        now = feed.stamp()
        feed.stamp = lambda: Time(sec=now.sec + 3600, nanosec=0)
        skipping.wait_for_log("top future")
        assert silence(chunks)
    with Feed(robot, namespace="/skip"):
        count = len(chunks)
        wait_for(lambda: len(chunks) > count, "chunks again")


def test_a_joint_that_the_policy_needs_is_named_when_it_is_gone(robot, skipping):
    with Feed(robot, namespace="/skip") as feed:
        chunks = settled(skipping, "/skip", robot, feed)
        feed.joints = [name for name in JOINTS if name != "left_elbow"]
        skipping.wait_for_log("left_elbow")
        assert silence(chunks)


def test_a_joint_state_with_nan_is_refused(robot, skipping):
    with Feed(robot, namespace="/skip") as feed:
        settled(skipping, "/skip", robot, feed)
        begun = len(skipping.lines)
        feed.positions["right_elbow"] = float("nan")
        wait_for(lambda: any("right_elbow" in line for line in skipping.lines[begun:]), lambda: skipping.log)


def test_hold_publishes_nothing_new_and_says_so(robot, start):
    node = start({**TIGHT, "inputs.on_violation": "hold"}, ["-r", "__ns:=/hold"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    with Feed(robot, namespace="/hold") as feed:
        chunks = settled(node, "/hold", robot, feed)
        trajectories = robot.trajectories("/hold/vla_trt")
        feed.cameras.discard("top")
        wait_for(lambda: any(s.name == "hold/vla_trt: inference" and "hold: top stopped" in s.message
                             for a in heard for s in a.status), "hold in diagnostics")
        count = len(trajectories)
        assert silence(chunks) and len(trajectories) == count


def test_an_optional_camera_may_stop(robot, start):
    node = start({**TIGHT, "inputs.cameras.top.required": False}, ["-r", "__ns:=/optional"])
    node.wait_until_ready()
    with Feed(robot, namespace="/optional") as feed:
        chunks = settled(node, "/optional", robot, feed)
        feed.cameras.discard("top")
        time.sleep(1.0)
        count = len(chunks)
        wait_for(lambda: len(chunks) > count + 2, "chunks go on")


def test_stop_comes_to_rest_and_waits_for_resume(robot, start):
    node = start({**TIGHT, "inputs.on_violation": "skip"}, ["-r", "__ns:=/stop"])
    node.wait_until_ready()
    heard = robot.diagnostics()
    with Feed(robot, namespace="/stop") as feed:
        chunks = settled(node, "/stop", robot, feed)
        assert Parameters(robot, "/stop/vla_trt").set(inputs__on_violation="stop")[0].successful
        trajectories = robot.trajectories("/stop/vla_trt")
        wait_for(lambda: trajectories, "a trajectory")
        feed.cameras.discard("top")
        node.wait_for_log("call ~/resume")
        # The motion before lasted max_blind_s; the stop is over in the time of a stop.
        wait_for(lambda: seconds(trajectories[-1].points[-1].time_from_start) <= 0.25, "the way to rest")
        assert list(trajectories[-1].points[-1].velocities) == [0.0] * len(JOINTS)
        wait_for(lambda: any(s.name == "stop/vla_trt: inference" and values(s)["phase"] == "stopped"
                             for a in heard for s in a.status), "the phase stopped")

        # The camera is back, but the node waits to be told.
        feed.cameras.add("top")
        assert silence(chunks)
        answer = robot.trigger("/stop/vla_trt/infer_once")
        assert not answer.success and "~/resume" in answer.message
        assert robot.trigger("/stop/vla_trt/resume").success
        count = len(chunks)
        wait_for(lambda: len(chunks) > count + 1, "chunks again")
        assert statuses_of(heard, "stop/vla_trt")["inference"].message != "stopped"


def spoil_joints(feed):
    feed.joints = [name for name in JOINTS if name != "left_elbow"]


def mend_joints(feed):
    feed.joints = list(JOINTS)


def spoil_instruction(feed):
    feed.robot.instruct("pick up the cube " * 2000, topic="/refused/instruction")


def mend_instruction(feed):
    feed.robot.instruct("pick up the cube", topic="/refused/instruction")


@pytest.fixture(scope="module")
def stopping(start):
    # Motion that would go on for long, so that a brake is told from a plan that runs out.
    node = start({**TIGHT, "inputs.on_violation": "stop", "max_blind_s": 2.0}, ["-r", "__ns:=/refused"])
    node.wait_until_ready()
    return node


@pytest.mark.parametrize(("spoil", "mend", "word"), [
    (spoil_joints, mend_joints, "left_elbow"),
    (spoil_instruction, mend_instruction, "tokens"),
], ids=["a joint is missing", "an instruction does not fit"])
def test_a_refused_inference_stops_until_what_it_was_given_is_well(robot, stopping, spoil, mend, word):
    node = stopping
    heard = robot.diagnostics()
    begun = len(node.lines)
    with Feed(robot, namespace="/refused") as feed:
        chunks = settled(node, "/refused", robot, feed)
        trajectories = robot.trajectories("/refused/vla_trt")
        wait_for(lambda: len(trajectories) > 2, "trajectories")
        assert seconds(trajectories[-1].points[-1].time_from_start) > 1.0, "it would move for long"
        spoil(feed)
        stopped = lambda: [line for line in node.lines[begun:] if "[ERROR]" in line and "]: stopped: " in line and word in line]
        wait_for(stopped, lambda: node.log)
        wait_for(lambda: seconds(trajectories[-1].points[-1].time_from_start) <= 1.1, "the way to rest")
        assert not any(trajectories[-1].points[-1].velocities)
        wait_for(lambda: any(a.status and a.status[0].name.startswith("refused/") for a in heard), "diagnostics")
        inputs = lambda: statuses_of(heard, "refused/vla_trt")["inputs"]
        wait_for(lambda: inputs().level == b"\x02" and word in inputs().message, lambda: inputs().message)

        # While it is not well, a resume is refused with the reason, and nothing moves later.
        answer = robot.trigger("/refused/vla_trt/resume")
        assert not answer.success and word in answer.message, answer.message
        mend(feed)
        count = len(trajectories)
        assert silence(chunks) and len(trajectories) == count, "nothing moves by itself"
        wait_for(lambda: robot.trigger("/refused/vla_trt/resume").success, "resumed")
        count = len(chunks)
        wait_for(lambda: len(chunks) > count + 1, "chunks again")
        wait_for(lambda: inputs().level == b"\x00", lambda: inputs().message)
    assert len(stopped()) == 1, "told once"


def test_a_resume_while_a_camera_is_away_is_refused_and_the_camera_moves_nothing_when_it_is_back(robot, start):
    node = start({**TIGHT, "inputs.on_violation": "stop"}, ["-r", "__ns:=/away"])
    node.wait_until_ready()
    with Feed(robot, namespace="/away") as feed:
        chunks = settled(node, "/away", robot, feed)
        feed.cameras.discard("top")
        node.wait_for_log("call ~/resume")
        time.sleep(0.5)
        answer = robot.trigger("/away/vla_trt/resume")
        assert not answer.success and "top stopped" in answer.message, answer.message
        feed.cameras.add("top")
        assert silence(chunks)
        assert robot.trigger("/away/vla_trt/resume").success
        count = len(chunks)
        wait_for(lambda: len(chunks) > count + 1, "chunks again")


def statuses_of(heard, node):
    ours = [a for a in heard if a.status and a.status[0].name.startswith(f"{node}:")]
    return statuses(ours[-1])
