#!/usr/bin/env bash
# ONNX Runtime on the CPU quantises the activations of a network in which only the weights are quantised.
#
# Guess: DequantizeLinear of INT4 or INT8 weights before a MatMul with an FP32 activation means an FP32 product, and the
# result is that of the dequantised weights to FP32's rounding.
# Seen (onnxruntime 1.32.0, Linux x86-64): the pair becomes one MatMulNBits with accuracy_level 4, which rounds the
# activation to 8 bits: the result is 0.5 % off, for 4 and 8 bits, in blocks or per column alike. No node of the file
# quantises an activation, and no message says so. With session.qdq_matmulnbits_accuracy_level=1, or with
# session.disable_quant_qdq=1, the same file gives the FP32 product to 1e-6.
#
# Exit 0: behaves as written above. Exit 1: it no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'END'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROWS, WIDTH, BLOCK = 8, 256, 128
random = np.random.default_rng(0)
x = random.normal(0, 1, (ROWS, WIDTH)).astype(np.float32)


def model(bits, blocks):
    """A product with quantised weights, and those weights dequantised."""
    most = 2 ** (bits - 1) - 1
    values = random.integers(-most, most + 1, (WIDTH, WIDTH)).astype(np.int8)
    scale = random.uniform(0.005, 0.02, (WIDTH // BLOCK, WIDTH) if blocks else WIDTH).astype(np.float32)
    kind = TensorProto.INT4 if bits == 4 else TensorProto.INT8
    weights = [helper.make_tensor("w", kind, [WIDTH, WIDTH], values.ravel().tolist()),
               numpy_helper.from_array(scale, "scale")]
    how = {"axis": 0, "block_size": BLOCK} if blocks else {"axis": 1}
    nodes = [helper.make_node("DequantizeLinear", ["w", "scale"], ["wd"], **how),
             helper.make_node("MatMul", ["x", "wd"], ["y"])]
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [ROWS, WIDTH])
    graph = helper.make_graph(nodes, "product", [value("x")], [value("y")], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString(), values * (np.repeat(scale, BLOCK, 0) if blocks else scale).astype(np.float64)


as_expected = []
for bits, blocks in ((8, False), (8, True), (4, True)):
    made, dequantised = model(bits, blocks)
    expected = x.astype(np.float64) @ dequantised
    print(f"INT{bits} weights {'in blocks' if blocks else 'per column'}:")
    for entry in (None, ("session.qdq_matmulnbits_accuracy_level", "1"), ("session.disable_quant_qdq", "1")):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if entry:
            options.add_session_config_entry(*entry)
        session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
        found = session.run(None, {"x": x})[0]
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        print(f"  {'='.join(entry) if entry else 'default session':43} relative error {error:.1e}")
        as_expected.append(error < 1e-6 if entry else 1e-3 < error < 2e-2)
print("onnxruntime", onnxruntime.__version__)
sys.exit(0 if all(as_expected) else 1)
END
