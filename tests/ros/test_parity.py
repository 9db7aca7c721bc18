"""A live run over topics and a replay of the same messages from a bag give the same chunks, bit by bit."""

import subprocess

import yaml
from harness import CAMERAS, JOINTS, Feed, parameters, wait_for
from recording import PERIOD_NS, run_live, write_bag

SETS = 25

# The live run may take its time; what counts is the identity of each observation.
PATIENT = {f"inputs.{name}.max_age_ms": 600_000.0
           for name in (*(f"cameras.{camera}" for camera in CAMERAS), "joints")}
PATIENT |= {"inputs.max_skew_ms": 0.0, "seed": 3, "action.step_s": 10.0,
            "limits.left_waist.min": -0.05, "limits.left_waist.max": 0.05}


def test_live_and_replay_agree_on_every_chunk(robot, start, tool, policy, tmp_path):
    node = start({**PATIENT, "rate_hz": -1.0})
    node.wait_until_ready()
    chunks = robot.chunks()
    feed = Feed(robot, hz=0)
    # Best effort: what is sent before the subscriptions match is lost.
    wait_for(lambda: (feed.send(), robot.trigger("/vla_trt/infer_once").success)[1], "the first inference")
    recorded, live = run_live(robot, feed, chunks, SETS)
    assert len({tuple(chunk.values) for chunk in live}) == SETS, "chunks must differ for their equality to mean much"
    column = list(live[0].names).index("left_waist")
    clamped = {value for chunk in live for value in list(chunk.values)[column::len(JOINTS)]}
    assert clamped and all(-0.05 - 1e-6 <= value <= 0.05 + 1e-6 for value in clamped)

    bag, golden, params = tmp_path / "live.db3", tmp_path / "chunks.db3", tmp_path / "params.yaml"
    write_bag(bag, recorded)
    write_bag(golden, [("/vla_trt/action_chunk", "vla_trt/msg/ActionChunk", number, chunk)
                       for number, chunk in enumerate(live, 1)])
    values = {**parameters(), **PATIENT, "rate_hz": 1e9 / PERIOD_NS}
    params.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))

    def replay(*more):
        command = [tool, "replay", bag, "--policy", policy, "--params", params, "-o", tmp_path / "out.mcap",
                   "--golden", golden, "--tolerance", "0", *more]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True)

    same = replay()
    assert same.returncode == 0, same.stdout + same.stderr
    assert f"{SETS} chunks" in same.stdout
    other = replay("-p", "seed:=4")
    assert other.returncode == 3, "another seed must not give the same chunks"
