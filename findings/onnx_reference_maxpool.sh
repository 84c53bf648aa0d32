#!/bin/sh
# onnx 1.23.2, onnx.reference.ReferenceEvaluator (the project's own executable definition of the operators) and onnxruntime
# 1.32.0, MaxPool with more padding at one side than at the other, as networks that came from TensorFlow have it.
# Guess: the reference is slow, and right: pads are [top, left, bottom, right], one pixel at the bottom and one at the right
#        make every side one longer.
# Seen:  it takes them as [top, bottom, left, right]: the output is one shorter in height and one longer in width than
#        onnx's own shape inference and onnxruntime have it, and says nothing. AveragePool with the same pads is right, and so is
#        MaxPool itself with dilations. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
x = np.random.default_rng(0).normal(size=(1, 2, 8, 8)).astype(np.float32)
seen = {}
for op, pads, dilation in (("MaxPool", [1, 1, 1, 1], 1), ("MaxPool", [0, 0, 1, 1], 1), ("MaxPool", [1, 1, 0, 0], 1), ("MaxPool", [0, 0, 1, 1], 2),
                           ("AveragePool", [0, 0, 1, 1], 1)):
    more = {"dilations": [2, 2]} if dilation == 2 else {}
    node = helper.make_node(op, ["x"], ["y"], kernel_shape=[2, 2], strides=[1, 1], pads=pads, **more)
    graph = helper.make_graph([node], "pool", [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), strict_mode=True)
    inferred = tuple(d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim)
    found = ReferenceEvaluator(model).run(None, {"x": x})[0]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runtime = session.run(None, {"x": x})[0]
    assert runtime.shape == inferred
    same = found.shape == runtime.shape and bool(np.allclose(found, runtime))
    seen[op, str(pads), dilation] = (found.shape[2:], runtime.shape[2:], same)
    print(f"onnx {onnx.__version__}, {op}, pads {pads}, dilation {dilation}: reference {found.shape[2:]}, onnxruntime {runtime.shape[2:]}, same numbers {same}")
sys.exit(seen != {("MaxPool", "[1, 1, 1, 1]", 1): ((9, 9), (9, 9), True), ("MaxPool", "[0, 0, 1, 1]", 1): ((7, 9), (8, 8), False),
                  ("MaxPool", "[1, 1, 0, 0]", 1): ((9, 7), (8, 8), False), ("MaxPool", "[0, 0, 1, 1]", 2): ((7, 7), (7, 7), True),
                  ("AveragePool", "[0, 0, 1, 1]", 1): ((8, 8), (8, 8), True)})
PYTHON
