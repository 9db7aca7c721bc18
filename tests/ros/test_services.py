"""~/infer_once, ~/resume and ~/reload."""

import shutil

import pytest
from harness import Feed, wait_for


@pytest.fixture(scope="module")
def on_demand(start):
    node = start({"rate_hz": -1.0})
    node.wait_until_ready()
    return node


def test_one_call_gives_one_chunk_and_says_what_it_is(robot, on_demand):
    chunks = robot.chunks()
    with Feed(robot):
        answer = wait_for(lambda: (lambda a: a.success and a)(robot.trigger("/vla_trt/infer_once")), "a success")
        assert "16 rows of 14 columns" in answer.message
        wait_for(lambda: chunks, "the chunk")
    assert len(chunks) == 1
    assert f"chunk {chunks[0].sequence}" in answer.message


def test_a_call_without_inputs_says_which_are_missing(robot, start):
    node = start({"rate_hz": -1.0}, ["-r", "__ns:=/deaf"])
    node.wait_until_ready()
    answer = robot.trigger("/deaf/vla_trt/infer_once")
    assert not answer.success
    for name in ("top", "left_wrist", "right_wrist", "joints"):
        assert f"{name} missing" in answer.message


def test_calls_that_do_not_fit_the_phase_are_answered_in_words(robot, on_demand):
    assert "nothing to resume" in robot.trigger("/vla_trt/resume").message
    reload = robot.trigger("/vla_trt/reload")
    assert not reload.success and "loaded and running" in reload.message


def test_a_failed_load_leaves_the_node_up_and_reload_tries_again(robot, start, policy, tmp_path):
    broken = tmp_path / "policy"
    shutil.copytree(policy, broken)
    # A file that is there but is no network: found at loading, not before.
    victim = next(iter(sorted(broken.glob("*.onnx"))))
    good = victim.read_bytes()
    victim.write_bytes(b"no network")
    node = start({"policy": str(broken)}, ["-r", "__ns:=/mended"])
    node.wait_for_log("~/reload tries again")
    assert node.process.poll() is None

    answer = robot.trigger("/mended/vla_trt/infer_once")
    assert not answer.success and victim.stem in answer.message
    answer = robot.trigger("/mended/vla_trt/reload")
    assert not answer.success and victim.stem in answer.message

    victim.write_bytes(good)
    answer = robot.trigger("/mended/vla_trt/reload")
    assert answer.success, answer.message
    with Feed(robot, namespace="/mended"):
        chunks = robot.chunks("/mended/vla_trt")
        wait_for(lambda: chunks, "a chunk after the reload")
