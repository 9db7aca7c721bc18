#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make data/aloha_cube, the project's sample bag, out of a recording of the same topics.

Copies every message byte for byte and adds what the recording lacks: each topic's QoS (sensor data for cameras and
joints, transient local for the instruction). The same input gives the same bytes.

    pip install rosbags==0.11.9
    scripts/convert_sample_bag.py RECORDING data/aloha_cube
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

FOREVER = QosTime(9223372036, 854775807)  # RMW_DURATION_INFINITE
MAX_BYTES = 2_100_000
README = "README.md"


def qos(reliability: QosReliability, durability: QosDurability, depth: int) -> Qos:
    """A QoS profile that leaves everything else to the defaults."""
    return Qos(
        QosHistory.KEEP_LAST, depth, reliability, durability, FOREVER, FOREVER, QosLiveliness.AUTOMATIC, FOREVER, False
    )


SENSOR_DATA = qos(QosReliability.BEST_EFFORT, QosDurability.VOLATILE, 5)
LATCHED = qos(QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, 1)


def convert(source: Path, target: Path) -> None:
    """Copy all messages of `source` into the new folder `target`."""
    # Version 8: Humble and Jazzy both read its QoS numbers.
    with Reader(source) as reader, Writer(target, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            old.id: writer.add_connection(
                old.topic,
                old.msgtype,
                msgdef=old.msgdef.data,
                rihs01=old.digest,
                offered_qos_profiles=[LATCHED if old.msgtype == "std_msgs/msg/String" else SENSOR_DATA],
            )
            for old in sorted(reader.connections, key=lambda connection: connection.topic)
        }
        for old, log_time, data in reader.messages():
            writer.write(connections[old.id], log_time, data)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="recording: a rosbag2 folder, .mcap or .db3")
    parser.add_argument("target", type=Path, help="folder of the sample bag; its bag files are replaced")
    arguments = parser.parse_args()
    # Into a folder of the final name (the file inside is named for it), beside the old one, which stays until then.
    scratch = arguments.target.parent / ".convert" / arguments.target.name
    shutil.rmtree(scratch.parent, ignore_errors=True)
    try:
        convert(arguments.source, scratch)
        size = sum(file.stat().st_size for file in scratch.iterdir())
        if size > MAX_BYTES:
            print(f"{arguments.source}: expected at most {MAX_BYTES} bytes, got {size}; record less", file=sys.stderr)
            return 1
        arguments.target.mkdir(parents=True, exist_ok=True)
        for old in arguments.target.iterdir():
            if old.name != README:
                old.unlink()
        for new in scratch.iterdir():
            new.replace(arguments.target / new.name)
    finally:
        shutil.rmtree(scratch.parent, ignore_errors=True)
    print(f"{arguments.target}: {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
