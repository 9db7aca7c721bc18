"""scripts/setup.sh says in words what is missing and how to get it: run for real, in a copy with other tools in PATH."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def machine(tmp_path):
    """A checkout and a PATH of its own; `without` takes tools away, `fake` puts scripts in their place."""
    return Machine(tmp_path)


class Machine:
    def __init__(self, folder):
        self.checkout, self.bin = folder / "vla_trt", folder / "bin"
        self.bin.mkdir()
        shutil.copytree(ROOT / "scripts", self.checkout / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Cargo.toml", "Cargo.lock"):
            shutil.copy(ROOT / name, self.checkout / name)
        for place in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
            for tool in pathlib.Path(place).glob("*"):
                link = self.bin / tool.name
                if not link.exists() and not link.is_symlink():
                    link.symlink_to(tool)
        self.fake("cargo", "echo 'cargo 9.9.9 (0000000 2099-01-01)'")
        self.environment = {"PATH": str(self.bin), "HOME": str(folder), "LANG": "C"}

    def without(self, *tools):
        for tool in tools:
            (self.bin / tool).unlink(missing_ok=True)

    def fake(self, tool, script):
        self.without(tool)
        (self.bin / tool).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / tool).chmod(0o755)

    def setup(self, **environment):
        done = subprocess.run([self.checkout / "scripts" / "setup.sh"], capture_output=True, text=True, timeout=60,
                              env={**self.environment, **environment}, check=False)
        assert done.returncode == 1, done
        return done.stderr

    def pretend_packages(self):
        """Every system package is there, whatever this machine has."""
        for tool in ("cmake", "g++", "make", "nasm"):
            self.fake(tool, "echo 'cmake version 3.25.1'")
        self.environment["LIBCLANG_PATH"] = "/"
        self.environment["SSL_CERT_FILE"] = "/"


def test_no_cargo(machine):
    machine.without("cargo")
    said = machine.setup()
    assert "cargo is missing" in said and "rustup" in said


def test_a_cargo_that_is_too_old_is_told_with_both_versions(machine):
    machine.fake("cargo", "echo 'cargo 1.75.0 (1d8b05cdd 2023-11-20)'")
    wanted = next(line.split('"')[1] for line in (ROOT / "Cargo.toml").read_text().splitlines()
                  if line.startswith("rust-version = "))
    said = machine.setup()
    assert "1.75.0" in said and wanted in said and "rustup update" in said


def test_a_full_disk_is_told_before_anything_is_downloaded(machine):
    said = machine.setup(VLA_TRT_DISK_GIB="999999")
    assert "GiB free" in said and "999999 GiB" in said


def test_missing_packages_without_root_give_the_command_to_type(machine):
    machine.without("nasm", "sudo")
    machine.fake("apt-get", "exit 1")
    machine.fake("id", "echo 1000")
    said = machine.setup()
    assert "sudo apt-get install" in said and "nasm" in said


def test_missing_packages_without_apt_are_named(machine):
    machine.without("nasm", "apt-get")
    said = machine.setup()
    assert "nasm" in said and "your distribution" in said


@pytest.mark.skipif(os.path.isdir("/opt/ros"), reason="this machine has a ROS 2 under /opt/ros")
@pytest.mark.parametrize("tool, script, expected", [
    ("getconf", "echo 'glibc 2.27'", "glibc 2.28 or newer (found 2.27)"),
    ("getconf", "exit 1", "found another libc"),
    ("uname", "echo aarch64", "this is aarch64"),
])
def test_a_machine_that_the_wheels_do_not_fit_is_told_to_source_a_ros(machine, tool, script, expected):
    machine.pretend_packages()
    machine.fake(tool, script)
    said = machine.setup()
    assert expected in said and "source its setup.bash" in said


def test_a_sourced_ros_that_lacks_packages_names_them(machine, tmp_path):
    machine.pretend_packages()
    prefix = tmp_path / "ros"
    for package in ("rcl", "rclpy"):
        (prefix / "share" / package).mkdir(parents=True)
    (prefix / "lib" / "python3" / "site-packages" / "rclpy").mkdir(parents=True)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python3").symlink_to("/usr/bin/python3")
    said = machine.setup(AMENT_PREFIX_PATH=str(prefix), ROS_DISTRO="humble")
    assert "ros-humble-sensor-msgs" in said and "ros-humble-rclpy" not in said


def test_a_library_of_onnx_runtime_that_does_not_exist_is_named(machine, tmp_path):
    machine.pretend_packages()
    prefix = tmp_path / "ros"
    for line in (ROOT / "scripts" / "setup.sh").read_text().split("ros_packages='")[1].split("'")[0].split():
        (prefix / "share" / line).mkdir(parents=True)
    (prefix / "lib" / "python3" / "site-packages" / "rclpy").mkdir(parents=True)
    (prefix / "bin").mkdir()
    # A Python whose virtual environments are made at once, without downloads.
    (prefix / "bin" / "python3").write_text(
        '#!/bin/sh\nif [ "$2" = venv ]; then mkdir -p "$4/bin" "$4/lib/python3/site-packages"; '
        'cp "$0" "$4/bin/python"; cp "$0" "$4/bin/python3"; fi\n')
    (prefix / "bin" / "python3").chmod(0o755)
    said = machine.setup(AMENT_PREFIX_PATH=str(prefix), ROS_DISTRO="jazzy", ORT_DYLIB_PATH="/nowhere/libonnxruntime.so")
    assert "/nowhere/libonnxruntime.so" in said and "ORT_DYLIB_PATH" in said
