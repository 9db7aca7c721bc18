"""Other readers (the Python packages rosbags and mcap) open the bags that this project's writer makes.

Skipped aloud where the packages or cargo are missing.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "aloha_cube"

rosbags_rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="needs the Python package rosbags")
typesys = pytest.importorskip("rosbags.typesys")


@pytest.fixture(scope="module")
def example():
    """The example copy_bag, built if need be (the library is there after the Rust tests)."""
    if not shutil.which("cargo"):
        pytest.skip("needs cargo, for the example copy_bag")
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--example", "copy_bag"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or "target")
    return ROOT / target / "debug" / "examples" / "copy_bag"


@pytest.fixture(scope="module")
def copy(example, tmp_path_factory):
    """The sample bag, read and written again by this project."""
    path = tmp_path_factory.mktemp("bag") / "copy.mcap"
    subprocess.run([example, SAMPLE, path], check=True)
    return path


def read(path):
    with rosbags_rosbag2.Reader(path) as reader:
        return [(one.topic, one.msgtype, time, bytes(data)) for one, time, data in reader.messages()]


def test_rosbags_reads_the_messages_that_were_copied(copy):
    ours = [message for message in read(copy) if not message[0].startswith("/policy/")]
    assert sorted(ours) == sorted(read(SAMPLE))


def test_rosbags_reads_the_qos_and_the_bounds(copy):
    with rosbags_rosbag2.Reader(copy) as ours, rosbags_rosbag2.Reader(SAMPLE) as sample:
        assert (ours.start_time, ours.end_time) == (sample.start_time, sample.end_time)
        assert ours.message_count == sample.message_count + 2
        counts = {topic: info.msgcount for topic, info in ours.topics.items()}
        assert counts["/joint_states"] == 400 and counts["/policy/action_chunk"] == 1
        expected = {one.topic: one.ext.offered_qos_profiles for one in sample.connections}
        for connection in ours.connections:
            if connection.topic in expected:
                assert connection.ext.offered_qos_profiles == expected[connection.topic]


def test_the_definitions_in_the_bag_are_enough_to_read_our_own_types(copy):
    """A reader that has never heard of vla_trt takes the types from the bag."""
    with rosbags_rosbag2.Reader(copy) as reader:
        store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
        for connection in reader.connections:
            if connection.msgtype == "vla_trt/msg/ActionChunk":
                store.register(typesys.get_types_from_msg(connection.msgdef.data, connection.msgtype))
        got = {
            connection.topic: store.deserialize_cdr(data, connection.msgtype)
            for connection, _, data in reader.messages()
            if connection.topic.startswith("/policy/")
        }
    chunk = got["/policy/action_chunk"]
    assert chunk.sequence == 7 and chunk.seed == 1 << 40 and chunk.late_rows == 1
    assert list(chunk.names) == ["waist", "elbow"] and list(chunk.values) == [0.5, -0.25, 1.5, -2.0]
    assert (chunk.step.sec, chunk.step.nanosec) == (0, 20_000_000)
    nanosec = chunk.header.stamp.nanosec
    assert [stamp.nanosec for stamp in chunk.input_stamps] == [nanosec, nanosec + 1]
    trajectory = got["/policy/joint_trajectory"]
    assert list(trajectory.joint_names) == ["waist", "elbow"]
    assert [list(point.positions) for point in trajectory.points] == [[0.5, 1.0], [0.5, 2.0]]
    assert trajectory.points[1].time_from_start.nanosec == 40_000_000


def test_the_definitions_are_those_of_ros(copy):
    """Type hashes made from the bag's definitions are the official ones."""
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    with rosbags_rosbag2.Reader(copy) as reader:
        for connection in reader.connections:
            if connection.msgtype.startswith("vla_trt/"):
                continue
            own = typesys.get_typestore(typesys.Stores.EMPTY)
            own.register(typesys.get_types_from_msg(connection.msgdef.data, connection.msgtype))
            assert own.hash_rihs01(connection.msgtype) == store.hash_rihs01(connection.msgtype), connection.msgtype


