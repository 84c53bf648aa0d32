#!/bin/sh
# MNN 3.6.1, mnnconvert of a max pooling with dilations=2 (in torch nn.MaxPool2d(2, 2, dilation=2)); onnxruntime 1.32.0 beside it.
# Guess: as onnxruntime has it, as the converter takes a dilation with convolutions; or it refuses, as it says of other operators
#        that it does not support them.
# Seen:  the dilation is left out and the converter reports success. Where the sides allow it, the output is of the right shape
#        and each value is the largest of other pixels, neighbours; else it is larger by a row and a column. Exit status 1 when
#        that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/pip" install -q --no-deps MNN==3.6.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - >seen 2>errors <<'PYTHON' || { cat seen errors; exit 1; }
import sys
import numpy as np
import onnx
import onnxruntime
import MNN
import MNN.expr
import MNN.nn
import _tools                               # what mnnconvert calls, without its report to the makers
from onnx import TensorProto, helper


def saved(x, dilation, side):
    """Writes the network and returns what onnxruntime makes of x."""
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], dilations=[dilation] * 2)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, side, side])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "net.onnx")
    return onnxruntime.InferenceSession("net.onnx").run(None, {"x": x})[0]


seen = {}
for size, side in ((11, 5), (12, 5)):
    x = np.random.default_rng(0).normal(size=(1, 4, size, size)).astype(np.float32)
    neighbours, right = saved(x, 1, size // 2), saved(x, 2, side)
    _tools.mnnconvert("mnnconvert -f ONNX --modelFile net.onnx --MNNModel net.mnn --bizCode any".split())
    net = MNN.nn.load_module_from_file("net.mnn", ["x"], ["y"])
    y = np.array(MNN.expr.convert(net([MNN.expr.const(x, list(x.shape), MNN.expr.NCHW)])[0], MNN.expr.NCHW).read())
    seen[size] = (y.shape == right.shape, y.shape == right.shape and np.array_equal(y, right),
                  y.shape == neighbours.shape and np.array_equal(y, neighbours))
    share = np.mean(y != right) if y.shape == right.shape else 1
    print(f"MNN {MNN.version()}, image {size}x{size}: shape {y.shape}, where {right.shape} is right; {share:.2f} of the outputs are others; the same "
          f"as without dilation: {seen[size][2]}")
sys.exit(seen != {11: (True, False, True), 12: (False, False, True)})
PYTHON
grep "^MNN" seen
