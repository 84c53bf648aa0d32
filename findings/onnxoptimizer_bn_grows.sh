#!/bin/sh
# onnxoptimizer 0.4.2, optimize(model) with its own passes or with fuse_bn_into_conv alone, on Conv, BatchNormalization, Relu, Conv.
# Guess: the normalization's numbers are multiplied into the kernels: a node less, and the new kernels are an initializer.
# Seen:  the fold is written into the graph as ten nodes more (Sqrt, Div, Mul ...) that compute the kernels each time the
#        model is run: four nodes become thirteen, the convolution's weight is no initializer any more, and a program that
#        reads kernels from the file finds those of before the fold, under a number for a name. The outputs are the same.
#        onnxslim 0.1.98 does what was guessed. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxoptimizer==0.4.2 onnxslim==0.1.98
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import numpy as np
import onnx
import onnxoptimizer
import onnxslim
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
rng = np.random.default_rng(0)
held = {"w": rng.normal(size=(8, 3, 3, 3)), "b": rng.normal(size=8), "scale": rng.normal(size=8), "shift": rng.normal(size=8),
        "mean": rng.normal(size=8), "var": rng.uniform(0.5, 2, size=8), "head": rng.normal(size=(4, 8, 1, 1))}
nodes = [helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1] * 4),
         helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["n"]),
         helper.make_node("Relu", ["n"], ["r"]), helper.make_node("Conv", ["r", "head"], ["y"])]
graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 9, 9])],
                          [numpy_helper.from_array(a.astype(np.float32), name) for name, a in held.items()])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
x = rng.normal(size=(1, 3, 9, 9)).astype(np.float32)
want = ReferenceEvaluator(model).run(None, {"x": x})[0]
copy = lambda: onnx.ModelProto.FromString(model.SerializeToString())
seen = {}
for name, made in (("onnxoptimizer, all passes", onnxoptimizer.optimize(copy())),
                   ("onnxoptimizer, fuse_bn_into_conv", onnxoptimizer.optimize(copy(), ["fuse_bn_into_conv"])),
                   ("onnxslim", onnxslim.slim(copy()))):
    weight = next(n for n in made.graph.node if n.op_type == "Conv").input[1]
    stored = weight in {i.name for i in made.graph.initializer}
    before = any(np.array_equal(numpy_helper.to_array(i), held["w"].astype(np.float32)) for i in made.graph.initializer)
    apart = np.abs(ReferenceEvaluator(made).run(None, {"x": x})[0] - want).max() / np.abs(want).max()
    seen[name] = (len(made.graph.node), stored, before, bool(apart < 1e-5))
    print(f"{name}: {len(nodes)} nodes become {len(made.graph.node)}; the kernels are stored {stored}; those of before are {before}; "
          f"outputs {apart:.0e} apart")
sys.exit(seen != {"onnxoptimizer, all passes": (13, False, True, True), "onnxoptimizer, fuse_bn_into_conv": (13, False, True, True),
                  "onnxslim": (3, True, False, True)})
PYTHON
