#!/usr/bin/env bash
# ONNX Runtime on the CPU keeps reading a model's external data file after the session was made.
#
# Guess: an InferenceSession holds its own copy of the weights, so that a file changed later changes nothing.
# Seen (onnxruntime 1.23.2, Linux x86-64): a weight file that is written over in place, same length, changes what the
# running session computes, without an error, where the operator uses the weight as it lies in the file (here: Add).
# A weight that the runtime packs when the session is made (MatMul's) goes on with its old values, so that a network
# may run on a mixture of both files. A file that is replaced by a rename changes nothing.
#
# Exit 0: behaves as written above. Exit 1: it no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.23.2 onnx==1.19.1 numpy==2.3.4
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIZE = 64


def model(name, operator, weight):
    """One operator with one weight, in a file of its own."""
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIZE, SIZE])
    graph = helper.make_graph([helper.make_node(operator, ["x", "w"], ["y"])], name, [value("x")], [value("y")],
                              [numpy_helper.from_array(weight, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, f"{name}.onnx", save_as_external_data=True, location=f"{name}.data", size_threshold=0)


def run(session):
    return float(session.run(None, {"x": np.eye(SIZE, dtype=np.float32)})[0][0, 0])


ones, twos = np.ones((SIZE, SIZE), np.float32), np.full((SIZE, SIZE), 2.0, np.float32)
seen = {}
for operator in ("Add", "MatMul"):
    for way in ("in place", "rename"):
        name = f"{operator}-{way.replace(' ', '-')}"
        model(name, operator, ones)
        session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
        before = run(session)
        if way == "in place":
            with open(f"{name}.data", "r+b") as file:
                file.write(twos.tobytes())
        else:
            with open("other.data", "wb") as file:
                file.write(twos.tobytes())
            os.replace("other.data", f"{name}.data")
        seen[operator, way] = run(session) - before
        print(f"{operator:7} weight file changed {way:9}: result changes by {seen[operator, way]:+.1f}")
expected = {("Add", "in place"): 1.0, ("Add", "rename"): 0.0, ("MatMul", "in place"): 0.0, ("MatMul", "rename"): 0.0}
print("onnxruntime", onnxruntime.__version__)
sys.exit(0 if seen == expected else 1)
END
