"""The closed loop's tests: run by .cache/sim/bin/python3 with ROS 2 and the built workspace sourced (test.sh does)."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def _find(name, variable):
    given = os.environ.get(variable)
    places = [pathlib.Path(given)] if given else [
        ROOT / "install" / "vla_trt" / "lib" / "vla_trt" / name, ROOT / "target" / "release" / name]
    return next((place for place in places if place.exists()), None)


@pytest.fixture(scope="session")
def node():
    """The node's executable."""
    found = _find("vla_trt_node", "VLA_TRT_NODE")
    assert found is not None, "vla_trt_node is not built: scripts/build.sh, or set VLA_TRT_NODE"
    return found


@pytest.fixture(scope="session")
def tool():
    """The tool `vla-trt`."""
    found = _find("vla-trt", "VLA_TRT_TOOL")
    assert found is not None, "vla-trt is not built: scripts/build.sh, or set VLA_TRT_TOOL"
    return found


@pytest.fixture(scope="session")
def policy():
    """The reach policy's bundle."""
    return ROOT / "data" / "reach_policy"