def test_mcap_reads_the_file_and_its_checksums(copy):
    reading = pytest.importorskip("mcap.reader", reason="needs the Python package mcap")
    with open(copy, "rb") as stream:
        reader = reading.make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary.statistics.message_count == 643 and summary.chunk_indexes
        assert {channel.message_encoding for channel in summary.channels.values()} == {"cdr"}
        assert {schema.encoding for schema in summary.schemas.values()} == {"ros2msg"}
        messages = [
            (channel.topic, schema.name, message.log_time, message.data)
            for schema, channel, message in reader.iter_messages()
        ]
    assert sorted(messages) == sorted(read(copy))


def test_the_same_bag_gives_the_same_file(example, copy, tmp_path):
    again = tmp_path / "another_name.mcap"
    subprocess.run([example, SAMPLE, again], check=True)
    assert again.read_bytes() == copy.read_bytes()


def plain(value):
    """A message of either library as numbers, texts, lists and {field: value}."""
    if isinstance(value, (int, float, str, bytes)):
        return value
    if hasattr(value, "__dataclass_fields__"):
        names = [name for name in value.__dataclass_fields__ if name != "__msgtype__"]
        return {name: plain(getattr(value, name)) for name in names}
    if hasattr(value, "__slots__"):
        return {name.lstrip("_"): plain(getattr(value, name)) for name in value.__slots__}
    return [plain(one) for one in (value.tolist() if hasattr(value, "tolist") else value)]


@pytest.fixture(scope="module")
def chunks(tmp_path_factory):
    """What a replay of the sample bag through the demo policy writes."""
    tool = os.environ.get("VLA_TRT_TOOL") or ROOT / "target" / "debug" / "vla-trt"
    if not pathlib.Path(tool).exists():
        pytest.skip("needs the tool vla-trt, in VLA_TRT_TOOL or target/debug")
    folder = tmp_path_factory.mktemp("replay")
    subprocess.run([tool, "make-demo-policy", "-o", folder / "policy"], check=True)
    output = folder / "chunks.mcap"
    command = [tool, "replay", SAMPLE, "--policy", folder / "policy", "--params", ROOT / "config" / "aloha.yaml", "-o", output]
    subprocess.run(command, check=True)
    return output


def test_rosbags_and_mcap_decode_every_chunk_and_trajectory_of_a_replay_to_equal_values(chunks):
    """Two readers that share no code, with the definitions of the file alone."""
    reading = pytest.importorskip("mcap.reader", reason="needs the Python package mcap")
    decoding = pytest.importorskip("mcap_ros2.decoder", reason="needs the Python package mcap-ros2-support")
    with open(chunks, "rb") as stream:
        reader = reading.make_reader(stream, validate_crcs=True, decoder_factories=[decoding.DecoderFactory()])
        ours = [(channel.topic, message.log_time, plain(decoded))
                for _, channel, message, decoded in reader.iter_decoded_messages()]
    with rosbags_rosbag2.Reader(chunks) as reader:
        store = typesys.get_typestore(typesys.Stores.EMPTY)
        for connection in reader.connections:
            types = typesys.get_types_from_msg(connection.msgdef.data, connection.msgtype)
            store.register({name: kind for name, kind in types.items() if name not in store.types})
        theirs = [(connection.topic, time, plain(store.deserialize_cdr(data, connection.msgtype)))
                  for connection, time, data in reader.messages()]
    assert len(ours) == 80 and {topic for topic, *_ in ours} == {"/vla_trt/action_chunk", "/vla_trt/joint_trajectory"}
    by_time = {(topic, time): message for topic, time, message in theirs}
    assert len(by_time) == len(theirs) == len(ours)
    for topic, time, message in ours:
        assert message == by_time[topic, time], (topic, time)
    values = [message["values"] for topic, _, message in ours if topic.endswith("chunk")]
    assert all(len(chunk) == 16 * 14 for chunk in values) and len({tuple(chunk) for chunk in values}) == 40
