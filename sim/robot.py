#!/usr/bin/env python3
"""ALOHA in MuJoCo as a ROS 2 robot.

    . .cache/env.sh && . install/setup.bash && .cache/sim/bin/python3 -m sim.robot [--seed N] [--sim-time] ...

Publishes joint_states (100 Hz), camera/front/image_raw or its compressed form (10 Hz) and, with --sim-time, /clock;
follows /vla_trt/joint_trajectory and /vla_trt/joint_command, or the goals of four action servers (sim/action_servers.py), with a position
controller at 500 Hz. Physics keep to the
wall clock: where the machine cannot, simulated time falls behind and `slips` counts it. Latency is made by holding
messages back with the stamps that they had when they were taken.
"""

import argparse
import collections
import dataclasses
import io
import random
import signal
import sys
import threading
import time

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from PIL import Image as Picture
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory

from .controller import JointController
from .scene import STEP_S, VIEW, Scene
from .task import CAMERA, JOINTS, RIGHT_ARM

JOINTS_HZ, CAMERA_HZ, CLOCK_HZ, ENABLE_HZ = 100, 10, 250, 20
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclasses.dataclass
class Faults:
    """What is broken at the moment; may be changed at any time."""

    camera_frozen: bool = False  #: the camera repeats its last message, stamp and all
    camera_stuck: bool = False  #: the camera repeats its last picture under fresh stamps
    camera_dropped: bool = False  #: the camera says nothing
    joints_dropped: bool = False  #: the joint states say nothing
    loss: float = 0.0  #: share of messages that are lost, in and out
    stamp_offset_s: float = 0.0  #: stamps and /clock are ahead by this
    blocked: bool = False  #: the right arm is held fast: no joint of it moves, whatever the servos do
    disabled: bool = False  #: the operator releases the dead-man switch on `enable`: it says false


