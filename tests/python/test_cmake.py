"""The CMake option VLA_TRT_TENSORRT, through CMake itself."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")

SCRIPT = """
set(CMAKE_SYSTEM_PROCESSOR nowhere)
include({root}/cmake/tensorrt.cmake)
vla_trt_find_tensorrt(found)
message(STATUS "found=${{found}} in=${{TENSORRT_INCLUDE_DIR}}")
"""

TENSORRT_8 = "#define NV_TENSORRT_MAJOR 8\n#define NV_TENSORRT_MINOR 6\n#define NV_TENSORRT_PATCH 2\n"
TENSORRT_8_5 = TENSORRT_8.replace("MINOR 6", "MINOR 5")
TENSORRT_10 = ("#define TRT_MAJOR_ENTERPRISE 10\n#define TRT_MINOR_ENTERPRISE 13\n#define TRT_PATCH_ENTERPRISE 3\n"
               "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n")


@pytest.fixture
def configure(tmp_path):
    def run(*options):
        script = tmp_path / "script.cmake"
        script.write_text(SCRIPT.format(root=ROOT))
        return subprocess.run(["cmake", *options, "-P", script], capture_output=True, text=True, check=False)

    return run


def headers(folder, version):
    folder.mkdir()
    for name in ("NvInfer.h", "NvOnnxParser.h"):
        (folder / name).touch()
    (folder / "NvInferVersion.h").write_text(version)
    return folder


# Machines with TensorRT have its header in a usual place; these two need one without.
without_headers = pytest.mark.skipif(
    any(pathlib.Path(f).exists() for f in ("/usr/include/NvInfer.h", "/usr/local/tensorrt/include/NvInfer.h")),
    reason="TensorRT's headers are installed")


@without_headers
def test_auto_without_headers_is_off_and_says_where_it_looked(configure):
    done = configure("-DVLA_TRT_TENSORRT=AUTO")
    assert done.returncode == 0 and "found=FALSE" in done.stdout
    assert "off" in done.stdout and "/usr/local/tensorrt/include" in done.stdout


@without_headers
def test_on_without_headers_is_an_error_that_says_what_to_do(configure):
    done = configure("-DVLA_TRT_TENSORRT=ON")
    assert done.returncode != 0
    words = " ".join(done.stderr.split())  # CMake wraps lines
    assert "NvInfer.h and NvOnnxParser.h were not found" in words and "TENSORRT_INCLUDE_DIR" in words


@pytest.mark.parametrize("choice", ["AUTO", "ON"])
@pytest.mark.parametrize("version, text", [("8.6.2", TENSORRT_8), ("10.13.3", TENSORRT_10)])
def test_headers_that_are_found_are_named_with_their_version(configure, tmp_path, choice, version, text):
    folder = headers(tmp_path / "include", text)
    done = configure(f"-DVLA_TRT_TENSORRT={choice}", f"-DTENSORRT_INCLUDE_DIR={folder}")
    assert f"found=TRUE in={folder}" in done.stdout
    assert f"headers of {version} in {folder}" in done.stdout


@without_headers
@pytest.mark.parametrize("spoil, reason", [
    (lambda folder: (folder / "NvOnnxParser.h").unlink(), "libnvonnxparsers-dev"),
    (lambda folder: (folder / "NvInferVersion.h").write_text(TENSORRT_8_5), "8.5.2, 8.6 (JetPack 6.0) or newer is needed"),
])
def test_headers_that_cannot_serve_are_off_in_auto_and_refused_in_on(configure, tmp_path, spoil, reason):
    folder = headers(tmp_path / "include", TENSORRT_8)
    spoil(folder)
    auto = configure("-DVLA_TRT_TENSORRT=AUTO", f"-DTENSORRT_INCLUDE_DIR={folder}")
    assert "found=FALSE" in auto.stdout and reason in auto.stdout
    on = configure("-DVLA_TRT_TENSORRT=ON", f"-DTENSORRT_INCLUDE_DIR={folder}")
    assert on.returncode != 0 and reason in " ".join(on.stderr.split())


@without_headers
def test_headers_of_tensorrt_rtx_alone_switch_it_on(configure, tmp_path, monkeypatch):
    folder = headers(tmp_path / "include", "#define TRT_MAJOR_RTX 1\n")
    monkeypatch.setenv("TENSORRT_RTX_INCLUDE_DIR", str(folder))
    done = configure("-DVLA_TRT_TENSORRT=ON")
    assert "found=TRUE in=\n" in done.stdout and f"TensorRT-RTX only, headers in {folder}" in done.stdout


def test_off_does_not_look(configure, tmp_path):
    folder = headers(tmp_path / "include", TENSORRT_8)
    done = configure("-DVLA_TRT_TENSORRT=OFF", f"-DTENSORRT_INCLUDE_DIR={folder}")
    assert "found=FALSE" in done.stdout


def test_another_value_is_refused_with_the_ones_there_are(configure):
    done = configure("-DVLA_TRT_TENSORRT=maybe")
    assert done.returncode != 0 and "AUTO, ON or OFF" in done.stderr
