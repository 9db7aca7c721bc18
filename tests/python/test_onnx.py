"""Every network that the export writes passes ONNX's own checker, shapes and types included, and keeps to what
TensorRT 8.6 reads: operator set 17 at most, no INT64 and no BOOL at an edge.

ONNX Runtime's CPU provider has no bf16 kernels: for bf16 networks the checker is all there is here.
Skipped aloud where the package or cargo are missing.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYOUTS = {
    "split": ["--layout", "split"],
    "cut": ["--layout", "split", "--blocks-per-engine", "1"],
    "debug": ["--layout", "split", "--debug-outputs"],
    "backbone-dit": ["--layout", "backbone-dit"],
    "backbone-dit-debug": ["--layout", "backbone-dit", "--debug-outputs"],
    "head": ["--only", "head"],
    "vendor": ["--layout", "vendor"],
}

onnx = pytest.importorskip("onnx", reason="needs the Python package onnx")


@pytest.fixture(scope="module")
def tool():
    """`vla-trt`, built if need be (the library is there after the Rust tests)."""
    if not shutil.which("cargo"):
        pytest.skip("needs cargo, for vla-trt")
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--bin", "vla-trt"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or "target")
    return ROOT / target / "debug" / "vla-trt"


@pytest.fixture(scope="module")
def checkpoint(tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "checkpoint"
    subprocess.run([tool, "make-checkpoint", "--size", "demo", "-o", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_network_passes_the_checker(tool, checkpoint, tmp_path, layout, dtype):
    command = [tool, "export", "--checkpoint", checkpoint, "--tokenizer", checkpoint / "tokenizer", "-o", tmp_path]
    command += ["--embodiment", "new_embodiment", "--step-s", "0.02", "--dtype", dtype, *LAYOUTS[layout]]
    for camera in ("top", "left_wrist", "right_wrist"):
        command += ["--camera", f"{camera}=640x480"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    networks = sorted(tmp_path.glob("*.onnx"))
    assert len(networks) >= 3
    for path in networks:
        onnx.checker.check_model(str(path), full_check=True)
        model = onnx.load(path, load_external_data=False)
        assert [(entry.domain, entry.version <= 17) for entry in model.opset_import] == [("", True)], path
        edges = {one.name: one.type.tensor_type.elem_type for one in [*model.graph.input, *model.graph.output]}
        wide = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL}
        assert not [name for name, kind in edges.items() if kind in wide], path
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
        known = {one.name for one in [*inferred.value_info, *inferred.output]}
        unknown = [name for node in inferred.node for name in node.output if name not in known]
        assert not unknown, (path, unknown)
        # A quantiser reads the third input of a Gemm as a vector, and counts the bytes of every initializer.
        dims = {one.name: list(one.dims) for one in inferred.initializer}
        gemms = [node for node in inferred.node if node.op_type == "Gemm" and len(node.input) > 2]
        tables = [node.name for node in gemms if len([n for n in dims.get(node.input[2], []) if n != 1]) > 1]
        assert not tables, (path, tables)
        assert not [name for name, shape in dims.items() if 0 in shape], path
