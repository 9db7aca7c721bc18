"""Fixtures of the live tests: the built node as a process, driven over real topics by rclpy.

Environment:
  VLA_TRT_NODE    the node's executable; default: where colcon or cargo put it
  VLA_TRT_TOOL    the tool `vla-trt`; default: beside the node
  ORT_DYLIB_PATH  ONNX Runtime's library; default: the one that scripts/setup.sh fetched
  VLA_TRT_POLICY  a demo policy that is there already; default: made once per session with the tool
  VLA_TRT_ENGINE  engine.kind of the nodes: onnx (default), or tensorrt with a VLA_TRT_POLICY whose engines are built
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from node_harness import find_executable, isolate_ros  # noqa: E402

missing = []
try:
    import rclpy  # noqa: F401
except ImportError as error:
    missing.append(f"rclpy ({error}); source a ROS 2 first")
else:
    try:
        from vla_trt.msg import ActionChunk  # noqa: F401
    except ImportError as error:
        missing.append(f"the built messages of vla_trt ({error}); colcon build, then source install/setup.bash")


NODE = find_executable("vla_trt_node", "VLA_TRT_NODE")
TOOL = find_executable("vla-trt", "VLA_TRT_TOOL")
if NODE is None:
    missing.append("vla_trt_node; colcon build, or set VLA_TRT_NODE")
elif TOOL is None:
    missing.append("the tool vla-trt; colcon build, or set VLA_TRT_TOOL")


def pytest_collection_modifyitems(items):
    if missing:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs " + " and ".join(missing)))


def pytest_report_header():
    return [f"vla_trt_node: {NODE}"] + [f"SKIPPING the live tests, which need {what}" for what in missing]


if "ORT_DYLIB_PATH" not in os.environ:
    for library in sorted(ROOT.glob(".cache/onnxruntime/*/libonnxruntime.so")):
        os.environ["ORT_DYLIB_PATH"] = str(library)

if missing:
    # The modules import rclpy at their top.
    collect_ignore_glob = ["test_*.py"]
else:

    @pytest.fixture(scope="session")
    def policy(tmp_path_factory):
        """Folder of the demo policy."""
        given = os.environ.get("VLA_TRT_POLICY")
        if given:
            return pathlib.Path(given)
        folder = tmp_path_factory.mktemp("demo") / "policy"
        subprocess.run([TOOL, "make-demo-policy", "--out", folder], check=True)
        return folder

    @pytest.fixture(scope="session")
    def tool():
        """The tool `vla-trt`."""
        return TOOL

    @pytest.fixture(scope="module", autouse=True)
    def domain():
        """A ROS domain for this file that no other process of this machine uses; nothing leaves this host."""
        return isolate_ros()

    @pytest.fixture(scope="module")
    def robot(domain):
        """The other side of the topics."""
        from harness import Robot

        robot = Robot(domain=domain)
        yield robot
        robot.close()

    @pytest.fixture(scope="module")
    def start(policy, domain, tmp_path_factory):
        """Starts nodes; those still running at the end of the file are ended."""
        from harness import Node

        started = []

        def run(params=None, arguments=(), **options):
            folder = tmp_path_factory.mktemp("node")
            node = Node(NODE, folder, {"policy": str(policy), **(params or {})}, arguments, **options)
            started.append(node)
            return node

        run.started = started
        yield run
        for node in started:
            node.end()

    @pytest.fixture(autouse=True)
    def nodes_of_one_test(request):
        """Ends the nodes that a test started with the test, so that they take no time from the next; a failed test shows their logs."""
        if "start" not in request.fixturenames:
            yield
            return
        started = request.getfixturevalue("start").started
        before = len(started)
        yield
        failed = getattr(request.node, "failed", False)
        for node in started if failed else started[before:]:
            if failed:
                print(f"--- log of node {started.index(node)} of this file ---\n{node.log}")
        for node in started[before:]:
            node.end()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        if call.when == "call":
            item.failed = report.failed
        return report
