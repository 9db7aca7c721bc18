#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Play a rosbag2 bag (MCAP or SQLite) into ROS 2 where `ros2 bag` is not installed.

Messages are published as the bytes that were recorded; only header stamps are rewritten, and only on request.

    scripts/play_bag.py data/aloha_cube --stamps now
    scripts/play_bag.py data/aloha_cube --clock --rate 0.5 --loop     # for nodes with use_sim_time

Needs a sourced ROS 2 with the recorded message types, and the Python package rosbags (pip install rosbags==0.11.9).
Exit code: 0 when the bag was played or stopped (SIGINT, SIGTERM); 1 when it cannot be played; 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import importlib
import math
import signal
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator

NANOSECONDS = 1_000_000_000
STAMP_BYTES = slice(4, 12)  # builtin_interfaces/Time right after the 4 bytes of CDR encapsulation
HINT = (
    "check it with `ros2 bag info`; `ros2 bag reindex` writes a folder's metadata.yaml anew, "
    "`mcap recover` saves a file that was cut off"
)


class PlayError(Exception):
    """Something that the user can put right; its text says what."""


# ---------------------------------------------------------------------------------------------------- reading


@dataclass
class Track:
    """One topic of the bag, and what publishes it."""

    connection: Any
    message_type: Any = None
    has_header: bool = False
    latched: bool = False
    publisher: Any = None
    published: int = 0

    @property
    def topic(self) -> str:
        """Name as recorded."""
        return self.connection.topic


class Bag:
    """An open bag; every failure of the reader comes out as a PlayError that names the bag."""

    def __init__(self, path: Path) -> None:
        """Open; also finds out that the bag is empty."""
        try:
            from rosbags.rosbag2 import Reader
        except ImportError as error:
            raise PlayError(f"cannot import rosbags ({error}); install it: pip install rosbags==0.11.9") from error
        self.path = path
        if not path.exists():
            raise PlayError(f"{path}: expected a bag (folder, .mcap or .db3), found nothing there")
        if path.is_dir() and not (path / "metadata.yaml").exists():
            files = sorted(file.name for file in path.iterdir() if file.suffix in {".mcap", ".db3"})
            found = ", ".join(files) or "no bag file"
            raise PlayError(f"{path}: expected a folder with metadata.yaml, found {found}; {HINT}")
        try:
            self.reader = Reader(path)
            self.reader.open()
        except Exception as error:
            raise self._unreadable(error) from error
        if not self.reader.message_count:
            self.close()
            raise PlayError(f"{path}: expected a bag with messages, found an empty one; record again")
        self.start: int = self.reader.start_time
        self.end: int = self.reader.end_time - 1  # rosbags gives the time after the last message

    def _unreadable(self, error: Exception) -> PlayError:
        found = str(error) or type(error).__name__
        return PlayError(f"{self.path}: expected a readable rosbag2 bag, found: {found}; {HINT}")

    def tracks(self, topics: list[str] | None) -> list[Track]:
        """The topics asked for, or all."""
        known = sorted({connection.topic for connection in self.reader.connections})
        if missing := sorted(set(topics or []) - set(known)):
            raise PlayError(f"{self.path}: no topic {', '.join(missing)}; it has {', '.join(known)}")
        tracks = [Track(one) for one in self.reader.connections if topics is None or one.topic in topics]
        for track in tracks:
            found = getattr(track.connection.ext, "serialization_format", "cdr")
            if found != "cdr":
                raise PlayError(f"{self.path}: {track.topic}: expected serialization cdr, found {found}")
        return tracks

    def messages(self, tracks: list[Track], stop: int) -> Iterator[tuple[Track, int, bytes]]:
        """Messages before `stop` (ns), in log-time order."""
        by_connection = {id(track.connection): track for track in tracks}
        try:
            messages = self.reader.messages([track.connection for track in tracks], stop=stop)
            for connection, log_time, data in messages:
                yield by_connection[id(connection)], log_time, bytes(data)
        except Exception as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        """Close the files."""
        self.reader.close()


# ---------------------------------------------------------------------------------------------------- time


