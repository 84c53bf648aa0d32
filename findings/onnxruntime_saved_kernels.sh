#!/bin/sh
# onnxruntime 1.32.0, SessionOptions.optimized_model_filepath at the level of layout optimisations, on a processor with AVX2.
# Guess: the saved model holds each convolution's kernels as they were, [out, in, h, w], perhaps with BatchNorm folded in.
# Seen:  the initializer keeps a shape that looks like that, but its numbers stand in blocks of the processor's vectors, and
#        the filters are padded to a whole block with zeros: 12 filters have become 16, with 576 zeros strewn over half of
#        them, and a "kernel" of the file is cut from pieces of eight or sixteen. The operator is called Conv still, of the
#        domain com.microsoft.nchwc. One level below, all is as guessed. Exit status 1 when that is no longer so.
set -eu
grep -q avx2 /proc/cpuinfo || { echo "needs a processor with AVX2"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
kernels = np.random.default_rng(0).normal(size=(12, 16, 3, 3)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "kernels"], ["y"], pads=[1] * 4)], "one_layer",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 16, 16])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 12, 16, 16])], [numpy_helper.from_array(kernels, "kernels")])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "net.onnx")
Level = onnxruntime.GraphOptimizationLevel
seen = {}
for level in (Level.ORT_ENABLE_EXTENDED, Level.ORT_ENABLE_ALL):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.optimized_model_filepath, options.log_severity_level = level, "saved.onnx", 3
    onnxruntime.InferenceSession("net.onnx", options, providers=["CPUExecutionProvider"])
    saved = onnx.load("saved.onnx").graph
    (node,) = [n for n in saved.node if n.op_type == "Conv"]
    (stored,) = [numpy_helper.to_array(i) for i in saved.initializer if i.name == node.input[1]]
    blocks = np.array_equal(np.sort(stored[stored != 0]), np.sort(kernels.ravel()))
    seen[node.domain] = (stored.shape, np.array_equal(stored, kernels), blocks, int((stored == 0).sum()))
    print(f"{level.name}: domain {node.domain or 'ai.onnx'}, {stored.shape}, as they were {np.array_equal(stored, kernels)}, "
          f"{int((stored == 0).sum())} zeros")
good = seen == {"": ((12, 16, 3, 3), True, True, 0), "com.microsoft.nchwc": ((16, 16, 3, 3), False, True, 4 * 16 * 9)}
sys.exit(not good)
PYTHON
