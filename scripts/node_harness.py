"""The node as a process, and a ROS 2 client around it: for the live tests, the closed loop and the demo.

Start the node with `Node`, wait until it is ready, publish its inputs and collect its outputs with `Client`, read
`/diagnostics` with `Diagnostics`. `isolate_ros` gives each run a ROS domain on this host that no other run uses.
"""

import ctypes
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
#: A debug build on a busy machine takes this long for anything that is waited for.
PATIENCE_S = 30.0
#: Loading the policy, on the same machine.
READY_WITHIN_S = 60.0
#: From SIGINT to SIGKILL.
STOPPED_WITHIN_S = 5.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


# Where things are


def find_executable(name, variable):
    """Path of `vla_trt_node` or `vla-trt`: `variable` of the environment, else beside the other, else built; or None."""
    if given := os.environ.get(variable):
        return pathlib.Path(given)
    places = []
    if node := os.environ.get("VLA_TRT_NODE"):
        places.append(pathlib.Path(node).with_name(name))
    prefixes = [prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if prefix]
    places += [pathlib.Path(prefix) / "lib" / "vla_trt" / name for prefix in (*prefixes, ROOT / "install" / "vla_trt")]
    places += [ROOT / "target" / profile / name for profile in ("release", "colcon", "debug")]
    return next((place for place in places if place.exists()), None)


# ROS domains


def _open_udp_ports():
    ports = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        path = pathlib.Path(table)
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        ports |= {int(line.split()[1].rsplit(":", 1)[1], 16) for line in lines}
    return ports


def unused_domain():
    """A ROS domain that no process of this machine uses.

    The workers of pytest-xdist share the domains out among them, so that two of them never choose the same one at
    the same moment.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = _open_udp_ports()
    # RTPS: domain d uses the 250 ports from 7400 + 250 d. Above 100 they reach into the ephemeral ones.
    unused = [d for d in range(1, 101) if d % workers == worker % workers
              and not any(7400 + 250 * d <= port < 7650 + 250 * d for port in ports)]
    # Two runs that start at the same moment should not choose the same.
    return random.choice(unused)


def isolate_ros(domain=None):
    """Sets the environment of this process and its children to a domain of this host; returns the domain."""
    domain = unused_domain() if domain is None else domain
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    else:
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    return domain


# Processes


def wait_for(condition, what, timeout=PATIENCE_S):
    """Waits until the condition returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout:.0f} s: {what() if callable(what) else what}")


def _end_with_parent():
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """A child process.

    `detached`: in a session of its own, where Ctrl-C of the terminal does not reach it; it then ends with this process.
    """

    def __init__(self, command, detached=False, **options):
        self._detached = detached
        self.process = subprocess.Popen([str(word) for word in command], start_new_session=detached,
                                        preexec_fn=_end_with_parent if detached else None, **options)

    def code(self):
        """Exit code, or None while it runs."""
        return self.process.poll()

    def wait(self, timeout=PATIENCE_S):
        """Waits for the end and returns the exit code."""
        return self.process.wait(timeout)

    def signal(self, number):
        """Sends a signal and returns (exit code, seconds until the end)."""
        begun = time.monotonic()
        self.process.send_signal(number)
        code = self.wait()
        return code, time.monotonic() - begun

    def kill(self):
        """SIGKILL."""
        if self._detached:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def end(self):
        """SIGINT, then SIGKILL; returns the exit code, or None when SIGKILL was necessary."""
        if self.code() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                return self.process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.kill()
                return None
        return self.code()


class Failure(Exception):
    """A process did not do what was expected; the text has the end of its log."""


