"""`record.path`: what the node observes and does, as a bag that replays to the same chunks."""

import pathlib
import resource
import signal
import subprocess

import yaml
from harness import Feed, parameters, statuses, values, wait_for

#: The live run may take its time; what counts is the identity of each observation.
SETTINGS = {"rate_hz": 5.0, "instruction": "", "seed": 3}

#: Greatest size of a file, for the test of it.
LIMIT = 1 << 20


def recordings(folder):
    """Folders of recordings."""
    return sorted(path for path in pathlib.Path(folder).iterdir() if path.is_dir()) if folder.exists() else []


def replay(tool, policy, folder, bag, settings, *more):
    """Replays a recording when the node inferred; returns the ended process."""
    params = folder / "replay.yaml"
    params.write_text(yaml.safe_dump({"/**": {"ros__parameters": {**parameters(), **settings}}}))
    command = [tool, "replay", bag, "--policy", policy, "--params", params, "-o", folder / "out.mcap",
               "--as-recorded", *more]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def output(robot, diagnostics):
    """Figures of the status of the output."""
    return values(statuses(diagnostics[-1])["output"]) if diagnostics else {}


def run(robot, node, chunks, count):
    """Feeds the node until it has published so many chunks."""
    with Feed(robot) as feed:
        robot.instruct("pick up the cube")

        def moved():
            feed.positions = {name: value + 0.001 for name, value in feed.positions.items()}
            feed.brightness = (feed.brightness + 3) % 200
            return len(chunks) >= count

        wait_for(moved, lambda: f"{count} chunks, {len(chunks)} so far\n{node.log}")


def test_a_recording_replays_to_the_chunks_that_the_node_published(robot, start, tool, policy, tmp_path):
    folder = tmp_path / "recordings"
    node = start({**SETTINGS, "record.path": str(folder)})
    chunks, trajectories, diagnostics = robot.chunks(), robot.trajectories(), robot.diagnostics()
    node.wait_until_ready()
    run(robot, node, chunks, 12)
    wait_for(lambda: int(output(robot, diagnostics).get("recorded messages", 0)) > 100, "recorded messages")
    figures = output(robot, diagnostics)
    assert figures["messages dropped by the recorder"] == "0" and str(folder) in figures["recording"]
    assert node.end() == 0, node.log
    bag, = recordings(folder)
    assert (bag / "metadata.yaml").exists()
    published, plans = len(chunks), len(trajectories)
    compared = ("--golden", bag, "--tolerance", "0")
    same = replay(tool, policy, tmp_path, bag, SETTINGS, *compared)
    assert same.returncode == 0, same.stdout + same.stderr
    assert f"{published} chunks (observation" in same.stdout, (published, same.stdout)
    other = replay(tool, policy, tmp_path, bag, SETTINGS, *compared, "-p", "seed:=4")
    assert other.returncode == 3, "another seed must not give the same chunks"
    counts = {topic["topic_metadata"]["name"]: topic["message_count"] for topic in
              yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
              ["topics_with_message_count"]}
    assert counts["/vla_trt/action_chunk"] == published
    assert counts["/vla_trt/joint_trajectory"] >= plans > 0
    assert counts["/instruction"] >= 1 and counts["/joint_states"] > 10


def test_a_recording_cut_by_a_kill_is_read_with_recover(robot, start, tool, policy, tmp_path):
    folder = tmp_path / "recordings"
    node = start({**SETTINGS, "record.path": str(folder)})
    chunks = robot.chunks()
    node.wait_until_ready()
    # For more than a second: what is older than that is with the system.
    run(robot, node, chunks, 12)
    node.signal(signal.SIGKILL)
    bag, = recordings(folder)
    refused = replay(tool, policy, tmp_path, bag, SETTINGS)
    assert refused.returncode == 1 and "--recover" in refused.stderr, refused.stderr
    read = replay(tool, policy, tmp_path, bag, SETTINGS, "--recover")
    assert read.returncode == 0, read.stdout + read.stderr
    assert "chunks -> " in read.stdout, read.stdout


def test_a_folder_that_cannot_be_written_is_a_warning_and_the_node_goes_on(robot, start, tmp_path):
    (tmp_path / "file").write_text("")
    node = start({**SETTINGS, "record.path": str(tmp_path / "file")})
    chunks, diagnostics = robot.chunks(), robot.diagnostics()
    node.wait_until_ready()
    run(robot, node, chunks, 3)

    def warned():
        status = statuses(diagnostics[-1])["output"] if diagnostics else None
        return status is not None and ord(status.level) == 1 and "not recording" in status.message

    wait_for(warned, lambda: f"a warning: {output(robot, diagnostics)}")
    assert int(output(robot, diagnostics)["messages not written by the recorder"]) > 0
    assert node.end() == 0, node.log


def test_a_file_beyond_the_limit_of_the_process_is_a_warning_and_the_node_goes_on(robot, start, tmp_path):
    folder = tmp_path / "recordings"
    node = start({**SETTINGS, "record.path": str(folder)})
    chunks, diagnostics = robot.chunks(), robot.diagnostics()
    node.wait_until_ready()
    # After the load, which writes larger files.
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
    run(robot, node, chunks, 3)
    with Feed(robot):
        wait_for(lambda: int(output(robot, diagnostics).get("messages not written by the recorder", 0)) > 0,
                 lambda: f"unwritten messages: {output(robot, diagnostics)}\n{node.log}")
    count = len(chunks)
    run(robot, node, chunks, count + 3)
    assert node.end() == 0, node.log
    assert all(file.stat().st_size <= LIMIT for bag in recordings(folder) for file in bag.iterdir())