@dataclass(frozen=True)
class TimeMap:
    """From bag time to the time that stamps and clock show, and to the moment of publishing (all ns).

    Fresh stamps run with the system clock, so distances between them shrink by the rate.
    """

    first: int  # bag time at which this pass begins
    begun: int  # steady clock at that moment
    wall: int | None  # system clock at that moment when stamps are fresh; None leaves them as recorded
    rate: float

    def due(self, bag_time: int) -> int:
        """Steady clock at which a message of this bag time is published."""
        return self.begun + round((bag_time - self.first) / self.rate)

    def reached(self) -> int:
        """The bag time that playback has reached by now."""
        return self.first + round((time.monotonic_ns() - self.begun) * self.rate)

    def shown(self, bag_time: int) -> int:
        """The time that stands for this bag time."""
        if self.wall is None:
            return bag_time
        return self.wall + round((bag_time - self.first) / self.rate)


def restamp(data: bytes, times: TimeMap) -> bytes:
    """The message with its header stamp mapped; a stamp of zero (never set) stays zero."""
    if len(data) < STAMP_BYTES.stop:
        raise PlayError(f"expected a message of at least {STAMP_BYTES.stop} bytes, found {len(data)}")
    layout = "<iI" if data[1] & 1 else ">iI"
    seconds, nanoseconds = struct.unpack(layout, data[STAMP_BYTES])
    if seconds == 0 and nanoseconds == 0:
        return data
    seconds, nanoseconds = divmod(times.shown(seconds * NANOSECONDS + nanoseconds), NANOSECONDS)
    if not -(2**31) <= seconds < 2**31:
        raise PlayError(f"stamp of {seconds} s does not fit builtin_interfaces/Time")
    return data[: STAMP_BYTES.start] + struct.pack(layout, seconds, nanoseconds) + data[STAMP_BYTES.stop :]


# ---------------------------------------------------------------------------------------------------- ROS