class LoggedProcess(Process):
    """A process whose stdout and stderr are copied to a file, from a pipe of one page.

    While `read_log` is cleared the pipe is not read, and is full after a few lines.
    """

    def __init__(self, name, command, log, detached=False, append=False):
        self.name, self.log = name, pathlib.Path(log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.read_log = threading.Event()
        self.read_log.set()
        super().__init__(command, detached, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         pipesize=4096)
        out = open(self.log, "ab" if append else "wb", buffering=0)
        self._copier = threading.Thread(target=self._copy, args=(out,), daemon=True)
        self._copier.start()

    def _copy(self, out):
        with out:
            while self.read_log.wait() and (text := os.read(self.process.stdout.fileno(), 4096)):
                out.write(text)

    def end(self):
        self.read_log.set()
        return super().end()

    def failure(self, text):
        """The error that this process `text`, with the end of its log."""
        if self.code() is not None:
            self._copier.join(1.0)
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return Failure("\n".join([f"{self.name} {text}. The end of {self.log}:"] + [f"  | {line}" for line in lines]))


def node_command(executable, params_file=None, **parameters):
    """The command line of a node; `parameters` come after the file and override it."""
    command = [str(executable), "--ros-args"]
    if params_file is not None:
        command += ["--params-file", str(params_file)]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    return command


# ROS


class Client:
    """An rclpy node with a thread of its own: publishes, subscribes and calls services."""

    def __init__(self, name="robot", domain=None):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._received = {}
        self._clients = {}
        self._publishers = {}
        self._closed = rclpy.Future()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        from rclpy.executors import ExternalShutdownException, ShutdownException

        try:
            self.executor.spin_until_future_complete(self._closed)
        except (ExternalShutdownException, ShutdownException):
            pass

    def close(self):
        self._closed.set_result(None)
        self._thread.join(5)
        self.executor.shutdown()
        self.context.try_shutdown()

    def destroy(self, entity):
        """Destroys a client, an action client or the like in this client's thread: its executor may wait for it in another."""
        done = threading.Event()
        self.executor.create_task(lambda: (entity.destroy(), done.set()))
        if not done.wait(PATIENCE_S):
            raise TimeoutError(f"{entity} was not destroyed within {PATIENCE_S:.0f} s")

    def subscribe(self, topic, kind, callback, qos=10):
        """Calls back, in this client's thread, for each message."""
        callbacks = self._received.setdefault((topic, kind), [])
        callbacks.append(callback)
        if len(callbacks) == 1:
            self.node.create_subscription(kind, topic, lambda message: [each(message) for each in callbacks], qos)

    def listen(self, topic, kind, qos=10):
        """Subscribes; returns the list that messages are appended to. A second call gives a new list."""
        received = []
        self.subscribe(topic, kind, received.append, qos)
        return received

    def publisher(self, topic, kind, qos):
        key = (topic, kind)
        if key not in self._publishers:
            self._publishers[key] = self.node.create_publisher(kind, topic, qos)
        return self._publishers[key]

    def request(self, service, kind, request=None, timeout=PATIENCE_S):
        """The response of a service, or None where none came in time."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        if not client.wait_for_service(timeout):
            return None
        future = client.call_async(request or kind.Request())
        deadline = time.monotonic() + timeout
        while not future.done() and time.monotonic() < deadline:
            time.sleep(0.001)
        return future.result() if future.done() else None

    def call(self, service, kind, request=None):
        """The response of a service that must answer."""
        response = self.request(service, kind, request)
        assert response is not None, f"expected an answer of {service} within {PATIENCE_S:.0f} s, found none"
        return response


class Diagnostics:
    """The newest diagnostic status of each task of the node `/vla_trt`."""

    def __init__(self, client):
        from diagnostic_msgs.msg import DiagnosticArray

        self.statuses = {}
        client.subscribe("/diagnostics", DiagnosticArray, self._take, 50)

    def _take(self, array):
        for status in array.status:
            node, _, task = status.name.rpartition(": ")
            if node.endswith("vla_trt"):
                self.statuses[task] = status

    def clear(self):
        self.statuses.clear()

    def values(self, task):
        """{key: value} of one task."""
        status = self.statuses.get(task)
        return values(status) if status is not None else {}

    def message(self, task):
        status = self.statuses.get(task)
        return status.message if status is not None else ""

    def phase(self):
        """The node's phase: loading, ready, degraded, ...; empty before the first diagnostics."""
        return self.values("inference").get("phase", "")

    def complaints(self):
        """`task: message` of each task whose level is not OK."""
        return [f"{task}: {status.message}" for task, status in sorted(self.statuses.items()) if status.level != b"\x00"]


def wait_until_ready(node, diagnostics, show=lambda details, seconds: None):
    """Waits until the node has loaded its policy; calls `show` with its state meanwhile. Returns the seconds it took.

    Raises Failure where the node ends, loads no policy, or needs more than READY_WITHIN_S.
    """
    begun = time.monotonic()
    while (phase := diagnostics.phase()) != "ready":
        took, details = time.monotonic() - begun, diagnostics.message("inference") or "starting"
        show(details, took)
        if node.code() is not None:
            raise node.failure(f"ended with exit code {node.code()} before it was ready")
        if phase == "degraded":
            raise node.failure(f"has no policy ({details})")
        if took > READY_WITHIN_S:
            raise node.failure(f"was not ready within {READY_WITHIN_S:.0f} s (last: {details})")
        time.sleep(0.05)
    return time.monotonic() - begun


def values(status):
    """{key: value} of one diagnostic status."""
    return {pair.key: pair.value for pair in status.values}


def statuses(array):
    """{task: status} of one DiagnosticArray of one node."""
    return {status.name.split(": ", 1)[1]: status for status in array.status}


def seconds(stamp):
    """A stamp or duration in seconds."""
    return stamp.sec + stamp.nanosec * 1e-9