class Robot:
    """The robot's node and the thread that simulates it."""

    def __init__(self, seed=0, latency_s=0.0, compressed=False, sim_time=False, context=None, record=False, actions=False):
        self.context = context or rclpy.get_default_context()
        self.node = rclpy.create_node("aloha", context=self.context)
        self.latency_s, self.compressed, self.sim_time = latency_s, compressed, sim_time
        self.faults = Faults()
        self.seed, self.record, self.actions = seed, record, actions
        self.controllers = {}  #: by name, with `actions`
        self.slips, self.refused, self.error = 0, 0, None
        self.deaf, self._since = False, -np.inf  #: ignore commands; or those with an earlier stamp
        self.frames = None  #: a list to which (time, picture) are appended, for animations
        self.frame_size, self.frame_hz = (320, 240), 12
        self._random = random.Random(seed)
        self._noise = np.random.default_rng(seed)
        self._inbox = collections.deque()
        self.command_latency_s = 0.0  #: by which trajectories and commands come later than they were sent, on the wall clock
        self.camera_latency_s = 0.0  #: by which pictures are later than joint states
        self._outbox, self._pictures = collections.deque(), collections.deque()
        self.led_until = -np.inf  #: when a hand last released the arm, s
        self._guided = None  #: (begin, end, from, to): the arm is led by hand, its servos give way
        self._reset = threading.Event()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._last_image = None
        self._open()
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._threads = [threading.Thread(target=self._spin, daemon=True), threading.Thread(target=self._run, daemon=True)]
        for thread in self._threads:
            thread.start()
        if not self._ready.wait(60) or self.error is not None:
            raise RuntimeError(f"the scene did not start: {self.error}")

    def _open(self):
        create = self.node.create_publisher
        self._joints = create(JointState, "joint_states", qos_profile_sensor_data)
        topic = f"camera/{CAMERA}/image_raw"
        self._camera = (create(CompressedImage, f"{topic}/compressed", qos_profile_sensor_data) if self.compressed
                        else create(Image, topic, qos_profile_sensor_data))
        self._clock = create(Clock, "/clock", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)) \
            if self.sim_time else None
        self._instruction = create(String, "instruction", LATCHED)
        self._enable = create(Bool, "enable", qos_profile_sensor_data)
        if self.actions:
            from .action_servers import serve

            self.controllers = serve(self.node, self._hear, lambda: self.scene.time)
            return
        listen = self.node.create_subscription
        listen(JointTrajectory, "/vla_trt/joint_trajectory", self._hear, 10)
        listen(JointState, "/vla_trt/joint_command", self._hear, 50)

    # Any thread

    def instruct(self, text):
        """Says what is to be done."""
        self._instruction.publish(String(data=text))

    def reset(self, seed):
        """A new episode: returns when the arm is at its start and nothing is left to follow."""
        self.seed = seed
        self._reset.set()
        while self._reset.is_set():
            if self.error is not None:
                raise self.error
            time.sleep(0.005)

    def lead(self, to, seconds=0.5):
        """Leads the right arm by hand to these joint positions, rad; returns when it is there. Commands are not heard meanwhile."""
        now = self.scene.time
        self._guided = (now, now + seconds, None, np.asarray(to, dtype=float))
        while self._guided is not None:
            if self.error is not None:
                raise self.error
            time.sleep(0.005)

    def obey_from(self, seconds):
        """Follows what is stamped at this time of the scene or later, and no longer nothing."""
        self._since, self.deaf = seconds, False

    def close(self):
        """Ends both threads."""
        self._stop.set()
        self._threads[1].join(10)
        self._executor.shutdown()
        self._threads[0].join(10)
        self.node.destroy_node()

    def _spin(self):
        try:
            self._executor.spin()
        except (rclpy.executors.ExternalShutdownException, rclpy.executors.ShutdownException):
            pass

    def _hear(self, message):
        if self._random.random() >= self.faults.loss:
            self._inbox.append((time.monotonic() + self.command_latency_s, message))

    # The simulation's thread

    def _run(self):
        try:
            self._simulate()
        except Exception as error:  # raised again where the robot is waited for
            self.error = error
            self._ready.set()
            raise

    def _simulate(self):
        self.scene = Scene()
        self.scene.reset(self.seed)
        arm = [JOINTS.index(name) for name in RIGHT_ARM]
        self.controller = JointController(JOINTS, self.scene.positions(), arm, STEP_S)
        self.trace = []
        self.scene.image()  # the renderer is made here, in the thread that uses it
        self._rebase()
        self._ready.set()
        tick = 0
        while not self._stop.is_set():
            if self._reset.is_set():
                self._restart()
                tick = 0
            self._pace()
            self._step(tick)
            tick += 1
        self.scene.close()

    def _rebase(self):
        """Simulated time goes on from here: `base` is the stamp, in ns, of the scene's time 0."""
        self._wall = time.monotonic() - self.scene.time
        now = time.time_ns() if not self.sim_time else getattr(self, "_simulated_ns", 1_000_000_000)
        self.base_ns = now - round(self.scene.time * 1e9)

    def _restart(self):
        self._inbox.clear()
        self._outbox.clear()
        self._pictures.clear()
        self.scene.reset(self.seed)
        self.controller.reset(self.scene.positions())
        self.trace, self._last_image, self._since = [], None, -np.inf
        self._rebase()
        self._reset.clear()

    def _pace(self):
        ahead = self.scene.time - (time.monotonic() - self._wall)
        if ahead > 0.001:
            time.sleep(ahead)
        elif ahead < -0.1:
            self.slips += 1
            self._rebase()

    def _step(self, tick):
        scene, now = self.scene, self.scene.time
        while self._inbox and self._inbox[0][0] <= time.monotonic():
            _, message = self._inbox.popleft()
            if not self.deaf and self._seconds(message.header.stamp) >= self._since:
                self._obey(message, now)
        if self._guided is not None:
            self._follow_hand(now)
        scene.command(self.controller.sample(now))
        scene.step()
        if self.faults.blocked:
            scene.hold(self._blocked_at)
        else:
            self._blocked_at = scene.pose()
        reached = scene.reached()
        now = scene.time
        if self.sim_time:
            self._simulated_ns = self.base_ns + round(now * 1e9)
        if self.record:
            self.trace.append((now, self.controller.set_points.copy(), scene.positions(), scene.distance(), reached))
        if tick % round(1 / (JOINTS_HZ * STEP_S)) == 0:
            self._queue(now, self._joint_state)
        if tick % round(1 / (CAMERA_HZ * STEP_S)) == 0:
            self._queue(now, self._image)
        if tick % round(1 / (ENABLE_HZ * STEP_S)) == 0:
            self._enable.publish(Bool(data=not self.faults.disabled))
        if self._clock is not None and tick % round(1 / (CLOCK_HZ * STEP_S)) == 0:
            self._clock.publish(Clock(clock=self._stamp(now)))
        if self.frames is not None and tick % round(1 / (self.frame_hz * STEP_S)) == 0:
            self.frames.append((now, scene.image(VIEW, self.frame_size)))
        for outbox in (self._outbox, self._pictures):
            while outbox and outbox[0][0] <= now:
                _, publisher, message = outbox.popleft()
                publisher.publish(message)

    def _follow_hand(self, now):
        """The set points go where the hand leads the arm; then the servos hold it there."""
        begin, end, start, to = self._guided
        right = [JOINTS.index(name) for name in RIGHT_ARM]
        if start is None:
            start = self.scene.positions()[right]
            self._guided = (begin, end, start, to)
        share = min((now - begin) / (end - begin), 1.0)
        points = self.controller.set_points.copy()
        points[right] = start + (to - start) * share
        self.controller.reset(points)
        if now > end + 0.2:  # the hand lets go, and the servos hold the arm where it is: it may have met the table on the way
            self.controller.reset(self.scene.positions())
            self._guided, self.led_until = None, now + STEP_S / 2

    def _stamp(self, seconds):
        nanos = self.base_ns + round((seconds + self.faults.stamp_offset_s) * 1e9)
        return Time(sec=nanos // 10**9, nanosec=nanos % 10**9)

    def _seconds(self, stamp):
        """A stamp on the scene's clock; 0 means now, as in ros2_control."""
        nanos = stamp.sec * 10**9 + stamp.nanosec
        return (nanos - self.base_ns) * 1e-9 - self.faults.stamp_offset_s if nanos else self.scene.time

    def _queue(self, now, make):
        made = make(now)
        if made is not None and self._random.random() >= self.faults.loss:
            if make == self._image:
                self._pictures.append((now + self.latency_s + self.camera_latency_s, *made))
            else:
                self._outbox.append((now + self.latency_s, *made))

    def seconds(self, stamp):
        """A stamp on the scene's clock."""
        return self._seconds(stamp)

    def _joint_state(self, now):
        if self.faults.joints_dropped:
            return None
        message = JointState(name=list(JOINTS), position=self.scene.positions().tolist(),
                             velocity=self.scene.velocities().tolist())
        message.header.stamp = self._stamp(now)
        return self._joints, message

    def _image(self, now):
        if self.faults.camera_dropped:
            return None
        if self._last_image is not None and (self.faults.camera_frozen or self.faults.camera_stuck):
            message = self._last_image
        else:
            message = self._last_image = self._picture()
            message.header.stamp = self._stamp(now)
        if self.faults.camera_stuck and not self.faults.camera_frozen:
            message.header.stamp = self._stamp(now)
        return self._camera, message

    def _picture(self):
        pixels = self.scene.image()
        # A sensor is never silent: without this the picture of an arm at rest repeats bit by bit, as a stuck driver's does.
        pixels[:, ::7] ^= self._noise.integers(0, 2, pixels[:, ::7].shape, dtype=np.uint8)
        height, width, _ = pixels.shape
        if not self.compressed:
            message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
            message.data = pixels.tobytes()
            return message
        jpeg = io.BytesIO()
        Picture.fromarray(pixels).save(jpeg, "JPEG", quality=95)
        return CompressedImage(format="rgb8; jpeg compressed bgr8", data=jpeg.getvalue())

    def _obey(self, message, now):
        if isinstance(message, JointState):
            velocity = list(message.velocity) or None
            taken = self.controller.take_command(now, message.name, list(message.position), velocity)
        else:
            points = message.points
            span = lambda point: point.time_from_start.sec + point.time_from_start.nanosec * 1e-9
            velocities = [list(point.velocities) for point in points]
            taken = bool(points) and self.controller.take_trajectory(
                now, self._seconds(message.header.stamp), message.joint_names, [span(point) for point in points],
                [list(point.positions) for point in points], velocities if all(velocities) else None)
        self.refused += not taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the cube's place")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="cameras and joints are that much late")
    parser.add_argument("--compressed", action="store_true", help="JPEG instead of raw pictures")
    parser.add_argument("--sim-time", action="store_true", help="publish /clock and stamp with simulated time")
    parser.add_argument("--instruction", help="published once")
    options = parser.parse_args()
    rclpy.init()
    robot = Robot(options.seed, options.latency_ms * 1e-3, options.compressed, options.sim_time)
    if options.instruction:
        robot.instruct(options.instruction)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(1.0) and robot.error is None:
        print(f"{robot.scene.time:6.1f} s  {robot.scene.distance() * 1e3:5.0f} mm from the cube  {robot.slips} slips", flush=True)
    robot.close()
    rclpy.try_shutdown()
    return 0 if robot.error is None else 1


if __name__ == "__main__":
    sys.exit(main())
