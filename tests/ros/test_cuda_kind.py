"""Engine kind cuda: what a load says whose lists of operations, program or driver are not there, and that ~/reload tries again."""

import shutil

import pytest
from harness import wait_for


def test_lists_that_are_missing_or_damaged_are_named_and_a_reload_tries_again(robot, start, policy, tmp_path):
    broken = tmp_path / "policy"
    shutil.copytree(policy, broken)
    victim = broken / "step.operations.json"
    good = victim.read_bytes()
    victim.unlink()
    node = start({"policy": str(broken), "engine.kind": "cuda"}, ["-r", "__ns:=/lists"])

    def told():
        return any("~/reload" in line for line in node.lines)
    wait_for(told, "the phase degraded")
    assert node.process.poll() is None
    if any("no CUDA engines" in line for line in node.lines):
        answer = robot.trigger("/lists/vla_trt/resume")
        assert not answer.success and "~/reload cannot help" in answer.message and "engine.kind: onnx" in answer.message
        pytest.skip("this build has no engine kind cuda")

    answer = robot.trigger("/lists/vla_trt/reload")
    assert not answer.success and victim.name in answer.message and "vla-trt export" in answer.message
    victim.write_bytes(good[:len(good) // 2])
    answer = robot.trigger("/lists/vla_trt/reload")
    assert not answer.success and victim.name in answer.message
    victim.write_bytes(good)
    answer = robot.trigger("/lists/vla_trt/reload")
    if not answer.success:
        # The files are whole: what is missing now is of this machine or of the program.
        assert victim.name not in answer.message
        assert any(word in answer.message for word in ("CUDA", "cuBLASLt", "kernels")), answer.message
