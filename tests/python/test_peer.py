"""scripts/peer_torch.py computes what ONNX Runtime does with the bundle's networks.

Skipped aloud where PyTorch, ONNX Runtime's Python package or cargo are missing.
"""

import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

for package in ("torch", "onnx", "onnxruntime"):
    pytest.importorskip(package, reason=f"needs the Python package {package}")


@pytest.fixture(scope="module")
def tool():
    """`vla-trt`, built if need be."""
    if not shutil.which("cargo"):
        pytest.skip("needs cargo, for vla-trt")
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--bin", "vla-trt"], cwd=ROOT, check=True)
    return ROOT / (os.environ.get("CARGO_TARGET_DIR") or "target") / "debug" / "vla-trt"


@pytest.fixture(scope="module")
def checkpoint(tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "demo"
    subprocess.run([tool, "make-checkpoint", "--size", "demo", "-o", folder], check=True, capture_output=True)
    return folder


def export(tool, checkpoint, folder, *options):
    cameras = [f"--camera={name}=640x480" for name in ("top", "left_wrist", "right_wrist")]
    fixed = ["--embodiment", "new_embodiment", "--step-s", "0.02", "--checkpoint", checkpoint, "-o", folder]
    command = [tool, "export", "--tokenizer", checkpoint / "tokenizer", *fixed, *cameras, *options]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("options", "dtype", "limit"),
    [
        ((), None, 1e-4),
        (("--blocks-per-engine", "1"), None, 1e-4),
        (("--dtype", "fp16"), None, 2e-2),
        ((), "fp16", 2e-2),
    ],
    ids=["split", "cut", "exported in fp16", "run in fp16"],
)
def test_the_bundle_in_pytorch_gives_the_actions_of_onnx_runtime(tool, checkpoint, tmp_path, options, dtype, limit):
    bundle, out = export(tool, checkpoint, tmp_path / "bundle", *options), tmp_path / "out.json"
    command = [
        sys.executable,
        ROOT / "scripts/peer_torch.py",
        bundle,
        "--device",
        "cpu",
        "--samples",
        "2",
        "--out",
        out,
    ]
    subprocess.run([*command, *(["--dtype", dtype] if dtype else [])], check=True)
    figures = json.loads(out.read_text())
    assert set(figures["agreement"]) >= {"image_rows", "vl_embs", "k0", "next_actions"}
    assert all(error <= limit for error in figures["agreement"].values()), figures["agreement"]
    assert figures["modes"]["eager"]["median_ms"] > 0


def test_a_bundle_of_another_layout_is_refused_in_words(tool, checkpoint, tmp_path):
    bundle = export(tool, checkpoint, tmp_path / "bundle", "--layout", "backbone-dit")
    command = [sys.executable, ROOT / "scripts/peer_torch.py", bundle, "--device", "cpu"]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1 and "--layout split" in refused.stderr


def test_without_pyyaml_the_description_reads_the_same(tool, checkpoint, tmp_path, monkeypatch):
    yaml = pytest.importorskip("yaml", reason="needs the Python package yaml")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    peer = importlib.import_module("peer_torch")
    file = export(tool, checkpoint, tmp_path / "bundle", "--blocks-per-engine", "1") / "policy.yaml"
    expected = yaml.safe_load(file.read_text())
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert peer.read_policy(file) == expected
