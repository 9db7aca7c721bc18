"""`vla-trt eval` agrees with a plain NumPy program on the same chunks, in the robot's units and normalised.

The program reads the chunks that eval dumps, the processor's own files of the policy, and nothing of eval's figures.
Skipped aloud where NumPy or cargo are missing.
"""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

np = pytest.importorskip("numpy", reason="needs NumPy")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BAG = ROOT / "data" / "aloha_cube"
STRIDE = 10
EMBODIMENT = "new_embodiment"
ARRAYS = ("predicted", "recorded", "known", "state", "start_ns", "normalised_predicted", "normalised_recorded")
KEYS = {"left_arm": 6, "left_gripper": 1, "right_arm": 6, "right_gripper": 1}


@pytest.fixture(scope="module")
def tool():
    """`vla-trt`, built if need be."""
    if not shutil.which("cargo"):
        pytest.skip("needs cargo, for vla-trt")
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--bin", "vla-trt"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or "target")
    return ROOT / target / "debug" / "vla-trt"


@pytest.fixture(scope="module")
def policy(tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy") / "demo"
    subprocess.run([tool, "make-demo-policy", "-o", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def evaluated(tool, policy, tmp_path_factory):
    """Figures and chunks of the sample bag."""
    folder = tmp_path_factory.mktemp("eval")
    command = [tool, "eval", policy, BAG, "--params", ROOT / "config" / "aloha.yaml", "--stride", str(STRIDE)]
    command += ["--json", folder / "figures.json", "--chunks", folder / "chunks.npz"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with np.load(folder / "chunks.npz") as arrays:
        names = sorted({name.split("/")[0] for name in arrays.files})
        chunks = [{key: arrays[f"{name}/{key}"] for key in ARRAYS} for name in names]
    return json.loads((folder / "figures.json").read_text()), chunks


def normalise(rows, state, policy):
    """Absolute rows of the demo policy as its processor's files say: relative arms, absolute grippers, min and max."""
    statistics = json.loads((policy / "statistics.json").read_text())[EMBODIMENT]
    out, start = np.empty(rows.shape, np.float64), 0
    for key, width in KEYS.items():
        columns = slice(start, start + width)
        values = rows[:, columns].astype(np.float64)
        if key in statistics["relative_action"]:
            values = values - state[columns].astype(np.float64)
            table = statistics["relative_action"][key]
        else:
            table = statistics["action"][key]
        low, high = (np.asarray(table[edge], np.float64) for edge in ("min", "max"))
        if low.ndim == 2:
            low, high = low[:len(rows)], high[:len(rows)]
        out[:, columns] = np.clip((values - low) / (high - low) * 2 - 1, -1, 1)
        start += width
    return out


def errors(chunks, predicted, recorded, rows, columns):
    """(number of values, MSE, MAE, largest) over the rows and columns that were compared."""
    apart = []
    for chunk in chunks:
        known = range(rows.start, min(rows.stop, int(chunk["known"][0])))
        one, other = chunk[predicted][known, columns], chunk[recorded][known, columns]
        apart.append((one.astype(np.float64) - other.astype(np.float64)).ravel())
    apart = np.concatenate(apart)
    return apart.size, np.mean(apart**2), np.mean(np.abs(apart)), np.max(np.abs(apart))


def agree(found, expected):
    assert found["values"] == expected[0] > 0
    for name, value in zip(("mse", "mae", "max"), expected[1:]):
        assert abs(found[name] - value) <= 1e-6 * max(1.0, value), (name, found[name], value)


def test_every_figure_is_the_one_of_numpy(evaluated):
    document, chunks = evaluated
    found = document["policies"][0]
    used = range(0, STRIDE)
    spaces = {"robot": ("predicted", "recorded"), "normalised": ("normalised_predicted", "normalised_recorded")}
    assert len(chunks) == found["inferences"] >= 30
    for space, (predicted, recorded) in spaces.items():
        agree(found["overall"][space], errors(chunks, predicted, recorded, used, slice(None)))
        start = 0
        for key in found["keys"]:
            width = KEYS[key["key"]]
            agree(key[space], errors(chunks, predicted, recorded, used, slice(start, start + width)))
            start += width
        for index, column in enumerate(found["columns"]):
            agree(column[space], errors(chunks, predicted, recorded, used, slice(index, index + 1)))
        assert [row["row"] for row in found["rows"]] == list(range(16))
        for row in found["rows"]:
            agree(row[space], errors(chunks, predicted, recorded, range(row["row"], row["row"] + 1), slice(None)))
    assert found["episode_mean"]["mse"] == pytest.approx(found["overall"]["robot"]["mse"], rel=1e-12)


def test_normalised_values_are_those_of_the_processors_statistics(evaluated, policy):
    _, chunks = evaluated
    for chunk in chunks:
        known = int(chunk["known"][0])
        for name, rows in (("predicted", 16), ("recorded", known)):
            expected = normalise(chunk[name][:rows], chunk["state"], policy)
            # Positions in single precision, over a range of 8 mm rad in the first row.
            np.testing.assert_allclose(chunk[f"normalised_{name}"][:rows], expected, atol=1e-4)
        assert np.isnan(chunk["recorded"][known:]).all() and np.isnan(chunk["normalised_recorded"][known:]).all()


def test_the_recorded_rows_are_the_bags_joint_states_interpolated(evaluated):
    """With an independent reader of the bag."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="needs the Python package rosbags")
    typesys = pytest.importorskip("rosbags.typesys")
    document, chunks = evaluated
    types = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    times, positions = [], []
    with rosbag2.Reader(BAG) as reader:
        for connection, _, data in reader.messages():
            if connection.topic == "/joint_states":
                message = types.deserialize_cdr(data, connection.msgtype)
                stamp = message.header.stamp
                times.append(stamp.sec * 10**9 + stamp.nanosec)
                order = [message.name.index(column["name"]) for column in document["columns"]]
                positions.append(np.asarray(message.position)[order])
    times, positions = np.asarray(times, np.int64), np.asarray(positions)
    assert len(times) == 400
    compared = 0
    for chunk in chunks:
        start = int(chunk["start_ns"][0])
        for row in range(int(chunk["known"][0])):
            due = start + row * round(document["step_s"] * 1e9) - times[0]
            expected = [np.interp(due, times - times[0], column) for column in positions.T]
            np.testing.assert_allclose(chunk["recorded"][row], expected, atol=1e-6)
            compared += 1
    assert compared > 500
