"""All Python tests: scripts/ on the path, and what pytest-xdist may do.

The live tests wait most of the time, so they run side by side; each file has its ROS domain and stays in one worker.
Tests marked `alone` assert rates or answer under load and run afterwards:

    python3 -m pytest tests/python tests/ros -n 4 --dist loadfile -m "not alone"
    python3 -m pytest tests/python tests/ros -m alone

tests/sim runs one after the other: its physics keep to the wall clock.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scripts"))


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: measures time or load; runs without other tests beside it")
