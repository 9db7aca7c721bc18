"""The closed loop's tests: run by .cache/sim/bin/python3 with ROS 2 and the built workspace sourced (test.sh does)."""

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from node_harness import find_executable  # noqa: E402


@pytest.fixture(scope="session")
def node():
    """The node's executable."""
    found = find_executable("vla_trt_node", "VLA_TRT_NODE")
    assert found is not None, "vla_trt_node is not built: scripts/build.sh, or set VLA_TRT_NODE"
    return found


@pytest.fixture(scope="session")
def tool():
    """The tool `vla-trt`."""
    found = find_executable("vla-trt", "VLA_TRT_TOOL")
    assert found is not None, "vla-trt is not built: scripts/build.sh, or set VLA_TRT_TOOL"
    return found


@pytest.fixture(scope="session")
def policy():
    """The reach policy's bundle."""
    return ROOT / "data" / "reach_policy"


@pytest.fixture(scope="session")
def policies(policy):
    """The reach policies' bundles, by family."""
    return {"n1d6": policy, "n1d7": ROOT / "data" / "reach_n1d7_policy"}
