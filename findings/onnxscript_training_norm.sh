#!/bin/sh
# onnxscript 0.7.2, onnxscript.optimizer.optimize with its own settings, on a convolution before a BatchNormalization with
# training_mode=1 (as torch.onnx.export writes with dynamo=False, training=TRAINING): it normalizes by the batch's own mean
# and variance.
# Guess: left alone, as onnxslim 0.1.98, onnxsim 0.8.1 and onnxoptimizer 0.4.2 leave it: what is folded into kernels has
#        to be known before there is a batch.
# Seen:  where nobody reads the new running mean and variance, it is folded all the same, by the stored ones that this mode
#        does not use: the kernels become others and so do all outputs, without a word. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxscript==0.7.2 onnxsim==0.8.1 onnxslim==0.1.98 onnxoptimizer==0.4.2
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON' >seen || { cat seen; exit 1; }
import sys
import numpy as np
import onnx
import onnxoptimizer
import onnxscript.optimizer
import onnxsim
import onnxslim
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
rng = np.random.default_rng(0)
held = {"w": rng.normal(size=(8, 3, 3, 3)), "scale": rng.normal(size=8), "shift": rng.normal(size=8),
        "mean": rng.normal(size=8), "var": rng.uniform(0.5, 2, size=8)}
nodes = [helper.make_node("Conv", ["x", "w"], ["a"]),
         helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["n", "new_mean", "new_var"], training_mode=1),
         helper.make_node("Relu", ["n"], ["y"])]
graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 3, 9, 9])],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 8, 7, 7])],
                          [numpy_helper.from_array(a.astype(np.float32), name) for name, a in held.items()])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
x = rng.normal(size=(4, 3, 9, 9)).astype(np.float32)
want = ReferenceEvaluator(model).run(None, {"x": x})[0]
seen = {}
for name, optimize in (("onnxscript", onnxscript.optimizer.optimize), ("onnxslim", onnxslim.slim),
                       ("onnxsim", lambda m: onnxsim.simplify(m)[0]), ("onnxoptimizer", onnxoptimizer.optimize)):
    made = optimize(onnx.ModelProto.FromString(model.SerializeToString()))
    apart = float(np.abs(ReferenceEvaluator(made).run(None, {"x": x})[0] - want).max() / np.abs(want).max())
    seen[name] = ("BatchNormalization" in [n.op_type for n in made.graph.node], apart < 1e-5)
    print(f"{name}: normalization kept {seen[name][0]}, outputs {apart:.1e} apart")
sys.exit(seen != {name: (name != "onnxscript", name != "onnxscript") for name in seen})
PYTHON
grep ": normalization" seen
