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
        time.sleep(0.3)
        # The motion before lasted max_blind_s; the stop is over in the time of a stop.
        stop = trajectories[-1]
        assert seconds(stop.points[-1].time_from_start) <= 0.25
        assert list(stop.points[-1].velocities) == [0.0] * len(JOINTS)
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


def statuses_of(heard, node):
    ours = [a for a in heard if a.status and a.status[0].name.startswith(f"{node}:")]
    return statuses(ours[-1])
