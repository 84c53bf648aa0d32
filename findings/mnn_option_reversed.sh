#!/bin/sh
# MNN 3.6.1, mnnconvert --weightQuantBits 8, of a layer half of whose kernels were pruned. Its --help says that weights
# are quantized symmetrically, and asymmetrically when --weightQuantAsymmetric is set ("default: false").
# Guess: as it says: around 0, so that zeros stay zeros; only with the option their number could change.
# Seen:  the other way round. Without the option the points are counted from the least weight of a filter, 0 is none of them
#        (other formats shift them until it is), and of 997 kernels of zeros none is left; with 4 bits they are 0.01, where
#        the weights have a deviation of 0.05. With --weightQuantAsymmetric the points are symmetric: all zeros stay, the
#        error is smaller, and so is the file. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2
"$folder/venv/bin/pip" install -q --no-deps MNN==3.6.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - >seen 2>errors <<'PYTHON' || { cat seen errors; exit 1; }
import os
import sys
import numpy as np
import onnx
import MNN
import _tools                               # what mnnconvert calls, without its report to the makers
from onnx import TensorProto, helper, numpy_helper
rng = np.random.default_rng(0)
kernels = rng.normal(scale=0.05, size=(64, 32, 3, 3)).astype(np.float32)
kernels[rng.random((64, 32)) < 0.5] = 0
graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, kernel_shape=[3, 3])], "layer",
                          [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32, 5, 5])],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64, 5, 5])], [numpy_helper.from_array(kernels, "w")])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "net.onnx")

def tensor(array):
    return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)

def read_back(path):
    """The layer's kernels: its answers to a single 1 in each channel."""
    net = MNN.Interpreter(path)
    session = net.createSession()
    found = np.empty_like(kernels)
    for channel in range(32):
        x, y = np.zeros((1, 32, 5, 5), np.float32), tensor(np.zeros((1, 64, 5, 5), np.float32))
        x[0, channel, 2, 2] = 1
        net.getSessionInput(session).copyFrom(tensor(x))
        net.runSession(session)
        net.getSessionOutput(session).copyToHostTensor(y)
        found[:, channel] = np.array(y.getData(), np.float32).reshape(64, 5, 5)[:, 3:0:-1, 3:0:-1]
    return found

dead, seen = (kernels == 0).all(axis=(2, 3)), {}
for options in ("", "--weightQuantBits 8", "--weightQuantBits 8 --weightQuantAsymmetric", "--weightQuantBits 4"):
    _tools.mnnconvert(f"mnnconvert -f ONNX --modelFile net.onnx --MNNModel net.mnn --bizCode any {options}".split())
    found = read_back("net.mnn")
    still, error = int((found == 0).all(axis=(2, 3)).sum()), float(np.linalg.norm(found - kernels) / np.linalg.norm(kernels))
    seen[options] = (still, error, os.path.getsize("net.mnn"))
    print(f"MNN {options or 'without quantization'}: {still} of {dead.sum()} kernels of zeros are left, up to {np.abs(found[dead]).max():.1e} there; "
          f"error {100 * error:.3f} %, {seen[options][2]} bytes")
plain, default, asked, four = seen.values()
sys.exit(not (plain[0] == asked[0] == dead.sum() and plain[1] < 1e-6 and default[0] == four[0] == 0
              and asked[1] < default[1] < 0.02 and asked[2] < default[2]))
PYTHON
grep "^MNN .*of zeros" seen
