#!/bin/sh
# onnxsim 0.8.1, apply_structured_pruning.
# Guess: the filters that it takes first, those of zeros, can go without a change of the outputs; at the least its
#        pruning would move what they contribute elsewhere.
# Seen:  a filter of zeros with a bias is a constant that the next layer reads. It is dropped with its bias, and the
#        outputs change by what it contributed. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 onnxsim==0.8.1
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np, onnx, onnxruntime, onnxsim
from onnx import TensorProto, helper, numpy_helper
w1 = np.ones((4, 10), np.float32); w1[:, 3] = 0               # filter 3 is zero
b1 = np.zeros(10, np.float32); b1[3] = 5                      # its bias is not
named = {"w1": w1, "b1": b1, "w2": np.ones((10, 2), np.float32), "b2": np.zeros(2, np.float32)}
graph = helper.make_graph(
    [helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]), helper.make_node("Gemm", ["h", "w2", "b2"], ["y"])], "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    [numpy_helper.from_array(v, n) for n, v in named.items()])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
run = lambda m: onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": np.zeros((1, 4), np.float32)})[0]
before, after = run(model), run(onnxsim.apply_structured_pruning(model, sparsity=0.1))
print("outputs before", before, "after one filter of zeros of ten left", after)
raise SystemExit(0 if before[0, 0] == 5 and after[0, 0] == 0 else 1)
PYTHON
