"""~/infer_once, ~/resume and ~/reload."""

import re
import shutil
import time

import pytest
from harness import CAMERAS, Feed, values, wait_for

# One observation is inferred again and again: it may be old, and its chunk is never late.
PATIENT = {f"inputs.{name}.max_age_ms": 600_000.0
           for name in (*(f"cameras.{camera}" for camera in CAMERAS), "joints")}
MAX_BLIND_S = 0.5  # by then the motion of a chunk has ended
PATIENT |= {"inputs.max_skew_ms": 0.0, "seed": 3, "action.step_s": 10.0, "rate_hz": -1.0, "max_blind_s": MAX_BLIND_S}


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


class Repeated:
    """A node on a policy folder of its own that infers one and the same observation whenever it is asked."""

    def __init__(self, robot, start, policy, folder, namespace):
        self.robot, self.name, self.folder = robot, f"{namespace}/vla_trt", folder
        shutil.copytree(policy, folder)
        self.node = start({**PATIENT, "policy": str(folder)}, ["-r", f"__ns:={namespace}"])
        self.node.wait_until_ready()
        self.chunks, self.heard = robot.chunks(self.name), robot.diagnostics()
        feed = Feed(robot, namespace=namespace, hz=0)
        wait_for(lambda: (feed.send(), self.trigger("infer_once").success)[1], "the first inference")

    def trigger(self, service):
        return self.robot.trigger(f"{self.name}/{service}")

    def infer(self):
        before = len(self.chunks)
        answer = self.trigger("infer_once")
        assert answer.success, answer.message
        return wait_for(lambda: self.chunks[before:], "a chunk")[-1]

    def reload(self):
        """Calls ~/reload with the robot at rest. After one while it brakes, the observation from before the rest is refused."""
        time.sleep(MAX_BLIND_S + 0.1)
        return self.trigger("reload")

    def engines(self):
        """The latest status of the engines."""
        ours = [status for array in self.heard for status in array.status
                if status.name == f"{self.name.lstrip('/')}: engines"]
        return ours[-1] if ours else None


def same_bits(chunk, other):
    return chunk.values.tobytes() == other.values.tobytes()


def test_weights_written_over_and_cut_short_change_nothing_until_reload(robot, start, policy, tmp_path):
    node = Repeated(robot, start, policy, tmp_path / "policy", "/steady")
    files = [file for file in node.folder.rglob("*") if file.is_file()]
    good = {file: file.read_bytes() for file in files}
    before = node.infer()
    assert same_bits(node.infer(), before), "the same observation gives the same chunk"

    for file, content in good.items():
        with open(file, "r+b") as opened:
            opened.write(bytes(255 - byte for byte in content))
    node.node.wait_for_log("the policy on disk differs")
    after = node.infer()
    assert same_bits(after, before) and after.policy_fingerprint == before.policy_fingerprint
    # One that comes while the files are written names those that it has seen.
    changed = wait_for(lambda: (s := node.engines()) and "vision.onnx.data" in values(s).get("changed on disk", "") and s,
                       "the warning")
    assert changed.level == b"\x01" and "on disk" in changed.message
    assert values(changed)["fingerprint"] == before.policy_fingerprint

    for file in files:
        file.write_bytes(b"")
    assert same_bits(node.infer(), before), "what is cut short on disk is read from the copy"
    assert node.node.process.poll() is None
    answer = node.reload()
    assert not answer.success and "policy.yaml" in answer.message, answer.message

    # The sign of every weight of the last stage: a policy that loads, and does something else.
    for file, content in good.items():
        if file.name == "step.onnx.data":
            content = bytes(byte ^ 0x80 if index % 4 == 3 else byte for index, byte in enumerate(content))
        file.write_bytes(content)
    answer = node.reload()
    assert answer.success, answer.message
    new = node.infer()
    assert not same_bits(new, before) and new.policy_fingerprint != before.policy_fingerprint
    wait_for(lambda: (s := node.engines()) and values(s)["fingerprint"] == new.policy_fingerprint
             and "changed on disk" not in values(s), "the fingerprint of what runs")


def test_a_reload_reads_the_policys_description_anew(robot, start, policy, tmp_path):
    node = Repeated(robot, start, policy, tmp_path / "policy", "/anew")
    before = node.infer()
    description = node.folder / "policy.yaml"
    good = description.read_text()
    name = next(line for line in good.splitlines() if line.startswith("name:"))

    description.write_text(good.replace(name, "name: renamed"))
    assert node.reload().success
    assert same_bits(node.infer(), before)
    wait_for(lambda: (s := node.engines()) and values(s)["policy"] == "renamed", "the new name")

    # Parameters were declared for another step.
    description.write_text(re.sub(r"step_s: [0-9.]+", "step_s: 0.123", good))
    answer = node.reload()
    assert not answer.success and "action.step_s" in answer.message and "restart the node" in answer.message
    assert not node.trigger("infer_once").success, "no policy is loaded"
    wait_for(lambda: (s := node.engines()) and values(s)["phase"] == "degraded", "the phase degraded")

    description.write_text(good)
    assert node.reload().success
    assert same_bits(node.infer(), before)
