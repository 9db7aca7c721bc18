#!/usr/bin/env bash
# ONNX Runtime's preprocessing for quantisation turns a network that its quantiser takes into one that it does not.
#
# Guess: quant_pre_process, which the documentation says to run first, gives a network that quantize_static takes.
# Seen (onnxruntime 1.32.0, onnx 1.23.2, Linux x86-64): a MatMul followed by an Add of a constant [rows, columns] (a table
# of positions, one row for each token) is fused to a Gemm whose third input is that table. quantize_static with
# per_channel=True takes the third input of a Gemm for a bias vector and ends with "ValueError: The truth value of an
# array with more than one element is ambiguous", which names no node. The network without preprocessing is quantised in
# every way, and so is the preprocessed one per tensor or with skip_optimization=True.
#
# Exit 0: behaves as written above. Exit 1: it no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 sympy==1.14.0
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

logging.disable(logging.WARNING)
ROWS, FROM, TO = 5, 32, 16
random = np.random.default_rng(0)
normal = lambda *dims: random.normal(0, 1, dims).astype(np.float32)


class Samples(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": normal(ROWS, FROM)} for _ in range(3)]

    def get_next(self):
        return self.left.pop() if self.left else None


value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
nodes = [helper.make_node("MatMul", ["x", "w"], ["product"]), helper.make_node("Add", ["product", "rows"], ["y"])]
weights = [numpy_helper.from_array(normal(FROM, TO), "w"), numpy_helper.from_array(normal(ROWS, TO), "rows")]
graph = helper.make_graph(nodes, "tokens", [value("x", [ROWS, FROM])], [value("y", [ROWS, TO])], weights)
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(made, full_check=True)
onnx.save(made, "plain.onnx")
quant_pre_process("plain.onnx", "preprocessed.onnx")
quant_pre_process("plain.onnx", "unoptimised.onnx", skip_optimization=True)
seen = {}
for name in ("plain", "preprocessed", "unoptimised"):
    operators = [node.op_type for node in onnx.load(f"{name}.onnx").graph.node]
    for per_channel in (False, True):
        try:
            quantize_static(f"{name}.onnx", "quantised.onnx", Samples(), quant_format=QuantFormat.QDQ,
                            per_channel=per_channel, weight_type=QuantType.QInt8)
            seen[name, per_channel] = "quantised"
        except ValueError as error:
            seen[name, per_channel] = f"ValueError: {error}"
        print(f"{name:12} {operators}, per_channel={per_channel}: {seen[name, per_channel]}")
failed = [case for case, outcome in seen.items() if outcome.startswith("ValueError: The truth value of an array")]
print("onnxruntime", onnxruntime.__version__)
sys.exit(0 if failed == [("preprocessed", True)] and list(seen.values()).count("quantised") == 5 else 1)
END