def message_class(type_name: str) -> Any:
    """The Python class of `package/msg/Name`."""
    package, _, name = type_name.rpartition("/")
    try:
        return getattr(importlib.import_module(package.replace("/", ".")), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise PlayError(
            f"cannot load message type {type_name} ({error}); source a workspace that has it, "
            "or leave the topic out with --topics"
        ) from error


def starts_with_header(message_type: Any) -> bool:
    """Whether the first field is std_msgs/Header."""
    return next(iter(message_type.get_fields_and_field_types().values()), "") == "std_msgs/Header"


def publisher_qos(track: Track) -> Any:
    """The strongest QoS that the bag says was offered, since that serves every subscriber."""
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data

    offered = list(getattr(track.connection.ext, "offered_qos_profiles", None) or [])
    if not offered:
        if track.connection.msgtype != "std_msgs/msg/String":
            return qos_profile_sensor_data
        return QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    reliable = any(one.reliability.name != "BEST_EFFORT" for one in offered)
    latched = any(one.durability.name == "TRANSIENT_LOCAL" for one in offered)
    return QoSProfile(
        depth=max(1, *(min(one.depth, 1000) for one in offered)),
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


@dataclass
class Player:
    """Publishes a bag from a node; `stop` ends it from a signal handler."""

    node: Any
    options: argparse.Namespace
    tracks: list[Track]
    stop: threading.Event
    clock: Any = None
    clock_time: int | None = None
    clock_due: int = 0
    count: int = 0
    bar: Bar = field(default_factory=lambda: Bar(False))

    def advertise(self) -> None:
        """Create the publishers."""
        from rclpy.qos import DurabilityPolicy, QoSProfile

        for track in self.tracks:
            track.message_type = message_class(track.connection.msgtype)
            track.has_header = starts_with_header(track.message_type)
            qos = publisher_qos(track)
            track.latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
            try:
                track.publisher = self.node.create_publisher(track.message_type, track.topic, qos)
            except Exception as error:
                raise PlayError(f"cannot publish {track.topic} ({track.connection.msgtype}): {error}") from error
        if self.options.clock:
            from rosgraph_msgs.msg import Clock

            # Reliable: some time sources ask for it, and best-effort ones take it too.
            self.clock = self.node.create_publisher(Clock, "/clock", QoSProfile(depth=10))

    def wait_for_subscribers(self, seconds: float) -> None:
        """Until every topic has a subscriber."""
        deadline = time.monotonic() + seconds
        while not self.stop.is_set():
            missing = [track for track in self.tracks if not track.publisher.get_subscription_count()]
            if not missing:
                # Matched on this side; the subscriber may still be on its way there.
                self.stop.wait(0.2)
                return
            if time.monotonic() > deadline:
                topics = ", ".join(track.publisher.topic_name for track in missing)
                raise PlayError(
                    f"expected a subscriber of every topic within {seconds:g} s, found none of {topics}; start the "
                    "node first, check names and QoS with `ros2 topic info -v`, or leave the topics out with --topics"
                )
            self.stop.wait(0.05)

    def play(self, bag: Bag) -> None:
        """One or endless passes."""
        first = bag.start + round(self.options.start_offset * NANOSECONDS)
        if first > bag.end:
            length = (bag.end - bag.start) / NANOSECONDS
            offset = self.options.start_offset
            raise PlayError(f"--start-offset: expected at most the bag's {length:.3f} s, found {offset:g} s")
        last = bag.end
        if self.options.duration is not None:
            last = min(last, first + round(self.options.duration * NANOSECONDS))
        self.bar.span(first, last, self.options.rate)
        while True:
            # Taken before the steady clock: a message is then published at its stamp or after it, never before.
            wall = time.time_ns() if self.options.stamps == "now" else None
            times = TimeMap(first, time.monotonic_ns(), wall, self.options.rate)
            # A pass may begin before the one before on the recorded time scale.
            self.clock_time = None
            before = self.count
            self.one_pass(bag, times, last)
            if self.count == before and not self.stop.is_set():
                raise PlayError(f"{bag.path}: expected messages of these topics in this part of the bag, found none")
            if not self.options.loop or self.stop.is_set():
                return

    def one_pass(self, bag: Bag, times: TimeMap, last: int) -> None:
        """From the offset to the end, each message at its time."""
        early: dict[str, tuple[Track, bytes]] = {}
        begun = False
        for track, log_time, data in bag.messages(self.tracks, last + 1):
            if log_time < times.first:
                # A latched value set before the offset is in force at the offset.
                if track.latched:
                    early[track.topic] = (track, data)
                continue
            if not begun:
                begun = True
                self.tick(times, times.first)
                for early_track, early_data in early.values():
                    self.publish(early_track, early_data, times)
            if not self.wait_until(times, log_time):
                return
            self.publish(track, data, times)
            self.bar.show(log_time, self.count)

    def wait_until(self, times: TimeMap, bag_time: int) -> bool:
        """Sleep until a bag time is due, keeping /clock going; False when stopped."""
        while not self.stop.is_set():
            now = time.monotonic_ns()
            due = times.due(bag_time)
            if self.clock is not None and self.clock_due <= min(now, due):
                self.tick(times, min(bag_time, times.reached()))
            if now >= due:
                # The clock is never behind a message: a stamp from the future would be refused.
                self.tick(times, bag_time)
                return True
            wake = due if self.clock is None else min(due, self.clock_due)
            self.stop.wait(min(max(wake - now, 0), NANOSECONDS // 10) / NANOSECONDS)
            self.bar.show(min(bag_time, times.reached()), self.count)
        return False

    def tick(self, times: TimeMap, bag_time: int) -> None:
        """Publish /clock, unless it shows this time already."""
        if self.clock is None:
            return
        self.clock_due = time.monotonic_ns() + round(NANOSECONDS / self.options.clock)
        shown = times.shown(bag_time)
        if self.clock_time is not None and shown <= self.clock_time:
            return
        from rosgraph_msgs.msg import Clock

        self.clock_time = shown
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(shown, NANOSECONDS)
        self.clock.publish(message)

    def publish(self, track: Track, data: bytes, times: TimeMap) -> None:
        """One message, its stamp mapped when asked for."""
        if track.has_header and times.wall is not None:
            try:
                data = restamp(data, times)
            except PlayError as error:
                raise PlayError(f"{track.topic}: {error}") from error
        track.publisher.publish(data)
        track.published += 1
        self.count += 1

    def settle(self) -> None:
        """Give reliable subscribers the last messages before the publishers go."""
        from rclpy.duration import Duration

        for track in self.tracks:
            if track.publisher is not None:
                track.publisher.wait_for_all_acked(Duration(seconds=0.5))


# ---------------------------------------------------------------------------------------------------- terminal


class Bar:
    """A moving bar on a terminal; silent elsewhere."""

    WIDTH = 30

    def __init__(self, shown: bool) -> None:
        """Shown or not."""
        self.shown = shown
        self.first, self.last, self.rate = 0, 1, 1.0
        self.drawn = 0.0

    def span(self, first: int, last: int, rate: float) -> None:
        """What the bar's ends stand for."""
        self.first, self.last, self.rate = first, max(last, first + 1), rate

    def show(self, bag_time: int, count: int) -> None:
        """Draw, ten times a second at most."""
        now = time.monotonic()
        if not self.shown or (now - self.drawn < 0.1 and bag_time < self.last):
            return
        self.drawn = now
        done = min(max((bag_time - self.first) / (self.last - self.first), 0.0), 1.0)
        full = round(done * self.WIDTH)
        total = (self.last - self.first) / NANOSECONDS
        bar = "=" * full + " " * (self.WIDTH - full)
        sys.stderr.write(f"\r\x1b[K[{bar}] {done * total:6.1f}/{total:.1f} s  {count} messages  x{self.rate:g}")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the bar's line."""
        if self.shown and self.drawn:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self.drawn = 0.0


def say(text: str) -> None:
    """A line for the user."""
    print(f"play_bag: {text}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------- command line


def number(low: float, *, above: bool = False) -> Any:
    """An argparse type: a finite number of at least (or above) `low`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < low or (above and value == low):
            bound = "above" if above else "from"
            raise argparse.ArgumentTypeError(f"expected a number {bound} {low:g}, found '{text}'")
        return value

    return parse


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse; exits with code 2 and a message when something is wrong."""
    parser = argparse.ArgumentParser(
        prog="play_bag.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bag", type=Path, help="folder with metadata.yaml, .mcap or .db3 file")
    parser.add_argument(
        "--stamps",
        choices=["original", "now"],
        default="original",
        help="header stamps as recorded, or moved so that the start of playback is now (default: original); "
        "stamps deeper inside a message than its own header are never touched",
    )
    parser.add_argument(
        "--clock",
        nargs="?",
        type=number(0.0, above=True),
        const=40.0,
        metavar="HZ",
        help="publish /clock, for use_sim_time: at every message, and at least this often (default 40 Hz)",
    )
    parser.add_argument("--rate", type=number(0.0, above=True), default=1.0, help="speed (default: 1.0)")
    parser.add_argument("--loop", action="store_true", help="again and again, until stopped")
    parser.add_argument("--topics", nargs="+", metavar="TOPIC", help="only these (default: all)")
    parser.add_argument(
        "--start-offset", type=number(0.0), default=0.0, metavar="S", help="begin this many seconds into the bag"
    )
    parser.add_argument(
        "--duration",
        type=number(0.0, above=True),
        metavar="S",
        help="play this many seconds of the bag (default: to its end)",
    )
    parser.add_argument(
        "--wait-for-subscribers",
        nargs="?",
        type=number(0.0, above=True),
        const=30.0,
        metavar="S",
        help="begin when every topic has a subscriber; fail after this many seconds (default: 30)",
    )
    parser.add_argument("--quiet", action="store_true", help="errors only")
    return parser.parse_args(argv)


def play(options: argparse.Namespace, ros_arguments: list[str], stop: threading.Event) -> None:
    """Open the bag, then ROS; in that order, so that a bad bag is told at once."""
    bag = Bag(options.bag)
    try:
        tracks = bag.tracks(options.topics)
        import rclpy
        from rclpy.signals import SignalHandlerOptions

        try:
            rclpy.init(args=ros_arguments, signal_handler_options=SignalHandlerOptions.NO)
        except Exception as error:
            raise PlayError(f"ROS 2 does not start: {error}") from error
        node = rclpy.create_node("play_bag")
        bar = Bar(sys.stderr.isatty() and not options.quiet)
        player = Player(node, options, tracks, stop, bar=bar)
        try:
            player.advertise()
            if options.wait_for_subscribers is not None:
                player.wait_for_subscribers(options.wait_for_subscribers)
            player.play(bag)
            player.settle()
        finally:
            bar.end()
            node.destroy_node()
            rclpy.shutdown()
        if not options.quiet:
            per_topic = ", ".join(f"{track.topic} {track.published}" for track in tracks)
            say(f"{'stopped' if stop.is_set() else 'played'} after {player.count} messages ({per_topic})")
    finally:
        bag.close()


def main() -> int:
    """Entry point."""
    own, ros = sys.argv[1:], []
    if "--ros-args" in own:
        at = own.index("--ros-args")
        end = own.index("--", at) if "--" in own[at:] else len(own)
        own, ros = own[:at] + own[end + 1 :], own[at:end]
    options = arguments(own)
    stop = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: stop.set())
    try:
        play(options, [sys.argv[0], *ros], stop)
    except PlayError as error:
        say(f"error: {error}")
        return 1
    except ImportError as error:
        say(f"error: cannot import {error.name}: source ROS 2 first (setup.bash)")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
