#!/usr/bin/env python3
"""Opens the output of `vla-trt replay BAG -o CHUNKS.mcap --rerun FILE.rrd` with Rerun's own SDK, and compares it with the MCAP file and
with the MCAP bag.

    python3 -m venv v && v/bin/pip install rerun-sdk==0.41.0 mcap==1.6.0 mcap-ros2-support==0.6.0
    v/bin/python scripts/check_rerun.py FILE.rrd CHUNKS.mcap [BAG.mcap ...]

rerun-sdk from 0.34 on. Prints what it found, and fails at the first difference.
"""
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import rerun
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

try:
    from rerun.chunk import RrdReader
except ImportError:  # rerun-sdk before 0.41
    from rerun.experimental import RrdReader


def nanos(stamp):
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def messages(path):
    """Type, log time in ns and decoded message of everything in an MCAP file."""
    with open(path, "rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for schema, _, message, decoded in reader.iter_decoded_messages():
            yield schema.name, message.log_time, decoded


def entities(path):
    """Column -> [(time in ns, value)] of every entity, in the order of time; rows of one time in the order of the file."""
    found = defaultdict(lambda: defaultdict(list))
    for chunk in RrdReader(path).stream().to_chunks():
        if chunk.is_static:
            continue
        assert chunk.timeline_names == ["time"], f"{chunk.entity_path}: timelines {chunk.timeline_names}"
        batch = chunk.to_record_batch()
        times = np.asarray(batch.column("time").cast("int64"))
        for name in batch.schema.names:
            if ":" in name and not name.startswith("rerun.controls"):
                found[str(chunk.entity_path)][name.split(":")[-1]] += zip(times.tolist(), batch.column(name))
    return {path: {name: sorted(rows, key=lambda row: row[0]) for name, rows in columns.items()} for path, columns in found.items()}


def scalars(entities, kind):
    """Joint -> [(time in ns, value)]."""
    prefix = f"/joints/{kind}/"
    return {
        path.removeprefix(prefix).replace("\\", ""): [(time, value.as_py()[0]) for time, value in columns["scalars"]]
        for path, columns in entities.items()
        if path.startswith(prefix)
    }


def by_time(values):
    return {joint: sorted(rows, key=lambda row: row[0]) for joint, rows in values.items()}


def predicted(path):
    """The chunks' rows at start + row x step, and the trajectories' points up to the next trajectory, from the MCAP file."""
    chunks, motion, trajectories, count = defaultdict(list), defaultdict(list), [], 0
    for kind, _, message in messages(path):
        if kind.endswith("ActionChunk"):
            count += 1
            names = list(message.names)
            step = nanos(message.step)
            for row, values in enumerate(np.asarray(message.values, np.float32).reshape(-1, len(names))):
                for name, value in zip(names, values):
                    chunks[name].append((nanos(message.start) + row * step, float(value)))
        elif kind.endswith("JointTrajectory"):
            trajectories.append(message)
    for message, after in zip(trajectories, trajectories[1:] + [None]):
        start = nanos(message.header.stamp)
        for point in message.points:
            at = start + nanos(point.time_from_start)
            if after is not None and at >= nanos(after.header.stamp):
                break
            for name, position in zip(message.joint_names, point.positions):
                motion[name].append((at, float(position)))
    return by_time(chunks), by_time(motion), count


def check_pictures(entities, bags):
    """Every JPEG or PNG of the file is one of the bag, byte for byte, at its log time."""
    sent = {(time, bytes(message.data)) for bag in bags for kind, time, message in messages(bag) if kind.endswith("CompressedImage")}
    passed = converted = 0
    for path, columns in entities.items():
        for time, blob in columns.get("blob", []):
            data = np.asarray(blob.values[0].values, np.uint8).tobytes() if blob.is_valid else b""
            assert data[:3] == b"\xff\xd8\xff" or data[:4] == b"\x89PNG", f"{path} at {time}: neither JPEG nor PNG"
            assert not bags or (time, data) in sent, f"{path} at {time}: not a picture of the bag"
            passed += 1
        for time, buffer in columns.get("buffer", []):
            width, height = (dict(columns["format"])[time].as_py()[0][side] for side in ("width", "height"))
            assert len(buffer.values[0]) == 3 * width * height, f"{path} at {time}: {width} x {height}"
            converted += 1
    assert passed + converted > 0, "expected pictures, found none"
    return passed, converted


def main(file, mcap, *bags):
    tool = shutil.which("rerun", path=str(Path(sys.executable).parent))
    if tool:
        subprocess.run([tool, "rrd", "verify", file], check=True)
    found = entities(file)
    chunks, motion, count = predicted(mcap)
    for kind, expected in (("chunks", chunks), ("motion", motion)):
        read = scalars(found, kind)
        assert sorted(read) == sorted(expected), f"{kind}: expected {sorted(expected)}, found {sorted(read)}"
        for joint, rows in expected.items():
            assert read[joint] == rows, f"{kind} of {joint}: {len(rows)} rows expected, {len(read[joint])} found, or other values"
    measured = scalars(found, "measured")
    for joint, rows in measured.items():
        assert all(first < second for (first, _), (second, _) in zip(rows, rows[1:])), f"measured {joint}"
    passed, converted = check_pictures(found, bags)
    times = sorted(rows[0] for columns in found.values() for column in columns.values() for rows in column)
    print(f"rerun-sdk {rerun.__version__}: {count} chunks of {len(chunks)} joints ({sum(map(len, chunks.values()))} values) and "
          f"{sum(map(len, motion.values()))} positions of the motion equal; {len(measured)} measured joints, {passed} pictures passed "
          f"on, {converted} converted; {(times[-1] - times[0]) / 1e9:.3f} s on one timeline")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
